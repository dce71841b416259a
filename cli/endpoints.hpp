// SPDX-License-Identifier: Apache-2.0
// What native actors of the `coppice` command expose.
#pragma once

#include <cstdint>

#include "coppice/endpoint.hpp"

namespace coppice::cli {

inline std::int64_t ping(std::int64_t x) { return x; }
inline constexpr endpoint ping_endpoint{"tour:ping", ping, "x"};

}  // namespace coppice::cli
