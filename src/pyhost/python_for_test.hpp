// SPDX-License-Identifier: Apache-2.0
// A CPython in the test program, and small ways to talk to it.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "pyhost/python.hpp"

namespace coppice::py::testing {

/// Brings the main interpreter up, attached, on the thread that runs the tests.
class python_for_test : public ::testing::Environment {
 public:
  void SetUp() override {
    PyConfig config;
    PyConfig_InitIsolatedConfig(&config);
    PyConfig_SetBytesString(&config, &config.executable, COPPICE_TEST_PYTHON);
    config.site_import = 0;
    const PyStatus status = Py_InitializeFromConfig(&config);
    PyConfig_Clear(&config);
    ASSERT_FALSE(PyStatus_Exception(status)) << status.err_msg;
  }
  void TearDown() override { EXPECT_EQ(Py_FinalizeEx(), 0); }
};

[[maybe_unused]] inline auto* const environment =
    // tidy: allow new: GoogleTest takes ownership of it
    ::testing::AddGlobalTestEnvironment(new python_for_test);

/// The pending exception as "ValueError: text", taken away; "" if there is none.
inline std::string take_error() {
  PyObject* e = PyErr_GetRaisedException();
  if (!e) return "";
  PyObject* text = PyObject_Str(e);
  std::string s = std::string(Py_TYPE(e)->tp_name) + ": " + (text ? PyUnicode_AsUTF8(text) : "?");
  Py_XDECREF(text);
  Py_DECREF(e);
  return s;
}

/// repr() of a new reference, which is released; an exception's text for null.
inline std::string shown(PyObject* value) {
  if (!value) return take_error();
  PyObject* text = PyObject_Repr(value);
  std::string s = text ? PyUnicode_AsUTF8(text) : take_error();
  Py_XDECREF(text);
  Py_DECREF(value);
  return s;
}

/// Runs statements in `__main__`; their text's last line may set variables for eval().
inline void exec(const char* source) {
  PyObject* globals = PyModule_GetDict(PyImport_AddModule("__main__"));
  PyObject* r = PyRun_String(source, Py_file_input, globals, globals);
  if (!r) ADD_FAILURE() << take_error();
  Py_XDECREF(r);
}

/// The value of an expression in `__main__`: a new reference.
inline PyObject* eval(const char* source) {
  PyObject* globals = PyModule_GetDict(PyImport_AddModule("__main__"));
  PyObject* r = PyRun_String(source, Py_eval_input, globals, globals);
  if (!r) ADD_FAILURE() << source << ": " << take_error();
  return r;
}

}  // namespace coppice::py::testing
