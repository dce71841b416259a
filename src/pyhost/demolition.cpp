// SPDX-License-Identifier: Apache-2.0
#include "pyhost/demolition.hpp"

#include <ctime>

#include "base/assert.hpp"
#include "pyhost/buffer_object.hpp"
#include "pyhost/close_handles.hpp"
#include "pyhost/end_modules.hpp"
#include "pyhost/live_handles.hpp"

namespace coppice::py {
namespace {

using std::chrono::steady_clock;

// While it lives, the observer hears on_stuck(where) once if `bound` passes.
class overrun_guard {
 public:
  overrun_guard(guest_core& guest, stuck_in where, duration bound)
      : timers_(guest.host->timers),
        ticket_(timers_.arm(
            steady_clock::now() + bound,
            [self = guest.shared_from_this(), where, bound] { self->tell_stuck(where, bound); })) {}
  overrun_guard(const overrun_guard&) = delete;
  ~overrun_guard() { timers_.disarm(ticket_); }

 private:
  watch& timers_;
  watch::ticket ticket_;
};

// Instead of a Python function or generator of a stopped guest: an error, and the frame is gone.
PyObject* refuse_to_run(PyThreadState* ts, struct _PyInterpreterFrame* frame, int throwing) {
  if (!throwing) PyErr_SetString(PyExc_RuntimeError, "this interpreter is being destroyed");
  _PyEval_FrameClearAndPop(ts, frame);
  return nullptr;
}

PyObject* say_nothing(PyObject*, PyObject*) { Py_RETURN_NONE; }
PyMethodDef say_nothing_definition = {"unraisablehook", say_nothing, METH_O, nullptr};

}  // namespace

void attach_with_bound(guest_core& guest, PyThreadState* ts) {
  const overrun_guard bound(guest, stuck_in::native_code, guest.options.gil_bound);
  PyEval_RestoreThread(ts);
}

demolition::demolition(guest_core& guest, PyThreadState* mine)
    : guest_(guest), mine_(mine), inmates_(guest.host->signals, guest.guest_tid_, guest.leave_) {}

void demolition::settle() {
  wait_for_nested_work();
  inmates_.spare_guest(true);
  attach_with_bound(guest_, mine_);
  mark_threads();
  PyEval_SaveThread();
  mark_annexes();
  park();
  end_annexes();
  inmates_.spare_guest(false);
  if (inmates_.empty()) return;
  attach_with_bound(guest_, mine_);
  close_handles(false);
  PyEval_SaveThread();
}

bool demolition::run(bool interrupted) {
  interrupted_ = interrupted;
  wait_for_nested_work();
  attach_with_bound(guest_, mine_);
  mark();
  PyEval_SaveThread();
  mark_annexes();
  guest_.settle(false);  // If its thread waits for that, it is marked now.
  park();
  guest_.main_gil.withdraw();
  end_annexes();
  end(mine_);
  inmates_.leave();
  return forced_;
}

// A thread inside _interpreters.create() or destroy() must not be parked: it would leave an
// interpreter half made or half gone. New ones are turned away, the present ones finish.
void demolition::wait_for_nested_work() {
  guest_.nested_closed.store(true);
  if (guest_.nested_busy.load() == 0) return;
  const overrun_guard bound(guest_, stuck_in::native_wait, guest_.options.park_bound);
  while (guest_.nested_busy.load() != 0) {
    const timespec ms{0, 1'000'000};
    ::nanosleep(&ms, nullptr);
  }
}

// With the GIL: every other thread of the interpreter is detached, so the marks stay.
void demolition::mark() {
  forced_ = guest_.guest_state_ != nullptr;
  silence();
  mark_threads();
}

void demolition::mark_threads() {
  inmates_.mark_all(guest_.interpreter_, mine_);
  std::lock_guard lock(guest_.nested_mutex);
  for (const std::int64_t id : guest_.nested) {
    PyInterpreterState* interpreter = _PyInterpreterState_LookUpID(id);
    if (interpreter) annexes_.push_back({interpreter, nullptr});
    PyErr_Clear();
  }
}

void demolition::mark_annexes() {
  for (annex& a : annexes_) {
    a.mine = PyThreadState_New(a.interpreter);
    COPPICE_ASSERT(a.mine, "no memory for a thread state");
    attach_with_bound(guest_, a.mine);
    silence();
    inmates_.mark_all(a.interpreter, a.mine);
    PyEval_SaveThread();
  }
}

void demolition::end_annexes() {
  for (auto a = annexes_.rbegin(); a != annexes_.rend(); ++a) end(a->mine);
  annexes_.clear();
  // Finalizers of an ordinary end may let go of what is gone by now.
  guest_.nested_closed.store(false);
}

// Takes away what Py_EndInterpreter would call of the guest: its exit callbacks, the joins of
// `threading` (and the import lock it might wait for), and all Python code.
void demolition::silence() {
  PyInterpreterState* interpreter = PyInterpreterState_Get();
  PyObject* modules = PyImport_GetModuleDict();
  _PyInterpreterState_SetEvalFrameFunc(interpreter, refuse_to_run);
  // The errors of refused finalizers are nobody's business.
  if (PyObject* hook = PyCFunction_New(&say_nothing_definition, nullptr)) {
    PySys_SetObject("unraisablehook", hook);
    Py_DECREF(hook);
  }
  if (PyObject* atexit = PyDict_GetItemString(modules, "atexit");
      atexit && PyModule_Check(atexit)) {
    PyObject* clear = PyDict_GetItemString(PyModule_GetDict(atexit), "_clear");
    PyObject* result = clear && PyCFunction_Check(clear) ? PyObject_CallNoArgs(clear) : nullptr;
    Py_XDECREF(result);
  }
  if (PyDict_GetItemString(modules, "threading")) PyDict_DelItemString(modules, "threading");
  PyErr_Clear();
}

void demolition::park() {
  if (inmates_.empty()) return;
  const overrun_guard bound(guest_, stuck_in::native_wait, guest_.options.park_bound);
  while (!inmates_.park(std::chrono::milliseconds(500))) {
    // Marked as they are they cannot come back to Python; until they are parked nothing may be
    // freed.
    const timespec pause{0, 50'000'000};
    ::nanosleep(&pause, nullptr);
  }
}

void demolition::end(PyThreadState* ts) {
  attach_with_bound(guest_, ts);
  const overrun_guard bound(guest_, stuck_in::finalizer, guest_.options.end_bound);
  const bool dropped_frames = !inmates_.empty();
  if (dropped_frames || interrupted_) close_handles(forced_);
  // Held until nobody can look at them.
  const auto owners = dropped_frames ? take_owners() : decltype(take_owners())();
  forget_originals();
  forget_handles(PyThreadState_GetInterpreter(ts));
  Py_EndInterpreter(ts);
}

}  // namespace coppice::py
