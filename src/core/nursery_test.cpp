// SPDX-License-Identifier: Apache-2.0
#include "coppice/nursery.hpp"  // First: proves the header stands alone.

#include "coppice/errors.hpp"
#include "coppice/event.hpp"
#include "coppice/introspect.hpp"
#include "coppice/outcome.hpp"
#include "coppice/testkit/async_test.hpp"
#include "coppice/testkit/order.hpp"
#include "core/scope_test_kit.hpp"

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
                 n.start_soon("quiet", []() -> task<> { co_await sleep_forever(); });
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

// What users saw: work that had ended well, also its cleanup, and whose value was thrown away.
COPPICE_TEST(Nursery, TheWaitForTasksIsNoCancellationPointWhatEndedWellIsKept) {
  bool after = false;
  auto done = co_await move_on_after(1s, [&](cancel_scope&) -> task<> {
    co_await open_nursery([](nursery& n) {
      n.start_soon([]() -> task<> {
        // A shielded cleanup that takes longer than the limit, and ends well.
        co_await finally(sleep_for(1ms), {.within = 10s}, sleep_for(5s));
      });
    });
    after = true;
    co_await checkpoint();
    ADD_FAILURE() << "the cancellation is a level: the next checkpoint throws";
  });
  EXPECT_FALSE(done);
  EXPECT_TRUE(after);
  EXPECT_EQ(t.elapsed(), 5001ms);
  auto value =
      co_await move_on_after(1s, open_nursery([](nursery& n) {
                               n.start_soon([]() -> task<> {
                                 co_await finally(checkpoint(), {.within = 10s}, sleep_for(5s));
                               });
                               return 7;
                             }));
  EXPECT_EQ(value, std::optional<int>(7));
}

COPPICE_TEST(Nursery, ACancelThatCameBeforeTheWaitForTasksDoesNotEndTheBlockEither) {
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
  EXPECT_TRUE(done);
  EXPECT_TRUE(after);
  EXPECT_EQ(t.elapsed(), 5001ms);
}

COPPICE_TEST(Nursery, OpeningAndLeavingAnEmptyOneIsNoCancellationPoint) {
  auto done = co_await move_on_after(1h, [](cancel_scope& s) -> task<> {
    s.cancel();
    co_await open_nursery([](nursery&) {});
    co_await open_nursery([](nursery& n) { n.start_soon([]() -> task<> { co_return; }); });
  });
  EXPECT_TRUE(done);
}

COPPICE_TEST(Nursery, IsOpenUntilItsBlockEndsAlsoInTheTurnInWhichItsLastTaskDid) {
  log l;
  nursery* home = nullptr;
  event last;
  co_await open_nursery("outer", [&](nursery& outer) -> task<> {
    outer.start_soon(
        [](nursery*& n, event& e, log& to) -> task<> {
          co_await e.wait();
          co_await checkpoint();  // The last task has ended by now, and the block has not run yet.
          EXPECT_EQ(n->task_count(), 0u);
          n->start_soon(note_after, std::ref(to), "late", 1s);
        },
        std::ref(home), std::ref(last), std::ref(l));
    co_await open_nursery("home", [&](nursery& n) {
      home = &n;
      n.start_soon(
          [](event& e) -> task<> {
            co_await sleep_for(1s);
            e.set();
            co_await checkpoint();
          },
          std::ref(last));
    });
    EXPECT_EQ(l, log{"late"});
    EXPECT_EQ(t.elapsed(), 2s);
  });
}

COPPICE_TEST(Nursery, TaskCountDoesNotCountTheBody) {
  co_await open_nursery([](nursery& n) -> task<> {
    EXPECT_EQ(n.task_count(), 0u);
    n.start_soon([]() -> task<> { co_await checkpoint(); });
    EXPECT_EQ(n.task_count(), 1u);
    co_await testkit::wait_all_blocked();
    EXPECT_EQ(n.task_count(), 0u);
  });
}

COPPICE_TEST(Nursery, ATaskStartedInACancelledOneBeginsAndStopsAtItsFirstCheckpoint) {
  log l;
  co_await open_nursery("home", [&](nursery& n) {
    n.cancel("closed");
    n.start_soon(
        [](log& to) -> task<> {
          to.push_back("began");
          co_await note_cancel(to, "task");
        },
        std::ref(l));
  });
  EXPECT_EQ(l, (log{"began", "task home: closed"}));
}

COPPICE_TEST(Nursery, ACancelReachesTheTasksOfItsTasksInOneGo) {
  log l;
  event never;
  co_await open_nursery("top", [&](nursery& n) -> task<> {
    for (int i = 0; i < 2; ++i) {
      n.start_soon(
          [](event& e) -> task<> {
            co_await open_nursery([&](nursery& m) {
              for (int k = 0; k < 2; ++k)
                m.start_soon([](event& x) -> task<> { co_await x.wait(); }, std::ref(e));
            });
          },
          std::ref(never));
    }
    co_await testkit::wait_all_blocked();
    EXPECT_EQ(never.waiting(), 4u);
    n.cancel();
    EXPECT_EQ(never.waiting(), 0u);
  });
}

COPPICE_TEST(Nursery, ThoseThatATaskHasOpenAreKnownAlsoAfterOneFailed) {
  auto open_now = [] {
    log names;
    const task_tree tree = this_loop().snapshot();
    for (const auto& n : tree.tasks.at(0).nurseries) names.push_back(n.name);
    return names;
  };
  co_await open_nursery("outer", [&](nursery&) -> task<> {
    auto failing = [&](nursery&) {
      EXPECT_EQ(open_now(), (log{"outer", "inner"}));
      throw error("x");
    };
    auto r = co_await as_result(open_nursery("inner", failing));
    EXPECT_FALSE(r);
    EXPECT_EQ(open_now(), log{"outer"});
  });
  EXPECT_TRUE(open_now().empty());
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

task<> starts_soon_too_late(testkit::test_env&) {
  auto& self = co_await detail::this_task{};
  nursery n(self, "over");
  co_await n.join();
  n.close();
  n.start_soon([]() -> task<> { co_return; });
}
TEST(NurseryDeath, ATaskStartedAfterTheBlockHasEndedAborts) {
  EXPECT_DEATH(testkit::run_async_test("late", &starts_soon_too_late),
               "a task was started in a nursery whose block has ended");
}

}  // namespace
}  // namespace coppice
