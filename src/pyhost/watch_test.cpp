// SPDX-License-Identifier: Apache-2.0
#include "pyhost/watch.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <future>

namespace coppice::py {
namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;

TEST(Watch, FiresInTheOrderOfTheDeadlinesNotOfTheArming) {
  watch w;
  std::string order;
  std::promise<void> last;
  const auto now = steady_clock::now();
  w.arm(now + 30ms, [&] { order += "c", last.set_value(); });
  w.arm(now + 20ms, [&] { order += "b"; });
  w.arm(now + 10ms, [&] { order += "a"; });
  ASSERT_EQ(last.get_future().wait_for(10s), std::future_status::ready);
  EXPECT_EQ(order, "abc");
}

TEST(Watch, DisarmedDoesNotFire) {
  watch w;
  std::atomic<bool> fired{false};
  std::promise<void> later;
  const auto ticket = w.arm(steady_clock::now() + 20ms, [&] { fired = true; });
  w.disarm(ticket);
  w.arm(steady_clock::now() + 40ms, [&] { later.set_value(); });
  ASSERT_EQ(later.get_future().wait_for(10s), std::future_status::ready);
  EXPECT_FALSE(fired);
}

TEST(Watch, ArmingFromWhatFiresWorks) {
  watch w;
  std::promise<void> second;
  w.arm(steady_clock::now(), [&] { w.arm(steady_clock::now(), [&] { second.set_value(); }); });
  EXPECT_EQ(second.get_future().wait_for(10s), std::future_status::ready);
}

TEST(Watch, EndsAtOnceWithThingsArmed) {
  const auto start = steady_clock::now();
  {
    watch w;
    w.arm(start + 1h, [] {});
  }
  EXPECT_LT(steady_clock::now() - start, 10s);
}

}  // namespace
}  // namespace coppice::py
