// SPDX-License-Identifier: Apache-2.0
// The thread that stands beside a guest when it has to stop: it strikes, it forces, and it always
// ends the interpreter.
#include <algorithm>
#include <optional>
#include <string_view>

#include "base/assert.hpp"
#include "base/thread.hpp"
#include "pyhost/demolition.hpp"
#include "pyhost/guest_core.hpp"
#include "pyhost/internals.hpp"

namespace coppice::py {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

namespace {

constexpr milliseconds wake_gap_max{128};
constexpr milliseconds raise_gap_max{2000};
constexpr milliseconds children_bound{1000};
// Woken several times by then, an exception that is still waiting will not be taken: what the
// thread waits in goes on waiting. A guest that is only starved of processor time is not blocked.
constexpr milliseconds deaf_after{30};
// Finalizers that end are not struck just because a stop came.
constexpr milliseconds finalizers_get{200};

bool is_text(PyObject* object, const char* text) {
  return object && PyUnicode_Check(object) && PyUnicode_CompareWithASCIIString(object, text) == 0;
}

// The lock that a threading.Condition.wait() waits for, if `ts` is in one just now (that is where
// Event.wait, Queue.get, Barrier.wait, Future.result end up too). Nobody else has it: it is made by
// wait() for this one wait. An owned reference, or null. Runs no code of the guest.
PyObject* waiter_lock(PyThreadState* ts) {
  PyFrameObject* frame = PyThreadState_GetFrame(ts);
  if (!frame) return nullptr;
  PyCodeObject* code = PyFrame_GetCode(frame);
  PyObject* globals = PyFrame_GetGlobals(frame);
  PyObject* lock = nullptr;
  if (is_text(code->co_qualname, "Condition.wait") && PyDict_Check(globals) &&
      is_text(PyDict_GetItemString(globals, "__name__"), "threading")) {
    lock = PyFrame_GetVarString(frame, "waiter");
    if (lock && std::string_view(Py_TYPE(lock)->tp_name) != "_thread.lock") Py_CLEAR(lock);
  }
  PyErr_Clear();
  Py_DECREF(globals);
  Py_DECREF(code);
  Py_DECREF(frame);
  return lock;
}

// Wakes `ts` out of a Condition.wait(). It finds its exception waiting and removes itself from the
// condition's list, as it does for KeyboardInterrupt.
void release_waiter(PyThreadState* ts) {
  PyObject* lock = waiter_lock(ts);
  if (!lock) return;
  PyObject* locked = PyObject_CallMethod(lock, "locked", nullptr);
  if (locked == Py_True) {
    PyObject* result = PyObject_CallMethod(lock, "release", nullptr);
    Py_XDECREF(result);
  }
  Py_XDECREF(locked);
  Py_DECREF(lock);
  PyErr_Clear();
}

}  // namespace

class reaper {
 public:
  explicit reaper(guest_core& guest) : guest_(guest) {}

  void run() {
    if (!wait_for_interpreter()) {
      finish(rung::none);
      return;
    }
    mine_ = PyThreadState_New(guest_.interpreter_);
    COPPICE_ASSERT(mine_, "no memory for a reaper's thread state");
    demolition_.emplace(guest_, mine_);
    attend();
    const bool forced = demolition_->run(struck_any_);
    if (forced && !guest_.options.self_test) guest_.host->forced.fetch_add(1);
    guest_.children.end(children_bound);
    live_interpreters().fetch_sub(1);
    guest_.host->live.fetch_sub(1);
    finish(forced ? rung::forced : struck_any_ ? rung::interrupted : rung::none);
  }

 private:
  bool wait_for_interpreter() {
    std::unique_lock lock(guest_.mutex_);
    guest_.changed_.wait(lock, [this] { return guest_.phase_ != guest_core::phase::starting; });
    return guest_.phase_ != guest_core::phase::failed;
  }

  // Until the guest has left by itself or must be forced.
  void attend() {
    std::unique_lock lock(guest_.mutex_);
    while (is_in_python_locked()) {
      if (guest_.want_force_ && !guest_.force_refused_) {
        lock.unlock();
        if (may_force()) return;
        guest_.tell_stuck(stuck_in::force_off, {});
        lock.lock();
        guest_.force_refused_ = true;
        continue;
      }
      if (guest_.phase_ == guest_core::phase::closing && !guest_.settled_) {
        lock.unlock();
        settle();
        lock.lock();
        continue;
      }
      const auto next = due_target();
      if (due_call_) {
        strike_locked(lock, *due_call_);
      } else if (next == steady_clock::time_point::max()) {
        guest_.changed_.wait(lock);
      } else {
        guest_.changed_.wait_until(lock, next);
      }
    }
  }

  bool is_in_python_locked() const {
    return guest_.phase_ == guest_core::phase::up || guest_.phase_ == guest_core::phase::closing;
  }

  // What had to be interrupted runs no finalizers.
  void settle() {
    const bool by_itself = !struck_any_;
    if (by_itself) demolition_->settle();
    guest_.settle(by_itself);
  }

  bool may_force() {
    return guest_.options.self_test || guest_.host->self_test().is == force_verdict::state::works;
  }

  // Sets due_call_ to a call that should be struck now; otherwise returns when to look again.
  steady_clock::time_point due_target() {
    const auto now = steady_clock::now();
    due_call_.reset();
    std::erase_if(guest_.targets_, [now](const guest_core::target& t) { return t.expires <= now; });
    guest_.targets_pending_.store(!guest_.targets_.empty());
    auto next = steady_clock::time_point::max();
    for (const guest_core::target& t : guest_.targets_) {
      // begin_call() wakes us, so one that does not run just now needs a look only when it expires.
      const bool runs = t.call == any_call || t.call == guest_.innermost_call();
      const auto at = std::max(t.next, guest_.settled_at_ + finalizers_get);
      if (runs && at <= now) {
        due_call_ = t.call;
        return now;
      }
      next = std::min({next, t.expires, runs ? at : t.expires});
    }
    return next;
  }

  void strike_locked(std::unique_lock<std::mutex>& lock, std::uint64_t call) {
    guest_core::target t = *find(call);
    lock.unlock();
    strike(t);
    lock.lock();
    if (const auto now = find(call); now != guest_.targets_.end()) {
      t.expires = now->expires;
      *now = t;
    }
  }

  std::vector<guest_core::target>::iterator find(std::uint64_t call) {
    return std::find_if(guest_.targets_.begin(), guest_.targets_.end(),
                        [call](const guest_core::target& t) { return t.call == call; });
  }

  // Rung 2, once. The exception is repeated slowly, so that `finally` blocks get their time; the
  // waking up is repeated quickly, because a wake-up that comes between two waits is lost.
  void strike(guest_core::target& t) {
    // Looked at before we attach: then nobody else holds its GIL on our account, so a thread that
    // is off the processor waits in a call of its own.
    const bool off_processor = t.call == any_call && base::is_blocked(guest_.guest_tid_);
    attach_with_bound(guest_, mine_);
    PyThreadState* ts = guest_.guest_state_;
    bool waiting = false;
    // Here is the fence: the guest's thread cannot begin or end a call while we hold its GIL.
    const bool runs = ts && (t.call == any_call || t.call == guest_.innermost_call());
    if (runs) {
      const auto now = steady_clock::now();
      const bool first = t.raised == steady_clock::time_point{};
      took_any_ = took_any_ || (!first && !async_exception_pending(ts));
      if (!async_exception_pending(ts) && (first || now - t.raised >= t.raise_gap)) {
        if (PyObject* type = interrupted_type())
          PyThreadState_SetAsyncExc(guest_.thread_ident, type);
        PyErr_Clear();
        if (!first) t.raise_gap = std::min(t.raise_gap * 2, raise_gap_max);
        t.raised = now;
        t.wake_gap = milliseconds(4);
        struck_any_ = struck_any_ || t.call == any_call;
      }
      waiting = async_exception_pending(ts);
      if (waiting) release_waiter(ts);
    }
    PyEval_SaveThread();
    if (!runs) return;
    if (waiting && off_processor && !took_any_ && steady_clock::now() - t.raised >= deaf_after &&
        !said_deaf_) {
      said_deaf_ = true;
      guest_.tell_stuck(stuck_in::deaf, steady_clock::now() - t.raised);
    }
    if (waiting) {
      guest_.wake_sleeper();
      guest_.body->wake();
      guest_.host->signals.send_kick(guest_.guest_tid_);
      t.next = steady_clock::now() + t.wake_gap;
      t.wake_gap = std::min(t.wake_gap * 2, wake_gap_max);
    } else {
      t.next = t.raised + t.raise_gap;  // It was raised. If it is swallowed, once more.
    }
  }

  void finish(rung how) {
    base::os_thread thread;
    {
      std::lock_guard lock(guest_.mutex_);
      guest_.phase_ = guest_core::phase::gone;
      thread = std::move(guest_.guest_thread_);
    }
    thread.join();  // It has nothing left to do but to return.
    guest_.body.reset();
    guest_.tell_last(how);
  }

  guest_core& guest_;
  PyThreadState* mine_ = nullptr;
  std::optional<demolition> demolition_;
  std::optional<std::uint64_t> due_call_;
  bool struck_any_ = false;
  bool took_any_ = false;  // It has begun to unwind: what it waits in now is its own cleanup.
  bool said_deaf_ = false;
};

void reap(const std::shared_ptr<guest_core>& guest) noexcept { reaper(*guest).run(); }

}  // namespace coppice::py
