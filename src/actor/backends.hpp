// SPDX-License-Identifier: Apache-2.0
// The list of backends: written by hand, handed down, nothing registers itself.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "actor/process_runtime.hpp"
#include "coppice/exposed.hpp"
#include "spawn/backend.hpp"

namespace coppice::tree {

struct backend_choices {
  std::vector<exposed> endpoints = {};  // What native children expose.
  bool reaches_run_main = false;        // Native children can re-execute this program.
  // When Python is the host: its own program and its own guests. Else Python is loaded on first
  // use.
  std::function<std::vector<std::string>()> python_child = {};
  std::function<std::unique_ptr<spawn::backend>(process_runtime&)> make_subint = {};
  spawn::zygote_source zygote = {};
};

/// thread, process, subint (which loads CPython when it is first used), and those that fork a
/// zygote (which is executed when it is first used).
std::vector<std::unique_ptr<spawn::backend>> standard_backends(process_runtime& rt,
                                                               backend_choices choices);

/// The keys of those that standard_backends() makes: for who has no runtime yet.
std::span<const std::string_view> standard_keys() noexcept;

/// What to execute for an actor of tractor's: see actor_options::executable.
std::vector<std::string> tractor_child_program(std::string executable);

/// The Aid of an actor of this process.
msg::aid aid_of(const uid& who, bool is_registrar = false);
/// The same of an actor whose sockets are on the control loop: it answers pings at any time. A loop
/// that runs its actor's code may be busy for longer.
msg::aid aid_of_guest(const uid& who, bool is_registrar = false);

}  // namespace coppice::tree
