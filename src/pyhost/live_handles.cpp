// SPDX-License-Identifier: Apache-2.0
#include "pyhost/live_handles.hpp"

#include <cstring>
#include <mutex>
#include <new>
#include <unordered_map>

namespace coppice::py {
namespace {

struct registry {
  // tidy: allow lock: guests do not share a GIL, and none has a loop
  std::mutex mutex;                                     // Never held across a call into CPython.
  std::unordered_map<void*, PyInterpreterState*> live;  // Guarded by mutex.
};

registry& all() {
  static auto* const one = new registry;  // tidy: allow new: outlives every guest in quarantine
  return *one;
}

PyObject* allocate(PyTypeObject* type, Py_ssize_t items) noexcept {
  PyObject* object = PyType_GenericAlloc(type, items);
  if (!object) return nullptr;
  try {
    std::lock_guard lock(all().mutex);
    all().live[object] = PyInterpreterState_Get();
  } catch (const std::bad_alloc&) {
    PyObject_Free(object);  // Not its own end: that would close descriptor 0.
    Py_DECREF(type);
    return PyErr_NoMemory();
  }
  return object;
}

void release(void* object) noexcept {
  {
    std::lock_guard lock(all().mutex);
    all().live.erase(object);
  }
  PyObject_Free(object);
}

}  // namespace

void watch_handles(PyObject* module) noexcept {
  const char* name = PyModule_Check(module) ? PyModule_GetName(module) : nullptr;
  PyErr_Clear();
  if (!name || std::strcmp(name, "select") != 0) return;
  PyObject* epoll = PyDict_GetItemString(PyModule_GetDict(module), "epoll");
  if (!epoll || !PyType_Check(epoll)) return;
  auto* type = reinterpret_cast<PyTypeObject*>(epoll);
  // Each interpreter has a type of its own. Only where we know whom we stand in for.
  if (!(type->tp_flags & Py_TPFLAGS_HEAPTYPE) || PyType_IS_GC(type) ||
      type->tp_alloc != PyType_GenericAlloc || type->tp_free != PyObject_Free)
    return;
  type->tp_alloc = allocate;
  type->tp_free = release;
}

std::vector<PyObject*> live_handles() {
  std::vector<PyObject*> found;
  const PyInterpreterState* here = PyInterpreterState_Get();
  std::lock_guard lock(all().mutex);
  for (const auto& [object, interpreter] : all().live) {
    auto* handle = static_cast<PyObject*>(object);
    // 0: a thread was parked in the middle of its end, and has closed it.
    if (interpreter == here && Py_REFCNT(handle) > 0) found.push_back(Py_NewRef(handle));
  }
  return found;
}

void forget_handles(PyInterpreterState* interpreter) noexcept {
  std::lock_guard lock(all().mutex);
  std::erase_if(all().live, [interpreter](const auto& one) { return one.second == interpreter; });
}

}  // namespace coppice::py
