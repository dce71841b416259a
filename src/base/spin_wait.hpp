// SPDX-License-Identifier: Apache-2.0
// Looking for a moment before going to sleep: waking an idle processor costs more than all else.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace coppice::base {

/// How one thread waits for others that answer at once: it looks for a few microseconds, and only
/// then sleeps. Put into whatever waits:
///
///     if (!spin_.look([&] { return !empty(); })) {
///       spin_.falls_asleep();
///       sleep();
///       spin_.wakes_up();
///     }
///
/// and whoever wakes it says so by called(). What it promises:
/// - A look ends within `look_max`, and at once when there is something.
/// - It does not look where that cannot pay: on a machine with one processor, and when the last
///   call came from the processor that the waiting thread is on.
/// - It looks only after a wait that was short, so who is idle does not: a look is for answers.
/// - It gives up what did not pay: after a look in vain the next short wait sleeps at once, then
///   the next two, and so on to `pause_max`. One that pays starts anew.
/// - It leaves the processors to those that work. As long as the threads of this process that are
///   between two waits, and those that look, are more than the processors, nobody looks; one that
///   looks notices. When another program took the processor from it, it sleeps.
/// - A wait that does not look costs two readings of the clock and one of its own counters.
///
/// # Why not a spin count?
/// It neither knows how fast the machine is nor that it was interrupted; and it does not learn.
///
/// Owner: what waits. Thread: the waiting one, but for called().
class spin_wait {
 public:
  using clock = std::chrono::steady_clock;
  using duration = clock::duration;

  static constexpr duration look_max = std::chrono::microseconds(50);
  /// A wait up to this is short. It includes waking the other side, which then wakes us.
  static constexpr duration short_max = 4 * look_max;
  /// What a round of looking cannot take, unless the thread was not running.
  static constexpr duration gap_max = std::chrono::microseconds(10);
  static constexpr unsigned pause_max = 64;

  spin_wait() = default;
  spin_wait(const spin_wait&) = delete;
  spin_wait& operator=(const spin_wait&) = delete;
  ~spin_wait() { stops(); }

  /// True: `there()` came true, for which this looked. False: sleep. `bound`: of this look.
  template <class There>
  bool look(const There& there, duration bound = look_max) noexcept {
    if (!pays()) return false;
    if (pause_left_ > 0) {
      --pause_left_;
      return false;
    }
    begin();
    return end(looks(there, bound < look_max ? bound : look_max));
  }

  void falls_asleep() noexcept;
  void wakes_up() noexcept;  // Does nothing if it was not asleep.
  /// No wait follows for a while, and no work: it is not counted any more.
  void stops() noexcept;

  /// There is something now. Thread: any.
  void called() noexcept { caller_.store(this_processor(), std::memory_order_relaxed); }

  bool pays() const noexcept;                         // Would it look?
  unsigned looks() const noexcept { return looks_; }  // So often it did, for tests and dumps.

 private:
  static int this_processor() noexcept;
  static bool is_crowded() noexcept;
  static void relax() noexcept;
  void set(std::uint64_t counted_as) noexcept;
  void begin() noexcept;
  bool end(bool found) noexcept;

  template <class There>
  static bool looks(const There& there, duration bound) noexcept {
    const auto until = clock::now() + bound;
    for (auto now = until - bound; now < until;) {
      for (int i = 0; i < 16; ++i) {
        if (there()) return true;
        relax();
      }
      const auto before = now;
      now = clock::now();
      if (now - before > gap_max || is_crowded()) break;
    }
    return there();
  }

  std::uint64_t counted_as_ = 0;  // What the process's count has of us: works, looks, or nothing.
  clock::time_point asleep_since_{};
  bool asleep_ = false;
  bool was_short_ = false;  // The last wait.
  unsigned pause_ = 0;      // How many short waits do not look after the next one in vain.
  unsigned pause_left_ = 0;
  unsigned looks_ = 0;
  std::atomic<int> caller_{-1};  // The processor of the last call.
};

}  // namespace coppice::base
