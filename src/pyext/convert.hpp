// SPDX-License-Identifier: Apache-2.0
// Small values between Python and the runtime: uids, stop policies, reports, options.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "coppice/errors.hpp"
#include "coppice/stop.hpp"
#include "pyext/ref.hpp"

// What reads Python objects throws `python_error` when it left a Python exception set.

namespace coppice::py {

/// A Python exception is set. Caught at the border, never seen by anybody else.
struct python_error {};
[[noreturn]] void throw_type_error(const std::string& text);

/// Throws python_error if making it failed.
inline ref checked(ref r) {
  if (!r) throw python_error();
  return r;
}
inline ref none() { return ref::of(Py_None); }

/// ('name', 'uuid')
ref to_python(const uid& who);
/// (rung, how, status, seconds, text)
ref to_python(const exit_report& report);
/// The mapping of an error: see set_error_factory in _coppice.pyi.
ref to_python(const remote_error_info& info);

std::string text_from(PyObject* str, const char* what);
uid uid_from(PyObject* pair, const char* what);
remote_error_info info_from(PyObject* mapping, int depth = 0);
stop_policy stop_from(PyObject* tuple, const char* what);
duration seconds_from(PyObject* number, const char* what);

/// A dict of options: every lookup is by name, and what nobody asked for is an error at the end.
class options_reader {
 public:
  /// REQUIRES: `mapping` outlives this.
  options_reader(PyObject* mapping, const char* function);

  PyObject* find(const char* name);  // Borrowed; null if absent or None.
  std::string text(const char* name, std::string otherwise);
  std::vector<std::string> texts(const char* name);  // A list of str; empty if absent or None.
  duration seconds(const char* name, duration otherwise);
  stop_policy stop(const char* name);
  /// Throws TypeError naming an option that no function above was asked for.
  void finish();

 private:
  ref dict_;
  const char* function_;
  std::vector<const char*> known_;
};

}  // namespace coppice::py
