// SPDX-License-Identifier: Apache-2.0
// Errors out of Python, and errors into Python.
#pragma once

#include <exception>
#include <string>

#include "coppice/errors.hpp"
#include "port/call_table.hpp"
#include "pyext/ref.hpp"

namespace coppice::py {

/// The two ways of errors through one interpreter. Python's half of the package registers with the
/// interpreter, not with the actor, because it may be imported before there is one: which class its
/// remote errors are, and how to make exceptions of what the runtime reports.
///
/// Owner: a guest_actor, or the stack. Thread: attached. Never leaves an exception set where not
/// said so.
class error_bridge {
 public:
  explicit error_bridge(uid self) : self_(std::move(self)) {}

  /// What travels of an exception: class name, str(), formatted traceback (imports `traceback`, the
  /// first time that something fails), the members of an exception group. An instance of the
  /// registered remote error is relayed as it came, with our uid appended to its path.
  remote_error_info describe(PyObject* exception) const;
  /// The pending exception likewise, taken away.
  remote_error_info describe_pending() const;
  /// An error of our own that is no Python exception and has no traceback.
  remote_error_info describe(std::string type, std::string message) const;

  /// An exception object for what the runtime reports: by the registered factory, else a builtin
  /// exception with the same text. Null, with an exception set, only if memory is short.
  ref make(const std::exception_ptr& e) const;
  ref make_start_error(const std::exception_ptr& e) const;  // A start that took too long is one.
  ref make(const port::reply& r, const std::string& peer) const;  // REQUIRES: r is no value.
  /// Sets it as the pending exception.
  void raise(const std::exception_ptr& e) const;

  // False: an exception is set.
  static bool set_factory(PyObject* make);
  static bool set_remote_error(PyObject* cls);

 private:
  remote_error_info describe(PyObject* exception, int depth) const;
  ref make(const char* kind, ref fields, PyObject* fallback, const std::string& message) const;

  const uid self_;
};

/// Runs `f`, which returns a PyObject*: a C++ exception becomes a Python one, and null.
template <class F>
PyObject* guarded(const error_bridge& bridge, F&& f) noexcept {
  try {
    return f();
  } catch (...) {
    bridge.raise(std::current_exception());
    return nullptr;
  }
}

}  // namespace coppice::py
