// SPDX-License-Identifier: Apache-2.0
#include "core/stall_watch.hpp"  // First: proves the header stands alone.

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <future>

#include "base/sanitizers.hpp"
#include "base/thread.hpp"
#include "coppice/errors.hpp"
#include "coppice/nursery.hpp"
#include "coppice/time.hpp"
#include "core/loop.hpp"

namespace coppice::core {
namespace {

using namespace std::chrono_literals;
using beat = loop_pulse::beat;
using phase = loop_pulse::phase;

// --- the rule, on told time

constexpr time_point start{std::chrono::hours(1)};
const int a_task = 0;
constexpr beat awake(std::uint64_t turn) {
  return {.turn = turn, .task = &a_task, .in = phase::awake};
}

/// Looks every 50 ms, `times` times from `at` on; gives the last finding.
std::optional<stall_rule::finding> look(stall_rule& rule, const beat& b, time_point& at,
                                        int times) {
  std::optional<stall_rule::finding> found;
  for (int i = 0; i < times; ++i, at += 50ms)
    if (auto one = rule.see(b, at)) found = one;
  return found;
}

TEST(StallRule, ATaskThatKeepsItsLoopForTheBoundIsFoundOnce) {
  stall_rule rule(100ms, 10s);
  time_point at = start;
  EXPECT_FALSE(look(rule, awake(1), at, 2));
  const auto found = look(rule, awake(1), at, 1);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->at_least, 100ms);
  EXPECT_FALSE(look(rule, awake(1), at, 1000)) << "the same stall";
}

TEST(StallRule, ALoopThatGoesFromTaskToTaskSleepsOrDoesNotRunIsNotFound) {
  stall_rule rule(100ms, 10s);
  time_point at = start;
  for (std::uint64_t turn = 1; turn < 100; ++turn) EXPECT_FALSE(look(rule, awake(turn), at, 2));
  EXPECT_FALSE(look(rule, {.turn = 7, .task = nullptr, .in = phase::asleep}, at, 100));
  EXPECT_FALSE(look(rule, {.turn = 7, .task = nullptr, .in = phase::not_running}, at, 100));
}

TEST(StallRule, OneReportPerIntervalAndTheOthersAreCounted) {
  stall_rule rule(100ms, 10s);
  time_point at = start;
  EXPECT_TRUE(look(rule, awake(1), at, 5));
  EXPECT_FALSE(look(rule, awake(2), at, 5));
  EXPECT_FALSE(look(rule, awake(3), at, 5));
  at += 10s;
  const auto later = look(rule, awake(4), at, 5);
  ASSERT_TRUE(later);
  EXPECT_EQ(later->left_out, 2u);
  at += 10s;
  const auto last = look(rule, awake(5), at, 5);
  ASSERT_TRUE(last);
  EXPECT_EQ(last->left_out, 0u) << "told once";
}

TEST(StallRule, TimeInWhichTheProcessStoodStillIsNoStall) {
  stall_rule rule(100ms, 10s);
  time_point at = start;
  EXPECT_FALSE(look(rule, awake(1), at, 1));
  at += 1h;
  EXPECT_FALSE(look(rule, awake(1), at, 1));
  EXPECT_FALSE(look(rule, awake(2), at, 2));
}

// --- the whole, with generous bounds

/// Keeps what is reported, and lets a test wait for it.
class reports {
 public:
  stall_options options(duration every = 1h) {
    return {.after = 20ms, .every = every, .handler = [this](const stall_report& r) { keep(r); }};
  }
  stall_report first() {
    count_.wait(0);
    return first_;
  }
  int count() const { return count_; }
  void wait_for_one() { count_.wait(0); }

 private:
  void keep(const stall_report& r) {
    if (count_ == 0) first_ = r;
    ++count_;
    count_.notify_all();
  }

  std::atomic<int> count_{0};
  stall_report first_;  // Written before count_ is 1, and never again.
};

// Computes until it has been seen: what a task must not do.
task<> hog(reports& r) {
  r.wait_for_one();
  co_return;
}

TEST(StallWatch, ReportsTheTasksNameAndTheStackOfItsThread) {
  reports told;
  loop l({.name = "main", .stalls = std::make_shared<stall_watch>(told.options())});
  l.run([](reports& r) -> task<> {
    co_await open_nursery([&](nursery& n) { n.start_soon("hog", hog, std::ref(r)); });
  }(told));
  const stall_report report = told.first();
  EXPECT_EQ(report.loop, "main");
  EXPECT_EQ(report.task, "'hog'");
  EXPECT_GE(report.at_least, 20ms);
  EXPECT_EQ(report.left_out, 0u);
  EXPECT_EQ(report.stack.empty(), base::under_thread_sanitizer);
  EXPECT_NE(report.to_text().find("loop 'main' is stalled, for "), std::string::npos);
  EXPECT_NE(report.to_text().find(" by 'hog'\n"), std::string::npos) << report.to_text();
}

task<> stay(std::promise<void>& up) {
  up.set_value();
  co_await sleep_forever();
}

TEST(StallWatch, OneThreadWatchesAllLoopsWhileTheyRunAndThenForgetsThem) {
  reports told;
  auto watch = std::make_shared<stall_watch>(told.options());
  EXPECT_TRUE(watch->loops().empty());
  loop first({.name = "first", .stalls = watch});
  loop second({.name = "second", .stalls = watch});
  std::promise<void> up;
  base::os_thread thread("looping", [&] { EXPECT_THROW(second.run(stay(up)), cancelled); });
  up.get_future().wait();
  first.run([](stall_watch& w) -> task<> {
    EXPECT_EQ(w.loops().size(), 2u);
    co_await checkpoint();
  }(*watch));
  const auto left = watch->loops();
  ASSERT_EQ(left.size(), 1u);
  EXPECT_EQ(left[0].name(), "second");
  second.cancel("over");
  thread.join();
  EXPECT_TRUE(watch->loops().empty());
}

TEST(StallWatch, AnEndedWatchReportsNothingAndItsLoopsGoOn) {
  reports told;
  auto watch = std::make_shared<stall_watch>(told.options());
  watch->stop();
  loop l({.stalls = watch});
  l.run([]() -> task<> { co_await checkpoint(); }());
  EXPECT_EQ(told.count(), 0);
}

TEST(StallWatch, ABoundOfZeroLooksAtNothing) {
  auto watch = std::make_shared<stall_watch>(stall_options{.after = 0s});
  loop l({.stalls = watch});
  l.run([](stall_watch& w) -> task<> {
    EXPECT_EQ(w.loops().size(), 1u);
    co_await checkpoint();
  }(*watch));
}

TEST(StallWatch, WithoutStacksItSendsNoSignal) {
  reports told;
  auto options = told.options();
  options.stacks = false;
  loop l({.stalls = std::make_shared<stall_watch>(std::move(options))});
  l.run(hog(told));
  EXPECT_TRUE(told.first().stack.empty());
  EXPECT_EQ(told.first().task, "'loop'");
}

TEST(StallWatch, WithoutAHandlerTheTextGoesToStderr) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const int kept = ::dup(STDERR_FILENO);
  ::dup2(ends[1], STDERR_FILENO);
  std::string text;
  {
    loop l({.name = "main", .stalls = std::make_shared<stall_watch>(stall_options{.after = 20ms})});
    l.run([](int from, std::string& to) -> task<> {
      char read[4096];  // What it waits for is the report of this very wait.
      to.assign(read, static_cast<std::size_t>(std::max<ssize_t>(::read(from, read, 4096), 0)));
      co_return;
    }(ends[0], text));
  }
  ::dup2(kept, STDERR_FILENO);
  for (const int fd : {kept, ends[0], ends[1]}) ::close(fd);
  EXPECT_NE(text.find("coppice: loop 'main' is stalled, for "), std::string::npos) << text;
}

void stall_with_a_handler_that_throws() {
  stall_options options{.after = 20ms};
  options.handler = [](const stall_report&) { throw error("no"); };
  loop l({.stalls = std::make_shared<stall_watch>(std::move(options))});
  l.run([]() -> task<> {
    std::promise<void> never;
    never.get_future().wait();
    co_return;
  }());
}
TEST(StallWatchDeath, AHandlerThatThrowsEndsTheProcess) {
  EXPECT_DEATH(stall_with_a_handler_that_throws(), "terminate called");
}

}  // namespace
}  // namespace coppice::core
