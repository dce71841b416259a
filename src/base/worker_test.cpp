// SPDX-License-Identifier: Apache-2.0
#include "base/worker.hpp"  // First: proves the header stands alone.

#include <gtest/gtest.h>
#include <pthread.h>
#include <sched.h>

#include <atomic>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "base/threads_for_test.hpp"

namespace coppice::base {
namespace {

TEST(Worker, RunsWorkInOrderOnOneThreadThatBearsItsName) {
  std::vector<int> order;
  std::vector<pthread_t> threads;
  char name[16] = {};
  worker w("test-worker");
  for (int i = 0; i < 100; ++i)
    w.post([&, i] {
      order.push_back(i);
      threads.push_back(::pthread_self());
      ::pthread_getname_np(::pthread_self(), name, sizeof name);
    });
  w.stop();
  ASSERT_EQ(order.size(), 100u);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(order[static_cast<std::size_t>(i)], i);
  for (pthread_t t : threads) EXPECT_TRUE(::pthread_equal(t, threads[0]));
  EXPECT_STREQ(name, "test-worker");
}

TEST(Worker, HasNoThreadBeforeTheFirstPostNorAfterStop) {
  const auto before = threads_of_this_process();
  worker w("test-worker");
  EXPECT_EQ(threads_of_this_process(), before);
  std::atomic<bool> go{false};
  w.post([&] { go.wait(false); });
  EXPECT_EQ(threads_of_this_process(), before + 1);
  go = true;
  go.notify_all();
  w.stop();
  // A joined thread leaves /proc a moment after the join.
  for (int i = 0; i < 1000 && threads_of_this_process() > before; ++i) ::sched_yield();
  EXPECT_EQ(threads_of_this_process(), before);
}

TEST(Worker, StopRunsWhatIsQueuedFirst) {
  std::atomic<bool> go{false};
  int ran = 0;
  worker w("test-worker");
  w.post([&] { go.wait(false); });
  for (int i = 0; i < 10; ++i) w.post([&] { ++ran; });
  os_thread releaser("releaser", [&] {
    go = true;
    go.notify_all();
  });
  w.stop();
  EXPECT_EQ(ran, 10);
  releaser.join();
}

TEST(Worker, ItsEndIsAStop) {
  int ran = 0;
  {
    worker w("test-worker");
    w.post([&] { ++ran; });
  }
  EXPECT_EQ(ran, 1);
}

TEST(Worker, APostAfterStopStartsItAgainAndStopIsIdempotent) {
  int ran = 0;
  worker w("test-worker");
  w.stop();
  for (int i = 0; i < 3; ++i) {
    w.post([&] { ++ran; });
    w.stop();
    w.stop();
    EXPECT_EQ(ran, i + 1);
  }
}

TEST(Worker, WorkEndsOnItsThreadBeforeTheNextBegins) {
  auto owned = std::make_shared<int>(0);
  const std::weak_ptr<int> seen = owned;
  bool gone = false;
  worker w("test-worker");
  w.post([owned = std::move(owned)] {});
  w.post([&] { gone = seen.expired(); });
  w.stop();
  EXPECT_TRUE(gone);
}

// Waits until a thread sleeps in the kernel: it has got as far as it can.
void wait_until_asleep(pid_t tid) {
  for (;;) {
    std::ifstream in("/proc/self/task/" + std::to_string(tid) + "/stat");
    std::string pid, name, state;
    in >> pid >> name >> state;
    if (state == "S") return;
    ::sched_yield();
  }
}

// It was run at once, on a second thread beside the first, and what was posted after stop() never.
TEST(Worker, WhatIsPostedDuringStopWaitsForItsTurnAndLaterPostsAreRun) {
  std::atomic<bool> go{false}, first_ended{false};
  bool in_turn = false, later = false;
  worker w("test-worker");
  w.post([&] {
    go.wait(false);
    first_ended = true;
  });
  os_thread stopper("stopper", [&] { w.stop(); });
  wait_until_asleep(stopper.tid());
  w.post([&] { in_turn = first_ended; });
  go = true;
  go.notify_all();
  stopper.join();
  w.post([&] { later = true; });
  w.stop();
  EXPECT_TRUE(in_turn);
  EXPECT_TRUE(later);
}

TEST(Worker, ManyPostsWhileItIsStoppedAgainAndAgainAreAllRunInOrder) {
  constexpr int posts = 2000;
  std::vector<int> order;
  worker w("test-worker");
  std::atomic<bool> done{false};
  os_thread poster("poster", [&] {
    for (int i = 0; i < posts; ++i) {
      w.post([&, i] { order.push_back(i); });
      if (i % 16 == 0) ::sched_yield();  // Lets it run dry and leave.
    }
    done = true;
  });
  while (!done) w.stop();
  poster.join();
  w.stop();
  ASSERT_EQ(order.size(), static_cast<std::size_t>(posts));
  for (int i = 0; i < posts; ++i) ASSERT_EQ(order[static_cast<std::size_t>(i)], i);
}

}  // namespace
}  // namespace coppice::base
