// SPDX-License-Identifier: Apache-2.0
// What the parts of one simulated run share.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "actor/process_runtime.hpp"
#include "core/loop.hpp"
#include "dice.hpp"
#include "journal.hpp"
#include "ledger.hpp"
#include "machines.hpp"
#include "network.hpp"

namespace coppice::sim {

/// What may go wrong; `--faults` chooses.
enum class fault : std::uint8_t { delay, stall, cut, half_open, kill, boot, stuck, interrupt };
inline constexpr std::array<std::string_view, 8> fault_names = {
    "delay", "stall", "cut", "half-open", "kill", "boot", "stuck", "interrupt"};

class fault_set {
 public:
  constexpr void add(fault f) { bits_ |= 1u << static_cast<unsigned>(f); }
  constexpr bool has(fault f) const { return (bits_ >> static_cast<unsigned>(f) & 1) != 0; }

 private:
  unsigned bits_ = 0;
};

/// Owner: run_seed()'s frame, which makes the parts in the order in which they need each other.
struct world {
  const dice luck;
  const fault_set faults;  // Those of this run: a seed has some of those that are allowed.
  core::loop& loop;
  journal& trace;
  tree::process_runtime& runtime;
  network& net;
  machines& hosts;
  ledger& book;
  int actions_left = 0;  // Bounds a run: when it is used up, programs only return.
  std::uint64_t actors_so_far = 0;
  time_point interrupted = time_point::max();  // The root was told to end.

  bool root_ends() const { return interrupted != time_point::max(); }
};

}  // namespace coppice::sim
