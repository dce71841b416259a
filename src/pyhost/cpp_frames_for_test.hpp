// SPDX-License-Identifier: Apache-2.0
// Functions for Python that call back in a frame that no C++ exception leaves: for the test kit of
// guests, and for the extension module of the stuck-state matrix.
#pragma once

#include "pyhost/python.hpp"

namespace coppice::py::testkit {

struct python_error {};

inline void call_or_throw(PyObject* function) {
  PyObject* result = PyObject_CallNoArgs(function);
  if (!result) throw python_error();
  Py_DECREF(result);
}

/// Again and again, whatever it raises.
inline PyObject* catch_all(PyObject*, PyObject* function) {
  for (;;) {
    try {
      call_or_throw(function);
    } catch (...) {
      PyErr_Clear();
    }
  }
}

inline PyObject* no_throw(PyObject*, PyObject* function) noexcept {
  return PyObject_CallNoArgs(function);
}

}  // namespace coppice::py::testkit
