// SPDX-License-Identifier: Apache-2.0
#include "coppice/channel_ends.hpp"  // First: proves the header stands alone.

#include "coppice/outcome.hpp"
#include "coppice/testkit/async_test.hpp"
#include "coppice/testkit/order.hpp"

namespace coppice {
namespace {

using namespace std::chrono_literals;
using log = std::vector<std::string>;
using numbers = std::vector<int>;
using testkit::wait_all_blocked;

task<> produce(sender<int> tx, int from, int to) {
  for (int i = from; i < to; ++i) co_await tx.send(i);
}
task<> collect_from(receiver<int> rx, numbers& into) {
  while (auto v = co_await rx.receive()) into.push_back(*v);
}
task<> note_send(sender<int>& tx, log& to) {
  auto r = co_await as_result(tx.send(1));
  to.push_back(r.error<channel_closed>() != nullptr ? "channel_closed" : "sent");
}
task<> note_receive(receiver<int>& rx, log& to) {
  auto r = co_await as_result(rx.receive());
  if (r.error<channel_closed>() != nullptr) {
    to.push_back("channel_closed");
  } else {
    to.push_back(*r ? "value" : "end");
  }
}

COPPICE_TEST(ChannelEnds, WhenTheLastSenderHasClosedReceiversGetWhatIsThereAndThenNothing) {
  auto [tx, rx] = open_channel<int>(2);
  numbers got;
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon(produce, tx.clone(), 0, 3);
    n.start_soon(produce, std::move(tx), 10, 13);
    n.start_soon(collect_from, std::move(rx), std::ref(got));
    co_return;
  });
  EXPECT_EQ(got.size(), 6u);
  auto [late_tx, late_rx] = open_channel<int>(2);
  co_await late_tx.send(7);
  late_tx.close();
  EXPECT_EQ(co_await late_rx.receive(), 7);
  EXPECT_FALSE(co_await late_rx.receive());
  EXPECT_FALSE(co_await late_rx.receive()) << "the end stays the end";
}

COPPICE_TEST(ChannelEnds, ClosingTheLastSenderWakesReceiversThatWait) {
  auto [tx, rx] = open_channel<int>(0);
  log l;
  co_await open_nursery([&](nursery& n) -> task<> {
    auto other = tx.clone();
    n.start_soon(note_receive, std::ref(rx), std::ref(l));
    co_await wait_all_blocked();
    tx.close();
    co_await wait_all_blocked();
    EXPECT_TRUE(l.empty()) << "a clone is an end of its own and stays open";
    other.close();
  });
  EXPECT_EQ(l, log{"end"});
}

COPPICE_TEST(ChannelEnds, WhenTheLastReceiverHasClosedSendThrows) {
  auto [tx, rx] = open_channel<int>(1, "numbers");
  auto other = rx.clone();
  rx.close();
  co_await tx.send(1);
  other.close();
  auto r = co_await as_result(tx.send(2));
  auto* e = r.error<channel_closed>();
  EXPECT_TRUE(e != nullptr);
  if (e != nullptr) {
    EXPECT_STREQ(e->what(),
                 "send() into channel 'numbers', 0 of 1 kept, closed; senders: 1, 0 waiting; "
                 "receivers: 0, 0 waiting: nobody is left to receive it");
  }
  EXPECT_FALSE(tx.try_send(3));
}

COPPICE_TEST(ChannelEnds, ClosingTheLastReceiverWakesSendersThatWait) {
  auto [tx, rx] = open_channel<int>(0);
  log l;
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon(note_send, std::ref(tx), std::ref(l));
    co_await wait_all_blocked();
    EXPECT_TRUE(l.empty());
    rx.close();
  });
  EXPECT_EQ(l, log{"channel_closed"});
}

COPPICE_TEST(ChannelEnds, ValuesThatNobodyTookAreDestroyedWithTheLastReceiver) {
  auto [tx, rx] = open_channel<std::shared_ptr<int>>(2);
  auto value = std::make_shared<int>(1);
  co_await tx.send(value);
  EXPECT_EQ(value.use_count(), 2);
  rx.close();
  EXPECT_EQ(value.use_count(), 1);
}

struct nested {
  explicit nested(sender<nested>&& s) : inside(std::move(s)) {}
  sender<nested> inside;
};
COPPICE_TEST(ChannelEnds, AChannelThatHoldsAnEndOfItselfIsNotLeaked) {
  auto [tx, rx] = open_channel<nested>(1);
  co_await tx.send(nested(tx.clone()));
  tx.close();
  EXPECT_NE(rx.describe().find("senders: 1"), std::string::npos);
  rx.close();
  EXPECT_NE(rx.describe().find("senders: 0"), std::string::npos);
}

COPPICE_TEST(ChannelEnds, AnEndClosesWhenItEnds) {
  auto [tx, rx] = open_channel<int>(0);
  {
    auto moved = std::move(tx);
    EXPECT_FALSE(moved.closed());
    EXPECT_FALSE(co_await move_on_after(1s, rx.receive()));
  }
  EXPECT_FALSE(co_await rx.receive());
}

COPPICE_TEST(ChannelEnds, AnEndClosesWithATaskThatFails) {
  auto [tx, rx] = open_channel<int>(8);
  numbers got;
  auto fails = [](sender<int> s) -> task<> {
    co_await s.send(1);
    throw error("no");
  };
  auto failed = co_await as_result(fails(std::move(tx)));
  EXPECT_FALSE(failed);
  EXPECT_EQ(co_await rx.receive(), 1);
  EXPECT_FALSE(co_await rx.receive());
}

COPPICE_TEST(ChannelEnds, UsingAClosedEndThrows) {
  auto [tx, rx] = open_channel<int>(1);
  auto other_tx = tx.clone();
  auto other_rx = rx.clone();
  tx.close();
  tx.close();
  rx.close();
  EXPECT_TRUE(tx.closed());
  EXPECT_THROW(co_await tx.send(1), channel_closed);
  EXPECT_THROW(co_await rx.receive(), channel_closed);
  EXPECT_THROW(static_cast<void>(tx.clone()), channel_closed);
  EXPECT_THROW(static_cast<void>(rx.clone()), channel_closed);
  EXPECT_FALSE(tx.try_send(1));
  EXPECT_FALSE(rx.try_receive());
  EXPECT_TRUE(other_tx.try_send(1)) << "clones are ends of their own";
  EXPECT_EQ(other_rx.try_receive(), 1);
}

COPPICE_TEST(ChannelEnds, ClosingAnEndWakesWhoeverWaitsThroughIt) {
  auto [tx, rx] = open_channel<int>(0);
  auto other_tx = tx.clone();
  auto other_rx = rx.clone();
  log l;
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon(note_receive, std::ref(rx), std::ref(l));
    co_await wait_all_blocked();
    rx.close();
  });
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon(note_send, std::ref(tx), std::ref(l));
    co_await wait_all_blocked();
    tx.close();
  });
  EXPECT_EQ(l, (log{"channel_closed", "channel_closed"}));
  EXPECT_FALSE(other_rx.try_receive()) << "what was to be sent through it was not sent";
}

COPPICE_TEST(ChannelEnds, AValueThatWasHandedOverArrivesThoughItsEndClosesMeanwhile) {
  auto [tx, rx] = open_channel<int>(0);
  log l;
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon(note_receive, std::ref(rx), std::ref(l));
    co_await wait_all_blocked();
    EXPECT_TRUE(tx.try_send(1));
    rx.close();
  });
  EXPECT_EQ(l, log{"value"});
}

COPPICE_TEST(ChannelEnds, WithCapacityZeroASenderWaitsUntilItsValueIsTaken) {
  auto [tx, rx] = open_channel<int>(0);
  log l;
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon(note_send, std::ref(tx), std::ref(l));
    co_await sleep_for(1s);
    EXPECT_TRUE(l.empty());
    EXPECT_EQ(co_await rx.receive(), 1);
    co_await wait_all_blocked();
    EXPECT_EQ(l, log{"sent"});
  });
}

COPPICE_TEST(ChannelEnds, ACancelledOperationLeavesNoTrace) {
  auto [tx, rx] = open_channel<int>(0);
  EXPECT_FALSE(co_await move_on_after(1s, tx.send(1)));
  EXPECT_FALSE(rx.try_receive());
  EXPECT_FALSE(co_await move_on_after(1s, rx.receive()));
  EXPECT_FALSE(tx.try_send(1));
  auto still = std::move(tx);  // Nobody waits on it.
  EXPECT_FALSE(still.closed());
}

COPPICE_TEST(ChannelEnds, EveryOperationIsACheckpoint) {
  auto [tx, rx] = open_channel<int>(8);
  co_await tx.send(0);
  auto& to = tx;
  auto& from = rx;
  auto sends = co_await move_on_after(1h, [&](cancel_scope& s) -> task<> {
    s.cancel();
    co_await to.send(1);
  });
  auto receives = co_await move_on_after(1h, [&](cancel_scope& s) -> task<> {
    s.cancel();
    co_await from.receive();
  });
  EXPECT_FALSE(sends);
  EXPECT_FALSE(receives);
  EXPECT_EQ(rx.try_receive(), 0);
  EXPECT_FALSE(rx.try_receive());
}

COPPICE_TEST(ChannelEnds, MoveOnlyValuesPass) {
  auto [tx, rx] = open_channel<std::unique_ptr<int>>(0);
  auto& from = rx;
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon(
        [](sender<std::unique_ptr<int>> s) -> task<> { co_await s.send(std::make_unique<int>(5)); },
        std::move(tx));
    auto got = co_await from.receive();
    EXPECT_EQ(**got, 5);
  });
}

COPPICE_TEST(ChannelEnds, DescribeCountsEndsAndWhoWaits) {
  auto [tx, rx] = open_channel<int>(2, "numbers");
  auto other = tx.clone();
  co_await tx.send(1);
  EXPECT_EQ(tx.describe(),
            "channel 'numbers', 1 of 2 kept, open; senders: 2, 0 waiting; receivers: 1, 0 waiting");
  auto& from = rx;
  log l;
  co_await open_nursery([&](nursery& n) -> task<> {
    from.try_receive();
    n.start_soon(note_receive, std::ref(from), std::ref(l));
    co_await wait_all_blocked();
    EXPECT_NE(from.describe().find("receivers: 1, 1 waiting"), std::string::npos);
    tx.close();
    other.close();
  });
  EXPECT_EQ(tx.describe(),
            "channel 'numbers', 0 of 2 kept, closed; senders: 0, 0 waiting; receivers: 1, 0 "
            "waiting; this end closed");
}

task<> end_ends_early(testkit::test_env&) {
  auto ends = open_channel<int>(0);
  std::optional<receiver<int>> rx(std::move(ends.second));
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon([](receiver<int>& r) -> task<> { co_await r.receive(); }, std::ref(*rx));
    co_await wait_all_blocked();
    rx.reset();
  });
}
TEST(ChannelEndsDeath, EndingWhileATaskWaitsThroughItAborts) {
  EXPECT_DEATH(testkit::run_async_test("early", &end_ends_early), "ended while a task waits on it");
}

COPPICE_TEST(ChannelEnds, ClosingAnEndLeavesThoseWaitingWhoWaitThroughAnother) {
  auto [tx, rx] = open_channel<int>(0);
  auto other_tx = tx.clone();
  auto& from = rx;
  log l;
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon(note_send, std::ref(tx), std::ref(l));
    n.start_soon(note_send, std::ref(other_tx), std::ref(l));
    co_await wait_all_blocked();
    tx.close();
    co_await wait_all_blocked();
    EXPECT_EQ(l, log{"channel_closed"});
    EXPECT_EQ(co_await from.receive(), 1);
  });
  EXPECT_EQ(l, (log{"channel_closed", "sent"}));
  l.clear();
  auto other_rx = rx.clone();
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon(note_receive, std::ref(from), std::ref(l));
    n.start_soon(note_receive, std::ref(other_rx), std::ref(l));
    co_await wait_all_blocked();
    from.close();
    co_await wait_all_blocked();
    EXPECT_EQ(l, log{"channel_closed"});
    co_await other_tx.send(2);
  });
  EXPECT_EQ(l, (log{"channel_closed", "value"}));
}

}  // namespace
}  // namespace coppice
