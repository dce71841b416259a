// SPDX-License-Identifier: Apache-2.0
#include "base/thread.hpp"

#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <thread>

namespace coppice::base {
namespace {

using namespace std::chrono_literals;

TEST(OsThread, HasItsNameAndItsKernelId) {
  char name[16] = {};
  pid_t inside = 0;
  os_thread t("coppice-test", [&] {
    ::pthread_getname_np(::pthread_self(), name, sizeof name);
    inside = static_cast<pid_t>(::syscall(SYS_gettid));
  });
  const pid_t outside = t.tid();
  t.join();
  EXPECT_STREQ(name, "coppice-test");
  EXPECT_EQ(inside, outside);
  EXPECT_FALSE(t.joinable());
}

TEST(OsThread, JoinForGivesUpAtItsBoundAndKeepsTheThread) {
  std::atomic<bool> go{false};
  os_thread t("waiter", [&] { go.wait(false); });
  EXPECT_FALSE(t.join_for(20ms));
  EXPECT_TRUE(t.joinable());
  go = true;
  go.notify_all();
  EXPECT_TRUE(t.join_for(10s));
}

TEST(OsThread, IsBlockedWhileItWaitsAndNotWhileItRuns) {
  std::atomic<bool> go{false}, runs{false}, end{false};
  os_thread t("waiter", [&] {
    go.wait(false);
    runs = true;
    while (!end) {
    }
  });
  while (!is_blocked(t.tid())) std::this_thread::yield();
  go = true;
  go.notify_all();
  while (!runs) std::this_thread::yield();
  EXPECT_FALSE(is_blocked(t.tid()));
  const pid_t gone = t.tid();
  end = true;
  t.join();
  EXPECT_FALSE(is_blocked(gone));
}

TEST(OsThreadDeathTest, EndOfTheOwnerWithoutJoinAborts) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH({ os_thread t("lost", [] { ::pause(); }); }, "without join");
}

}  // namespace
}  // namespace coppice::base
