// SPDX-License-Identifier: Apache-2.0
#include "coppice/time.hpp"  // First: proves the header stands alone.

#include "coppice/channel.hpp"
#include "coppice/errors.hpp"
#include "coppice/event.hpp"
#include "coppice/outcome.hpp"
#include "coppice/testkit/async_test.hpp"

namespace coppice {
namespace {

using namespace std::chrono_literals;
using log = std::vector<std::string>;

task<int> slow() {
  co_await sleep_for(1h);
  co_return 3;
}

COPPICE_TEST(Sleep, LastsAsLongAsItSays) {
  co_await sleep_for(90s);
  EXPECT_EQ(t.elapsed(), 90s);
  co_await sleep_until(t.time().now() + 10s);
  EXPECT_EQ(t.elapsed(), 100s);
}

COPPICE_TEST(Sleep, OfNothingOrLessIsACheckpoint) {
  co_await sleep_for(0s);
  co_await sleep_for(-5s);
  co_await sleep_until(t.time().now() - 1s);
  EXPECT_EQ(t.elapsed(), 0s);
  auto finished = co_await move_on_after(1h, [](cancel_scope& s) -> task<> {
    s.cancel();
    co_await sleep_for(-5s);
  });
  EXPECT_FALSE(finished);
}

COPPICE_TEST(Sleep, BeyondTheEndOfTimeIsForever) {
  auto finished = co_await move_on_after(1s, sleep_for(duration::max()));
  EXPECT_FALSE(finished);
}

COPPICE_TEST(Sleep, TimersFireInTheOrderOfTimeThenOfArming) {
  log l;
  auto note = [](log& to, std::string what, duration d) -> task<> {
    co_await sleep_for(d);
    to.push_back(what);
  };
  co_await open_nursery([&](nursery& n) {
    n.start_soon(note, std::ref(l), "c", 3s);
    n.start_soon(note, std::ref(l), "a1", 1s);
    n.start_soon(note, std::ref(l), "b", 2s);
    n.start_soon(note, std::ref(l), "a2", 1s);
  });
  EXPECT_EQ(l, (log{"a1", "a2", "b", "c"}));
}

COPPICE_TEST(Checkpoint, SeesACancelThatCameDuringItsTurn) {
  bool went_on = false;
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon(
        [](nursery& same) -> task<> {
          same.cancel();
          co_return;
        },
        std::ref(n));
    co_await checkpoint();
    went_on = true;
  });
  EXPECT_FALSE(went_on);
}

COPPICE_TEST(MoveOnAfter, IsEmptyWhenTheLimitPasses) {
  auto r = co_await move_on_after(5s, slow());
  EXPECT_FALSE(r);
  EXPECT_EQ(t.elapsed(), 5s);
}

COPPICE_TEST(MoveOnAfter, GivesTheValueOfWorkThatIsFastEnough) {
  auto r = co_await move_on_after(2h, slow());
  EXPECT_EQ(r, std::optional<int>(3));
  EXPECT_EQ(t.elapsed(), 1h);
}

COPPICE_TEST(MoveOnAfter, TakesAnOperationAsWell) {
  channel<int> c(1);
  EXPECT_FALSE(co_await move_on_after(1s, c.receive()));
  co_await c.send(4);
  auto got = co_await move_on_after(1s, c.receive());
  EXPECT_EQ(got, std::optional<std::optional<int>>(4));
}

COPPICE_TEST(MoveOnAfter, ABlockGetsItsScopeAndSaysWhetherItFinished) {
  auto finished = co_await move_on_after(5s, [&](cancel_scope& scope) -> task<> {
    scope.cancel("changed my mind");
    co_await sleep_forever();
  });
  EXPECT_FALSE(finished);
  EXPECT_EQ(t.elapsed(), 0s);
  auto value = co_await move_on_after(5s, [&](cancel_scope&) -> task<int> {
    co_await sleep_for(1s);
    co_return 9;
  });
  EXPECT_EQ(value, std::optional<int>(9));
}

COPPICE_TEST(MoveOnAfter, HasEndedWhenItReturns) {
  log l;
  auto work = [](log& to) -> task<> {
    try {
      co_await sleep_forever();
    } catch (const cancelled&) {
      to.push_back("unwound");
      throw;
    }
  };
  auto finished = co_await move_on_after(1s, work(l));
  l.push_back(finished ? "finished" : "moved on");
  EXPECT_EQ(l, (log{"unwound", "moved on"}));
}

COPPICE_TEST(MoveOnAfter, ALimitOfNothingStopsAtTheFirstCheckpoint) {
  bool began = false;
  auto finished = co_await move_on_after(0s, [&](cancel_scope&) -> task<> {
    began = true;
    co_await checkpoint();
  });
  EXPECT_TRUE(began);
  EXPECT_FALSE(finished);
}

COPPICE_TEST(MoveOnAfter, LetsErrorsThrough) {
  EXPECT_THROW(co_await move_on_after(1s,
                                      [](cancel_scope&) -> task<> {
                                        co_await checkpoint();
                                        throw std::invalid_argument("x");
                                      }),
               std::invalid_argument);
}

COPPICE_TEST(FailAfter, ThrowsAndLetsAFastResultThrough) {
  EXPECT_THROW(co_await fail_after(5s, slow()), timeout_error);
  EXPECT_EQ(co_await fail_after(2h, slow()), 3);
}

COPPICE_TEST(FailAfter, SaysWhichLimitPassed) {
  auto r = co_await as_result(fail_after(1500ms, slow()));
  auto* e = r.error<timeout_error>();
  EXPECT_TRUE(e != nullptr);
  if (e != nullptr) {
    EXPECT_STREQ(e->what(), "timed out: fail_after(1.5s) passed");
  }
}

COPPICE_TEST(FailAfter, OfABlockThatCancelsItselfSaysWhy) {
  auto r = co_await as_result(fail_after(1s, [](cancel_scope& s) -> task<> {
    s.cancel("no use");
    co_await checkpoint();
  }));
  auto* e = r.error<timeout_error>();
  EXPECT_TRUE(e != nullptr);
  if (e != nullptr) {
    EXPECT_STREQ(e->what(), "fail_after(1s) was cancelled before its end: no use");
  }
}

COPPICE_TEST(FailAfter, NestedTheSoonestApplies) {
  EXPECT_FALSE(co_await move_on_after(1s, fail_after(5s, slow())))
      << "the outer limit is not its error";
  EXPECT_EQ(t.elapsed(), 1s);
}

// --- finally

task<> note_later(log& l, std::string what, duration d) {
  co_await sleep_for(d);
  l.push_back(what);
}
task<int> value_after(log& l, duration d) {
  co_await sleep_for(d);
  l.push_back("work");
  co_return 7;
}
task<> fails_with(std::string what) {
  co_await checkpoint();
  throw std::runtime_error(what);
}

COPPICE_TEST(Finally, CleanupBeginsAfterTheWorkHasEndedAndTheValueComesOut) {
  log l;
  auto v = co_await finally(value_after(l, 1s), {.within = 2s}, note_later(l, "bye", 1s));
  EXPECT_EQ(v, 7);
  EXPECT_EQ(l, (log{"work", "bye"}));
  EXPECT_EQ(t.elapsed(), 2s);
}

COPPICE_TEST(Finally, CleanupRunsWhenTheWorkFails) {
  log l;
  EXPECT_THROW(co_await finally(fails_with("boom"), {.within = 2s}, note_later(l, "bye", 1s)),
               std::runtime_error);
  EXPECT_EQ(l, log{"bye"});
}

COPPICE_TEST(Finally, CleanupIsShieldedFromTheCancelThatEndsTheWork) {
  log l;
  auto finished = co_await move_on_after(
      1s, finally(sleep_forever(), {.within = 2s}, note_later(l, "bye", 1s)));
  EXPECT_FALSE(finished);
  EXPECT_EQ(l, log{"bye"});
  EXPECT_EQ(t.elapsed(), 2s);
}

COPPICE_TEST(Finally, CleanupPastItsLimitIsATimeoutError) {
  auto r = co_await as_result(finally(checkpoint(), {.within = 2s}, sleep_forever()));
  EXPECT_NE(r.error<timeout_error>(), nullptr);
  EXPECT_EQ(t.elapsed(), 2s);
}

COPPICE_TEST(Finally, ErrorsOfBothComeAsAGroup) {
  auto r = co_await as_result(finally(fails_with("work"), {.within = 2s}, fails_with("cleanup")));
  auto* g = r.error<error_group>();
  EXPECT_TRUE(g != nullptr);
  if (g != nullptr) {
    EXPECT_EQ(g->errors().size(), 2u);
  }
}

COPPICE_TEST(Finally, AnErrorOfTheCleanupIsNotLostToTheCancelOfTheWork) {
  auto r = co_await as_result(
      move_on_after(1s, finally(sleep_forever(), {.within = 2s}, fails_with("cleanup"))));
  EXPECT_EQ(describe_exception(r.exception()), "std::runtime_error: cleanup") << "bare";
}

task<> unbounded(testkit::test_env&) { co_await finally(checkpoint(), {}, checkpoint()); }

TEST(FinallyDeath, WithoutATimeLimitAborts) {
  EXPECT_DEATH(testkit::run_async_test("unbounded", &unbounded),
               "finally\\(\\) needs a time limit");
}

COPPICE_TEST(Sleep, ForeverEndsOnlyByACancellation) {
  auto finished = co_await move_on_after(24h * 365, sleep_forever());
  EXPECT_FALSE(finished);
  EXPECT_EQ(t.elapsed(), 24h * 365);
}

COPPICE_TEST(Finally, AnErrorOfTheWorkIsThrownBareWhenTheCleanupEndsWell) {
  auto r = co_await as_result(finally(fails_with("work"), {.within = 2s}, checkpoint()));
  EXPECT_EQ(describe_exception(r.exception()), "std::runtime_error: work");
}

}  // namespace
}  // namespace coppice
