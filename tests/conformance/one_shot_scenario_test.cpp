// SPDX-License-Identifier: Apache-2.0
// tractor's scenarios of one-shot actors, natively; tests/SCENARIOS.md has the list.
#include <algorithm>
#include <optional>

#include "coppice/discovery.hpp"
#include "tests/conformance/scenario.hpp"

namespace coppice::conformance {
namespace {

using namespace std::chrono_literals;

void asserts() { throw std::logic_error("assert 0"); }
task<> asserts_after(std::int64_t ms) {
  co_await sleep_for(std::chrono::milliseconds(ms));
  asserts();
}
std::optional<std::string> cellar_door(std::optional<std::string> word) { return word; }
task<> works_for_ever() { co_await sleep_forever(); }
// The root of a tree is its registrar; a child is registered there.
task<std::int64_t> knows_its_place(actor& self) {
  const auto known = co_await get_registry(self);
  const bool there = known.contains(std::string(self.name()) + "." + self.id().uuid);
  if (self.name() != "sub-actor" || !there) throw std::logic_error("it is not what it should be");
  co_return 10;
}

inline constexpr endpoint asserts_e{"one_shots:asserts", asserts};
inline constexpr endpoint asserts_after_e{"one_shots:asserts_after", asserts_after, "ms"};
inline constexpr endpoint cellar_door_e{"one_shots:cellar_door", cellar_door, "word"};
inline constexpr endpoint rests_e{"one_shots:rests", works_for_ever};
inline constexpr endpoint knows_its_place_e{"one_shots:knows_its_place", knows_its_place};

actor_options one_shot_options(const kind& k) { return options_for(k, "one_shots"); }

/// How many errors come out of a block with this body, all of them an assertion's; -1: others do.
template <class Body>
task<int> assertions_of(actor& self, Body body) {
  auto block = [&]() -> task<> { co_await open_nursery(self, body); };
  auto r = co_await as_result(block());
  const auto is_one = [](const std::exception_ptr& e) {
    try {
      std::rethrow_exception(e);
    } catch (const remote_actor_error& boxed) {
      return boxed.is<std::logic_error>();
    } catch (...) {
      return false;
    }
  };
  if (const auto* group = r.template error<error_group>()) {
    if (!std::ranges::all_of(group->errors(), is_one)) co_return -1;
    co_return static_cast<int>(group->errors().size());
  }
  if (!r.exception()) co_return 0;
  co_return is_one(r.exception()) ? 1 : -1;
}

/// Its call has ended, and so it is.
task<> until_it_is_over(actor_nursery& an, std::string name) {
  for (;;) {
    auto r = co_await as_result(an.portal(name));
    if (r.error<actor_died>()) co_return;
    co_await sleep_for(1ms);
  }
}

TEST_P(Scenario, RunInActorSameFuncInChild) {
  std::int64_t result = 0;
  EXPECT_EQ(0, run_tree([&](actor& self) -> task<> {
              auto body = [&](actor_nursery& an) -> task<> {
                auto sub = co_await an.run_in_actor("sub-actor", one_shot_options(GetParam()),
                                                    knows_its_place_e);
                result = co_await sub.wait_for_result();
              };
              co_await open_nursery(self, body);
            }));
  EXPECT_EQ(result, 10);
}

TEST_P(Scenario, MostBeautifulWord) {
  auto say = [](actor& self, std::optional<std::string> word) -> task<> {
    auto body = [&](actor_nursery& an) -> task<> {
      auto linguist = co_await an.run_in_actor("some_linguist", one_shot_options(GetParam()),
                                               cellar_door_e, word);
      EXPECT_EQ(co_await linguist.wait_for_result(), word);
      EXPECT_EQ(co_await linguist.wait_for_result(), word);
    };
    co_await open_nursery(self, body);
  };
  EXPECT_EQ(0, run_tree([&](actor& self) -> task<> {
              co_await say(self, std::string("Dang that is beautiful"));
              co_await say(self, std::nullopt);
            }));
}

TEST_P(Scenario, RemoteError) {
  EXPECT_EQ(0, run_tree([&](actor& self) -> task<> {
              auto asserting = [&](actor_nursery& an) -> task<> {
                auto errorer =
                    co_await an.run_in_actor("errorer", one_shot_options(GetParam()), asserts_e);
                co_await errorer.wait_for_result();
              };
              EXPECT_EQ(co_await assertions_of(self, asserting), 1);
              std::string type;
              auto misnamed = [&](actor_nursery& an) -> task<> {
                auto errorer = co_await an.run_in_actor("errorer", one_shot_options(GetParam()),
                                                        "one_shots:asserts", kw("doggy", 10));
                auto r = co_await as_result(errorer.wait_for_result());
                if (auto* e = r.error<remote_actor_error>()) type = e->type();
              };
              co_await open_nursery(self, misnamed);
              EXPECT_EQ(type, "TypeError");
            }));
}

TEST_P(Scenario, Multierror) {
  int errors = 0;
  EXPECT_EQ(0, run_tree([&](actor& self) -> task<> {
              auto body = [&](actor_nursery& an) -> task<> {
                co_await an.run_in_actor("errorer1", one_shot_options(GetParam()), asserts_e);
                auto second =
                    co_await an.run_in_actor("errorer2", one_shot_options(GetParam()), asserts_e);
                co_await until_it_is_over(an, "errorer1");
                co_await second.wait_for_result();
              };
              errors = co_await assertions_of(self, body);
            }));
  EXPECT_EQ(errors, 2);
}

TEST_P(Scenario, MultierrorFastNursery) {
  EXPECT_EQ(0, run_tree([&](actor& self) -> task<> {
              for (std::int64_t delay : {0, 500}) {
                auto body = [&](actor_nursery& an) -> task<> {
                  for (int i = 0; i < 25; ++i) {
                    const std::string name = "errorer" + std::to_string(i);
                    co_await an.run_in_actor(name, one_shot_options(GetParam()), asserts_after_e,
                                             delay);
                  }
                };
                EXPECT_EQ(co_await assertions_of(self, body), 25);
              }
            }));
}

TEST_P(Scenario, SomeCancelsAll) {
  EXPECT_EQ(0, run_tree([&](actor& self) -> task<> {
              for (int number : {1, 2, 3}) {
                for (const bool daemon_fails : {false, true}) {
                  auto body = [&](actor_nursery& an) -> task<> {
                    portal daemon;
                    for (int i = 0; i < number; ++i)
                      daemon = co_await an.start_actor("actor_" + std::to_string(i),
                                                       one_shot_options(GetParam()));
                    for (int i = 0; i < number; ++i) {
                      const std::string name = "worker_" + std::to_string(i);
                      if (daemon_fails) {
                        co_await an.run_in_actor(name, one_shot_options(GetParam()), rests_e);
                      } else {
                        co_await an.run_in_actor(name, one_shot_options(GetParam()), asserts_e);
                      }
                    }
                    if (daemon_fails) co_await daemon.run(asserts_e);
                  };
                  EXPECT_EQ(co_await assertions_of(self, body), daemon_fails ? 1 : number);
                }
              }
            }));
}

}  // namespace

const std::vector<exposed> endpoints_of_one_shots = {asserts_e, asserts_after_e, cellar_door_e,
                                                     rests_e, knows_its_place_e};

}  // namespace coppice::conformance
