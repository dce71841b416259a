// SPDX-License-Identifier: Apache-2.0
#include "coppice/testkit/order.hpp"  // First: proves the header stands alone.

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

}  // namespace
}  // namespace coppice::testkit
