// SPDX-License-Identifier: Apache-2.0
// How a Python program ends when native code in it does not.
#pragma once

#include <memory>

#include "coppice/clock.hpp"
#include "pyext/python_host.hpp"

namespace coppice::py {

/// From now on the end of this interpreter closes a root that is still open, asks `host` whether
/// anything is in quarantine, and if so flushes stdio and logging and leaves by _exit when the
/// process is still there `linger` later: Py_FinalizeEx would wait for the wedged guest for ever.
/// Status: 130 after SIGINT, 1 after an uncaught exception, else 0. A later call replaces host and
/// linger of an earlier one. Null: nothing can be in quarantine any more. False: an exception is
/// set.
bool guard_exit(std::shared_ptr<python_host> host, duration linger);

/// sys.stdout, sys.stderr and C's stdio. Never leaves an exception set.
void flush_output();

}  // namespace coppice::py
