// SPDX-License-Identifier: Apache-2.0
#include "coppice/stream.hpp"  // First: proves the header stands alone.

#include "actor/dialog_test_kit.hpp"

namespace coppice::tree::test {
namespace {

struct numbers {
  using started = void;
  using to_callee = int;
  using to_caller = int;
};
struct mistaken {  // What a careless caller takes it for.
  using started = void;
  using to_callee = std::string;
  using to_caller = std::string;
};
using both = stream<int, int>;

/// What the callee does in a test, once it has started.
std::function<task<>(context<numbers>&)> part;
task<> plays(context<numbers>& ctx) {
  co_await ctx.started();
  co_await part(ctx);
}
inline constexpr endpoint plays_e{"t:plays", plays};

class Stream : public dialogs {
 protected:
  Stream() { endpoints = {plays_e}; }
  ~Stream() override { part = nullptr; }

  /// Runs the two sides; the caller's error is the result.
  template <class Body>
  std::exception_ptr play(std::function<task<>(context<numbers>&)> callee, Body body) {
    part = std::move(callee);
    std::exception_ptr how;
    run([&](portal p) -> task<> {
      auto r = co_await as_result(p.open_context(plays_e, body));
      how = r.exception();
    });
    return how;
  }
};
task<> echoes(context<numbers>& ctx) {
  auto s = ctx.open_stream();
  while (auto n = co_await s.receive()) co_await s.send(*n);
}
/// Names the value before it is looked at: nobody awaits in a condition.
template <class S>
task<bool> received(S& from) {
  auto v = co_await from.receive();
  co_return v.has_value();
}
task<> take_all(stream<int, int>& from) {
  while (auto n = co_await from.receive()) continue;
}
task<> never_reads(context<numbers>&) { co_await sleep_forever(); }
template <class E>
bool is(const std::exception_ptr& e) {
  try {
    if (e) std::rethrow_exception(e);
  } catch (const E&) {
    return true;
  } catch (...) {
  }
  return false;
}

TEST_F(Stream, ValuesArriveWholeInOrderAndTheEndIsSticky) {
  constexpr int many = 5000;
  const auto how = play(echoes, [](remote_context<numbers>& ctx) -> task<> {
    auto s = ctx.open_stream();
    auto send = [](both& to) -> task<> {
      for (int i = 0; i < many; ++i) co_await to.send(i);
    };
    auto inside = [&](nursery& n) -> task<> {
      n.start_soon(send, std::ref(s));
      for (int i = 0; i < many; ++i) EXPECT_EQ(co_await s.receive(), i);
    };
    co_await open_nursery(inside);
  });
  EXPECT_FALSE(how) << describe_exception(how);
  EXPECT_GT(std::ranges::count(told, "coppice.Credit"), 0);

  const auto again = play(
      [](context<numbers>& ctx) -> task<> {
        auto s = ctx.open_stream();
        co_await s.send(1);
      },
      [](remote_context<numbers>& ctx) -> task<> {
        auto s = ctx.open_stream();
        EXPECT_EQ(co_await s.receive(), 1);
        for (int i = 0; i < 3; ++i) EXPECT_EQ(co_await s.receive(), std::nullopt);
        EXPECT_EQ(s.try_receive(), std::nullopt);
      });
  EXPECT_FALSE(again) << describe_exception(again);
}

TEST_F(Stream, ASenderWaitsWhileTheOtherSidesWindowIsFull) {
  int sent = 0;
  std::optional<int> first;
  const auto how = play(
      [&](context<numbers>& ctx) -> task<> {
        auto s = ctx.open_stream({.messages_max = 4});
        co_await sleep_for(1h);
        EXPECT_EQ(sent, 64) << "the first window is the dialog's";
        first = co_await s.receive();
        co_await take_all(s);
      },
      [&](remote_context<numbers>& ctx) -> task<> {
        auto s = ctx.open_stream();
        for (; sent < 200; ++sent) co_await s.send(sent);
      });
  EXPECT_FALSE(how) << describe_exception(how);
  EXPECT_EQ(first, 0);
  EXPECT_EQ(sent, 200);
}

TEST_F(Stream, ASideThatNeverOpensItsStreamIsOverrunAfterABound) {
  for (const bool by_caller : {true, false}) {
    duration took{};
    const auto floods = [&](auto& ctx) -> task<> {
      auto s = ctx.open_stream({.open_within = 3s});
      for (int i = 0; i < 64; ++i) co_await s.send(i);
      const auto begun = now();
      auto r = co_await as_result(s.send(64));
      took = since(begun);
      std::rethrow_exception(r.exception());
    };
    const auto callers = [&](remote_context<numbers>& ctx) -> task<> { co_await floods(ctx); };
    const auto callees = [&](context<numbers>& ctx) -> task<> { co_await floods(ctx); };
    const auto rests = [](remote_context<numbers>&) -> task<> { co_await sleep_forever(); };
    const auto how = by_caller ? play(never_reads, callers) : play(callees, rests);
    // Another actor's comes boxed, as tractor's does.
    EXPECT_TRUE(by_caller ? is<stream_overrun>(how) : is<remote_actor_error>(how))
        << describe_exception(how);
    EXPECT_NE(describe_exception(how).find("StreamOverrun"), std::string::npos);
    EXPECT_EQ(took, 3s);
  }
}

TEST_F(Stream, AWaitForRoomHasNoBoundOnceTheOtherSideHasOpened) {
  const auto how = play(
      [](context<numbers>& ctx) -> task<> {
        co_await sleep_for(400ms);
        auto s = ctx.open_stream({.messages_max = 1});
        co_await sleep_for(1h);
        co_await take_all(s);
      },
      [](remote_context<numbers>& ctx) -> task<> {
        auto s = ctx.open_stream();
        for (int i = 0; i < 100; ++i) co_await s.send(i);
      });
  EXPECT_FALSE(how) << describe_exception(how);
}

TEST_F(Stream, ATaskThatNeverHasToWaitStillLetsTheOthersRun) {
  int turns = 0, at_end = 0;
  const auto how = play(echoes, [&](remote_context<numbers>& ctx) -> task<> {
    auto s = ctx.open_stream();
    auto other = [](int& count) -> task<> {
      for (;;) {
        co_await checkpoint();
        ++count;
      }
    };
    auto inside = [&](nursery& n) -> task<> {
      n.start_soon(other, std::ref(turns));
      for (int i = 0; i < 60; ++i) co_await s.send(i);
      at_end = turns;
      for (int i = 0; i < 1000; ++i) {
        co_await s.send(i);
        co_await received(s);
      }
      n.cancel();
    };
    co_await open_nursery(inside);
  });
  EXPECT_FALSE(how) << describe_exception(how);
  EXPECT_LE(at_end, 1) << "a send that finds room passes no turn";
  EXPECT_GE(turns, 3);
}

TEST_F(Stream, ACancelledReceiveHasNotTakenAndACancelledSendHasNotSent) {
  std::vector<int> got;
  const auto how = play(
      [&](context<numbers>& ctx) -> task<> {
        auto s = ctx.open_stream({.messages_max = 64});
        co_await sleep_for(1s);
        while (auto n = co_await s.receive()) got.push_back(*n);
      },
      [](remote_context<numbers>& ctx) -> task<> {
        auto s = ctx.open_stream();
        for (int i = 0; i < 64; ++i) co_await s.send(i);
        const bool sent = co_await move_on_after(500ms, s.send(1000));
        EXPECT_FALSE(sent);
        auto early = co_await move_on_after(100ms, s.receive());
        EXPECT_FALSE(early);
        co_await sleep_for(1s);
        co_await s.send(64);
      });
  EXPECT_FALSE(how) << describe_exception(how);
  EXPECT_EQ(got.size(), 65u);
  EXPECT_EQ(got.back(), 64);
}

TEST_F(Stream, SeveralTasksMayWaitAndAreServedInOrder) {
  std::vector<std::string> order;
  const auto how = play(
      [](context<numbers>& ctx) -> task<> {
        auto s = ctx.open_stream();
        co_await sleep_for(1s);
        for (int i = 0; i < 3; ++i) co_await s.send(i);
      },
      [&](remote_context<numbers>& ctx) -> task<> {
        auto s = ctx.open_stream();
        auto take = [](both& from, std::string name, std::vector<std::string>& to) -> task<> {
          auto n = co_await from.receive();
          to.push_back(name + (n ? std::to_string(*n) : "-"));
        };
        auto inside = [&](nursery& n) {
          for (const char* name : {"a", "b", "c", "d"})
            n.start_soon(take, std::ref(s), std::string(name), std::ref(order));
        };
        co_await open_nursery(inside);
      });
  EXPECT_FALSE(how) << describe_exception(how);
  EXPECT_EQ(order, (lines{"a0", "b1", "c2", "d-"}));
}

TEST_F(Stream, AfterAFailureWhatIsThereComesFirstAndThenTheError) {
  const auto how = play(
      [](context<numbers>& ctx) -> task<> {
        auto s = ctx.open_stream();
        co_await s.send(1);
        co_await s.send(2);
        throw std::domain_error("gone");
      },
      [](remote_context<numbers>& ctx) -> task<> {
        auto s = ctx.open_stream();
        auto look = [&]() -> task<> {
          co_await settle();
          EXPECT_EQ(co_await s.receive(), 1);
          EXPECT_EQ(s.try_receive(), 2);
          for (int i = 0; i < 2; ++i) {
            auto r = co_await as_result(s.receive());
            EXPECT_TRUE(r.error<remote_actor_error>());
            auto w = co_await as_result(s.send(1));
            EXPECT_TRUE(w.error<remote_actor_error>());
          }
          EXPECT_THROW((void)s.try_receive(), remote_actor_error);
        };
        co_await finally(checkpoint(), {.within = 1h}, look());
      });
  EXPECT_TRUE(is<remote_actor_error>(how)) << describe_exception(how);
}

TEST_F(Stream, SendAfterTheEndOfEitherSideIsAnErrorOnceThatIsKnown) {
  const auto how = play(
      [](context<numbers>& ctx) -> task<> {
        {
          auto s = ctx.open_stream();
        }
        co_await sleep_for(1s);
      },
      [](remote_context<numbers>& ctx) -> task<> {
        auto s = ctx.open_stream();
        co_await settle();
        co_await s.send(1);  // It might have crossed.
        EXPECT_EQ(co_await s.receive(), std::nullopt);
        auto r = co_await as_result(s.send(2));
        EXPECT_TRUE(r.error<channel_closed>());
        s.close();
        s.close();
        auto t = co_await as_result(s.send(3));
        EXPECT_TRUE(t.error<channel_closed>());
        EXPECT_EQ(co_await s.receive(), std::nullopt);
      });
  EXPECT_FALSE(how) << describe_exception(how);
  EXPECT_EQ(std::ranges::count(told, "Stop"), 0) << "the end was taken: tractor's rule";

  const auto returned = play([](context<numbers>&) -> task<> { co_await checkpoint(); },
                             [](remote_context<numbers>& ctx) -> task<> {
                               auto s = ctx.open_stream();
                               co_await settle();
                               auto r = co_await as_result(s.send(1));
                               EXPECT_TRUE(r.error<channel_closed>());
                             });
  EXPECT_FALSE(returned) << describe_exception(returned);
}

TEST_F(Stream, ClosingItTellsTheOtherSideAndEndsWhoWaits) {
  bool ended = false;
  const auto how = play(
      [](context<numbers>& ctx) -> task<> {
        auto s = ctx.open_stream();
        EXPECT_EQ(co_await s.receive(), std::nullopt);
      },
      [&](remote_context<numbers>& ctx) -> task<> {
        auto s = ctx.open_stream();
        auto wait = [](both& from, bool& to) -> task<> {
          auto n = co_await from.receive();
          to = !n;
        };
        auto inside = [&](nursery& n) -> task<> {
          n.start_soon(wait, std::ref(s), std::ref(ended));
          co_await settle();
          s.close();
        };
        co_await open_nursery(inside);
      });
  EXPECT_FALSE(how) << describe_exception(how);
  EXPECT_TRUE(ended);
  EXPECT_EQ(std::ranges::count(told, "Stop"), 1);
}

TEST_F(Stream, ValuesThatNobodyTakesAreDroppedWhileTheResultIsWaitedFor) {
  for (const bool opened : {false, true}) {
    const auto how = play(
        [](context<numbers>& ctx) -> task<> {
          auto s = ctx.open_stream();
          for (int i = 0; i < 5000; ++i) co_await s.send(i);
        },
        [&](remote_context<numbers>& ctx) -> task<> {
          if (!opened) co_return;
          auto s = ctx.open_stream({.messages_max = 64});
          co_await received(s);
        });
    EXPECT_FALSE(how) << describe_exception(how);
  }
}

TEST_F(Stream, AValueOfAnotherTypeNamesYieldAndTheNextOneFollows) {
  part = [](context<numbers>& ctx) -> task<> {
    auto s = ctx.open_stream();
    co_await s.send(1);
    co_await s.send(2);
    co_await sleep_forever();
  };
  run([&](portal p) -> task<> {
    auto body = [](remote_context<mistaken>& ctx) -> task<> {
      auto s = ctx.open_stream();
      auto r = co_await as_result(s.receive());
      auto* e = r.error<message_type_error>();
      EXPECT_TRUE(e && e->bad());
      if (e) {
        EXPECT_EQ(e->bad()->type, "Yield");
        EXPECT_EQ(e->bad()->expected, "str");
        EXPECT_EQ(e->bad()->got, "int");
      }
      co_await sleep_for(1s);
      EXPECT_THROW((void)s.try_receive(), message_type_error) << "the second one";
      EXPECT_EQ(s.try_receive(), std::nullopt);
      ctx.cancel();
      co_await sleep_forever();
    };
    const bool done = co_await p.open_context<mistaken, void>("t:plays", body);
    EXPECT_FALSE(done);
  });
}

TEST_F(Stream, EverySubscriptionGetsEveryValueAndTheSlowHearWhatTheyMissed) {
  std::vector<int> fast, slow;
  std::uint64_t missed = 0;
  const auto how = play(
      [](context<numbers>& ctx) -> task<> {
        auto s = ctx.open_stream();
        for (int i = 0; i < 300; ++i) co_await s.send(i);
      },
      [&](remote_context<numbers>& ctx) -> task<> {
        auto s = ctx.open_stream({.subscribe_max = 10});
        using place = both::subscription;
        auto take = [](place from, std::vector<int>& to, duration each,
                       std::uint64_t& m) -> task<> {
          for (;;) {
            auto r = co_await as_result(from.receive());
            if (r.error<lagged>()) continue;
            const auto v = r.value();
            m = from.missed();
            if (!v) co_return;
            to.push_back(*v);
            co_await sleep_for(each);
          }
        };
        auto inside = [&](nursery& n) {
          static std::uint64_t none = 0;
          n.start_soon(take, s.subscribe(), std::ref(fast), 1ms, std::ref(none));
          n.start_soon(take, s.subscribe(), std::ref(slow), 10ms, std::ref(missed));
          EXPECT_EQ(none, 0u);
        };
        co_await open_nursery(inside);
        EXPECT_THROW((void)s.receive(), out_of_order);
      });
  EXPECT_FALSE(how) << describe_exception(how);
  EXPECT_EQ(fast.size(), 300u) << "the fastest loses none";
  EXPECT_GT(missed, 0u);
  EXPECT_EQ(slow.size() + missed, 300u);
  EXPECT_EQ(slow.back(), 299);
}

TEST_F(Stream, ASubscriberThatIsCancelledLeavesTheOthersTheirValues) {
  std::optional<int> got;
  const auto how = play(
      [](context<numbers>& ctx) -> task<> {
        auto s = ctx.open_stream();
        co_await sleep_for(2s);
        co_await s.send(5);
      },
      [&](remote_context<numbers>& ctx) -> task<> {
        auto s = ctx.open_stream();
        auto first = s.subscribe();
        auto second = s.subscribe();
        auto wait = [&]() -> task<> { got = co_await second.receive(); };
        auto inside = [&](nursery& n) -> task<> {
          n.start_soon([&] { return wait(); });
          auto r = co_await move_on_after(1s, first.receive());
          EXPECT_FALSE(r);
        };
        co_await open_nursery(inside);
      });
  EXPECT_FALSE(how) << describe_exception(how);
  EXPECT_EQ(got, 5);
}

TEST_F(Stream, SubscriptionsHearOfTheFailureAndOfValuesOfAnotherType) {
  part = [](context<numbers>& ctx) -> task<> {
    auto s = ctx.open_stream();
    co_await s.send(1);
    co_await sleep_for(1s);
    throw std::domain_error("gone");
  };
  run([&](portal p) -> task<> {
    auto body = [](remote_context<mistaken>& ctx) -> task<> {
      auto s = ctx.open_stream();
      auto sub = s.subscribe();
      auto r = co_await as_result(sub.receive());
      EXPECT_TRUE(r.error<message_type_error>()) << describe_exception(r.exception());
    };
    auto r = co_await as_result(p.open_context<mistaken, void>("t:plays", body));
    EXPECT_TRUE(r.error<remote_actor_error>());
    auto waits = [](remote_context<numbers>& ctx) -> task<> {
      auto s = ctx.open_stream();
      auto sub = s.subscribe();
      EXPECT_EQ(co_await sub.receive(), 1);
      auto look = [&]() -> task<> {
        auto f = co_await as_result(sub.receive());
        EXPECT_TRUE(f.error<remote_actor_error>());
      };
      co_await finally(checkpoint(), {.within = 1h}, look());
    };
    auto t = co_await as_result(p.open_context(plays_e, waits));
    EXPECT_TRUE(t.error<remote_actor_error>());
  });
}

TEST_F(Stream, FromATractorPeerTooManyValuesAreItsErrorUnlessAllowed) {
  tractor = true;
  for (const bool allowed : {false, true}) {
    int got = 0;
    const auto how = play(
        [&](context<numbers>& ctx) -> task<> {
          auto s = ctx.open_stream({.messages_max = 64, .allow_overruns = allowed});
          co_await sleep_for(1s);
          while (auto n = co_await s.receive()) ++got;
        },
        [](remote_context<numbers>& ctx) -> task<> {
          co_await settle();
          auto s = ctx.open_stream();
          for (int i = 0; i < 100; ++i) co_await s.send(i);
        });
    if (allowed) {
      EXPECT_FALSE(how) << describe_exception(how);
      EXPECT_EQ(got, 100);
    } else {
      EXPECT_TRUE(is<stream_overrun>(how)) << describe_exception(how);
    }
  }
}

}  // namespace
}  // namespace coppice::tree::test
