// SPDX-License-Identifier: Apache-2.0
#include "base/ticker.hpp"  // First: proves the header stands alone.

#include <gtest/gtest.h>

#include <atomic>

namespace coppice::base {
namespace {

using namespace std::chrono_literals;

TEST(Ticker, LooksAgainAndAgainFromTheFirstPeriodOn) {
  std::atomic<int> looks{0};
  ticker t("ticker", [&]() -> ticker::afterwards {
    ++looks;
    looks.notify_all();
    return {};
  });
  EXPECT_EQ(looks, 0);
  t.locked([] { return 1ms; });
  for (int seen = 0; seen < 3; seen = looks) looks.wait(seen);
  t.stop();
  EXPECT_GE(looks, 3);
}

TEST(Ticker, NoLookOverlapsALockedFunction) {
  int not_atomic = 0;
  std::atomic<int> looks{0};
  ticker t("ticker", [&]() -> ticker::afterwards {
    ++not_atomic;
    ++looks;
    looks.notify_all();
    return {};
  });
  t.locked([] { return 1ms; });
  looks.wait(0);
  t.locked([&] {
    const int before = ++not_atomic;
    EXPECT_EQ(before, looks + 1);
    return 0ms;
  });
}

TEST(Ticker, WhatALookReturnsRunsOutsideOfTheLock) {
  std::atomic<bool> ran{false};
  ticker* self = nullptr;
  ticker t("ticker", [&]() -> ticker::afterwards {
    return [&] {
      self->locked([] { return 0ms; });  // Would wait for itself for ever.
      ran = true;
      ran.notify_all();
    };
  });
  self = &t;
  t.locked([] { return 1ms; });
  ran.wait(false);
}

TEST(Ticker, StopWithoutAThreadIsNothingAndALaterPeriodToo) {
  std::atomic<int> looks{0};
  ticker t("ticker", [&]() -> ticker::afterwards {
    ++looks;
    return {};
  });
  t.stop();
  t.locked([] { return 1ms; });
  t.stop();
  EXPECT_EQ(looks, 0);
}

}  // namespace
}  // namespace coppice::base
