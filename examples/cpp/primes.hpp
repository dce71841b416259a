// SPDX-License-Identifier: Apache-2.0
// Two endpoints: one that C++ implements, one that Python does.
#pragma once
#include <coppice/coppice.hpp>
namespace primes {
coppice::task<std::int64_t> count_primes(std::int64_t start, std::int64_t stop);
inline constexpr coppice::endpoint count{"primes:count_primes", count_primes, "start",
                                         "stop"};  // what C++ implements

inline constexpr coppice::endpoint<std::int64_t(std::int64_t,
                                                std::int64_t)>  // what Python implements
    count_in_python{"primes_py:count_primes", "start", "stop"};
}  // namespace primes
