// SPDX-License-Identifier: Apache-2.0
#include "coppice/clock.hpp"  // First: proves the header stands alone.

#include <gtest/gtest.h>

#include <vector>

#include "coppice/time.hpp"
#include "core/loop.hpp"

namespace coppice {
namespace {

using namespace std::chrono_literals;

TEST(SystemClock, NeverGoesBackAndNeverSkips) {
  clock& time = system_clock();
  time_point last = time.now();
  for (int i = 0; i < 1000; ++i) {
    const time_point now = time.now();
    EXPECT_GE(now, last);
    last = now;
  }
  EXPECT_FALSE(time.skip_to(last + 1h));
  EXPECT_LT(time.now(), last + 1h);
  EXPECT_EQ(&time, &system_clock()) << "one for the process";
}

class noting_clock final : public clock {
 public:
  time_point now() const noexcept override { return now_; }
  bool skip_to(time_point next) noexcept override {
    asked.push_back(next);
    now_ = next;
    return true;
  }
  std::vector<time_point> asked;

 private:
  time_point now_{1h};
};

TEST(Clock, IsAskedToSkipToTheSoonestTimerWhenALoopHasNothingReady) {
  noting_clock time;
  const time_point began = time.now();
  core::loop l({.time = &time});
  l.run([]() -> task<> {
    co_await checkpoint();
    co_await sleep_for(2s);
    co_await move_on_after(3s, sleep_for(1h));
  }());
  EXPECT_EQ(time.asked, (std::vector<time_point>{began + 2s, began + 5s}));
}

}  // namespace
}  // namespace coppice
