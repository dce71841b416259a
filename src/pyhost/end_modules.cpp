// SPDX-License-Identifier: Apache-2.0
#include "pyhost/end_modules.hpp"

#include "pyhost/close_handles.hpp"
#include "pyhost/owned.hpp"
#include "pyhost/python.hpp"

namespace coppice::py {
namespace {

constexpr const char* originals_key = "coppice.originals";

// The dict of a module that is imported, borrowed; null without one.
PyObject* dict_of(const char* name) {
  PyObject* module = PyDict_GetItemString(PyImport_GetModuleDict(), name);
  return module && PyModule_Check(module) ? PyModule_GetDict(module) : nullptr;
}

// A copy of what stands in a dict now, as a list of (key, value); null: no memory.
PyObject* items_of(PyObject* dict) {
  PyObject* items = PyDict_Items(dict);
  PyErr_Clear();
  return items;
}

// Drops the item itself, too: what only it holds must end before its successor does.
template <class F>
void for_each_item(PyObject* dict, F&& f) {
  const owned items(items_of(dict));
  if (!items) return;
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(items.get()); ++i) {
    PyObject* item = PyList_GET_ITEM(items.get(), i);
    f(PyTuple_GET_ITEM(item, 0), PyTuple_GET_ITEM(item, 1));
    PyErr_Clear();
    PyList_SetItem(items.get(), i, Py_NewRef(Py_None));
  }
}

void restore(PyObject* dict, PyObject* originals) {
  for_each_item(dict, [&](PyObject* key, PyObject* value) {
    PyObject* original = PyDict_GetItemWithError(originals, key);
    if (!original) {
      PyDict_DelItem(dict, key);
    } else if (original != value) {
      PyDict_SetItem(dict, key, original);
    }
  });
}

// As finalize_modules_delete_special(): "common places where user values hide".
void empty_sys(PyObject* sys) {
  for (const char* name : {"path", "argv", "meta_path", "path_hooks", "path_importer_cache"}) {
    if (PyDict_GetItemString(sys, name)) PyDict_SetItemString(sys, name, Py_None);
    PyErr_Clear();
  }
}

void restore_builtin_modules() {
  PyObject* all =
      PyDict_GetItemString(PyInterpreterState_GetDict(PyInterpreterState_Get()), originals_key);
  if (!all) return;
  for (const char* name : {"builtins", "sys"}) {
    PyObject* dict = dict_of(name);
    PyObject* originals = PyDict_GetItemString(all, name);
    if (dict && originals) restore(dict, originals);
  }
  if (PyObject* sys = dict_of("sys")) empty_sys(sys);
  forget_originals();  // Or the collector would find that they hold sys.meta_path, and so on.
}

// One of C, which its interpreter holds, or a part of the import system: those stay until
// Py_EndInterpreter.
bool stays(PyObject* module) {
  if (!PyModule_Check(module)) return false;
  if (PyModule_GetDef(module) || PyModule_GetState(module)) return true;
#if PY_VERSION_HEX >= 0x030F0000
  void* token = nullptr;
  if (PyModule_GetToken(module, &token) == 0 && token) return true;
#endif
  PyObject* modules = PyImport_GetModuleDict();
  return module == PyDict_GetItemString(modules, "_frozen_importlib") ||
         module == PyDict_GetItemString(modules, "_frozen_importlib_external");
}

// Takes them out of sys.modules. A list of weak references, in the order of their import.
PyObject* remove_modules() {
  PyObject* modules = PyImport_GetModuleDict();
  PyObject* removed = PyList_New(0);
  for_each_item(modules, [&](PyObject* name, PyObject* module) {
    if (stays(module)) return;
    const owned reference(removed && PyModule_Check(module) ? PyWeakref_NewRef(module, nullptr)
                                                            : nullptr);
    if (reference) PyList_Append(removed, reference.get());
    PyErr_Clear();
    // Not removed yet: finalizers that import it would make it anew.
    PyDict_SetItem(modules, name, Py_None);
  });
  for_each_item(modules, [&](PyObject* name, PyObject* module) {
    if (module == Py_None) PyDict_DelItem(modules, name);
  });
  return removed;
}

bool is_private(PyObject* name) {
  return PyUnicode_GET_LENGTH(name) > 0 && PyUnicode_READ_CHAR(name, 0) == '_' &&
         !(PyUnicode_GET_LENGTH(name) > 1 && PyUnicode_READ_CHAR(name, 1) == '_');
}

// As _PyModule_ClearDict(): names with one underscore first, `__builtins__` stays.
void empty(PyObject* dict) {
  for (const bool privates : {true, false}) {
    for_each_item(dict, [&](PyObject* name, PyObject* value) {
      if (value == Py_None || !PyUnicode_Check(name) || (privates && !is_private(name)) ||
          PyUnicode_CompareWithASCIIString(name, "__builtins__") == 0)
        return;
      PyDict_SetItem(dict, name, Py_None);
    });
  }
}

void empty_survivors(PyObject* removed) {
  for (Py_ssize_t i = PyList_GET_SIZE(removed); i-- > 0;) {
    PyObject* module = nullptr;
    if (PyWeakref_GetRef(PyList_GET_ITEM(removed, i), &module) > 0) {
      empty(PyModule_GetDict(module));
      Py_DECREF(module);
    }
    PyErr_Clear();
  }
}

// If the thread is forced out of a finalizer, what the collection has set aside is lost. Not the
// files and sockets: they stay out of it, and end with the list.
void collect() {
  const owned handles(list_handles());
  PyGC_Enable();
  PyGC_Collect();
  PyErr_Clear();
}

}  // namespace

bool note_originals() noexcept {
  const owned all(PyDict_New());
  if (!all) return false;
  for (const char* name : {"builtins", "sys"}) {
    PyObject* dict = dict_of(name);
    const owned copy(dict ? PyDict_Copy(dict) : nullptr);
    if (!copy || PyDict_SetItemString(all.get(), name, copy.get()) != 0) return false;
  }
  PyObject* keep = PyInterpreterState_GetDict(PyInterpreterState_Get());
  return keep && PyDict_SetItemString(keep, originals_key, all.get()) == 0;
}

void forget_originals() noexcept {
  PyObject* keep = PyInterpreterState_GetDict(PyInterpreterState_Get());
  if (keep && PyDict_GetItemString(keep, originals_key)) PyDict_DelItemString(keep, originals_key);
  PyErr_Clear();
}

void end_modules() noexcept {
  PyErr_Clear();
  restore_builtin_modules();
  const owned removed(remove_modules());
  collect();
  if (removed) empty_survivors(removed.get());
  collect();
}

}  // namespace coppice::py
