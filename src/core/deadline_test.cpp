// SPDX-License-Identifier: Apache-2.0
// Deadlines of scopes: past, endless, moved while something waits, nested.
#include <functional>

#include "coppice/nursery.hpp"
#include "coppice/testkit/async_test.hpp"
#include "coppice/testkit/order.hpp"
#include "core/scope_test_kit.hpp"

namespace coppice {
namespace {

using namespace std::chrono_literals;
using testkit::wait_all_blocked;

COPPICE_TEST(Deadline, ThatHasPassedAlreadyStopsAtTheFirstCheckpoint) {
  bool began = false;
  const bool caught = co_await scoped(
      "late",
      [&](cancel_scope& s) -> task<> {
        began = true;
        EXPECT_TRUE(s.deadline_passed());
        EXPECT_EQ(cause_of(s), "late: deadline passed");
        co_await checkpoint();
      },
      false, t.time().now() - 1s);
  EXPECT_TRUE(began);
  EXPECT_TRUE(caught);
  EXPECT_EQ(t.elapsed(), 0s);
  EXPECT_FALSE(co_await move_on_after(-5s, sleep_for(1h))) << "less than nothing is the same";
}

COPPICE_TEST(Deadline, OfTheEndOfTimeNeverPasses) {
  const bool caught = co_await scoped("s", [&](cancel_scope& s) -> task<> {
    EXPECT_EQ(s.deadline(), time_point::max());
    EXPECT_EQ(s.effective_deadline(), time_point::max());
    co_await sleep_for(24h * 365);
  });
  EXPECT_FALSE(caught);
  EXPECT_TRUE(co_await move_on_after(duration::max(), sleep_for(24h * 365)));
}

// Starts what sleeps in a scope, and gives the scope to the other task.
task<> sleeps(duration limit, task_status<cancel_scope*> status) {
  auto finished = co_await move_on_after(limit, [&](cancel_scope& s) -> task<> {
    status.started(&s);
    co_await sleep_forever();
  });
  EXPECT_FALSE(finished);
}

COPPICE_TEST(Deadline, BroughtForwardWhileATaskWaitsEndsTheWaitThen) {
  co_await open_nursery([&](nursery& n) -> task<> {
    auto* scope = co_await n.start(sleeps, 10s);
    co_await sleep_for(1s);
    scope->set_deadline(t.time().now() + 1s);
  });
  EXPECT_EQ(t.elapsed(), 2s);
}

COPPICE_TEST(Deadline, PutOffWhileATaskWaitsLetsItWait) {
  co_await open_nursery([&](nursery& n) -> task<> {
    auto* scope = co_await n.start(sleeps, 10s);
    co_await sleep_for(9s);
    scope->set_deadline(t.time().now() + 11s);
  });
  EXPECT_EQ(t.elapsed(), 20s);
}

COPPICE_TEST(Deadline, SetToThePastWhileATaskWaitsWakesItAtOnce) {
  co_await open_nursery([&](nursery& n) -> task<> {
    auto* scope = co_await n.start(sleeps, 10s);
    co_await wait_all_blocked();
    scope->set_deadline(t.time().now() - 1s);
    EXPECT_TRUE(scope->cancelled());
  });
  EXPECT_EQ(t.elapsed(), 0s);
}

COPPICE_TEST(Deadline, IsSeenByATaskThatNeverWaits) {
  const auto body = [&](cancel_scope&) -> task<> {
    co_await checkpoint();
    t.time().advance(10s);
    EXPECT_EQ(co_await checkpoint_cause(), "busy: deadline passed");
    EXPECT_EQ(co_await checkpoint_cause(), "busy: deadline passed");
  };
  co_await scoped("busy", body, false, t.time().now() + 5s);
}

COPPICE_TEST(Deadline, OfAScopeThatWasLeftDoesNothing) {
  auto finished = co_await move_on_after(1s, checkpoint());
  t.time().advance(2s);
  for (int i = 0; i < 3; ++i) co_await checkpoint();
  EXPECT_TRUE(finished);
}

COPPICE_TEST(Deadline, OfNestedScopesTheSoonestWinsWhicheverThatIs) {
  auto outer = co_await move_on_after(5s, [&](cancel_scope&) -> task<> {
    EXPECT_FALSE(co_await move_on_after(1s, sleep_forever()));
    EXPECT_EQ(t.elapsed(), 1s);
    co_await move_on_after(60s, sleep_forever());
    ADD_FAILURE() << "the outer limit ends more than the inner block";
  });
  EXPECT_FALSE(outer);
  EXPECT_EQ(t.elapsed(), 5s);
}

COPPICE_TEST(Deadline, OfTwoThatPassAtTheSameTimeTheOuterEndsMore) {
  bool went_on = false;
  auto outer = co_await move_on_after(1s, [&](cancel_scope&) -> task<> {
    co_await move_on_after(1s, sleep_forever());
    went_on = true;
  });
  EXPECT_FALSE(outer);
  EXPECT_FALSE(went_on);
}

COPPICE_TEST(Deadline, AfterACancelChangesNeitherTheReasonNorWhoDidIt) {
  co_await scoped("asked", [&](cancel_scope& s) -> task<> {
    EXPECT_EQ(s.reason(), "") << "empty until it is cancelled";
    s.cancel("first");
    s.set_deadline(t.time().now() - 1s);
    EXPECT_EQ(cause_of(s), "asked: first");
    EXPECT_FALSE(s.deadline_passed());
    co_return;
  });
  co_await scoped("late", [&](cancel_scope& s) -> task<> {
    s.set_deadline(t.time().now());
    s.cancel("second");
    EXPECT_EQ(cause_of(s), "late: deadline passed");
    EXPECT_TRUE(s.deadline_passed());
    co_return;
  });
}

COPPICE_TEST(Deadline, CanBePutOnANursery) {
  co_await open_nursery([&](nursery& n) {
    n.scope().set_deadline(t.time().now() + 3s);
    n.start_soon([]() -> task<> { co_await sleep_forever(); });
  });
  EXPECT_EQ(t.elapsed(), 3s);
}

}  // namespace
}  // namespace coppice
