// SPDX-License-Identifier: Apache-2.0
#include "pyhost/guest_hooks.hpp"

#include <cstring>
#include <string>

#include "pyhost/guest_core.hpp"
#include "pyhost/guest_functions.hpp"
#include "pyhost/internals.hpp"
#include "pyhost/live_handles.hpp"

namespace coppice::py {
namespace {

constexpr const char* interrupted_key = "coppice.Interrupted";

struct hook {
  const char* module;
  PyMethodDef function;
  bool also_in_nested = true;
};

PyCFunction with_keywords(PyObject* (*f)(PyObject*, PyObject* const*, Py_ssize_t, PyObject*)) {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(f));
}
constexpr int fastcall = METH_FASTCALL | METH_KEYWORDS;

// By module, so that a module can be wrapped when it comes. Not const, because CPython keeps
// pointers to non-const definitions; written once, by wrap().
hook hooks[] = {
    {"time", {"sleep", guest_sleep, METH_O, nullptr}},
    {"posix", {"posix_spawn", with_keywords(guest_spawn), fastcall, nullptr}},
    {"posix", {"posix_spawnp", with_keywords(guest_spawn), fastcall, nullptr}},
    {"posix", {"system", with_keywords(guest_system), fastcall, nullptr}},
    {"posix", {"fork", refuse_fork, METH_NOARGS, nullptr}},
    {"posix", {"forkpty", refuse_fork, METH_NOARGS, nullptr}},
    // `from posix import *` has copied them:
    {"os", {"fork", refuse_fork, METH_NOARGS, nullptr}},
    {"os", {"forkpty", refuse_fork, METH_NOARGS, nullptr}},
    {"os", {"posix_spawn", with_keywords(guest_spawn), fastcall, nullptr}},
    {"os", {"posix_spawnp", with_keywords(guest_spawn), fastcall, nullptr}},
    {"os", {"system", with_keywords(guest_system), fastcall, nullptr}},
    {"_posixsubprocess", {"fork_exec", with_keywords(guest_spawn), fastcall, nullptr}},
    // Imported by a .pth file, before we came:
    {"subprocess", {"_fork_exec", with_keywords(guest_spawn), fastcall, nullptr}},
    {"_signal", {"pthread_sigmask", with_keywords(guest_sigmask), fastcall, nullptr}},
    {"_thread", {"_get_main_thread_ident", guest_main_ident, METH_NOARGS, nullptr}, false},
    {"_interpreters", {"create", with_keywords(guest_nested_create), fastcall, nullptr}},
    {"_interpreters", {"destroy", with_keywords(guest_nested_end), fastcall, nullptr}},
    {"_interpreters", {"decref", with_keywords(guest_nested_end), fastcall, nullptr}},
    {"_imp", {"create_dynamic", with_keywords(guest_create_module), fastcall, nullptr}},
    {"_imp", {"create_builtin", with_keywords(guest_create_module), fastcall, nullptr}},
    {"_imp", {"exec_dynamic", guest_exec_module, METH_O, nullptr}},
    {"_imp", {"exec_builtin", guest_exec_module, METH_O, nullptr}},
};

hook frame_hooks[] = {
    {"sys", {"_current_frames", safe_current_frames, METH_NOARGS, nullptr}},
    {"sys", {"_current_exceptions", safe_current_exceptions, METH_NOARGS, nullptr}},
};

// A stand-in for the module as `self`: pickle takes a built-in function by name only if its self is
// a module, and `pool.submit(time.sleep, 1)` must go on working. It carries what the function
// needs.
PyObject* new_self(const hook& h, PyObject* capsule, PyObject* original) {
  PyObject* self = PyModule_New(h.module);
  if (!self) return nullptr;
  PyObject* dict = PyModule_GetDict(self);
  if (PyDict_SetItemString(dict, "guest", capsule) == 0 &&
      PyDict_SetItemString(dict, "original", original) == 0) {
    return self;
  }
  Py_DECREF(self);
  return nullptr;
}

// module.name = our function. A name that is missing, or wrapped already, is left alone.
bool wrap(PyObject* module, hook& h, PyObject* capsule) {
  PyObject* dict = PyModule_Check(module) ? PyModule_GetDict(module) : nullptr;
  PyObject* original = dict ? PyDict_GetItemString(dict, h.function.ml_name) : nullptr;
  if (!original) return true;
  if (PyCFunction_Check(original)) {
    if (PyCFunction_GET_FUNCTION(original) == h.function.ml_meth) return true;
    // Docstring and signature stay; they are static text of CPython, the same for every
    // interpreter.
    const char* doc = reinterpret_cast<PyCFunctionObject*>(original)->m_ml->ml_doc;
    __atomic_store_n(&h.function.ml_doc, doc, __ATOMIC_RELAXED);
  }
  PyObject* self = new_self(h, capsule, original);
  PyObject* name = self ? PyUnicode_InternFromString(h.module) : nullptr;
  PyObject* function = name ? PyCFunction_NewEx(&h.function, self, name) : nullptr;
  Py_XDECREF(name);
  Py_XDECREF(self);
  if (!function) return false;
  const bool ok = PyDict_SetItemString(dict, h.function.ml_name, function) == 0;
  Py_DECREF(function);
  return ok;
}

bool is_nested(PyObject* capsule) { return PyCapsule_GetContext(capsule) != nullptr; }

template <std::size_t N>
bool wrap_present(hook (&list)[N], PyObject* capsule) {
  PyObject* modules = PyImport_GetModuleDict();
  for (hook& h : list) {
    if (!h.also_in_nested && is_nested(capsule)) continue;
    PyObject* module = PyDict_GetItemString(modules, h.module);
    if (module && !wrap(module, h, capsule)) return false;
  }
  return true;
}

// gh-158364 is mended in 3.14.8 and in 3.15.0, not in its release candidates.
bool frames_need_wrapping() {
  return Py_Version < 0x030E0800 || (Py_Version >= 0x030F0000 && Py_Version < 0x030F00F0);
}

PyObject* interpreter_dict() { return PyInterpreterState_GetDict(PyInterpreterState_Get()); }

constinit std::atomic<bool> audit_installed{false};

int audit(const char* event, PyObject*, void*) {
  if (event[0] != 'o') return 0;  // Every import and open comes by here.
  if (std::strcmp(event, "os.fork") != 0 && std::strcmp(event, "os.forkpty") != 0) return 0;
  if (live_interpreters().load() == 0) return 0;
  set_fork_error(event);
  return -1;
}

}  // namespace

std::atomic<unsigned>& live_interpreters() noexcept {
  static constinit std::atomic<unsigned> count{0};
  return count;
}

bool wrap_module(PyObject* capsule, PyObject* module) {
  watch_handles(module);
  const char* name = PyModule_Check(module) ? PyModule_GetName(module) : nullptr;
  if (!name) {
    PyErr_Clear();
    return true;
  }
  for (hook& h : hooks) {
    if (!h.also_in_nested && is_nested(capsule)) continue;
    if (std::strcmp(h.module, name) == 0 && !wrap(module, h, capsule)) return false;
  }
  return true;
}

bool install_guest_hooks(guest_core& guest, bool nested) noexcept {
  PyObject* capsule = PyCapsule_New(&guest, guest_key, nullptr);
  if (!capsule) return false;
  if (nested) PyCapsule_SetContext(capsule, &guest);
  if (PyObject* select = PyDict_GetItemString(PyImport_GetModuleDict(), "select")) {
    watch_handles(select);  // A .pth file has imported it.
  }
  PyObject* dict = interpreter_dict();
  const bool ok = dict && PyDict_SetItemString(dict, guest_key, capsule) == 0 &&
                  wrap_present(hooks, capsule) &&
                  (!frames_need_wrapping() || wrap_present(frame_hooks, capsule));
  Py_DECREF(capsule);
  return ok;
}

bool install_main_hooks() noexcept {
  return !frames_need_wrapping() || wrap_present(frame_hooks, Py_None);
}

bool install_audit_hook() noexcept {
  if (audit_installed.exchange(true)) return true;
  if (PySys_AddAuditHook(audit, nullptr) == 0) return true;
  audit_installed.store(false);
  return false;
}

void forget_audit_hook() noexcept { audit_installed.store(false); }

guest_side* guest_side::current() noexcept {
  PyObject* dict = interpreter_dict();
  PyObject* capsule = dict ? PyDict_GetItemString(dict, guest_key) : nullptr;
  if (!capsule) return nullptr;
  return &static_cast<guest_core*>(PyCapsule_GetPointer(capsule, guest_key))->side;
}

PyObject* interrupted_type() noexcept {
  PyObject* dict = interpreter_dict();
  if (!dict) return PyErr_NoMemory();
  if (PyObject* known = PyDict_GetItemString(dict, interrupted_key)) return known;
  PyObject* type = PyErr_NewExceptionWithDoc(
      "coppice.Interrupted",
      "The running call, or the whole actor, is being stopped. Raised inside running code; clean "
      "up and\n"
      "let it pass. Not an Exception, so that no `except Exception` swallows it.",
      PyExc_BaseException, nullptr);
  if (!type) return nullptr;
  const bool kept = PyDict_SetItemString(dict, interrupted_key, type) == 0;
  Py_DECREF(type);  // The interpreter's dict holds it now.
  return kept ? type : nullptr;
}

}  // namespace coppice::py
