// SPDX-License-Identifier: Apache-2.0
// The root actor of a plain `python3`.
#pragma once

#include <string>

#include "pyhost/python.hpp"

namespace coppice::py {

// The functions below are `open_root` and `close_root` of _coppice.pyi. Attached, on the thread
// that the actor is to live on. They throw python_error or what describes itself.

/// Makes the process's runtime, with this interpreter as its root actor, and registers an atexit
/// callback that acts only if native code is in quarantine when the program ends (DESIGN.md section
/// 8): it flushes, and sees to it that the process is gone `exit_linger` later. In a script under
/// `coppice run`, whose runtime is there already, marks the root open.
void open_root(const std::string& name, PyObject* options);

/// Bounded; false: something is in quarantine. Nothing, if no root is open.
bool close_root();

}  // namespace coppice::py
