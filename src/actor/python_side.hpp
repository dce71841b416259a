// SPDX-License-Identifier: Apache-2.0
// The way from native programs to Python: loaded on first use, never before.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "actor/process_runtime.hpp"
#include "spawn/backend.hpp"

namespace coppice::tree {

/// What libcoppice_py gives to libcoppice: one object for the rest of the process, whose main
/// interpreter is up, idle and detached. Thread: any.
class python_side {
 public:
  virtual ~python_side() = default;
  virtual std::unique_ptr<spawn::backend> make_subint(process_runtime& rt) = 0;
  /// Runs a script as the root actor, in a guest with its own GIL: argv[0] is its path. Returns the
  /// exit status, or leaves the process with it if native code is in quarantine.
  virtual int run_script(const std::vector<std::string>& argv,
                         const spawn::selection& selected) = 0;
  virtual std::size_t live_interpreters() const = 0;  // The main one not counted.
  virtual std::string standard_library() = 0;         // Folder of its Python files.
};

/// Finds a Python (actor/find_python.hpp), loads libpython with RTLD_GLOBAL, without which no C
/// extension imports, then libcoppice_py of its version, and brings the main interpreter up. Once
/// per process; a failure is remembered too. Throws backend_unavailable: one sentence. Blocks for
/// tens of milliseconds (the candidate is run once). Not on the control loop.
python_side& load_python();

/// argv of a Python child of the `process` backend, without the actor's own arguments. Loads
/// nothing; throws backend_unavailable.
std::vector<std::string> python_child_program();
/// The same of a zygote, without what it is to preload.
std::vector<std::string> python_zygote_program();
/// The folder that holds the package `coppice`: beside this library (`…/lib` and `…/python`), or
/// where it was built.
std::string python_package_path();

/// The `subint` backend of a native program: loads Python when it is first asked whether it can
/// serve.
std::unique_ptr<spawn::backend> make_lazy_subint_backend(process_runtime& rt);

/// argv[0] is the script. For `coppice run`; `selected` is how its actors start.
int run_script(const std::vector<std::string>& argv, const spawn::selection& selected);
/// Guests whose interpreter exists in this process. Loads nothing.
std::size_t live_interpreters() noexcept;
/// The folder of the standard library of the Python that load_python() loads.
std::string python_standard_library();

}  // namespace coppice::tree

// libcoppice_py<version>.so exports this; see load_python().
// Throws backend_unavailable.
extern "C" coppice::tree::python_side* coppice_python_side(const char* executable);
