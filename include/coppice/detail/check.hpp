// SPDX-License-Identifier: Apache-2.0
// Invariants that templates in public headers check: a sentence, the task tree, abort.
#pragma once

#include <source_location>

namespace coppice::detail {

[[noreturn]] void check_failed(const char* what, const std::source_location& where) noexcept;

/// `what` says what must hold and which line to change. On in every build.
inline void check(bool ok, const char* what,
                  const std::source_location& where = std::source_location::current()) noexcept {
  if (!ok) [[unlikely]]
    check_failed(what, where);
}

}  // namespace coppice::detail
