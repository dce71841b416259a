// SPDX-License-Identifier: Apache-2.0
// A Python process from which actors are forked: python/coppice/_zygote.py.
#pragma once

#include <string>
#include <vector>

#include "pyhost/python.hpp"

namespace coppice::py {

/// Imports the modules, and then forks children on order of whoever is at the other end of fd 3.
///
/// Refuses to serve, and says why to that one, when a module cannot be imported, or when importing
/// it started a thread: that thread would be missing in every child, with whatever lock it held.
///
/// `zygote_main` of _coppice.pyi. In the zygote it does not return: the process ends when its
/// connection does. In a forked child it serves an actor and gives the exit status. REQUIRES:
/// attached to the main interpreter, on its main thread, with no runtime open.
int zygote_main(const std::vector<std::string>& preload);

}  // namespace coppice::py
