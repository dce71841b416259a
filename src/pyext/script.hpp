// SPDX-License-Identifier: Apache-2.0
// `coppice run script.py`: a script as the root actor, in a guest of this process.
#pragma once

#include <string>
#include <vector>

#include "pyext/python_host.hpp"
#include "spawn/methods.hpp"

namespace coppice::py {

/// Runs the script as `__main__` of a guest with its own GIL, in a runtime of its own, and returns
/// the exit status that python itself would have: 0, what sys.exit() was given, 1 after an uncaught
/// exception; 130 after SIGINT. Native code that never returns is left behind: then it does not
/// return, but flushes and leaves the process.
///
/// SIGINT: what is open as a root is cancelled; a script that does not end by that, or has none,
/// climbs the stop ladder like any guest, with the default bounds.
///
/// `selected` is how the script's actors start that leave it open.
///
/// Thread: the one that is to wait. No GIL.
int run_script_as_root(embedding& python, const std::string& executable,
                       const std::vector<std::string>& argv, const spawn::selection& selected);

}  // namespace coppice::py
