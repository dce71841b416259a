// SPDX-License-Identifier: Apache-2.0
#include "coppice/nursery.hpp"  // First: proves the header stands alone.

#include "coppice/errors.hpp"
#include "coppice/event.hpp"
#include "coppice/outcome.hpp"
#include "coppice/testkit/async_test.hpp"

namespace coppice {
namespace {

using namespace std::chrono_literals;

using log = std::vector<std::string>;

task<> note_after(log& l, std::string what, duration d) {
  co_await sleep_for(d);
  l.push_back(what);
}

task<> fail_after_delay(duration d, std::string what) {
  co_await sleep_for(d);
  throw std::runtime_error(what);
}

// Notes that it was cancelled, and lets the cancellation through.
task<> note_cancel(log& l, std::string who) {
  try {
    co_await sleep_forever();
  } catch (const cancelled& c) {
    l.push_back(who + " " + c.cause());
    throw;
  }
}

COPPICE_TEST(Nursery, TheBlockEndsAfterTheLastOfItsTasks) {
  log l;
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon(note_after, std::ref(l), "late", 3s);
    n.start_soon(note_after, std::ref(l), "early", 1s);
    co_await sleep_for(2s);
    l.push_back("body");
  });
  EXPECT_EQ(l, (log{"early", "body", "late"}));
  EXPECT_EQ(t.elapsed(), 3s);
}

COPPICE_TEST(Nursery, GivesTheValueOfItsBody) {
  auto value = co_await open_nursery([](nursery&) -> task<int> {
    co_await checkpoint();
    co_return 42;
  });
  EXPECT_EQ(value, 42);
}

COPPICE_TEST(Nursery, APlainLambdaIsABodyToo) {
  log l;
  auto value = co_await open_nursery([&](nursery& n) {
    n.start_soon(note_after, std::ref(l), "ran", 1s);
    return 7;
  });
  EXPECT_EQ(value, 7);
  EXPECT_EQ(l, log{"ran"});
}

COPPICE_TEST(Nursery, AMoveOnlyValueComesOut) {
  auto p = co_await open_nursery([](nursery&) -> task<std::unique_ptr<int>> {
    co_await checkpoint();
    co_return std::make_unique<int>(3);
  });
  EXPECT_EQ(*p, 3);
}

COPPICE_TEST(Nursery, TasksStartInOrderAtTheNextTurnNeverInsideStartSoon) {
  log l;
  co_await open_nursery([&](nursery& n) -> task<> {
    for (int i = 0; i < 3; ++i) {
      n.start_soon(
          [](log& to, int k) -> task<> {
            to.push_back(std::to_string(k));
            co_return;
          },
          std::ref(l), i);
    }
    EXPECT_TRUE(l.empty());
    co_await checkpoint();
    EXPECT_EQ(l.size(), 3u);
  });
  EXPECT_EQ(l, (log{"0", "1", "2"}));
}

COPPICE_TEST(Nursery, OneFailureCancelsTheOthersAndComesBare) {
  log l;
  try {
    co_await open_nursery([&](nursery& n) -> task<> {
      n.start_soon(note_cancel, std::ref(l), "sibling");
      n.start_soon("bad", fail_after_delay, 1s, "boom");
      co_await note_cancel(l, "body");
    });
    ADD_FAILURE() << "nothing was thrown";
  } catch (const std::runtime_error& e) {
    EXPECT_STREQ(e.what(), "boom");
  }
  EXPECT_EQ(l, (log{"body nursery: 'bad' failed: std::runtime_error: boom",
                    "sibling nursery: 'bad' failed: std::runtime_error: boom"}));
}

COPPICE_TEST(Nursery, SeveralFailuresComeAsAGroupInTheOrderSeen) {
  try {
    co_await open_nursery("pair", [&](nursery& n) {
      n.start_soon(fail_after_delay, 2s, "second");
      n.start_soon(fail_after_delay, 2s, "third");
      throw std::runtime_error("first");
    });
    ADD_FAILURE() << "nothing was thrown";
  } catch (const std::runtime_error& e) {
    // The other two were cancelled before they failed.
    EXPECT_STREQ(e.what(), "first");
  }
  try {
    co_await open_nursery("pair", [&](nursery& n) {
      n.start_soon(fail_after_delay, 2s, "a");
      n.start_soon(fail_after_delay, 2s, "b");
    });
    ADD_FAILURE() << "nothing was thrown";
  } catch (const error_group& g) {
    EXPECT_STREQ(g.what(), "2 errors in 'pair': std::runtime_error: a; std::runtime_error: b");
    EXPECT_EQ(g.errors().size(), 2u);
    EXPECT_EQ(g.where(), "pair");
  }
}

COPPICE_TEST(Nursery, AnErrorOfItsBlockCancelsItsTasksAndComesOut) {
  bool cancelled_too = false;
  std::string why;
  try {
    co_await open_nursery([&](nursery& n) -> task<> {
      auto waits = [](bool* seen) -> task<> {
        try {
          co_await sleep_forever();
        } catch (const cancelled&) {
          *seen = true;
          throw;
        }
      };
      n.start_soon(waits, &cancelled_too);
      co_await checkpoint();
      throw std::runtime_error("boom");
    });
  } catch (const std::runtime_error& e) {
    why = e.what();
  }
  EXPECT_EQ(why, "boom");
  EXPECT_TRUE(cancelled_too);
}

task<> fail_when_cancelled(std::string what) {
  std::exception_ptr seen;
  try {
    co_await sleep_forever();
  } catch (const cancelled&) {
    throw std::runtime_error(what);
  }
}

COPPICE_TEST(Nursery, AnErrorIsNotLostToACancel) {
  EXPECT_THROW(co_await open_nursery([&](nursery& n) -> task<> {
                 n.start_soon(fail_when_cancelled, "cleanup failed");
                 co_await checkpoint();
                 n.cancel("stop");
               }),
               std::runtime_error);
  // Nor to a cancel from outside: the scope absorbs only what is its own.
  EXPECT_THROW(co_await move_on_after(1s, open_nursery([&](nursery& n) {
                                        n.start_soon(fail_when_cancelled, "cleanup failed");
                                      })),
               std::runtime_error);
}

COPPICE_TEST(Nursery, NestedGroupsKeepTheirShape) {
  try {
    co_await open_nursery("outer", [](nursery& n) {
      n.start_soon([]() -> task<> {
        return open_nursery("inner", [](nursery& m) {
          m.start_soon(fail_after_delay, 1s, "a");
          m.start_soon(fail_after_delay, 1s, "b");
        });
      });
      n.start_soon(fail_after_delay, 1s, "c");
    });
    ADD_FAILURE() << "nothing was thrown";
  } catch (const error_group& g) {
    EXPECT_STREQ(g.what(),
                 "2 errors in 'outer': std::runtime_error: c; coppice::error_group: 2 errors in "
                 "'inner': std::runtime_error: a; std::runtime_error: b");
  }
}

COPPICE_TEST(Nursery, CancelStopsBodyAndTasksAndTheBlockEndsQuietly) {
  log l;
  co_await open_nursery("work", [&](nursery& n) -> task<> {
    n.start_soon(note_cancel, std::ref(l), "task");
    co_await checkpoint();
    n.cancel("enough");
    co_await note_cancel(l, "body");
  });
  EXPECT_EQ(l.size(), 2u);
  EXPECT_EQ(l[0].substr(l[0].find(' ') + 1), "work: enough");
  EXPECT_EQ(t.elapsed(), 0s);
}

COPPICE_TEST(Nursery, AValueReturnedBeforeTheCancelIsKept) {
  auto v = co_await open_nursery([](nursery& n) -> task<int> {
    n.start_soon([]() -> task<> { co_await sleep_forever(); });
    co_await checkpoint();
    n.cancel();
    co_return 5;
  });
  EXPECT_EQ(v, 5);
}

COPPICE_TEST(Nursery, ABlockCancelledBeforeItHadAValueThrows) {
  try {
    co_await open_nursery("asked", [](nursery& n) -> task<int> {
      n.cancel("no need");
      co_await checkpoint();
      co_return 5;
    });
    ADD_FAILURE() << "nothing was thrown";
  } catch (const error& e) {
    EXPECT_STREQ(e.what(),
                 "nursery 'asked' was cancelled (no need) before its block returned a value");
  }
}

COPPICE_TEST(Nursery, ACancelFromOutsideGoesThroughTheBlock) {
  log l;
  auto done = co_await move_on_after(1s, open_nursery([&](nursery& n) -> task<> {
                                       n.start_soon(note_cancel, std::ref(l), "task");
                                       co_await sleep_for(1h);
                                     }));
  EXPECT_FALSE(done);
  EXPECT_EQ(l, log{"task move_on_after(1s): deadline passed"});
}

COPPICE_TEST(Nursery, AWaitForTasksThatIgnoreACancelGoesOnAndThenThrows) {
  bool after = false;
  auto done = co_await move_on_after(1s, [&](cancel_scope&) -> task<> {
    co_await open_nursery([](nursery& n) {
      n.start_soon([]() -> task<> {
        // A shielded cleanup that takes longer than the limit, and ends well.
        co_await finally(sleep_for(1ms), {.within = 10s}, sleep_for(5s));
      });
    });
    after = true;
  });
  EXPECT_FALSE(done) << "trio: the block itself was cancelled while it waited";
  EXPECT_FALSE(after);
  EXPECT_EQ(t.elapsed(), 5001ms);
}

COPPICE_TEST(Nursery, ACancelThatCameBeforeTheWaitForTasksIsSeenByTheBlock) {
  bool after = false;
  auto done = co_await move_on_after(1h, [&](cancel_scope& scope) -> task<> {
    co_await open_nursery([&](nursery& n) -> task<> {
      n.start_soon(
          []() -> task<> { co_await finally(sleep_for(1ms), {.within = 10s}, sleep_for(5s)); });
      co_await sleep_for(1s);
      scope.cancel("now");  // The body ends well, without another checkpoint.
    });
    after = true;
  });
  EXPECT_FALSE(done);
  EXPECT_FALSE(after);
}

COPPICE_TEST(Nursery, TasksMayStartTasksInANurseryPassedDown) {
  log l;
  co_await open_nursery([&](nursery& n) {
    n.start_soon(
        [](nursery& same, log& to) -> task<> {
          co_await sleep_for(1s);
          same.start_soon(note_after, std::ref(to), "grandchild", 1s);
        },
        std::ref(n), std::ref(l));
  });
  EXPECT_EQ(l, log{"grandchild"});
  EXPECT_EQ(t.elapsed(), 2s);
}

// --- arguments

task<> keep_view(std::string_view v, log& l) {
  co_await checkpoint();
  l.push_back(std::string(v));
}
task<> keep_ref(const std::string& s, log& l) {
  co_await checkpoint();
  l.push_back(s);
}

COPPICE_TEST(NurseryArguments, TextIsOwnedByTheTaskWhateverTheParameter) {
  log l;
  co_await open_nursery([&](nursery& n) {
    std::string text = "a string that is too long for the small buffer";
    n.start_soon(keep_view, text, std::ref(l));
    n.start_soon(keep_view, std::string_view(text), std::ref(l));
    n.start_soon(keep_view, text.c_str(), std::ref(l));
    n.start_soon(keep_ref, "a literal that is too long for the small buffer", std::ref(l));
    text.assign(text.size(), 'x');
  });
  EXPECT_EQ(l, (log{"a string that is too long for the small buffer",
                    "a string that is too long for the small buffer",
                    "a string that is too long for the small buffer",
                    "a literal that is too long for the small buffer"}));
}

struct counter {
  int total = 0;
  task<> add(int by) {
    co_await checkpoint();
    total += by;
  }
};

COPPICE_TEST(NurseryArguments, MemberFunctionsTakeTheirObjectByRefOrPointer) {
  counter c;
  co_await open_nursery([&](nursery& n) {
    n.start_soon(&counter::add, std::ref(c), 1);
    n.start_soon("by pointer", &counter::add, &c, 2);
  });
  EXPECT_EQ(c.total, 3);
}

COPPICE_TEST(NurseryArguments, MoveOnlyValuesAreMovedInAndEndWithTheTask) {
  auto p = std::make_shared<int>(1);
  std::weak_ptr<int> w = p;
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon([](std::unique_ptr<std::shared_ptr<int>>) -> task<> { co_await sleep_for(1s); },
                 std::make_unique<std::shared_ptr<int>>(std::move(p)));
    co_await checkpoint();
    EXPECT_FALSE(w.expired());
    co_await sleep_for(2s);
    EXPECT_TRUE(w.expired()) << "the nursery is still open, the task is not";
  });
}

COPPICE_TEST(NurseryArguments, AreConvertedAtTheStart) {
  duration got{};
  co_await open_nursery([&](nursery& n) {
    n.start_soon(
        [](duration d, duration& to) -> task<> {
          to = d;
          co_return;
        },
        2s, std::ref(got));
    n.start_soon(
        [](auto x, auto& to) -> task<> {
          to += x;
          co_return;
        },
        1ms, std::ref(got));
  });
  EXPECT_EQ(got, 2001ms);
}

COPPICE_TEST(NurseryArguments, ATaskWithoutARunEndsWithoutRunning) {
  bool ran = false;
  co_await open_nursery([&](nursery& n) {
    n.start_soon(
        [](bool& b) -> task<> {
          co_await checkpoint();  // Cancelled before its first turn: the first checkpoint throws.
          b = true;
        },
        std::ref(ran));
    n.cancel();
  });
  EXPECT_FALSE(ran);
}

// --- start()

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

using NurseryDeath = testing::Test;

task<> starts_twice(testkit::test_env&) {
  co_await open_nursery([](nursery& n) -> task<> {
    co_await n.start([](task_status<> s) -> task<> {
      s.started();
      s.started();
      co_return;
    });
  });
}
TEST(NurseryDeath, StartedTwiceAborts) {
  EXPECT_DEATH(testkit::run_async_test("twice", &starts_twice), "started\\(\\) was called twice");
}

// The only way to get there: through what ends after the block, in the frame that has the nursery.
task<> starts_late(testkit::test_env&) {
  auto& self = co_await detail::this_task{};
  nursery n(self, "ended");
  co_await n.join();
  n.close();
  n.start_soon([]() -> task<> { co_return; });
}
TEST(NurseryDeath, StartingInANurseryWhoseBlockHasEndedAborts) {
  EXPECT_DEATH(testkit::run_async_test("late", &starts_late),
               "a task was started in a nursery whose block has ended");
}

}  // namespace
}  // namespace coppice
