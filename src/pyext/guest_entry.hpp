// SPDX-License-Identifier: Apache-2.0
// What runs on a guest's thread: an actor that joins its parent and serves.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "port/guest_port.hpp"
#include "spawn/subint/subint.hpp"

namespace coppice::py {

struct guest_entry_options {
  port::table_limits calls;
  std::string package_path;  // See guest_actor_options.
  /// Joins its parent; empty: over memory. Of a guest whose parent is in another process, which has
  /// this one to itself. Called with its GIL; must not block.
  std::function<void(const std::shared_ptr<port::guest_port>&)> join = {};
  /// It is about to join its parent. Called with its GIL; must not block.
  std::function<void(std::shared_ptr<port::guest_port>)> on_here;
  /// The guest's code has ended, whatever ended it. No GIL is held; must not block.
  std::function<void(std::shared_ptr<port::guest_port>)> on_gone;
};

/// How the subint backend makes guests of this process. Start data are values all the way: nothing
/// of it is ever source text.
spawn::guest_entry make_guest_entry(guest_entry_options options);

}  // namespace coppice::py
