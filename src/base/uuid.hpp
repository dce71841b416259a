// SPDX-License-Identifier: Apache-2.0
// Random identifiers in the form the wire carries.
#pragma once

#include <cstdint>
#include <string>

namespace coppice::base {

/// A random UUID (version 4) as 36 characters of canonical text. Any thread. Seeded once per thread
/// from getrandom(2); unpredictable enough to be unique, not meant as a secret.
std::string new_uuid();

/// From here on the calling thread's UUIDs follow from `seed`, so that a run can be repeated. For
/// simulations: two processes with the same seed make the same ones.
void seed_uuids(std::uint64_t seed);

}  // namespace coppice::base
