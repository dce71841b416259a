// SPDX-License-Identifier: Apache-2.0
#include "coppice/one_shot_actor.hpp"  // First: proves the header stands alone.

#include <gtest/gtest.h>

#include <atomic>
#include <optional>
#include <string>

#include "coppice/actor_nursery.hpp"
#include "coppice/outcome.hpp"
#include "coppice/runtime.hpp"

namespace coppice {
namespace {

using namespace std::chrono_literals;

std::int64_t once_twice(std::int64_t n) { return 2 * n; }
std::int64_t once_refuse(std::string why) { throw std::domain_error(why); }
std::atomic<int> slow_ends{0};  // Actors on threads share it with the test.
task<std::int64_t> slowly(std::int64_t n) {
  co_await sleep_for(100ms);
  ++slow_ends;
  co_return n;
}
task<> go_on() { co_await sleep_forever(); }
inline constexpr endpoint once_twice_e{"once:twice", once_twice, "n"};
inline constexpr endpoint once_refuse_e{"once:refuse", once_refuse, "why"};
inline constexpr endpoint slowly_e{"once:slowly", slowly, "n"};
inline constexpr endpoint go_on_e{"once:go_on", go_on};
constexpr actor_options once_on_a_thread{.backend = spawn::thread};

/// Runs `body` in a nursery of its own, and gives the error that came out of it.
template <class Body>
std::exception_ptr run_block(Body body) {
  std::exception_ptr out;
  char name[] = "test";
  char* argv[] = {name, nullptr};
  main_options o;
  o.endpoints = {once_twice_e, once_refuse_e, slowly_e, go_on_e};
  o.handled = signals::none;
  auto root = [&](actor& self) -> task<> {
    auto inside = [&](actor_nursery& an) -> task<> { co_await body(an); };
    auto block = [&]() -> task<> { co_await open_nursery(self, inside); };
    auto r = co_await as_result(block());
    out = r.exception();
  };
  EXPECT_EQ(run_main(1, argv, root, std::move(o)), 0);
  return out;
}

/// Its call has ended, and so it has.
task<> until_over(actor_nursery& an, std::string name) {
  for (;;) {
    auto r = co_await as_result(an.portal(name));
    if (r.error<actor_died>()) co_return;
    co_await sleep_for(1ms);
  }
}

TEST(OneShotActor, GivesItsResultAsOftenAsItIsAskedAndEnds) {
  const auto e = run_block([](actor_nursery& an) -> task<> {
    auto work = co_await an.run_in_actor("w", once_on_a_thread, once_twice_e, 21);
    EXPECT_EQ(work.actor().id().name, "w");
    EXPECT_EQ(co_await work.wait_for_result(), 42);
    EXPECT_EQ(co_await work.wait_for_result(), 42);
    const exit_report how = co_await work.actor().cancel_actor();
    EXPECT_EQ(how.rung, rung::asked);
  });
  EXPECT_FALSE(e) << describe_exception(e);
}

TEST(OneShotActor, IsCalledByNameToo) {
  const auto e = run_block([](actor_nursery& an) -> task<> {
    auto work = co_await an.run_in_actor<int>("w", once_on_a_thread, "once:twice", kw("n", 4));
    EXPECT_EQ(co_await work.wait_for_result(), 8);
  });
  EXPECT_FALSE(e) << describe_exception(e);
}

TEST(OneShotActor, AnErrorThatNobodyTookIsTheBlocksWhenItsBodyHasEnded) {
  bool reached = false;
  const auto e = run_block([&](actor_nursery& an) -> task<> {
    co_await an.run_in_actor("w", once_on_a_thread, once_refuse_e, "no");
    co_await until_over(an, "w");
    reached = true;
  });
  EXPECT_TRUE(reached) << "until then the body might have taken it";
  EXPECT_NE(describe_exception(e).find("no"), std::string::npos) << describe_exception(e);
}

TEST(OneShotActor, AnErrorThatWasTakenIsTheTakers) {
  const auto e = run_block([](actor_nursery& an) -> task<> {
    auto work = co_await an.run_in_actor("w", once_on_a_thread, once_refuse_e, "no");
    for (int i = 0; i < 2; ++i) {
      auto r = co_await as_result(work.wait_for_result());
      EXPECT_TRUE(r.error<remote_actor_error>());
    }
  });
  EXPECT_FALSE(e) << describe_exception(e);
}

TEST(OneShotActor, ErrorsOfSeveralThatNobodyTookComeTogether) {
  const auto e = run_block([](actor_nursery& an) -> task<> {
    co_await an.run_in_actor("a", once_on_a_thread, once_refuse_e, "a");
    co_await an.run_in_actor("b", once_on_a_thread, once_refuse_e, "b");
    co_await until_over(an, "a");
    co_await until_over(an, "b");
  });
  const std::string what = describe_exception(e);
  EXPECT_NE(what.find("2 errors"), std::string::npos) << what;
}

TEST(OneShotActor, TheBlockWaitsForItsCall) {
  slow_ends = 0;
  std::optional<one_shot_actor<int>> work;
  const auto e = run_block([&](actor_nursery& an) -> task<> {
    work = co_await an.run_in_actor<int>("w", once_on_a_thread, "once:slowly", kw("n", 4));
  });
  EXPECT_FALSE(e) << describe_exception(e);
  EXPECT_EQ(slow_ends.load(), 1);
}

TEST(OneShotActor, OneThatFailsDoesNotCutTheOthersShort) {
  slow_ends = 0;
  const auto e = run_block([](actor_nursery& an) -> task<> {
    co_await an.run_in_actor("a", once_on_a_thread, slowly_e, 1);
    co_await an.run_in_actor("b", once_on_a_thread, once_refuse_e, "no");
  });
  EXPECT_TRUE(e);
  EXPECT_EQ(slow_ends.load(), 1);
}

TEST(OneShotActor, ItsResultCanBeTakenWhenItsActorEndedLongAgo) {
  const auto error = run_block([](actor_nursery& an) -> task<> {
    auto first = co_await an.run_in_actor("first", once_on_a_thread, once_twice_e, 21);
    for (std::size_t i = 0; i < actor_nursery::exits_kept_max + 2; ++i) {
      auto next = co_await an.run_in_actor("next", once_on_a_thread, once_twice_e, 1);
      co_await next.wait_for_result();
    }
    EXPECT_EQ(co_await first.wait_for_result(), 42);
  });
  EXPECT_FALSE(error);
}

TEST(OneShotActor, CancellingTheBlockCancelsItsCallQuietly) {
  const auto e = run_block([](actor_nursery& an) -> task<> {
    co_await an.run_in_actor("w", once_on_a_thread, go_on_e);
    an.cancel("enough");
  });
  EXPECT_FALSE(e) << describe_exception(e);
}

}  // namespace
}  // namespace coppice
