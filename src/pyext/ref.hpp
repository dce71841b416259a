// SPDX-License-Identifier: Apache-2.0
// Owning references to Python objects, on the stack and in members.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "pyhost/python.hpp"

namespace coppice::py {

/// Owns one reference, or is empty. For the stack: its end touches the interpreter, so the thread
/// is attached then. When a forced stop drops the frame, the object goes with its interpreter.
class ref {
 public:
  ref() = default;
  static ref take(PyObject* owned) noexcept { return ref(owned); }  // From a call that gave us one.
  static ref of(PyObject* borrowed) noexcept { return ref(Py_XNewRef(borrowed)); }

  ref(ref&& other) noexcept : object_(other.release()) {}
  ref& operator=(ref&& other) noexcept {
    if (this != &other) Py_XSETREF(object_, other.release());
    return *this;
  }
  ~ref() { Py_XDECREF(object_); }

  explicit operator bool() const noexcept { return object_ != nullptr; }
  PyObject* get() const noexcept { return object_; }
  PyObject* release() noexcept { return std::exchange(object_, nullptr); }

 private:
  explicit ref(PyObject* owned) noexcept : object_(owned) {}
  PyObject* object_ = nullptr;
};

/// Owns one reference, or is empty. For members of what may outlive the interpreter: its end does
/// nothing, so whoever can still attach calls clear().
class slot {
 public:
  slot() = default;
  slot(const slot&) = delete;
  slot& operator=(const slot&) = delete;

  explicit operator bool() const noexcept { return object_ != nullptr; }
  PyObject* get() const noexcept { return object_; }
  void set(ref r) noexcept { Py_XSETREF(object_, r.release()); }
  void clear() noexcept { Py_CLEAR(object_); }

 private:
  PyObject* object_ = nullptr;
};

/// A str from UTF-8 of whatever origin: what is not UTF-8 is replaced. Empty: no memory.
ref to_str(std::string_view utf8);
/// UTF-8 of a str, lone surrogates escaped; "?" of anything else. Never leaves an exception set.
std::string to_utf8(PyObject* str);
/// str(object), or "<unprintable Type>"; cut at `bytes_max`. Never leaves an exception set.
std::string text_of(PyObject* object, std::size_t bytes_max);
/// The name of its type: "ValueError".
std::string type_name(PyObject* object);

/// dict[name] = value. False, with the exception that is set already, if either could not be made.
inline bool set_item(PyObject* dict, const char* name, const ref& value) {
  return dict && value && PyDict_SetItemString(dict, name, value.get()) == 0;
}

/// The pending exception, taken away; empty if there is none.
inline ref take_error() noexcept { return ref::take(PyErr_GetRaisedException()); }

}  // namespace coppice::py
