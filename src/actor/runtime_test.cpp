// SPDX-License-Identifier: Apache-2.0
#include "coppice/runtime.hpp"  // First: proves the header stands alone.

#include <gtest/gtest.h>
#include <pthread.h>
#include <sched.h>

#include <csignal>

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/thread.hpp"
#include "coppice/pending.hpp"
#include "coppice/to_thread.hpp"

namespace coppice {
struct refused : error {
  using error::error;
};
template <>
struct wire_name<refused> {
  static constexpr std::string_view value = "Refused";
};

namespace {

using namespace std::chrono_literals;

std::int64_t twice(std::int64_t x) { return 2 * x; }
std::int64_t fail_with(std::string why) { throw std::domain_error(why); }
task<std::int64_t> sleeping(std::int64_t ms) {
  co_await sleep_for(std::chrono::milliseconds(ms));
  co_return ms;
}
std::atomic<bool> let_go{false};
void blocks() { let_go.wait(false); }
void refuse() { throw refused("no credit"); }
std::string own_name(actor& self) { return std::string(self.name()); }
inline constexpr endpoint twice_e{"rt:twice", twice, "x"};
inline constexpr endpoint refuses_e{"rt:fail", fail_with, "why"};
inline constexpr endpoint sleeping_e{"rt:sleeping", sleeping, "ms"};
inline constexpr endpoint blocks_e{"rt:blocks", blocks};
inline constexpr endpoint refuse_e{"rt:refuse", refuse};
inline constexpr endpoint own_name_e{"rt:whoami", own_name};

main_options runtime_options() {
  main_options o;
  o.endpoints = {twice_e, refuses_e, sleeping_e, blocks_e, refuse_e, own_name_e};
  o.handled = signals::none;
  o.stalls = {.after = 0s};
  return o;
}

TEST(Runtime, BlockingCallsFromAThreadThatIsNoLoop) {
  runtime rt(runtime_options());
  auto p = rt.start_actor("worker", {.backend = spawn::thread});
  EXPECT_EQ(p.run(twice_e, 21), 42);
  EXPECT_EQ(p.run<std::int64_t>("rt:twice", kw("x", 4)), 8);
  EXPECT_EQ(p.run<std::string>("rt:whoami"), "worker");
  std::int64_t elsewhere = 0;
  base::os_thread thread("elsewhere", [&] { elsewhere = p.run(twice_e, 5); });
  thread.join();
  EXPECT_EQ(elsewhere, 10);
}

TEST(Runtime, ErrorsOfCallsAreThrownAndTheActorGoesOn) {
  runtime rt(runtime_options());
  auto p = rt.start_actor("worker", {.backend = spawn::thread});
  EXPECT_THROW(p.run(refuses_e, "no"), remote_actor_error);
  EXPECT_EQ(p.run(twice_e, 1), 2);
}

TEST(Runtime, AnErrorOfTheProgramsOwnThatIsListedTravelsUnderItsName) {
  main_options o = runtime_options();
  o.errors = {error_type<refused>};
  runtime rt(std::move(o));
  auto p = rt.start_actor("worker", {.backend = spawn::thread});
  try {
    p.run(refuse_e);
    ADD_FAILURE() << "it throws";
  } catch (const remote_actor_error& e) {
    EXPECT_EQ(e.type(), "Refused");
    EXPECT_TRUE(e.is<refused>());
    const std::vector<error_kind> mine{error_type<refused>};
    EXPECT_THROW(std::rethrow_exception(e.unwrap(mine)), refused);
  }
}

TEST(Runtime, ACallWithADeadlineIsCancelledAtIt) {
  runtime rt(runtime_options());
  auto p = rt.start_actor("worker", {.backend = spawn::thread});
  EXPECT_THROW(rt.call<std::int64_t>(20ms, p, "rt:sleeping", kw("ms", 100'000)), timeout_error);
  EXPECT_EQ(rt.call<std::int64_t>(10s, p, "rt:twice", kw("x", 3)), 6);
}

TEST(Runtime, RunsAWholeScopeAndGivesItsValue) {
  runtime rt(runtime_options());
  auto sum = rt.run([](actor& self) -> task<std::int64_t> {
    auto body = [](actor_nursery& an) -> task<std::int64_t> {
      portal a = co_await an.start_actor("a", {.backend = spawn::thread});
      portal b = co_await an.start_actor("b", {.backend = spawn::thread});
      co_return co_await a.run(twice_e, 1) + co_await b.run(twice_e, 2);
    };
    co_return co_await open_nursery(self, body);
  });
  EXPECT_EQ(sum, 6);
}

TEST(Runtime, AnActorsTaskThatKeepsItsLoopIsReported) {
  std::atomic<int> reports{0};
  std::string who;
  main_options o = runtime_options();
  o.stalls = {.after = 20ms, .handler = [&](const stall_report& report) {
                if (reports == 0) who = report.loop + ": " + report.task;
                ++reports;
                reports.notify_all();
              }};
  runtime rt(std::move(o));
  rt.run([&](actor&) -> task<> {
    reports.wait(0);
    co_return;
  });
  EXPECT_TRUE(rt.stop());
  EXPECT_EQ(who.substr(0, 6), "root: ") << who;
}

TEST(Runtime, AStartThatIsRefusedSaysWhy) {
  runtime rt(runtime_options());
  EXPECT_THROW(rt.start_actor("x", {.backend = spawn::key("no_such")}), backend_unavailable);
  EXPECT_THROW(rt.start_actor("x", {.backend = spawn::process}), backend_unavailable)
      << "this program does not reach run_main()";
}

TEST(Runtime, OneAfterAnotherButNeverTwoAtOnce) {
  for (int i = 0; i < 3; ++i) {
    runtime rt(runtime_options());
    EXPECT_THROW(runtime second{runtime_options()}, error);
    EXPECT_EQ(rt.start_actor("w", {.backend = spawn::thread}).run(twice_e, i), 2 * i);
  }
}

TEST(Runtime, StopIsIdempotentAndCallsAfterItThrow) {
  runtime rt(runtime_options());
  auto p = rt.start_actor("worker", {.backend = spawn::thread});
  EXPECT_TRUE(rt.stop());
  EXPECT_TRUE(rt.stop());
  EXPECT_EQ(rt.quarantined(), 0u);
  EXPECT_THROW(p.run(twice_e, 1), error);
}

// --- calls with a deadline

TEST(Runtime, ACallWithADeadlineTakesEndpointsToo) {
  runtime rt(runtime_options());
  auto p = rt.start_actor("worker", {.backend = spawn::thread});
  EXPECT_EQ(rt.call(10s, p, twice_e, 3), 6);
  EXPECT_THROW(rt.call(20ms, p, sleeping_e, 100'000), timeout_error);
  EXPECT_THROW(rt.call(10s, p, refuses_e, "no"), remote_actor_error);
}

TEST(Runtime, AnActorsFirstCallIsAnsweredWhenItHasStarted) {
  runtime rt(runtime_options());
  const actor_options how{.backend = spawn::thread};
  EXPECT_NO_THROW(rt.start_actor("good", how, init(twice_e, 1)).cancel_actor());
  EXPECT_THROW(rt.start_actor("bad", how, init(refuses_e, "no")), remote_actor_error);
}

TEST(Runtime, ACallOfAStuckCalleeEndsAtItsDeadlineWithTimeoutError) {
  runtime rt(runtime_options());
  auto p = rt.start_actor("worker", {.backend = spawn::thread});
  let_go = false;
  const auto began = std::chrono::steady_clock::now();
  EXPECT_THROW(rt.call(20ms, p, blocks_e), timeout_error);
  EXPECT_LT(std::chrono::steady_clock::now() - began, 10s);
  let_go = true;
  let_go.notify_all();
}

TEST(Runtime, AnActorThatIsGivenUpIsToldOnceAndOnceMoreWhenItComesBack) {
  std::mutex mutex;
  std::vector<std::string> told;
  main_options options = runtime_options();
  options.on_hard_stop = [&](const actor_exit& one) {
    std::lock_guard lock(mutex);
    told.push_back(one.actor.name + " " + to_string(one.report.rung));
  };
  runtime rt(options);
  rt.start_actor("good", {.backend = spawn::thread}).cancel_actor();
  auto p = rt.start_actor(
      "wedged", {.backend = spawn::thread, .stop = {.ask = 20ms, .unseen = 20ms, .total = 50ms}});
  let_go = false;
  EXPECT_THROW(rt.call(20ms, p, blocks_e), timeout_error);
  EXPECT_EQ(p.cancel_actor().rung, rung::abandoned);
  let_go = true;
  let_go.notify_all();
  const auto heard_twice = [&] {
    std::lock_guard lock(mutex);
    return told.size() > 1;
  };
  while (!heard_twice()) ::sched_yield();
  std::lock_guard lock(mutex);
  EXPECT_EQ(told, (std::vector<std::string>{"wedged abandoned", "wedged reclaimed"}));
}

TEST(Runtime, ACallWhoseRootIsStuckEndsAtItsDeadlineTooAndStopIsBounded) {
  auto open = std::make_shared<std::atomic<bool>>(false);
  auto keeps = std::make_shared<std::atomic<bool>>(false);
  runtime rt(runtime_options());
  auto p = rt.start_actor("worker", {.backend = spawn::thread});
  base::os_thread culprit("culprit", [&rt, open, keeps] {
    rt.run([&](actor&) -> task<> {
      *keeps = true;
      keeps->notify_all();
      open->wait(false);
      co_return;
    });
  });
  keeps->wait(false);
  EXPECT_THROW(rt.call(20ms, p, twice_e, 1), timeout_error);
  auto begun = p.start({}, twice_e, 1);
  EXPECT_FALSE(begun.ready());
  EXPECT_FALSE(rt.stop(20ms));
  EXPECT_GE(rt.quarantined(), 1u);
  EXPECT_TRUE(begun.ready());
  EXPECT_THROW(begun.take(), error);
  EXPECT_THROW(p.run(twice_e, 1), error);
  *open = true;
  open->notify_all();
  culprit.join();  // Its call has ended: the loop goes on, though nobody waits for it.
}

// --- calls that are started

/// What a foreign loop has: a queue that can be waited for, and who put something in.
struct mailbox {
  std::atomic<int> woken{0};
  std::string thread;

  std::function<void()> wake() {
    return [this] {
      char name[16] = {};
      ::pthread_getname_np(::pthread_self(), name, sizeof name);
      thread = name;
      ++woken;
      woken.notify_all();
    };
  }
  void wait(int times) {
    for (int seen = woken; seen < times; seen = woken) woken.wait(seen);
  }
};

TEST(Runtime, AStartedCallIsDoneOnceAndWakesFromTheRootsThread) {
  mailbox mail;
  runtime rt(runtime_options());
  auto p = rt.start_actor("worker", {.backend = spawn::thread});
  auto typed = p.start({.on_done = mail.wake()}, twice_e, 21);
  mail.wait(1);
  EXPECT_TRUE(typed.ready());
  EXPECT_EQ(typed.take(), 42);
  EXPECT_FALSE(typed.ready()) << "it was taken";
  EXPECT_EQ(mail.thread, "actor/root");
  auto named = p.start<std::int64_t>({.on_done = mail.wake()}, "rt:twice", kw("x", 4));
  EXPECT_TRUE(named.wait_for(10s));
  EXPECT_EQ(named.take(), 8);
  EXPECT_TRUE(rt.stop());
  EXPECT_EQ(mail.woken, 2);
}

TEST(Runtime, AStartedCallGivesItsErrorWhenTaken) {
  runtime rt(runtime_options());
  auto p = rt.start_actor("worker", {.backend = spawn::thread});
  auto fails = p.start({}, refuses_e, "no");
  EXPECT_TRUE(fails.wait_for(10s));
  EXPECT_THROW(fails.take(), remote_actor_error);
  auto late = p.start({.within = 20ms}, sleeping_e, 100'000);
  EXPECT_TRUE(late.wait_for(10s));
  EXPECT_THROW(late.take(), timeout_error);
}

TEST(Runtime, AStartedCallThatIsNotDoneIsNotReadyAndCanBeCancelled) {
  mailbox mail;
  runtime rt(runtime_options());
  auto p = rt.start_actor("worker", {.backend = spawn::thread});
  auto c = p.start({.on_done = mail.wake()}, sleeping_e, 100'000);
  EXPECT_FALSE(c.ready());
  EXPECT_FALSE(c.wait_for(1ms));
  c.cancel();
  mail.wait(1);
  EXPECT_THROW(c.take(), error);
}

TEST(Runtime, DestroyingAStartedCallCancelsItAndItIsStillToldOf) {
  mailbox mail;
  runtime rt(runtime_options());
  auto p = rt.start_actor("worker", {.backend = spawn::thread});
  {
    auto c = p.start({.on_done = mail.wake()}, sleeping_e, 100'000);
  }
  mail.wait(1);
}

TEST(Runtime, StopEndsStartedCallsWithAnErrorBeforeItReturns) {
  mailbox mail;
  auto rt = std::make_unique<runtime>(runtime_options());
  auto p = rt->start_actor("worker", {.backend = spawn::thread});
  std::vector<pending<std::int64_t>> calls;
  for (int i = 0; i < 20; ++i)
    calls.push_back(p.start({.on_done = mail.wake()}, sleeping_e, 100'000));
  EXPECT_TRUE(rt->stop());
  EXPECT_EQ(mail.woken, 20);
  EXPECT_THROW((void)p.start({}, twice_e, 1), error);
  rt.reset();
  for (auto& c : calls) {
    ASSERT_TRUE(c.ready()) << "it may outlive the runtime";
    EXPECT_THROW(c.take(), error);
  }
}

TEST(Runtime, CallsAreStartedAndStoppedFromManyThreadsAtOnce) {
  constexpr int threads = 4, calls = 200;
  std::atomic<int> told{0}, begun{0}, done{0}, refused{0};
  runtime rt(runtime_options());
  auto p = rt.start_actor("worker", {.backend = spawn::thread});
  std::vector<base::os_thread> all;
  for (int t = 0; t < threads; ++t) {
    all.emplace_back("caller", [&, t] {
      for (int i = 0; i < calls; ++i) {
        try {
          auto c = p.start({.on_done = [&] { ++told; }}, twice_e, i);
          ++begun;
          if (i % 3 == 0) continue;  // Cancelled.
          EXPECT_TRUE(c.wait_for(30s));
          EXPECT_EQ(c.take(), 2 * i);
          ++done;
        } catch (const error&) {
          ++refused;
        }
      }
      if (t < 2) {
        EXPECT_TRUE(rt.stop());
      } else {
        EXPECT_EQ(rt.quarantined(), 0u);
      }
    });
  }
  for (auto& t : all) t.join();
  EXPECT_EQ(told, begun) << "each once";
  EXPECT_GT(done, calls / 3);
}

TEST(Runtime, OnceTheRootHasEndedCallsThrowAndSayWhy) {
  for (int round = 0; round < 2; ++round) {
    main_options o = runtime_options();
    o.handled = signals::interrupt;
    runtime rt(std::move(o));  // Of the second round: it is none the worse for the first.
    auto p = rt.start_actor("worker", {.backend = spawn::thread});
    EXPECT_EQ(p.run(twice_e, 1), 2);
    if (round == 1) break;
    auto c = p.start({}, sleeping_e, 100'000);
    ::raise(SIGINT);
    EXPECT_TRUE(c.wait_for(30s));
    EXPECT_THROW(c.take(), error);
    std::string why;
    while (why.empty()) {
      try {
        p.run(twice_e, 1);
      } catch (const error& e) {
        if (std::string(e.what()).find("root has ended") != std::string::npos) why = e.what();
      }
    }
    EXPECT_NE(why.find("SIGINT"), std::string::npos) << why;
    EXPECT_THROW(rt.start_actor("x", {.backend = spawn::thread}), error);
  }
}

/// Work that is abandoned in `rt`, and blocks until `open`.
void abandon_work(runtime& rt, std::shared_ptr<std::atomic<bool>> open) {
  auto entered = std::make_shared<std::atomic<bool>>(false);
  rt.run([&](actor&) -> task<> {
    co_await move_on_after(1h, [&](cancel_scope& scope) -> task<> {
      co_await open_nursery([&](nursery& n) -> task<> {
        n.start_soon(
            "caller",
            [](auto in, auto wait_for) -> task<> {
              co_await to_thread<on_cancel::abandon>(
                  {.name = "stuck"},
                  [](auto began, auto until) {
                    *began = true;
                    until->wait(false);
                  },
                  in, wait_for);
            },
            entered, open);
        while (!*entered) co_await checkpoint();
        scope.cancel();
      });
    });
  });
}

TEST(Runtime, AbandonedWorkIsQuarantineUntilItReturns) {
  auto open = std::make_shared<std::atomic<bool>>(false);
  runtime rt(runtime_options());
  EXPECT_EQ(rt.quarantined(), 0u);
  abandon_work(rt, open);
  EXPECT_EQ(rt.quarantined(), 1u);
  *open = true;
  open->notify_all();
  while (rt.quarantined() != 0) ::sched_yield();
  EXPECT_TRUE(rt.stop());
}

TEST(Runtime, StopIsFalseWhileAbandonedWorkGoesOnAndItsCountGoesDownWithIt) {
  auto open = std::make_shared<std::atomic<bool>>(false);
  {
    runtime rt(runtime_options());
    abandon_work(rt, open);
    EXPECT_FALSE(rt.stop());
    EXPECT_FALSE(rt.stop()) << "what the first call said";
    EXPECT_EQ(rt.quarantined(), 1u);
    *open = true;
    open->notify_all();
    while (rt.quarantined() != 0) ::sched_yield();
  }
  runtime next(runtime_options());
  EXPECT_EQ(next.quarantined(), 0u);
}

TEST(Runtime, CancelActorReportsHowItEnded) {
  runtime rt(runtime_options());
  auto p = rt.start_actor("worker", {.backend = spawn::thread});
  EXPECT_EQ(p.cancel_actor().rung, rung::asked);
  EXPECT_THROW(p.run(twice_e, 1), actor_died);
}

TEST(RuntimeDeathTest, ABlockingCallOnALoopAborts) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        runtime rt(runtime_options());
        auto p = rt.start_actor("worker", {.backend = spawn::thread});
        rt.run([&](actor&) -> task<> {
          p.run(twice_e, 1);
          co_return;
        });
      },
      "would wait for itself");
}

TEST(RunMain, GivesTheRootsStatusAndOneAfterAnError) {
  char name[] = "test";
  char* argv[] = {name, nullptr};
  auto seven = [](actor&) -> task<int> { co_return 7; };
  auto fails = [](actor&) -> task<> {
    throw std::runtime_error("boom");
    co_return;
  };
  EXPECT_EQ(run_main(1, argv, seven, runtime_options()), 7);
  EXPECT_EQ(run_main(1, argv, fails, runtime_options()), 1);
}

}  // namespace
}  // namespace coppice
