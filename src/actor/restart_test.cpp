// SPDX-License-Identifier: Apache-2.0
#include "coppice/restart.hpp"  // First: proves the header stands alone.

#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <vector>

#include "coppice/actor_nursery.hpp"
#include "coppice/discovery.hpp"
#include "coppice/outcome.hpp"
#include "coppice/runtime.hpp"

namespace coppice {
namespace {

using namespace std::chrono_literals;

// Actors on threads share these with the test.
std::atomic<int> opened{0}, refusals{0};

struct shop {
  std::string symbol;
  void open(std::string what) {
    if (refusals.load() > 0) {
      --refusals;
      throw std::domain_error("the market is closed");
    }
    symbol = std::move(what);
    ++opened;
  }
  std::string sells() { return symbol; }
};
task<> never_open() { co_await sleep_forever(); }
inline constexpr endpoint open_e{"shop:open", &shop::open, "what"};
inline constexpr endpoint sells_e{"shop:sells", &shop::sells};
inline constexpr endpoint never_open_e{"shop:never_open", never_open};

template <class Body>
void run_shops(nursery_options options, Body body) {
  opened = refusals = 0;
  char name[] = "test";
  char* argv[] = {name, nullptr};
  main_options o;
  o.endpoints = {open_e, sells_e, never_open_e};
  o.handled = signals::none;
  auto root = [&](actor& self) -> task<> {
    auto inside = [&](actor_nursery& an) -> task<> { co_await body(self, an); };
    co_await open_nursery(self, options, inside);
  };
  EXPECT_EQ(run_main(1, argv, root, std::move(o)), 0);
}

constexpr actor_options permanent{.backend = spawn::thread, .restart = restart_type::permanent};
constexpr nursery_options each_alone{
    .restart = {.strategy = restart_strategy::one_for_one, .pause = {.first = 0ns}}};

// An actor that another one asks to end returns, and nobody here asked.
task<> end_by_another(actor& self, std::string name) {
  found_actor found = co_await wait_for_actor(self, name);
  (void)co_await as_result(found->cancel_actor());
}
task<> until_restarted(actor_nursery& an, std::string name, std::size_t times) {
  while (an.restart_count(name) < times) co_await sleep_for(1ms);
}

TEST(Restart, InitIsAnsweredByEveryIncarnationBeforeItIsUp) {
  run_shops(each_alone, [](actor& self, actor_nursery& an) -> task<> {
    portal p = co_await an.start_actor("shop", permanent, init(open_e, "EURUSD"));
    EXPECT_EQ(opened.load(), 1);
    EXPECT_EQ(co_await p.run(sells_e), "EURUSD");
    co_await end_by_another(self, "shop");
    co_await until_restarted(an, "shop", 1);
    p = co_await an.portal("shop");
    EXPECT_EQ(opened.load(), 2);
    EXPECT_EQ(co_await p.run(sells_e), "EURUSD") << "a new one, opened as the first was";
  });
}

TEST(Restart, AnInitThatFailsAtFirstIsThrownByTheStart) {
  run_shops(each_alone, [](actor&, actor_nursery& an) -> task<> {
    refusals = 1;
    auto r = co_await as_result(an.start_actor("shop", permanent, init(open_e, "x")));
    const auto* e = r.error<remote_actor_error>();
    EXPECT_TRUE(e && e->is<std::domain_error>());
    auto gone = co_await as_result(an.portal("shop"));
    EXPECT_TRUE(gone.error<error>()) << "it was never there";
    EXPECT_EQ(an.restart_count("shop"), 0u);
  });
}

TEST(Restart, LaterAnInitThatFailsIsADeathAndIsTriedAgain) {
  run_shops(each_alone, [](actor& self, actor_nursery& an) -> task<> {
    co_await an.start_actor("shop", permanent, init(open_e, "x"));
    refusals = 2;
    co_await end_by_another(self, "shop");
    co_await until_restarted(an, "shop", 1);
    EXPECT_EQ(refusals.load(), 0);
    EXPECT_EQ(an.restart_count("shop"), 1u) << "two of the three starts failed";
  });
}

TEST(Restart, AnInitThatDoesNotEndFailsTheStartAtItsBound) {
  run_shops({}, [](actor&, actor_nursery& an) -> task<> {
    actor_options hurried = permanent;
    hurried.start_within = 300ms;
    auto r = co_await as_result(an.start_actor("shop", hurried, init(never_open_e)));
    const auto* e = r.error<timeout_error>();
    EXPECT_TRUE(e);
    if (e) {
      EXPECT_NE(std::string(e->what()).find("its init 'shop:never_open' did not end within"),
                std::string::npos)
          << e->what();
    }
  });
}

TEST(Restart, InitTakesAnEndpointOrANameWithKeywords) {
  const init_call none, by_endpoint = init(open_e, "x"),
                        by_name = init("shop:open", kw("what", "x"));
  EXPECT_FALSE(none);
  EXPECT_TRUE(by_endpoint);
  EXPECT_EQ(by_endpoint.name(), "shop:open");
  EXPECT_EQ(by_endpoint.name(), by_name.name());
  EXPECT_EQ(by_endpoint.arguments(), by_name.arguments());
}

TEST(Restart, OneThatWasAskedToEndIsNotStartedAgain) {
  run_shops(each_alone, [](actor&, actor_nursery& an) -> task<> {
    portal p = co_await an.start_actor("shop", permanent);
    co_await p.cancel_actor();
    auto r = co_await as_result(an.portal("shop", 5s));
    EXPECT_TRUE(r.error<actor_died>());
  });
}

TEST(Restart, CancellingTheBlockEndsItInTheMiddleOfARestart) {
  nursery_options slow = each_alone;
  slow.restart.pause = {.first = 1h, .longest = 1h};
  run_shops(slow, [](actor& self, actor_nursery& an) -> task<> {
    co_await an.start_actor("shop", permanent);
    co_await end_by_another(self, "shop");
    for (bool known = false; !known;) {  // Its parent hears of its end a moment later.
      auto r = co_await as_result(an.portal("shop", 50ms));
      known = r.error<timeout_error>() != nullptr;
      if (!known) co_await sleep_for(1ms);
    }
    an.cancel("enough");
  });
}

TEST(Restart, PortalsOfIncarnationsLongGoneSayThatTheyHaveEnded) {
  nursery_options often = each_alone;
  often.restart.restarts_max = 100;
  run_shops(often, [](actor& self, actor_nursery& an) -> task<> {
    std::vector<portal> all;
    all.push_back(co_await an.start_actor("shop", permanent));
    for (std::size_t i = 1; i < 5; ++i) {
      co_await end_by_another(self, "shop");
      co_await until_restarted(an, "shop", i);
      all.push_back(co_await an.portal("shop"));
    }
    for (std::size_t i = 0; i + 1 < all.size(); ++i) {
      auto r = co_await as_result(all[i].run(sells_e));
      EXPECT_TRUE(r.error<actor_died>()) << i;
    }
    EXPECT_EQ(co_await all.back().run(sells_e), "");
  });
}

}  // namespace
}  // namespace coppice
