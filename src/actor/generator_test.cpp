// SPDX-License-Identifier: Apache-2.0
#include "coppice/generator.hpp"  // First: proves the header stands alone.

#include "actor/dialog_test_kit.hpp"
#include "coppice/testkit/async_test.hpp"

namespace coppice::tree::test {
namespace {

struct noted {
  explicit noted(lines& l) : to(l) {}
  ~noted() { to.push_back("destroyed"); }
  lines& to;
};
lines noted_lines;

generator<int> ticks(int n, int ms) {
  noted end(noted_lines);
  for (int i = 0; i < n; ++i) {
    co_await sleep_for(std::chrono::milliseconds(ms));
    co_yield i;
  }
  noted_lines.push_back("done");
}
generator<std::string> fails_after(int n) {
  for (int i = 0; i < n; ++i) co_yield std::to_string(i);
  throw std::domain_error("no more");
}
generator<int> in_a_scope() {
  auto body = [](nursery&) {};
  co_await open_nursery(body);
  co_yield 1;
}
generator<int> stays() {
  co_yield 1;
  co_await finally(sleep_forever(), {.within = 1h}, sleep_for(2s));
}
int plain() { return 1; }

inline constexpr endpoint ticks_e{"t:ticks", ticks, "n", "ms"};
inline constexpr endpoint fails_after_e{"t:fails_after", fails_after, "n"};
inline constexpr endpoint stays_e{"t:stubborn", stays};
inline constexpr endpoint plain_e{"t:plain", plain};
inline constexpr endpoint<generator<int>(int, int)> only_named_e{"t:ticks", "n", "ms"};

class Generator : public dialogs {
 protected:
  Generator() {
    noted_lines.clear();
    endpoints = {ticks_e, fails_after_e, stays_e, plain_e};
  }
};

COPPICE_TEST(LocalGenerator, GivesItsValuesInTheTaskThatAsks) {
  noted_lines.clear();
  auto g = ticks(3, 1000);
  std::vector<int> got;
  while (auto v = co_await g.next()) got.push_back(*v);
  EXPECT_EQ(got, (std::vector<int>{0, 1, 2}));
  EXPECT_EQ(t.elapsed(), 3s);
  EXPECT_EQ(noted_lines, (lines{"done", "destroyed"}));
  auto again = co_await g.next();
  EXPECT_FALSE(again) << "it has ended";
}

COPPICE_TEST(LocalGenerator, IsLazyAndEndsWhereItIsDestroyed) {
  noted_lines.clear();
  {
    auto g = ticks(3, 0);
  }
  EXPECT_TRUE(noted_lines.empty()) << "nothing of it ran";
  {
    auto g = ticks(3, 0);
    auto v = co_await g.next();
    EXPECT_EQ(v, 0);
  }
  EXPECT_EQ(noted_lines, (lines{"destroyed"}));
}

COPPICE_TEST(LocalGenerator, WhatItThrowsComesOutOfNextOnce) {
  auto g = fails_after(1);
  auto ask = [&]() -> task<std::optional<std::string>> { co_return co_await g.next(); };
  EXPECT_EQ(co_await ask(), "0");
  auto r = co_await as_result(ask());
  EXPECT_TRUE(r.error<std::domain_error>());
  EXPECT_EQ(co_await ask(), std::nullopt);
}

COPPICE_TEST(LocalGenerator, IsCancelledWhereItWaits) {
  auto g = ticks(3, 10'000);
  auto ask = [&]() -> task<std::optional<int>> { co_return co_await g.next(); };
  auto r = co_await move_on_after(1s, ask());
  EXPECT_FALSE(r.has_value());
  EXPECT_EQ(t.elapsed(), 1s);
}

COPPICE_TEST(LocalGenerator, MayYieldAfterAScopeOfItsOwnHasEnded) {
  auto g = in_a_scope();
  auto v = co_await g.next();
  EXPECT_EQ(v, 1);
}

TEST_F(Generator, AsAnEndpointItIsAOneWayStream) {
  run([&](portal p) -> task<> {
    std::vector<int> got;
    auto body = [&](stream<void, int>& values) -> task<int> {
      while (auto v = co_await values.receive()) got.push_back(*v);
      co_return 5;
    };
    EXPECT_EQ(co_await p.open_stream_from(ticks_e, 3, 10, body), 5) << "the body's value";
    EXPECT_EQ(
        co_await p.open_stream_from(only_named_e, stream_options{.messages_max = 1}, 3, 10, body),
        5);
    EXPECT_EQ(co_await p.open_stream_from<int>("t:ticks", kw("n", 1), kw("ms", 0), body), 5);
    EXPECT_EQ(got, (std::vector<int>{0, 1, 2, 0, 1, 2, 0}));
  });
  EXPECT_EQ(std::ranges::count(told, "_cancel_task"), 0) << "it had ended by itself";
}

TEST_F(Generator, ABodyThatLeavesEarlyCancelsIt) {
  run([&](portal p) -> task<> {
    const auto begun = now();
    auto body = [](stream<void, int>& values) -> task<> {
      auto v = co_await values.receive();
      EXPECT_EQ(v, 0);
    };
    co_await p.open_stream_from(ticks_e, 100, 1000, body);
    EXPECT_EQ(since(begun), 1s);
  });
  EXPECT_EQ(noted_lines, (lines{"destroyed"}));
  const auto stop = std::ranges::find(told, "Stop"),
             cancel = std::ranges::find(told, "_cancel_task");
  EXPECT_TRUE(stop < cancel && cancel != told.end());
}

TEST_F(Generator, ATractorPeersIsCancelledAlsoAfterItsEnd) {
  tractor = true;
  run([&](portal p) -> task<> {
    auto body = [](stream<void, int>& values) -> task<> {
      while (auto v = co_await values.receive()) continue;
    };
    co_await p.open_stream_from(ticks_e, 3, 0, body);
    co_await settle();
  });
  EXPECT_EQ(std::ranges::count(told, "_cancel_task"), 1);
}

TEST_F(Generator, ItsErrorComesAfterItsValues) {
  run([&](portal p) -> task<> {
    lines got;
    auto body = [&](stream<void, std::string>& values) -> task<> {
      while (auto v = co_await values.receive()) got.push_back(*v);
    };
    auto r = co_await as_result(p.open_stream_from(fails_after_e, 3, body));
    auto* e = r.error<remote_actor_error>();
    EXPECT_TRUE(e && e->is<std::domain_error>()) << describe_exception(r.exception());
    EXPECT_LE(got.size(), 3u);
  });
}

TEST_F(Generator, ASlowConsumerHoldsItUpAndIsNoOverrun) {
  run([&](portal p) -> task<> {
    int count = 0;
    auto body = [&](stream<void, int>& values) -> task<> {
      while (auto v = co_await values.receive()) {
        ++count;
        co_await sleep_for(10s);
      }
    };
    co_await p.open_stream_from(ticks_e, stream_options{.messages_max = 2}, 20, 0, body);
    EXPECT_EQ(count, 20);
  });
}

TEST_F(Generator, OneThatDoesNotEndWhenItIsCancelledIsStuck) {
  run([&](portal p) -> task<> {
    auto body = [&](stream<void, int>& values) -> task<> {
      (void)co_await values.receive();
      co_await settle();
    };
    auto r = co_await as_result(p.open_stream_from(stays_e, body));
    EXPECT_TRUE(r.error<call_stuck>()) << describe_exception(r.exception());
  });
}

TEST_F(Generator, WhatIsNoGeneratorIsRefusedByName) {
  run([&](portal p) -> task<> {
    auto body = [](stream<void, int>& values) -> task<> { (void)co_await values.receive(); };
    auto r = co_await as_result(p.open_stream_from<int>("t:plain", body));
    auto* e = r.error<remote_actor_error>();
    EXPECT_TRUE(e && e->message().find("run()") != std::string::npos)
        << describe_exception(r.exception());
  });
}

TEST_F(Generator, AnErrorOfTheBodyCancelsItAndIsThrown) {
  run([&](portal p) -> task<> {
    auto body = [](stream<void, int>& values) -> task<> {
      (void)co_await values.receive();
      throw std::runtime_error("body's");
    };
    auto r = co_await as_result(p.open_stream_from(ticks_e, 100, 1000, body));
    EXPECT_TRUE(r.error<std::runtime_error>()) << describe_exception(r.exception());
    EXPECT_FALSE(r.error<remote_actor_error>());
  });
  EXPECT_EQ(noted_lines, (lines{"destroyed"}));
}

}  // namespace
}  // namespace coppice::tree::test
