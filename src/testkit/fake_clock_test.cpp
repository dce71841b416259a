// SPDX-License-Identifier: Apache-2.0
#include "coppice/testkit/fake_clock.hpp"

#include "coppice/clock.hpp"

#include <gtest/gtest.h>

#include "base/thread.hpp"

namespace coppice::testkit {
namespace {

using namespace std::chrono_literals;

TEST(FakeClock, MovesOnlyWhenTold) {
  fake_clock time;
  const time_point began = time.now();
  EXPECT_FALSE(time.skip_to(began + 1s)) << "no autojump: the loop would really sleep";
  EXPECT_EQ(time.now(), began);
  time.advance(5s);
  EXPECT_EQ(time.now(), began + 5s);
}

TEST(FakeClock, AutojumpGoesToTheNextTimerAndNeverBack) {
  fake_clock time({.autojump = true});
  const time_point began = time.now();
  EXPECT_TRUE(time.skip_to(began + 3s));
  EXPECT_EQ(time.now(), began + 3s);
  EXPECT_TRUE(time.skip_to(began + 1s));
  EXPECT_EQ(time.now(), began + 3s);
}

TEST(FakeClock, CallsOnDeadlockWhenThereIsNoTimer) {
  fake_clock time({.autojump = true});
  int called = 0;
  time.on_deadlock([&] { ++called; });
  EXPECT_TRUE(time.skip_to(time_point::max()));
  EXPECT_EQ(called, 1);
}

TEST(FakeClockDeath, WithoutAHandlerADeadlockAborts) {
  fake_clock time({.autojump = true});
  EXPECT_DEATH(time.skip_to(time_point::max()), "deadlock: every task waits");
}

TEST(FakeClockDeath, TimeDoesNotGoBackwards) {
  fake_clock time;
  time.advance(0s);
  EXPECT_DEATH(time.advance(-1s), "time does not go backwards");
}

TEST(FakeClock, TellsTheTimeOnAnyThread) {
  fake_clock time;
  const time_point began = time.now();
  base::os_thread reader("reader", [&] {
    while (time.now() == began) continue;
    EXPECT_EQ(time.now(), began + 1s);
  });
  time.advance(1s);
  reader.join();
}

}  // namespace
}  // namespace coppice::testkit
