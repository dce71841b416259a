// SPDX-License-Identifier: Apache-2.0
#include "pyext/leaving.hpp"

#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <ctime>
#include <utility>

#include "actor/signals.hpp"
#include "base/forked.hpp"
#include "base/thread.hpp"
#include "pyext/ref.hpp"
#include "pyext/root.hpp"
#include "pyhost/guest_host.hpp"
#include "pyhost/guest_thread.hpp"

namespace coppice::py {

namespace {

constexpr const char* leaving_key = "coppice.leaving";  // In PyInterpreterState_GetDict().

struct leaving {
  std::shared_ptr<python_host> host;  // Shared with the runtime, which may have ended before.
  duration linger{};
};

void call_if_there(const ref& object, const char* method) {
  if (!object || object.get() == Py_None) return;
  if (!ref::take(PyObject_CallMethod(object.get(), method, nullptr))) PyErr_Clear();
}

// CPython would say "remaining subinterpreters": they have been reported, as what they are.
void silence_cpython() {
  const ref module = ref::take(PyImport_ImportModule("warnings"));
  if (!module || !ref::take(PyObject_CallMethod(module.get(), "filterwarnings", "ss", "ignore",
                                                "remaining subinterpreters")))
    PyErr_Clear();
}

void leave_after(duration linger, int status) {
  base::os_thread watchdog("coppice-exit", [linger, status] {
    timespec left{};
    left.tv_sec = static_cast<std::time_t>(linger / std::chrono::seconds(1));
    left.tv_nsec = static_cast<long>((linger % std::chrono::seconds(1)).count());
    while (::nanosleep(&left, &left) != 0) {
    }
    std::fflush(nullptr);
    ::_exit(status);
  });
  watchdog.abandon();  // It ends the process, or the process ends before.
}

PyObject* at_exit(PyObject* self, PyObject*) {
  auto* what = static_cast<leaving*>(PyCapsule_GetPointer(self, leaving_key));
  if (!what) return nullptr;
  if (base::is_forked_copy()) Py_RETURN_NONE;  // What is open is the original's.
  close_root();  // Its program left it open: no guest may run while CPython takes itself down.
  const std::shared_ptr<python_host> host = what->host;
  if (!host || !host->guests() || host->guests()->counts().quarantined == 0) Py_RETURN_NONE;
  int status = ref::of(PySys_GetObject("last_exc")) ? 1 : 0;
  if (tree::signal_watch::first() == SIGINT) status = 128 + SIGINT;
  flush_output();
  call_if_there(ref::of(PyDict_GetItemString(PyImport_GetModuleDict(), "logging")), "shutdown");
  // A guest's interpreter that is being ended right now is in nobody's reach: the end of the main
  // one beside it would free what it still uses.
  for (const quarantine_entry& e : host->guests()->quarantined())
    if (e.stuck_in != to_string(stuck_in::native_code)) ::_exit(status);
  silence_cpython();
  leave_after(what->linger, status);
  Py_RETURN_NONE;
}

PyMethodDef at_exit_definition = {"leave_quarantine_behind", at_exit, METH_NOARGS, nullptr};

}  // namespace

void flush_output() {
  for (const char* name : {"stdout", "stderr"})
    call_if_there(ref::of(PySys_GetObject(name)), "flush");
  std::fflush(nullptr);
}

bool guard_exit(std::shared_ptr<python_host> host, duration linger) {
  PyObject* dict = PyInterpreterState_GetDict(PyInterpreterState_Get());
  if (!dict) return PyErr_NoMemory(), false;
  if (PyObject* there = PyDict_GetItemString(dict, leaving_key)) {
    *static_cast<leaving*>(PyCapsule_GetPointer(there, leaving_key)) = {std::move(host), linger};
    return true;
  }
  auto what = std::make_unique<leaving>(leaving{std::move(host), linger});
  const ref capsule = ref::take(PyCapsule_New(what.get(), leaving_key, [](PyObject* c) {
    // tidy: allow new: the capsule is the owner
    delete static_cast<leaving*>(PyCapsule_GetPointer(c, leaving_key));
  }));
  if (!capsule) return false;
  (void)what.release();  // The capsule's from here on.
  const ref callback = ref::take(PyCFunction_New(&at_exit_definition, capsule.get()));
  const ref module = ref::take(PyImport_ImportModule("atexit"));
  if (!callback || !module) return false;
  return ref::take(PyObject_CallMethod(module.get(), "register", "O", callback.get())) &&
         PyDict_SetItemString(dict, leaving_key, capsule.get()) == 0;
}

}  // namespace coppice::py
