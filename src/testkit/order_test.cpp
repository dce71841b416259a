// SPDX-License-Identifier: Apache-2.0
#include "coppice/testkit/order.hpp"  // First: proves the header stands alone.

#include <string>
#include <vector>

#include "coppice/testkit/async_test.hpp"

namespace coppice::testkit {
namespace {

using namespace std::chrono_literals;

COPPICE_TEST(WaitAllBlocked, ReturnsWhenTheOthersWaitWithoutTimePassing) {
  event go;
  int steps = 0;
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon(
        [](event& e, int& count) -> task<> {
          for (int i = 0; i < 100; ++i) {
            co_await checkpoint();
            ++count;
          }
          co_await e.wait();
          ++count;
        },
        std::ref(go), std::ref(steps));
    n.start_soon([]() -> task<> { co_await sleep_for(1h); });
    co_await wait_all_blocked();
    EXPECT_EQ(steps, 100);
    EXPECT_EQ(t.elapsed(), 0s);
    go.set();
    co_await wait_all_blocked();
    EXPECT_EQ(steps, 101);
    n.cancel();
  });
}

COPPICE_TEST(WaitAllBlocked, IsACancellationPoint) {
  auto finished = co_await move_on_after(0s, wait_all_blocked());
  EXPECT_FALSE(finished);
}

task<> take_turn(sequencer& order, std::vector<int>& took, int n) {
  co_await order.turn(n);
  took.push_back(n);
  order.done(n);
}

COPPICE_TEST(Sequencer, TurnsComeInTheOrderOfTheirNumbers) {
  sequencer order;
  std::vector<int> took;
  co_await open_nursery([&](nursery& n) {
    n.start_soon(take_turn, std::ref(order), std::ref(took), 2);
    n.start_soon(take_turn, std::ref(order), std::ref(took), 0);
    n.start_soon(take_turn, std::ref(order), std::ref(took), 1);
  });
  EXPECT_EQ(took, (std::vector<int>{0, 1, 2}));
}

COPPICE_TEST(WaitAllBlocked, OfSeveralThatWaitSoAllGoOn) {
  std::vector<std::string> l;
  auto waits = [](std::vector<std::string>& to) -> task<> {
    co_await wait_all_blocked();
    to.push_back("quiet");
  };
  co_await open_nursery([&](nursery& n) {
    n.start_soon(waits, std::ref(l));
    n.start_soon(waits, std::ref(l));
    n.start_soon(
        [](std::vector<std::string>& to) -> task<> {
          for (int i = 0; i < 10; ++i) co_await checkpoint();
          to.push_back("busy");
        },
        std::ref(l));
  });
  EXPECT_EQ(l, (std::vector<std::string>{"busy", "quiet", "quiet"}));
}

COPPICE_TEST(WaitAllBlocked, ComesBeforeAJumpOfTheClockAndAfterTimersThatAreDue) {
  std::vector<std::string> l;
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon(
        [](std::vector<std::string>& to) -> task<> {
          co_await sleep_for(5s);
          to.push_back("slept");
        },
        std::ref(l));
    co_await wait_all_blocked();
    EXPECT_TRUE(l.empty());
    EXPECT_EQ(t.elapsed(), 0s);
    t.time().advance(10s);
    co_await wait_all_blocked();
    EXPECT_EQ(l, std::vector<std::string>{"slept"});
    EXPECT_EQ(t.elapsed(), 10s);
  });
}

COPPICE_TEST(Sequencer, TurnZeroWaitsForNobody) {
  sequencer order;
  co_await order.turn(0);
  order.done(0);
  co_await order.turn(1);
  EXPECT_EQ(t.elapsed(), 0s);
}

task<> takes_a_turn_twice(test_env&) {
  sequencer order;
  co_await order.turn(0);
  order.done(0);
  co_await order.turn(0);
}
TEST(SequencerDeath, ATurnThatIsTakenTwiceAborts) {
  EXPECT_DEATH(run_async_test("twice", &takes_a_turn_twice),
               "a turn of a sequencer was taken twice");
}

task<> ends_a_turn_early(test_env&) {
  sequencer order;
  order.done(1);
  co_return;
}
TEST(SequencerDeath, EndingATurnThatHasNotComeAborts) {
  EXPECT_DEATH(run_async_test("early", &ends_a_turn_early),
               "a turn of a sequencer ended before it came");
}

task<> loses_a_turn(test_env&) {
  sequencer order;
  co_await order.turn(0);
  order.done(0);
  co_await move_on_after(1s, [&](cancel_scope& s) -> task<> {
    s.cancel();
    co_await order.turn(1);
    order.done(1);
  });
  co_await order.turn(2);
}
TEST(Sequencer, ATurnThatIsCancelledNeverEndsWhichIsADeadlockAndFailsAtOnce) {
  EXPECT_NE(run_async_test("lost", &loses_a_turn).find("deadlock"), std::string::npos);
}

}  // namespace
}  // namespace coppice::testkit
