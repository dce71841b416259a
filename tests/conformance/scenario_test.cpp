// SPDX-License-Identifier: Apache-2.0
// tractor's scenarios with native actors, whatever is in between; tests/SCENARIOS.md has the list.
#include <algorithm>
#include <numeric>

#include "msg/celsius_for_test.hpp"
#include "tests/conformance/scenario.hpp"

namespace coppice::conformance {
namespace {

using namespace std::chrono_literals;
using test::celsius;

struct sightings {  // Of one actor.
  std::vector<std::string> names;
};
std::vector<std::string> what_was_seen(actor& self) {
  return std::exchange(self.local<sightings>().names, {});
}

task<> starts_twice(context<numbers>& ctx) {
  co_await ctx.started(1);
  co_await ctx.started(2);
}
task<> streams_too_early(context<numbers>& ctx) {
  auto s = ctx.open_stream();
  co_await ctx.started(1);
}
task<> notes_its_end(actor& self, context<numbers>& ctx) {
  co_await ctx.started(1);
  auto s = ctx.open_stream();
  auto resting = detail::take(rest());
  auto how = co_await detail::captured<void>(std::move(resting));
  self.local<sightings>().names.push_back(ctx.canceller() ? ctx.canceller()->name : "nobody");
  std::rethrow_exception(how.error());
}
task<> only_closes(context<numbers>& ctx) {
  co_await ctx.started(1);
  auto s = ctx.open_stream();
  s.close();
}
task<> cancels_itself(context<numbers>& ctx) {
  ctx.cancel();
  co_await ctx.started(1);
}
task<> never_opens(context<numbers>& ctx) {
  co_await ctx.started(1);
  co_await sleep_forever();
}
task<> floods(context<numbers>& ctx) {
  co_await ctx.started(1);
  auto s = ctx.open_stream();
  for (std::int64_t i = 0;; ++i) co_await s.send(i);
}
task<std::int64_t> sums_slowly(context<numbers>& ctx) {
  co_await ctx.started(1);
  auto s = ctx.open_stream({.messages_max = 1});
  std::int64_t sum = 0;
  while (auto v = co_await s.receive()) {
    sum += *v;
    co_await sleep_for(1ms);
  }
  co_return sum;
}
task<> fails_when_cancelled(context<numbers>& ctx) {
  co_await ctx.started(1);
  auto resting = detail::take(rest());
  (void)co_await detail::captured<void>(std::move(resting));
  throw std::domain_error("while unwinding");
}
task<> counts_and_answers(context<numbers>& ctx) {
  co_await ctx.started(1);
  auto s = ctx.open_stream();
  auto tick = [](number_stream* to) -> task<> {
    for (;;) {
      co_await to->send(0);
      co_await sleep_for(1ms);
    }
  };
  auto inside = [&](nursery& n) -> task<> {
    n.start_soon(tick, &s);
    while (auto v = co_await s.receive()) co_await s.send(*v);
    n.cancel();
  };
  co_await open_nursery(inside);
}
task<> counts_to(context<numbers>& ctx, std::int64_t n) {
  co_await ctx.started(1);
  auto s = ctx.open_stream();
  for (std::int64_t i = 0; i < n; ++i) co_await s.send(i);
}
generator<std::int64_t> counter(std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) co_yield i;
}
inline constexpr endpoint counter_e{"kit:counter", counter, "n"};

// Fails before its first word, and on its way out cancels what it has open with another actor.
task<> fails_early(actor& self, context<numbers>&);

// The values of two streamers, each once.
task<> aggregates(actor& self, context<numbers>& ctx, std::int64_t n) {
  co_await ctx.started(1);
  auto s = ctx.open_stream();
  auto body = [&](actor_nursery& an) -> task<> {
    std::vector<bool> had(static_cast<std::size_t>(n));
    for (const char* name : {"streamer_1", "streamer_2"}) {
      portal p = co_await an.start_actor(name, {.backend = spawn::thread});
      auto merge = [&](stream<void, std::int64_t>& from) -> task<> {
        while (auto v = co_await from.receive()) {
          if (had[static_cast<std::size_t>(*v)]) continue;
          had[static_cast<std::size_t>(*v)] = true;
          co_await s.send(*v);
        }
      };
      co_await p.open_stream_from(counter_e, n, merge);
    }
  };
  co_await open_nursery(self, body);
}
task<std::string> says_text(context<>& ctx) {
  co_await ctx.started(std::string("no number"));
  co_return "text";
}
std::string whoami(actor& self) { return std::string(self.name()); }
inline constexpr endpoint whoami_e{"kit:whoami", whoami};
task<std::string> meets(actor& self, std::string other) {
  found_actor them = co_await wait_for_actor(self, other);
  co_return co_await them->run(whoami_e);
}
task<> cancels_another(actor& self, std::string other) {
  found_actor them = co_await wait_for_actor(self, other);
  co_await them->cancel_actor();
}

struct thermometer {
  using started = celsius;
  using to_callee = celsius;
  using to_caller = celsius;
};
// Says the same in each message that has a value, after one of the caller's.
task<celsius> measures(context<thermometer>& ctx, celsius degrees) {
  co_await ctx.started(degrees);
  auto s = ctx.open_stream();
  if (auto heard = co_await s.receive()) co_await s.send(*heard);
  co_return degrees;
}

task<> says_a_number(context<>& ctx, double n) { co_await ctx.started(n); }

inline constexpr endpoint seen_e{"kit:what_was_seen", what_was_seen};
inline constexpr endpoint twice_e{"kit:starts_twice", starts_twice};
inline constexpr endpoint early_e{"kit:streams_too_early", streams_too_early};
inline constexpr endpoint notes_e{"kit:notes_its_end", notes_its_end};
inline constexpr endpoint closes_e{"kit:only_closes", only_closes};
inline constexpr endpoint selfish_e{"kit:cancels_itself", cancels_itself};
inline constexpr endpoint never_opens_e{"kit:never_opens", never_opens};
inline constexpr endpoint floods_e{"kit:floods", floods};
inline constexpr endpoint sums_e{"kit:sums_slowly", sums_slowly};
inline constexpr endpoint unwinds_e{"kit:fails_when_cancelled", fails_when_cancelled};
inline constexpr endpoint answers_e{"kit:counts_and_answers", counts_and_answers};
inline constexpr endpoint counts_e{"kit:counts_to", counts_to, "n"};
inline constexpr endpoint aggregates_e{"kit:aggregates", aggregates, "n"};
inline constexpr endpoint says_text_e{"kit:says_text", says_text};
inline constexpr endpoint meets_e{"kit:meets", meets, "other"};
inline constexpr endpoint cancels_e{"kit:cancels_another", cancels_another, "other"};
inline constexpr endpoint early_failure_e{"kit:fails_early", fails_early};
inline constexpr endpoint says_a_number_e{"kit:says_a_number", says_a_number, "n"};
inline constexpr endpoint measures_e{"kit:measures", measures, "degrees"};

task<> fails_early(actor& self, context<numbers>&) {
  auto body = [&](actor_nursery& an) -> task<> {
    portal sleeper = co_await an.start_actor("sleeper", {.backend = spawn::thread});
    auto leaves = [](remote_context<numbers>& with, std::int64_t) -> task<> {
      co_await checkpoint();
      try {
        throw std::invalid_argument("too early");
      } catch (...) {
        with.cancel();
        throw;
      }
    };
    co_await sleeper.open_context(never_opens_e, leaves);
  };
  co_await open_nursery(self, body);
}

auto rests = [](remote_context<numbers>&, std::int64_t) -> task<> { co_await sleep_forever(); };
auto does_nothing = [](remote_context<numbers>&, std::int64_t) -> task<> { co_await checkpoint(); };

INSTANTIATE_TEST_SUITE_P(, Scenario, testing::ValuesIn(native_kinds()), kind_name);

TEST_P(Scenario, StartedMisuse) {
  std::vector<std::string> names;
  with_actor([&](actor&, portal p) -> task<> {
    auto twice = [&]() -> task<> { co_await p.open_context(twice_e, rests); };
    auto early = [&]() -> task<> { co_await p.open_context(early_e, rests); };
    names.push_back(co_await error_name(twice));
    names.push_back(co_await error_name(early));
  });
  EXPECT_EQ(names, (std::vector<std::string>{"RuntimeError", "RuntimeError"}));
}

TEST_P(Scenario, ParentExitsCtxAfterChildEntersStream) {
  std::vector<std::string> all;
  with_actor([&](actor&, portal p) -> task<> {
    for (const bool in_stream : {false, true}) {
      auto body = [&](remote_context<numbers>& ctx, std::int64_t) -> task<> {
        std::optional<number_stream> s;
        if (in_stream) s.emplace(ctx.open_stream());
        ctx.cancel();
        co_await checkpoint();
      };
      const bool done = co_await p.open_context(notes_e, body);
      EXPECT_FALSE(done);
      const auto more = co_await p.run(seen_e);
      all.insert(all.end(), more.begin(), more.end());
    }
  });
  EXPECT_EQ(all, (std::vector<std::string>{"root", "root"}));
}

TEST_P(Scenario, ParentCancelsFromAnotherTaskWhileItIterates) {
  bool done = true;
  with_actor([&](actor&, portal p) -> task<> {
    auto body = [&](remote_context<numbers>& ctx, std::int64_t) -> task<> {
      auto s = ctx.open_stream();
      auto other = [&]() -> task<> {
        co_await s.send(1);
        ctx.cancel();
      };
      auto inside = [&](nursery& n) -> task<> {
        n.start_soon(other);
        while (auto v = co_await s.receive()) {
        }
      };
      co_await open_nursery(inside);
    };
    done = co_await p.open_context(notes_e, body);
  });
  EXPECT_FALSE(done);
}

TEST_P(Scenario, ChildExitsCtxAfterStreamOpen) {
  int values = 0, ends = 0;
  std::string again;
  with_actor([&](actor&, portal p) -> task<> {
    auto body = [&](remote_context<numbers>& ctx, std::int64_t) -> task<> {
      auto s = ctx.open_stream();
      for (int i = 0; i < 3; ++i) {
        auto v = co_await s.receive();
        ++(v ? values : ends);
      }
      try {
        auto second = ctx.open_stream();
      } catch (const out_of_order& e) {
        again = e.what();
      }
    };
    co_await p.open_context(closes_e, body);
  });
  EXPECT_EQ(values, 0);
  EXPECT_EQ(ends, 3);
  EXPECT_NE(again, "");
}

TEST_P(Scenario, ChildCancelsBeforeStarted) {
  std::string who;
  with_actor([&](actor&, portal p) -> task<> {
    auto work = [&]() -> task<> { co_await p.open_context(selfish_e, rests); };
    auto r = co_await as_result(work());
    if (auto* e = r.error<context_cancelled>()) who = e->canceller()->name;
  });
  EXPECT_EQ(who, "subject");
}

TEST_P(Scenario, OneEndStreamNotOpened) {
  std::vector<std::string> names;
  with_actor([&](actor&, portal p) -> task<> {
    auto sends = [](remote_context<numbers>& ctx, std::int64_t) -> task<> {
      auto s = ctx.open_stream();
      for (std::int64_t i = 0; i < 100; ++i) co_await s.send(i);
    };
    auto to_nobody = [&]() -> task<> { co_await p.open_context(never_opens_e, sends); };
    auto from_child = [&]() -> task<> { co_await p.open_context(floods_e, rests); };
    names.push_back(co_await error_name(to_nobody));
    names.push_back(co_await error_name(from_child));
  });
  EXPECT_EQ(names, (std::vector<std::string>{"StreamOverrun", "StreamOverrun"}));
}

TEST_P(Scenario, NoStreamIsOverrunWhereTheSenderWaits) {
  std::optional<std::int64_t> sum;
  with_actor([&](actor&, portal p) -> task<> {
    auto body = [](remote_context<numbers>& ctx, std::int64_t) -> task<> {
      auto s = ctx.open_stream({.messages_max = 1});
      for (std::int64_t i = 0; i < 200; ++i) co_await s.send(i);
    };
    sum = co_await p.open_context(sums_e, body);
  });
  EXPECT_EQ(sum, 199 * 200 / 2);
}

TEST_P(Scenario, CancelCtxWithParentSideEnteredInBgTask) {
  bool done = true;
  with_actor([&](actor&, portal p) -> task<> {
    remote_context<numbers>* opened = nullptr;
    auto body = [&](remote_context<numbers>& ctx, std::int64_t) -> task<> {
      opened = &ctx;
      co_await sleep_forever();
    };
    auto background = [&]() -> task<> { done = co_await p.open_context(never_opens_e, body); };
    auto inside = [&](nursery& n) -> task<> {
      n.start_soon(background);
      while (!opened) co_await sleep_for(1ms);
      opened->cancel();
    };
    co_await open_nursery(inside);
  });
  EXPECT_FALSE(done);
}

TEST_P(Scenario, UnmaskedRemoteExc) {
  std::string name;
  with_actor([&](actor&, portal p) -> task<> {
    auto body = [](remote_context<numbers>& ctx, std::int64_t) -> task<> {
      ctx.cancel();
      co_await sleep_forever();
    };
    auto work = [&]() -> task<> { co_await p.open_context(unwinds_e, body); };
    name = co_await error_name(work);
  });
  EXPECT_EQ(name, "ArithmeticError");  // As Python calls std::domain_error.
}

TEST_P(Scenario, DoNotSwallowErrorBeforeStartedByRemoteContextcancelled) {
  std::string name, message, later;
  bool body_ran = false;
  with_actor([&](actor&, portal p) -> task<> {
    auto body = [&](remote_context<numbers>&, std::int64_t) -> task<> {
      body_ran = true;
      co_await checkpoint();
    };
    auto work = [&]() -> task<> { co_await p.open_context(early_failure_e, body); };
    auto r = co_await as_result(work());
    if (auto* e = r.error<remote_actor_error>()) {
      name = e->info().source_type;
      message = e->message();
    }
    later = co_await p.run(whoami_e);
  });
  EXPECT_EQ(name, "ValueError");
  EXPECT_EQ(message, "too early");
  EXPECT_FALSE(body_ran);
  EXPECT_EQ(later, "subject");
}

TEST_P(Scenario, PeerCanceller) {
  std::string who, later;
  with_two("sleeper", "canceller", [&](actor&, portal sleeper, portal canceller) -> task<> {
    auto body = [&](remote_context<numbers>&, std::int64_t) -> task<> {
      auto inside = [&](nursery& n) -> task<> {
        auto ask = [](portal by) -> task<> { co_await by.run(cancels_e, "sleeper"); };
        n.start_soon(ask, canceller);
        co_await sleep_forever();
      };
      co_await open_nursery(inside);
    };
    auto work = [&]() -> task<> { co_await sleeper.open_context(never_opens_e, body); };
    auto r = co_await as_result(work());
    if (auto* e = r.error<context_cancelled>()) who = e->canceller()->name;
    later = co_await canceller.run(whoami_e);
  });
  EXPECT_EQ(who, "canceller");
  EXPECT_EQ(later, "canceller");
}

TEST_P(Scenario, ReqrespOntopofStreaming) {
  int pongs = 0, ticks = 0;
  with_actor([&](actor&, portal p) -> task<> {
    auto body = [&](remote_context<numbers>& ctx, std::int64_t) -> task<> {
      auto s = ctx.open_stream();
      co_await s.send(1);
      while (pongs < 3 || ticks < 4) {
        auto v = co_await s.receive();
        if (!v) co_return;
        ++(*v == 1 ? pongs : ticks);
        if (*v == 1) co_await s.send(1);
      }
    };
    co_await p.open_context(answers_e, body);
  });
  EXPECT_GE(pongs, 3);
  EXPECT_GE(ticks, 4);
}

TEST_P(Scenario, LocalTaskFanoutFromStream) {
  std::vector<int> counts;
  with_actor([&](actor&, portal p) -> task<> {
    auto body = [&](remote_context<numbers>& ctx, std::int64_t) -> task<> {
      auto s = ctx.open_stream();
      std::vector<number_stream::subscription> all;
      for (int i = 0; i < 22; ++i) all.push_back(s.subscribe());
      auto consume = [&](number_stream::subscription* from) -> task<> {
        int count = 0;
        while (auto v = co_await from->receive()) ++count;
        counts.push_back(count);
      };
      auto inside = [&](nursery& n) -> task<> {
        for (auto& one : all) n.start_soon(consume, &one);
        co_await checkpoint();
      };
      co_await open_nursery(inside);
    };
    co_await p.open_context(counts_e, 500, body);
  });
  EXPECT_EQ(counts, std::vector<int>(22, 500));
}

TEST_P(Scenario, StreamFromSingleSubactor) {
  std::vector<std::int64_t> got, expected(10);
  std::iota(expected.begin(), expected.end(), 0);
  with_actor([&](actor&, portal p) -> task<> {
    auto body = [&](stream<void, std::int64_t>& s) -> task<> {
      while (auto v = co_await s.receive()) got.push_back(*v);
    };
    co_await p.open_stream_from(counter_e, 10, body);
  });
  EXPECT_EQ(got, expected);
}

TEST_P(Scenario, AQuadrupleExampleAndOneThatIsNotFastEnough) {
  std::vector<std::int64_t> got, expected(1000);
  std::iota(expected.begin(), expected.end(), 0);
  bool in_time = true;
  with_actor([&](actor&, portal p) -> task<> {
    auto body = [&](remote_context<numbers>& ctx, std::int64_t) -> task<> {
      auto s = ctx.open_stream();
      while (auto v = co_await s.receive()) got.push_back(*v);
    };
    co_await p.open_context(aggregates_e, 1000, body);
    auto too_much = [&]() -> task<> { co_await p.open_context(aggregates_e, 100'000'000, body); };
    const std::size_t before = got.size();
    in_time = co_await move_on_after(50ms, too_much());
    got.resize(before);
  });
  EXPECT_EQ(got, expected);
  EXPECT_FALSE(in_time);
}

TEST_P(Scenario, RespawnConsumerTask) {
  std::vector<std::int64_t> got, expected(11);
  std::iota(expected.begin(), expected.end(), 0);
  with_actor([&](actor&, portal p) -> task<> {
    auto body = [&](stream<void, std::int64_t>& s) -> task<> {
      bool over = false;
      auto consume = [&](nursery& n) -> task<> {
        while (auto v = co_await s.receive()) {
          got.push_back(*v);
          if (*v % 2 == 0) n.cancel();
        }
        over = true;
      };
      while (!over) co_await open_nursery(consume);
    };
    co_await p.open_stream_from(counter_e, 11, body);
  });
  EXPECT_EQ(got, expected);
}

struct untyped {
  using started = value;
};

TEST_P(Scenario, BasicPayloadSpec) {
  std::vector<std::string> types;
  with_actor([&](actor&, portal p) -> task<> {
    const function_name name("kit:says_text");
    auto first = [&]() -> task<> { co_await p.open_context<numbers, std::string>(name, rests); };
    auto nothing = [](remote_context<untyped>&, value) -> task<> { co_await checkpoint(); };
    auto last = [&]() -> task<> { co_await p.open_context<untyped, std::int64_t>(name, nothing); };
    auto r = co_await as_result(first());
    if (auto* e = r.error<message_type_error>()) types.push_back(e->bad()->type);
    auto r2 = co_await as_result(last());
    if (auto* e = r2.error<message_type_error>()) types.push_back(e->bad()->type);
  });
  EXPECT_EQ(types, (std::vector<std::string>{"Started", "Return"}));
}

TEST_P(Scenario, ExtTypesOverIpc) {
  std::vector<double> heard;
  with_actor([&](actor&, portal p) -> task<> {
    auto body = [&](remote_context<thermometer>& ctx, celsius first) -> task<> {
      auto s = ctx.open_stream();
      const celsius warm(30.5);
      co_await s.send(warm);
      auto back = co_await s.receive();
      heard.push_back(first.degrees());
      if (back) heard.push_back(back->degrees());
    };
    const celsius cool(4.25);
    auto result = co_await p.open_context(measures_e, cool, body);
    if (result) heard.push_back(result->degrees());
  });
  EXPECT_EQ(heard, (std::vector<double>{4.25, 30.5, 4.25}));
}

struct any_number {
  using started = double;
  using to_callee = double;
  using to_caller = celsius;
};

TEST_P(Scenario, ExtTypesOverIpcAreValidatedOnEitherSide) {
  std::vector<std::string> bad, texts;
  with_actor([&](actor&, portal p) -> task<> {
    const function_name name("kit:measures");
    const auto note = [&](const remote_error_info& at_the_callee) {
      bad.push_back(at_the_callee.source.name + ": " + at_the_callee.source_type + ", " +
                    (at_the_callee.bad_msg ? at_the_callee.bad_msg->type : "no message"));
      texts.push_back(at_the_callee.message);
    };
    auto sends = [](remote_context<any_number>& ctx, double) -> task<> {
      auto s = ctx.open_stream();
      co_await s.send(-300);
      (void)co_await s.receive();
    };
    auto in_stream = [&]() -> task<> {
      co_await p.open_context<any_number, double>(name, kw("degrees", 20.0), sends);
    };
    auto as_argument = [&]() -> task<> {
      co_await p.open_context<any_number, double>(name, kw("degrees", -300.0), sends);
    };
    auto r = co_await as_result(in_stream());
    if (auto* e = r.error<remote_actor_error>()) note(e->info());
    auto r2 = co_await as_result(as_argument());
    if (auto* e = r2.error<remote_actor_error>()) note(e->info());
    auto here = [&]() -> task<> {
      auto nothing = [](remote_context<thermometer>&, celsius) -> task<> { co_await checkpoint(); };
      const function_name any("kit:says_a_number");
      co_await p.open_context<thermometer, double>(any, kw("n", -300.0), nothing);
    };
    auto r3 = co_await as_result(here());
    if (auto* e = r3.error<message_type_error>()) {
      bad.push_back(e->bad() ? "here: " + e->bad()->type : "no message");
      texts.emplace_back(e->what());
    }
  });
  EXPECT_EQ(bad, (std::vector<std::string>{"subject: MsgTypeError, Yield",
                                           "subject: TypeError, no message", "here: Started"}));
  for (const std::string& text : texts)
    EXPECT_NE(text.find("colder than absolute zero"), std::string::npos) << text;
}

TEST_P(Scenario, RegThenUnreg) {
  std::vector<bool> there;
  EXPECT_EQ(0, run_tree([&](actor& self) -> task<> {
              auto inside = [&](actor_nursery& an) -> task<> {
                portal p = co_await an.start_actor("worker", options_for(GetParam()));
                auto where = co_await query_actor(self, "worker");
                there.push_back(!where.empty());
                co_await p.cancel_actor();
                where = co_await query_actor(self, "worker");
                there.push_back(!where.empty());
                found_actor gone = co_await find_actor(self, "worker");
                there.push_back(bool(gone));
              };
              co_await open_nursery(self, inside);
            }));
  EXPECT_EQ(there, (std::vector<bool>{true, false, false}));
}

TEST_P(Scenario, TwoActorsWaitForEachOther) {
  std::string a, b;
  with_two("donny", "gretchen", [&](actor&, portal donny, portal gretchen) -> task<> {
    a = co_await donny.run(meets_e, "gretchen");
    b = co_await gretchen.run(meets_e, "donny");
  });
  EXPECT_EQ(a, "gretchen");
  EXPECT_EQ(b, "donny");
}

TEST_P(Scenario, CtxWithSelfActor) {
  bool refused = false;
  with_actor([&](actor& self, portal) -> task<> {
    found_actor me = co_await find_actor(self, "root");
    auto work = [&]() -> task<> { co_await me->open_context(never_opens_e, does_nothing); };
    auto r = co_await as_result(work());
    refused = r.error<out_of_order>() != nullptr;
  });
  EXPECT_TRUE(refused);
}

}  // namespace

const std::vector<exposed> endpoints_of_scenarios = {
    seen_e,      twice_e,  early_e,   notes_e,   closes_e,        selfish_e,    never_opens_e,
    floods_e,    sums_e,   unwinds_e, answers_e, counts_e,        aggregates_e, counter_e,
    says_text_e, whoami_e, meets_e,   cancels_e, early_failure_e, measures_e,   says_a_number_e};

}  // namespace coppice::conformance
