// SPDX-License-Identifier: Apache-2.0
#include "coppice/stall.hpp"  // First: proves the header stands alone.

#include <gtest/gtest.h>

namespace coppice {
namespace {

using namespace std::chrono_literals;

TEST(StallReport, IsOneLineAndOnePerFrame) {
  const stall_report report{
      .loop = "main", .task = "'hog'", .at_least = 1500ms, .stack = {"inner+0x1 in a", "outer"}};
  EXPECT_EQ(report.to_text(),
            "coppice: loop 'main' is stalled, for 1.5s so far, by 'hog'\n"
            "    inner+0x1 in a\n"
            "    outer\n");
}

TEST(StallReport, TellsHowManyWereLeftOutAndWhatReturnedMeanwhile) {
  const stall_report report{
      .loop = "main", .task = "", .at_least = 120ms, .stack = {}, .left_out = 3};
  EXPECT_EQ(report.to_text(),
            "coppice: loop 'main' is stalled, for 120ms so far, by what has returned meanwhile; 3 "
            "stalls before it were not told\n");
}

}  // namespace
}  // namespace coppice
