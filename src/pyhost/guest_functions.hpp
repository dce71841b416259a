// SPDX-License-Identifier: Apache-2.0
// The C functions that guest_hooks.cpp puts in the place of CPython's.
#pragma once

#include "pyhost/python.hpp"

namespace coppice::py {

class guest_core;

// Of the capsule that leads to a guest_core.
inline constexpr const char* guest_key = "coppice.guest";

// Each `self` is a module object with `guest` (that capsule) and `original` (what it stands for).
PyObject* guest_sleep(PyObject* self, PyObject* seconds);
PyObject* guest_spawn(PyObject* self, PyObject* const* args, Py_ssize_t n, PyObject* names);
PyObject* guest_system(PyObject* self, PyObject* const* args, Py_ssize_t n, PyObject* names);
PyObject* refuse_fork(PyObject* self, PyObject*);
PyObject* guest_sigmask(PyObject* self, PyObject* const* args, Py_ssize_t n, PyObject* names);
PyObject* guest_main_ident(PyObject* self, PyObject*);
PyObject* guest_nested_create(PyObject* self, PyObject* const* args, Py_ssize_t n, PyObject* names);
PyObject* guest_nested_end(PyObject* self, PyObject* const* args, Py_ssize_t n, PyObject* names);
PyObject* guest_create_module(PyObject* self, PyObject* const* args, Py_ssize_t n, PyObject* names);
PyObject* guest_exec_module(PyObject* self, PyObject* module);
PyObject* safe_current_frames(PyObject* self, PyObject*);
PyObject* safe_current_exceptions(PyObject* self, PyObject*);

/// Sets the RuntimeError that says why `function` would kill the child, and what to use instead.
void set_fork_error(const char* function);

/// Wraps what has to be wrapped of a module that has just been executed. False with an error set.
bool wrap_module(PyObject* capsule, PyObject* module);

}  // namespace coppice::py
