// SPDX-License-Identifier: Apache-2.0
// Chance that follows from a seed.
#pragma once

#include <cstdint>
#include <string_view>

#include "coppice/clock.hpp"

namespace coppice::sim {

/// Numbers that look random and follow from a seed (splitmix64).
///
/// # Why not <random>?
/// What its distributions draw is the library's own affair, and its engines cost more to seed than
/// a whole action of a simulated program, each of which has dice of its own.
///
/// Owner: anybody, by value.
class dice {
 public:
  explicit dice(std::uint64_t seed) : seed_(seed), state_(seed) {}

  std::uint64_t next() {
    state_ += 0x9e3779b97f4a7c15ull;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
  }
  std::uint64_t below(std::uint64_t n) { return next() % n; }  // REQUIRES: n > 0.
  bool chance(int percent) { return below(100) < static_cast<std::uint64_t>(percent); }
  duration between(duration least, duration most) {
    const auto span = static_cast<std::uint64_t>((most - least).count());
    return least + duration(static_cast<duration::rep>(below(span + 1)));
  }

  /// Dice of their own for a part, whatever was drawn from these: what one part does must not
  /// change the luck of the others.
  dice of(std::string_view part) const {
    std::uint64_t h = 0xcbf29ce484222325ull ^ seed_;
    for (const char c : part) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
    dice mixed(h);
    return dice(mixed.next());
  }

 private:
  std::uint64_t seed_;
  std::uint64_t state_;
};

}  // namespace coppice::sim
