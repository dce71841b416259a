// SPDX-License-Identifier: Apache-2.0
// What a child needs of its parent's program: sys.path, and the main script run again.
#pragma once

#include <string>
#include <vector>

#include "coppice/payload.hpp"
#include "pyext/ref.hpp"

namespace coppice::py {

/// The `_parent_main_data` of a SpawnSpec: the keys that multiprocessing uses, and one of ours.
/// Every one may be missing; a parent that is no Python program sends none.
struct parent_program {
  std::string main_name;              // init_main_from_name: "pkg.tool", of `python -m`.
  std::string main_path;              // init_main_from_path
  std::vector<std::string> sys_path;  // sys_path; empty: the interpreter's own is kept.
  std::string loop;                   // coppice_loop: the event loop of `async def` endpoints.

  /// Throws message_type_error.
  static parent_program from(const payload& parent_main_data);
  payload to_payload() const;
};

// Each is false with an exception set if it fails. REQUIRES: attached.

bool set_sys_path(const std::vector<std::string>& folders);
/// At the end, unless it is there.
bool append_to_sys_path(const std::string& folder);

/// Runs the parent's main script again, as the module `__mp_main__`, which is also
/// sys.modules['__main__']: so `if __name__ == '__main__':` keeps its meaning, and what the script
/// defines can be called and unpickled by the name it has in the parent.
///
/// Unlike multiprocessing this needs no `runpy`, which costs more than a guest's interpreter, and
/// the functions' globals are the module's own dict.
bool replay_main(const parent_program& program);

/// Compiles a main script for a replay_main() to come in this interpreter, which uses it if the
/// file still has the same content then. What goes wrong is for that one to say.
void compile_ahead(const std::string& path);

/// Runs a script as `__main__` of this interpreter, as `python path` does, sys.argv and sys.path[0]
/// included. Null: what it raised is set.
ref run_main_script(const std::string& path, const std::vector<std::string>& argv);

/// The folder to put on sys.path so that `module` is found in `file`: of "a.b" in "/x/a/b.py" or
/// "/x/a/b/__init__.py" it is "/x". Empty: the two do not fit.
std::string import_folder(const std::string& module, const std::string& file);

}  // namespace coppice::py
