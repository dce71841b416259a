// SPDX-License-Identifier: Apache-2.0
// A Python actor that has a process of its own: in its main interpreter, or in a guest of it.
#pragma once

#include <memory>
#include <string>

#include "base/fd.hpp"
#include "coppice/spawn.hpp"

namespace coppice::py {

/// What the child of a process is started with.
struct process_child {
  std::string uid;          // "('name', 'uuid')"
  std::string parent_addr;  // Likewise a tuple's text.
  bool in_guest = false;    // The actor runs in a sub-interpreter; the main one stays idle.
  gil_mode gil = gil_mode::own;
  std::shared_ptr<base::unique_fd> zygote = nullptr;  // See zygote_source::connection.
};

/// Connects to the parent, serves until it is told to end, and gives the exit status. SIGTERM makes
/// what runs unwind; with a guest, SIGQUIT parks and destroys that. SIGINT does nothing: a terminal
/// sends it to every process of the group, and it is the root that decides what it means.
///
/// `child_main` of _coppice.pyi. Thread: the main one, attached to the main interpreter. Throws
/// python_error or what describes itself.
int child_main(const process_child& start);

}  // namespace coppice::py
