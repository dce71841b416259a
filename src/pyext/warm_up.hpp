// SPDX-License-Identifier: Apache-2.0
// What is done in a guest before it is an actor, and what has to be caught up when it becomes one.
#pragma once

#include <atomic>
#include <cstddef>
#include <string>
#include <vector>

#include "spawn/backend.hpp"
#include "spawn/subint/subint.hpp"

namespace coppice::py {

/// The modules of an order, those that its loop needs included, in the order of their import.
std::vector<std::string> modules_to_preload(const spawn::stock_order& order);

/// Makes `_coppice` importable and imports the modules, under the order's sys.path; compiles its
/// main script. `at` is how many modules have been imported so far. Afterwards sys.path is as it
/// was, but for what they themselves put there. Empty: done; else what one of them raised, in a
/// line.
///
/// REQUIRES: attached to an interpreter that runs nothing else. Thread: its guest's.
std::string warm_up(const spawn::stock_order& order, const std::vector<std::string>& modules,
                    const std::string& package_path, std::atomic<std::size_t>& at);

/// How the subint backend has its guests warmed up.
spawn::warm_entry make_warm_entry(std::string package_path);

// False with an exception set; true, and nothing else, in an interpreter that was not warmed up.
// REQUIRES: attached.

/// What a new interpreter would know and this one cannot: os.environ as it is now.
bool catch_up();

/// sys.path of an actor: its parent's, or the interpreter's own if that is empty; then
/// `package_path`, if it is not there. What preloaded modules added stays where they put it: in
/// front or behind.
bool set_actors_sys_path(const std::vector<std::string>& of_parent,
                         const std::string& package_path);

}  // namespace coppice::py
