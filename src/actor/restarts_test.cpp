// SPDX-License-Identifier: Apache-2.0
#include "actor/restarts.hpp"  // First: proves the header stands alone.

#include <functional>
#include <map>

#include "coppice/nursery.hpp"
#include "coppice/outcome.hpp"
#include "coppice/testkit/async_test.hpp"
#include "coppice/time.hpp"

namespace coppice::tree {
namespace {

using namespace std::chrono_literals;
using names = std::vector<std::string>;

constexpr restart_pause at_once{.first = 0ns};
constexpr restart_policy one{.strategy = restart_strategy::one_for_one, .pause = at_once};
constexpr restart_policy rest{.strategy = restart_strategy::rest_for_one, .pause = at_once};

std::exception_ptr boom() {
  exit_report report;
  report.how = exit_report::cause::signalled;
  report.status = 11;
  return std::make_exception_ptr(actor_died("boom", report));
}

/// A nursery of actors that are nothing but names, started and stopped as the test says.
class troupe final : public place_keeper {
 public:
  troupe(detail::scheduler& loop, const restart_policy& policy)
      : tested(loop, policy, *this), loop_(loop) {}

  place& add(const std::string& name, restart_type which = restart_type::transient) {
    auto& p = places_[name];
    p = std::make_unique<place>(name, which);
    tested.add(*p);
    tested.is_up(*p);
    return *p;
  }
  restarts::verdict dies(const std::string& name) {
    return tested.ended(*places_.at(name), boom(), true, false);
  }
  restarts::verdict returns(const std::string& name, bool asked = false) {
    return tested.ended(*places_.at(name), boom(), false, asked);
  }
  place& operator[](const std::string& name) { return *places_.at(name); }

  task<> start(place& p) override {
    said.push_back("start " + p.name);
    when.push_back(loop_.now());
    if (start_takes > 0ns) co_await sleep_for(start_takes);
    if (on_start) on_start(p);
    if (fails[p.name] > 0) {
      --fails[p.name];
      throw actor_start_error("actor '" + p.name + "': its init failed");
    }
    tested.is_up(p);
  }
  task<> stop(place& p) override {
    if (p.now == place::state::up) said.push_back("not told that it goes down");
    if (&p != last_dead) said.push_back("stop " + p.name);
    if (stop_takes > 0ns) co_await sleep_for(stop_takes);
    if (on_stop) on_stop(p);
  }
  bool is_there(const place& p) const override { return &p != ending; }

  restarts tested;
  const place* ending = nullptr;  // It has ended, and that is not told yet.
  names said;
  std::vector<time_point> when;  // Of the starts.
  std::map<std::string, int> fails;
  duration start_takes{}, stop_takes{};
  std::function<void(place&)> on_start, on_stop;
  const place* last_dead = nullptr;

 private:
  detail::scheduler& loop_;
  std::map<std::string, std::unique_ptr<place>> places_;
};

/// Runs `body(troupe)` beside the restarts, and gives the error that ended them.
template <class Body>
task<std::exception_ptr> play(restart_policy policy, Body body) {
  detail::task_node& self = co_await detail::this_task{};
  troupe t(self.loop, policy);
  auto block = [&]() -> task<> {
    auto inside = [&](nursery& n) -> task<> {
      n.start_soon("restarts", [](restarts* r) { return r->run(); }, &t.tested);
      co_await body(t);
      t.tested.close();
    };
    co_await open_nursery(inside);
  };
  auto how = co_await as_result(block());
  co_return how.exception();
}

task<> settle() {
  for (int i = 0; i < 20; ++i) co_await checkpoint();
}

COPPICE_TEST(Restarts, OneForOneStartsTheDeadOneAlone) {
  auto e = co_await play(one, [](troupe& crew) -> task<> {
    crew.add("a"), crew.add("b"), crew.add("c");
    crew.last_dead = &crew["b"];
    EXPECT_EQ(crew.dies("b"), restarts::verdict::restart);
    EXPECT_EQ(crew["b"].now, place::state::down) << "nothing has been started inside that call";
    EXPECT_EQ(crew.said, names{});
    co_await settle();
    EXPECT_EQ(crew.said, names{"start b"});
    EXPECT_EQ(crew["b"].now, place::state::up);
    EXPECT_EQ(crew["b"].restarts, 1u);
    EXPECT_EQ(crew["a"].restarts, 0u);
  });
  EXPECT_FALSE(e);
}

COPPICE_TEST(Restarts, RestForOneStopsTheLaterOnesInReverseAndStartsAllInOrder) {
  auto e = co_await play(rest, [](troupe& crew) -> task<> {
    crew.add("a"), crew.add("b"), crew.add("c"), crew.add("d");
    crew.last_dead = &crew["b"];
    crew.dies("b");
    co_await settle();
    EXPECT_EQ(crew.said, (names{"stop d", "stop c", "start b", "start c", "start d"}));
    EXPECT_EQ(crew["d"].restarts, 1u);
    EXPECT_EQ(crew["a"].restarts, 0u);
  });
  EXPECT_FALSE(e);
}

COPPICE_TEST(Restarts, OneCancelsAllRestartsNobodyAndADeathFails) {
  detail::task_node& self = co_await detail::this_task{};
  troupe crew(self.loop, {});
  crew.add("a"), crew.add("b");
  EXPECT_FALSE(crew.tested.restarts_any());
  EXPECT_EQ(crew.returns("b"), restarts::verdict::over);
  EXPECT_EQ(crew.dies("a"), restarts::verdict::fails);
}

COPPICE_TEST(Restarts, TransientRestartsDeathsPermanentEveryEndTemporaryNone) {
  auto e = co_await play(one, [](troupe& crew) -> task<> {
    crew.add("transient"), crew.add("permanent", restart_type::permanent);
    crew.add("temporary", restart_type::temporary);
    EXPECT_EQ(crew.returns("permanent"), restarts::verdict::restart);
    EXPECT_EQ(crew.dies("temporary"), restarts::verdict::over) << "and no failure";
    EXPECT_EQ(crew.returns("transient"), restarts::verdict::over);
    co_await settle();
    EXPECT_EQ(crew["permanent"].restarts, 1u);
    EXPECT_EQ(crew.returns("permanent", true), restarts::verdict::over) << "it was asked for";
  });
  EXPECT_FALSE(e);
}

COPPICE_TEST(Restarts, AtExactlyTheLimitTheNurseryLivesOneMoreIsTooMuch) {
  auto policy = one;
  policy.restarts_max = 2;
  policy.within = 10s;
  auto e = co_await play(policy, [](troupe& crew) -> task<> {
    crew.add("a");
    for (int i = 0; i < 2; ++i) {
      crew.dies("a");
      co_await settle();
    }
    EXPECT_EQ(crew["a"].restarts, 2u);
    co_await sleep_for(10s);  // The period's end belongs to it.
    crew.dies("a");
    co_await sleep_forever();
  });
  try {
    if (e) std::rethrow_exception(e);
    ADD_FAILURE() << "the third within the period was allowed";
  } catch (const restart_limit_exceeded& limit) {
    EXPECT_EQ(limit.actor(), "a");
    EXPECT_EQ(limit.restarts_max(), 2u);
    EXPECT_EQ(limit.within(), 10s);
    EXPECT_TRUE(limit.last_death());
    const std::string what = limit.what();
    EXPECT_NE(what.find("'a' died once too often: more than 2 restarts within 10s"),
              std::string::npos)
        << what;
    EXPECT_NE(what.find("SIGSEGV"), std::string::npos) << what;
  }
}

COPPICE_TEST(Restarts, WhatIsOlderThanThePeriodCountsNoMore) {
  auto policy = one;
  policy.restarts_max = 1;
  policy.within = 10s;
  auto e = co_await play(policy, [](troupe& crew) -> task<> {
    crew.add("a");
    for (int i = 0; i < 5; ++i) {
      crew.dies("a");
      co_await sleep_for(10s + 1ns);
    }
    EXPECT_EQ(crew["a"].restarts, 5u);
  });
  EXPECT_FALSE(e);
}

COPPICE_TEST(Restarts, ADeathCountsOnceHoweverManyGoWithIt) {
  auto policy = rest;
  policy.restarts_max = 1;
  auto e = co_await play(policy, [](troupe& crew) -> task<> {
    crew.add("a"), crew.add("b"), crew.add("c");
    crew.dies("a");
    co_await settle();
    EXPECT_EQ(crew["c"].restarts, 1u);
  });
  EXPECT_FALSE(e);
}

COPPICE_TEST(Restarts, AZeroLimitAllowsNone) {
  auto policy = one;
  policy.restarts_max = 0;
  auto e = co_await play(policy, [](troupe& crew) -> task<> {
    crew.add("a");
    crew.dies("a");
    co_await sleep_forever();
  });
  EXPECT_TRUE(e);
}

COPPICE_TEST(Restarts, TwoDeathsAtOnceAreTwoRestarts) {
  auto e = co_await play(one, [](troupe& crew) -> task<> {
    crew.add("a"), crew.add("b");
    crew.dies("b"), crew.dies("a");
    co_await settle();
    EXPECT_EQ(crew["a"].restarts, 1u);
    EXPECT_EQ(crew["b"].restarts, 1u);
  });
  EXPECT_FALSE(e);
}

COPPICE_TEST(Restarts, OneThatDiedWhileItHadToGoWithAnotherIsStartedOnce) {
  auto policy = rest;
  policy.restarts_max = 1;
  auto e = co_await play(policy, [](troupe& crew) -> task<> {
    crew.add("a"), crew.add("b");
    crew.dies("a"), crew.dies("b");  // By the time that it is looked at, "b" is up again.
    co_await settle();
    EXPECT_EQ(crew["a"].restarts, 1u);
    EXPECT_EQ(crew["b"].restarts, 1u);

    crew.on_stop = [&](place& p) {
      if (p.name == "b") crew.dies("b");
    };
  });
  EXPECT_FALSE(e) << "and counts once";
}

COPPICE_TEST(Restarts, ThePauseGrowsAndBeginsAnewAfterALongLife) {
  auto policy = one;
  policy.restarts_max = 100;
  policy.within = 60s;
  policy.pause = {.first = 1s, .factor = 3, .longest = 5s};
  auto e = co_await play(policy, [](troupe& crew) -> task<> {
    crew.add("a");
    std::vector<duration> pauses;
    const auto die = [&]() -> task<> {
      detail::task_node& self = co_await detail::this_task{};
      const time_point dead = self.loop.now();
      crew.dies("a");
      co_await sleep_for(6s);
      pauses.push_back(crew.when.back() - dead);
    };
    for (int i = 0; i < 4; ++i) co_await die();
    co_await sleep_for(60s);
    co_await die();
    EXPECT_EQ(pauses, (std::vector<duration>{1s, 3s, 5s, 5s, 1s}));
  });
  EXPECT_FALSE(e);
}

COPPICE_TEST(Restarts, ARestartThatFailsIsTheNextDeath) {
  auto e = co_await play(one, [](troupe& crew) -> task<> {
    crew.add("a");
    crew.fails["a"] = 2;
    crew.dies("a");
    co_await settle();
    EXPECT_EQ(crew.said, (names{"stop a", "start a", "stop a", "start a", "stop a", "start a"}));
    EXPECT_EQ(crew["a"].restarts, 1u) << "only one came up";
  });
  EXPECT_FALSE(e);
}

COPPICE_TEST(Restarts, RestartsThatKeepFailingReachTheLimit) {
  auto e = co_await play(one, [](troupe& crew) -> task<> {
    crew.add("a");
    crew.fails["a"] = 1000;
    crew.dies("a");
    co_await sleep_forever();
  });
  EXPECT_NE(describe_exception(e).find("its init failed"), std::string::npos)
      << describe_exception(e);
}

COPPICE_TEST(Restarts, InRestForOneTheOnesBehindAFailedStartWaitForIt) {
  auto e = co_await play(rest, [](troupe& crew) -> task<> {
    crew.add("a"), crew.add("b"), crew.add("c");
    crew.fails["b"] = 1;
    crew.dies("a");
    co_await settle();
    EXPECT_EQ(crew.said, (names{"stop c", "stop b", "stop a", "start a", "start b", "stop c",
                                "stop b", "start b", "start c"}));
  });
  EXPECT_FALSE(e);
}

COPPICE_TEST(Restarts, ADeathRightAfterTheRestartIsSeen) {
  auto e = co_await play(one, [](troupe& crew) -> task<> {
    crew.add("a");
    int deaths = 2;
    auto dying = [&](place& p) -> task<> {
      while (p.now != place::state::up) co_await checkpoint();
      crew.dies("a");
    };
    auto inside = [&](nursery& n) -> task<> {
      crew.on_start = [&](place& p) {
        if (--deaths > 0) n.start_soon(dying, std::ref(p));
      };
      crew.dies("a");
      co_await settle();
    };
    co_await open_nursery(inside);
    EXPECT_EQ(crew["a"].restarts, 2u);
    EXPECT_EQ(crew["a"].now, place::state::up);
  });
  EXPECT_FALSE(e);
}

// --- the end
// ---------------------------------------------------------------------------------------

COPPICE_TEST(Restarts, CloseDuringAPauseEndsItAndStartsNothing) {
  auto policy = one;
  policy.pause = {.first = 1h, .longest = 1h};
  auto e = co_await play(policy, [](troupe& crew) -> task<> {
    crew.add("a");
    crew.last_dead = &crew["a"];
    crew.dies("a");
    co_await sleep_for(1s);
    EXPECT_EQ(crew.said, names{}) << "it pauses";
  });
  EXPECT_FALSE(e);
  EXPECT_EQ(t.elapsed(), 1s);
}

COPPICE_TEST(Restarts, CancelDuringAPauseEndsIt) {
  auto policy = one;
  policy.pause = {.first = 1h, .longest = 1h};
  auto e = co_await play(policy, [](troupe& crew) -> task<> {
    crew.add("a");
    crew.dies("a");
    co_await sleep_for(1s);
    throw std::domain_error("the body failed");
  });
  EXPECT_NE(describe_exception(e).find("the body failed"), std::string::npos);
  EXPECT_EQ(t.elapsed(), 1s);
}

COPPICE_TEST(Restarts, CloseDuringAStartStartsNoFurtherOnes) {
  auto e = co_await play(rest, [](troupe& crew) -> task<> {
    crew.add("a"), crew.add("b");
    crew.start_takes = 5s;
    crew.dies("a");
    co_await sleep_for(1s);
    EXPECT_EQ(crew.said, (names{"stop b", "stop a", "start a"}));
    crew.fails["a"] = 1;  // It is stopped, as everybody is at the end.
    auto after = [](troupe* of) -> task<> {
      co_await sleep_for(10s);
      EXPECT_EQ(of->said.back(), "start a");
    };
    crew.tested.close();
    co_await after(&crew);
  });
  EXPECT_FALSE(e);
}

COPPICE_TEST(Restarts, ADeathWhileTheNurseryEndsIsNoFailureAndNoRestart) {
  auto e = co_await play(one, [](troupe& crew) -> task<> {
    crew.add("a");
    crew.tested.close();
    EXPECT_EQ(crew.dies("a"), restarts::verdict::over);
    co_await settle();
    EXPECT_EQ(crew.said, names{});
  });
  EXPECT_FALSE(e);
}

// --- finding the present incarnation
// ---------------------------------------------------------------

COPPICE_TEST(Restarts, WaitUpGivesOneThatIsUpAtOnceAndTheLastOfAName) {
  auto e = co_await play(one, [&](troupe& crew) -> task<> {
    place& a = crew.add("a");
    EXPECT_EQ(co_await crew.tested.wait_up("a", 1s), &a);
    place twin("a", restart_type::transient);
    crew.tested.add(twin);
    crew.tested.is_up(twin);
    EXPECT_EQ(co_await crew.tested.wait_up("a", 1s), &twin);
    crew.tested.remove(twin);
    EXPECT_EQ(crew.tested.find("a"), &a);
    EXPECT_EQ(t.elapsed(), 0s);
  });
  EXPECT_FALSE(e);
}

// Whoever hears of a death by a call that it ended asks for the next incarnation at once.
COPPICE_TEST(Restarts, WaitUpDoesNotGiveOneWhoseDeathIsStillToBeTold) {
  auto e = co_await play(one, [&](troupe& crew) -> task<> {
    place& a = crew.add("a");
    crew.ending = &a;
    crew.start_takes = 1s;
    auto telling = [](troupe* of) -> task<> {
      co_await sleep_for(1s);
      of->dies("a");
      of->ending = nullptr;
    };
    auto inside = [&](nursery& n) -> task<> {
      n.start_soon(telling, &crew);
      EXPECT_EQ(co_await crew.tested.wait_up("a", 5s), &a);
    };
    co_await open_nursery(inside);
    EXPECT_EQ(t.elapsed(), 2s);
  });
  EXPECT_FALSE(e);
}

COPPICE_TEST(Restarts, WaitUpWaitsWhileItIsRestarted) {
  auto e = co_await play(one, [&](troupe& crew) -> task<> {
    place& a = crew.add("a");
    crew.start_takes = 3s;
    crew.dies("a");
    EXPECT_EQ(co_await crew.tested.wait_up("a", 5s), &a);
    EXPECT_EQ(t.elapsed(), 3s);
  });
  EXPECT_FALSE(e);
}

COPPICE_TEST(Restarts, WaitUpPastItsBoundSaysWhyItIsNotUp) {
  auto policy = one;
  policy.pause = {.first = 1h, .longest = 1h};
  auto e = co_await play(policy, [&](troupe& crew) -> task<> {
    crew.add("a");
    crew.dies("a");
    auto r = co_await as_result(crew.tested.wait_up("a", 2s));
    const auto* late = r.error<timeout_error>();
    EXPECT_TRUE(late);
    if (late) {
      const std::string what = late->what();
      EXPECT_NE(what.find("actor 'a' was not up within 2 s: it is being restarted after this: "),
                std::string::npos)
          << what;
      EXPECT_NE(what.find("SIGSEGV"), std::string::npos) << what;
    }
    EXPECT_EQ(t.elapsed(), 2s);
  });
  EXPECT_FALSE(e);
}

COPPICE_TEST(Restarts, WaitUpForOneThatIsOverOrWasNeverThereIsAnErrorAtOnce) {
  auto e = co_await play(one, [&](troupe& crew) -> task<> {
    crew.add("a", restart_type::temporary);
    crew.dies("a");
    auto over = co_await as_result(crew.tested.wait_up("a", 5s));
    EXPECT_TRUE(over.error<actor_died>());
    auto nobody = co_await as_result(crew.tested.wait_up("b", 5s));
    EXPECT_NE(describe_exception(nobody.exception()).find("no actor 'b' was started in this"),
              std::string::npos);
    EXPECT_EQ(t.elapsed(), 0s);
  });
  EXPECT_FALSE(e);
}

COPPICE_TEST(Restarts, WaitUpEndsWhenTheNurseryDoes) {
  auto policy = one;
  policy.pause = {.first = 1h, .longest = 1h};
  auto e = co_await play(policy, [&](troupe& crew) -> task<> {
    crew.add("a");
    crew.dies("a");
    auto closing = [](restarts* r) -> task<> {
      co_await sleep_for(1s);
      r->close();
    };
    auto inside = [&](nursery& n) -> task<> {
      n.start_soon(closing, &crew.tested);
      auto r = co_await as_result(crew.tested.wait_up("a", 10s));
      EXPECT_TRUE(r.error<actor_died>());
    };
    co_await open_nursery(inside);
    EXPECT_EQ(t.elapsed(), 1s);
  });
  EXPECT_FALSE(e);
}

}  // namespace
}  // namespace coppice::tree
