// SPDX-License-Identifier: Apache-2.0
// The simulator finds what is planted, and says how to find it again.
#include <gtest/gtest.h>

#include <string>

#include "run_for_test.hpp"

namespace coppice::sim {
namespace {

constexpr int seeds_to_find_a_bug = 200;

// The bugs are planted in copies of our sources, see CMakeLists.txt.
class Planted : public testing::TestWithParam<const char*> {};

TEST_P(Planted, IsFoundAndItsSeedFindsItAgain) {
  const std::string seeds = " --seeds " + std::to_string(seeds_to_find_a_bug);
  const ended found = run(program(GetParam()) + seeds);
  EXPECT_EQ(found.status, 1) << found.output;
  const std::string what = line_after(found.output, "seed ");
  const std::string repeat = line_after(found.output, "repeat with: ");
  ASSERT_FALSE(what.empty()) << found.output;
  ASSERT_FALSE(repeat.empty()) << found.output;
  RecordProperty("found", "seed " + what);
  const ended again = run(repeat);
  EXPECT_EQ(again.status, 1);
  EXPECT_EQ(line_after(again.output, "seed "), what);
}
INSTANTIATE_TEST_SUITE_P(Bugs, Planted,
                         testing::Values("sim_lost_wakeup", "sim_swallowed_error",
                                         "sim_swallowed_failure", "sim_lost_reply",
                                         "sim_orphaned_callee"),
                         [](const auto& one) { return std::string(one.param); });

}  // namespace
}  // namespace coppice::sim
