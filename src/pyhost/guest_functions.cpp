// SPDX-License-Identifier: Apache-2.0
#include "pyhost/guest_functions.hpp"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <ctime>

#include "pyhost/guest_core.hpp"
#include "pyhost/guest_hooks.hpp"
#include "pyhost/internals.hpp"

namespace coppice::py {
namespace {

PyObject* capsule_of(PyObject* self) {
  return PyDict_GetItemString(PyModule_GetDict(self), "guest");
}
PyObject* original_of(PyObject* self) {
  return PyDict_GetItemString(PyModule_GetDict(self), "original");
}
guest_core& guest_of(PyObject* self) {
  return *static_cast<guest_core*>(PyCapsule_GetPointer(capsule_of(self), guest_key));
}
bool on_guest_thread(const guest_core& guest) {
  return static_cast<unsigned long>(::pthread_self()) == guest.thread_ident;
}

// Raises the exception that was sent to this thread, if there is one. 3.15 does so in
// PyErr_CheckSignals.
bool raise_pending() {
  PyThreadState* mine = PyThreadState_Get();
  if (!async_exception_pending(mine)) return false;
  PyObject* type = Py_NewRef(mine->async_exc);
  PyThreadState_SetAsyncExc(mine->thread_id, nullptr);
  PyErr_SetNone(type);
  Py_DECREF(type);
  return true;
}

}  // namespace

// --- time.sleep --------------------------------------------------------------

PyObject* guest_sleep(PyObject* self, PyObject* seconds) {
  guest_core& guest = guest_of(self);
  const bool number = PyFloat_Check(seconds) || PyLong_Check(seconds);
  const double wanted = number ? PyFloat_AsDouble(seconds) : -1;
  if (wanted == -1 && PyErr_Occurred()) PyErr_Clear();
  // Everything odd (negative, NaN, too large, not a number, 0 which only yields) is the original's
  // to answer, and so is a sleep of any other thread: it is never interrupted, only forced.
  if (!on_guest_thread(guest) || !(wanted > 0 && wanted < 4e9)) {
    return PyObject_CallOneArg(original_of(self), seconds);
  }
  if (PySys_Audit("time.sleep", "O", seconds) < 0) return nullptr;
  timespec until{};
  ::clock_gettime(CLOCK_MONOTONIC, &until);
  const double whole = std::floor(wanted);
  until.tv_sec += static_cast<time_t>(whole);
  until.tv_nsec += static_cast<long>(std::ceil((wanted - whole) * 1e9));
  if (until.tv_nsec >= 1'000'000'000) until.tv_nsec -= 1'000'000'000, until.tv_sec += 1;
  for (;;) {
    // Read while we hold the GIL: whoever strikes needs it, so no wake-up falls between here and
    // the wait.
    const std::uint32_t word = guest.sleep_word.load();
    if (raise_pending() || PyErr_CheckSignals() < 0) return nullptr;
    int error = 0;
    Py_BEGIN_ALLOW_THREADS;
    // A system call of our own, because pthread_cond_timedwait hides EINTR, which is how force()
    // gets in.
    if (::syscall(SYS_futex, &guest.sleep_word, FUTEX_WAIT_BITSET_PRIVATE, word, &until, nullptr,
                  FUTEX_BITSET_MATCH_ANY) != 0) {
      error = errno;
    }
    Py_END_ALLOW_THREADS;
    if (error == ETIMEDOUT) break;
  }
  if (raise_pending()) return nullptr;
  Py_RETURN_NONE;
}

// --- processes ---------------------------------------------------------------

namespace {

// The original has not let go of the GIL since the process began, so nothing can force us in
// between.
PyObject* recorded(guest_core& guest, PyObject* pid) {
  if (!pid) return nullptr;
  const long number = PyLong_AsLong(pid);
  if (number > 0) {
    guest.children.record(static_cast<pid_t>(number));
  } else if (PyErr_Occurred()) {
    PyErr_Clear();
  }
  return pid;
}

}  // namespace

PyObject* guest_spawn(PyObject* self, PyObject* const* args, Py_ssize_t n, PyObject* names) {
  return recorded(guest_of(self),
                  PyObject_Vectorcall(original_of(self), args, static_cast<size_t>(n), names));
}

// system(3) retries its wait whatever happens and hides its child, so it could neither be forced
// nor ended. The same from parts that can. It leaves SIGINT alone: that belongs to the whole
// process.
PyObject* guest_system(PyObject* self, PyObject* const* args, Py_ssize_t n, PyObject* names) {
  if (n + (names ? PyTuple_GET_SIZE(names) : 0) != 1) {
    return PyObject_Vectorcall(original_of(self), args, static_cast<size_t>(n),
                               names);  // Its TypeError.
  }
  PyObject* command = nullptr;
  if (!PyUnicode_FSConverter(args[0], &command)) return nullptr;
  PyObject* result = nullptr;
  PyObject* posix = PyImport_ImportModule("posix");
  if (posix && PySys_Audit("os.system", "(O)", command) == 0) {
    PyObject* pid = PyObject_CallMethod(posix, "posix_spawn", "s(ssO)O", "/bin/sh", "sh", "-c",
                                        command, Py_None);
    PyObject* status = pid ? PyObject_CallMethod(posix, "waitpid", "Oi", pid, 0) : nullptr;
    if (status) result = Py_XNewRef(PyTuple_GetItem(status, 1));
    Py_XDECREF(status);
    Py_XDECREF(pid);
  }
  Py_XDECREF(posix);
  Py_DECREF(command);
  return result;
}

void set_fork_error(const char* function) {
  PyErr_Format(
      PyExc_RuntimeError,
      "%s() refused: %u sub-interpreter actor(s) live in this process, and CPython's child would "
      "crash at once; use start_method='forkserver' for an actor, "
      "multiprocessing.set_start_method('forkserver') for a pool, or subprocess for a program",
      function, live_interpreters().load());
}

PyObject* refuse_fork(PyObject* self, PyObject*) {
  PyObject* original = original_of(self);
  set_fork_error(PyCFunction_Check(original)
                     ? reinterpret_cast<PyCFunctionObject*>(original)->m_ml->ml_name
                     : "fork");
  return nullptr;
}

// --- signals, threads --------------------------------------------------------

PyObject* guest_sigmask(PyObject* self, PyObject* const* args, Py_ssize_t n, PyObject* names) {
  PyObject* result = PyObject_Vectorcall(original_of(self), args, static_cast<size_t>(n), names);
  guest_of(self).host->signals.open_here();
  return result;
}

PyObject* guest_main_ident(PyObject* self, PyObject*) {
  return PyLong_FromUnsignedLong(guest_of(self).thread_ident);
}

// --- nested interpreters -----------------------------------------------------

namespace {

// While one of these is open the reaper marks nothing: a thread parked inside an interpreter's
// birth or end would leave it half made. Raises when a stop has closed the gate.
class nested_work {
 public:
  explicit nested_work(guest_core& guest) : guest_(guest) {
    guest_.nested_busy.fetch_add(1);
    open_ = !guest_.nested_closed.load();
    if (open_) return;
    guest_.nested_busy.fetch_sub(1);
    PyErr_SetString(PyExc_RuntimeError, "this actor is being stopped");
  }
  nested_work(const nested_work&) = delete;
  ~nested_work() {
    if (open_) guest_.nested_busy.fetch_sub(1);
  }
  bool open() const { return open_; }

 private:
  guest_core& guest_;
  bool open_;
};

// Runs install_guest_hooks() in another interpreter on this thread.
bool hook_nested(guest_core& guest, PyInterpreterState* interpreter) {
  PyThreadState* there = PyThreadState_New(interpreter);
  if (!there) return false;
  PyThreadState* here = PyThreadState_Swap(there);
  const bool ok = install_guest_hooks(guest, true);
  if (!ok) PyErr_Clear();
  PyThreadState_Clear(there);
  PyThreadState_Swap(here);
  PyThreadState_Delete(there);
  return ok;
}

}  // namespace

PyObject* guest_nested_create(PyObject* self, PyObject* const* args, Py_ssize_t n,
                              PyObject* names) {
  guest_core& guest = guest_of(self);
  nested_work work(guest);
  if (!work.open()) return nullptr;
  PyObject* id = PyObject_Vectorcall(original_of(self), args, static_cast<size_t>(n), names);
  if (!id) return nullptr;
  const std::int64_t number = PyLong_AsLongLong(id);
  PyInterpreterState* made = _PyInterpreterState_LookUpID(number);
  if (!made) PyErr_Clear();
  {
    std::lock_guard lock(guest.nested_mutex);
    guest.nested.push_back(number);
  }
  if (made) hook_nested(guest, made);
  return id;
}

PyObject* guest_nested_end(PyObject* self, PyObject* const* args, Py_ssize_t n, PyObject* names) {
  guest_core& guest = guest_of(self);
  nested_work work(guest);
  if (!work.open()) return nullptr;
  PyObject* result = PyObject_Vectorcall(original_of(self), args, static_cast<size_t>(n), names);
  const std::int64_t number = n > 0 ? PyLong_AsLongLong(args[0]) : -1;
  if (number == -1 && PyErr_Occurred() && result) PyErr_Clear();
  if (result && !_PyInterpreterState_LookUpID(number)) {
    PyErr_Clear();  // It is gone; decref() may also have left it there.
    std::lock_guard lock(guest.nested_mutex);
    std::erase(guest.nested, number);
  }
  return result;
}

// --- imports -----------------------------------------------------------------

namespace {

bool contains(PyObject* text, const char* part) {
  const char* utf8 = text ? PyUnicode_AsUTF8(text) : nullptr;
  if (!utf8) PyErr_Clear();
  return utf8 && std::strstr(utf8, part);
}

// An ImportError that sub-interpreters cause gets a sentence about the ways out in front.
void explain_import_error(guest_core& guest, PyObject* spec) {
  if (!PyErr_ExceptionMatches(PyExc_ImportError)) return;
  PyObject* error = PyErr_GetRaisedException();
  PyObject* text = PyObject_Str(error);
  if (!text) PyErr_Clear();
  const bool refuses_own_gil = contains(text, "does not support loading in subinterpreters");
  const bool only_once = contains(text, "do not yet support subinterpreters") ||  // PyO3
                         contains(text, "nterpreter change detected") ||          // Cython
                         contains(text, "more than once per process");            // numpy
  if (!refuses_own_gil && !only_once) {
    Py_XDECREF(text);
    PyErr_SetRaisedException(error);
    return;
  }
  PyObject* name = PyObject_GetAttrString(spec, "name");
  PyObject* path = PyObject_GetAttrString(spec, "origin");
  PyErr_Clear();
  PyObject* message = refuses_own_gil
                          ? PyUnicode_FromFormat(
                                "the extension module %R does not load in an interpreter with a "
                                "GIL of its own (actor '%s'): "
                                "start the actor with start_method='process', or with gil='shared' "
                                "if it is the only one "
                                "in this process that needs the module (%U)",
                                name ? name : Py_None, guest.options.name.c_str(), text)
                          : PyUnicode_FromFormat(
                                "the extension module %R loads in one interpreter per process "
                                "only, and another one has it "
                                "(actor '%s'): start the actor with start_method='process' (%U)",
                                name ? name : Py_None, guest.options.name.c_str(), text);
  if (message) PyErr_SetImportError(message, name, path);
  PyObject* better = PyErr_GetRaisedException();
  if (better && message) PyException_SetCause(better, Py_NewRef(error));
  PyErr_SetRaisedException(better ? better : Py_NewRef(error));
  Py_XDECREF(message);
  Py_XDECREF(path);
  Py_XDECREF(name);
  Py_XDECREF(text);
  Py_DECREF(error);
}

}  // namespace

PyObject* guest_create_module(PyObject* self, PyObject* const* args, Py_ssize_t n,
                              PyObject* names) {
  PyObject* module = nullptr;
  {
    const wishing_main_gil wish(guest_of(self).main_gil);
    module = PyObject_Vectorcall(original_of(self), args, static_cast<size_t>(n), names);
  }
  if (!module && n > 0) explain_import_error(guest_of(self), args[0]);
  return module;
}

PyObject* guest_exec_module(PyObject* self, PyObject* module) {
  PyObject* result = PyObject_CallOneArg(original_of(self), module);
  if (!result) {
    PyObject* spec = PyModule_Check(module)
                         ? PyDict_GetItemString(PyModule_GetDict(module), "__spec__")
                         : nullptr;
    if (spec) explain_import_error(guest_of(self), spec);
    return nullptr;
  }
  if (!wrap_module(capsule_of(self), module)) Py_CLEAR(result);
  return result;
}

// --- frames ------------------------------------------------------------------

namespace {

template <class F>
PyObject* by_thread(const char* event, F&& value) {
  if (PySys_Audit(event, nullptr) < 0) return nullptr;
  PyObject* result = PyDict_New();
  // Threads of this interpreter only: their frames stand still while we hold its GIL. The list may
  // get new heads meanwhile (a reaper's thread state), but nothing leaves it without the GIL.
  PyThreadState* ts = PyInterpreterState_ThreadHead(PyInterpreterState_Get());
  for (; result && ts; ts = PyThreadState_Next(ts)) {
    PyObject* v = value(ts);
    if (!v) continue;
    PyObject* key = PyLong_FromUnsignedLong(ts->thread_id);
    if (!key || PyDict_SetItem(result, key, v) != 0) Py_CLEAR(result);
    Py_XDECREF(key);
    Py_DECREF(v);
  }
  return result;
}

}  // namespace

PyObject* safe_current_frames(PyObject*, PyObject*) {
  return by_thread("sys._current_frames", [](PyThreadState* ts) {
    return reinterpret_cast<PyObject*>(PyThreadState_GetFrame(ts));
  });
}

PyObject* safe_current_exceptions(PyObject*, PyObject*) {
  return by_thread("sys._current_exceptions", [](PyThreadState* ts) {
    const _PyErr_StackItem* item = ts->exc_info;
    while (item && (!item->exc_value || item->exc_value == Py_None) && item->previous_item) {
      item = item->previous_item;
    }
    return Py_NewRef(item && item->exc_value ? item->exc_value : Py_None);
  });
}

}  // namespace coppice::py
