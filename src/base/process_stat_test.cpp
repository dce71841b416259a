// SPDX-License-Identifier: Apache-2.0
#include "base/process_stat.hpp"

#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <limits>

namespace coppice::base {
namespace {

TEST(ProcessStat, SaysWhoseChildAProcessIsAndSinceWhenItIsThere) {
  const auto own = stat_of(::getpid()), above = stat_of(::getppid());
  ASSERT_TRUE(own && above);
  EXPECT_EQ(own->parent, ::getppid());
  EXPECT_LE(above->started_ticks, own->started_ticks);
  const auto now = std::chrono::system_clock::now();
  EXPECT_LE(started_at(*own), now);
  EXPECT_GT(started_at(*own), now - std::chrono::hours(1));  // No test runs for that long.
}

TEST(ProcessStat, IsNotConfusedByAName) {
  char before[16];
  ::prctl(PR_GET_NAME, before);
  ::prctl(PR_SET_NAME, "a) S 1 (b");  // Of the first thread: the process's.
  const auto own = stat_of(::getpid());
  ::prctl(PR_SET_NAME, before);
  ASSERT_TRUE(own);
  EXPECT_EQ(own->parent, ::getppid());
}

TEST(ProcessStat, KnowsAZombie) {
  EXPECT_FALSE(stat_of(::getpid())->is_zombie);
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(0);
  siginfo_t ended{};
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(pid), &ended, WEXITED | WNOWAIT), 0);
  const auto left = stat_of(pid);
  ASSERT_TRUE(left);
  EXPECT_TRUE(left->is_zombie);
  ::waitpid(pid, nullptr, 0);
}

TEST(ProcessStat, IsNothingWhereThereIsNoProcess) {
  EXPECT_FALSE(stat_of(std::numeric_limits<pid_t>::max()));
}

}  // namespace
}  // namespace coppice::base
