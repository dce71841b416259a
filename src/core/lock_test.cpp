// SPDX-License-Identifier: Apache-2.0
#include "coppice/lock.hpp"  // First: proves the header stands alone.

#include "coppice/errors.hpp"
#include "coppice/outcome.hpp"
#include "coppice/testkit/async_test.hpp"
#include "coppice/testkit/order.hpp"

namespace coppice {
namespace {

using namespace std::chrono_literals;
using log = std::vector<std::string>;
using testkit::wait_all_blocked;

task<> hold_for(lock& l, log& to, std::string who, duration d) {
  auto held = co_await l.acquire();
  to.push_back(who);
  co_await sleep_for(d);
}

COPPICE_TEST(Lock, KeepsOtherTasksOutUntilTheGuardEnds) {
  lock l;
  log in;
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon(hold_for, std::ref(l), std::ref(in), "first", 1s);
    n.start_soon(hold_for, std::ref(l), std::ref(in), "second", 1s);
    co_await wait_all_blocked();
    EXPECT_EQ(in, log{"first"});
    EXPECT_TRUE(l.held());
    EXPECT_FALSE(l.held_here());
    EXPECT_EQ(l.waiting(), 1u);
  });
  EXPECT_EQ(in, (log{"first", "second"}));
  EXPECT_EQ(t.elapsed(), 2s);
  EXPECT_FALSE(l.held());
}

COPPICE_TEST(Lock, TasksGetItInTheOrderInWhichTheyAsked) {
  lock l;
  log in;
  co_await open_nursery([&](nursery& n) {
    for (const char* who : {"a", "b", "c", "d"}) {
      n.start_soon(hold_for, std::ref(l), std::ref(in), who, 1s);
    }
  });
  EXPECT_EQ(in, (log{"a", "b", "c", "d"}));
}

COPPICE_TEST(Lock, WhoeverAsksLaterCannotOvertakeTheFirstThatWaits) {
  lock l;
  log in;
  co_await open_nursery([&](nursery& n) -> task<> {
    auto held = co_await l.acquire();
    n.start_soon(hold_for, std::ref(l), std::ref(in), "waited", 1s);
    co_await wait_all_blocked();
    held.release();
    EXPECT_TRUE(l.held()) << "it went straight to the task that waits, which has not run yet";
    EXPECT_FALSE(l.try_acquire());
    auto again = co_await l.acquire();
    in.push_back("came back");
  });
  EXPECT_EQ(in, (log{"waited", "came back"}));
}

COPPICE_TEST(Lock, AcquiringItAgainInTheSameTaskThrows) {
  lock l("db");
  auto held = co_await l.acquire();
  auto again = co_await as_result(l.acquire());
  auto* e = again.error<ownership_error>();
  EXPECT_TRUE(e != nullptr);
  if (e != nullptr) {
    EXPECT_NE(std::string(e->what()).find("acquire() of lock 'db', held by"), std::string::npos);
    EXPECT_NE(std::string(e->what()).find("this task has it already"), std::string::npos);
  }
  EXPECT_THROW(static_cast<void>(l.try_acquire()), ownership_error);
  EXPECT_TRUE(l.held_here()) << "the refusal changes nothing";
}

task<> release_lock(lock::guard& g) {
  EXPECT_THROW(g.release(), ownership_error);
  co_return;
}
COPPICE_TEST(Lock, ReleasingItInAnotherTaskThrows) {
  lock l;
  auto held = co_await l.acquire();
  co_await open_nursery([&](nursery& n) { n.start_soon(release_lock, std::ref(held)); });
  EXPECT_TRUE(l.held_here());
  held.release();
  EXPECT_FALSE(l.held());
  EXPECT_THROW(held.release(), ownership_error) << "it was released already";
}

COPPICE_TEST(Lock, AcquiringIsACheckpoint) {
  lock l;
  auto finished = co_await move_on_after(1h, [&](cancel_scope& s) -> task<> {
    s.cancel();
    auto held = co_await l.acquire();
  });
  EXPECT_FALSE(finished);
  EXPECT_FALSE(l.held());
}

COPPICE_TEST(Lock, ACancelledAcquireLeavesNoTrace) {
  lock l;
  log in;
  co_await open_nursery([&](nursery& n) -> task<> {
    auto held = co_await l.acquire();
    n.start_soon(
        [](lock& x) -> task<> {
          auto none = co_await move_on_after(1s, x.acquire());
          EXPECT_FALSE(none);
        },
        std::ref(l));
    co_await wait_all_blocked();
    n.start_soon(hold_for, std::ref(l), std::ref(in), "behind it", 0s);
    co_await sleep_for(2s);
    EXPECT_EQ(l.waiting(), 1u);
  });
  EXPECT_EQ(in, log{"behind it"});
  EXPECT_FALSE(l.held());
}

COPPICE_TEST(Lock, ATaskThatWasGivenItIsNotCancelledAnyMore) {
  lock l;
  log in;
  co_await open_nursery([&](nursery& n) -> task<> {
    auto held = co_await l.acquire();
    n.start_soon(
        [](lock& x, log& to) -> task<> {
          auto mine = co_await x.acquire();
          to.push_back("has it");
        },
        std::ref(l), std::ref(in));
    co_await wait_all_blocked();
    held.release();
    n.cancel();
  });
  EXPECT_EQ(in, log{"has it"});
  EXPECT_FALSE(l.held());
}

COPPICE_TEST(Lock, TheGuardReleasesItHoweverItsBlockEnds) {
  lock l;
  auto fails = [](lock& x) -> task<> {
    auto held = co_await x.acquire();
    throw error("no");
  };
  auto failed = co_await as_result(fails(l));
  EXPECT_FALSE(failed);
  EXPECT_FALSE(l.held());
  auto finished = co_await move_on_after(1s, [&](cancel_scope&) -> task<> {
    auto held = co_await l.acquire();
    co_await sleep_forever();
  });
  EXPECT_FALSE(finished);
  EXPECT_FALSE(l.held());
}

COPPICE_TEST(Lock, AGuardComesOutOfATimeLimit) {
  lock l;
  auto held = co_await fail_after(1s, l.acquire());
  EXPECT_TRUE(l.held_here());
  held.release();
  auto maybe = co_await move_on_after(1s, l.acquire());
  EXPECT_TRUE(maybe.has_value());
  EXPECT_TRUE(l.held_here());
}

COPPICE_TEST(Lock, TryAcquireNeverWaits) {
  lock l;
  {
    auto held = l.try_acquire();
    EXPECT_TRUE(held.has_value());
    EXPECT_TRUE(l.held_here());
    co_await open_nursery([&](nursery& n) {
      n.start_soon(
          [](lock& x) -> task<> {
            EXPECT_FALSE(x.try_acquire());
            co_return;
          },
          std::ref(l));
    });
  }
  EXPECT_FALSE(l.held());
}

COPPICE_TEST(Lock, DescribesItself) {
  lock l("db");
  EXPECT_EQ(l.describe(), "lock 'db', free");
  log in;
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon("writer", hold_for, std::ref(l), std::ref(in), "first", 1s);
    n.start_soon("reader", hold_for, std::ref(l), std::ref(in), "second", 1s);
    co_await wait_all_blocked();
    EXPECT_EQ(l.describe(), "lock 'db', held by 'writer', 1 waiting");
  });
}

task<> outlives(testkit::test_env&) {
  lock l;
  std::optional<lock::guard> kept;
  co_await open_nursery([&](nursery& n) {
    n.start_soon(
        [](lock& x, std::optional<lock::guard>& to) -> task<> {
          auto held = co_await x.acquire();
          to.emplace(std::move(held));
        },
        std::ref(l), std::ref(kept));
  });
}
TEST(LockDeath, ATaskThatEndsWhileItHoldsOneAborts) {
  EXPECT_DEATH(testkit::run_async_test("outlives", &outlives),
               "a task ended while it holds a lock");
}

task<> guard_ends_elsewhere(testkit::test_env&) {
  lock l;
  auto held = co_await l.acquire();
  co_await open_nursery([&](nursery& n) {
    n.start_soon(
        [](lock::guard& g) -> task<> {
          auto taken = std::move(g);
          co_return;
        },
        std::ref(held));
  });
}
TEST(LockDeath, AGuardThatEndsInAnotherTaskAborts) {
  EXPECT_DEATH(testkit::run_async_test("elsewhere", &guard_ends_elsewhere),
               "ended in another task");
}

task<> lock_ends_early(testkit::test_env&) {
  std::optional<lock> l(std::in_place);
  auto held = co_await l->acquire();
  l.reset();
}
TEST(LockDeath, EndingWhileATaskHoldsItAborts) {
  EXPECT_DEATH(testkit::run_async_test("early", &lock_ends_early),
               "a lock ended while a task holds it");
}

}  // namespace
}  // namespace coppice
