// SPDX-License-Identifier: Apache-2.0
// The state of one guest that its handle, its thread and its reaper share.
#pragma once

#include <atomic>
#include <condition_variable>
#include <csetjmp>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/thread.hpp"
#include "pyhost/children.hpp"
#include "pyhost/guest_side.hpp"
#include "pyhost/guest_thread.hpp"
#include "pyhost/host_core.hpp"
#include "pyhost/main_gil.hpp"
#include "pyhost/signals_rt.hpp"
#include "pyhost/watch.hpp"

namespace coppice::py {

/// One guest. Who does what:
///
/// - *guest thread* (drive(), guest_core.cpp): makes the interpreter, runs the body, runs the exit
///   hooks, has the reaper park whatever else runs in there, runs the finalizers, gives up its
///   thread state and sets phase::left. After that it never touches Python.
/// - *reaper* (reaper.cpp): strikes (rung 2), forces (rung 3), and always the one that ends the
///   interpreter. Sits in quarantine with a guest that does not come back.
/// - *anybody*: requests, which only write a few words under mutex_ and wake the reaper.
///
/// Why a mutex here (STYLE.md allows few): requests come from threads that know nothing of each
/// other, and none of them may wait for a GIL. It is never held across a call into CPython or an
/// observer.
class guest_core : public std::enable_shared_from_this<guest_core> {
 public:
  enum class phase : std::uint8_t {
    starting,  // No interpreter yet.
    failed,    // None will come.
    up,        // The guest thread may touch the interpreter.
    closing,   // Likewise. Its body and its exit hooks are over; its finalizers come next.
    left,      // It will not any more.
    gone,      // Interpreter ended.
  };

  guest_core(std::shared_ptr<host_core> h, guest_options o, std::unique_ptr<guest_body> b,
             std::shared_ptr<guest_observer> w);
  guest_core(const guest_core&) = delete;
  guest_core& operator=(const guest_core&) = delete;

  // Constant after construction.
  const std::shared_ptr<host_core> host;
  const guest_options options;
  const std::shared_ptr<guest_observer> observer;

  std::unique_ptr<guest_body> body;  // Destroyed by the reaper.
  guest_side side{*this};
  child_processes children;

  // --- requests: any thread ----------------------------------------------------
  void start_thread();  // Throws std::system_error.
  void request_interrupt(std::uint64_t call) noexcept;
  void request_force() noexcept;
  bool request_abandon() noexcept;
  bool finished(std::chrono::milliseconds bound);
  void handle_gone() noexcept;  // From ~guest_thread.
  void rename(std::string_view name);

  void tell_stuck(stuck_in where, duration waited) noexcept;  // From the watch or the reaper.

  // --- guest thread ------------------------------------------------------------
  void begin_call(std::uint64_t n) noexcept;
  void end_call(std::uint64_t n) noexcept;
  bool stopping() const noexcept { return stop_wanted_.load(std::memory_order_relaxed); }
  std::uint64_t innermost_call() const noexcept { return innermost_.load(); }

  main_gil_wish main_gil;

  // What the guest's own functions (guest_hooks.cpp) use. Written before the body runs.
  unsigned long thread_ident = 0;            // pthread_self() of the guest thread.
  std::atomic<std::uint32_t> sleep_word{0};  // A futex: changes whenever a sleeper must look up.
  void wake_sleeper() noexcept;

  // Nested interpreters, by id, oldest first. Guarded by nested_mutex: guest code in one of them
  // does not hold the GIL of the other.
  // tidy: allow lock: see above, and no loop runs in a guest
  std::mutex nested_mutex;
  std::vector<std::int64_t> nested;
  // Threads inside _interpreters.create(), destroy(), decref(). They must not be parked there, so
  // the reaper first closes the gate and then waits until the count is 0.
  std::atomic<int> nested_busy{0};
  std::atomic<bool> nested_closed{false};

 private:
  friend class reaper;
  friend class demolition;

  static void drive(guest_core* self) noexcept;
  bool create_interpreter() noexcept;
  void run_guest() noexcept;
  void leave_python() noexcept;
  void set_phase(phase p);
  void run_exit_hooks() noexcept;
  void run_finalizers() noexcept;
  bool wait_until_alone() noexcept;
  void settle(bool run_finalizers);  // The reaper's answer.
  void settle_locked(bool run_finalizers);

  void ensure_reaper_locked();
  void try_again_to_reap();
  void begin_stop_locked() noexcept;  // Notes the time of the first request; arms start_bound.

  // Telling the observer: one call at a time, nothing after the last, nothing after abandon().
  template <class F>
  void tell(F&& call);
  void tell_last(rung how);

  // tidy: allow lock: requests come from any thread and may not wait for a GIL (class comment)
  mutable std::mutex mutex_;
  // tidy: allow lock: the reaper has no loop to be woken through
  std::condition_variable changed_;

  // Guarded by mutex_.
  phase phase_ = phase::starting;
  bool want_force_ = false;
  bool force_refused_ = false;  // The self-test failed: on_stuck(force_off) was said.
  bool reaper_made_ = false;
  bool settled_ = false;          // phase::closing: whatever is to be parked is parked.
  bool finalizers_run_ = false;   // Then: on the guest's thread. Else not at all.
  bool reaped_by_watch_ = false;  // There was no thread to be had for a reaper.
  bool quarantined_ = false;
  bool ended_ = false;  // Decided: the observer's last call is being or was made.
  bool done_ = false;   // It was made.
  bool handle_gone_ = false;
  std::chrono::steady_clock::time_point first_request_{};  // Zero: nobody asked.
  std::chrono::steady_clock::time_point abandoned_at_{};
  std::chrono::steady_clock::time_point settled_at_{};
  std::string name_;
  std::string stuck_text_;  // The last on_stuck, for quarantined().
  struct target {
    std::uint64_t call;
    std::chrono::steady_clock::time_point expires;   // max(): never (any_call).
    std::chrono::steady_clock::time_point next;      // Of the next strike.
    std::chrono::steady_clock::time_point raised{};  // When the exception was last sent.
    std::chrono::milliseconds wake_gap{4};
    std::chrono::milliseconds raise_gap{100};
  };
  std::vector<target> targets_;
  base::os_thread guest_thread_;
  base::os_thread reaper_thread_;

  // tidy: allow lock: three threads may have something to tell
  std::mutex observer_mutex_;  // Held around every call of the observer; never with mutex_.

  // Written by the guest thread before phase::up, constant after it.
  PyInterpreterState* interpreter_ = nullptr;
  pid_t guest_tid_ = 0;
  sigjmp_buf base_frame_{};
  leave_order leave_{&base_frame_};
  std::string start_error_;

  // Guarded by the guest's GIL.
  PyThreadState* guest_state_ = nullptr;  // Null once the guest thread has given it up.
  std::vector<std::uint64_t> calls_;      // Innermost last.

  std::atomic<std::uint64_t> innermost_{0};
  std::atomic<bool> targets_pending_{
      false};  // begin_call() and end_call() look here before they lock.
  std::atomic<bool> stop_wanted_{false};
};

/// The reaper's thread function.
void reap(const std::shared_ptr<guest_core>& guest) noexcept;

}  // namespace coppice::py
