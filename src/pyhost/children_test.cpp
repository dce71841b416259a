// SPDX-License-Identifier: Apache-2.0
#include "pyhost/children.hpp"

#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include "pyhost/guest_test_kit.hpp"

extern char** environ;

namespace coppice::py {
namespace {

using namespace std::chrono_literals;

pid_t spawn(std::string command) {
  std::string sh = "sh", c = "-c";
  char* argv[] = {sh.data(), c.data(), command.data(), nullptr};
  pid_t pid = -1;
  EXPECT_EQ(::posix_spawn(&pid, "/bin/sh", nullptr, nullptr, argv, environ), 0);
  return pid;
}

TEST(ChildProcesses, EndKillsAndReaps) {
  child_processes children;
  const pid_t pid = spawn("exec sleep 900");
  children.record(pid);
  EXPECT_EQ(children.size(), 1u);
  EXPECT_EQ(children.end(10s), 0u);
  EXPECT_EQ(::waitpid(pid, nullptr, 0), -1) << "it was reaped";
}

TEST(ChildProcesses, OneThatSomebodyElseReapedIsLeftAlone) {
  child_processes children;
  const pid_t pid = spawn("exit 0");
  children.record(pid);
  ASSERT_EQ(::waitpid(pid, nullptr, 0), pid);
  EXPECT_EQ(children.end(10s), 0u);
}

TEST(ChildProcesses, OneThatHasExitedIsReaped) {
  child_processes children;
  const pid_t pid = spawn("exit 0");
  children.record(pid);
  siginfo_t info{};
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT), 0);
  EXPECT_EQ(children.end(10s), 0u);
  EXPECT_EQ(::waitpid(pid, nullptr, 0), -1);
}

TEST(ChildProcesses, OthersDropOutByThemselves) {
  const auto before = testkit::possessions::now();
  child_processes children;
  for (int i = 0; i < 50; ++i) {
    const pid_t pid = spawn("exit 0");
    children.record(pid);
    ASSERT_EQ(::waitpid(pid, nullptr, 0), pid);
  }
  EXPECT_LE(children.size(), 9u);
  EXPECT_EQ(children.end(10s), 0u);
  EXPECT_EQ(testkit::possessions::now().more_than(before), "");
}

}  // namespace
}  // namespace coppice::py
