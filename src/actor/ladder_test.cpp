// SPDX-License-Identifier: Apache-2.0
// The ladder of supervisor::climb(): each rung, its bound, and what shortens it.
#include "actor/supervisor_test_kit.hpp"

namespace coppice::tree {
namespace {

using namespace std::chrono_literals;
using test::fake_child;

// What happened when, in ms since the stop.
struct climbed {
  long interrupt = -1, force = -1, end = -1;
};

class Ladder : public test::supervised {
 protected:
  /// Stops a child that does not listen, and says when each rung was climbed.
  task<climbed> climb(std::function<void(fake_child&)> prepare = {},
                      std::optional<stop_policy> with = {}) {
    fake_child* c = co_await start_up("kid");
    climbed when;
    const auto begun = now();
    const auto ms = [this, begun] { return static_cast<long>((now() - begun) / 1ms); };
    if (prepare) prepare(*c);
    auto on_interrupt = c->on_interrupt, on_force = c->on_force;
    c->on_interrupt = [&when, ms, on_interrupt](fake_child& me) {
      when.interrupt = ms();
      if (on_interrupt) on_interrupt(me);
    };
    c->on_force = [&when, ms, on_force](fake_child& me) {
      when.force = ms();
      if (on_force) on_force(me);
    };
    stop(c, with);
    EXPECT_TRUE(co_await hears("kid", "started ended"));
    EXPECT_TRUE(c->asked()) << "whatever comes after, it is asked first";
    when.end = ms();
    c->on_interrupt = c->on_force = {};
    co_return when;
  }
};

TEST_F(Ladder, EachRungIsClimbedInOrderAtItsBound) {
  run([&]() -> task<> {
    const climbed when = co_await climb();
    EXPECT_EQ(when.interrupt, 500);
    EXPECT_EQ(when.force, 1500);
    EXPECT_EQ(when.end, 2000);
  });
  EXPECT_EQ(last.report.rung, rung::abandoned);
  EXPECT_EQ(last.report.how, exit_report::cause::abandoned);
  EXPECT_EQ(last.report.detail, "fake kid");
  EXPECT_EQ(last.report.took, 2s);
  EXPECT_EQ(s.quarantined().size(), 1u);
}

TEST_F(Ladder, WhoeverWasKilledGetsWhatIsLeftOfTheTotalToEnd) {
  backend.killable = true;
  run([&]() -> task<> {
    const climbed when = co_await climb();
    EXPECT_EQ(when.force, 1500);
    EXPECT_EQ(when.end, 3000);
  });
  EXPECT_EQ(last.report.rung, rung::abandoned);
}

TEST_F(Ladder, WhoeverIsInterruptedEndsThere) {
  run([&]() -> task<> {
    const climbed when =
        co_await climb([](fake_child& c) { c.on_interrupt = [](fake_child& me) { me.end(); }; });
    EXPECT_EQ(when.interrupt, 500);
    EXPECT_EQ(when.force, -1);
  });
  EXPECT_EQ(last.report.rung, rung::interrupted);
  EXPECT_EQ(s.forced_stops(), 0u);
}

TEST_F(Ladder, WhoeverIsForcedEndsThereAndIsCounted) {
  run([&]() -> task<> {
    const climbed when =
        co_await climb([](fake_child& c) { c.on_force = [](fake_child& me) { me.end(); }; });
    EXPECT_EQ(when.force, 1500);
    EXPECT_LE(when.end, 1502);
  });
  EXPECT_EQ(last.report.rung, rung::forced);
  EXPECT_EQ(s.forced_stops(), 1u);
  EXPECT_TRUE(s.quarantined().empty());
}

TEST_F(Ladder, AGuestThatDoesNotLookIsInterruptedAfterUnseen) {
  run([&]() -> task<> {
    const climbed when = co_await climb([](fake_child& c) { c.seen = false; });
    EXPECT_EQ(when.interrupt, 50);
    EXPECT_EQ(when.force, 1050);
  });
}

TEST_F(Ladder, AWaitThatNoExceptionReachesIsForcedAtOnce) {
  run([&]() -> task<> {
    const climbed when = co_await climb([](fake_child& c) {
      c.on_interrupt = [](fake_child& me) { me.observer->cannot_unwind(); };
    });
    EXPECT_EQ(when.interrupt, 500);
    EXPECT_LE(when.force, 502);
  });
}

TEST_F(Ladder, NativeCodeIsAbandonedAtOnce) {
  run([&]() -> task<> {
    const climbed when = co_await climb([](fake_child& c) {
      c.on_interrupt = [](fake_child& me) { me.observer->in_native_code(); };
    });
    EXPECT_EQ(when.force, -1) << "nothing to be destroyed while it runs";
    EXPECT_LE(when.end, 502);
  });
  EXPECT_EQ(last.report.rung, rung::abandoned);
}

TEST_F(Ladder, NativeCodeThatIsFoundByForcingIsAbandonedAtOnce) {
  run([&]() -> task<> {
    const climbed when = co_await climb(
        [](fake_child& c) { c.on_force = [](fake_child& me) { me.observer->in_native_code(); }; });
    EXPECT_EQ(when.force, 1500);
    EXPECT_LE(when.end, 1502);
  });
}

// A cancelled call may find native code, or a deaf wait, that has long ended when the actor is
// stopped.
TEST_F(Ladder, WhatWasSoBeforeTheStopDoesNotCount) {
  run([&]() -> task<> {
    const climbed when = co_await climb([](fake_child& c) {
      c.observer->in_native_code();
      c.observer->cannot_unwind();
      c.on_force = [](fake_child& me) { me.end(); };
    });
    EXPECT_EQ(when.interrupt, 500);
    EXPECT_EQ(when.force, 1500);
  });
  EXPECT_EQ(last.report.rung, rung::forced);
}

TEST_F(Ladder, WithoutMayForceNothingIsForced) {
  policy.may_force = false;
  run([&]() -> task<> {
    const climbed when = co_await climb();
    EXPECT_EQ(when.force, -1);
    EXPECT_EQ(when.end, 1500);
  });
  EXPECT_EQ(last.report.rung, rung::abandoned);
}

TEST_F(Ladder, AChildWithoutRungsIsWaitedForUntilTheTotal) {
  run([&]() -> task<> {
    const climbed when =
        co_await climb([](fake_child& c) { c.can_interrupt = c.can_force = false; });
    EXPECT_EQ(when.end, 3000);
  });
  EXPECT_EQ(last.report.rung, rung::abandoned);
}

TEST_F(Ladder, ThePolicyOfTheStopReplacesThatOfTheStart) {
  run([&]() -> task<> {
    const stop_policy p{.ask = 100ms, .interrupt = 200ms, .force = 300ms};
    const climbed when = co_await climb({}, p);
    EXPECT_EQ(when.interrupt, 100);
    EXPECT_EQ(when.force, 300);
    EXPECT_EQ(when.end, 600);
  });
}

// SIGKILL was sent and given no time: a process was reported as abandoned, and died a moment later.
TEST_F(Ladder, AShortTotalLeavesEachRungItsShare) {
  policy.total = 400ms;
  run([&]() -> task<> {
    const climbed when = co_await climb([this](fake_child& c) {
      c.on_force = [this](fake_child& me) { loop->post([&me] { me.end(); }); };
    });
    EXPECT_EQ(when.interrupt, 200);
    EXPECT_EQ(when.force, 300);
  });
  EXPECT_EQ(last.report.rung, rung::forced);
}

TEST_F(Ladder, TheTotalIsKept) {
  policy.total = 400ms;
  run([&]() -> task<> {
    const climbed when = co_await climb();
    EXPECT_EQ(when.end, 400);
  });
}

TEST_F(Ladder, AHurryShortensEveryRungButTheLast) {
  run([&]() -> task<> {
    const climbed when = co_await climb([this](fake_child&) { s.hurry(); });
    EXPECT_EQ(when.interrupt, 100);
    EXPECT_EQ(when.force, 200);
    EXPECT_EQ(when.end, 700);
  });
}

TEST_F(Ladder, AHurryInTheMiddleOfARungEndsIt) {
  run([&]() -> task<> {
    auto later = [this]() -> task<> {
      co_await sleep_for(800ms);
      s.hurry();
    };
    climbed when;
    auto both = [&](nursery& n) -> task<> {
      n.start_soon(later);
      when = co_await climb();
    };
    co_await open_nursery(both);
    EXPECT_EQ(when.interrupt, 500);
    EXPECT_EQ(when.force, 800) << "it had been waited for longer than a hurry allows";
    EXPECT_EQ(when.end, 1300);
  });
}

TEST_F(Ladder, InAHurryAChildWithoutRungsIsAskedAllTheSame) {
  run([&]() -> task<> {
    const climbed when = co_await climb([this](fake_child& c) {
      c.can_interrupt = c.can_force = false;
      s.hurry();
    });
    EXPECT_GE(when.end, 100);
    EXPECT_LE(when.end, 202);
  });
}

TEST_F(Ladder, ASecondStopMayShortenTheFirstAndNeverProlongsIt) {
  run([&]() -> task<> {
    auto again = [this]() -> task<> {
      co_await sleep_for(100ms);
      s.stop("uuid-of-kid", stop_policy{.ask = 200ms, .interrupt = 5s, .force = 5s, .total = 9s});
    };
    climbed when;
    auto both = [&](nursery& n) -> task<> {
      n.start_soon(again);
      when = co_await climb();
    };
    co_await open_nursery(both);
    EXPECT_EQ(when.interrupt, 200);
    EXPECT_EQ(when.force, 1200);
    EXPECT_EQ(when.end, 1700);
  });
}

TEST_F(Ladder, AStricterStopMayAllowForce) {
  policy.may_force = false;
  run([&]() -> task<> {
    auto again = [this]() -> task<> {
      co_await sleep_for(100ms);
      s.stop("uuid-of-kid", stop_policy{});
    };
    climbed when;
    auto both = [&](nursery& n) -> task<> {
      n.start_soon(again);
      when = co_await climb();
    };
    co_await open_nursery(both);
    EXPECT_EQ(when.force, 1500);
  });
}

// Each was kept until it was read; 256 of them, and the process aborted.
TEST_F(Ladder, AnyNumberOfNewsIsOneFactEach) {
  run([&]() -> task<> {
    const climbed when = co_await climb([this](fake_child& c) {
      for (int i = 0; i < 1000; ++i) {
        stop(&c);
        s.hurry();
        c.observer->cannot_unwind();
        c.observer->in_native_code();
      }
    });
    EXPECT_GE(when.interrupt, 0);
  });
}

TEST_F(Ladder, AnAbandonedChildThatComesBackLeavesQuarantine) {
  run([&]() -> task<> {
    co_await climb();
    fake_child& c = *backend.children.at("kid");
    EXPECT_EQ(c.abandons, 1);
    EXPECT_EQ(c.handles, 1);
    const auto list = s.quarantined();
    EXPECT_EQ(list.size(), 1u);
    EXPECT_EQ(list.at(0).actor.name, "kid");
    EXPECT_EQ(list.at(0).where, "fake kid");
    c.end();
    EXPECT_TRUE(co_await hears("kid", "started ended reclaimed"));
    EXPECT_TRUE(s.quarantined().empty());
    EXPECT_EQ(c.handles, 0);
    EXPECT_EQ(last.name, "kid");
    EXPECT_EQ(last.report.rung, rung::reclaimed);
    EXPECT_EQ(last.report.how, exit_report::cause::returned);
    EXPECT_GE(last.report.took, 2s) << "from the first request on";
  });
}

TEST_F(Ladder, ChildrenAreStoppedInParallel) {
  run([&]() -> task<> {
    std::vector<fake_child*> all;
    for (int i = 0; i < 5; ++i) {
      fake_child* c = co_await start_up("kid" + std::to_string(i));
      all.push_back(c);
    }
    const auto begun = now();
    for (auto* c : all) stop(c);
    for (int i = 0; i < 5; ++i)
      EXPECT_TRUE(co_await hears("kid" + std::to_string(i), "started ended"));
    EXPECT_LE(now() - begun, 2010ms);
  });
}

TEST_F(Ladder, AskingIsEnoughForWhoeverListens) {
  run([&]() -> task<> {
    fake_child* c = co_await start_up("kid");
    stop(c);
    co_await sleep_for(200ms);
    EXPECT_TRUE(c->asked());
    EXPECT_EQ(c->interrupts, 0) << "it has half a second";
    c->end();
    EXPECT_TRUE(co_await hears("kid", "started ended"));
    EXPECT_EQ(last.report.rung, rung::asked);
    EXPECT_TRUE(last.requested);
    EXPECT_GE(last.report.took, 200ms);
    EXPECT_LT(last.report.took, 210ms);
  });
}

}  // namespace
}  // namespace coppice::tree
