// SPDX-License-Identifier: Apache-2.0
// nursery::start(): whose a task is before it says started(), and after.
#include <functional>

#include "coppice/errors.hpp"
#include "coppice/event.hpp"
#include "coppice/nursery.hpp"
#include "coppice/outcome.hpp"
#include "coppice/testkit/async_test.hpp"
#include "coppice/testkit/order.hpp"
#include "core/scope_test_kit.hpp"

namespace coppice {
namespace {

using namespace std::chrono_literals;
using log = std::vector<std::string>;

task<> serve(int wanted, log& l, task_status<int> status) {
  co_await sleep_for(1s);
  status.started(wanted + 1);
  co_await note_cancel(l, "server");
}

COPPICE_TEST(NurseryStart, GivesTheStartedValueAndTheTaskGoesOnInTheNursery) {
  log l;
  co_await open_nursery("home", [&](nursery& n) -> task<> {
    auto bound = co_await n.start(serve, 1, std::ref(l));
    EXPECT_EQ(bound, 2);
    EXPECT_EQ(t.elapsed(), 1s);
    EXPECT_EQ(n.task_count(), 1u);
    n.cancel("done");
  });
  EXPECT_EQ(l, log{"server home: done"});
}

COPPICE_TEST(NurseryStart, AFailureBeforeStartedIsTheCallersAndLeavesTheNurseryAlone) {
  co_await open_nursery([&](nursery& n) -> task<> {
    auto r = co_await as_result(n.start("early", [](task_status<int>) -> task<> {
      co_await checkpoint();
      throw std::runtime_error("port taken");
    }));
    EXPECT_NE(r.error<std::runtime_error>(), nullptr);
    EXPECT_FALSE(n.scope().cancelled());
    co_await checkpoint();
  });
}

COPPICE_TEST(NurseryStart, AFailureAfterStartedIsTheNurserys) {
  EXPECT_THROW(co_await open_nursery([&](nursery& n) -> task<> {
                 co_await n.start([](task_status<> status) -> task<> {
                   status.started();
                   co_await sleep_for(1s);
                   throw std::runtime_error("later");
                 });
                 co_await sleep_forever();
               }),
               std::runtime_error);
  EXPECT_EQ(t.elapsed(), 1s);
}

COPPICE_TEST(NurseryStart, EndingWithoutStartedIsAnError) {
  co_await open_nursery([&](nursery& n) -> task<> {
    auto r = co_await as_result(n.start([](task_status<int>) -> task<> { co_await checkpoint(); }));
    auto* e = r.error<error>();
    EXPECT_TRUE(e != nullptr);
    if (e != nullptr) {
      EXPECT_STREQ(
          e->what(),
          "a task ended without calling status.started(), so start() has no value to give");
    }
  });
}

COPPICE_TEST(NurseryStart, CancellingTheCallCancelsTheTask) {
  log l;
  co_await open_nursery([&](nursery& n) -> task<> {
    auto r = co_await move_on_after(
        1s,
        n.start([](log& to, task_status<int>) -> task<> { co_await note_cancel(to, "starter"); },
                std::ref(l)));
    EXPECT_FALSE(r);
    EXPECT_EQ(n.task_count(), 0u);
  });
  EXPECT_EQ(l, log{"starter move_on_after(1s): deadline passed"});
}

COPPICE_TEST(NurseryStart, ATaskThatOpenedScopesMovesWithThem) {
  log l;
  co_await open_nursery("home", [&](nursery& n) -> task<> {
    co_await n.start(
        [](log& to, task_status<> status) -> task<> {
          auto finished = co_await move_on_after(1h, [&](cancel_scope&) -> task<> {
            co_await open_nursery([&](nursery& inner) -> task<> {
              inner.start_soon(note_cancel, std::ref(to), "inner");
              co_await checkpoint();
              status.started();
              co_await sleep_forever();
            });
          });
          to.push_back(finished ? "finished" : "moved on");
        },
        std::ref(l));
    n.cancel("done");
  });
  EXPECT_EQ(l, log{"inner home: done"});
}

COPPICE_TEST(NurseryStart, StartedIntoACancelledNurseryIsCancelledThere) {
  log l;
  co_await open_nursery("outer", [&](nursery& outer) -> task<> {
    co_await open_nursery("home", [&](nursery& n) -> task<> {
      outer.start_soon(
          [](nursery& home, log& to) -> task<> {
            co_await home.start(serve, 1, std::ref(to));
            to.push_back("caller goes on");
          },
          std::ref(n), std::ref(l));
      co_await checkpoint();
      n.cancel("closing");
    });
    l.push_back("home ended");
  });
  EXPECT_EQ(l, (log{"caller goes on", "server home: closing", "home ended"}));
}

COPPICE_TEST(NurseryStart, WhatWaitsInsideTheTaskIsCancelledToo) {
  log l;
  co_await open_nursery("outer", [&](nursery& outer) -> task<> {
    co_await open_nursery("home", [&](nursery& n) -> task<> {
      auto with_inner = [](log& to, task_status<> status) -> task<> {
        co_await open_nursery("inner", [&](nursery& inner) -> task<> {
          inner.start_soon(note_cancel, std::ref(to), "deep");
          co_await sleep_for(1s);
          status.started();  // Into a nursery that is cancelled by now.
        });
      };
      auto call = [](nursery& home, decltype(with_inner) fn, log& to) -> task<> {
        co_await home.start(fn, std::ref(to));
      };
      outer.start_soon(call, std::ref(n), with_inner, std::ref(l));
      co_await checkpoint();
      n.cancel("closing");
    });
  });
  EXPECT_EQ(l, log{"deep home: closing"});
}

COPPICE_TEST(NurseryStart, ATaskThatWaitsWhileAnotherSaysStartedIsCancelledInACancelledNursery) {
  log l;
  task_status<> status;
  co_await open_nursery("outer", [&](nursery& outer) -> task<> {
    co_await open_nursery("home", [&](nursery& n) -> task<> {
      auto gives_status = [](log& to, task_status<>& out, task_status<> mine) -> task<> {
        out = mine;
        co_await note_cancel(to, "task");
      };
      auto call = [](nursery& home, decltype(gives_status) fn, log& to,
                     task_status<>& out) -> task<> {
        co_await home.start(fn, std::ref(to), std::ref(out));
      };
      outer.start_soon(call, std::ref(n), gives_status, std::ref(l), std::ref(status));
      co_await sleep_for(1s);
      n.cancel("closing");
      EXPECT_TRUE(l.empty()) << "not ours yet";
      status.started();
    });
  });
  EXPECT_EQ(l, log{"task home: closing"});
}

COPPICE_TEST(NurseryStart, ATaskThatSaysStartedAfterTheCallWasCancelledStaysWithTheCall) {
  co_await open_nursery("home", [&](nursery& n) -> task<> {
    auto stubborn = [](task_status<> status) -> task<> {
      auto late = [](task_status<> s) -> task<> {
        co_await sleep_for(1s);
        s.started();
        co_await sleep_for(1s);
      };
      co_await finally(sleep_forever(), {.within = 1h}, late(status));
    };
    auto finished = co_await move_on_after(1s, n.start(stubborn));
    EXPECT_FALSE(finished);
    EXPECT_EQ(t.elapsed(), 3s) << "the call waited for its task";
    EXPECT_EQ(n.task_count(), 0u);
  });
}

COPPICE_TEST(NurseryStart, ANurseryWaitsForCallsOfStartFromOutside) {
  co_await open_nursery("outer", [&](nursery& outer) -> task<> {
    co_await open_nursery("home", [&](nursery& n) -> task<> {
      auto call = [](nursery& home) -> task<> {
        auto r = co_await as_result(home.start([](task_status<>) -> task<> {
          co_await sleep_for(1s);
          throw std::runtime_error("never up");
        }));
        EXPECT_NE(r.error<std::runtime_error>(), nullptr);
      };
      outer.start_soon(call, std::ref(n));
      co_await checkpoint();
    });
    EXPECT_EQ(t.elapsed(), 1s);
  });
}

COPPICE_TEST(NurseryStart, ATaskWithAStatusCanBeStartedWithoutAnybodyWaiting) {
  log l;
  co_await open_nursery("home", [&](nursery& n) -> task<> {
    n.start_soon(serve, 1, std::ref(l));
    co_await sleep_for(2s);
    n.cancel("done");
  });
  EXPECT_EQ(l, log{"server home: done"});
}

COPPICE_TEST(NurseryStart, TheTaskIsTheNurserysOnlyOnceItHasStarted) {
  log l;
  co_await open_nursery("home", [&](nursery& n) -> task<> {
    n.start_soon(
        [](nursery& home) -> task<> {
          co_await sleep_for(500ms);
          EXPECT_EQ(home.task_count(), 1u) << "this one alone";
        },
        std::ref(n));
    co_await n.start(serve, 1, std::ref(l));
    EXPECT_EQ(n.task_count(), 1u) << "the server alone";
    n.cancel();
  });
}

COPPICE_TEST(NurseryStart, AFunctionWithAStatusCanBeCalledDirectly) {
  auto value = [](task_status<int> status) -> task<int> {
    status.started(1);
    status.started(1);  // Nobody asks, so nobody minds.
    co_return 2;
  };
  EXPECT_EQ(co_await value(task_status<int>()), 2);
}

COPPICE_TEST(NurseryStart, InACancelledCallTheTaskStaysWithTheCallWhichThrowsCancelled) {
  co_await open_nursery([&](nursery& n) -> task<> {
    bool went_on = false;
    auto finished = co_await move_on_after(1h, [&](cancel_scope& s) -> task<> {
      s.cancel();
      co_await n.start([](task_status<int> status) -> task<> {
        status.started(1);
        co_await checkpoint();
        ADD_FAILURE() << "it was not handed over";
      });
      went_on = true;
    });
    EXPECT_FALSE(finished);
    EXPECT_FALSE(went_on);
    EXPECT_FALSE(n.scope().cancelled());
  });
}

// What users saw: a server that was up, and a start() that threw all the same.
COPPICE_TEST(NurseryStart, ATaskThatEndsWellWithoutACheckpointIsNotLostToTheCancelOfTheCall) {
  co_await open_nursery([&](nursery& n) -> task<> {
    auto value = co_await move_on_after(1h, [&](cancel_scope& s) -> task<int> {
      s.cancel();
      co_return co_await n.start([](task_status<int> status) -> task<> {
        status.started(7);
        co_return;
      });
    });
    EXPECT_EQ(value, std::optional<int>(7));
  });
}

COPPICE_TEST(NurseryStart, AnErrorAfterStartedInACancelledCallIsStillTheCalls) {
  co_await open_nursery([&](nursery& n) -> task<> {
    auto failing = [&](cancel_scope& s) -> task<> {
      s.cancel();
      co_await n.start([](task_status<> status) -> task<> {
        status.started();
        throw error("after");
        co_return;
      });
    };
    auto r = co_await as_result(move_on_after(1h, failing));
    EXPECT_EQ(describe_exception(r.exception()), "coppice::error: after");
    EXPECT_FALSE(n.scope().cancelled());
  });
}

COPPICE_TEST(NurseryStart, AnErrorComesOutOfTheCallAsItIsAGroupAsAGroup) {
  auto two = [](task_status<>) -> task<> {
    co_await open_nursery("two", [](nursery& n) {
      auto one = []() -> task<> {
        throw error("x");
        co_return;
      };
      n.start_soon(one);
      n.start_soon(one);
    });
  };
  co_await open_nursery([&](nursery& n) -> task<> {
    auto r = co_await as_result(n.start(two));
    EXPECT_EQ(describe_exception(r.exception()),
              "coppice::error_group: 2 errors in 'two': coppice::error: x; coppice::error: x");
  });
}

COPPICE_TEST(NurseryStart, ANurseryStaysOpenForTasksThatAreStillStarting) {
  co_await open_nursery("outer", [&](nursery& outer) -> task<> {
    co_await open_nursery("home", [&](nursery& n) -> task<> {
      auto call = [](nursery& home) -> task<> {
        co_await home.start([](task_status<> status) -> task<> {
          co_await sleep_for(2s);
          status.started();
          co_await sleep_for(3s);
        });
      };
      outer.start_soon(call, std::ref(n));
      co_await sleep_for(1s);
      outer.start_soon(call, std::ref(n));
      co_await checkpoint();  // Nothing is in here: two calls are under way.
      EXPECT_EQ(n.task_count(), 0u);
    });
    EXPECT_EQ(t.elapsed(), 6s);
  });
}

COPPICE_TEST(NurseryStart, TasksThatWaitInsideATaskThatMovesAreCancelledWithItsNewHome) {
  log l;
  auto with_children = [](log& to, nursery& home, bool cancel_before,
                          task_status<> status) -> task<> {
    co_await open_nursery("inner", [&](nursery& inner) -> task<> {
      inner.start_soon(note_cancel, std::ref(to), "first");
      inner.start_soon(note_cancel, std::ref(to), "second");
      co_await testkit::wait_all_blocked();
      if (cancel_before) home.cancel("closing");
      status.started();
      co_await sleep_forever();
    });
  };
  for (const bool cancel_before : {true, false}) {
    l.clear();
    co_await open_nursery("home", [&](nursery& n) -> task<> {
      co_await n.start(with_children, std::ref(l), std::ref(n), cancel_before);
      n.cancel("closing");
    });
    EXPECT_EQ(l, (log{"first home: closing", "second home: closing"})) << cancel_before;
  }
}
task<> starts_twice(testkit::test_env&) {
  co_await open_nursery([](nursery& n) -> task<> {
    co_await n.start([](task_status<> s) -> task<> {
      s.started();
      s.started();
      co_return;
    });
  });
}
TEST(NurseryStartDeath, StartedTwiceAborts) {
  EXPECT_DEATH(testkit::run_async_test("twice", &starts_twice), "started\\(\\) was called twice");
}

task<> starts_too_late(testkit::test_env&) {
  auto& self = co_await detail::this_task{};
  nursery n(self, "over");
  co_await n.join();
  n.close();
  co_await n.start([](task_status<>) -> task<> { co_return; });
}
TEST(NurseryStartDeath, StartInANurseryWhoseBlockHasEndedAborts) {
  EXPECT_DEATH(testkit::run_async_test("late", &starts_too_late),
               "start\\(\\) into a nursery whose block has ended");
}

}  // namespace
}  // namespace coppice
