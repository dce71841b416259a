// SPDX-License-Identifier: Apache-2.0
#include "coppice/to_thread.hpp"  // First: proves the header stands alone.

#include <gtest/gtest.h>
#include <pthread.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "coppice/errors.hpp"
#include "coppice/event.hpp"
#include "coppice/from_thread.hpp"
#include "coppice/introspect.hpp"
#include "coppice/nursery.hpp"
#include "coppice/outcome.hpp"
#include "coppice/testkit/async_test.hpp"
#include "coppice/testkit/order.hpp"
#include "coppice/text.hpp"
#include "coppice/time.hpp"
#include "core/loop.hpp"
#include "core/thread_for_test.hpp"

namespace coppice {
namespace {

using namespace std::chrono_literals;

pid_t thread_id() { return ::gettid(); }
int doubled(int x) { return 2 * x; }

COPPICE_TEST(ToThread, RunsTheFunctionOnAnotherThreadAndGivesItsValue) {
  EXPECT_NE(co_await to_thread<on_cancel::wait>(thread_id), ::gettid());
  EXPECT_EQ(co_await to_thread<on_cancel::wait>(doubled, 21), 42);
  EXPECT_EQ(co_await to_thread<on_cancel::abandon>(doubled, 4), 8);
  int x = 1;
  co_await to_thread<on_cancel::wait>([&] { x = 2; });
  EXPECT_EQ(x, 2);
}

std::unique_ptr<int> one_more(std::unique_ptr<int> of) {
  ++*of;
  return of;
}

COPPICE_TEST(ToThread, ArgumentsAndValuesMayBeMoveOnly) {
  auto value = co_await to_thread<on_cancel::abandon>(one_more, std::make_unique<int>(1));
  EXPECT_EQ(*value, 2);
}

std::size_t length(std::string_view text) { return text.size(); }
void add_to(std::vector<int>& v, int x) { v.push_back(x); }

COPPICE_TEST(ToThread, ArgumentsAreOwnedByTheWorkAndStdRefShares) {
  EXPECT_EQ(co_await to_thread<on_cancel::abandon>(length, std::string(100, 'x')), 100u);
  std::vector<int> v;
  co_await to_thread<on_cancel::wait>(add_to, std::ref(v), 7);
  EXPECT_EQ(v, std::vector<int>{7});
}

struct odd_error : error {
  using error::error;
};
void throws_odd() { throw odd_error("odd"); }

COPPICE_TEST(ToThread, WhatTheWorkThrowsIsThrownHere) {
  EXPECT_THROW(co_await to_thread<on_cancel::wait>(throws_odd), odd_error);
  EXPECT_THROW(co_await to_thread<on_cancel::abandon>(throws_odd), odd_error);
}

COPPICE_TEST(ToThread, TheLoopGoesOnMeanwhile) {
  auto g = std::make_shared<gate>();
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon([](gate_ptr in) -> task<> { co_await to_thread<on_cancel::wait>(pass, in); }, g);
    co_await testkit::wait_all_blocked();
    wait_until([&] { return g->entered.load(); });
    co_await checkpoint();
    g->let_go();
  });
}

std::string name_of_thread() {
  char name[16] = {};
  ::pthread_getname_np(::pthread_self(), name, sizeof name);
  return name;
}

COPPICE_TEST(ToThread, ThreadsAreNamedAfterTheirWorkIfThatHasAName) {
  EXPECT_EQ(co_await to_thread<on_cancel::wait>(name_of_thread), "coppice-work");
  EXPECT_EQ(co_await to_thread<on_cancel::wait>({.name = "pack"}, name_of_thread), "work/pack");
  EXPECT_EQ(co_await to_thread<on_cancel::wait>(name_of_thread), "coppice-work");
}

COPPICE_TEST(ToThread, AThreadIsUsedAgain) {
  const pid_t first = co_await to_thread<on_cancel::wait>(thread_id);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(co_await to_thread<on_cancel::wait>(thread_id), first);
}

// --- cancellation

COPPICE_TEST(ToThread, CancelledBeforeItBeginsTheFunctionIsNeverCalled) {
  bool called = false;
  bool finished = co_await move_on_after(1h, [&](cancel_scope& scope) -> task<> {
    scope.cancel();
    co_await to_thread<on_cancel::wait>([&] { called = true; });
  });
  EXPECT_FALSE(finished);
  capacity_limiter none(0, "none");
  finished = co_await move_on_after(
      1s, to_thread<on_cancel::wait>({.limiter = &none}, [&] { called = true; }));
  EXPECT_FALSE(finished) << "it waits for a token, which is a wait as any other";
  EXPECT_FALSE(called);
}

COPPICE_TEST(ToThread, WaitIsNotEndedByACancellationAndItsValueIsNotLost) {
  auto g = std::make_shared<gate>();
  int value = 0;
  bool after = false;
  auto work = [&]() -> task<> {
    value = co_await to_thread<on_cancel::wait>([&] {
      g->enter();
      return 3;
    });
    co_await checkpoint();
    after = true;
  };
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon([](auto* w) -> task<> { co_await (*w)(); }, &work);
    co_await testkit::wait_all_blocked();
    wait_until([&] { return g->entered.load(); });
    n.cancel("enough");
    for (int i = 0; i < 5; ++i) {
      EXPECT_THROW(co_await checkpoint(), cancelled);
      EXPECT_EQ(value, 0);
    }
    g->let_go();
  });
  EXPECT_EQ(value, 3);
  EXPECT_FALSE(after) << "the next checkpoint throws";
}

COPPICE_TEST(ToThread, WaitIsEndedByWorkThatAsks) {
  std::atomic<bool> began{false};
  auto work = [&]() -> task<> {
    co_await to_thread<on_cancel::wait>([&] {
      began = true;
      for (;;) from_thread::check_cancelled();
    });
  };
  bool finished = co_await move_on_after(1h, [&](cancel_scope& scope) -> task<> {
    co_await open_nursery([&](nursery& n) -> task<> {
      n.start_soon([](auto* w) -> task<> { co_await (*w)(); }, &work);
      co_await testkit::wait_all_blocked();
      wait_until([&] { return began.load(); });
      scope.cancel("changed my mind");
    });
  });
  EXPECT_FALSE(finished);
}

/// Waits in abandoned work, then ends it, and waits until the loop has it back.
task<> end_abandoned(gate_ptr g) {
  g->let_go();
  while (!this_loop().snapshot().quarantine.empty()) co_await checkpoint();
}

/// A call that is cancelled once its work has begun.
task<> give_up(gate_ptr g, std::string name = "stuck") {
  bool finished = co_await move_on_after(1h, [&](cancel_scope& scope) -> task<> {
    co_await open_nursery([&](nursery& n) -> task<> {
      n.start_soon(
          "caller",
          [](gate_ptr in, std::string called) -> task<> {
            co_await to_thread<on_cancel::abandon>({.name = called}, pass, in);
          },
          g, name);
      co_await testkit::wait_all_blocked();
      wait_until([&] { return g->entered.load(); });
      scope.cancel("enough");
    });
  });
  EXPECT_FALSE(finished);
}

COPPICE_TEST(ToThread, AbandonEndsTheCallAtOnceAndTheWorkGoesOnInQuarantine) {
  auto g = std::make_shared<gate>();
  co_await give_up(g);
  EXPECT_EQ(this_loop().snapshot().quarantine.size(), 1u);
  co_await end_abandoned(g);
  EXPECT_EQ(g.use_count(), 1) << "what the work owned has ended";
}

COPPICE_TEST(ToThread, QuarantineIsShownByNameTaskAndSinceWhenAsTextAndJson) {
  auto g = std::make_shared<gate>();
  co_await give_up(g);
  co_await sleep_for(90s);
  const task_tree tree = this_loop().snapshot();
  EXPECT_NE(tree.to_text().find(
                "  quarantine: thread work 'stuck', abandoned by task 'caller' 1.5min ago\n"),
            std::string::npos)
      << tree.to_text();
  EXPECT_NE(tree.to_json().find(
                R"_("quarantine":[{"work":"stuck","task":"'caller'","since_seconds":90.0)_"),
            std::string::npos)
      << tree.to_json();
  base::tree_writer out;
  core::loop::current()->describe(out);
  EXPECT_NE(out.text().find("quarantine: thread work 'stuck'"), std::string::npos) << out.text();
  co_await end_abandoned(g);
}

struct counted {
  explicit counted(gate_ptr g) : in(std::move(g)), made_on(::gettid()) {}
  counted(counted&&) = default;
  ~counted() {
    if (!in) return;
    EXPECT_EQ(::gettid(), made_on);
    ++in->ended;
  }
  gate_ptr in;
  pid_t made_on;
};
counted makes(const gate_ptr& g) {
  g->enter();
  return counted(g);
}
void enters_and_fails(const gate_ptr& g) {
  g->enter();
  throw odd_error("nobody hears this");
}

COPPICE_TEST(ToThread, WhatAbandonedWorkReturnsIsDestroyedOnItsThreadAndWhatItThrowsIsDropped) {
  auto g = std::make_shared<gate>();
  auto h = std::make_shared<gate>();
  bool finished = co_await move_on_after(1h, [&](cancel_scope& scope) -> task<> {
    co_await open_nursery([&](nursery& n) -> task<> {
      n.start_soon([](gate_ptr in) -> task<> { co_await to_thread<on_cancel::abandon>(makes, in); },
                   g);
      n.start_soon(
          [](gate_ptr in) -> task<> {
            co_await to_thread<on_cancel::abandon>(enters_and_fails, in);
          },
          h);
      co_await testkit::wait_all_blocked();
      wait_until([&] { return g->entered && h->entered; });
      scope.cancel();
    });
  });
  EXPECT_FALSE(finished);
  EXPECT_EQ(g->ended, 0);
  h->let_go();
  co_await end_abandoned(g);
  EXPECT_EQ(g->ended, 1);
}

// --- limits

COPPICE_TEST(ToThread, ATokenIsHeldWhileTheThreadIsBusyByAbandonedWorkToo) {
  capacity_limiter one(1, "disk");
  co_await to_thread<on_cancel::wait>({.limiter = &one}, [] {});
  EXPECT_EQ(one.borrowed_tokens(), 0u);
  EXPECT_EQ(thread_limiter().total_tokens(), 40u);
  auto g = std::make_shared<gate>();
  thread_limiter().set_total_tokens(1);
  co_await give_up(g);
  EXPECT_EQ(thread_limiter().borrowed_tokens(), 1u);
  EXPECT_NE(thread_limiter().describe().find("(stuck)"), std::string::npos)
      << thread_limiter().describe();
  EXPECT_FALSE(co_await move_on_after(1s, to_thread<on_cancel::wait>([] {})));
  co_await end_abandoned(g);
  EXPECT_EQ(thread_limiter().borrowed_tokens(), 0u);
  EXPECT_TRUE(co_await move_on_after(1s, to_thread<on_cancel::wait>([] {})));
}

COPPICE_TEST(ToThread, TheLimiterMayEndBeforeAbandonedWorkReturns) {
  auto g = std::make_shared<gate>();
  {
    capacity_limiter short_lived(1);
    bool finished = co_await move_on_after(1h, [&](cancel_scope& scope) -> task<> {
      co_await open_nursery([&](nursery& n) -> task<> {
        n.start_soon(
            [](capacity_limiter& l, gate_ptr in) -> task<> {
              co_await to_thread<on_cancel::abandon>({.limiter = &l}, pass, in);
            },
            std::ref(short_lived), g);
        co_await testkit::wait_all_blocked();
        wait_until([&] { return g->entered.load(); });
        scope.cancel();
      });
    });
    EXPECT_FALSE(finished);
    EXPECT_EQ(short_lived.borrowed_tokens(), 1u);
  }
  co_await end_abandoned(g);
}

TEST(ToThread, ThreadLimiterIsTheLoopsOwnAndThrowsOutsideOfOne) {
  EXPECT_THROW(thread_limiter(), error);
}

// --- the loop

TEST(ToThread, TheTextOfOptionsIsBorrowedSoATemporaryStringIsRefused) {
  const std::string named = "pack";
  EXPECT_EQ(text(named).view().data(), named.data());
  EXPECT_TRUE(text().empty());
  static_assert(!std::is_constructible_v<text, std::string>);
  static_assert(std::is_trivially_destructible_v<text>);
}

COPPICE_TEST(ToThread, ADumpShowsWhatIsWaitedFor) {
  auto g = std::make_shared<gate>();
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon(
        "caller",
        [](gate_ptr in) -> task<> {
          co_await to_thread<on_cancel::wait>({.name = "pack"}, pass, in);
        },
        g);
    co_await testkit::wait_all_blocked();
    EXPECT_EQ(this_loop().snapshot().tasks.at(1).waits_for, "thread work 'pack'");
    g->let_go();
  });
  auto unnamed = [] { return this_loop().snapshot().tasks.at(0).waits_for; };
  const std::string waits =
      co_await to_thread<on_cancel::wait>([&] { return from_thread::run_sync(unnamed); });
  EXPECT_EQ(waits, "") << "it runs, serving its thread";
}

COPPICE_TEST(ToThread, WhileWorkIsAwaitedVirtualTimeStandsStillAndThatIsNoDeadlock) {
  bool late = false;
  auto timer = [&]() -> task<> {
    co_await sleep_for(1s);
    late = true;
  };
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon([](auto* f) -> task<> { co_await (*f)(); }, &timer);
    co_await to_thread<on_cancel::wait>([&] {
      for (int i = 0; i < 1000; ++i) ::sched_yield();
    });
    EXPECT_FALSE(late);
    EXPECT_EQ(t.elapsed(), 0s);
  });
  EXPECT_EQ(t.elapsed(), 1s);
}

TEST(ToThread, AtTheEndOfARunNoThreadIsLeft) {
  const auto before = threads_of_this_process();
  core::loop loop;
  for (int run = 0; run < 2; ++run) {
    auto main = []() -> task<> {
      co_await open_nursery([](nursery& n) {
        for (int i = 0; i < 10; ++i)
          n.start_soon([](int x) -> task<> { co_await to_thread<on_cancel::wait>(doubled, x); }, i);
      });
    };
    loop.run(main());
    wait_until([&] { return threads_of_this_process() == before; });
  }
}

TEST(ToThread, ALoopMayEndBeforeItsAbandonedWorkDoes) {
  const auto before = threads_of_this_process();
  auto g = std::make_shared<gate>();
  auto pool = std::make_shared<base::worker_pool>("coppice-work");
  {
    core::loop loop({.name = "short", .threads = pool});
    loop.run(give_up(g));
  }
  ASSERT_EQ(pool->quarantined().size(), 1u);
  EXPECT_EQ(pool->quarantined()[0].what,
            "thread work 'stuck', abandoned by task 'caller' of loop 'short'");
  g->let_go();
  wait_until([&] { return pool->quarantined().empty(); });
  pool->close();
  wait_until([&] { return threads_of_this_process() == before; });
  wait_until([&] { return g.use_count() == 1; });
}

TEST(ToThread, LoopsWithThreadsOfTheirOwnLeaveThemOnlyInQuarantine) {
  const auto before = threads_of_this_process();
  auto g = std::make_shared<gate>();
  {
    core::loop loop;
    loop.run(give_up(g));
    EXPECT_EQ(loop.quarantine().size(), 1u);
  }
  EXPECT_EQ(threads_of_this_process(), before + 1);
  g->let_go();
  wait_until([&] { return threads_of_this_process() == before; });
}

TEST(ToThread, NoThreadToBeHadIsAnErrorThatSaysWhatToDo) {
  auto closed = std::make_shared<base::worker_pool>("coppice-work");
  closed->close();
  core::loop loop({.threads = closed});
  auto main = []() -> task<std::string> {
    auto how = co_await as_result(to_thread<on_cancel::wait>({.name = "pack"}, doubled, 1));
    EXPECT_EQ(thread_limiter().borrowed_tokens(), 0u);
    co_return describe_exception(how.exception());
  };
  const std::string what = loop.run(main());
  EXPECT_NE(what.find("thread work 'pack' has no thread to run on"), std::string::npos) << what;
  EXPECT_NE(what.find("lend fewer tokens: limiter 'threads', 1 of 40"), std::string::npos) << what;
}

}  // namespace
}  // namespace coppice
