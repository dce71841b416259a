// SPDX-License-Identifier: Apache-2.0
// `coppice tour`: a tree of C++ and Python actors does real work, gets stuck, and is cut down.
#pragma once

#include <string>
#include <vector>

#include "cli/resources.hpp"
#include "coppice/actor.hpp"
#include "coppice/task.hpp"

namespace coppice::cli {

struct tour_options {
  std::string folder;   // Of Python files; empty: the standard library of the CPython in use.
  unsigned guests = 0;  // 0: one per core.
  bool json = false;
};

struct scan_totals {
  std::int64_t files = 0, failed = 0, bytes = 0, definitions = 0, calls = 0, imports = 0;
};

struct backend_latency {
  std::string backend;
  double start_ms = 0;  // From start_actor() to the first reply.
  double call_us = 0;   // Median of a call that returns its argument.
};

struct stopped_guest {
  std::string state;  // What it was stuck in.
  std::string rung;
  double ms = 0;
};

struct tour_result {
  scan_totals totals;
  std::size_t guests = 0;
  double one_guest_s = 0, n_guests_s = 0;
  std::vector<backend_latency> latencies;
  std::vector<stopped_guest> stopped;
  resources before, after;

  bool left_nothing() const {
    return after.threads <= before.threads && after.interpreters <= before.interpreters &&
           after.processes <= before.processes && after.fds <= before.fds;
  }
};

/// The tour as a root actor: prints its table, or one JSON object. The exit status: 0, or 1 if
/// anything was left behind or a stuck guest was not stopped.
task<int> run_tour(actor& self, tour_options options);

void print_table(const tour_result& r);
std::string to_json(const tour_result& r);

}  // namespace coppice::cli
