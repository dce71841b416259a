// SPDX-License-Identifier: Apache-2.0
// owned: a reference to a Python object for as long as a block of C++ lasts.
#pragma once

#include <utility>

#include "pyhost/python.hpp"

namespace coppice::py {

/// A new reference that ends with its block, or null. Thread: one that holds the GIL.
class owned {
 public:
  explicit owned(PyObject* object) : object_(object) {}
  owned(const owned&) = delete;
  owned(owned&& other) noexcept : object_(other.release()) {}
  ~owned() { Py_XDECREF(object_); }
  explicit operator bool() const { return object_ != nullptr; }
  PyObject* get() const { return object_; }
  PyObject* release() { return std::exchange(object_, nullptr); }

 private:
  PyObject* object_;
};

}  // namespace coppice::py
