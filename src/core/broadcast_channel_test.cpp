// SPDX-License-Identifier: Apache-2.0
#include "coppice/broadcast_channel.hpp"  // First: proves the header stands alone.

#include <algorithm>

#include "coppice/outcome.hpp"
#include "coppice/testkit/async_test.hpp"
#include "coppice/testkit/order.hpp"

namespace coppice {
namespace {

using namespace std::chrono_literals;
using log = std::vector<std::string>;
using numbers = std::vector<int>;
using channel_t = broadcast_channel<int>;
using subscription_t = broadcast_channel<int>::subscription;
using testkit::wait_all_blocked;

task<> collect(subscription_t from, numbers& into) {
  while (auto v = co_await from.receive()) into.push_back(*v);
}

/// Takes until the end, `each` per value; gives up after `lags_max` lags.
task<> take_slowly(subscription_t from, duration each, int lags_max, numbers& got, int& lags) {
  while (lags < lags_max) {
    auto v = co_await as_result(from.receive());
    if (v.error<lagged>() != nullptr) {
      ++lags;
      continue;
    }
    if (!*v) co_return;
    got.push_back(**v);
    co_await sleep_for(each);
  }
}

COPPICE_TEST(BroadcastChannel, EverySubscriptionGetsEveryValueInOrder) {
  channel_t c(16);
  std::vector<numbers> got(10);
  co_await open_nursery([&](nursery& n) -> task<> {
    for (numbers& into : got) n.start_soon(collect, c.subscribe(), std::ref(into));
    for (int i = 0; i < 1000; ++i) {
      EXPECT_EQ(c.send(i), 10u);
      co_await checkpoint();
      co_await checkpoint();
    }
    c.close();
  });
  for (const numbers& one : got) {
    EXPECT_EQ(one.size(), 1000u);
    EXPECT_TRUE(std::ranges::is_sorted(one));
  }
}

COPPICE_TEST(BroadcastChannel, SendNeverWaitsAndAtMostTheCapacityIsKept) {
  channel_t c(3);
  auto slow = c.subscribe();
  for (int i = 0; i < 10; ++i) c.send(i);
  EXPECT_EQ(c.size(), 3u);
  EXPECT_EQ(slow.behind(), 10u);
  co_return;
}

COPPICE_TEST(BroadcastChannel, ASlowSubscriberHearsHowManyItMissedAndGoesOnWithTheOldestKept) {
  channel_t c(3, "prices");
  auto slow = c.subscribe();
  for (int i = 0; i < 10; ++i) c.send(i);
  auto r = co_await as_result(slow.receive());
  auto* e = r.error<lagged>();
  EXPECT_TRUE(e != nullptr);
  if (e != nullptr) {
    EXPECT_EQ(e->missed(), 7u);
    EXPECT_STREQ(e->what(),
                 "subscription of 'prices', 3 behind, 7 missed: 7 values were overwritten before "
                 "it took them; take faster, or keep more");
  }
  EXPECT_EQ(co_await slow.receive(), 7) << "once, and then the oldest that is kept";
  EXPECT_EQ(slow.try_receive(), 8);
  c.send(10);
  c.send(11);
  c.send(12);
  EXPECT_THROW(slow.try_receive(), lagged);
  EXPECT_EQ(slow.try_receive(), 10);
  EXPECT_EQ(slow.missed(), 8u);
}

COPPICE_TEST(BroadcastChannel, OnlyTheSlowLagAndTheFastestLosesNothing) {
  channel_t c(10);
  numbers got[3];
  int lags[3] = {};
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon(take_slowly, c.subscribe(), 1ms, 4, std::ref(got[0]), std::ref(lags[0]));
    n.start_soon(take_slowly, c.subscribe(), 2ms, 4, std::ref(got[1]), std::ref(lags[1]));
    n.start_soon(take_slowly, c.subscribe(), 3ms, 4, std::ref(got[2]), std::ref(lags[2]));
    for (int i = 0; i < 300; ++i) {
      c.send(i);
      co_await sleep_for(1ms);
    }
    c.close();
  });
  EXPECT_EQ(lags[0], 0);
  EXPECT_EQ(got[0].size(), 300u);
  EXPECT_EQ(lags[1], 4);
  EXPECT_EQ(lags[2], 4);
}

COPPICE_TEST(BroadcastChannel, ALagNeedNotThrow) {
  channel_t c(2);
  auto slow = c.subscribe({.lag_throws = false});
  for (int i = 0; i < 100; ++i) c.send(i);
  EXPECT_EQ(co_await slow.receive(), 98);
  EXPECT_EQ(slow.missed(), 98u);
  c.send(100);
  c.send(101);
  EXPECT_EQ(slow.try_receive(), 100);
  EXPECT_EQ(slow.missed(), 99u);
}

COPPICE_TEST(BroadcastChannel, ALateSubscriptionBeginsWithTheNextValue) {
  channel_t c(8);
  auto early = c.subscribe();
  c.send(1);
  auto late = c.subscribe();
  EXPECT_FALSE(late.try_receive());
  c.send(2);
  EXPECT_EQ(co_await late.receive(), 2);
  EXPECT_EQ(co_await early.receive(), 1);
}

COPPICE_TEST(BroadcastChannel, WithoutASubscriptionAValueIsGone) {
  channel_t c(8);
  EXPECT_EQ(c.send(1), 0u);
  EXPECT_EQ(c.size(), 0u);
  {
    auto only = c.subscribe();
    EXPECT_EQ(c.send(2), 1u);
    EXPECT_EQ(c.size(), 1u);
  }
  EXPECT_EQ(c.size(), 0u) << "nobody is left who could take it";
  EXPECT_EQ(c.subscribers(), 0u);
  co_return;
}

COPPICE_TEST(BroadcastChannel, ACancelledReceiveHasNotTaken) {
  channel_t c(8);
  auto s = c.subscribe();
  EXPECT_FALSE(co_await move_on_after(1s, s.receive()));
  c.send(1);
  EXPECT_EQ(co_await s.receive(), 1);
}

task<> take_one(subscription_t& from, numbers& into) {
  auto v = co_await from.receive();
  into.push_back(*v);
}

COPPICE_TEST(BroadcastChannel, AValueThatWasHandedOverArrivesWhateverIsCancelledMeanwhile) {
  channel_t c(1);
  auto s = c.subscribe();
  numbers got;
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon(take_one, std::ref(s), std::ref(got));
    co_await wait_all_blocked();
    c.send(1);
    c.send(2);  // Overwrites the first one, which is the receiver's already.
    n.cancel();
  });
  EXPECT_EQ(got, numbers{1});
  EXPECT_EQ(s.missed(), 0u);
  EXPECT_EQ(s.try_receive(), 2);
}

COPPICE_TEST(BroadcastChannel, OneThatIsCancelledDoesNotHoldUpTheOthers) {
  channel_t c(8);
  auto stays = c.subscribe();
  numbers got;
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon(take_one, std::ref(stays), std::ref(got));
    EXPECT_FALSE(co_await move_on_after(1s, collect(c.subscribe(), got)));
    EXPECT_EQ(c.subscribers(), 1u) << "a subscription ends with its task";
    c.send(1);
  });
  EXPECT_EQ(got, numbers{1});
}

COPPICE_TEST(BroadcastChannel, SeveralTasksMayShareASubscriptionEachValueToOne) {
  channel_t c(8);
  auto s = c.subscribe();
  numbers got;
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon(take_one, std::ref(s), std::ref(got));
    n.start_soon(take_one, std::ref(s), std::ref(got));
    co_await wait_all_blocked();
    c.send(1);
    co_await wait_all_blocked();
    EXPECT_EQ(got, numbers{1});
    c.send(2);
  });
  EXPECT_EQ(got, (numbers{1, 2}));
}

COPPICE_TEST(BroadcastChannel, AfterCloseSubscriptionsGetWhatIsThereAndThenNothing) {
  channel_t c(2, "prices");
  auto s = c.subscribe();
  for (int i = 0; i < 3; ++i) c.send(i);
  c.close();
  c.close();
  EXPECT_TRUE(c.closed());
  EXPECT_THROW(co_await s.receive(), lagged);
  EXPECT_EQ(co_await s.receive(), 1);
  EXPECT_EQ(co_await s.receive(), 2);
  EXPECT_FALSE(co_await s.receive());
  EXPECT_FALSE(co_await s.receive()) << "the end stays the end";
  EXPECT_THROW(c.send(3), channel_closed);
  EXPECT_THROW(static_cast<void>(c.subscribe()), channel_closed);
}

COPPICE_TEST(BroadcastChannel, CloseWakesWhoeverWaits) {
  channel_t c(2);
  numbers got;
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon(collect, c.subscribe(), std::ref(got));
    n.start_soon(collect, c.subscribe(), std::ref(got));
    co_await wait_all_blocked();
    c.close();
  });
  EXPECT_TRUE(got.empty());
}

COPPICE_TEST(BroadcastChannel, ReceivingIsACheckpoint) {
  channel_t c(2);
  auto s = c.subscribe();
  c.send(1);
  auto finished = co_await move_on_after(1h, [&](cancel_scope& scope) -> task<> {
    scope.cancel();
    co_await s.receive();
  });
  EXPECT_FALSE(finished);
  EXPECT_EQ(s.behind(), 1u);
}

COPPICE_TEST(BroadcastChannel, AMovedSubscriptionKeepsItsPlace) {
  channel_t c(2);
  auto s = c.subscribe();
  c.send(1);
  auto moved = std::move(s);
  EXPECT_EQ(c.subscribers(), 1u);
  c.send(2);
  EXPECT_EQ(moved.try_receive(), 1);
  EXPECT_EQ(moved.try_receive(), 2);
  co_return;
}

struct grumpy {
  explicit grumpy(int n) : number(n) {}
  grumpy(grumpy&&) = default;
  grumpy& operator=(grumpy&&) = default;
  grumpy& operator=(const grumpy&) = default;
  grumpy(const grumpy& other) : number(other.number) {
    if (number == 1) throw error("not this one");
  }
  int number;
};
COPPICE_TEST(BroadcastChannel, WhatCopyingAValueThrowsIsItsReceiversAndHappensOnce) {
  broadcast_channel<grumpy> c(4);
  auto s = c.subscribe();
  log l;
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon(
        [](broadcast_channel<grumpy>::subscription& from, log& to) -> task<> {
          auto r = co_await as_result(from.receive());
          to.push_back(r ? "value" : "error");
        },
        std::ref(s), std::ref(l));
    co_await wait_all_blocked();
    EXPECT_EQ(c.send(grumpy(1)), 1u);
    c.send(grumpy(2));
  });
  EXPECT_EQ(l, log{"error"});
  auto next = co_await s.receive();
  EXPECT_EQ(next->number, 2);
}

COPPICE_TEST(BroadcastChannel, DescribesItselfAndItsSubscriptions) {
  channel_t c(2, "prices");
  auto fast = c.subscribe();
  auto slow = c.subscribe();
  for (int i = 0; i < 3; ++i) {
    c.send(i);
    fast.try_receive();
  }
  EXPECT_EQ(c.describe(),
            "broadcast channel 'prices', 2 of 2 kept, open, 2 subscribers, the slowest 3 behind");
  EXPECT_EQ(fast.describe(), "subscription of 'prices', 0 behind, 0 missed");
  EXPECT_THROW(slow.try_receive(), lagged);
  EXPECT_EQ(slow.describe(), "subscription of 'prices', 2 behind, 1 missed");
  co_return;
}

// --- misuse

task<> waits_for_a_value(subscription_t& from) { co_await from.receive(); }

task<> ends_first(testkit::test_env&) {
  std::optional<channel_t> c(std::in_place, 1u);
  auto s = c->subscribe();
  c.reset();
  co_return;
}
TEST(BroadcastChannelDeath, EndingBeforeItsSubscriptionsAborts) {
  EXPECT_DEATH(testkit::run_async_test("first", &ends_first),
               "a broadcast channel ended before its subscriptions");
}

task<> ends_under_a_waiter(testkit::test_env&) {
  channel_t c(1);
  std::optional<subscription_t> s(c.subscribe());
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon(waits_for_a_value, std::ref(*s));
    co_await wait_all_blocked();
    s.reset();
  });
}
TEST(BroadcastChannelDeath, ASubscriptionThatEndsWhileATaskWaitsAborts) {
  EXPECT_DEATH(testkit::run_async_test("waiter", &ends_under_a_waiter),
               "a subscription ended while a task waits on it");
}

task<> moves_under_a_waiter(testkit::test_env&) {
  channel_t c(1);
  auto s = c.subscribe();
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon(waits_for_a_value, std::ref(s));
    co_await wait_all_blocked();
    auto moved = std::move(s);
  });
}
TEST(BroadcastChannelDeath, ASubscriptionThatIsMovedWhileATaskWaitsAborts) {
  EXPECT_DEATH(testkit::run_async_test("moved", &moves_under_a_waiter),
               "a subscription was moved while a task waits on it");
}

TEST(BroadcastChannelDeath, OneThatKeepsNothingAborts) {
  EXPECT_DEATH(channel_t(0), "a broadcast channel has to keep at least one value");
}

}  // namespace
}  // namespace coppice
