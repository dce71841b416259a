// SPDX-License-Identifier: Apache-2.0
// Death is an event: whatever ends an actor, everybody who waits is told at once, with the reason.
#include <signal.h>
#include <unistd.h>

#include "base/sanitizers.hpp"
#include "tests/conformance/kit.hpp"

namespace coppice::conformance {
namespace {

using namespace std::chrono_literals;

class ProcessDeath : public testing::TestWithParam<kind> {
 protected:
  void SetUp() override { skip_unless_built(GetParam()); }
  std::string fn(const char* name) { return function(GetParam(), name); }
};

std::vector<kind> process_kinds() {
  std::vector<kind> out;
  for (auto& k : all_kinds())
    if (k.has_own_process()) out.push_back(k);
  return out;
}
INSTANTIATE_TEST_SUITE_P(, ProcessDeath, testing::ValuesIn(process_kinds()), kind_name);

TEST_P(ProcessDeath, KillNineDuringACallIsATypedErrorWithinATenthOfASecond) {
  std::optional<exit_report> report;
  std::chrono::steady_clock::duration took{};
  const std::string pid = fn("pid"), sleep = fn("sleep_ms");
  // Its death is a failure of the nursery, too: the same error comes out of the block.
  EXPECT_EQ(1, run_tree([&](actor& self) -> task<> {
              auto inside = [&](actor_nursery& an) -> task<> {
                portal p = co_await an.start_actor("victim", options_for(GetParam()));
                const auto id = co_await p.run<std::int64_t>(function_name::parse(pid));
                std::chrono::steady_clock::time_point killed;
                auto killer = [&]() -> task<> {
                  co_await sleep_for(50ms);
                  killed = std::chrono::steady_clock::now();
                  ::kill(static_cast<pid_t>(id), SIGKILL);
                };
                an.start_soon(killer);
                auto r = co_await as_result(p.run(function_name::parse(sleep), kw("ms", 100'000)));
                took = std::chrono::steady_clock::now() - killed;
                if (auto* e = r.error<actor_died>()) report = e->report();
              };
              co_await open_nursery(self, inside);
            }));
  ASSERT_TRUE(report);
  EXPECT_EQ(report->how, exit_report::cause::signalled);
  EXPECT_EQ(report->status, SIGKILL);
  EXPECT_LT(took, base::under_address_sanitizer ? 1000ms : 100ms);
}

TEST_P(ProcessDeath, AnExitStatusIsReported) {
  std::optional<exit_report> report;
  const std::string leave = fn("leave_with");
  EXPECT_EQ(1, run_tree([&](actor& self) -> task<> {
              auto inside = [&](actor_nursery& an) -> task<> {
                portal p = co_await an.start_actor("leaver", options_for(GetParam()));
                auto r = co_await as_result(p.run(function_name::parse(leave), kw("status", 7)));
                if (auto* e = r.error<actor_died>()) report = e->report();
              };
              co_await open_nursery(self, inside);
            }));
  ASSERT_TRUE(report);
  EXPECT_EQ(report->how, exit_report::cause::exited);
  EXPECT_EQ(report->status, 7);
}

TEST_P(ProcessDeath, AnIdleChildThatDiesIsAFailureOfItsNursery) {
  std::string what;
  const std::string pid = fn("pid");
  EXPECT_EQ(0, run_tree([&](actor& self) -> task<> {
              auto inside = [&](actor_nursery& an) -> task<> {
                portal p = co_await an.start_actor("idler", options_for(GetParam()));
                ::kill(static_cast<pid_t>(co_await p.run<std::int64_t>(function_name::parse(pid))),
                       SIGKILL);
                co_await sleep_forever();
              };
              auto block = [&]() -> task<> { co_await open_nursery(self, inside); };
              auto r = co_await as_result(block());
              if (auto* e = r.error<actor_died>()) what = e->what();
            }));
  EXPECT_NE(what.find("SIGKILL"), std::string::npos) << what;
}

TEST(Start, AnUnknownBackendIsNamedWithThoseThatThereAre) {
  std::string what;
  EXPECT_EQ(0, run_tree([&](actor& self) -> task<> {
              auto inside = [&](actor_nursery& an) -> task<> {
                co_await an.start_actor("x", {.backend = spawn::key("no_such")});
              };
              auto block = [&]() -> task<> { co_await open_nursery(self, inside); };
              auto r = co_await as_result(block());
              if (auto* e = r.error<backend_unavailable>()) what = e->what();
            }));
  EXPECT_NE(what.find("no_such"), std::string::npos);
  EXPECT_NE(what.find("thread"), std::string::npos) << what;
}

TEST(Start, OneFailingTaskCancelsItsActorsAndTheErrorComesOut) {
  std::string what;
  EXPECT_EQ(0, run_tree([&](actor& self) -> task<> {
              auto inside = [&](actor_nursery& an) -> task<> {
                co_await an.start_actor("a", {.backend = spawn::thread});
                co_await an.start_actor("b", {.backend = spawn::process});
                throw std::domain_error("mine");
              };
              auto block = [&]() -> task<> { co_await open_nursery(self, inside); };
              auto r = co_await as_result(block());
              if (auto* e = r.error<std::domain_error>()) what = e->what();
            }));
  EXPECT_EQ(what, "mine");
}

TEST(Start, ACallOfANestedActorWorksAndItsTreeEndsInnerFirst) {
  std::int64_t sum = 0;
  EXPECT_EQ(0, run_tree([&](actor& self) -> task<> {
              auto inside = [&](actor_nursery& an) -> task<> {
                portal p = co_await an.start_actor("middle", {.backend = spawn::process});
                sum = co_await p.run<std::int64_t>("kit:nested", kw("x", 41));
              };
              co_await open_nursery(self, inside);
            }));
  EXPECT_EQ(sum, 42);
}

}  // namespace
}  // namespace coppice::conformance
