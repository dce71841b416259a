// SPDX-License-Identifier: Apache-2.0
// tractor's scenarios of who ends with whom, natively; tests/SCENARIOS.md has the list.
#include "coppice/discovery.hpp"
#include "tests/conformance/scenario.hpp"

namespace coppice::conformance {
namespace {

using namespace std::chrono_literals;

std::string says_hi(actor& self) { return "Hi there, I am " + std::string(self.name()); }
generator<std::int64_t> ticks() {
  for (std::int64_t i = 0;; ++i) {
    co_yield i;
    co_await sleep_for(10ms);
  }
}
/// A leaf asserts; whoever is above has two below.
task<> spawns_and_fails(actor& self, std::int64_t depth, std::string backend,
                        std::string transport) {
  if (depth == 0) throw std::logic_error("assert 0");
  auto body = [&](actor_nursery& an) -> task<> {
    actor_options o{.backend = spawn::parse(backend)};
    if (!transport.empty()) o.enable_transports = std::string_view(transport);
    for (const char* name : {"left", "right"})
      co_await an.run_in_actor(name, o, "supervised:spawns_and_fails", kw("depth", depth - 1),
                               kw("backend", backend), kw("transport", transport));
  };
  co_await open_nursery(self, body);
}

struct kept {  // Of one actor: the nursery that one of its dialogs has open.
  nursery* tasks = nullptr;
};
task<> keeps_a_nursery(actor& self, context<numbers>& ctx) {
  auto body = [&](nursery& tasks) -> task<> {
    self.local<kept>().tasks = &tasks;
    co_await ctx.started(1);
    co_await sleep_forever();
  };
  co_await open_nursery(body);
}
task<> fails_soon() {
  co_await sleep_for(50ms);
  throw std::domain_error("doggy");
}
void spawns_into_it(actor& self) {
  nursery& tasks = *self.local<kept>().tasks;
  for (int i = 0; i < 2; ++i) tasks.start_soon(rest);
  tasks.start_soon(fails_soon);
}

inline constexpr endpoint says_hi_e{"supervised:says_hi", says_hi};
inline constexpr endpoint ticks_e{"supervised:ticks", ticks};
inline constexpr endpoint spawns_and_fails_e{"supervised:spawns_and_fails", spawns_and_fails,
                                             "depth", "backend", "transport"};
inline constexpr endpoint keeps_a_nursery_e{"supervised:keeps_a_nursery", keeps_a_nursery};
inline constexpr endpoint spawns_into_it_e{"supervised:spawns_into_it", spawns_into_it};

actor_options supervised_options(const kind& k) { return options_for(k, "supervised"); }

/// How many assertions a tree of groups has, each with two members; far below 0 if it has others.
int assertions_in(const remote_error_info& error) {
  if (error.source_type == "AssertionError") return 1;
  if (error.source_type != "ExceptionGroup" || error.members.size() != 2) return -1000;
  return assertions_in(error.members[0]) + assertions_in(error.members[1]);
}

TEST_P(Scenario, MovieTheatreConvo) {
  std::string first, second;
  exit_report report;
  EXPECT_EQ(0, run_tree([&](actor& self) -> task<> {
              auto body = [&](actor_nursery& an) -> task<> {
                actor_options patient = supervised_options(GetParam());
                // A sanitizer looks for leaks before a process ends.
                patient.stop = {.ask = 10s, .unseen = 10s, .total = 30s};
                portal frank = co_await an.start_actor("frank", patient);
                first = co_await frank.run(says_hi_e);
                second = co_await frank.run(says_hi_e);
                report = co_await frank.cancel_actor();
              };
              co_await open_nursery(self, body);
            }));
  EXPECT_EQ(first, "Hi there, I am frank");
  EXPECT_EQ(second, first);
  EXPECT_EQ(report.rung, rung::asked) << report.text();
}

TEST_P(Scenario, CancelInfiniteStreamer) {
  std::int64_t got = 0;
  bool finished = true;
  EXPECT_EQ(0, run_tree([&](actor& self) -> task<> {
              auto body = [&](actor_nursery& an) -> task<> {
                portal donny = co_await an.start_actor("donny", supervised_options(GetParam()));
                auto take = [&](stream<void, std::int64_t>& from) -> task<> {
                  while (auto v = co_await from.receive()) EXPECT_EQ(*v, got++);
                };
                co_await donny.open_stream_from(ticks_e, take);
              };
              auto block = [&]() -> task<> { co_await open_nursery(self, body); };
              finished = co_await move_on_after(500ms, block());
            }));
  EXPECT_FALSE(finished);
  EXPECT_GT(got, 0);
}

TEST_P(Scenario, NestedMultierrors) {
  auto tree = [](actor& self, std::int64_t depth) -> task<> {
    const std::string backend(GetParam().backend.text()), transport(GetParam().transport);
    auto body = [&](actor_nursery& an) -> task<> {
      for (const char* name : {"spawner_0", "spawner_1"})
        co_await an.run_in_actor(name, supervised_options(GetParam()), spawns_and_fails_e, depth,
                                 backend, transport);
    };
    auto block = [&]() -> task<> { co_await open_nursery(self, body); };
    auto r = co_await as_result(block());
    const auto* group = r.error<error_group>();
    EXPECT_TRUE(group && group->errors().size() == 2);
    if (!group) co_return;
    for (const std::exception_ptr& e : group->errors()) {
      try {
        std::rethrow_exception(e);
      } catch (const remote_actor_error& boxed) {
        EXPECT_EQ(boxed.type(), "ExceptionGroup");
        EXPECT_EQ(assertions_in(boxed.info()), 1 << depth);
      }
    }
  };
  EXPECT_EQ(0, run_tree([&](actor& self) -> task<> {
              co_await tree(self, 1);
              co_await tree(self, 3);
            }));
}

TEST_P(Scenario, RegisterDuplicateName) {
  EXPECT_EQ(0, run_tree([&](actor& self) -> task<> {
              auto body = [&](actor_nursery& an) -> task<> {
                portal a = co_await an.start_actor("doggy", supervised_options(GetParam()));
                portal b = co_await an.start_actor("doggy", supervised_options(GetParam()));
                found_actor found = co_await wait_for_actor(self, "doggy");
                EXPECT_TRUE(found->id() == a.id() || found->id() == b.id());
                EXPECT_EQ(co_await found->run(says_hi_e), "Hi there, I am doggy");
                EXPECT_EQ(co_await a.run(says_hi_e), "Hi there, I am doggy");
                EXPECT_EQ(co_await b.run(says_hi_e), "Hi there, I am doggy");
              };
              co_await open_nursery(self, body);
            }));
}

TEST_P(Scenario, ActorManagedNurseryTaskError) {
  std::string error;
  EXPECT_EQ(0, run_tree([&](actor& self) -> task<> {
              auto body = [&](actor_nursery& an) -> task<> {
                portal p = co_await an.start_actor("manager", supervised_options(GetParam()));
                auto inside = [&](remote_context<numbers>&, std::int64_t) -> task<> {
                  co_await p.run(spawns_into_it_e);
                  co_await sleep_forever();
                };
                auto dialog = [&]() -> task<> {
                  co_await p.open_context(keeps_a_nursery_e, inside);
                };
                error = co_await error_name(dialog);
              };
              co_await open_nursery(self, body);
            }));
  EXPECT_EQ(error, "ArithmeticError");
}

}  // namespace

const std::vector<exposed> endpoints_of_supervision = {says_hi_e, ticks_e, spawns_and_fails_e,
                                                       keeps_a_nursery_e, spawns_into_it_e};

}  // namespace coppice::conformance
