// SPDX-License-Identifier: Apache-2.0
#include "core/tree_walk.hpp"  // First: proves the header stands alone.

#include <algorithm>

#include "coppice/event.hpp"
#include "coppice/nursery.hpp"
#include "coppice/testkit/async_test.hpp"
#include "coppice/testkit/order.hpp"
#include "coppice/time.hpp"

namespace coppice::core {
namespace {

using names = std::vector<std::string>;
constexpr slice_limit one{.tasks = 1};

task<> wait_on(event& e) { co_await e.wait(); }

names seen(tree_walk& walk) {
  names all;
  for (const raw_task& t : walk.take().tasks) all.push_back(t.info.name);
  return all;
}

COPPICE_TEST(TreeWalk, GoesThroughNestedNurseriesInPreorder) {
  event end;
  auto parent = [](event& e) -> task<> {
    co_await open_nursery([&](nursery& outer) -> task<> {
      outer.start_soon("a1", wait_on, std::ref(e));
      co_await open_nursery([&](nursery& inner) { inner.start_soon("a2", wait_on, std::ref(e)); });
    });
  };
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon("a", parent, std::ref(end));
    n.start_soon("b", wait_on, std::ref(end));
    co_await testkit::wait_all_blocked();
    tree_walk walk(100);
    loop& here = *loop::current();
    int slices = 1;
    while (!walk.slice(here, one)) ++slices;
    EXPECT_EQ(slices, 5);
    EXPECT_EQ(seen(walk),
              (names{"TreeWalk.GoesThroughNestedNurseriesInPreorder", "a", "a1", "a2", "b"}));
    end.set();
  });
}

COPPICE_TEST(TreeWalk, ATaskThatEndsWhereTheWalkStandsIsPassedOver) {
  event first;
  event rest;
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon("gone", wait_on, std::ref(first));
    n.start_soon("stays", wait_on, std::ref(rest));
    co_await testkit::wait_all_blocked();
    tree_walk walk(100);
    loop& here = *loop::current();
    EXPECT_FALSE(walk.slice(here, one));  // It stands at the first child now.
    first.set();
    co_await testkit::wait_all_blocked();
    EXPECT_TRUE(walk.slice(here, one));
    EXPECT_EQ(seen(walk).back(), "stays");
    rest.set();
  });
}

COPPICE_TEST(TreeWalk, AWholeSubtreeThatEndsLeavesTheWalkAtWhatFollowsIt) {
  event inner;
  event rest;
  auto parent = [](event& e) -> task<> {
    co_await open_nursery([&](nursery& n) {
      n.start_soon("x", wait_on, std::ref(e));
      n.start_soon("y", wait_on, std::ref(e));
    });
  };
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon("parent", parent, std::ref(inner));
    n.start_soon("stays", wait_on, std::ref(rest));
    co_await testkit::wait_all_blocked();
    tree_walk walk(100);
    loop& here = *loop::current();
    EXPECT_FALSE(walk.slice(here, {.tasks = 3}));  // At "y".
    inner.set();
    co_await testkit::wait_all_blocked();
    EXPECT_TRUE(walk.slice(here, one_slice));
    EXPECT_EQ(seen(walk).back(), "stays");
    rest.set();
  });
}

// nursery::start() hands a task over to a nursery further up, from under the walk.
COPPICE_TEST(TreeWalk, ATaskThatIsHandedOverDoesNotTakeTheWalkWithIt) {
  event say_started;
  event end;
  auto server = [](event& go, event& e, task_status<> status) -> task<> {
    co_await go.wait();
    status.started();
    co_await e.wait();
  };
  co_await open_nursery([&](nursery& top) -> task<> {
    auto starter = [&]() -> task<> {
      co_await open_nursery([&](nursery& beside) -> task<> {
        co_await top.start("server", server, std::ref(say_started), std::ref(end));
        beside.start_soon("after start", wait_on, std::ref(end));
      });
    };
    top.start_soon("starter", starter);
    top.start_soon("sibling", wait_on, std::ref(end));
    co_await testkit::wait_all_blocked();
    tree_walk walk(100);
    loop& here = *loop::current();
    EXPECT_FALSE(walk.slice(here, {.tasks = 2}));  // Root and starter: it stands at the server.
    say_started.set();
    co_await testkit::wait_all_blocked();
    EXPECT_TRUE(walk.slice(here, one_slice));
    const names all = seen(walk);
    EXPECT_EQ(std::count(all.begin(), all.end(), "sibling"), 1);
    EXPECT_EQ(std::count(all.begin(), all.end(), "server"), 1);
    end.set();
  });
}

TEST(TreeWalk, TheEndOfARunIsTheEndOfAWalk) {
  tree_walk walk(100);
  loop l;
  l.run([](tree_walk& w) -> task<> {
    event end;
    co_await open_nursery([&](nursery& n) -> task<> {
      n.start_soon(wait_on, std::ref(end));
      co_await testkit::wait_all_blocked();
      EXPECT_FALSE(w.slice(*loop::current(), one));
      end.set();
    });
  }(walk));
  EXPECT_EQ(walk.next, nullptr);
  EXPECT_TRUE(walk.slice(l, one));
}

}  // namespace
}  // namespace coppice::core
