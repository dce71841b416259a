// SPDX-License-Identifier: Apache-2.0
#include "coppice/condition.hpp"  // First: proves the header stands alone.

#include "coppice/errors.hpp"
#include "coppice/outcome.hpp"
#include "coppice/testkit/async_test.hpp"
#include "coppice/testkit/order.hpp"

namespace coppice {
namespace {

using namespace std::chrono_literals;
using log = std::vector<std::string>;
using testkit::wait_all_blocked;

task<> note_when_notified(condition& c, log& to, std::string who) {
  auto held = co_await c.acquire();
  co_await c.wait();
  EXPECT_TRUE(c.its_lock().held_here());
  to.push_back(who);
}

void start_three(nursery& n, condition& c, log& l) {
  for (const char* who : {"a", "b", "c"}) {
    n.start_soon(note_when_notified, std::ref(c), std::ref(l), who);
  }
}

COPPICE_TEST(Condition, WaitReleasesTheLockAndHasItAgainWhenItIsNotified) {
  condition c;
  log l;
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon(note_when_notified, std::ref(c), std::ref(l), "notified");
    co_await wait_all_blocked();
    EXPECT_FALSE(c.its_lock().held());
    auto held = co_await c.acquire();
    c.notify();
    co_await sleep_for(1s);
    EXPECT_TRUE(l.empty()) << "the notifier has the lock still";
    held.release();
    co_await wait_all_blocked();
    EXPECT_EQ(l, log{"notified"});
  });
  EXPECT_FALSE(c.its_lock().held());
}

COPPICE_TEST(Condition, NotifyWakesTheFirstOnes) {
  condition c;
  log l;
  co_await open_nursery([&](nursery& n) -> task<> {
    start_three(n, c, l);
    co_await wait_all_blocked();
    EXPECT_EQ(c.waiting(), 3u);
    {
      auto held = co_await c.acquire();
      c.notify(2);
    }
    co_await wait_all_blocked();
    EXPECT_EQ(l, (log{"a", "b"}));
    EXPECT_EQ(c.waiting(), 1u);
    auto held = co_await c.acquire();
    c.notify(5);
  });
  EXPECT_EQ(l, (log{"a", "b", "c"}));
}

COPPICE_TEST(Condition, NotifyAllWakesAllInTheOrderInWhichTheyCame) {
  condition c;
  log l;
  co_await open_nursery([&](nursery& n) -> task<> {
    start_three(n, c, l);
    co_await wait_all_blocked();
    auto held = co_await c.acquire();
    c.notify_all();
    EXPECT_EQ(c.waiting(), 0u);
  });
  EXPECT_EQ(l, (log{"a", "b", "c"}));
}

COPPICE_TEST(Condition, ANotificationWithoutAWaiterIsForgotten) {
  condition c;
  auto held = co_await c.acquire();
  c.notify();
  c.notify_all();
  EXPECT_FALSE(co_await move_on_after(1s, c.wait()));
}

COPPICE_TEST(Condition, ACancelledWaitHasTheLockAgain) {
  condition c;
  auto held = co_await c.acquire();
  EXPECT_FALSE(co_await move_on_after(1s, c.wait()));
  EXPECT_EQ(t.elapsed(), 1s);
  EXPECT_TRUE(c.its_lock().held_here());
  EXPECT_EQ(c.waiting(), 0u);
}

COPPICE_TEST(Condition, ACancelledWaitEndsOnlyOnceTheLockCanBeHad) {
  condition c;
  log l;
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon(
        [](condition& x, log& to) -> task<> {
          auto held = co_await x.acquire();
          // The second limit passes while it waits for the lock: nothing more happens by that.
          auto notified = co_await move_on_after(2s, move_on_after(1s, x.wait()));
          EXPECT_TRUE(x.its_lock().held_here());
          to.push_back(notified ? "notified" : "cancelled");
        },
        std::ref(c), std::ref(l));
    co_await wait_all_blocked();
    auto held = co_await c.acquire();
    co_await sleep_for(5s);
    EXPECT_TRUE(l.empty()) << "its time is long over, but the lock is not free";
    c.notify();  // Nobody waits any more.
  });
  EXPECT_EQ(l, log{"cancelled"});
  EXPECT_FALSE(c.its_lock().held());
}

COPPICE_TEST(Condition, AWaiterThatWasNotifiedIsNotCancelledAnyMore) {
  condition c;
  log l;
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon(note_when_notified, std::ref(c), std::ref(l), "notified");
    co_await wait_all_blocked();
    auto held = co_await c.acquire();
    c.notify();
    n.cancel();
  });
  EXPECT_EQ(l, log{"notified"});
}

COPPICE_TEST(Condition, ATaskThatIsCancelledAlreadyDoesNotLetGoOfTheLock) {
  condition c;
  log l;
  co_await open_nursery([&](nursery& n) -> task<> {
    auto held = co_await c.acquire();
    n.start_soon(
        [](condition& x, log& to) -> task<> {
          auto mine = co_await x.acquire();
          to.push_back("got it");
        },
        std::ref(c), std::ref(l));
    co_await wait_all_blocked();
    auto finished = co_await move_on_after(1h, [&](cancel_scope& s) -> task<> {
      s.cancel();
      co_await c.wait();
    });
    EXPECT_FALSE(finished);
    EXPECT_TRUE(c.its_lock().held_here());
    EXPECT_TRUE(l.empty());
  });
  EXPECT_EQ(l, log{"got it"});
}

COPPICE_TEST(Condition, WithoutTheLockAllThreeThrow) {
  condition c("filled");
  EXPECT_THROW(c.notify(), ownership_error);
  EXPECT_THROW(c.notify_all(), ownership_error);
  auto r = co_await as_result(c.wait());
  auto* e = r.error<ownership_error>();
  EXPECT_TRUE(e != nullptr);
  if (e != nullptr) {
    EXPECT_STREQ(e->what(),
                 "wait() of condition 'filled', 0 waiting; lock 'filled', free: acquire the lock "
                 "first");
  }
}

COPPICE_TEST(Condition, SeveralMayShareALock) {
  lock l("queue");
  condition filled(l, "filled");
  condition drained(l, "drained");
  log order;
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon(note_when_notified, std::ref(filled), std::ref(order), "filled");
    n.start_soon(note_when_notified, std::ref(drained), std::ref(order), "drained");
    co_await wait_all_blocked();
    {
      auto held = co_await l.acquire();
      drained.notify_all();
    }
    co_await wait_all_blocked();
    EXPECT_EQ(order, log{"drained"});
    auto held = co_await l.acquire();
    filled.notify_all();
  });
  EXPECT_EQ(order, (log{"drained", "filled"}));
}

COPPICE_TEST(Condition, DescribesItself) {
  condition c("filled");
  EXPECT_EQ(c.describe(), "condition 'filled', 0 waiting; lock 'filled', free");
  co_return;
}

COPPICE_TEST(Condition, SeveralThatWereNotifiedGoOnOneAfterAnother) {
  condition c;
  log l;
  auto holds_for_a_while = [](condition& x, log& to, std::string who) -> task<> {
    auto held = co_await x.acquire();
    co_await x.wait();
    to.push_back(who + " in");
    co_await sleep_for(1s);
    to.push_back(who + " out");
  };
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon(holds_for_a_while, std::ref(c), std::ref(l), "a");
    n.start_soon(holds_for_a_while, std::ref(c), std::ref(l), "b");
    co_await wait_all_blocked();
    auto held = co_await c.acquire();
    c.notify_all();
    EXPECT_EQ(c.its_lock().waiting(), 2u) << "they wait for the lock now";
    held.release();
    EXPECT_EQ(c.its_lock().waiting(), 1u) << "the first one has it already";
  });
  EXPECT_EQ(l, (log{"a in", "a out", "b in", "b out"}));
}

COPPICE_TEST(Condition, OneThatIsCancelledLeavesTheOthersWaiting) {
  condition c;
  log l;
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon(note_when_notified, std::ref(c), std::ref(l), "a");
    n.start_soon(
        [](condition& x) -> task<> {
          auto held = co_await x.acquire();
          EXPECT_FALSE(co_await move_on_after(1s, x.wait()));
        },
        std::ref(c));
    n.start_soon(note_when_notified, std::ref(c), std::ref(l), "c");
    co_await sleep_for(2s);
    EXPECT_EQ(c.waiting(), 2u);
    auto held = co_await c.acquire();
    c.notify_all();
  });
  EXPECT_EQ(l, (log{"a", "c"}));
}

task<> condition_ends_early(testkit::test_env&) {
  lock l;
  co_await open_nursery([&](nursery& n) -> task<> {
    condition c(l);
    n.start_soon(
        [](condition& x) -> task<> {
          auto held = co_await x.acquire();
          co_await x.wait();
        },
        std::ref(c));
    co_await wait_all_blocked();
  });
}
TEST(ConditionDeath, EndingWhileATaskWaitsAborts) {
  EXPECT_DEATH(testkit::run_async_test("early", &condition_ends_early),
               "a condition ended while a task waits");
}

}  // namespace
}  // namespace coppice
