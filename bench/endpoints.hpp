// SPDX-License-Identifier: Apache-2.0
// What native actors of the benchmarks expose.
#pragma once

#include <unistd.h>

#include <cstdint>

#include "coppice/coppice.hpp"

namespace bench {

inline std::int64_t ping(std::int64_t x) { return x; }
inline std::int64_t pid() { return ::getpid(); }
inline constexpr coppice::endpoint ping_endpoint{"bench:ping", ping, "x"};
inline constexpr coppice::endpoint pid_endpoint{"bench:pid", pid};

}  // namespace bench
