// SPDX-License-Identifier: Apache-2.0
// Which CPython serves this program: chosen by a short list of rules, then asked once what it is.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

namespace coppice::py {

/// A CPython on this machine, as it describes itself.
struct python_description {
  std::string executable;  // As it was named, made absolute; a venv's own python stays a venv's.
  std::string chosen_by;   // "$VIRTUAL_ENV", "the option 'python'", …: for messages and `doctor`.
  int major = 0, minor = 0, micro = 0;
  bool free_threaded = false;
  std::string libpython;  // Shared library to load; empty: this CPython was built without one.

  std::string version() const;  // "3.14.7"
};

struct find_python_options {
  std::string explicit_path{};  // Wins over everything; empty: not given.
  std::string
      start_folder{};  // Where the search for a pyvenv.cfg begins; empty: the current folder.
  std::chrono::milliseconds deadline{5000};  // For the one run of the candidate.
};

/// The first of these that is set decides, and is not second-guessed when it turns out unusable:
/// explicit_path, $PYTHON, $VIRTUAL_ENV, the nearest pyvenv.cfg above start_folder (in it, or in
/// its `.venv`), COPPICE_DEFAULT_PYTHON of the build if that file is there, and python3.14,
/// python3.15, python3 on $PATH (of these the first that is good enough).
///
/// Runs the candidate once, isolated (-I), with a deadline: it is killed at the deadline. Throws
/// backend_unavailable with one sentence that names the candidate, what is wrong with it and what
/// to set instead. Blocks up to the deadline: never call it from a loop. Thread: any. Leaves no
/// process and no fd behind.
python_description find_python(const find_python_options& options = {});

/// Why `p` cannot host guests, as one sentence; nothing if it can: CPython >= 3.14.1, with a GIL,
/// with a shared library, of a minor version that this build was made for.
std::optional<std::string> refusal(const python_description& p);

}  // namespace coppice::py
