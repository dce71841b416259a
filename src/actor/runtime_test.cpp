// SPDX-License-Identifier: Apache-2.0
#include "coppice/runtime.hpp"  // First: proves the header stands alone.

#include <gtest/gtest.h>
#include <sched.h>

#include <atomic>
#include <memory>

#include "base/thread.hpp"
#include "coppice/to_thread.hpp"

namespace coppice {
namespace {

using namespace std::chrono_literals;

std::int64_t twice(std::int64_t x) { return 2 * x; }
std::int64_t fail(std::string why) { throw std::domain_error(why); }
task<std::int64_t> sleeping(std::int64_t ms) {
  co_await sleep_for(std::chrono::milliseconds(ms));
  co_return ms;
}
std::string whoami(actor& self) { return std::string(self.name()); }
inline constexpr endpoint twice_e{"rt:twice", twice, "x"};
inline constexpr endpoint fail_e{"rt:fail", fail, "why"};
inline constexpr endpoint sleeping_e{"rt:sleeping", sleeping, "ms"};
inline constexpr endpoint whoami_e{"rt:whoami", whoami};

main_options options() {
  main_options o;
  o.endpoints = {twice_e, fail_e, sleeping_e, whoami_e};
  o.handled = signals::none;
  return o;
}

TEST(Runtime, BlockingCallsFromAThreadThatIsNoLoop) {
  runtime rt(options());
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
  runtime rt(options());
  auto p = rt.start_actor("worker", {.backend = spawn::thread});
  EXPECT_THROW(p.run(fail_e, "no"), remote_actor_error);
  EXPECT_EQ(p.run(twice_e, 1), 2);
}

TEST(Runtime, ACallWithADeadlineIsCancelledAtIt) {
  runtime rt(options());
  auto p = rt.start_actor("worker", {.backend = spawn::thread});
  EXPECT_THROW(rt.call<std::int64_t>(20ms, p, "rt:sleeping", kw("ms", 100'000)), timeout_error);
  EXPECT_EQ(rt.call<std::int64_t>(10s, p, "rt:twice", kw("x", 3)), 6);
}

TEST(Runtime, RunsAWholeScopeAndGivesItsValue) {
  runtime rt(options());
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
  main_options o = options();
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
  runtime rt(options());
  EXPECT_THROW(rt.start_actor("x", {.backend = spawn::key("no_such")}), backend_unavailable);
  EXPECT_THROW(rt.start_actor("x", {.backend = spawn::process}), backend_unavailable)
      << "this program does not reach run_main()";
}

TEST(Runtime, OneAfterAnotherButNeverTwoAtOnce) {
  for (int i = 0; i < 3; ++i) {
    runtime rt(options());
    EXPECT_THROW(runtime second{options()}, error);
    EXPECT_EQ(rt.start_actor("w", {.backend = spawn::thread}).run(twice_e, i), 2 * i);
  }
}

TEST(Runtime, StopIsIdempotentAndCallsAfterItThrow) {
  runtime rt(options());
  auto p = rt.start_actor("worker", {.backend = spawn::thread});
  EXPECT_TRUE(rt.stop());
  EXPECT_TRUE(rt.stop());
  EXPECT_EQ(rt.quarantined(), 0u);
  EXPECT_THROW(p.run(twice_e, 1), error);
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
  runtime rt(options());
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
    runtime rt(options());
    abandon_work(rt, open);
    EXPECT_FALSE(rt.stop());
    EXPECT_FALSE(rt.stop()) << "what the first call said";
    EXPECT_EQ(rt.quarantined(), 1u);
    *open = true;
    open->notify_all();
    while (rt.quarantined() != 0) ::sched_yield();
  }
  runtime next(options());
  EXPECT_EQ(next.quarantined(), 0u);
}

TEST(Runtime, CancelActorReportsHowItEnded) {
  runtime rt(options());
  auto p = rt.start_actor("worker", {.backend = spawn::thread});
  EXPECT_EQ(p.cancel_actor().rung, rung::asked);
  EXPECT_THROW(p.run(twice_e, 1), actor_died);
}

TEST(RuntimeDeathTest, ABlockingCallOnALoopAborts) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        runtime rt(options());
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
  EXPECT_EQ(run_main(1, argv, seven, options()), 7);
  EXPECT_EQ(run_main(1, argv, fails, options()), 1);
}

}  // namespace
}  // namespace coppice
