// SPDX-License-Identifier: Apache-2.0
#include "coppice/introspect.hpp"  // First: proves the header stands alone.

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <set>
#include <thread>

#include "base/thread.hpp"
#include "coppice/errors.hpp"
#include "coppice/event.hpp"
#include "coppice/nursery.hpp"
#include "coppice/testkit/async_test.hpp"
#include "coppice/testkit/order.hpp"
#include "coppice/time.hpp"
#include "core/loop.hpp"

namespace coppice {
namespace {

using namespace std::chrono_literals;
using outcome = task_tree::outcome;
using phase = task_info::phase;

// Hang bounds, not expectations.
constexpr snapshot_options patient{.within = 30s};

task<> wait_for(event& e) { co_await e.wait(); }

const task_info* named(const task_tree& tree, std::string_view name) {
  for (const task_info& t : tree.tasks)
    if (t.name == name) return &t;
  ADD_FAILURE() << "no task '" << name << "' in\n" << tree.to_text();
  static const task_info none;
  return &none;
}

/// A loop on a thread of its own, in which `many` tasks wait for an event, until it ends.
class busy_thread {
 public:
  explicit busy_thread(int many)
      : thread_("looping", [this, many] { EXPECT_THROW(loop_.run(main(many)), cancelled); }) {
    up_.wait(false);
  }
  ~busy_thread() {
    loop_.cancel("test is over");
    thread_.join();
  }
  loop_view view() { return loop_.view(); }
  core::loop& loop() { return loop_; }

 private:
  task<> main(int many) {
    event never("never");
    co_await open_nursery("crowd", [&](nursery& n) -> task<> {
      for (int i = 0; i < many; ++i) n.start_soon("waiter", wait_for, std::ref(never));
      co_await checkpoint();
      up_ = true;
      up_.notify_all();
      co_await sleep_forever();
    });
  }

  core::loop loop_{{.name = "crowded"}};
  std::atomic<bool> up_{false};
  base::os_thread thread_;
};

TEST(Snapshot, FromAnotherThreadShowsTasksTheirNurseriesAndWhatTheyWaitFor) {
  busy_thread there(2);
  const task_tree tree = there.view().snapshot(patient);
  EXPECT_EQ(tree.how, outcome::complete);
  EXPECT_EQ(tree.loop, "crowded");
  EXPECT_EQ(tree.slices, 1u) << "so small a loop is seen in one moment";
  ASSERT_EQ(tree.tasks.size(), 3u) << tree.to_text();
  const task_info& root = tree.tasks[0];
  EXPECT_EQ(root.name, "crowded");
  EXPECT_EQ(root.parent, 0u);
  EXPECT_EQ(root.waits_for, "nothing: sleep_forever()");
  ASSERT_EQ(root.nurseries.size(), 1u);
  EXPECT_EQ(root.nurseries[0].name, "crowd");
  EXPECT_EQ(root.nurseries[0].tasks, 2u);
  for (int i = 1; i <= 2; ++i) {
    const task_info& child = tree.tasks[i];
    EXPECT_EQ(child.name, "waiter");
    EXPECT_EQ(child.parent, root.id);
    EXPECT_EQ(child.nursery, 0u);
    EXPECT_EQ(child.state, phase::waiting);
    EXPECT_EQ(child.waits_for, "event 'never'");
    EXPECT_GE(child.waits_since, 0s);
  }
  EXPECT_NE(tree.tasks[1].id, tree.tasks[2].id);
}

COPPICE_TEST(Snapshot, OnTheLoopsOwnThreadWalksAtOnceAndShowsTheRunningTask) {
  co_await open_nursery([&](nursery& n) -> task<> {
    for (int i = 0; i < 3000; ++i)
      n.start_soon("idle", []() -> task<> { co_await sleep_forever(); });
    const task_tree tree = this_loop().snapshot();
    EXPECT_EQ(tree.how, outcome::complete);
    EXPECT_EQ(tree.tasks.size(), 3001u);
    EXPECT_EQ(tree.slices, 1u);
    EXPECT_EQ(tree.tasks[0].state, phase::running);
    EXPECT_EQ(tree.tasks[1].state, phase::ready);
    n.cancel();
    co_await checkpoint();
  });
}

COPPICE_TEST(Snapshot, SaysSinceWhenATaskWaits) {
  event go;
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon("early", wait_for, std::ref(go));
    co_await sleep_for(30s);
    n.start_soon("late", wait_for, std::ref(go));
    co_await sleep_for(12s);
    const task_tree tree = this_loop().snapshot();
    EXPECT_EQ(named(tree, "early")->waits_since, 42s);
    EXPECT_EQ(named(tree, "late")->waits_since, 12s);
    go.set();
  });
}

COPPICE_TEST(Snapshot, ShowsScopesWithDeadlinesShieldsAndWhoCancelledThemWhy) {
  co_await open_nursery("work", [&](nursery& n) -> task<> {
    n.start_soon("limited", []() -> task<> { co_await move_on_after(90s, sleep_forever()); });
    n.start_soon("cleaning", []() -> task<> {
      co_await finally(sleep_forever(), {.within = 5s}, sleep_for(1s));
    });
    co_await testkit::wait_all_blocked();
    const task_tree before = this_loop().snapshot();
    const task_info* limited = named(before, "limited");
    EXPECT_EQ(limited->scopes.size(), 1u);
    EXPECT_EQ(limited->scopes.at(0).name, "move_on_after(1.5min)");
    EXPECT_EQ(limited->scopes.at(0).deadline_in, 90s);
    EXPECT_FALSE(limited->scopes.at(0).cancelled);
    EXPECT_EQ(limited->scopes.at(0).cancelled_by, "");

    n.cancel("seen enough");
    const task_tree after = this_loop().snapshot();
    const task_info& root = after.tasks.at(0);
    const scope_info& work = root.scopes.at(root.nurseries.at(0).scope);
    EXPECT_EQ(work.name, "work");
    EXPECT_TRUE(work.cancelled);
    EXPECT_EQ(work.cancelled_by, "work: seen enough");
    EXPECT_FALSE(root.scopes.at(0).cancelled) << "the root's own scope";
    EXPECT_EQ(named(after, "limited")->scopes.at(0).cancelled_by, "work: seen enough");
    bool shielded = false;
    auto look = [&](const task_tree& tree) {
      for (const scope_info& s : named(tree, "cleaning")->scopes) shielded |= s.shield;
    };
    look(after);
    EXPECT_FALSE(shielded);
    auto cleanup = [&]() -> task<> {
      co_await checkpoint();
      look(this_loop().snapshot());
    };
    co_await finally(checkpoint(), {.within = 5s}, cleanup());
    EXPECT_TRUE(shielded);
  });
}

TEST(Snapshot, NamesTheCoroutineThatAnUnnamedTaskGoesOnIn) {
  busy_thread there(1);
  const task_tree tree = there.view().snapshot(patient);
  ASSERT_EQ(tree.tasks.size(), 2u);
  // Tests are linked without -rdynamic, so most functions have no symbol: it must not be wrong.
  const std::string& where = tree.tasks[1].coroutine;
  EXPECT_TRUE(where.empty() || where.find("wait_for") != std::string::npos) << where;
}

TEST(Snapshot, OfALoopThatDoesNotAnswerReturnsAndSaysWhichTaskHasIt) {
  core::loop l({.name = "stuck"});
  std::atomic<bool> stuck{false};
  std::atomic<bool> go_on{false};
  base::os_thread thread("looping", [&] {
    l.run([](std::atomic<bool>& in, std::atomic<bool>& out) -> task<> {
      co_await open_nursery([&](nursery& n) {
        n.start_soon("hog", [&]() -> task<> {
          in = true;
          in.notify_all();
          out.wait(false);
          co_return;
        });
      });
    }(stuck, go_on));
  });
  stuck.wait(false);
  const task_tree tree = l.view().snapshot({.within = 50ms});
  EXPECT_EQ(tree.how, outcome::stalled);
  EXPECT_EQ(tree.stalled_by, "'hog'");
  EXPECT_GE(tree.stalled_for, 25ms) << "half of the bound, at least";
  EXPECT_TRUE(tree.tasks.empty());
  EXPECT_NE(tree.to_text().find("by 'hog'"), std::string::npos) << tree.to_text();
  go_on = true;  // The request that nobody waits for any more does no harm.
  go_on.notify_all();
  thread.join();
}

TEST(Snapshot, OfAPostedFunctionThatKeepsTheLoopSaysThatItIsNoTask) {
  std::atomic<bool> stuck{false};  // Before the thread that looks at them.
  std::atomic<bool> go_on{false};
  busy_thread there(1);
  there.loop().post([&] {
    stuck = true;
    stuck.notify_all();
    go_on.wait(false);
  });
  stuck.wait(false);
  const task_tree tree = there.view().snapshot({.within = 50ms});
  EXPECT_EQ(tree.how, outcome::stalled);
  EXPECT_EQ(tree.stalled_by.substr(0, 7), "no task") << tree.stalled_by;
  go_on = true;
  go_on.notify_all();
}

TEST(Snapshot, OfALoopThatDoesNotRunOrHasEndedSaysSoAtOnce) {
  std::optional<core::loop> l(std::in_place);
  const loop_view view = l->view();
  EXPECT_EQ(view.snapshot(patient).how, outcome::not_running);
  l->run([]() -> task<> { co_await checkpoint(); }());
  EXPECT_EQ(view.snapshot(patient).how, outcome::not_running);
  l.reset();
  EXPECT_EQ(view.snapshot(patient).how, outcome::ended);
  EXPECT_EQ(view.name(), "loop") << "a view outlives its loop";
}

TEST(Snapshot, ShowsNoMoreTasksThanItsLimit) {
  busy_thread there(100);
  task_tree tree = there.view().snapshot({.within = 30s, .tasks_max = 101});
  EXPECT_EQ(tree.how, outcome::complete);
  tree = there.view().snapshot({.within = 30s, .tasks_max = 100});
  EXPECT_EQ(tree.how, outcome::cut);
  EXPECT_EQ(tree.tasks.size(), 100u);
}

TEST(Snapshot, OfManyTasksIsTakenInSlicesAndHasEachTaskOnce) {
  constexpr int many = 20'000;
  busy_thread there(many);
  const task_tree tree = there.view().snapshot(patient);
  EXPECT_EQ(tree.how, outcome::complete);
  EXPECT_GT(tree.slices, 1u);
  std::set<std::uint64_t> ids;
  for (const task_info& t : tree.tasks) ids.insert(t.id);
  EXPECT_EQ(ids.size(), static_cast<std::size_t>(many) + 1);
  EXPECT_EQ(tree.tasks.size(), ids.size());
  RecordProperty("slices", std::to_string(tree.slices));
  RecordProperty("slice_max_us", std::to_string(tree.slice_max.count() / 1000));
  RecordProperty("loop_us", std::to_string(tree.loop_time.count() / 1000));
}

TEST(Snapshot, AskersOnSeveralThreadsAreServedWhileTasksComeAndGo) {
  std::atomic<bool> stop{false};
  core::loop l({.name = "churning"});
  std::atomic<bool> up{false};
  auto churn = [](std::atomic<bool>& end, std::atomic<bool>& began) -> task<> {
    auto child = [](int depth) -> task<> {
      if (depth > 0) {
        co_await open_nursery([&](nursery& n) -> task<> {
          n.start_soon(
              [](int d) -> task<> {
                for (int i = 0; i < d; ++i) co_await checkpoint();
              },
              depth);
          co_await checkpoint();
        });
      }
    };
    co_await open_nursery([&](nursery& n) -> task<> {
      began = true;
      began.notify_all();
      while (!end) {
        for (int i = 0; i < 14; ++i) n.start_soon(child, i % 7);
        co_await checkpoint();
      }
    });
  };
  base::os_thread thread("looping", [&] { l.run(churn(stop, up)); });
  up.wait(false);
  std::vector<base::os_thread> askers;
  std::atomic<int> served{0};
  for (int i = 0; i < 2; ++i) {
    askers.emplace_back("asker", [&] {
      for (int n = 0; n < 25; ++n) {
        const task_tree tree = l.view().snapshot(patient);
        if (tree.how == outcome::complete) ++served;
      }
    });
  }
  for (auto& a : askers) a.join();
  stop = true;
  thread.join();
  EXPECT_EQ(served, 50);
}

TEST(ThisLoop, OutsideOfALoopThrows) { EXPECT_THROW(this_loop(), error); }

COPPICE_TEST(Snapshot, AnIdIsTheSameInEverySnapshotAndNeverUsedAgain) {
  event first;
  event second;
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon("task", wait_for, std::ref(first));
    const task_tree before = this_loop().snapshot();
    const task_tree again = this_loop().snapshot();
    const std::uint64_t id = named(before, "task")->id;
    EXPECT_EQ(named(again, "task")->id, id);
    first.set();
    co_await testkit::wait_all_blocked();
    n.start_soon("task", wait_for, std::ref(second));
    const task_tree after = this_loop().snapshot();
    EXPECT_GT(named(after, "task")->id, id);
    second.set();
  });
}

}  // namespace
}  // namespace coppice
