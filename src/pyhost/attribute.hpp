// SPDX-License-Identifier: Apache-2.0
// Attributes of Python objects by names that are written in C++.
#pragma once

#include "pyhost/owned.hpp"

namespace coppice::py {

/// As PyObject_GetAttrString, for what is asked many times. That makes a new str each time, and
/// CPython's cache of attributes (4,096 for an interpreter, by the address of the name) keeps it,
/// in the place of one that the program had there: Objects/typeobject.c, MCACHE_HASH.
inline PyObject* attribute(PyObject* o, const char* name) {
  const owned interned(PyUnicode_InternFromString(name));
  return interned ? PyObject_GetAttr(o, interned.get()) : nullptr;
}
/// Null, without an exception, if there is none.
inline PyObject* optional_attribute(PyObject* o, const char* name) {
  const owned interned(PyUnicode_InternFromString(name));
  PyObject* found = nullptr;
  if (!interned || PyObject_GetOptionalAttr(o, interned.get(), &found) < 0) PyErr_Clear();
  return found;
}
/// A method without arguments.
inline PyObject* call_method(PyObject* o, const char* name) {
  const owned interned(PyUnicode_InternFromString(name));
  return interned ? PyObject_CallMethodNoArgs(o, interned.get()) : nullptr;
}

}  // namespace coppice::py
