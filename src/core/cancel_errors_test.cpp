// SPDX-License-Identifier: Apache-2.0
// Errors that meet cancellations, and how long errors live.
#include <functional>
#include <memory>

#include "coppice/event.hpp"
#include "coppice/handle_errors.hpp"
#include "coppice/nursery.hpp"
#include "coppice/outcome.hpp"
#include "coppice/testkit/async_test.hpp"
#include "coppice/testkit/order.hpp"
#include "core/scope_test_kit.hpp"

namespace coppice {
namespace {

using namespace std::chrono_literals;
using log = std::vector<std::string>;
using testkit::wait_all_blocked;

task<> fails(std::string what) {
  throw error(what);
  co_return;
}
task<> fails_later(std::string what) {
  co_await sleep_for(1s);
  throw error(what);
}
task<> fails_when_cancelled(std::string what) {
  try {
    co_await sleep_forever();
  } catch (const cancelled&) {
    throw error(what);
  }
}
task<> waits() { co_await sleep_forever(); }

std::string text_of(const std::exception_ptr& e) { return describe_exception(e); }

COPPICE_TEST(ErrorsMeetCancels, BodyAndTaskFailBothAndNeitherIsLost) {
  auto r = co_await as_result(open_nursery("both", [](nursery& n) {
    n.start_soon(fails, "task");  // It runs to its first checkpoint, cancelled or not.
    throw error("body");
  }));
  EXPECT_EQ(text_of(r.exception()),
            "coppice::error_group: 2 errors in 'both': coppice::error: body; coppice::error: task");
}

COPPICE_TEST(ErrorsMeetCancels, WhatFailsBecauseItWasCancelledIsInTheGroupBehindTheCause) {
  auto r = co_await as_result(open_nursery("chain", [](nursery& n) {
    n.start_soon(fails_when_cancelled, "consequence");
    n.start_soon(fails_later, "cause");
  }));
  EXPECT_EQ(text_of(r.exception()),
            "coppice::error_group: 2 errors in 'chain': coppice::error: cause; coppice::error: "
            "consequence");
}

COPPICE_TEST(ErrorsMeetCancels, AFailureWakesABodyThatWaits) {
  auto r = co_await as_result(open_nursery([](nursery& n) -> task<> {
    n.start_soon(fails, "crash");
    co_await sleep_forever();
  }));
  EXPECT_EQ(text_of(r.exception()), "coppice::error: crash");
}

COPPICE_TEST(ErrorsMeetCancels, AmongCancellationsOfTwoScopesTheErrorComesOutAlone) {
  auto whole = [&](cancel_scope& outer) -> task<> {
    co_await open_nursery([&](nursery& n) -> task<> {
      n.start_soon(waits);
      n.start_soon(waits);
      co_await wait_all_blocked();
      n.cancel("inner");
      n.start_soon(waits);
      outer.cancel("outer");
      n.start_soon(fails, "crash");
      co_await checkpoint();
    });
  };
  auto r = co_await as_result(scoped("outer", whole));
  EXPECT_EQ(text_of(r.exception()), "coppice::error: crash");
}

COPPICE_TEST(ErrorsMeetCancels, AScopeThatAnErrorLeavesHasCaughtNothing) {
  auto& self = co_await detail::this_task{};
  cancel_scope scope(self, {.name = "s"});
  scope.cancel();
  const auto group = std::make_exception_ptr(error_group(
      "two", {std::make_exception_ptr(error("a")), std::make_exception_ptr(error("b"))}));
  EXPECT_FALSE(scope.absorbs(group));
  EXPECT_FALSE(scope.absorbs(std::make_exception_ptr(error("bare"))));
  EXPECT_FALSE(scope.absorbs(nullptr));
  EXPECT_FALSE(scope.cancelled_caught());
}

COPPICE_TEST(ErrorsMeetCancels, AnErrorOfACancelledBlockIsNoTimeout) {
  auto r = co_await as_result(fail_after(1s, fails_when_cancelled("cleanup")));
  EXPECT_EQ(text_of(r.exception()), "coppice::error: cleanup");
}

COPPICE_TEST(ErrorsMeetCancels, ANestedNurserysOneErrorStandsBareInTheOuterGroup) {
  auto r = co_await as_result(open_nursery("outer", [](nursery& outer) -> task<> {
    outer.start_soon(waits);
    outer.start_soon(fails, "outer's");
    co_await open_nursery("inner", [&](nursery& inner) -> task<> {
      inner.start_soon(waits);
      inner.start_soon(fails, "inner's");
      outer.cancel();
      co_return;
    });
  }));
  EXPECT_EQ(text_of(r.exception()),
            "coppice::error_group: 2 errors in 'outer': coppice::error: outer's; coppice::error: "
            "inner's");
}

COPPICE_TEST(ErrorsMeetCancels, GroupsInGroupsAreSplitByTypeAndKeepTheirShape) {
  auto slow = [](nursery& n) {
    n.start_soon(fails, "plain");
    n.start_soon([]() -> task<> {
      throw timeout_error("late");
      co_return;
    });
    n.start_soon(fails, "plain too");
  };
  auto r = co_await as_result(open_nursery("outer", [&](nursery& n) -> task<> {
    n.start_soon(fails, "first");
    co_await open_nursery("inner", slow);
  }));
  log taken;
  std::string rest;
  try {
    try {
      std::rethrow_exception(r.exception());
    } catch (...) {
      handle_errors([&](const timeout_error& e) { taken.push_back(e.what()); });
    }
  } catch (const error& e) {
    rest = e.what();
  }
  EXPECT_EQ(taken, log{"late"});
  EXPECT_EQ(rest,
            "2 errors in 'outer': coppice::error: first; coppice::error_group: 2 errors in "
            "'inner': coppice::error: plain; coppice::error: plain too");
}

COPPICE_TEST(ErrorsMeetCancels, ACancellationSaysWhichTaskOrThatTheBlockFailed) {
  log l;
  auto r = co_await as_result(open_nursery("work", [&](nursery& n) -> task<> {
    n.start_soon(note_cancel, std::ref(l), "task");
    co_await wait_all_blocked();
    co_await n.start([](task_status<>) -> task<> { co_await fails("never up"); });
  }));
  EXPECT_FALSE(r);
  EXPECT_EQ(l, log{"task work: its block failed: coppice::error: never up"});
}

COPPICE_TEST(ErrorsMeetCancels, ATaskThatSwallowsACancellationHasEndedWell) {
  auto stops_quietly = []() -> task<> {
    try {
      co_await sleep_forever();
    } catch (const cancelled&) {
    }
  };
  auto finished =
      co_await move_on_after(1s, open_nursery([&](nursery& n) { n.start_soon(stops_quietly); }));
  EXPECT_TRUE(finished) << "everything in the block ended well";
}

COPPICE_TEST(ErrorsMeetCancels, ACancelledThatNobodyAskedForEndsItsBlock) {
  log l;
  auto done = co_await move_on_after(
      1h, open_nursery("home", [&](nursery& n) {
        n.start_soon(note_cancel, std::ref(l), "task");
        n.start_soon([]() -> task<> {
          auto why = std::make_shared<const cancel_cause>(cancel_cause{"x: y"});
          co_await checkpoint();
          throw cancelled(std::move(why));
        });
      }));
  EXPECT_TRUE(done) << "no scope around the block was cancelled";
  EXPECT_EQ(l, log{"task home: a task failed: cancelled: x: y"});
}

// --- how long they live

struct heavy_error : error {
  explicit heavy_error(std::shared_ptr<int> h) : error("heavy"), held(std::move(h)) {}
  std::shared_ptr<int> held;
};
task<> fails_heavily(std::shared_ptr<int> what) {
  throw heavy_error(std::move(what));
  co_return;
}

COPPICE_TEST(ErrorLifetime, AnErrorEndsWithItsHandlerNothingKeepsIt) {
  auto held = std::make_shared<int>(1);
  const std::weak_ptr<int> w = held;
  try {
    co_await open_nursery([&](nursery& n) {
      n.start_soon(waits);
      n.start_soon(fails_heavily, std::move(held));
    });
  } catch (const heavy_error& e) {
    EXPECT_EQ(e.held.use_count(), 1);
  }
  EXPECT_TRUE(w.expired());
}

COPPICE_TEST(ErrorLifetime, AGroupAndWhatIsInItEndTogether) {
  auto held = std::make_shared<int>(1);
  const std::weak_ptr<int> w = held;
  {
    auto r = co_await as_result(open_nursery([&](nursery& n) {
      n.start_soon(fails_heavily, held);
      n.start_soon(fails_heavily, std::move(held));
    }));
    EXPECT_NE(r.error<error_group>(), nullptr);
    EXPECT_EQ(w.use_count(), 2);
  }
  EXPECT_TRUE(w.expired());
}

COPPICE_TEST(ErrorLifetime, LocalsOfACancelledTaskEndBeforeItsNurseryDoes) {
  auto held = std::make_shared<int>(1);
  const std::weak_ptr<int> w = held;
  co_await open_nursery([&](nursery& n) {
    n.start_soon(
        [](std::shared_ptr<int> mine) -> task<> {
          auto local = std::move(mine);
          co_await checkpoint();
          ADD_FAILURE() << "it is cancelled";
        },
        std::move(held));
    n.cancel();
  });
  EXPECT_TRUE(w.expired());
}

}  // namespace
}  // namespace coppice
