// SPDX-License-Identifier: Apache-2.0
#include "core/one_shot.hpp"  // First: proves the header stands alone.

#include "coppice/outcome.hpp"
#include "coppice/testkit/async_test.hpp"

namespace coppice::core {
namespace {

using namespace std::chrono_literals;

COPPICE_TEST(OneShot, TheFirstDeliveryCountsBeforeOrDuringTheWait) {
  one_shot<int> early;
  EXPECT_TRUE(early.set(1));
  EXPECT_FALSE(early.set(2));
  EXPECT_FALSE(early.set_error(std::make_exception_ptr(std::runtime_error("late"))));
  EXPECT_EQ(co_await early.wait(), 1);
  one_shot<std::unique_ptr<int>> during;
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon(
        [](one_shot<std::unique_ptr<int>>& s) -> task<> {
          co_await sleep_for(1s);
          s.set(std::make_unique<int>(3));
        },
        std::ref(during));
    auto got = co_await during.wait();
    EXPECT_EQ(*got, 3);
  });
  EXPECT_EQ(t.elapsed(), 1s);
}

COPPICE_TEST(OneShot, AnErrorIsThrownByTheWait) {
  one_shot<void> s("exit of 'feed'");
  s.set_error(std::make_exception_ptr(std::runtime_error("killed")));
  auto r = co_await as_result(s.wait());
  EXPECT_NE(r.error<std::runtime_error>(), nullptr);
}

COPPICE_TEST(OneShot, ACancelledWaitLeavesTheSlotAsItWas) {
  one_shot<int> s;
  EXPECT_FALSE(co_await move_on_after(1s, s.wait()));
  EXPECT_TRUE(s.set(5)) << "kept for the next wait";
  EXPECT_EQ(co_await s.wait(), 5);
}

}  // namespace
}  // namespace coppice::core
