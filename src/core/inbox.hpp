// SPDX-License-Identifier: Apache-2.0
// How threads reach a loop: a queue without a lock that also knows whether the loop is asleep.
#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

#include "base/spin_wait.hpp"
#include "base/unique_function.hpp"
#include "coppice/clock.hpp"

namespace coppice::core {

class reactor;

/// Work for a loop, from any thread. Embed it in an object of yours to post without allocating.
/// Owner: the poster until posted; then the inbox until run() or drop(). Aligned, so that pointers
/// to it have bits to spare.
class alignas(8) inbox_item {
 public:
  inbox_item() = default;
  inbox_item(const inbox_item&) = delete;
  inbox_item& operator=(const inbox_item&) = delete;

  virtual void run() = 0;            // On the loop's thread. May delete itself.
  virtual void drop() noexcept = 0;  // The loop ended first; on whatever thread ends it.

 protected:
  ~inbox_item() = default;

 private:
  friend class inbox;
  friend class loop;
  inbox_item* next_ = nullptr;
};

/// Many threads push, one loop takes. First in, first out.
///
/// One word holds the newest item and whether the loop sleeps, so a push costs one
/// compare-and-swap, and a system call only if it is the one that finds the loop asleep.
///
/// Owner: shared by the loop and everybody who may post, so that posting to a loop that has ended
/// is refused instead of undefined. Thread: push() any; the rest the loop's.
class inbox {
 public:
  enum class sleep : std::uintptr_t { awake = 0, on_futex = 1, in_reactor = 2 };

  inbox() = default;
  inbox(const inbox&) = delete;
  inbox& operator=(const inbox&) = delete;

  /// False: the loop has ended, the item is still the caller's. `quiet`: does not wake a sleeping
  /// loop.
  bool push(inbox_item& item, bool quiet) noexcept;

  bool empty() const noexcept { return head_.load(std::memory_order_relaxed) == 0; }

  /// Calls `each` with everything so far, oldest first. What is pushed meanwhile waits for the next
  /// time.
  template <class Each>
  void take_each(Each&& each) {
    for (inbox_item* item = take(); item != nullptr;) {
      inbox_item* next = item->next_;  // `each` may end the item.
      each(*item);
      item = next;
    }
  }

  bool is_closed() const noexcept { return head_.load(std::memory_order_relaxed) == closed; }
  bool asleep() const noexcept { return (head_.load(std::memory_order_relaxed) & tags) != 0; }

  /// Looks for a moment, if that is likely to pay, whether something comes: for at most `limit`
  /// (negative: no limit). True: something is there. Pushes need not ring meanwhile.
  bool look(duration limit) noexcept;

  /// Announces that the loop is about to sleep. False: something is there, do not.
  bool prepare_sleep(sleep how) noexcept;

  /// The loop is up again: pushes need not ring. Keeps what is there.
  void awake() noexcept {
    head_.fetch_and(~tags);
    spin_.wakes_up();
  }

  /// The loop's run has ended: it neither works nor waits.
  void rests() noexcept { spin_.stops(); }

  /// Sleeps after prepare_sleep(on_futex), for at most `limit` (negative: no limit). May return
  /// early.
  void sleep_on_futex(duration limit) noexcept;

  void set_reactor(reactor* r) noexcept {
    reactor_ = r;
  }  // Before the first prepare_sleep(in_reactor).

  /// Refuses pushes from now on and gives what was left. Waits for threads that are ringing.
  inbox_item* close() noexcept;

 private:
  static constexpr std::uintptr_t tags = 3;
  static constexpr std::uintptr_t closed = 3;  // No item, and a state that is none.

  inbox_item* take() noexcept;  // Ends the state of sleep.
  static inbox_item* oldest_first(std::uintptr_t head) noexcept;
  void ring(sleep how) noexcept;

  std::atomic<std::uintptr_t> head_{0};
  std::atomic<int> ringing_{0};  // Threads between seeing the loop asleep and having rung.
  reactor* reactor_ = nullptr;
  base::spin_wait spin_;
};

/// A callable as an inbox item.
class posted_function final : public inbox_item {
 public:
  explicit posted_function(base::unique_function<void()> fn) noexcept : fn_(std::move(fn)) {}
  void run() override;
  // tidy: allow new: a posted function owns itself until it is run or dropped
  void drop() noexcept override { delete this; }

 private:
  base::unique_function<void()> fn_;
};

}  // namespace coppice::core
