// SPDX-License-Identifier: Apache-2.0
// Which objects with a file descriptor live in an interpreter: those that no walk over the garbage
// collector's lists finds.
#pragma once

#include <vector>

#include "pyhost/python.hpp"

namespace coppice::py {

/// Notes every epoll object of the current interpreter from its allocation to its end, once
/// `select` (its module) has been executed. The collector does not know them, and one that only the
/// frames of a parked thread hold, perhaps only their evaluation stacks, cannot be found by any
/// public means. Other modules: nothing happens.
void watch_handles(PyObject* module) noexcept;

/// Those of the current interpreter, as new references.
std::vector<PyObject*> live_handles();

/// `interpreter` is about to end: what its dead frames hold is never freed, and its address may
/// become that of another one.
void forget_handles(PyInterpreterState* interpreter) noexcept;

}  // namespace coppice::py
