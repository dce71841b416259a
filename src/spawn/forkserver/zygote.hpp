// SPDX-License-Identifier: Apache-2.0
// The serving half of a zygote: a process with one thread that forks children when it is told to.
#pragma once

#include <optional>

#include "base/fd.hpp"
#include "spawn/forkserver/fork_protocol.hpp"

namespace coppice::spawn {

/// What a forked child is to become. Its connection to the zygote is for children of its own.
struct forked_child {
  fork_order order;
  base::unique_fd zygote;
};

/// What a language wants done around fork(2); null: nothing.
struct fork_hooks {
  void (*before)() = nullptr;
  void (*in_parent)() = nullptr;
  void (*in_child)() = nullptr;
};

/// Serves orders until the connection of the one that started the zygote closes (nothing is
/// returned, no child is left), and returns in each forked child what that is to become.
///
/// - Each child gets a connection of its own, so that one zygote serves a whole tree.
/// - When a connection closes, the children that it ordered are killed: their parent has gone.
/// - A child dies with the zygote (PDEATHSIG), has default dispositions and an empty mask, and of
///   this process's descriptors only those that are not the zygote's own.
/// - Children are reaped here; who ordered one hears how it ended.
/// - An answer that its reader does not take waits, and holds up nobody else.
///
/// REQUIRES: this process has one thread. Thread: that one.
///
std::optional<forked_child> serve_zygote(base::unique_fd connection, fork_hooks hooks = {});

/// Tells who started the zygote that it cannot serve.
void refuse_to_serve(int connection, const std::string& why);

}  // namespace coppice::spawn
