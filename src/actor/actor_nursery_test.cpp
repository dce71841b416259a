// SPDX-License-Identifier: Apache-2.0
#include "coppice/actor_nursery.hpp"  // First: proves the header stands alone.

#include <gtest/gtest.h>
#include <stdlib.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/sanitizers.hpp"
#include "coppice/actor.hpp"
#include "coppice/handle_errors.hpp"
#include "coppice/outcome.hpp"
#include "coppice/portal.hpp"
#include "coppice/runtime.hpp"
#include "coppice/spawn.hpp"
#include "coppice/stop.hpp"

namespace coppice {
namespace {

using namespace std::chrono_literals;

struct counter {
  std::int64_t total = 0;
  std::int64_t add(std::int64_t by) { return total += by; }
};
std::int64_t fail(std::int64_t n) { throw std::out_of_range("number " + std::to_string(n)); }
task<> forever() { co_await sleep_forever(); }
std::atomic<int> wedged{0};  // 1: in there. 2: let go.
void wedge() {
  wedged = 1;
  wedged.wait(1);
}
inline constexpr endpoint add_e{"n:add", &counter::add, "by"};
inline constexpr endpoint fail_e{"n:fail", fail, "n"};
inline constexpr endpoint forever_e{"n:forever", forever};
inline constexpr endpoint wedge_e{"n:wedge", wedge};

/// Runs a root of its own and fails the test if it throws.
template <class Root>
void run_root(Root root) {
  char name[] = "test";
  char* argv[] = {name, nullptr};
  main_options o;
  o.endpoints = {add_e, fail_e, forever_e, wedge_e};
  o.handled = signals::none;
  EXPECT_EQ(run_main(1, argv, root, std::move(o)), 0);
}
constexpr actor_options on_a_thread{.backend = spawn::thread};

TEST(ActorNursery, ActorsEndWithTheBlockWithoutBeingTold) {
  run_root([](actor& self) -> task<> {
    portal kept;
    auto body = [&](actor_nursery& an) -> task<> {
      kept = co_await an.start_actor("a", on_a_thread);
      co_await kept.run(add_e, 1);
    };
    co_await open_nursery(self, body);
    auto r = co_await as_result(kept.run(add_e, 1));
    EXPECT_TRUE(r.error<actor_died>()) << "a portal may outlive its actor";
  });
}

TEST(ActorNursery, SaysHowEachActorEndedEvenWhenTheBlockIsOver) {
  run_root([](actor& self) -> task<> {
    std::vector<actor_exit> exits;
    auto body = [&](actor_nursery& an) -> task<> {
      portal first = co_await an.start_actor("first", on_a_thread);
      co_await an.start_actor("second", on_a_thread);
      EXPECT_TRUE(an.exits().empty());
      co_await first.cancel_actor();
      co_await checkpoint();
      EXPECT_EQ(an.exits().size(), 1u);
      EXPECT_EQ(an.exits().at(0).actor.name, "first");
    };
    co_await open_nursery(self, {.exits = &exits}, body);
    EXPECT_EQ(exits.size(), 2u);
    EXPECT_EQ(exits.at(1).actor.name, "second");
    for (const actor_exit& one : exits) {
      EXPECT_EQ(one.report.rung, rung::asked) << one.actor.name;
      EXPECT_GT(one.report.took, 0s) << one.actor.name;
    }
  });
}

TEST(ActorNursery, AnotherProgramIsStartedAsTractorStartsItsOwn) {
  if (base::under_thread_sanitizer)
    GTEST_SKIP() << "thread sanitizer cannot follow clone(CLONE_VM | CLONE_VFORK)";
  char folder[] = "/tmp/cpc-XXXXXX";
  ASSERT_NE(::mkdtemp(folder), nullptr);
  const std::string program = std::string(folder) + "/program", said = program + ".said";
  std::ofstream(program) << "#!/bin/sh\necho \"$1 $2 $3 $5\" > " << said << "\nexit 3\n";
  std::filesystem::permissions(program, std::filesystem::perms::owner_all);
  run_root([&](actor& self) -> task<> {
    auto body = [&](actor_nursery& an) -> task<> {
      actor_options options;
      options.executable = program;
      auto failed = co_await as_result(an.start_actor("a", options));
      EXPECT_TRUE(failed.error<actor_start_error>());
      options.backend = spawn::thread;
      EXPECT_THROW((void)an.start_actor("b", options), backend_unavailable);
    };
    co_await open_nursery(self, body);
  });
  std::string line;
  std::getline(std::ifstream(said) >> std::ws, line);
  EXPECT_EQ(line, "-m tractor._child --uid --parent_addr");
  std::filesystem::remove_all(folder);
}

TEST(ActorNursery, EachActorHasItsOwnState) {
  run_root([](actor& self) -> task<> {
    auto body = [&](actor_nursery& an) -> task<> {
      portal a = co_await an.start_actor("a", on_a_thread);
      portal b = co_await an.start_actor("b", on_a_thread);
      co_await a.run(add_e, 5);
      EXPECT_EQ(co_await a.run(add_e, 1), 6);
      EXPECT_EQ(co_await b.run(add_e, 1), 1);
    };
    co_await open_nursery(self, body);
  });
}

TEST(ActorNursery, EveryFailureOfTheBlockComesOut) {
  run_root([](actor& self) -> task<> {
    auto body = [&](actor_nursery& an) -> task<> {
      portal a = co_await an.start_actor("a", on_a_thread);
      auto call = [](portal p, std::int64_t n) -> task<> { co_await p.run(fail_e, n); };
      an.start_soon(call, a, 1);
      an.start_soon(call, a, 2);
    };
    auto block = [&]() -> task<> { co_await open_nursery(self, body); };
    auto r = co_await as_result(block());
    auto* group = r.error<error_group>();
    EXPECT_TRUE(group);
    if (group) {
      EXPECT_EQ(group->errors().size(), 2u);
    }
  });
}

TEST(ActorNursery, CancelEndsCallsAndActors) {
  run_root([](actor& self) -> task<> {
    auto body = [&](actor_nursery& an) -> task<> {
      portal a = co_await an.start_actor("a", on_a_thread);
      auto call = [](portal p) -> task<> { co_await p.run(forever_e); };
      an.start_soon(call, a);
      co_await checkpoint();
      an.cancel("enough");
    };
    co_await open_nursery(self, body);
  });
}

TEST(ActorNursery, CancelStopsTheActorsBesideTheBody) {
  run_root([](actor& self) -> task<> {
    bool over = false;
    auto body = [&](actor_nursery& an) -> task<> {
      portal a = co_await an.start_actor("a", on_a_thread);
      an.cancel("enough");
      auto late = [&]() -> task<> {  // Shielded: only the actor's end can end this call.
        auto r = co_await as_result(a.run(forever_e));
        over = r.error<error>() != nullptr;
      };
      co_await finally(checkpoint(), {.within = 10s}, late());
    };
    co_await open_nursery(self, body);
    EXPECT_TRUE(over);
  });
}

TEST(ActorNursery, AStartThatTimesOutLeavesNothing) {
  run_root([](actor& self) -> task<> {
    auto body = [&](actor_nursery& an) -> task<> {
      // /bin/true would never connect; here: an actor whose start bound is over before it begins.
      co_await an.start_actor("late", {.backend = spawn::thread, .start_within = 0ns});
    };
    auto block = [&]() -> task<> { co_await open_nursery(self, body); };
    auto r = co_await as_result(block());
    auto* e = r.error<timeout_error>();
    EXPECT_TRUE(e);
    if (e) {
      EXPECT_NE(std::string(e->what()).find("'late'"), std::string::npos);
    }
  });
}

TEST(ActorNursery, ANameThatIsNotExposedIsRefusedByTheCallee) {
  run_root([](actor& self) -> task<> {
    auto body = [&](actor_nursery& an) -> task<> {
      portal a = co_await an.start_actor("a", on_a_thread);
      auto r = co_await as_result(a.run("nowhere:f"));
      auto* e = r.error<remote_actor_error>();
      EXPECT_TRUE(e && e->is<module_not_exposed>());
    };
    co_await open_nursery(self, body);
  });
}

TEST(ActorNursery, WhoWasAbandonedIsReclaimedOnceItsCodeHasComeBack) {
  std::vector<actor_exit> told;
  run_root([&](actor& self) -> task<> {
    auto body = [&](actor_nursery& an) -> task<> {
      constexpr actor_options impatient{.backend = spawn::thread,
                                        .stop = {.ask = 20ms, .unseen = 20ms, .total = 50ms}};
      portal p = co_await an.start_actor("wedged", impatient);
      auto call = [](portal to) -> task<> {
        const auto r = co_await as_result(to.run(wedge_e));
        EXPECT_TRUE(r.error<actor_died>());
      };
      an.start_soon("call", call, p);
      while (wedged != 1) co_await sleep_for(1ms);
      const exit_report first = co_await p.cancel_actor();
      EXPECT_EQ(first.rung, rung::abandoned);
      wedged = 2;
      wedged.notify_all();
      for (int i = 0; i < 10'000 && an.exits()[0].report.rung == rung::abandoned; ++i)
        co_await sleep_for(1ms);
      EXPECT_EQ(an.exits()[0].report.rung, rung::reclaimed);
      const auto late = co_await as_result(p.run(add_e, 1));
      const auto* died = late.error<actor_died>();
      EXPECT_TRUE(died && died->report().rung == rung::reclaimed);
    };
    co_await open_nursery(self, {.exits = &told}, body);
  });
  EXPECT_EQ(told.size(), 1u);
  EXPECT_EQ(told.at(0).report.rung, rung::reclaimed);
}

// A block that starts actors for years must not grow: 2 kB stayed of each.
TEST(ActorNursery, OfActorsThatEndedLongAgoNothingIsKept) {
  run_root([](actor& self) -> task<> {
    auto body = [&](actor_nursery& an) -> task<> {
      const std::size_t kept = actor_nursery::exits_kept_max;
      portal first, last;
      for (std::size_t i = 0; i < kept + 2; ++i) {
        const std::string name = "a" + std::to_string(i);
        portal p = co_await an.start_actor(name, on_a_thread);
        if (i == 0) first = p;
        last = p;
        co_await p.cancel_actor();
      }
      co_await checkpoint();
      EXPECT_EQ(an.exits().size(), kept);
      auto forgotten = co_await as_result(first.run(add_e, 1));
      EXPECT_TRUE(forgotten.error<actor_died>());
      EXPECT_EQ(describe_exception(forgotten.exception()),
                "coppice::actor_died: actor '(ended)' has ended: returned");
      auto known = co_await as_result(last.run(add_e, 1));
      EXPECT_TRUE(known.error<actor_died>());
      EXPECT_NE(describe_exception(known.exception()).find("stopped by rung asked"),
                std::string::npos);
      auto by_name = co_await as_result(an.portal("a0"));
      EXPECT_TRUE(by_name.error<error>() && !by_name.error<actor_died>());
      auto last_by_name = co_await as_result(an.portal("a" + std::to_string(kept + 1)));
      EXPECT_TRUE(last_by_name.error<actor_died>());
    };
    co_await open_nursery(self, body);
  });
}

TEST(SpawnKey, ParsesNamesAndAliasesAndNamesTheKnownOnes) {
  EXPECT_EQ(spawn::parse("subint"), spawn::subint);
  EXPECT_EQ(spawn::parse("trio"), spawn::process);
  try {
    (void)spawn::parse("thraed");
    FAIL() << "it is not a backend";
  } catch (const backend_unavailable& e) {
    EXPECT_NE(std::string(e.what()).find("thread"), std::string::npos);
  }
}

TEST(ActorOptions, NameListHoldsUpToSixteenBorrowedNames) {
  constexpr name_list none, two{"a", "b"};
  EXPECT_TRUE(none.empty());
  EXPECT_EQ(two.size(), 2u);
  EXPECT_EQ(*two.begin(), "a");
}

TEST(ExitReport, SaysHowInOneLine) {
  exit_report r;
  r.how = exit_report::cause::signalled;
  r.status = 9;
  EXPECT_NE(r.text().find("SIGKILL"), std::string::npos) << r.text();
  r.how = exit_report::cause::exited;
  r.status = 3;
  EXPECT_NE(r.text().find("3"), std::string::npos) << r.text();
}

}  // namespace
}  // namespace coppice
