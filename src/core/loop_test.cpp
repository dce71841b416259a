// SPDX-License-Identifier: Apache-2.0
#include "core/loop.hpp"  // First: proves the header stands alone.

#include <gtest/gtest.h>
#include <unistd.h>

// tidy: allow library-home: an Asio operation for asio_op to wrap
#include <boost/asio/steady_timer.hpp>
#include <deque>
#include <functional>
#include <optional>
#include <set>

#include "base/thread.hpp"
#include "coppice/errors.hpp"
#include "coppice/event.hpp"
#include "coppice/nursery.hpp"
#include "coppice/testkit/fake_clock.hpp"
#include "coppice/time.hpp"
#include "core/one_shot.hpp"
#include "core/reactor.hpp"

namespace coppice::core {
namespace {

using namespace std::chrono_literals;
using log = std::vector<std::string>;

task<int> give(int x) {
  co_await checkpoint();
  co_return x;
}
task<> wait_until_set(event& e) { co_await e.wait(); }

TEST(Loop, RunGivesTheRootsValueOneRunAfterAnother) {
  loop l;
  EXPECT_EQ(l.run(give(1)), 1);
  EXPECT_EQ(l.run(give(2)), 2);
  EXPECT_EQ(loop::current(), nullptr);
}

// Which of ten tasks did its step when, three steps each.
log order_of_run(std::optional<std::uint64_t> seed) {
  log steps;
  loop l({.order_seed = seed});
  auto whole = [&]() -> task<> {
    co_await open_nursery([&](nursery& n) {
      for (char name = 'a'; name < 'k'; ++name) {
        auto step = [](log* into, char who) -> task<> {
          for (int i = 0; i < 3; ++i) {
            into->push_back(std::string(1, who));
            co_await checkpoint();
          }
        };
        n.start_soon(step, &steps, name);
      }
    });
  };
  l.run(whole());
  return steps;
}

TEST(Loop, ReadyTasksRunInTheOrderOfBecomingReady) {
  const log once{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"};
  const log steps = order_of_run({});
  ASSERT_EQ(steps.size(), 30U);
  for (std::size_t i = 0; i < steps.size(); ++i) EXPECT_EQ(steps[i], once[i % 10]);
}

TEST(Loop, ASeedDecidesTheOrderOfReadyTasksAndTheSameSeedGivesTheSameRun) {
  EXPECT_EQ(order_of_run(7), order_of_run(7));
  EXPECT_NE(order_of_run(7), order_of_run(8));
  EXPECT_NE(order_of_run(7), order_of_run({}));
  // Everybody's turn comes before anybody's second.
  const log steps = order_of_run(7);
  EXPECT_EQ(std::set<std::string>(steps.begin(), steps.begin() + 10).size(), 10U);
  // Written down: a seed means the same on every machine and with every compiler.
  std::string text;
  for (const auto& s : steps) text += s;
  EXPECT_EQ(text, "fgicbdjehafbgcaiehjdhgbeafdjci");
}

TEST(Loop, RunThrowsWhatTheRootThrows) {
  loop l;
  EXPECT_THROW(l.run([]() -> task<> {
    co_await checkpoint();
    throw std::runtime_error("boom");
  }()),
               std::runtime_error);
}

TEST(Loop, CancelFromAnotherThreadEndsTheRunWithItsReason) {
  loop l({.name = "main"});
  event never;
  base::os_thread other("canceller", [ref = l.ref()] { ref.cancel("SIGINT"); });
  try {
    l.run(wait_until_set(never));
    ADD_FAILURE() << "nothing was thrown";
  } catch (const cancelled& c) {
    EXPECT_EQ(c.cause(), "main: SIGINT");
  }
  other.join();
}

TEST(Loop, ACancelBeforeTheRunCancelsTheNextRun) {
  loop l({.name = "main"});
  event never;
  l.cancel("too early");
  EXPECT_THROW(l.run(wait_until_set(never)), cancelled);
  EXPECT_EQ(l.run(give(3)), 3) << "only that one";
}

TEST(Loop, PostsRunInOrderOnTheLoopsThread) {
  loop l;
  log order;
  event done;
  EXPECT_FALSE(l.on_loop_thread());
  base::os_thread other("poster", [&, ref = l.ref()] {
    for (int i = 0; i < 3; ++i) {
      ref.post([&, i] {
        EXPECT_TRUE(l.on_loop_thread());
        order.push_back(std::to_string(i));
        if (i == 2) done.set();
      });
    }
  });
  l.run(wait_until_set(done));
  other.join();
  EXPECT_EQ(order, (log{"0", "1", "2"}));
}

TEST(Loop, APostWakesALoopThatSleepsOnAFutexOrInEpoll) {
  for (const bool with_io : {false, true}) {
    loop l;
    std::optional<boost::asio::steady_timer> io;
    if (with_io) {
      io.emplace(io_context_of(l), 1h);
      io->async_wait([](auto) {});  // An operation that waits: the loop has to sleep in epoll.
    }
    event done;
    base::os_thread other("poster", [&done, ref = l.ref()] {
      // tidy: allow sleep: only a wait of the thread lets the loop fall asleep
      ::usleep(20'000);  // Long enough for the loop to fall asleep; right too if it did not.
      ref.post([&done] { done.set(); });
    });
    l.run(wait_until_set(done));
    other.join();
  }
}

TEST(Loop, AQuietPostIsTakenAtTheNextTurn) {
  testkit::fake_clock time({.autojump = true});
  loop l({.time = &time});
  log order;
  l.run([](loop& here, log& to) -> task<> {
    here.post_quiet([&to] { to.push_back("quiet"); });
    co_await sleep_for(1s);
    to.push_back("after");
  }(l, order));
  EXPECT_EQ(order, (log{"quiet", "after"}));
}

TEST(Loop, PostingToALoopThatHasEndedIsRefused) {
  auto l = std::make_unique<loop>();
  const loop_ref ref = l->ref();
  auto held = std::make_shared<int>(1);
  const std::weak_ptr<int> w = held;
  EXPECT_TRUE(ref.post([held = std::move(held)] { ADD_FAILURE() << "it ran"; }));
  l.reset();
  EXPECT_TRUE(w.expired()) << "what was posted and not run is dropped";
  EXPECT_FALSE(ref.post([] {}));
  EXPECT_FALSE(ref.cancel("x"));
}

// The posting thread never knows when the loop ends: what is accepted is run or dropped, exactly
// once.
TEST(Loop, PostsThatRaceWithTheEndAreRunOrDroppedOnce) {
  for (int round = 0; round < 50; ++round) {
    struct counted final : inbox_item {
      std::atomic<int>* ended;
      void run() override { ended->fetch_add(1); }
      void drop() noexcept override { ended->fetch_add(1); }
    };
    std::atomic<int> ended{0};
    int accepted = 0;
    std::deque<counted> items(100'000);
    auto l = std::make_unique<loop>();
    if (round % 2 == 0) io_context_of(*l);
    base::os_thread other("poster", [&, ref = l->ref()] {
      for (counted& item : items) {
        item.ended = &ended;
        if (!ref.post(item)) break;
        ++accepted;
      }
    });
    l->run([]() -> task<> { co_await sleep_for(200us); }());
    l.reset();
    other.join();
    EXPECT_EQ(ended.load(), accepted);
  }
}

TEST(Loop, TwoLoopsPassABallBothAwakeAndAsleep) {
  loop here({.name = "here"});
  loop there({.name = "there"});
  event over;
  base::os_thread other("there", [&] { there.run(wait_until_set(over)); });
  const int total = here.run([](loop& mine, loop& theirs) -> task<int> {
    int sum = 0;
    for (int i = 0; i < 1000; ++i) {
      one_shot<int> back;
      theirs.post([&mine, &back, i] { mine.post([&back, i] { back.set(i); }); });
      sum += co_await back.wait();
    }
    co_return sum;
  }(here, there));
  there.post([&over] { over.set(); });
  other.join();
  EXPECT_EQ(total, 999 * 1000 / 2);
}

TEST(Loop, WhatWasPostedDuringARunHasRunWhenItReturns) {
  loop l;
  bool ran = false;
  l.run([](loop& here, bool& b) -> task<> {
    here.post([&here, &b] { here.post([&b] { b = true; }); });
    co_return;
  }(l, ran));
  EXPECT_TRUE(ran);
}

TEST(Loop, AnExceptionOfAPostedFunctionEndsTheRun) {
  loop l;
  event never;
  l.post([] { throw std::runtime_error("in a callback"); });
  EXPECT_THROW(l.run(wait_until_set(never)), std::runtime_error);
}

TEST(Loop, TurnHooksRunOnceAfterThePresentBatch) {
  loop l;
  log order;
  struct flush final : turn_hook {
    log* to = nullptr;
    void at_turn_end() override { to->push_back("flush"); }
  };
  flush hook;
  hook.to = &order;
  l.run([](loop& here, log& to, flush& h) -> task<> {
    co_await open_nursery([&](nursery& n) {
      for (int i = 0; i < 2; ++i) {
        n.start_soon(
            [](loop& same, log& into, flush& f) -> task<> {
              into.push_back("task");
              same.at_turn_end(f);
              same.at_turn_end(f);
              co_return;
            },
            std::ref(here), std::ref(to), std::ref(h));
      }
    });
    co_await checkpoint();
    co_await checkpoint();
    here.at_turn_end(h);  // Once per request.
    co_await checkpoint();
    to.push_back("end");
    here.at_turn_end([&to] { to.push_back("function"); });
  }(l, order, hook));
  EXPECT_EQ(order, (log{"task", "task", "flush", "flush", "end", "function"}));
}

TEST(Loop, SleepsInRealTimeAndWakesByItsTimers) {
  loop l;
  const auto began = std::chrono::steady_clock::now();
  l.run([]() -> task<> { co_await sleep_for(5ms); }());
  EXPECT_GE(std::chrono::steady_clock::now() - began, 5ms);
}

TEST(Loop, OutsideWorkHoldsVirtualTimeStill) {
  testkit::fake_clock time({.autojump = true});
  loop l({.time = &time});
  one_shot<int> reply;
  const time_point began = time.now();
  base::os_thread other;
  const int got = l.run([](loop& here, one_shot<int>& slot, base::os_thread& thread) -> task<int> {
    const loop::outside_work expected(here);
    thread = base::os_thread("replier", [ref = here.ref(), &slot] {
      // tidy: allow sleep: only a wait of the thread lets the loop fall asleep
      ::usleep(20'000);
      ref.post([&slot] { slot.set(7); });
    });
    co_return co_await fail_after(1s, slot.wait());
  }(l, reply, other));
  other.join();
  EXPECT_EQ(got, 7);
  EXPECT_EQ(time.now(), began);
}

TEST(Loop, DescribesItsTaskTree) {
  testkit::fake_clock time({.autojump = true});
  loop l({.name = "main", .time = &time});
  std::string tree;
  l.run([](loop& here, std::string& to) -> task<> {
    event ready("ready");
    auto finished = co_await move_on_after(5s, [&](cancel_scope&) -> task<> {
      co_await open_nursery("workers", [&](nursery& n) -> task<> {
        n.start_soon("reader", wait_until_set, std::ref(ready));
        n.start_soon("sleeper", []() -> task<> { co_await sleep_for(1h); });
        co_await sleep_for(1s);
        base::tree_writer out;
        here.describe(out);
        to = out.text();
        n.cancel();
      });
    });
    EXPECT_TRUE(finished);
  }(l, tree));
  EXPECT_EQ(tree,
            "loop 'main', 2 timers\n"
            "  task 'main': running, deadline in 4s\n"
            "    nursery 'workers', 2 tasks\n"
            "      task 'reader': waits for event 'ready', deadline in 4s\n"
            "      task 'sleeper': waits for time: 59.98min left, deadline in 4s\n");
}

TEST(LoopDeath, ABrokenInvariantPrintsTheTaskTree) {
  loop l({.name = "main"});
  EXPECT_DEATH(l.run([]() -> task<> {
    co_await checkpoint();
    detail::check(false, "what must hold");
  }()),
               "what must hold.*\n.*loop 'main'.*\n.*task 'main': running");
}

TEST(LoopDeath, RunInsideARunAborts) {
  loop outer;
  EXPECT_DEATH(outer.run([]() -> task<> {
    loop inner;
    inner.run(give(1));
    co_return;
  }()),
               "run\\(\\) inside a running loop would block it");
}

TEST(LoopDeath, SettingAnEventFromAnotherThreadAborts) {
  EXPECT_DEATH(
      {
        loop l;
        event e;
        l.post([&e] { base::os_thread("wrong", [&e] { e.set(); }).join(); });
        l.run(wait_until_set(e));
      },
      "on that loop's thread only");
}

TEST(Loop, APostThatPostsItselfAgainAndAgainStarvesNoTask) {
  loop l;
  bool over = false;
  int posts = 0;
  std::function<void()> again = [&] {
    ++posts;
    if (!over) l.post([&] { again(); });
  };
  l.post([&] { again(); });
  l.run([](bool& done) -> task<> {
    for (int i = 0; i < 20; ++i) co_await checkpoint();
    done = true;
  }(over));
  EXPECT_GE(posts, 19);
}

}  // namespace
}  // namespace coppice::core
