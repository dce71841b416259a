// SPDX-License-Identifier: Apache-2.0
// The tour's result as a table for people and as JSON for programs.
#include <fmt/format.h>

#include "cli/tour.hpp"

namespace coppice::cli {

namespace {

double speed_up(const tour_result& r) {
  return r.n_guests_s > 0 ? r.one_guest_s / r.n_guests_s : 0;
}

std::string json_of(const resources& r) {
  return fmt::format(R"({{"threads": {}, "interpreters": {}, "processes": {}, "fds": {}}})",
                     r.threads, r.interpreters, r.processes, r.fds);
}

}  // namespace

void print_table(const tour_result& r) {
  const auto row = [](const char* name, const std::string& value) {
    fmt::print("  {:<34} {:>14}\n", name, value);
  };
  fmt::print("\nReal work\n");
  row("files parsed", fmt::format("{}", r.totals.files));
  if (r.totals.failed) row("files that do not parse", fmt::format("{}", r.totals.failed));
  row("definitions, calls, imports",
      fmt::format("{} {} {}", r.totals.definitions, r.totals.calls, r.totals.imports));
  row("1 guest", fmt::format("{:.2f} s", r.one_guest_s));
  row(fmt::format("{} guests", r.guests).c_str(), fmt::format("{:.2f} s", r.n_guests_s));
  row("speed-up", fmt::format("{:.2f}", speed_up(r)));
  fmt::print("\n{:<20} {:>22} {:>14}\n", "Backend", "start to first reply", "call");
  for (const auto& l : r.latencies)
    fmt::print("  {:<18} {:>19.2f} ms {:>11.1f} us\n", l.backend, l.start_ms, l.call_us);
  fmt::print("\n{:<24} {:>14} {:>12}\n", "Stuck in", "stopped by", "after");
  for (const auto& s : r.stopped)
    fmt::print("  {:<22} {:>14} {:>9.1f} ms\n", s.state, s.rung, s.ms);
  fmt::print("\n{:<16} {:>8} {:>8}\n", "In this process", "before", "after");
  const auto pair = [](const char* what, std::size_t before, std::size_t after) {
    fmt::print("  {:<14} {:>8} {:>8}{}\n", what, before, after,
               after > before ? "  LEFT BEHIND" : "");
  };
  pair("threads", r.before.threads, r.after.threads);
  pair("interpreters", r.before.interpreters, r.after.interpreters);
  pair("processes", r.before.processes, r.after.processes);
  pair("fds", r.before.fds, r.after.fds);
  fmt::print("\n{}\n", r.left_nothing() ? "Nothing is left." : "Something is left.");
}

std::string to_json(const tour_result& r) {
  std::string stopped, latencies;
  for (const auto& s : r.stopped)
    stopped += fmt::format(R"({}{{"state": "{}", "rung": "{}", "ms": {:.1f}}})",
                           stopped.empty() ? "" : ", ", s.state, s.rung, s.ms);
  for (const auto& l : r.latencies)
    latencies += fmt::format(R"({}{{"backend": "{}", "start_ms": {:.3f}, "call_us": {:.2f}}})",
                             latencies.empty() ? "" : ", ", l.backend, l.start_ms, l.call_us);
  return fmt::format(
      R"({{"files": {}, "one_guest_s": {:.3f}, "n_guests_s": {:.3f}, "guests": {}, )"
      R"("speedup": {:.3f}, "latencies": [{}], "stopped": [{}], "before": {}, "after": {}}})",
      r.totals.files, r.one_guest_s, r.n_guests_s, r.guests, speed_up(r), latencies, stopped,
      json_of(r.before), json_of(r.after));
}

}  // namespace coppice::cli
