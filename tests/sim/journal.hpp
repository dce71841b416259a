// SPDX-License-Identifier: Apache-2.0
// What happened in a run: hashed, its end kept for a report.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <deque>
#include <string>
#include <utility>

#include "core/loop.hpp"

namespace coppice::sim {

/// The trace of one run, a line per event with its virtual time, and the way in which a run fails.
///
/// Promises: two runs of one seed have the same hash; fail() prints the seed, which invariant broke
/// and how, the end of the trace, the task tree, and the command that repeats it, and leaves the
/// process with status 1: what is left of a run that broke an invariant cannot be trusted to end.
///
/// Owner: the run. One at a time per process: crashed() finds it.
class journal {
 public:
  static constexpr std::size_t lines_max = 40;  // Of the report.

  journal(std::uint64_t seed, std::string repeat, const core::loop& loop, bool print);
  ~journal();
  journal(const journal&) = delete;
  journal& operator=(const journal&) = delete;

  template <class... Args>
  void note(fmt::format_string<Args...> text, Args&&... args) {
    add(fmt::format(text, std::forward<Args>(args)...));
  }
  template <class... Args>
  [[noreturn]] void fail(fmt::format_string<Args...> text, Args&&... args) {
    report(fmt::format(text, std::forward<Args>(args)...), true);
  }

  std::uint64_t hash() const { return hash_; }
  std::uint64_t events() const { return events_; }

  /// For signal handlers: fail() of the run under way, without the task tree.
  static void crashed(const char* how);

 private:
  void add(std::string line);
  [[noreturn]] void report(const std::string& what, bool tree);

  const std::uint64_t seed_;
  const std::string repeat_;
  const core::loop& loop_;
  const bool print_;
  const time_point began_;
  std::deque<std::string> last_;
  std::uint64_t hash_ = 0xcbf29ce484222325ull;
  std::uint64_t events_ = 0;
};

}  // namespace coppice::sim
