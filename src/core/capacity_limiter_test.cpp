// SPDX-License-Identifier: Apache-2.0
#include "coppice/capacity_limiter.hpp"  // First: proves the header stands alone.

#include "coppice/errors.hpp"
#include "coppice/outcome.hpp"
#include "coppice/testkit/async_test.hpp"
#include "coppice/testkit/order.hpp"

namespace coppice {
namespace {

using namespace std::chrono_literals;
using log = std::vector<std::string>;
using testkit::wait_all_blocked;

task<> work(capacity_limiter& c, log& to, std::string who, duration d) {
  auto token = co_await c.acquire();
  to.push_back(who);
  co_await sleep_for(d);
}

void start_all(nursery& n, capacity_limiter& c, log& l) {
  for (const char* who : {"a", "b", "c", "d"}) {
    n.start_soon(who, work, std::ref(c), std::ref(l), who, 1s);
  }
}

COPPICE_TEST(CapacityLimiter, AtMostItsTotalAreLent) {
  capacity_limiter c(2);
  log in;
  co_await open_nursery([&](nursery& n) -> task<> {
    start_all(n, c, in);
    co_await wait_all_blocked();
    EXPECT_EQ(in, (log{"a", "b"}));
    EXPECT_EQ(c.borrowed_tokens(), 2u);
    EXPECT_EQ(c.available_tokens(), 0u);
    EXPECT_EQ(c.waiting(), 2u);
  });
  EXPECT_EQ(t.elapsed(), 2s);
  EXPECT_EQ(c.available_tokens(), 2u);
}

COPPICE_TEST(CapacityLimiter, BorrowersGetTokensInTheOrderInWhichTheyAsked) {
  capacity_limiter c(1);
  log in;
  co_await open_nursery([&](nursery& n) { start_all(n, c, in); });
  EXPECT_EQ(in, (log{"a", "b", "c", "d"}));
}

COPPICE_TEST(CapacityLimiter, WhoeverAsksLaterCannotOvertakeOneThatWaits) {
  capacity_limiter c(1);
  log in;
  co_await open_nursery([&](nursery& n) -> task<> {
    auto token = co_await c.acquire();
    n.start_soon(work, std::ref(c), std::ref(in), "waited", 1s);
    co_await wait_all_blocked();
    token.release();
    EXPECT_FALSE(c.try_acquire()) << "it went straight to the task that waits";
  });
  EXPECT_EQ(in, log{"waited"});
}

COPPICE_TEST(CapacityLimiter, BorrowingTwiceInOneTaskThrows) {
  capacity_limiter c(3, "cores");
  auto token = co_await c.acquire();
  auto again = co_await as_result(c.acquire());
  auto* e = again.error<ownership_error>();
  EXPECT_TRUE(e != nullptr);
  if (e != nullptr) {
    EXPECT_NE(std::string(e->what()).find("this task has a token already"), std::string::npos);
  }
  EXPECT_THROW(static_cast<void>(c.try_acquire()), ownership_error);
  EXPECT_EQ(c.borrowed_tokens(), 1u);
  capacity_limiter other(1);
  auto of_other = co_await other.acquire();
  EXPECT_TRUE(of_other.held()) << "each limiter counts for itself";
}

COPPICE_TEST(CapacityLimiter, BorrowingTwiceForOneKeyThrowsAlsoWhileTheFirstWaits) {
  capacity_limiter c(1);
  auto a = co_await c.acquire_for("a");
  EXPECT_THROW(static_cast<void>(c.try_acquire_for("a")), ownership_error);
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon(
        [](capacity_limiter& x) -> task<> {
          auto token = co_await x.acquire_for("b");
          co_await sleep_for(1s);
        },
        std::ref(c));
    co_await wait_all_blocked();
    auto b = co_await as_result(c.acquire_for("b"));
    EXPECT_TRUE(b.error<ownership_error>() != nullptr);
    a.release();
  });
  auto b = c.try_acquire_for("b");
  EXPECT_TRUE(b.has_value()) << "a key is free again when its token is back";
}

COPPICE_TEST(CapacityLimiter, ATaskMayBorrowForItselfAndForKeys) {
  capacity_limiter c(3);
  auto mine = co_await c.acquire();
  auto a = co_await c.acquire_for("a");
  auto b = c.try_acquire_for("b");
  EXPECT_EQ(c.borrowed_tokens(), 3u);
  EXPECT_FALSE(c.try_acquire_for("c"));
}

COPPICE_TEST(CapacityLimiter, RaisingTheTotalLetsThoseGoOnThatHaveRoom) {
  capacity_limiter c(0);
  log in;
  co_await open_nursery([&](nursery& n) -> task<> {
    start_all(n, c, in);
    co_await wait_all_blocked();
    EXPECT_TRUE(in.empty());
    c.set_total_tokens(3);
    co_await wait_all_blocked();
    EXPECT_EQ(in, (log{"a", "b", "c"}));
    c.set_total_tokens(capacity_limiter::unlimited);
    co_await wait_all_blocked();
    EXPECT_EQ(in.size(), 4u);
  });
}

COPPICE_TEST(CapacityLimiter, LoweringTheTotalTakesNothingAway) {
  capacity_limiter c(3);
  auto x = co_await c.acquire_for("x");
  auto y = co_await c.acquire_for("y");
  c.set_total_tokens(1);
  EXPECT_EQ(c.borrowed_tokens(), 2u);
  EXPECT_EQ(c.available_tokens(), 0u);
  x.release();
  EXPECT_FALSE(c.try_acquire_for("z")) << "as many are out as there are";
  y.release();
  EXPECT_TRUE(c.try_acquire_for("z").has_value());
}

COPPICE_TEST(CapacityLimiter, AcquiringIsACheckpoint) {
  capacity_limiter c(1);
  auto finished = co_await move_on_after(1h, [&](cancel_scope& s) -> task<> {
    s.cancel();
    auto token = co_await c.acquire();
  });
  EXPECT_FALSE(finished);
  EXPECT_EQ(c.borrowed_tokens(), 0u);
}

COPPICE_TEST(CapacityLimiter, ACancelledAcquireLeavesNoTrace) {
  capacity_limiter c(0);
  auto mine = co_await move_on_after(1s, c.acquire());
  auto keyed = co_await move_on_after(1s, c.acquire_for("a"));
  EXPECT_FALSE(mine);
  EXPECT_FALSE(keyed);
  EXPECT_EQ(c.waiting(), 0u);
  c.set_total_tokens(2);
  EXPECT_EQ(c.borrowed_tokens(), 0u);
  auto a = c.try_acquire_for("a");
  auto me = c.try_acquire();
  EXPECT_TRUE(a.has_value() && me.has_value());
}

COPPICE_TEST(CapacityLimiter, ABorrowerThatWasGivenATokenIsNotCancelledAnyMore) {
  capacity_limiter c(0);
  log in;
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon(
        [](capacity_limiter& x, log& to) -> task<> {
          auto token = co_await x.acquire();
          to.push_back("has it");
        },
        std::ref(c), std::ref(in));
    co_await wait_all_blocked();
    c.set_total_tokens(1);
    n.cancel();
  });
  EXPECT_EQ(in, log{"has it"});
  EXPECT_EQ(c.borrowed_tokens(), 0u);
}

task<> release_it(capacity_limiter::token& token) {
  EXPECT_THROW(token.release(), ownership_error);
  co_return;
}
task<> ends_with(capacity_limiter::token) { co_await checkpoint(); }

COPPICE_TEST(CapacityLimiter, ATasksTokenIsGivenBackByThatTaskAndAKeysByAny) {
  capacity_limiter c(2);
  auto mine = co_await c.acquire();
  auto keyed = co_await c.acquire_for("a");
  co_await open_nursery([&](nursery& n) {
    n.start_soon(release_it, std::ref(mine));
    n.start_soon(ends_with, std::move(keyed));
  });
  EXPECT_EQ(c.borrowed_tokens(), 1u);
  mine.release();
  EXPECT_THROW(mine.release(), ownership_error) << "it was released already";
}

task<> token_ends_elsewhere(testkit::test_env&) {
  capacity_limiter c(1);
  auto mine = co_await c.acquire();
  co_await open_nursery([&](nursery& n) {
    n.start_soon(
        [](capacity_limiter::token& token) -> task<> {
          auto taken = std::move(token);
          co_return;
        },
        std::ref(mine));
  });
}
TEST(CapacityLimiterDeath, ATasksTokenThatEndsInAnotherTaskAborts) {
  EXPECT_DEATH(testkit::run_async_test("elsewhere", &token_ends_elsewhere),
               "ended in another task");
}

COPPICE_TEST(CapacityLimiter, DescribeShowsTheBorrowers) {
  capacity_limiter c(2, "cores");
  EXPECT_EQ(c.describe(), "limiter 'cores', 0 of 2 tokens lent; 0 waiting");
  log in;
  co_await open_nursery([&](nursery& n) -> task<> {
    auto keyed = co_await c.acquire_for("import");
    start_all(n, c, in);
    co_await wait_all_blocked();
    EXPECT_EQ(c.describe(),
              "limiter 'cores', 2 of 2 tokens lent to key 'import', task 'a'; 3 waiting");
  });
  capacity_limiter many(capacity_limiter::unlimited, "many");
  std::vector<capacity_limiter::token> tokens;
  for (int i = 0; i < 20; ++i) tokens.push_back(*many.try_acquire_for(std::to_string(i)));
  EXPECT_NE(many.describe().find("20 of unlimited tokens lent to key '0', "), std::string::npos);
  EXPECT_NE(many.describe().find("key '15' and 4 more; 0 waiting"), std::string::npos);
}

COPPICE_TEST(CapacityLimiter, LoweredToZeroItLendsNothingUntilItIsRaised) {
  capacity_limiter c(1);
  log in;
  auto first = co_await c.acquire_for("first");
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon(work, std::ref(c), std::ref(in), "waits", 1s);
    co_await wait_all_blocked();
    c.set_total_tokens(0);
    first.release();
    co_await wait_all_blocked();
    EXPECT_TRUE(in.empty());
    EXPECT_EQ(c.borrowed_tokens(), 0u);
    EXPECT_EQ(c.waiting(), 1u);
    EXPECT_FALSE(c.try_acquire());
    c.set_total_tokens(1);
    EXPECT_EQ(c.borrowed_tokens(), 1u);
  });
  EXPECT_EQ(in, log{"waits"});
}

COPPICE_TEST(CapacityLimiter, AnUnlimitedOneAlwaysHasSome) {
  capacity_limiter c(capacity_limiter::unlimited);
  auto mine = co_await c.acquire();
  EXPECT_EQ(c.total_tokens(), capacity_limiter::unlimited);
  EXPECT_EQ(c.borrowed_tokens(), 1u);
  EXPECT_GT(c.available_tokens(), 1'000'000u);
}

task<> limiter_ends_early(testkit::test_env&) {
  std::optional<capacity_limiter> c(std::in_place, 1u);
  auto token = co_await c->acquire_for("a");
  c.reset();
}
TEST(CapacityLimiterDeath, EndingBeforeEveryTokenIsBackAborts) {
  EXPECT_DEATH(testkit::run_async_test("early", &limiter_ends_early), "a capacity limiter ended");
}

task<> limiter_ends_under_a_waiter(testkit::test_env&) {
  co_await open_nursery([](nursery& n) -> task<> {
    capacity_limiter c(0);
    n.start_soon([](capacity_limiter& x) -> task<> { auto got = co_await x.acquire(); },
                 std::ref(c));
    co_await wait_all_blocked();
  });
}
TEST(CapacityLimiterDeath, EndingWhileATaskWaitsAborts) {
  EXPECT_DEATH(testkit::run_async_test("waiter", &limiter_ends_under_a_waiter),
               "a capacity limiter ended");
}

}  // namespace
}  // namespace coppice
