// SPDX-License-Identifier: Apache-2.0
// Whatever breaks between two processes, everybody who waits is told: of what kind, and soon.
#include <chrono>
#include <cstdlib>
#include <tuple>

#include "tests/conformance/kit.hpp"

namespace coppice::conformance {
namespace {

using namespace std::chrono_literals;
using steady = std::chrono::steady_clock;

// How each of those who waited for the victim ended.
struct ending {
  std::string who;
  bool is_typed = false;
  std::string what;
  steady::time_point at = {};
};
struct endings : std::vector<ending> {
  int begun = 0;  // Dialogs that are up.
};
constexpr std::size_t waiters = 8;  // Those of wait_while().

template <class Work>
task<> note(endings* to, std::string who, Work work) {
  auto r = co_await as_result(work());
  ending e{.who = std::move(who), .what = {}, .at = steady::now()};
  if (auto* closed = r.template error<transport_closed>()) {
    e.is_typed = true;
    e.what = closed->what();
  } else {
    e.what = r.exception() ? describe_exception(r.exception()) : "no error";
  }
  to->push_back(std::move(e));
}

task<> wait_in_call(endings* to, portal p, std::string sleep) {
  auto work = [&]() -> task<> {
    co_await p.run<std::int64_t>(function_name::parse(sleep), kw("ms", 100'000));
  };
  co_await note(to, "call", work);
}
template <class Body>
task<> note_dialog(endings* to, portal p, std::string callee, Body body, const char* who) {
  auto work = [&]() -> task<> {
    co_await p.open_context<numbers, void>(function_name::parse(callee), body);
  };
  co_await note(to, who, work);
}
task<> wait_in_context(endings* to, portal p, std::string block) {
  auto body = [to](remote_context<numbers>&, std::int64_t) -> task<> {
    ++to->begun;
    co_await sleep_forever();
  };
  co_await note_dialog(to, p, block, body, "context");
}
task<> wait_for_result(endings* to, portal p, std::string block) {
  auto body = [to](remote_context<numbers>&, std::int64_t) -> task<> {
    ++to->begun;
    co_await checkpoint();
  };
  co_await note_dialog(to, p, block, body, "result");
}
task<> wait_in_receive(endings* to, portal p, std::string silent) {
  auto body = [to](remote_context<numbers>& ctx, std::int64_t) -> task<> {
    auto s = ctx.open_stream();
    ++to->begun;
    auto work = [&]() -> task<> { (void)co_await s.receive(); };
    co_await note(to, "receive", work);
  };
  co_await note_dialog(to, p, silent, body, "its block");
}
task<> wait_in_send(endings* to, portal p, std::string silent) {
  auto body = [to](remote_context<numbers>& ctx, std::int64_t) -> task<> {
    auto s = ctx.open_stream();
    ++to->begun;
    auto work = [&]() -> task<> {
      for (std::int64_t i = 0;; ++i) co_await s.send(i);
    };
    co_await note(to, "send", work);
  };
  co_await note_dialog(to, p, silent, body, "its block");
}
task<> ask_to_break(endings* to, portal p, std::string name, std::string how) {
  auto work = [&]() -> task<> { co_await p.run(function_name::parse(name), kw("how", how)); };
  co_await note(to, "who asked for it", work);
}
// For one who does not read, more than a socket holds: the kernel gives tcp 4 MiB and more.
task<> keep_writing(portal p, std::string echo, std::size_t bytes) {
  const totals much{.a = 1, .b = 2, .text = std::string(bytes, 'x'), .list = {}};
  auto work = [&]() -> task<> {
    co_await p.run<totals>(function_name::parse(echo), kw("value", much));
  };
  (void)co_await as_result(work());
}

struct outcome_of_fault {
  endings all;
  steady::time_point broken;
};

outcome_of_fault wait_while(const kind& k, const std::string& how, transport_settings transports) {
  outcome_of_fault out;
  endings* to = &out.all;
  const std::string call = function(k, "sleep_ms"), block = function(k, "block_ctx"),
                    silent = function(k, "silent_ctx"), breaks = function(k, "break_connection"),
                    echo = function(k, "echo");
  auto root = [&](actor& self) -> task<> {
    // Around the actor's own block: that is cancelled when its actor has died.
    auto tasks = [&](nursery& n) -> task<> {
      auto actors = [&](actor_nursery& an) -> task<> {
        portal p = co_await an.start_actor("victim", options_for(k));
        n.start_soon(wait_in_call, to, p, call);
        n.start_soon(wait_in_context, to, p, block);
        n.start_soon(wait_for_result, to, p, block);
        n.start_soon(wait_in_receive, to, p, silent);
        n.start_soon(wait_in_send, to, p, silent);
        while (to->begun < 4) co_await sleep_for(10ms);
        co_await sleep_for(100ms);  // Until the sender's window is full, too.
        out.broken = steady::now();
        n.start_soon(ask_to_break, to, p, breaks, how);
        co_await sleep_for(20ms);  // What is written now is not read any more.
        n.start_soon(keep_writing, p, echo, how == "stop" ? std::size_t(16) << 20 : 1);
        while (to->size() < waiters) co_await sleep_for(10ms);
      };
      // It fails, unless all have heard of the loss, and the block has ended, before it has.
      auto block_of_actors = [&]() -> task<> { co_await open_nursery(self, actors); };
      auto r = co_await as_result(block_of_actors());
      EXPECT_TRUE(r.has_value() || r.error<actor_died>()) << describe_exception(r.exception());
    };
    co_await open_nursery(tasks);
  };
  EXPECT_EQ(0, run_tree(root, std::move(transports)));
  return out;
}

class Fault : public testing::TestWithParam<std::tuple<kind, std::string>> {
 protected:
  void SetUp() override { skip_unless_built(std::get<0>(GetParam())); }
};

void expect_all(const outcome_of_fault& out, steady::duration from, steady::duration to) {
  EXPECT_EQ(out.all.size(), waiters);
  for (const ending& e : out.all) {
    const auto took = e.at - out.broken;
    EXPECT_TRUE(e.is_typed) << e.who << ": " << e.what;
    EXPECT_GE(took, from) << e.who << ": " << e.what;
    EXPECT_LT(took, to) << e.who << ": " << e.what;
    if (std::getenv("COPPICE_SHOW_TIMES"))
      std::printf("took %.2f ms: %s\n", std::chrono::duration<double, std::milli>(took).count(),
                  e.who.c_str());
  }
}

TEST_P(Fault, EndsEveryWaitWithATypedErrorAtOnce) {
  const auto& [k, how] = GetParam();
  expect_all(wait_while(k, how, {}), 0ms, 5s);
}

class Stall : public Fault {};
TEST_P(Stall, EndsEveryWaitWithATypedErrorAtTheBound) {
  const auto& [k, how] = GetParam();
  expect_all(wait_while(k, how, {.peer_silence_max = 1s}), 500ms, 8s);
}

std::vector<kind> kinds_in_processes() {
  std::vector<kind> out = all_kinds();
  std::erase_if(out, [](const kind& k) { return !k.has_own_process(); });
  return out;
}
std::string name_of(const testing::TestParamInfo<std::tuple<kind, std::string>>& info) {
  return std::get<1>(info.param) + "_" + std::get<0>(info.param).name;
}
INSTANTIATE_TEST_SUITE_P(, Fault,
                         testing::Combine(testing::ValuesIn(kinds_in_processes()),
                                          testing::Values("kill", "half_close", "cut", "reset")),
                         name_of);
INSTANTIATE_TEST_SUITE_P(, Stall,
                         testing::Combine(testing::ValuesIn(kinds_in_processes()),
                                          testing::Values("stop")),
                         name_of);

}  // namespace
}  // namespace coppice::conformance
