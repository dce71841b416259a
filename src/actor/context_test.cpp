// SPDX-License-Identifier: Apache-2.0
#include "coppice/context.hpp"  // First: proves the header stands alone.

#include "actor/dialog_test_kit.hpp"

namespace coppice::tree::test {
namespace {

struct order {
  int quantity = 0;
};
struct fill {
  int quantity = 0;
  double price = 0;
};
struct trading {
  using started = int;
  using to_callee = order;
  using to_caller = fill;
};
struct silent {  // No first word of interest.
  using started = void;
};

task<> rest_for_ever() { co_await sleep_forever(); }
task<std::string> trade(context<trading>& ctx, std::string symbol) {
  co_await ctx.started(7);
  auto stream = ctx.open_stream();
  int orders = 0;
  while (auto o = co_await stream.receive()) {
    ++orders;
    co_await stream.send({.quantity = o->quantity, .price = 1.25});
  }
  co_return symbol + ": " + std::to_string(orders);
}
task<int> answer(context<silent>& ctx) {
  co_await ctx.started();
  co_return 42;
}
task<> blocks(context<silent>& ctx) {
  co_await ctx.started();
  co_await sleep_forever();
}
task<> greets(context<silent>& ctx) { co_await ctx.started(); }
task<> never_starts(context<silent>&) { co_await sleep_forever(); }
task<> only_returns(context<silent>&) { co_await checkpoint(); }
task<> fails(context<silent>& ctx, int ms) {
  co_await ctx.started();
  co_await sleep_for(std::chrono::milliseconds(ms));
  throw std::invalid_argument("callee's");
}
task<> fails_at_once(context<silent>&) {
  co_await checkpoint();
  throw std::invalid_argument("instead of a first word");
}
task<> fails_when_cancelled(context<silent>& ctx) {
  co_await ctx.started();
  auto sleeping = detail::take(rest_for_ever());
  (void)co_await detail::captured<void>(std::move(sleeping));
  throw std::domain_error("while unwinding");
}
task<> stubborn(context<silent>& ctx) {
  co_await ctx.started();
  co_await finally(sleep_forever(), {.within = 1h}, sleep_for(2s));
}
task<> starts_twice(context<trading>& ctx) {
  co_await ctx.started(1);
  co_await ctx.started(2);
}
task<> streams_too_early(context<trading>& ctx) {
  auto stream = ctx.open_stream();
  co_await ctx.started(1);
}
task<> cancels_itself(context<silent>& ctx, bool before_started) {
  if (!before_started) co_await ctx.started();
  ctx.cancel("had enough");
  co_await sleep_forever();
}
lines seen;  // By the callee.
task<> notes_its_end(context<silent>& ctx) {
  co_await ctx.started();
  auto sleeping = detail::take(rest_for_ever());
  auto how = co_await detail::captured<void>(std::move(sleeping));
  seen.push_back(ctx.canceller() ? ctx.canceller()->name : "nobody");
  seen.push_back(ctx.cancel_called() ? "asked itself" : "was asked");
  std::rethrow_exception(how.error());
}
struct by_name {
  std::string text;
  int times = 1;
};
task<std::string> repeat(actor& self, context<silent>& ctx, by_name what) {
  co_await ctx.started();
  std::string out = std::string(self.name()) + ":";
  for (int i = 0; i < what.times; ++i) out += what.text;
  co_return out;
}
task<value> untyped(context<>& ctx, value first) {
  co_await ctx.started(first);
  auto stream = ctx.open_stream();
  while (auto v = co_await stream.receive()) co_await stream.send(*v);
  co_return value::of(std::string("done"));
}
struct bank {
  int visits = 0;
  task<int> visit(context<silent>& ctx, int by) {
    co_await ctx.started();
    co_return visits += by;
  }
};

inline constexpr endpoint trade_e{"t:trade", trade, "symbol"};
inline constexpr endpoint answer_e{"t:answer", answer};
inline constexpr endpoint blocks_e{"t:blocks", blocks};
inline constexpr endpoint greets_e{"t:greets", greets};
inline constexpr endpoint never_starts_e{"t:never_starts", never_starts};
inline constexpr endpoint only_returns_e{"t:only_returns", only_returns};
inline constexpr endpoint fails_e{"t:fails", fails, "ms"};
inline constexpr endpoint fails_at_once_e{"t:fails_at_once", fails_at_once};
inline constexpr endpoint unwinds_e{"t:unwinds", fails_when_cancelled};
inline constexpr endpoint stubborn_e{"t:stubborn", stubborn};
inline constexpr endpoint twice_e{"t:twice", starts_twice};
inline constexpr endpoint early_e{"t:early", streams_too_early};
inline constexpr endpoint selfish_e{"t:selfish", cancels_itself, "before_started"};
inline constexpr endpoint notes_e{"t:notes", notes_its_end};
inline constexpr endpoint repeat_e{"t:repeat", repeat, as_kwargs};
inline constexpr endpoint untyped_e{"t:untyped", untyped, "first"};
inline constexpr endpoint bank_e{"t:visit", &bank::visit, "by"};
inline constexpr endpoint<std::string(std::string), trading> declared_e{"t:trade", "symbol"};

class Context : public dialogs {
 protected:
  Context() {
    seen.clear();
    endpoints = {trade_e,         answer_e,  blocks_e,   never_starts_e, only_returns_e, fails_e,
                 fails_at_once_e, unwinds_e, stubborn_e, twice_e,        early_e,        selfish_e,
                 notes_e,         repeat_e,  untyped_e,  bank_e,         greets_e};
  }
};
auto sleeps = [](remote_context<silent>&) -> task<> { co_await sleep_forever(); };
auto nothing_to_do = [](remote_context<silent>&) -> task<> { co_await checkpoint(); };

TEST_F(Context, ItsBodyBeginsWithTheFirstWordAndGivesTheCalleesResult) {
  std::optional<std::string> result;
  std::vector<double> prices;
  run([&](portal p) -> task<> {
    auto body = [&](remote_context<trading>& ctx, int session) -> task<> {
      EXPECT_EQ(session, 7);
      EXPECT_EQ(ctx.peer().name, "callee");
      auto stream = ctx.open_stream();
      for (int i = 1; i <= 3; ++i) {
        co_await stream.send({.quantity = i});
        auto f = co_await stream.receive();
        prices.push_back(f->price * f->quantity);
      }
    };
    result = co_await p.open_context(trade_e, "EURUSD", body);
    auto again = co_await p.open_context(declared_e, "EURUSD", body);
    EXPECT_EQ(again, result) << "an endpoint that is only declared";
  });
  EXPECT_EQ(result, "EURUSD: 3");
  EXPECT_EQ(prices, (std::vector<double>{1.25, 2.5, 3.75, 1.25, 2.5, 3.75}));
}

TEST_F(Context, ByNameByStructByMemberAndUntypedItIsTheSame) {
  run([&](portal p) -> task<> {
    auto quiet = [](remote_context<silent>&) {};
    auto a = co_await p.open_context<silent, int>("t:answer", quiet);
    EXPECT_EQ(a, 42);
    const by_name twice{.text = "ab", .times = 2};
    auto b = co_await p.open_context(repeat_e, twice, quiet);
    EXPECT_EQ(b, "callee:abab");
    EXPECT_EQ(co_await p.open_context(bank_e, 2, quiet), 2);
    EXPECT_EQ(co_await p.open_context(bank_e, 3, quiet), 5) << "the actor's one bank";
    auto body = [](remote_context<>& ctx, value first) -> task<> {
      EXPECT_EQ(first.as<int>(), 5);
      auto stream = ctx.open_stream();
      co_await stream.send(std::string("hi"));
      auto back = co_await stream.receive();
      EXPECT_EQ(back->as<std::string>(), "hi");
    };
    auto c = co_await p.open_context("t:untyped", kw("first", 5), body);
    EXPECT_EQ(c->as<std::string>(), "done");
  });
}

TEST_F(Context, OfVoidItIsTrueForAResultAndFalseIfThisSideCancelled) {
  run([&](portal p) -> task<> {
    bool done = co_await p.open_context(greets_e, nothing_to_do);
    EXPECT_TRUE(done);
    auto cancels = [](remote_context<silent>& ctx) -> task<> {
      ctx.cancel();
      EXPECT_TRUE(ctx.cancel_called());
      co_await sleep_forever();
    };
    done = co_await p.open_context(blocks_e, cancels);
    EXPECT_FALSE(done);
  });
}

TEST_F(Context, AnErrorInsteadOfTheFirstWordIsThrownAndTheBodyDoesNotRun) {
  bool ran = false;
  run([&](portal p) -> task<> {
    auto body = [&](remote_context<silent>&) -> task<> {
      ran = true;
      co_await checkpoint();
    };
    auto r = co_await as_result(p.open_context(fails_at_once_e, body));
    auto* e = r.error<remote_actor_error>();
    EXPECT_TRUE(e && e->is<std::invalid_argument>());
    auto none = co_await as_result(p.open_context(only_returns_e, body));
    EXPECT_TRUE(none.error<out_of_order>()) << "a result instead of it";
    auto unknown = co_await as_result(p.open_context<silent>("t:no_such", body));
    EXPECT_TRUE(unknown.error<remote_actor_error>());
  });
  EXPECT_FALSE(ran);
}

TEST_F(Context, ACancellationBeforeTheFirstWordCancelsTheCallee) {
  run([&](portal p) -> task<> {
    const auto begun = now();
    auto r = co_await move_on_after(1s, p.open_context(never_starts_e, nothing_to_do));
    EXPECT_FALSE(r.has_value());
    EXPECT_EQ(since(begun), 1s) << "it ended at once";
  });
  EXPECT_EQ(std::ranges::count(told, "_cancel_task"), 1);
}

TEST_F(Context, ARemoteErrorCancelsTheBodyAndIsThrown) {
  bool cancelled_there = false;
  run([&](portal p) -> task<> {
    auto body = [&](remote_context<silent>&) -> task<> {
      auto rest = detail::take(rest_for_ever());
      auto how = co_await detail::captured<void>(std::move(rest));
      cancelled_there = detail::is_cancelled(how.error());
      std::rethrow_exception(how.error());
    };
    auto r = co_await as_result(p.open_context(fails_e, 1000, body));
    auto* e = r.error<remote_actor_error>();
    EXPECT_TRUE(e && e->message() == "callee's");
  });
  EXPECT_TRUE(cancelled_there);
}

TEST_F(Context, AnErrorOfTheBodyCancelsTheCalleeAndIsThrown) {
  run([&](portal p) -> task<> {
    auto body = [](remote_context<silent>&) -> task<> {
      co_await checkpoint();
      throw std::runtime_error("body's");
    };
    auto r = co_await as_result(p.open_context(notes_e, body));
    auto* e = r.error<std::runtime_error>();
    EXPECT_TRUE(e && e->what() == std::string("body's"));
  });
  EXPECT_EQ(seen, (lines{"caller", "was asked"}));
}

TEST_F(Context, FailuresOfBothSidesComeOutTogether) {
  run([&](portal p) -> task<> {
    auto body = [](remote_context<silent>&) -> task<> {
      co_await checkpoint();
      throw std::runtime_error("body's");
    };
    auto r = co_await as_result(p.open_context(unwinds_e, body));
    auto* group = r.error<error_group>();
    EXPECT_TRUE(group && group->errors().size() == 2) << describe_exception(r.exception());
  });
}

TEST_F(Context, WhatTheStreamThrewIsToldOnce) {
  run([&](portal p) -> task<> {
    auto body = [](remote_context<silent>& ctx) -> task<> {
      auto stream = ctx.open_stream();
      auto read = [&]() -> task<> { (void)co_await stream.receive(); };
      co_await finally(checkpoint(), {.within = 1h}, read());  // Kept from the cancellation.
    };
    auto r = co_await as_result(p.open_context(fails_e, 1000, body));
    EXPECT_TRUE(r.error<remote_actor_error>()) << describe_exception(r.exception());
  });
}

TEST_F(Context, AFailureOfTheCalleeGoesBeforeACancellationFromOutside) {
  run([&](portal p) -> task<> {
    auto limited = [&]() -> task<> {
      co_await move_on_after(1s, p.open_context(unwinds_e, sleeps));
    };
    auto r = co_await as_result(limited());
    auto* e = r.error<remote_actor_error>();
    EXPECT_TRUE(e && e->is<std::domain_error>());
  });
}

TEST_F(Context, CancelledFromOutsideItCancelsTheCalleeAndWaitsForIt) {
  run([&](portal p) -> task<> {
    auto r = co_await move_on_after(1s, p.open_context(notes_e, sleeps));
    EXPECT_FALSE(r);
    EXPECT_EQ(seen, (lines{"caller", "was asked"}));
  });
}

TEST_F(Context, ACalleeThatDoesNotEndIsStuckAfterHalfASecond) {
  run([&](portal p) -> task<> {
    const auto begun = now();
    auto limited = [&]() -> task<> {
      co_await move_on_after(1s, p.open_context(stubborn_e, sleeps));
    };
    auto r = co_await as_result(limited());
    EXPECT_TRUE(r.error<call_stuck>());
    EXPECT_EQ(since(begun), 1500ms);
    auto cancels = [](remote_context<silent>& ctx) -> task<> {
      ctx.cancel();
      co_await sleep_forever();
    };
    auto s = co_await as_result(p.open_context(stubborn_e, cancels));
    EXPECT_TRUE(s.error<call_stuck>());
    EXPECT_EQ(since(begun), 2s) << "its body was cancelled then, too";
    auto fails = [](remote_context<silent>&) -> task<> {
      co_await checkpoint();
      throw std::runtime_error("body's");
    };
    auto t = co_await as_result(p.open_context(stubborn_e, fails));
    auto* group = t.error<error_group>();
    EXPECT_TRUE(group && group->errors().size() == 2);
  });
}

TEST_F(Context, CancelByThisSideEndsTheBodyAndGivesNothing) {
  run([&](portal p) -> task<> {
    const auto begun = now();
    auto body = [&](remote_context<silent>& ctx) -> task<> {
      auto later = [](remote_context<silent>& c) -> task<> {
        co_await sleep_for(1s);
        c.cancel("from another task");
      };
      auto inside = [&](nursery& n) -> task<> {
        n.start_soon(later, std::ref(ctx));
        co_await sleep_forever();
      };
      co_await open_nursery(inside);
    };
    auto r = co_await p.open_context<silent, int>("t:blocks", body);
    EXPECT_FALSE(r);
    EXPECT_EQ(since(begun), 1s);
  });
}

TEST_F(Context, CancelWhileTheResultIsWaitedForGivesNothing) {
  run([&](portal p) -> task<> {
    auto around = [&](nursery& n) -> task<> {
      auto body = [&](remote_context<silent>& ctx) -> task<> {
        auto later = [](remote_context<silent>& c) -> task<> {
          co_await sleep_for(1s);
          c.cancel();
        };
        n.start_soon(later, std::ref(ctx));
        co_await checkpoint();
      };
      const bool done = co_await p.open_context(blocks_e, body);
      EXPECT_FALSE(done);
    };
    co_await open_nursery(around);
  });
}

TEST_F(Context, AResultThatWasOnItsWayIsGivenThoughThisSideCancelled) {
  run([&](portal p) -> task<> {
    auto body = [&](remote_context<silent>& ctx) -> task<> {
      co_await settle();
      ctx.cancel();
    };
    EXPECT_EQ(co_await p.open_context(answer_e, body), 42);
  });
}

TEST_F(Context, ACalleeThatCancelsItselfNamesItself) {
  run([&](portal p) -> task<> {
    for (const bool before : {false, true}) {
      auto r = co_await as_result(p.open_context(selfish_e, before, sleeps));
      auto* e = r.error<context_cancelled>();
      EXPECT_TRUE(e) << describe_exception(r.exception());
      if (e) {
        EXPECT_EQ(e->canceller()->name, "callee");
        EXPECT_NE(std::string(e->what()).find("had enough"), std::string::npos) << e->what();
      }
    }
  });
}

TEST_F(Context, AThirdActorThatCancelsTheCalleeIsNamedAndGoesBeforeOurOwnCancel) {
  run([&](portal p) -> task<> {
    auto third = make("third");
    served.push_back(third);
    all->start_soon(
        "third", [](std::shared_ptr<native_actor> a) { return a->serve("", [] {}); }, third);
    co_await settle();
    auto target = connect(third, served.front());
    auto body = [&](remote_context<silent>& ctx) -> task<> {
      co_await third->cancel_child(target);
      ctx.cancel();  // Too late: it has ended for another reason.
      co_await sleep_forever();
    };
    auto r = co_await as_result(p.open_context(blocks_e, body));
    auto* e = r.error<context_cancelled>();
    EXPECT_TRUE(e && e->canceller()->name == "third") << describe_exception(r.exception());
  });
}

TEST_F(Context, AnActorThatWeCancelledIsNoAnswerToCancel) {
  run([&](portal p) -> task<> {
    auto body = [&](remote_context<silent>&) -> task<> {
      co_await p.cancel_actor();
      co_await sleep_forever();
    };
    auto r = co_await as_result(p.open_context(blocks_e, body));
    auto* e = r.error<context_cancelled>();
    EXPECT_TRUE(e && e->canceller()->name == "caller") << describe_exception(r.exception());
  });
}

TEST_F(Context, StartedIsSaidOnceAndStreamsComeAfterIt) {
  run([&](portal p) -> task<> {
    auto body = [](remote_context<trading>&, int) -> task<> { co_await sleep_forever(); };
    for (const auto& e : {twice_e, early_e}) {
      auto r = co_await as_result(p.open_context(e, body));
      auto* x = r.error<remote_actor_error>();
      EXPECT_TRUE(x && x->is<out_of_order>()) << describe_exception(r.exception());
    }
    auto opens_twice = [](remote_context<trading>& ctx, int) -> task<> {
      {
        auto first = ctx.open_stream();
      }
      EXPECT_THROW((void)ctx.open_stream(), out_of_order);
      co_await checkpoint();
    };
    EXPECT_EQ(co_await p.open_context(trade_e, "x", opens_twice), "x: 0");
  });
}

TEST_F(Context, ALinkThatClosesFailsTheDialogOnBothSides) {
  run([&](portal p) -> task<> {
    auto body = [&](remote_context<silent>&) -> task<> {
      taps.front()->link->close("cut");
      co_await sleep_forever();
    };
    auto r = co_await as_result(p.open_context(notes_e, body));
    EXPECT_TRUE(r.error<transport_closed>()) << describe_exception(r.exception());
    auto again = co_await as_result(p.run("t:answer"));
    EXPECT_TRUE(again.error<transport_closed>()) << "the portal names a link";
  });
  EXPECT_EQ(seen, (lines{"nobody", "was asked"}));
}

TEST_F(Context, TheEndOfTheConnectionIsNotToldBesideAnErrorOfTheBody) {
  run([&](portal p) -> task<> {
    auto body = [&](remote_context<silent>&) -> task<> {
      taps.front()->link->close("cut");
      co_await checkpoint();
      throw std::runtime_error("body's");
    };
    auto r = co_await as_result(p.open_context(blocks_e, body));
    EXPECT_FALSE(r.error<error_group>());
    EXPECT_TRUE(r.error<std::runtime_error>());
  });
}

TEST_F(Context, WithOneselfIsAnInvalidOperation) {
  run([&](portal) -> task<> {
    const portal self(connect(caller, caller));
    auto r = co_await as_result(self.open_context(blocks_e, nothing_to_do));
    auto* e = r.error<out_of_order>();
    EXPECT_TRUE(e && std::string(e->what()).find("Invalid Operation") == 0);
  });
}

TEST_F(Context, AFirstWordOrResultOfAnotherTypeNamesItsMessage) {
  run([&](portal p) -> task<> {
    auto wrong_word = [](remote_context<trading>&, int) -> task<> { co_await sleep_forever(); };
    auto a = co_await as_result(p.open_context<trading, int>("t:blocks", wrong_word));
    auto* e = a.error<message_type_error>();
    EXPECT_TRUE(e && e->bad()) << describe_exception(a.exception());
    if (e) {
      EXPECT_EQ(e->bad()->type, "Started");
      EXPECT_EQ(e->bad()->expected, "int");
      EXPECT_EQ(e->bad()->got, "None");
      EXPECT_FALSE(e->bad()->cid.empty());
      EXPECT_NE(std::string(e->what()).find("t:blocks"), std::string::npos) << e->what();
    }
    auto quiet = [](remote_context<silent>&) {};
    auto b =
        co_await as_result(p.open_context<silent, std::vector<std::string>>("t:answer", quiet));
    auto* f = b.error<message_type_error>();
    EXPECT_TRUE(f && f->bad()) << describe_exception(b.exception());
    if (f) {
      EXPECT_EQ(f->bad()->type, "Return");
      EXPECT_EQ(f->bad()->expected, "list[str]");
      EXPECT_EQ(f->bad()->got, "int");
    }
  });
}

TEST_F(Context, TheEndpointsOfADialogAreNoCalls) {
  run([&](portal p) -> task<> {
    auto r = co_await as_result(p.run("t:answer"));
    auto* e = r.error<remote_actor_error>();
    EXPECT_TRUE(e && e->is<argument_error>());
    EXPECT_NE(e->message().find("open_context"), std::string::npos) << e->message();
  });
}

TEST_F(Context, AnErrorOfTheCallersSideCancelsTheCalleeAndComesBack) {
  run([&](portal p) -> task<> {
    auto body = [&](remote_context<silent>&) -> task<> {
      // Coppice callers do not send one; a tractor's overrun is one.
      msg::boxed_error m = msg::to_message(
          to_remote(std::make_exception_ptr(std::runtime_error("no")), caller->id()),
          taps[1]->last_cid);
      taps.front()->link->send(std::move(m));
      co_await sleep_forever();
    };
    auto r = co_await as_result(p.open_context(notes_e, body));
    auto* e = r.error<remote_actor_error>();
    EXPECT_TRUE(e) << describe_exception(r.exception());
    if (e) {
      EXPECT_EQ(e->path(), (lines{"caller", "callee"}));
    }
  });
  EXPECT_EQ(seen.size(), 2u) << "its scope was cancelled";
}

TEST_F(Context, TheBodysValueIsNotTheContexts) {
  run([&](portal p) -> task<> {
    bool plain = false;
    auto body = [&](remote_context<silent>&) { plain = true; };  // No coroutine.
    EXPECT_EQ(co_await p.open_context(answer_e, body), 42);
    EXPECT_TRUE(plain);
  });
}

}  // namespace
}  // namespace coppice::tree::test
