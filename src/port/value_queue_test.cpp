// SPDX-License-Identifier: Apache-2.0
#include "port/value_queue.hpp"  // First: proves the header stands alone.

#include <gtest/gtest.h>

#include <deque>
#include <random>

#include "coppice/message.hpp"

namespace coppice::port {
namespace {

TEST(ValueQueue, GivesWhatCameInRunsAndOneByOneInOrder) {
  std::mt19937 random(7);
  value_queue q;
  std::deque<payload> expected;
  int n = 0;
  for (int step = 0; step < 20'000; ++step) {
    const auto next = [&] { return expected.emplace_back(to_payload(n++)); };
    switch (random() % 6) {
      case 0: {
        std::vector<payload> run;
        for (auto i = random() % 5; i > 0; --i) run.push_back(next());
        q.push(std::move(run));
        break;
      }
      case 1:
        q.push(next());
        break;
      case 2:
        if (expected.empty()) break;
        {
          const auto nth = static_cast<std::ptrdiff_t>(random() % expected.size());
          EXPECT_EQ(q.pop_at(static_cast<std::size_t>(nth)), expected[nth]);
          expected.erase(expected.begin() + nth);
        }
        break;
      default:
        if (expected.empty()) break;
        EXPECT_EQ(q.pop(), expected.front());
        expected.pop_front();
    }
    ASSERT_EQ(q.size(), expected.size());
    ASSERT_EQ(q.empty(), expected.empty());
  }
  EXPECT_GT(n, 5000);
}

}  // namespace
}  // namespace coppice::port
