// SPDX-License-Identifier: Apache-2.0
// What goes wrong between processes, done by an actor to its own connections; see tests/breaks.py.
#pragma once

#include <string>

namespace coppice::conformance {

/// "half_close", "cut", "reset", "kill" or "stop".
void break_connection(const std::string& how);

}  // namespace coppice::conformance
