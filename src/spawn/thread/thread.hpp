// SPDX-License-Identifier: Apache-2.0
// The `thread` backend: a native actor on an OS thread of this process.
#pragma once

#include <functional>
#include <memory>

#include "spawn/backend.hpp"

namespace coppice::spawn {

/// What runs on the new thread: a native actor that joins its parent, serves, and returns when it
/// was told to end. Given from above, so that this layer knows nothing of actors.
using native_entry = std::function<exit_report(const child_spec&)>;

/// Ladder: none. C++ code that is stuck cannot be stopped from outside within its process; use
/// `process` where that may happen. Threads are joined on one of their own, so that what user code
/// does in the destructors of its thread_local variables holds up nobody else.
std::unique_ptr<backend> make_thread_backend(native_entry entry);

}  // namespace coppice::spawn
