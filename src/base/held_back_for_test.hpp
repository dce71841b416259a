// SPDX-License-Identifier: Apache-2.0
// Tests: does this build run signal handlers when signals come?
#pragma once

namespace coppice::base {

/// Thread sanitizer runs handlers at the next call that it knows of: not in code that computes, nor
/// in a futex. There a thread shows no stack.
#if defined(__SANITIZE_THREAD__)
inline constexpr bool signals_are_held_back = true;
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
inline constexpr bool signals_are_held_back = true;
#else
inline constexpr bool signals_are_held_back = false;
#endif
#else
inline constexpr bool signals_are_held_back = false;
#endif

}  // namespace coppice::base
