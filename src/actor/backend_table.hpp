// SPDX-License-Identifier: Apache-2.0
// What the spawn methods come to in this build, on this machine.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "spawn/backend.hpp"
#include "spawn/methods.hpp"

namespace coppice::tree {

using backend_list = std::vector<std::unique_ptr<spawn::backend>>;

/// A row of `coppice backends`.
struct backend_row {
  const spawn::method* what = nullptr;
  bool available = false;                         // For one of its languages at least.
  std::string reason = {};                        // What cannot be had, and why; empty: nothing.
  std::optional<spawn::force_test> forced_stops;  // What the self-test says, where there is one.
};

/// A row for every method. Blocks: a Python may have to be run and loaded, and with `may_test` the
/// self-tests of backends run (spawn::backend::forced_stops() says where not to).
std::vector<backend_row> backend_table(const backend_list& all, bool may_test);

/// Throws backend_unavailable if no actor can be started that way: who asked for which method, what
/// is missing, and what to do. `auto` is always served. Blocks likewise, but tests nothing.
void refuse_unserved(const spawn::selection& chosen, const backend_list& all);

}  // namespace coppice::tree
