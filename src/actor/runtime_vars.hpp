// SPDX-License-Identifier: Apache-2.0
// What every actor of a tree in other processes is told of the tree.
#pragma once

#include <vector>

#include "coppice/payload.hpp"
#include "ipc/address.hpp"
#include "msg/messages.hpp"

namespace coppice::tree {

/// The `_runtime_vars` for a child: what its parent was told itself, in that order, and whatever is
/// missing of the ten that a tractor actor reads, some of them without a default. REQUIRES: `own`
/// is a map with str keys.
payload runtime_vars_for_child(const payload& own, const std::vector<msg::wire_address>& root,
                               const std::vector<msg::wire_address>& registrars,
                               const ipc::address& parent);

}  // namespace coppice::tree
