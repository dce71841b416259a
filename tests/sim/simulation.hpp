// SPDX-License-Identifier: Apache-2.0
// One simulated run: a tree of actors on one thread, virtual time, and the luck of a seed.
#pragma once

#include <cstdint>
#include <string>

#include "ledger.hpp"
#include "world.hpp"

namespace coppice::sim {

struct run_options {
  std::uint64_t seed = 0;
  fault_set allowed;  // A seed has some of these.
  bool print_trace = false;
  std::string repeat;  // The command that does the same again.
};

struct run_result {
  std::uint64_t hash = 0;  // Of the trace: the same for the same seed and faults.
  std::uint64_t events = 0;
  tally counts;
};

/// Runs one seed to its end. An invariant that breaks ends the process with status 1, see journal.
run_result run_seed(const run_options& options);

}  // namespace coppice::sim
