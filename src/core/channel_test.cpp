// SPDX-License-Identifier: Apache-2.0
#include "coppice/channel.hpp"  // First: proves the header stands alone.

#include <memory>
#include <set>

#include "coppice/outcome.hpp"
#include "coppice/testkit/async_test.hpp"
#include "coppice/testkit/order.hpp"

namespace coppice {
namespace {

using namespace std::chrono_literals;
using log = std::vector<std::string>;
using testkit::wait_all_blocked;

task<> send_all(channel<int>& c, int from, int to) {
  for (int i = from; i < to; ++i) co_await c.send(i);
}
task<> collect_all(channel<int>& c, std::vector<int>& into) {
  while (auto v = co_await c.receive()) into.push_back(*v);
}

COPPICE_TEST(Channel, ValuesComeInOrderAndTheEndAfterTheLast) {
  channel<int> c(2);
  std::vector<int> got;
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon(collect_all, std::ref(c), std::ref(got));
    co_await send_all(c, 0, 10);
    c.close();
  });
  EXPECT_EQ(got, (std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
  EXPECT_FALSE(co_await c.receive()) << "the end stays the end";
}

COPPICE_TEST(Channel, ValuesThatAreKeptComeOutInTheOrderInWhichTheyWereSent) {
  channel<int> c(3);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(c.try_send(i));
  for (int i = 0; i < 3; ++i) EXPECT_EQ(co_await c.receive(), i);
}

COPPICE_TEST(Channel, ASenderBeyondTheCapacityWaits) {
  channel<int> c(2);
  co_await c.send(1);
  co_await c.send(2);
  EXPECT_FALSE(co_await move_on_after(1s, c.send(3)));
  EXPECT_EQ(c.size(), 2u);
  EXPECT_EQ(co_await c.receive(), 1);
  co_await c.send(4);
  EXPECT_EQ(co_await c.receive(), 2);
  EXPECT_EQ(co_await c.receive(), 4) << "the cancelled send has not sent";
}

COPPICE_TEST(Channel, AWaitingSenderGoesOnAsSoonAsThereIsRoom) {
  channel<int> c(2);
  bool sent = false;
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon(
        [](channel<int>& x, bool& done) -> task<> {
          co_await send_all(x, 0, 3);
          done = true;
        },
        std::ref(c), std::ref(sent));
    co_await sleep_for(1s);
    EXPECT_FALSE(sent);
    EXPECT_EQ(co_await c.receive(), 0);
    co_await sleep_for(1s);
    EXPECT_TRUE(sent) << "one value is still there, and room for its own";
    EXPECT_EQ(c.size(), 2u);
  });
}

COPPICE_TEST(Channel, WithCapacityZeroASenderWaitsUntilItsValueIsTaken) {
  channel<int> c(0);
  log l;
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon(
        [](channel<int>& x, log& to) -> task<> {
          co_await x.send(1);
          to.push_back("sent");
        },
        std::ref(c), std::ref(l));
    co_await sleep_for(1s);
    EXPECT_TRUE(l.empty());
    auto v = co_await c.receive();
    EXPECT_EQ(v, 1);
    co_await checkpoint();
    EXPECT_EQ(l, log{"sent"});
    n.start_soon([](channel<int>& x) -> task<> { EXPECT_EQ(co_await x.receive(), 2); },
                 std::ref(c));
    co_await sleep_for(1s);
    EXPECT_TRUE(c.try_send(2)) << "a receiver waits";
  });
}

COPPICE_TEST(Channel, WaitersAreServedInTheOrderInWhichTheyCame) {
  channel<int> c(0);
  std::vector<int> got;
  auto take_one = [](channel<int>& x, std::vector<int>& to, int who) -> task<> {
    auto v = co_await x.receive();
    to.push_back(who * 10 + *v);
  };
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon(take_one, std::ref(c), std::ref(got), 1);
    n.start_soon(take_one, std::ref(c), std::ref(got), 2);
    co_await sleep_for(1s);
    co_await c.send(1);
    co_await c.send(2);
  });
  EXPECT_EQ(got, (std::vector<int>{11, 22}));
  got.clear();
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon(send_all, std::ref(c), 1, 2);
    n.start_soon(send_all, std::ref(c), 2, 3);
    co_await sleep_for(1s);
    got.push_back(*co_await c.receive());
    got.push_back(*co_await c.receive());
  });
  EXPECT_EQ(got, (std::vector<int>{1, 2}));
}

COPPICE_TEST(Channel, ACancelledSendHasNotSent) {
  channel<int> c(1);
  co_await c.send(1);
  EXPECT_FALSE(co_await move_on_after(1s, c.send(2)));
  EXPECT_EQ(c.senders_waiting(), 0u);
  EXPECT_EQ(co_await c.receive(), 1);
  EXPECT_EQ(c.size(), 0u);
  EXPECT_FALSE(co_await move_on_after(1s, c.receive())) << "the value of a cancelled send";
}

COPPICE_TEST(Channel, ACancelledReceiveHasNotTaken) {
  channel<int> c(1);
  EXPECT_FALSE(co_await move_on_after(1s, c.receive()));
  co_await c.send(5);
  EXPECT_EQ(c.size(), 1u);
  // Not even what is sent in the turn of the cancellation, before the receiver has unwound.
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon([](channel<int>& x) -> task<> { co_await x.receive(); }, std::ref(c));
    EXPECT_EQ(co_await c.receive(), 5);
    co_await testkit::wait_all_blocked();
    n.cancel();
    EXPECT_TRUE(c.try_send(7));
    EXPECT_EQ(c.size(), 1u) << "kept for somebody who can take it";
  });
  // A value that was handed over already arrives, whatever is cancelled meanwhile.
  std::vector<int> got;
  co_await c.receive();
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon(
        [](channel<int>& x, std::vector<int>& to) -> task<> {
          auto v = co_await x.receive();
          to.push_back(*v);
        },
        std::ref(c), std::ref(got));
    co_await checkpoint();
    co_await checkpoint();
    EXPECT_TRUE(c.try_send(6));
    n.cancel();
  });
  EXPECT_EQ(got, std::vector<int>{6});
}

COPPICE_TEST(Channel, AfterCloseReceiversGetWhatIsThereAndSendersAnError) {
  channel<int> c(2, "numbers");
  co_await c.send(1);
  c.close();
  c.close();
  EXPECT_TRUE(c.closed());
  auto r = co_await as_result(c.send(2));
  auto* e = r.error<channel_closed>();
  EXPECT_TRUE(e != nullptr);
  if (e != nullptr) {
    EXPECT_STREQ(e->what(), "send() into closed channel 'numbers', 1 of 2 kept, closed");
  }
  EXPECT_FALSE(c.try_send(3));
  EXPECT_EQ(co_await c.receive(), 1);
  EXPECT_FALSE(co_await c.receive());
}

COPPICE_TEST(Channel, CloseWakesWhoeverWaits) {
  channel<int> c(0);
  log l;
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon(
        [](channel<int>& x, log& to) -> task<> {
          auto r = co_await as_result(x.send(1));
          to.push_back(r.template error<channel_closed>() != nullptr ? "sender told" : "sent");
        },
        std::ref(c), std::ref(l));
    co_await sleep_for(1s);
    c.close();
  });
  channel<int> d(0);
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon(
        [](channel<int>& x, log& to) -> task<> {
          auto v = co_await x.receive();
          to.push_back(v ? "value" : "receiver told");
        },
        std::ref(d), std::ref(l));
    co_await sleep_for(1s);
    d.close();
  });
  EXPECT_EQ(l, (log{"sender told", "receiver told"}));
}

COPPICE_TEST(Channel, TryNeverWaitsAndAFailedTrySendLeavesTheValue) {
  channel<std::unique_ptr<int>> c(1);
  EXPECT_FALSE(c.try_receive());
  auto one = std::make_unique<int>(1);
  auto two = std::make_unique<int>(2);
  EXPECT_TRUE(c.try_send(std::move(one)));
  EXPECT_FALSE(c.try_send(std::move(two)));
  EXPECT_TRUE(two != nullptr);
  EXPECT_EQ(**c.try_receive(), 1);
  c.close();
  EXPECT_FALSE(c.try_send(std::move(two))) << "closed, though there is room";
  EXPECT_TRUE(two != nullptr);
  co_return;
}

COPPICE_TEST(Channel, MoveOnlyValuesPassThroughWaitingSendersAndReceivers) {
  channel<std::unique_ptr<int>> c(1);
  int sum = 0;
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon(
        [](channel<std::unique_ptr<int>>& x) -> task<> {
          for (int i = 0; i < 5; ++i) co_await x.send(std::make_unique<int>(i));
          x.close();
        },
        std::ref(c));
    while (auto v = co_await c.receive()) sum += **v;
  });
  EXPECT_EQ(sum, 10);
}

COPPICE_TEST(Channel, EveryOperationIsACheckpoint) {
  channel<int> c(8);
  co_await c.send(0);
  auto sends = co_await move_on_after(1h, [&](cancel_scope& s) -> task<> {
    s.cancel();
    co_await c.send(1);
  });
  auto receives = co_await move_on_after(1h, [&](cancel_scope& s) -> task<> {
    s.cancel();
    co_await c.receive();
  });
  EXPECT_FALSE(sends);
  EXPECT_FALSE(receives);
  EXPECT_EQ(c.size(), 1u);
}

COPPICE_TEST(Channel, WhoeverTriesLaterCannotOvertakeOneThatWaits) {
  channel<int> c(1);
  std::vector<int> got;
  co_await open_nursery([&](nursery& n) -> task<> {
    EXPECT_TRUE(c.try_send(1));
    EXPECT_EQ(c.try_receive(), 1) << "nobody else is there: its own value";
    n.start_soon([](channel<int>& x,
                    std::vector<int>& to) -> task<> { to.push_back(*co_await x.receive()); },
                 std::ref(c), std::ref(got));
    co_await wait_all_blocked();
    EXPECT_TRUE(c.try_send(2));
    EXPECT_FALSE(c.try_receive()) << "it is the receiver's that waits";
  });
  EXPECT_EQ(got, std::vector<int>{2});
  co_await open_nursery([&](nursery& n) -> task<> {
    EXPECT_TRUE(c.try_send(3));
    n.start_soon(send_all, std::ref(c), 4, 5);
    co_await wait_all_blocked();
    EXPECT_EQ(c.try_receive(), 3);
    EXPECT_FALSE(c.try_send(5)) << "the room is the sender's that waits";
    EXPECT_EQ(co_await c.receive(), 4);
  });
}

COPPICE_TEST(Channel, ACancelledSendHasNotSentAndOneWhoseValueWasTakenHas) {
  channel<int> c(0);
  EXPECT_FALSE(co_await move_on_after(1s, c.send(1)));
  EXPECT_EQ(c.senders_waiting(), 0u);
  EXPECT_FALSE(c.try_receive());
  bool sent = false;
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon(
        [](channel<int>& x, bool& done) -> task<> {
          co_await x.send(2);
          done = true;
        },
        std::ref(c), std::ref(sent));
    co_await wait_all_blocked();
    EXPECT_EQ(c.try_receive(), 2);
    n.cancel();
  });
  EXPECT_TRUE(sent);
}

COPPICE_TEST(Channel, EveryReceiverThatWaitsGetsItsShare) {
  channel<int> c(1);
  std::vector<int> takers;
  auto take_until_closed = [](channel<int>& x, std::vector<int>& to, int who) -> task<> {
    while (auto v = co_await x.receive()) to.push_back(who);
  };
  co_await open_nursery([&](nursery& n) -> task<> {
    for (int who = 0; who < 5; ++who)
      n.start_soon(take_until_closed, std::ref(c), std::ref(takers), who);
    co_await wait_all_blocked();
    EXPECT_EQ(c.receivers_waiting(), 5u);
    co_await send_all(c, 0, 10);
    c.close();
  });
  EXPECT_EQ(takers.size(), 10u);
  EXPECT_EQ(std::set<int>(takers.begin(), takers.end()).size(), 5u);
}

COPPICE_TEST(Channel, DescribesItself) {
  channel<int> c(8, "numbers");
  co_await c.send(1);
  EXPECT_EQ(c.describe(), "channel 'numbers', 1 of 8 kept, open");
  EXPECT_EQ(c.capacity(), 8u);
  EXPECT_EQ(c.name(), "numbers");
}

task<> channel_ends_early(testkit::test_env&) {
  co_await open_nursery([](nursery& n) -> task<> {
    channel<int> c(0);
    n.start_soon([](channel<int>& x) -> task<> { co_await x.receive(); }, std::ref(c));
    co_await wait_all_blocked();
  });
}
TEST(ChannelDeath, EndingWhileATaskWaitsAborts) {
  EXPECT_DEATH(testkit::run_async_test("early", &channel_ends_early),
               "a channel ended while a task waits on it");
}

}  // namespace
}  // namespace coppice
