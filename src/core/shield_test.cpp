// SPDX-License-Identifier: Apache-2.0
// Shields that are put up and taken down while a scope is open.
#include <functional>

#include "coppice/event.hpp"
#include "coppice/nursery.hpp"
#include "coppice/testkit/async_test.hpp"
#include "coppice/testkit/order.hpp"
#include "core/scope_test_kit.hpp"

namespace coppice {
namespace {

using namespace std::chrono_literals;
using log = std::vector<std::string>;
using testkit::wait_all_blocked;

void put_up(cancel_scope& s, time_point until) {
  s.set_deadline(until);
  s.set_shield(true);
}

COPPICE_TEST(Shield, CanBePutUpAndTakenDownWhileItIsCancelledAbove) {
  bool caught = false;
  co_await scoped("outer", [&](cancel_scope& outer) -> task<> {
    caught = co_await scoped("inner", [&](cancel_scope& inner) -> task<> {
      outer.cancel("stop");
      EXPECT_EQ(co_await checkpoint_cause(), "outer: stop");
      put_up(inner, t.time().now() + 1h);
      EXPECT_TRUE(inner.shield());
      EXPECT_FALSE(inner.cancelled());
      EXPECT_EQ(co_await checkpoint_cause(), "");
      inner.set_shield(false);
      EXPECT_EQ(co_await checkpoint_cause(), "outer: stop");
      inner.set_shield(true);
      inner.set_shield(true);  // Nothing more.
      EXPECT_EQ(co_await checkpoint_cause(), "");
      inner.cancel("mine");
      EXPECT_EQ(co_await checkpoint_cause(), "inner: mine") << "it is no shield against itself";
      co_await checkpoint();
    });
    EXPECT_EQ(co_await checkpoint_cause(), "outer: stop");
  });
  EXPECT_TRUE(caught) << "behind its shield the cancellation was its own";
}

COPPICE_TEST(Shield, ProtectsFromAboveNotFromWhatIsInside) {
  co_await scoped("inner", [&](cancel_scope& inner) -> task<> {
    put_up(inner, t.time().now() + 1h);
    const bool caught = co_await scoped("innermost", [](cancel_scope& innermost) -> task<> {
      innermost.cancel("here");
      co_await checkpoint();
    });
    EXPECT_TRUE(caught);
    co_await checkpoint();
  });
}

// Once it passed although taking a shield down woke nobody: the end of the nursery's block did.
COPPICE_TEST(Shield, TakenDownItStopsWhatWaitsInsideAtOnce) {
  event never;
  log l;
  co_await scoped("outer", [&](cancel_scope& outer) -> task<> {
    co_await open_nursery([&](nursery& n) -> task<> {
      put_up(n.scope(), t.time().now() + 1h);
      n.start_soon(note_cancel, std::ref(l), "task");
      n.start_soon([](event& e) -> task<> { co_await e.wait(); }, std::ref(never));
      outer.cancel("stop");
      co_await wait_all_blocked();
      EXPECT_TRUE(l.empty());
      EXPECT_EQ(never.waiting(), 1u) << "it could begin to wait behind the shield";
      n.scope().set_shield(false);
      EXPECT_EQ(never.waiting(), 0u);
      co_await sleep_forever();
    });
  });
  EXPECT_EQ(l, log{"task outer: stop"});
  EXPECT_EQ(t.elapsed(), 0s);
}

COPPICE_TEST(Shield, PutUpWhileACancellationPassesThroughLeavesItToWhoeverItBelongsTo) {
  bool inner_caught = true;
  const bool outer_caught = co_await scoped("outer", [&](cancel_scope& outer) -> task<> {
    inner_caught = co_await scoped("inner", [&](cancel_scope& inner) -> task<> {
      outer.cancel("stop");
      try {
        co_await checkpoint();
      } catch (const cancelled&) {
        put_up(inner, t.time().now() + 1h);
        throw;
      }
    });
  });
  EXPECT_TRUE(outer_caught);
  EXPECT_TRUE(inner_caught) << "not assigned: the cancellation went through";
}

COPPICE_TEST(Shield, ComesTooLateForATaskThatWasWokenAlready) {
  log l;
  co_await scoped("outer", [&](cancel_scope& outer) -> task<> {
    co_await open_nursery([&](nursery& n) -> task<> {
      n.start_soon(
          [](log& to) -> task<> {
            try {
              co_await sleep_forever();
            } catch (const cancelled& c) {
              to.push_back(c.cause());
            }
            co_await checkpoint();
            to.push_back("goes on");
          },
          std::ref(l));
      co_await wait_all_blocked();
      outer.cancel("stop");
      put_up(n.scope(), t.time().now() + 1h);
      co_await wait_all_blocked();
      EXPECT_EQ(l, (log{"outer: stop", "goes on"}));
    });
  });
}

COPPICE_TEST(Shield, AWaitThatCannotStopIsAskedOnceHoweverOftenTheShieldMoves) {
  int asked = 0;
  stubborn_op wait(asked);
  log l;
  co_await scoped("outer", [&](cancel_scope& outer) -> task<> {
    co_await open_nursery([&](nursery& n) -> task<> {
      put_up(n.scope(), t.time().now() + 1h);
      n.start_soon(
          [](stubborn_op& op, log& to) -> task<> {
            co_await op;
            to.push_back("woke");
            to.push_back(co_await checkpoint_cause());
          },
          std::ref(wait), std::ref(l));
      co_await wait_all_blocked();
      outer.cancel("stop");
      EXPECT_EQ(asked, 0);
      for (int i = 0; i < 3; ++i) {
        n.scope().set_shield(false);
        EXPECT_EQ(asked, 1);
        n.scope().set_shield(true);
      }
      co_await wait_all_blocked();
      EXPECT_TRUE(l.empty());
      n.scope().set_shield(false);
      wait.release();
    });
  });
  EXPECT_EQ(l, (log{"woke", "outer: stop"}));
}

COPPICE_TEST(Shield, ReachesEveryScopeBelowButThoseThatWereCancelledThemselves) {
  co_await scoped("outer", [&](cancel_scope& outer) -> task<> {
    co_await scoped("shielded", [&](cancel_scope& shielded) -> task<> {
      co_await scoped("middle", [&](cancel_scope& middle) -> task<> {
        co_await scoped("leaf", [&](cancel_scope& leaf) -> task<> {
          leaf.cancel("its own");
          outer.cancel("stop");
          EXPECT_EQ(cause_of(leaf), "outer: stop");
          put_up(shielded, t.time().now() + 1h);
          EXPECT_FALSE(middle.cancelled());
          EXPECT_EQ(cause_of(leaf), "leaf: its own");
          shielded.set_shield(false);
          EXPECT_EQ(cause_of(middle), "outer: stop");
          EXPECT_EQ(cause_of(leaf), "outer: stop");
          co_return;
        });
      });
    });
  });
}

COPPICE_TEST(Shield, OneBelowAnotherStaysUpByItself) {
  co_await scoped("outer", [&](cancel_scope& outer) -> task<> {
    co_await scoped("upper", [&](cancel_scope& upper) -> task<> {
      co_await scoped("lower", [&](cancel_scope& lower) -> task<> {
        put_up(upper, t.time().now() + 1h);
        put_up(lower, t.time().now() + 1h);
        outer.cancel("stop");
        upper.set_shield(false);
        EXPECT_TRUE(upper.cancelled());
        EXPECT_EQ(co_await checkpoint_cause(), "");
        lower.set_shield(false);
        EXPECT_EQ(co_await checkpoint_cause(), "outer: stop");
      });
    });
  });
}

COPPICE_TEST(Shield, KeepsOutTheDeadlinesAboveWhileItIsUp) {
  const time_point now = t.time().now();
  const auto body = [&](cancel_scope& inner) -> task<> {
    EXPECT_EQ(inner.effective_deadline(), now + 5s);
    inner.set_deadline(now + 3s);
    EXPECT_EQ(inner.effective_deadline(), now + 3s);
    inner.set_deadline(now + 10s);
    EXPECT_EQ(inner.effective_deadline(), now + 5s);
    inner.set_shield(true);
    EXPECT_EQ(inner.effective_deadline(), now + 10s);
    inner.set_shield(false);
    EXPECT_EQ(inner.effective_deadline(), now + 5s);
    inner.set_shield(true);
    co_await sleep_for(7s);
    EXPECT_EQ(inner.effective_deadline(), now + 10s);
    inner.set_shield(false);
    EXPECT_EQ(inner.effective_deadline(), time_point::min());
    EXPECT_EQ(co_await checkpoint_cause(), "outer: deadline passed");
  };
  co_await scoped(
      "outer",
      [&](cancel_scope& outer) -> task<> {
        co_await scoped("inner", body);
        EXPECT_EQ(outer.effective_deadline(), time_point::min());
      },
      false, now + 5s);
}

COPPICE_TEST(Shield, ATimeLimitBehindOneStillStops) {
  int stopped = 0;
  co_await scoped("outer", [&](cancel_scope& outer) -> task<> {
    auto finished = co_await move_on_after(5s, [&](cancel_scope& s) -> task<> {
      s.set_shield(true);
      outer.cancel("stop");
      co_await sleep_forever();
    });
    stopped += finished ? 0 : 1;
    EXPECT_EQ(t.elapsed(), 5s);
    co_await checkpoint();
  });
  EXPECT_EQ(stopped, 1);
  const auto fails = [&](cancel_scope& outer) -> task<> {
    co_await fail_after(5s, [&](cancel_scope& s) -> task<> {
      s.set_shield(true);
      outer.cancel("stop");
      co_await sleep_forever();
    });
  };
  EXPECT_THROW(co_await scoped("outer", fails), timeout_error) << "an error is never absorbed";
  EXPECT_EQ(t.elapsed(), 10s);
}

task<> shields_without_end(testkit::test_env&) {
  co_await scoped("s", [](cancel_scope& s) -> task<> {
    s.set_shield(true);
    co_return;
  });
}
TEST(ShieldDeath, WithoutADeadlineAborts) {
  EXPECT_DEATH(testkit::run_async_test("endless", &shields_without_end),
               "a shield needs a deadline");
}

task<> takes_the_deadline_away(testkit::test_env&) {
  co_await move_on_after(1s, [](cancel_scope& s) -> task<> {
    s.set_shield(true);
    s.set_deadline(time_point::max());
    co_return;
  });
}
TEST(ShieldDeath, TakingTheDeadlineAwayBehindItAborts) {
  EXPECT_DEATH(testkit::run_async_test("endless", &takes_the_deadline_away),
               "a shielded scope needs a deadline");
}

}  // namespace
}  // namespace coppice
