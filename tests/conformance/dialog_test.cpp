// SPDX-License-Identifier: Apache-2.0
// Contexts and streams between two actors, whatever the callee is and whatever is in between.
#include <signal.h>

#include "base/sanitizers.hpp"
#include "tests/conformance/kit.hpp"

namespace coppice::conformance {
namespace {

using namespace std::chrono_literals;

class Dialog : public testing::TestWithParam<kind> {
 protected:
  void SetUp() override { skip_unless_built(GetParam()); }
  std::string fn(const char* name) { return function(GetParam(), name); }
  template <class Body>
  int with_actor(Body body) {
    return run_tree([body](actor& self) -> task<> {
      auto inside = [&](actor_nursery& an) -> task<> {
        portal p = co_await an.start_actor("subject", options_for(GetParam()));
        co_await body(p);
      };
      co_await open_nursery(self, inside);
    });
  }
};

INSTANTIATE_TEST_SUITE_P(, Dialog, testing::ValuesIn(all_kinds()), kind_name);

TEST_P(Dialog, EachSideHearsTheOtherAndTheResultComesLast) {
  std::optional<std::int64_t> result;
  std::vector<std::int64_t> heard;
  const std::string echo = fn("echo_ctx");
  EXPECT_EQ(0, with_actor([&](portal p) -> task<> {
              auto body = [&](remote_context<numbers>& ctx, std::int64_t first) -> task<> {
                heard.push_back(first);
                auto s = ctx.open_stream();
                for (std::int64_t i = 0; i < 10; ++i) {
                  co_await s.send(i);
                  auto back = co_await s.receive();
                  heard.push_back(back.value_or(-1));
                }
              };
              result = co_await p.open_context<numbers, std::int64_t>(function_name::parse(echo),
                                                                      kw("first", 7), body);
            }));
  EXPECT_EQ(result, 10);
  EXPECT_EQ(heard, (std::vector<std::int64_t>{7, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
}

TEST_P(Dialog, ManyValuesAtOnceAllArriveInOrder) {
  constexpr std::int64_t many = 20'000;
  std::int64_t in_order = 0;
  const std::string echo = fn("echo_ctx");
  EXPECT_EQ(0, with_actor([&](portal p) -> task<> {
              auto body = [&](remote_context<numbers>& ctx, std::int64_t) -> task<> {
                auto s = ctx.open_stream();
                auto send = [](number_stream& to) -> task<> {
                  for (std::int64_t i = 0; i < many; ++i) co_await to.send(i);
                };
                auto inside = [&](nursery& n) -> task<> {
                  n.start_soon(send, std::ref(s));
                  while (in_order < many) {
                    auto v = co_await s.receive();
                    if (v != in_order) co_return;
                    ++in_order;
                  }
                };
                co_await open_nursery(inside);
              };
              co_await p.open_context<numbers>(function_name::parse(echo), kw("first", 0), body);
            }));
  EXPECT_EQ(in_order, many);
}

TEST_P(Dialog, CancelledByItsCallerItEndsAndTheActorGoesOn) {
  bool done = true, by_us = false;
  std::int64_t sum = 0;
  const std::string block = fn("block_ctx"), add = fn("add");
  EXPECT_EQ(0, with_actor([&](portal p) -> task<> {
              auto body = [&](remote_context<numbers>& ctx, std::int64_t) -> task<> {
                ctx.cancel();
                auto rest = []() -> task<> { co_await sleep_forever(); };
                auto waiting = detail::take(rest());
                auto how = co_await detail::captured<void>(std::move(waiting));
                by_us = ctx.cancel_acked() && ctx.canceller()->name == "root";
                std::rethrow_exception(how.error());
              };
              done = co_await p.open_context<numbers, void>(function_name::parse(block), body);
              sum = co_await p.run<std::int64_t>(function_name::parse(add), kw("x", 1), kw("y", 2));
            }));
  EXPECT_FALSE(done);
  EXPECT_TRUE(by_us);
  EXPECT_EQ(sum, 3);
}

TEST_P(Dialog, AnErrorOfTheBodyEndsTheCallee) {
  std::string what;
  const std::string block = fn("block_ctx");
  EXPECT_EQ(0, with_actor([&](portal p) -> task<> {
              auto body = [](remote_context<numbers>&, std::int64_t) -> task<> {
                co_await checkpoint();
                throw std::domain_error("mine");
              };
              auto r = co_await as_result(
                  p.open_context<numbers, void>(function_name::parse(block), body));
              if (auto* e = r.error<std::domain_error>()) what = e->what();
            }));
  EXPECT_EQ(what, "mine");
}

TEST_P(Dialog, AnActorThatIsCancelledSaysWhoAskedToEveryDialog) {
  std::string canceller;
  const std::string block = fn("block_ctx");
  EXPECT_EQ(0, with_actor([&](portal p) -> task<> {
              auto body = [&](remote_context<numbers>&, std::int64_t) -> task<> {
                co_await p.cancel_actor();
                co_await sleep_forever();
              };
              auto r = co_await as_result(
                  p.open_context<numbers, void>(function_name::parse(block), body));
              if (auto* e = r.error<context_cancelled>()) canceller = e->canceller()->name;
            }));
  EXPECT_EQ(canceller, "root");
}

TEST_P(Dialog, KillNineEndsEveryWaitWithATypedErrorWithinATenthOfASecond) {
  if (!GetParam().has_own_process()) return;  // A thread cannot be killed.
  const std::string echo = fn("echo_ctx"), pid = fn("pid");
  bool died = false;
  std::chrono::steady_clock::duration took{};
  EXPECT_EQ(1, with_actor([&](portal p) -> task<> {
              const auto id = co_await p.run<std::int64_t>(function_name::parse(pid));
              std::chrono::steady_clock::time_point killed;
              auto body = [&](remote_context<numbers>& ctx, std::int64_t) -> task<> {
                auto s = ctx.open_stream();
                killed = std::chrono::steady_clock::now();
                ::kill(static_cast<pid_t>(id), SIGKILL);
                (void)co_await s.receive();
              };
              auto r = co_await as_result(
                  p.open_context<numbers>(function_name::parse(echo), kw("first", 0), body));
              took = std::chrono::steady_clock::now() - killed;
              died = r.error<actor_died>() != nullptr;
            }));
  EXPECT_TRUE(died);
  EXPECT_LT(took, base::under_address_sanitizer ? 1000ms : 100ms);
}

}  // namespace
}  // namespace coppice::conformance
