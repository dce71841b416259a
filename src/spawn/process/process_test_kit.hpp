// SPDX-License-Identifier: Apache-2.0
// What the tests of backends share whose children are processes.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/types.h>

#include <fstream>
#include <string>

#include "base/process_stat.hpp"
#include "spawn/backend.hpp"

namespace coppice::spawn::test {

struct noting_observer final : child_observer {
  void ended(exit_report r) override {
    ++ends;
    report = std::move(r);
  }
  void cannot_unwind() override { ADD_FAILURE(); }
  void in_native_code() override { ADD_FAILURE(); }
  int ends = 0;
  exit_report report;
};

inline bool ignores(pid_t pid, int number) {
  std::ifstream in(fmt::format("/proc/{}/status", pid));
  for (std::string word; in >> word;)
    if (word == "SigIgn:" && in >> word) return std::stoull(word, nullptr, 16) >> (number - 1) & 1;
  return false;
}

/// A zombie is not: whoever inherits orphans here may take its time.
inline bool is_there(pid_t pid) {
  const auto found = base::stat_of(pid);
  return found && !found->is_zombie;
}

}  // namespace coppice::spawn::test
