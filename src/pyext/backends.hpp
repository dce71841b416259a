// SPDX-License-Identifier: Apache-2.0
// The spawn methods as Python sees them.
#pragma once

#include <string>

#include "pyext/ref.hpp"

namespace coppice::py {

// The functions of these names in _coppice.pyi. Attached; they let go of the GIL where they block,
// and throw python_error or what describes itself.

/// The one list: of every method what it is, whether or not this build has it.
ref spawn_methods();
/// The backends that there are, with why they serve no Python actor here.
ref backends();
/// Every method with what it comes to here. Blocks for the self-test the first time, unless a guest
/// asks. Without a runtime one is opened for the length of the call.
ref backend_table();
/// (key, why) by which an actor is started that is to be started by `key`; why is None if it is
/// that one. See process_runtime::place().
ref place(const std::string& key);
/// What `coppice run --spawn-method` said, or None.
ref command_line_method();

}  // namespace coppice::py
