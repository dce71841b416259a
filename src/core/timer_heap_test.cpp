// SPDX-License-Identifier: Apache-2.0
#include "core/timer_heap.hpp"  // First: proves the header stands alone.

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <random>

namespace coppice::core {
namespace {

using namespace std::chrono_literals;

struct test_timer final : detail::timer {
  int id = 0;
  time_point when;
  void fire() noexcept override {}
};

TEST(TimerHeap, GivesTimersByTimeThenByOrderOfArming) {
  timer_heap heap;
  std::deque<test_timer> timers(4);
  const time_point t0{};
  const duration spans[] = {3s, 1s, 3s, 1s};
  for (int i = 0; i < 4; ++i) {
    timers[i].id = i;
    heap.arm(timers[i], t0 + spans[i]);
  }
  EXPECT_EQ(heap.next(), t0 + 1s);
  EXPECT_EQ(heap.take_due(t0), nullptr);
  std::vector<int> order;
  while (auto* t = heap.take_due(t0 + 5s)) order.push_back(static_cast<test_timer*>(t)->id);
  EXPECT_EQ(order, (std::vector<int>{1, 3, 0, 2}));
  EXPECT_EQ(heap.next(), time_point::max());
}

TEST(TimerHeap, RearmingMovesATimerAndDisarmingTwiceIsNothing) {
  timer_heap heap;
  test_timer t;
  heap.arm(t, time_point{} + 1s);
  heap.arm(t, time_point{} + 2s);
  EXPECT_EQ(heap.size(), 1u);
  EXPECT_EQ(heap.next(), time_point{} + 2s);
  heap.disarm(t);
  heap.disarm(t);
  EXPECT_FALSE(t.armed());
  EXPECT_TRUE(heap.empty());
}

// Against a sorted list, with timers leaving from the middle.
TEST(TimerHeap, AgreesWithASortedListUnderRandomArmingAndDisarming) {
  std::mt19937 random(20240607);  // The seed is the test: same seed, same run.
  timer_heap heap;
  std::deque<test_timer> timers(500);
  std::vector<test_timer*> armed;
  for (int step = 0; step < 20'000; ++step) {
    test_timer& t = timers[random() % timers.size()];
    if (t.armed() && random() % 2 == 0) {
      heap.disarm(t);
      std::erase(armed, &t);
    } else {
      if (!t.armed()) armed.push_back(&t);
      t.when = time_point{} + std::chrono::milliseconds(random() % 1000);
      heap.arm(t, t.when);
    }
    const auto soonest = std::min_element(armed.begin(), armed.end(),
                                          [](auto* a, auto* b) { return a->when < b->when; });
    ASSERT_EQ(heap.next(), soonest == armed.end() ? time_point::max() : (*soonest)->when) << step;
    ASSERT_EQ(heap.size(), armed.size());
  }
  time_point last{};
  while (auto* t = heap.take_due(time_point::max())) {
    EXPECT_GE(static_cast<test_timer*>(t)->when, last);
    last = static_cast<test_timer*>(t)->when;
  }
}

}  // namespace
}  // namespace coppice::core
