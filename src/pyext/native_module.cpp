// SPDX-License-Identifier: Apache-2.0
#include "pyext/native_module.hpp"

#include <fmt/format.h>

#include <new>

#include "coppice/version.hpp"
#include "pyext/functions.hpp"
#include "pyext/ref.hpp"
#include "pyhost/buffer_object.hpp"
#include "pyhost/guest_side.hpp"

// What each function does is said in python/coppice/_coppice.pyi.

namespace coppice::py {

namespace {

// --- Link
// ------------------------------------------------------------------------------------------

constexpr const char* link_type_key = "coppice.Link";  // In PyInterpreterState_GetDict().

struct link_object {
  PyObject_HEAD ipc::link_ptr link;  // Shared with the two ports.
};

ipc::link_ptr& link_in(PyObject* self) { return reinterpret_cast<link_object*>(self)->link; }

void link_dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  link_in(self).~shared_ptr();
  type->tp_free(self);
  Py_DECREF(type);
}

PyObject* link_repr(PyObject* self) {
  const ref text = to_str(fmt::format("<coppice link: {}>", link_in(self)->describe()));
  return Py_XNewRef(text.get());
}

PyObject* link_peer(PyObject* self, void*) {
  return to_python(link_in(self)->peer_uid()).release();
}

Py_hash_t link_hash(PyObject* self) {
  const auto bits = reinterpret_cast<std::uintptr_t>(link_in(self).get()) >> 4;
  return static_cast<Py_hash_t>(bits);
}

PyObject* link_compare(PyObject* a, PyObject* b, int op) {
  if ((op != Py_EQ && op != Py_NE) || Py_TYPE(a) != Py_TYPE(b)) Py_RETURN_NOTIMPLEMENTED;
  return PyBool_FromLong((link_in(a) == link_in(b)) == (op == Py_EQ));
}

PyGetSetDef link_getset[] = {
    {"peer", link_peer, nullptr, "The (name, uuid) of the actor at the other end.", nullptr}, {}};

PyType_Slot link_slots[] = {
    {Py_tp_doc, const_cast<char*>("A connection to another actor. Opaque; portals hold one.")},
    {Py_tp_dealloc, reinterpret_cast<void*>(link_dealloc)},
    {Py_tp_repr, reinterpret_cast<void*>(link_repr)},
    {Py_tp_hash, reinterpret_cast<void*>(link_hash)},
    {Py_tp_richcompare, reinterpret_cast<void*>(link_compare)},
    {Py_tp_getset, link_getset},
    {0, nullptr}};

PyType_Spec link_spec = {
    "_coppice.Link", sizeof(link_object), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE, link_slots};

PyTypeObject* link_type() {
  PyObject* dict = PyInterpreterState_GetDict(PyInterpreterState_Get());
  PyObject* type = dict ? PyDict_GetItemString(dict, link_type_key) : nullptr;
  if (!type) PyErr_SetString(PyExc_RuntimeError, "_coppice is not loaded in this interpreter");
  return reinterpret_cast<PyTypeObject*>(type);
}

// --- the module
// ----------------------------------------------------------------------------------------

bool add_link_type(PyObject* module) {
  const ref type = ref::take(PyType_FromModuleAndSpec(module, &link_spec, nullptr));
  PyObject* dict = PyInterpreterState_GetDict(PyInterpreterState_Get());
  return type && dict && PyDict_SetItemString(dict, link_type_key, type.get()) == 0 &&
         PyModule_AddObjectRef(module, "Link", type.get()) == 0;
}

int module_exec(PyObject* module) {
  const ref version = to_str(coppice::version());
  const bool ok =
      version && PyModule_AddObjectRef(module, "version", version.get()) == 0 &&
      PyModule_AddObjectRef(module, "Interrupted", interrupted_type()) == 0 &&
      PyModule_AddObjectRef(module, "Buffer", reinterpret_cast<PyObject*>(buffer_type())) == 0 &&
      add_link_type(module);
  return ok ? 0 : -1;
}

PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, reinterpret_cast<void*>(module_exec)},
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
    {0, nullptr}};

// No state of its own: what there is hangs at the interpreter, so that whoever deletes the module
// from sys.modules and imports it again finds the same actor.
PyModuleDef module_definition = {PyModuleDef_HEAD_INIT,
                                 "_coppice",
                                 "The native half of `coppice`; see _coppice.pyi.",
                                 0,
                                 module_functions,
                                 module_slots,
                                 nullptr,
                                 nullptr,
                                 nullptr};

}  // namespace

ref make_link(const ipc::link_ptr& l) {
  PyTypeObject* type = link_type();
  if (!type) return {};
  ref object = ref::take(type->tp_alloc(type, 0));
  if (object) new (&link_in(object.get())) ipc::link_ptr(l);
  return object;
}

ipc::link_ptr link_of(PyObject* object) {
  PyTypeObject* type = link_type();
  if (!type) return nullptr;
  if (Py_TYPE(object) == type) return link_in(object);
  PyErr_Format(PyExc_TypeError, "expected a coppice Link, not '%s'", Py_TYPE(object)->tp_name);
  return nullptr;
}

bool publish_native_module() {
  PyObject* modules = PyImport_GetModuleDict();
  if (PyDict_GetItemString(modules, "_coppice")) return true;
  const ref machinery = ref::take(PyImport_ImportModule("_frozen_importlib"));
  const ref spec =
      machinery
          ? ref::take(PyObject_CallMethod(machinery.get(), "ModuleSpec", "sO", "_coppice", Py_None))
          : ref();
  const ref module =
      spec ? ref::take(PyModule_FromDefAndSpec(&module_definition, spec.get())) : ref();
  return module && PyModule_AddObjectRef(module.get(), "__spec__", spec.get()) == 0 &&
         PyModule_ExecDef(module.get(), &module_definition) == 0 &&
         PyDict_SetItemString(modules, "_coppice", module.get()) == 0 &&
         PyDict_SetItemString(modules, "coppice._coppice", module.get()) == 0;
}

}  // namespace coppice::py

PyMODINIT_FUNC PyInit__coppice(void) { return PyModuleDef_Init(&coppice::py::module_definition); }
