// SPDX-License-Identifier: Apache-2.0
// For stuck_states.py: an extension module whose frames no C++ exception leaves.
#include <poll.h>

#include "pyhost/cpp_frames_for_test.hpp"

namespace {

// Without the GIL, but for a moment whenever a signal comes.
void wait_once() {
  Py_BEGIN_ALLOW_THREADS;
  ::poll(nullptr, 0, -1);
  Py_END_ALLOW_THREADS;
}

PyObject* wait(PyObject*, PyObject*) noexcept {
  for (;;) {
    try {
      wait_once();
    } catch (...) {
    }
  }
}

PyMethodDef functions[] = {{"catch_all", coppice::py::testkit::catch_all, METH_O, nullptr},
                           {"no_throw", coppice::py::testkit::no_throw, METH_O, nullptr},
                           {"wait", wait, METH_NOARGS, nullptr},
                           {nullptr, nullptr, 0, nullptr}};

PyModuleDef_Slot slots[] = {{Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
                            {0, nullptr}};

PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "stuck_frames", nullptr, 0, functions, slots, nullptr, nullptr, nullptr};

}  // namespace

PyMODINIT_FUNC PyInit_stuck_frames() { return PyModuleDef_Init(&definition); }
