// SPDX-License-Identifier: Apache-2.0
// Broken invariants: say the sentence, print what is running, abort. On in every build.
#pragma once

#include <string_view>

namespace coppice::base {

/// Prints "coppice: <file>:<line>: <what> [<expression>]", calls the hook, and aborts.
[[noreturn]] void assert_failed(const char* expression, std::string_view what, const char* file,
                                int line) noexcept;

/// Called by assert_failed() before it aborts, to print the task tree of the calling thread's loop.
/// One hook per process; set by core. Must not allocate more than it needs and must not throw.
using assert_hook = void (*)() noexcept;
void set_assert_hook(assert_hook hook) noexcept;

}  // namespace coppice::base

// COPPICE_ASSERT(condition, "a sentence that says what must hold and what to look for")
#define COPPICE_ASSERT(condition, what) \
  (static_cast<bool>(condition)         \
       ? static_cast<void>(0)           \
       : ::coppice::base::assert_failed(#condition, (what), __FILE__, __LINE__))
