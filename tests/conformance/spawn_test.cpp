// SPDX-License-Identifier: Apache-2.0
// The promises of a spawn backend, each once, on every backend and language that there is.
#include <unistd.h>

#include "tests/conformance/kit.hpp"

namespace coppice::conformance {
namespace {

using namespace std::chrono_literals;

class SpawnBackend : public testing::TestWithParam<kind> {
 protected:
  void SetUp() override { skip_unless_built(GetParam()); }
  std::string fn(const char* name) { return function(GetParam(), name); }
  /// Starts one actor, runs `body(portal)`, ends it.
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

INSTANTIATE_TEST_SUITE_P(, SpawnBackend, testing::ValuesIn(all_kinds()), kind_name);

TEST_P(SpawnBackend, AnActorStartsAnswersAndLeavesNothing) {
  std::int64_t sum = 0;
  const std::string name = fn("add");
  EXPECT_EQ(0, with_actor([&](portal p) -> task<> {
              sum =
                  co_await p.run<std::int64_t>(function_name::parse(name), kw("x", 40), kw("y", 2));
            }));
  EXPECT_EQ(sum, 42);
}

TEST_P(SpawnBackend, ValuesOfEveryTypeSurviveTheRoundTrip) {
  totals in{.a = -5, .b = 1.0, .text = "grün", .list = {1, 1ll << 40, -1}};
  totals out;
  const std::string name = fn("echo");
  EXPECT_EQ(0, with_actor([&](portal p) -> task<> {
              out = co_await p.run<totals>(function_name::parse(name), kw("value", in));
            }));
  EXPECT_EQ(out.a, in.a);
  EXPECT_EQ(out.b, in.b);
  EXPECT_EQ(out.text, in.text);
  EXPECT_EQ(out.list, in.list);
}

TEST_P(SpawnBackend, ASharedBufferIsTheSameMemoryOnBothSidesWithinTheProcess) {
  const bool within = !GetParam().has_own_process();
  const shared_buffer in(std::vector<std::byte>(1 << 20, std::byte{7}));
  const auto size = static_cast<std::int64_t>(in.size());
  shared_buffer out;
  const std::string name = fn("pass_on");
  EXPECT_EQ(0, with_actor([&](portal p) -> task<> {
              out = co_await p.run<shared_buffer>(function_name::parse(name), kw("block", in),
                                                  kw("size", size));
            }));
  // What came back outlives the actor that sent it.
  EXPECT_EQ(out, in);
  EXPECT_EQ(out.data() == in.data(), within);
}

TEST_P(SpawnBackend, AnErrorArrivesWithTypeMessageAndPath) {
  const std::string name = fn("fail");
  std::optional<remote_actor_error> error;
  EXPECT_EQ(0, with_actor([&](portal p) -> task<> {
              auto r = co_await as_result(p.run(function_name::parse(name), kw("message", "boom")));
              if (auto* e = r.error<remote_actor_error>()) error = *e;
            }));
  ASSERT_TRUE(error);
  EXPECT_EQ(error->type(), "ValueError");
  EXPECT_EQ(error->message(), "boom");
  EXPECT_TRUE(error->is<std::invalid_argument>());
  EXPECT_EQ(error->path(), std::vector<std::string>{"subject"});
  if (GetParam().python) {
    EXPECT_NE(error->traceback().find("in fail"), std::string::npos);
  }
}

TEST_P(SpawnBackend, EveryMemberOfAGroupArrives) {
  const std::string name = fn("group");
  std::vector<remote_error_info> members;
  EXPECT_EQ(0, with_actor([&](portal p) -> task<> {
              auto r = co_await as_result(p.run(function_name::parse(name), kw("n", 3)));
              if (auto* e = r.error<remote_actor_error>()) members = e->members();
            }));
  ASSERT_EQ(members.size(), 3u);
  EXPECT_EQ(members[2].type, "ValueError");
  EXPECT_EQ(members[2].message, "member 2");
}

TEST_P(SpawnBackend, WrongNamesAndArgumentsAreErrorsOfTheCallOnly) {
  const std::string add = fn("add"), missing = fn("no_such");
  std::vector<std::string> types;
  std::int64_t sum = 0;
  EXPECT_EQ(0, with_actor([&](portal p) -> task<> {
              auto note = [&](auto& r) {
                if (auto* e = r.template error<remote_actor_error>()) types.push_back(e->type());
              };
              auto a = co_await as_result(p.run(function_name::parse(missing)));
              note(a);
              auto b = co_await as_result(p.run("not_exposed:f"));
              note(b);
              auto c = co_await as_result(p.run(function_name::parse(add), kw("x", 1), kw("z", 2)));
              note(c);
              sum = co_await p.run<std::int64_t>(function_name::parse(add), kw("x", 1), kw("y", 2));
            }));
  EXPECT_EQ(types, (std::vector<std::string>{"AttributeError", "ModuleNotExposed", "TypeError"}));
  EXPECT_EQ(sum, 3) << "the actor goes on";
}

TEST_P(SpawnBackend, ACancelledCallEndsOnBothSidesAndTheActorGoesOn) {
  const std::string sleep = fn("sleep_ms"), add = fn("add");
  bool finished = true;
  std::int64_t sum = 0;
  const auto begun = std::chrono::steady_clock::now();
  EXPECT_EQ(0, with_actor([&](portal p) -> task<> {
              co_await p.run(function_name::parse(sleep),
                             kw("ms", 0));  // A guest's event loop is up by then.
              auto r = co_await move_on_after(
                  50ms, p.run(function_name::parse(sleep), kw("ms", 100'000)));
              finished = r.has_value();
              sum = co_await p.run<std::int64_t>(function_name::parse(add), kw("x", 1), kw("y", 2));
            }));
  EXPECT_FALSE(finished);
  EXPECT_EQ(sum, 3);
  EXPECT_LT(std::chrono::steady_clock::now() - begun, 10s);
}

TEST_P(SpawnBackend, CancelActorEndsItByAskingAndLaterCallsSayThatItDied) {
  const std::string add = fn("add");
  exit_report how;
  std::string after;
  EXPECT_EQ(0, run_tree([&](actor& self) -> task<> {
              auto inside = [&](actor_nursery& an) -> task<> {
                actor_options patient = options_for(GetParam());
                // A sanitizer looks for leaks before a process ends.
                patient.stop = {.ask = 10s, .unseen = 10s, .total = 30s};
                portal p = co_await an.start_actor("subject", patient);
                how = co_await p.cancel_actor();
                auto r =
                    co_await as_result(p.run(function_name::parse(add), kw("x", 1), kw("y", 2)));
                if (auto* e = r.error<actor_died>()) after = e->what();
              };
              co_await open_nursery(self, inside);
            }));
  EXPECT_EQ(how.rung, rung::asked) << how.text();
  EXPECT_NE(after.find("'subject'"), std::string::npos) << after;
}

TEST_P(SpawnBackend, ANurseryThatIsCancelledEndsWaitingCalls) {
  const std::string sleep = fn("sleep_ms");
  bool cancelled = false;
  EXPECT_EQ(0, run_tree([&](actor& self) -> task<> {
              auto inside = [&](actor_nursery& an) -> task<> {
                portal p = co_await an.start_actor("subject", options_for(GetParam()));
                co_await p.run(function_name::parse(sleep), kw("ms", 0));
                auto waits = [&]() -> task<> {
                  auto call = detail::take(p.run(function_name::parse(sleep), kw("ms", 100'000)));
                  auto how = co_await detail::captured<value>(std::move(call));
                  cancelled = detail::is_cancelled(how.error());
                  if (how.error()) std::rethrow_exception(how.error());
                };
                an.start_soon(waits);
                co_await sleep_for(50ms);
                an.cancel("enough");
              };
              co_await open_nursery(self, inside);
            }));
  EXPECT_TRUE(cancelled);
}

TEST_P(SpawnBackend, ManyCallsAtOnceEachGetTheirOwnAnswer) {
  const std::string add = fn("add");
  std::vector<std::int64_t> sums(200);
  auto one = [](portal p, const std::string& name, std::int64_t i, std::int64_t& to) -> task<> {
    to = co_await p.run<std::int64_t>(function_name::parse(name), kw("x", i), kw("y", i));
  };
  EXPECT_EQ(0, with_actor([&](portal p) -> task<> {
              auto all = [&](nursery& n) {
                for (std::size_t i = 0; i < sums.size(); ++i)
                  n.start_soon(one, p, std::ref(add), static_cast<std::int64_t>(i),
                               std::ref(sums[i]));
              };
              co_await open_nursery(all);
            }));
  for (std::size_t i = 0; i < sums.size(); ++i)
    EXPECT_EQ(sums[i], 2 * static_cast<std::int64_t>(i));
}

TEST_P(SpawnBackend, EightActorsOfOneNameStartAndEndTogether) {
  const std::string add = fn("add");
  int answers = 0;
  auto one = [](portal p, const std::string& name, int& count) -> task<> {
    co_await p.run(function_name::parse(name), kw("x", 1), kw("y", 1));
    ++count;
  };
  EXPECT_EQ(0, run_tree([&](actor& self) -> task<> {
              auto inside = [&](actor_nursery& an) -> task<> {
                for (int i = 0; i < 8; ++i) {
                  portal p = co_await an.start_actor("doggy", options_for(GetParam()));
                  an.start_soon(one, p, std::ref(add), std::ref(answers));
                }
              };
              co_await open_nursery(self, inside);
            }));
  EXPECT_EQ(answers, 8);
}

}  // namespace
}  // namespace coppice::conformance
