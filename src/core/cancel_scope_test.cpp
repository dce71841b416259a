// SPDX-License-Identifier: Apache-2.0
#include "coppice/cancel_scope.hpp"  // First: proves the header stands alone.

#include "base/thread.hpp"
#include "coppice/channel.hpp"
#include "coppice/errors.hpp"
#include "coppice/event.hpp"
#include "coppice/outcome.hpp"
#include "coppice/testkit/async_test.hpp"
#include "coppice/testkit/order.hpp"
#include "core/scope_test_kit.hpp"

namespace coppice {
namespace {

using namespace std::chrono_literals;

COPPICE_TEST(CancelScope, CancelReachesDownButNotUpNorSideways) {
  co_await scoped("root", [](cancel_scope& root) -> task<> {
    co_await scoped("left", [&](cancel_scope& left) -> task<> {
      co_await scoped("leaf", [&](cancel_scope& leaf) -> task<> {
        left.cancel("peer hung up");
        EXPECT_EQ(cause_of(leaf), "left: peer hung up");
        EXPECT_EQ(cause_of(left), "left: peer hung up");
        EXPECT_EQ(cause_of(root), "not cancelled");
        co_return;
      });
    });
    co_await scoped("right", [](cancel_scope& right) -> task<> {
      EXPECT_EQ(cause_of(right), "not cancelled");
      co_await checkpoint();
    });
  });
}

COPPICE_TEST(CancelScope, ItIsALevelEveryCheckpointThrowsUntilTheScopeIsLeft) {
  event e;
  e.set();
  int thrown = 0;
  co_await scoped("s", [&](cancel_scope& s) -> task<> {
    s.cancel("stop");
    for (int i = 0; i < 3; ++i) {
      try {
        co_await e.wait();  // Set already: a checkpoint all the same.
      } catch (const cancelled&) {
        ++thrown;
      }
    }
  });
  co_await checkpoint();
  EXPECT_EQ(thrown, 3);
}

COPPICE_TEST(CancelScope, TheFirstReasonIsKept) {
  co_await scoped("s", [](cancel_scope& s) -> task<> {
    s.cancel("first");
    s.cancel("second");
    EXPECT_EQ(s.reason(), "first");
    EXPECT_EQ(cause_of(s), "s: first");
    co_return;
  });
}

task<> note_canceller(std::string* who) {
  try {
    co_await sleep_forever();
  } catch (const cancelled& c) {
    *who = c.canceller();
    throw;
  }
}

COPPICE_TEST(CancelScope, ItKnowsWhoCancelledIt) {
  std::string thrown;
  co_await open_nursery([&](nursery& n) {
    EXPECT_EQ(n.scope().canceller(), "");
    n.start_soon(note_canceller, &thrown);
    auto cancels = [](nursery* all) -> task<> {
      all->cancel("enough");
      EXPECT_EQ(all->scope().canceller(), "task 'reader'");
      co_return;
    };
    n.start_soon("reader", cancels, &n);
  });
  EXPECT_EQ(thrown, "task 'reader'");
}

COPPICE_TEST(CancelScope, ADeadlineAndAFailedTaskAreCancellersToo) {
  std::string thrown;
  EXPECT_FALSE(co_await move_on_after(1s, note_canceller(&thrown)));
  EXPECT_EQ(thrown, "its deadline");
  auto fails = []() -> task<> {
    co_await checkpoint();
    throw std::runtime_error("boom");
  };
  EXPECT_THROW(co_await open_nursery([&](nursery& n) {
                 n.start_soon(note_canceller, &thrown);
                 n.start_soon("bad", fails);
               }),
               std::runtime_error);
  EXPECT_EQ(thrown, "task 'bad'");
}

COPPICE_TEST(CancelScope, TheOutermostCauseIsNamed) {
  co_await scoped("outer", [](cancel_scope& outer) -> task<> {
    co_await scoped("inner", [&](cancel_scope& inner) -> task<> {
      inner.cancel("mine");
      outer.cancel("theirs");
      EXPECT_EQ(cause_of(inner), "outer: theirs");
      co_return;
    });
  });
}

COPPICE_TEST(CancelScope, ShieldKeepsOutTheOuterCancelButNotItsOwn) {
  co_await scoped("outer", [&](cancel_scope& outer) -> task<> {
    co_await scoped(
        "cleanup",
        [&](cancel_scope& cleanup) -> task<> {
          outer.cancel("shutdown");
          EXPECT_EQ(co_await checkpoint_cause(), "");
          EXPECT_FALSE(cleanup.cancelled());
          cleanup.cancel("too long");
          EXPECT_EQ(co_await checkpoint_cause(), "cleanup: too long");
          co_await checkpoint();
        },
        true);
    EXPECT_EQ(co_await checkpoint_cause(), "outer: shutdown");
  });
}

COPPICE_TEST(CancelScope, AShieldKeepsCancellationOutOfScopesDeeperInsideIt) {
  co_await scoped("outer", [&](cancel_scope& outer) -> task<> {
    co_await scoped(
        "shield",
        [&](cancel_scope&) -> task<> {
          co_await scoped("deep", [&](cancel_scope& deep) -> task<> {
            outer.cancel("shutdown");
            EXPECT_FALSE(deep.cancelled());
            EXPECT_EQ(co_await checkpoint_cause(), "");
          });
        },
        true);
    EXPECT_TRUE(outer.cancelled());
  });
}

COPPICE_TEST(CancelScope, AShieldOpenedInsideACancelledScopeIsNotCancelled) {
  co_await scoped("outer", [&](cancel_scope& outer) -> task<> {
    outer.cancel("shutdown");
    co_await scoped(
        "cleanup",
        [](cancel_scope& cleanup) -> task<> {
          EXPECT_FALSE(cleanup.cancelled());
          EXPECT_EQ(co_await checkpoint_cause(), "");
        },
        true);
    EXPECT_EQ(co_await checkpoint_cause(), "outer: shutdown");
  });
}

COPPICE_TEST(CancelScope, AShieldStopsDeadlinesToo) {
  const time_point now = t.time().now();
  co_await scoped(
      "outer",
      [&](cancel_scope& outer) -> task<> {
        co_await scoped(
            "cleanup",
            [&](cancel_scope& cleanup) -> task<> {
              EXPECT_EQ(outer.effective_deadline(), now + 1s);
              EXPECT_EQ(cleanup.effective_deadline(), now + 5s);
              co_await sleep_for(2s);
              EXPECT_TRUE(outer.cancel_called());
              co_await sleep_forever();
            },
            true, now + 5s);
        EXPECT_EQ(t.elapsed(), 5s);
      },
      false, now + 1s);
}

COPPICE_TEST(CancelScope, SoonestDeadlineAppliesHoweverDeepWeAre) {
  const time_point now = t.time().now();
  co_await scoped(
      "outer",
      [&](cancel_scope&) -> task<> {
        co_await scoped(
            "inner",
            [&](cancel_scope& inner) -> task<> {
              EXPECT_EQ(inner.effective_deadline(), now + 1s);
              const std::string why = co_await [](void) -> task<std::string> {
                try {
                  co_await sleep_forever();
                } catch (const cancelled& c) {
                  co_return c.cause();
                }
                co_return std::string();
              }();
              EXPECT_EQ(why, "outer: deadline passed");
              EXPECT_TRUE(inner.cancelled());
              EXPECT_FALSE(inner.cancel_called()) << "the outer deadline passed, not ours";
              EXPECT_EQ(inner.effective_deadline(), time_point::min());
            },
            false, now + 9s);
      },
      false, now + 1s);
  EXPECT_EQ(t.elapsed(), 1s);
}

COPPICE_TEST(CancelScope, AbsorbsOnlyWhatIsItsOwn) {
  bool after_inner = false;
  bool inner_caught = true;
  bool outer_caught = false;
  auto& self = co_await detail::this_task{};
  {
    cancel_scope outer(self, {.name = "outer"});
    auto how = co_await detail::captured<void>(
        detail::take([](cancel_scope& o, bool& after, bool& caught) -> task<> {
          auto finished = co_await move_on_after(1h, [&](cancel_scope& inner) -> task<> {
            inner.cancel("inner too");
            o.cancel("all of it");
            co_await checkpoint();
          });
          caught = !finished;
          after = true;
        }(outer, after_inner, inner_caught)));
    EXPECT_TRUE(detail::is_cancelled(how.error()));
    outer_caught = outer.absorbs(how.error());
    EXPECT_TRUE(outer.cancelled_caught());
  }
  EXPECT_FALSE(after_inner) << "the inner scope was cancelled, but so was the one around it";
  EXPECT_TRUE(outer_caught);
}

COPPICE_TEST(CancelScope, AScopeThatNobodyCancelledAbsorbsNothing) {
  auto throws_by_itself = []() -> task<> {
    co_await checkpoint();
    throw cancelled(std::make_shared<const cancel_cause>(cancel_cause{"somebody else's"}));
  };
  bool came_out = false;
  try {
    co_await scoped("s", [&](cancel_scope&) -> task<> { co_await throws_by_itself(); });
  } catch (const cancelled&) {
    came_out = true;
  }
  EXPECT_TRUE(came_out);
}

COPPICE_TEST(CancelScope, NeverAbsorbsAnError) {
  EXPECT_THROW(co_await move_on_after(1h,
                                      [](cancel_scope& s) -> task<> {
                                        s.cancel();
                                        throw std::runtime_error("an error");
                                        co_return;
                                      }),
               std::runtime_error);
}

COPPICE_TEST(CancelScope, ACancelledScopeThatEndsWellCaughtNothing) {
  auto finished = co_await move_on_after(1h, [](cancel_scope& s) -> task<> {
    s.cancel();
    co_return;
  });
  EXPECT_TRUE(finished);
}

COPPICE_TEST(CancelScope, CancelWakesWhatWaitsAtOnceAndLeavesNoTrace) {
  event e;
  channel<int> full(0);
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon([](event& x) -> task<> { co_await x.wait(); }, std::ref(e));
    n.start_soon([](channel<int>& c) -> task<> { co_await c.receive(); }, std::ref(full));
    n.start_soon([]() -> task<> { co_await sleep_for(1h); });
    co_await checkpoint();
    co_await checkpoint();
    EXPECT_EQ(e.waiting(), 1u);
    n.cancel();
    EXPECT_EQ(e.waiting(), 0u);
    EXPECT_FALSE(full.try_send(1)) << "the cancelled receiver is gone";
  });
  EXPECT_EQ(t.elapsed(), 0s);
}

COPPICE_TEST(CancelScope, ADeadlineThatHasPassedCancelsNow) {
  co_await scoped("s", [&](cancel_scope& s) -> task<> {
    s.set_deadline(t.time().now() - 1s);
    EXPECT_TRUE(s.cancelled());
    EXPECT_TRUE(s.deadline_passed());
    co_await checkpoint();
    ADD_FAILURE() << "a checkpoint in a scope whose deadline has passed did not throw";
  });
  EXPECT_EQ(t.elapsed(), 0s);
}

COPPICE_TEST(CancelScope, ADeadlineThatPassesAfterACancelChangesNothing) {
  co_await scoped("s", [&](cancel_scope& s) -> task<> {
    s.set_deadline(t.time().now() + 1s);
    s.cancel("by hand");
    co_await scoped("cleanup", [](cancel_scope&) -> task<> { co_await sleep_for(2s); }, true);
    EXPECT_FALSE(s.deadline_passed());
    EXPECT_EQ(s.reason(), "by hand");
  });
}

COPPICE_TEST(CancelScope, ADeadlineCanBeMovedBothWays) {
  auto finished = co_await move_on_after(1s, [&](cancel_scope& s) -> task<> {
    s.set_deadline(t.time().now() + 3s);
    co_await sleep_for(2s);
    s.set_deadline(time_point::max());
    co_await sleep_for(1h);
    s.set_deadline(t.time().now());
    EXPECT_TRUE(s.cancelled()) << "a time that has passed cancels now";
  });
  EXPECT_TRUE(finished);
}

COPPICE_TEST(CancelScope, AScopeOpenedInsideACancelledOneIsCancelled) {
  co_await scoped("outer", [](cancel_scope& outer) -> task<> {
    outer.cancel("x");
    co_await scoped("inner", [](cancel_scope& inner) -> task<> {
      EXPECT_TRUE(inner.cancelled());
      EXPECT_FALSE(inner.cancel_called());
      co_return;
    });
  });
}

// A hundred thousand parked tasks, deep and wide: no recursion, no second visit.
COPPICE_TEST(CancelScope, CancellingManyTasksIsLinearAndDoesNotRecurse) {
  constexpr int count = 100'000;
  int cancelled_tasks = 0;
  co_await open_nursery([&](nursery& n) -> task<> {
    for (int i = 0; i < count; ++i) {
      n.start_soon(
          [](int& c) -> task<> {
            try {
              co_await sleep_forever();
            } catch (const cancelled&) {
              ++c;
            }
          },
          std::ref(cancelled_tasks));
    }
    co_await checkpoint();
    n.cancel();
  });
  EXPECT_EQ(cancelled_tasks, count);
}

task<> nest(int depth, cancel_scope& outermost) {
  if (depth == 0) {
    outermost.cancel("deep");
    co_await checkpoint();
  }
  co_await scoped("level", [&](cancel_scope&) -> task<> { co_await nest(depth - 1, outermost); });
}

COPPICE_TEST(CancelScope, DeepNestingIsNoMatterOfTheStack) {
  auto finished =
      co_await move_on_after(1h, [](cancel_scope& s) -> task<> { co_await nest(5'000, s); });
  EXPECT_FALSE(finished);
}

task<> leaks_scope(testkit::test_env&) {
  auto& self = co_await detail::this_task{};
  // tidy: allow new: the test ends it in the wrong order on purpose
  auto* outer = new cancel_scope(self, {.name = "outer"});
  cancel_scope inner(self, {.name = "inner"});
  // tidy: allow new: the wrong order is what is tested
  delete outer;
}

TEST(CancelScopeDeath, AScopeThatEndsBeforeOneInsideItAborts) {
  EXPECT_DEATH(testkit::run_async_test("leak", &leaks_scope),
               "cancel scopes must be left in the reverse order of entering");
}

class counted_op final : public detail::wait_op {
 public:
  explicit counted_op(int& asked) noexcept : asked_(asked) {}
  bool begin() noexcept { return false; }
  void finish() const noexcept {}
  bool abort() noexcept override {
    ++asked_;
    return true;
  }
  std::string describe() const override { return "nothing"; }

 private:
  int& asked_;
};

// Ten times the tasks, ten times the work: each is asked once and runs once.
COPPICE_TEST(CancelScope, CancellingAsksEachTaskOnceAndLetsItRunOnce) {
  for (const int count : {10'000, 100'000}) {
    int asked = 0;
    int ran = 0;
    co_await open_nursery([&](nursery& n) -> task<> {
      for (int i = 0; i < count; ++i) {
        n.start_soon(
            [](int& a, int& r) -> task<> {
              counted_op wait(a);
              try {
                co_await wait;
              } catch (const cancelled&) {
                ++r;
                throw;
              }
            },
            std::ref(asked), std::ref(ran));
      }
      co_await testkit::wait_all_blocked();
      n.cancel("first");
      n.cancel("second");
      EXPECT_EQ(asked, count);
      EXPECT_EQ(ran, 0) << "cancel() itself runs nothing";
    });
    EXPECT_EQ(asked, count);
    EXPECT_EQ(ran, count);
  }
}

COPPICE_TEST(CancelScope, OfSeveralThatWereCancelledTheOutermostAbsorbs) {
  bool innermost = false;
  bool middle = false;
  const bool outer = co_await scoped("outer", [&](cancel_scope&) -> task<> {
    middle = co_await scoped("middle", [&](cancel_scope& m) -> task<> {
      innermost = co_await scoped("innermost", [&](cancel_scope& i) -> task<> {
        i.cancel();
        m.cancel();
        co_await sleep_forever();
      });
      ADD_FAILURE() << "the cancellation goes through";
    });
  });
  EXPECT_FALSE(innermost);
  EXPECT_TRUE(middle);
  EXPECT_FALSE(outer);
}

COPPICE_TEST(CancelScope, ACancellationThatWasNeverSeenEndsWithItsScope) {
  const bool caught = co_await scoped("s", [](cancel_scope& s) -> task<> {
    s.cancel("too late");
    co_return;
  });
  EXPECT_FALSE(caught);
  co_await checkpoint();
}

COPPICE_TEST(CancelScope, AWaitThatCannotStopGoesOnAndTheNextCheckpointThrows) {
  int asked = 0;
  stubborn_op wait(asked);
  std::vector<std::string> l;
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon(
        [](stubborn_op& op, std::vector<std::string>& to) -> task<> {
          co_await op;
          to.push_back("woke");
          to.push_back(co_await checkpoint_cause());
        },
        std::ref(wait), std::ref(l));
    co_await checkpoint();
    co_await checkpoint();
    n.cancel("stop");
    EXPECT_EQ(asked, 1);
    co_await scoped("shield", [](cancel_scope&) -> task<> { co_await checkpoint(); }, true);
    EXPECT_TRUE(l.empty());
    wait.release();
  });
  EXPECT_EQ(l, (std::vector<std::string>{"woke", "nursery: stop"}));
}

task<> cancelled_from_elsewhere(testkit::test_env&) {
  co_await move_on_after(1h, [](cancel_scope& s) -> task<> {
    base::os_thread("wrong", [&s] { s.cancel(); }).join();
    co_return;
  });
}
TEST(CancelScopeDeath, CancellingOnAnotherThreadAborts) {
  EXPECT_DEATH(testkit::run_async_test("elsewhere", &cancelled_from_elsewhere),
               "cancel_scope::cancel\\(\\) was called on a thread that does not run this loop");
}

}  // namespace
}  // namespace coppice
