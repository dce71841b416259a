// SPDX-License-Identifier: Apache-2.0
#include "base/uuid.hpp"

#include <sys/random.h>

#include <array>
#include <cstdint>
#include <random>

#include "base/assert.hpp"

namespace coppice::base {

namespace {
std::mt19937_64 seeded() {
  std::array<std::uint32_t, 8> seed{};
  COPPICE_ASSERT(::getrandom(seed.data(), sizeof seed, 0) == sizeof seed, "getrandom failed");
  std::seed_seq sequence(seed.begin(), seed.end());
  return std::mt19937_64(sequence);
}

std::mt19937_64& numbers() {
  // Trivially destructible, so a thread that leaves by siglongjmp loses nothing.
  static thread_local std::mt19937_64 random = seeded();
  return random;
}
}  // namespace

void seed_uuids(std::uint64_t seed) { numbers().seed(seed); }

std::string new_uuid() {
  std::mt19937_64& random = numbers();
  std::uint64_t half[2] = {random(), random()};
  half[0] = (half[0] & ~0xF000ull) | 0x4000ull;        // version 4
  half[1] = (half[1] & ~(3ull << 62)) | (2ull << 62);  // variant 1
  static constexpr char digits[] = "0123456789abcdef";
  std::string text(36, '-');
  std::size_t at = 0;
  for (int nibble = 0; nibble < 32; ++nibble) {
    if (nibble == 8 || nibble == 12 || nibble == 16 || nibble == 20) ++at;
    text[at++] = digits[(half[nibble / 16] >> (60 - 4 * (nibble % 16))) & 15];
  }
  return text;
}

}  // namespace coppice::base
