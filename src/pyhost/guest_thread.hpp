// SPDX-License-Identifier: Apache-2.0
// A guest: one OS thread, one interpreter, and the upper rungs of its stop ladder.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "coppice/stop.hpp"

namespace coppice::py {

class guest_core;  // guest_core.hpp: the state that handle, guest thread and reaper share.
class guest_host;
class guest_side;  // guest_side.hpp: what the body may ask of its own guest. Needs Python.h.

enum class gil_kind : std::uint8_t {
  own,     // Truly parallel. Extensions that do not support it are refused at import.
  shared,  // The main interpreter's: every extension that tolerates sub-interpreters at all.
};

struct guest_options {
  std::string name = "guest";  // Threads: guest/<name>, reap/<name>. Cut to 15 bytes by the kernel.
  gil_kind gil = gil_kind::own;

  // Unset: what the kind of GIL needs. True with an own GIL is refused by start(): CPython accepts
  // it and then corrupts memory, because two GILs guard one allocator.
  std::optional<bool> use_main_obmalloc = std::nullopt;

  std::size_t stack_bytes = 0;  // Of the guest's thread; 0: the system's default.

  // Bounds at which the observer hears on_stuck(); nothing is given up at them.
  duration start_bound = std::chrono::seconds(3);  // Creation, counted from the first stop request.
  duration gil_bound = std::chrono::milliseconds(500);   // One wait of the reaper for its GIL.
  duration park_bound = std::chrono::milliseconds(500);  // Until all its threads are parked.
  duration end_bound = std::chrono::milliseconds(1000);  // Py_EndInterpreter and what it finalises.

  // How long a request to interrupt one call is kept while that call is not the running one.
  duration call_window = std::chrono::milliseconds(1000);

  // guest_host's own throw-away guest: forced without asking for a verdict.
  bool self_test = false;
};

/// The code that a guest runs. Owned by the guest; destroyed on the reaper's thread, without a GIL,
/// when the interpreter is gone.
///
/// # What run() must know
/// - It is called on the guest's thread, attached, on a heap thread state. It returns to end the
///   guest in the ordinary way; what it leaves unhandled in the interpreter is its own affair. It
///   never calls PyRun_SimpleString or PyErr_Print on an error of guest code: SystemExit would end
///   the process.
/// - A forced stop happens inside any call into CPython that may (re)take the GIL: control then
///   never comes back, and the frames up to run() are dropped without destructors. So: nothing that
///   must be released lives on the stack across such a call (members are fine), and no lock is held
///   there.
/// - PyObjects that members hold are released before run() returns, or given to the interpreter.
class guest_body {
 public:
  virtual ~guest_body() = default;
  virtual void run(guest_side& guest) noexcept = 0;

  /// A stop is wanted (or the running call should end): wake whatever native wait run() sits in,
  /// for example an event loop's wakeup fd. Called with every strike, so several times. Thread:
  /// reaper, no GIL held. Must not block.
  virtual void wake() noexcept {}
};

/// Why a stop makes no progress just now. It is said once per occasion; the stop goes on
/// regardless.
enum class stuck_in : std::uint8_t {
  start,  // The interpreter is still being created: somebody may hold the main interpreter's GIL.
  native_code,  // C code holds the guest's GIL: nothing can be done from outside. Abandon.
  native_wait,  // Forced, but a thread does not come back from C code that runs without the GIL.
                // Abandon.
  finalizer,    // Forced or returned, but an object's end (close, flush, __del__) does not return.
                // Abandon.
  deaf,       // It waits in a call that no exception reaches: a plain lock, a socket (before 3.15).
              // Only force() ends that wait.
  force_off,  // force() was asked for, but the self-test failed: rung 3 is off in this process.
};
std::string_view to_string(stuck_in s) noexcept;

/// Who hears of a guest. Called from the guest's thread, its reaper or `coppice-pywatch`, never
/// with a GIL held, one call at a time. Must not block. The guest_thread may be destroyed in the
/// last call, not in an earlier one.
///
///     [on_running [on_returned]] on_ended      or      on_start_failed
///
/// on_stuck may come anywhere before the last one. If abandon() answered true, on_reclaimed takes
/// the place of on_ended (and of everything that was still to come), and may never come.
class guest_observer {
 public:
  virtual ~guest_observer() = default;
  virtual void on_running() noexcept {}   // Interpreter up; the body runs next.
  virtual void on_returned() noexcept {}  // run() is back; atexit and threads' joins come next.
  virtual void on_stuck(stuck_in where, duration waited) noexcept = 0;

  /// No interpreter came up; nothing is left of it. The last call.
  virtual void on_start_failed(std::string_view text) noexcept = 0;

  /// Interpreter, threads and started processes are gone, apart from the reaper's own thread, which
  /// is about to end. The last call. `how`: none (it returned, and was not struck by
  /// interrupt(any_call)), interrupted or forced. `took`: since the first interrupt(any_call) or
  /// force(); zero without one.
  virtual void on_ended(rung how, duration took) noexcept = 0;

  /// A quarantined guest's code came back and everything was given back. The last call.
  virtual void on_reclaimed(duration age) noexcept = 0;
};

/// interrupt(): whatever the guest is running, again and again, until it is gone.
inline constexpr std::uint64_t any_call = 0;

/// The handle of one guest.
///
///     auto g = guest_thread::start(host, {.name = "worker"}, std::move(body), observer);
///     g->interrupt(any_call);            // rung 2; at the ladder's bound:
///     g->force();                        // rung 3; at its bound, or on on_stuck():
///     if (g->abandon()) …                // rung 4: it is in quarantine now
///     g.reset();                         // after the observer's last call, or after abandon()
///
/// # What it promises
/// - interrupt(), force(), abandon() never block, never need a GIL, may be called from any thread,
///   in any order, any number of times, at any moment of the guest's life, start and end included.
/// - The interpreter is ended by the reaper, a thread of its own made when the first of them is
///   asked for or when the body returns; by nobody else, exactly once, and never under running
///   code. Where no thread can be had, one that has left is ended on the watch instead.
/// - When on_ended has been called, no thread, fd or process of the guest is left. After a forced
///   stop that excepts the memory of the destroyed frames, and what C code on them had open for
///   itself (the folder of an os.listdir that was forced half-way; files, sockets and epoll objects
///   are closed).
///
/// # What it does not do
/// - interrupt() reaches the guest's own thread in the guest's own interpreter: not the other
///   threads it started, nor what it runs in interpreters that it made itself. Those can be forced.
/// - Only the guest's threads and its reaper may attach to its interpreter: a forced stop parks and
///   ends every thread that has a thread state there, a stranger's included.
///
/// # Why not pthread_cancel, or ending the interpreter under a blocked thread?
/// prototypes/rejected: the first corrupts CPython's process-wide lock table; the second is a use
/// after free as soon as the thread wakes.
///
/// Owner: one object, who must keep it until the observer's last call or abandon() == true. Thread:
/// any.
class guest_thread {
 public:
  /// Returns at once; the observer hears the rest. Throws backend_unavailable for options that
  /// CPython would accept and die of, std::system_error when no thread can be made. Needs no GIL.
  static std::unique_ptr<guest_thread> start(guest_host& host, guest_options options,
                                             std::unique_ptr<guest_body> body,
                                             std::shared_ptr<guest_observer> observer);
  guest_thread(const guest_thread&) = delete;
  guest_thread& operator=(const guest_thread&) = delete;
  ~guest_thread();  // Joins the reaper, which is done. Aborts if the guest is alive and not
                    // abandoned.

  /// Rung 2. Raises coppice.Interrupted in the guest's thread, and gets it out of time.sleep, of
  /// Condition.wait (Event, Queue, Condition) and of calls that return on EINTR. Repeated with
  /// backoff: the wake-up quickly, the exception slowly, so that `finally` blocks get their time.
  ///
  /// `call`: only while begin_call(call) is the innermost call on the guest's thread; a call that
  /// is over, or another one, is never struck. A call that has not begun is struck when it begins
  /// within call_window. any_call: everything, until the guest is gone.
  void interrupt(std::uint64_t call = any_call) noexcept;

  /// Rung 3. Park and destroy. Not to be undone.
  void force() noexcept;

  /// Rung 4. True: the guest is in quarantine from now on (or was already); its reaper stays with
  /// it and will force it as soon as its code comes back, then on_reclaimed. False: it has ended,
  /// the observer's last call has been made or is being made.
  bool abandon() noexcept;

  /// Waits until the observer's last call was made and the guest's threads are gone. For tests and
  /// for the end of a runtime. False: not within the bound.
  bool join_for(std::chrono::milliseconds bound);

  /// Renames the guest and its threads: a warm guest gets its actor's name. Before that, or any
  /// time.
  void rename(std::string_view name);

 private:
  explicit guest_thread(std::shared_ptr<guest_core> core) : core_(std::move(core)) {}
  std::shared_ptr<guest_core> core_;  // Shared: reaper and guest thread may outlive the handle.
};

}  // namespace coppice::py
