// SPDX-License-Identifier: Apache-2.0
// The backends whose children are forked from a zygote: `forkserver`, `subint_fork`,
// `subint_forkserver`.
#pragma once

#include <memory>
#include <string_view>

#include "core/loop.hpp"
#include "spawn/backend.hpp"
#include "spawn/forkserver/zygote_client.hpp"

namespace coppice::spawn {

/// Where in the forked process the actor runs.
enum class forked_into : unsigned char {
  main_interpreter,  // As in a child of `process`; every C extension works.
  sub_interpreter,   // A guest of the child's own.
};

/// Ladder: SIGTERM as "interrupt", SIGKILL as "force". With a guest inside, "force" is first
/// SIGQUIT, by which the child parks and destroys its guest, and SIGKILL 250 ms later.
///
/// The child inherits what the zygote has: its stdin, stdout and stderr, its preloaded modules. Its
/// environment is that of this process at the start, unless its spec has one.
///
/// Owner: process_runtime. Thread: the control loop. `zygote` is shared by all of them.
std::unique_ptr<backend> make_forkserver_backend(std::string_view key, forked_into where,
                                                 std::shared_ptr<core::loop> control,
                                                 std::shared_ptr<zygote_client> zygote);

}  // namespace coppice::spawn
