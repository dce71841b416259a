// SPDX-License-Identifier: Apache-2.0
// What everything that can be used as a lock promises alike: exclusion, order, no overtaking.
#include <functional>
#include <optional>

#include "coppice/capacity_limiter.hpp"
#include "coppice/channel.hpp"
#include "coppice/lock.hpp"
#include "coppice/nursery.hpp"
#include "coppice/semaphore.hpp"
#include "coppice/testkit/async_test.hpp"
#include "coppice/testkit/order.hpp"

namespace coppice {
namespace {

using namespace std::chrono_literals;

/// Has a value of a channel; gives it back when it ends.
class borrowed_value {
 public:
  explicit borrowed_value(channel<int>& from) : from_(&from) {}
  borrowed_value(borrowed_value&& o) noexcept : from_(std::exchange(o.from_, nullptr)) {}
  ~borrowed_value() {
    if (from_ != nullptr) from_->try_send(1);
  }

 private:
  channel<int>* from_;
};

struct by_lock {
  lock l;
  auto enter() { return l.acquire(); }
  auto try_enter() { return l.try_acquire(); }
};
struct by_semaphore {
  semaphore s{1};
  auto enter() { return s.acquire(); }
  auto try_enter() { return s.try_acquire(); }
};
struct by_limiter {
  capacity_limiter c{1};
  auto enter() { return c.acquire(); }
  auto try_enter() { return c.try_acquire(); }
};
struct by_channel {
  channel<int> c{1};
  by_channel() { c.try_send(1); }
  task<borrowed_value> enter() {
    co_await c.receive();
    co_return borrowed_value(c);
  }
  std::optional<borrowed_value> try_enter() {
    if (!c.try_receive()) return std::nullopt;
    return std::make_optional<borrowed_value>(c);
  }
};

template <class Way>
task<> work_alone(Way& way, bool& inside, int& entered) {
  for (int i = 0; i < 10; ++i) {
    auto held = co_await way.enter();
    ++entered;
    EXPECT_FALSE(inside);
    inside = true;
    co_await checkpoint();
    co_await checkpoint();
    EXPECT_TRUE(inside);
    inside = false;
  }
}

template <class Way>
task<> expect_exclusion() {
  Way way;
  bool inside = false;
  int entered = 0;
  co_await open_nursery([&](nursery& n) {
    for (int i = 0; i < 5; ++i)
      n.start_soon(work_alone<Way>, std::ref(way), std::ref(inside), std::ref(entered));
  });
  EXPECT_EQ(entered, 50);
}

COPPICE_TEST(SyncRules, OneTaskIsInsideAtATimeWhicheverWayItIsLocked) {
  co_await expect_exclusion<by_lock>();
  co_await expect_exclusion<by_semaphore>();
  co_await expect_exclusion<by_limiter>();
  co_await expect_exclusion<by_channel>();
}

template <class Way>
task<> come_again(Way& way, std::vector<int>& came, std::vector<int>& got, int who) {
  came.push_back(who);
  for (int i = 0; i < 5; ++i) {
    auto held = co_await way.enter();
    got.push_back(who);
  }
}

template <class Way>
task<> expect_rounds() {
  Way way;
  std::vector<int> came;
  std::vector<int> got;
  co_await open_nursery([&](nursery& n) {
    for (int who = 0; who < 3; ++who)
      n.start_soon(come_again<Way>, std::ref(way), std::ref(came), std::ref(got), who);
  });
  EXPECT_EQ(got.size(), 15u);
  for (std::size_t i = 0; i < got.size(); ++i) EXPECT_EQ(got[i], came[i % 3]) << i;
}

COPPICE_TEST(SyncRules, TasksThatComeAgainAndAgainTakeTurnsInTheOrderOfTheFirstRound) {
  co_await expect_rounds<by_lock>();
  co_await expect_rounds<by_semaphore>();
  co_await expect_rounds<by_limiter>();
  co_await expect_rounds<by_channel>();
}

template <class Way>
task<> expect_try_keeps_out() {
  Way way;
  bool in = false;
  co_await open_nursery([&](nursery& n) -> task<> {
    auto held = way.try_enter();
    EXPECT_TRUE(held.has_value());
    n.start_soon(
        [](Way& w, bool& entered) -> task<> {
          auto mine = co_await w.enter();
          entered = true;
        },
        std::ref(way), std::ref(in));
    co_await testkit::wait_all_blocked();
    EXPECT_FALSE(in);
    held.reset();
  });
  EXPECT_TRUE(in);
}

COPPICE_TEST(SyncRules, WhatWasTakenWithoutWaitingKeepsOthersOutAsWell) {
  co_await expect_try_keeps_out<by_lock>();
  co_await expect_try_keeps_out<by_semaphore>();
  co_await expect_try_keeps_out<by_limiter>();
  co_await expect_try_keeps_out<by_channel>();
}

}  // namespace
}  // namespace coppice
