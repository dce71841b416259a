// SPDX-License-Identifier: Apache-2.0
// What this build is instrumented with, where that changes what can be called or expected.
#pragma once

// clang answers __has_feature, g++ 12 defines a name.
#if defined(__has_feature)
#define COPPICE_HAS_FEATURE(name) __has_feature(name)
#else
#define COPPICE_HAS_FEATURE(name) 0
#endif

namespace coppice::base {

/// Times that promise something about the product are several times longer with these.
#if defined(__SANITIZE_ADDRESS__) || COPPICE_HAS_FEATURE(address_sanitizer)
inline constexpr bool under_address_sanitizer = true;
#else
inline constexpr bool under_address_sanitizer = false;
#endif

#if defined(__SANITIZE_THREAD__) || COPPICE_HAS_FEATURE(thread_sanitizer)
inline constexpr bool under_thread_sanitizer = true;
#else
inline constexpr bool under_thread_sanitizer = false;
#endif

}  // namespace coppice::base

#undef COPPICE_HAS_FEATURE
