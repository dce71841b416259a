// SPDX-License-Identifier: Apache-2.0
// Restarts and one-shot actors, on every backend: whatever an actor is, it comes back the same way.
#include <signal.h>
#include <unistd.h>

#include "coppice/discovery.hpp"
#include "coppice/restart.hpp"
#include "tests/conformance/kit.hpp"

namespace coppice::conformance {
namespace {

using namespace std::chrono_literals;

constexpr nursery_options one_for_one{
    .restart = {.strategy = restart_strategy::one_for_one, .pause = {.first = 1ms}}};
constexpr nursery_options rest_for_one{
    .restart = {.strategy = restart_strategy::rest_for_one, .pause = {.first = 1ms}}};

class Restarted : public testing::TestWithParam<kind> {
 protected:
  void SetUp() override { skip_unless_built(GetParam()); }
  std::string fn(const char* name) { return function(GetParam(), name); }
};
INSTANTIATE_TEST_SUITE_P(, Restarted, testing::ValuesIn(all_kinds()), kind_name);

/// Another actor than its parent asks it to end: it ends well, and nobody here wanted it.
task<> end_from_elsewhere(actor& self, std::string name) {
  found_actor found = co_await wait_for_actor(self, name);
  (void)co_await as_result(found->cancel_actor());
}

TEST_P(Restarted, TheNextIncarnationHasItsNameANewUuidAndIsFound) {
  const std::string add = fn("add");
  std::vector<std::string> uuids;
  std::int64_t sum = 0;
  std::size_t restarts = 0;
  EXPECT_EQ(0, run_tree([&](actor& self) -> task<> {
              auto inside = [&](actor_nursery& an) -> task<> {
                actor_options options = options_for(GetParam());
                options.restart = restart_type::permanent;
                portal first = co_await an.start_actor("subject", options);
                uuids.push_back(first.id().uuid);
                co_await end_from_elsewhere(self, "subject");
                while (an.restart_count("subject") == 0) co_await sleep_for(1ms);
                portal second = co_await an.portal("subject");
                uuids.push_back(second.id().uuid);
                sum = co_await second.run<std::int64_t>(function_name::parse(add), kw("x", 1),
                                                        kw("y", 2));
                auto stale = co_await as_result(
                    first.run(function_name::parse(add), kw("x", 1), kw("y", 2)));
                EXPECT_TRUE(stale.error<actor_died>()) << "a portal dies with its incarnation";
                found_actor found = co_await find_actor(self, "subject");
                if (found) uuids.push_back(found->id().uuid);
                restarts = an.restart_count("subject");
              };
              co_await open_nursery(self, one_for_one, inside);
            }));
  EXPECT_EQ(sum, 3);
  EXPECT_EQ(restarts, 1u);
  ASSERT_EQ(uuids.size(), 3u);
  EXPECT_NE(uuids[0], uuids[1]);
  EXPECT_EQ(uuids[1], uuids[2]) << "the registry has the new one";
}

TEST_P(Restarted, AnInitThatFailsIsAFailedStart) {
  const std::string fail = fn("fail"), add = fn("add");
  std::string what;
  std::int64_t sum = 0;
  EXPECT_EQ(0, run_tree([&](actor& self) -> task<> {
              auto inside = [&](actor_nursery& an) -> task<> {
                auto failed = co_await as_result(
                    an.start_actor("subject", options_for(GetParam()),
                                   init(function_name::parse(fail), kw("message", "no"))));
                if (auto* e = failed.error<remote_actor_error>()) what = e->message();
                portal p = co_await an.start_actor(
                    "subject", options_for(GetParam()),
                    init(function_name::parse(add), kw("x", 1), kw("y", 2)));
                sum =
                    co_await p.run<std::int64_t>(function_name::parse(add), kw("x", 1), kw("y", 2));
              };
              co_await open_nursery(self, inside);
            }));
  EXPECT_EQ(what, "no");
  EXPECT_EQ(sum, 3) << "the nursery is none the worse";
}

TEST_P(Restarted, AOneShotGivesItsResultAndEnds) {
  const std::string add = fn("add");
  std::int64_t sum = 0;
  bool ended = false;
  EXPECT_EQ(0, run_tree([&](actor& self) -> task<> {
              auto inside = [&](actor_nursery& an) -> task<> {
                actor_options patient = options_for(GetParam());
                patient.stop = {.ask = 20s, .total = 30s};  // A leak check takes its time.
                auto once = co_await an.run_in_actor<std::int64_t>(
                    "once", patient, function_name::parse(add), kw("x", 1), kw("y", 2));
                sum = co_await once.wait_for_result();
                const exit_report how = co_await once.actor().cancel_actor();
                ended = how.how != exit_report::cause::signalled;
              };
              co_await open_nursery(self, inside);
            }));
  EXPECT_EQ(sum, 3);
  EXPECT_TRUE(ended);
}

TEST_P(Restarted, AOneShotsErrorIsTheBlocksUnlessItWasTaken) {
  const std::string fail = fn("fail");
  std::string untaken;
  EXPECT_EQ(0, run_tree([&](actor& self) -> task<> {
              auto taking = [&](actor_nursery& an) -> task<> {
                auto once =
                    co_await an.run_in_actor("once", options_for(GetParam()),
                                             function_name::parse(fail), kw("message", "m"));
                auto r = co_await as_result(once.wait_for_result());
                EXPECT_TRUE(r.error<remote_actor_error>());
              };
              co_await open_nursery(self, taking);
              auto leaving = [&](actor_nursery& an) -> task<> {
                co_await an.run_in_actor("once", options_for(GetParam()),
                                         function_name::parse(fail), kw("message", "mine"));
              };
              auto block = [&]() -> task<> { co_await open_nursery(self, leaving); };
              auto r = co_await as_result(block());
              if (auto* e = r.error<remote_actor_error>()) untaken = e->message();
            }));
  EXPECT_EQ(untaken, "mine");
}

// --- deaths, which a process can die
// ---------------------------------------------------------------

class RestartedProcess : public Restarted {};
std::vector<kind> kinds_of_processes() {
  std::vector<kind> out;
  for (auto& k : all_kinds())
    if (k.backend == spawn::process) out.push_back(k);
  return out;
}
INSTANTIATE_TEST_SUITE_P(, RestartedProcess, testing::ValuesIn(kinds_of_processes()), kind_name);

task<> die(portal p, std::string leave) {
  (void)co_await as_result(p.run(function_name::parse(leave), kw("status", 3)));
}

TEST_P(RestartedProcess, WhoeverHearsOfItsDeathGetsTheNextIncarnation) {
  const std::string leave = fn("leave_with"), pid = fn("pid");
  std::vector<std::int64_t> pids;
  EXPECT_EQ(0, run_tree([&](actor& self) -> task<> {
              auto inside = [&](actor_nursery& an) -> task<> {
                portal p = co_await an.start_actor("subject", options_for(GetParam()));
                for (int i = 0; i < 3; ++i) {
                  pids.push_back(co_await p.run<std::int64_t>(function_name::parse(pid)));
                  co_await die(p, leave);
                  p = co_await an.portal("subject");
                }
                EXPECT_EQ(an.restart_count("subject"), 3u);
              };
              co_await open_nursery(self, one_for_one, inside);
            }));
  ASSERT_EQ(pids.size(), 3u);
  EXPECT_NE(pids[0], pids[1]);
}

TEST_P(RestartedProcess, RestForOneRestartsThoseThatWereStartedAfterIt) {
  const std::string leave = fn("leave_with");
  std::vector<std::string> before, after;
  EXPECT_EQ(0, run_tree([&](actor& self) -> task<> {
              auto inside = [&](actor_nursery& an) -> task<> {
                for (const char* name : {"a", "b", "c"}) {
                  portal p = co_await an.start_actor(name, options_for(GetParam()));
                  before.push_back(p.id().uuid);
                }
                portal b = co_await an.portal("b");
                co_await die(b, leave);
                while (an.restart_count("c") == 0) co_await sleep_for(1ms);
                for (const char* name : {"a", "b", "c"}) {
                  portal p = co_await an.portal(name);
                  after.push_back(p.id().uuid);
                }
              };
              co_await open_nursery(self, rest_for_one, inside);
            }));
  ASSERT_EQ(after.size(), 3u);
  EXPECT_EQ(before[0], after[0]);
  EXPECT_NE(before[1], after[1]);
  EXPECT_NE(before[2], after[2]);
}

TEST_P(RestartedProcess, PastTheLimitTheBlockFailsAndSaysOfWhat) {
  const std::string leave = fn("leave_with");
  std::string who, what;
  EXPECT_EQ(0, run_tree([&](actor& self) -> task<> {
              auto inside = [&](actor_nursery& an) -> task<> {
                portal p = co_await an.start_actor("subject", options_for(GetParam()));
                for (;;) {
                  co_await die(p, leave);
                  p = co_await an.portal("subject");
                }
              };
              nursery_options strict = one_for_one;
              strict.restart.restarts_max = 1;
              strict.restart.within = 1h;
              auto block = [&]() -> task<> { co_await open_nursery(self, strict, inside); };
              auto r = co_await as_result(block());
              if (auto* e = r.error<restart_limit_exceeded>()) {
                who = e->actor();
                what = e->what();
              }
            }));
  EXPECT_EQ(who, "subject");
  EXPECT_NE(what.find("more than 1 restarts within 1h"), std::string::npos) << what;
  EXPECT_NE(what.find("exited with status 3"), std::string::npos) << what;
}

TEST_P(RestartedProcess, ADeathDuringItsInitIsAFailedStart) {
  const std::string leave = fn("leave_with");
  bool failed = false;
  EXPECT_EQ(0, run_tree([&](actor& self) -> task<> {
              auto inside = [&](actor_nursery& an) -> task<> {
                auto r = co_await as_result(
                    an.start_actor("subject", options_for(GetParam()),
                                   init(function_name::parse(leave), kw("status", 3))));
                failed = r.error<actor_died>() != nullptr;
              };
              co_await open_nursery(self, inside);
            }));
  EXPECT_TRUE(failed);
}

// Its process ended with status 0, which counted as an end in good order.
TEST_P(RestartedProcess, OneThatMerelyLosesItsConnectionHasFailed) {
  const std::string breaks = fn("break_connection");
  std::optional<exit_report> report;
  EXPECT_EQ(0, run_tree([&](actor& self) -> task<> {
              auto inside = [&](actor_nursery& an) -> task<> {
                portal p = co_await an.start_actor("subject", options_for(GetParam()));
                (void)co_await as_result(p.run(function_name::parse(breaks), kw("how", "cut")));
                co_await sleep_forever();  // Nobody waits for it.
              };
              auto block = [&]() -> task<> { co_await open_nursery(self, inside); };
              auto r = co_await as_result(block());
              if (auto* e = r.error<actor_died>()) report = e->report();
            }));
  EXPECT_TRUE(report) << "the block was to fail";
}

}  // namespace
}  // namespace coppice::conformance
