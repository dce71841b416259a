// SPDX-License-Identifier: Apache-2.0
// The `process` backend: an actor in a process of its own, in C++ or in Python.
#pragma once

#include <functional>
#include <memory>

#include "core/loop.hpp"
#include "spawn/backend.hpp"
#include "spawn/process/spawner.hpp"

namespace coppice::spawn {

/// How to execute children; each throws backend_unavailable with the sentence to show.
struct process_programs {
  /// argv of a native child without the actor's own arguments: this program, which reaches
  /// run_main().
  std::function<std::vector<std::string>()> native;
  /// argv of a Python child likewise: the interpreter and `coppice/_child.py`.
  std::function<std::vector<std::string>()> python;
};

/// Ladder: SIGTERM as "interrupt", SIGKILL as "force". A killed child has always ended; only one in
/// uninterruptible sleep in the kernel can end `abandoned`.
///
/// The child is started with `--uid "('name', 'uuid')" --parent_addr "('dir', 'file')"` and
/// inherits stdin, stdout, stderr and, unless its spec has one, the environment. A spec that names
/// a program gets that one.
///
/// Owner: process_runtime. Thread: the control loop.
std::unique_ptr<backend> make_process_backend(std::shared_ptr<core::loop> control,
                                              process_programs programs);

}  // namespace coppice::spawn
