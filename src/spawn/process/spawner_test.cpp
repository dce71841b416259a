// SPDX-License-Identifier: Apache-2.0
#include "spawn/process/spawner.hpp"  // First: proves the header stands alone.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <future>
#include <sstream>

#include "base/sanitizers.hpp"

namespace coppice::spawn {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

class Spawner : public testing::Test {
 protected:
  void SetUp() override {
    if (base::under_thread_sanitizer)
      GTEST_SKIP() << "thread sanitizer cannot follow clone(CLONE_VM | CLONE_VFORK)";
  }
  Spawner() {
    char name[] = "/tmp/coppice-test-XXXXXX";
    directory = ::mkdtemp(name);
  }
  ~Spawner() override { fs::remove_all(directory); }

  started_process start(command c) {
    std::promise<started_process> done;
    s.start(std::move(c), [&](started_process p) { done.set_value(std::move(p)); });
    return done.get_future().get();
  }
  /// This program as a child that does `what`; see main_for_test.cpp.
  static command child(const std::string& what, const std::string& argument = "") {
    return {
        .argv = {fs::read_symlink("/proc/self/exe"), what, argument}, .environment = {}, .cwd = {}};
  }
  /// How it ended, at most 10 s from now.
  static siginfo_t wait(const started_process& p) {
    pollfd ready{p.pidfd.get(), POLLIN, 0};
    EXPECT_EQ(::poll(&ready, 1, 10'000), 1) << "the process did not end";
    siginfo_t info{};
    EXPECT_EQ(::waitid(P_PIDFD, static_cast<id_t>(p.pidfd.get()), &info, WEXITED | WNOHANG), 0);
    return info;
  }
  static void expect_nothing_to_reap() {
    siginfo_t info{};
    EXPECT_EQ(::waitid(P_ALL, 0, &info, WEXITED | WNOHANG), -1) << "pid " << info.si_pid;
  }
  std::string report_of(const std::string& what, command c) {
    const std::string file = directory + "/report";
    c.argv[1] = what;
    c.argv[2] = file;
    const auto p = start(std::move(c));
    EXPECT_GT(p.pid, 0) << p.step << ": " << std::strerror(p.error);
    if (p.pid < 0) return "";
    EXPECT_EQ(wait(p).si_status, 0);
    std::ostringstream out;
    out << std::ifstream(file).rdbuf();
    return out.str();
  }

  std::string directory;
  spawner s;
};

TEST_F(Spawner, AProcessEndsWithItsStatusAndItsPidfdSaysWhen) {
  const auto p = start(child("--exit", "7"));
  EXPECT_GT(p.pid, 0);
  const auto info = wait(p);
  EXPECT_EQ(info.si_pid, p.pid);
  EXPECT_EQ(info.si_code, CLD_EXITED);
  EXPECT_EQ(info.si_status, 7);
}

TEST_F(Spawner, AProgramThatIsNotThereIsSaidWithStepAndReason) {
  const auto p = start({.argv = {"/no/such/program"}, .environment = {}, .cwd = {}});
  EXPECT_EQ(p.pid, -1);
  EXPECT_STREQ(p.step, "execve");
  EXPECT_EQ(p.error, ENOENT);
  EXPECT_FALSE(p.pidfd);
  expect_nothing_to_reap();
}

TEST_F(Spawner, AFileThatIsNoProgramIsSaidToo) {
  const std::string file = directory + "/text";
  std::ofstream(file) << "no program";
  EXPECT_EQ(start({.argv = {file}, .environment = {}, .cwd = {}}).error, EACCES);
  fs::permissions(file, fs::perms::owner_all);
  EXPECT_EQ(start({.argv = {file}, .environment = {}, .cwd = {}}).error, ENOEXEC);
  EXPECT_EQ(start({.argv = {directory}, .environment = {}, .cwd = {}}).error, EACCES);
  expect_nothing_to_reap();
}

TEST_F(Spawner, ADirectoryThatIsNotThereIsSaidWithStepAndReason) {
  auto c = child("--exit", "0");
  c.cwd = directory + "/missing";
  const auto p = start(std::move(c));
  EXPECT_EQ(p.pid, -1);
  EXPECT_STREQ(p.step, "chdir");
  EXPECT_EQ(p.error, ENOENT);
  expect_nothing_to_reap();
}

TEST_F(Spawner, ItRunsWhereItIsToldTo) {
  auto c = child("");
  c.cwd = directory;
  EXPECT_NE(report_of("--report", c).find("cwd " + directory + "\n"), std::string::npos);
  char mine[4096];
  EXPECT_NE(
      report_of("--report", child("")).find(std::string("cwd ") + ::getcwd(mine, sizeof mine)),
      std::string::npos);
}

TEST_F(Spawner, ItHasTheEnvironmentThatItWasGivenAndNoOther) {
  auto c = child("");
  c.environment = {"A=1", "B=two words"};
  const std::string text = report_of("--report", c);
  EXPECT_NE(text.find("env A=1\nenv B=two words\n"), std::string::npos) << text;
  EXPECT_EQ(text.find("PATH"), std::string::npos);
}

TEST_F(Spawner, AChildHasDescriptorsZeroToTwoAndNoOthers) {
  const int leaky = ::open("/dev/null", O_RDONLY);  // Not close-on-exec.
  const int high = ::fcntl(leaky, F_DUPFD, 700);
  EXPECT_EQ(report_of("--descriptors", child("")), "0 1 2 ");
  ::close(leaky);
  ::close(high);
}

TEST_F(Spawner, AChildHasDefaultDispositionsAndAnEmptyMaskWhateverWeHave) {
  struct sigaction ignore{}, handle{}, before_pipe{}, before_usr{};
  ignore.sa_handler = SIG_IGN;
  handle.sa_handler = [](int) {};
  ::sigaction(SIGPIPE, &ignore, &before_pipe);
  ::sigaction(SIGUSR1, &handle, &before_usr);
  sigset_t block, before;
  ::sigemptyset(&block);
  ::sigaddset(&block, SIGTERM);
  ::sigaddset(&block, SIGINT);
  ::pthread_sigmask(SIG_BLOCK, &block, &before);  // The spawner's thread is made now: it inherits.
  const std::string text = report_of("--report", child(""));
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  ::sigaction(SIGPIPE, &before_pipe, nullptr);
  ::sigaction(SIGUSR1, &before_usr, nullptr);
  EXPECT_NE(text.find("SigBlk:\t0000000000000000"), std::string::npos) << text;
  // 32 and 33 are the C library's own; whoever started us with posix_spawn() may have left them
  // ignored, and sigaction() does not let us touch them.
  const std::uint64_t libc_own = 0b11ull << 31;
  const auto at = text.find("SigIgn:\t");
  ASSERT_NE(at, std::string::npos) << text;
  EXPECT_EQ(std::stoull(text.substr(at + 8, 16), nullptr, 16) & ~libc_own, 0u) << text;
}

TEST_F(Spawner, OurOwnDispositionsMaskAndDirectoryStayAsTheyAre) {
  struct sigaction handle{}, before{}, after{};
  handle.sa_handler = [](int) {};
  ::sigaction(SIGUSR1, &handle, &before);
  auto c = child("--exit", "0");
  c.cwd = directory;
  char was[4096], is[4096];
  ::getcwd(was, sizeof was);
  wait(start(std::move(c)));
  ::sigaction(SIGUSR1, &before, &after);
  EXPECT_EQ(after.sa_handler, handle.sa_handler);
  EXPECT_STREQ(::getcwd(is, sizeof is), was);
}

TEST_F(Spawner, AChildIsKilledWhenTheSpawnersThreadEnds) {
  const auto p = start(child("--wait"));
  ASSERT_GT(p.pid, 0);
  pollfd ready{p.pidfd.get(), POLLIN, 0};
  EXPECT_EQ(::poll(&ready, 1, 20), 0) << "it lives";
  s.stop();
  const auto info = wait(p);
  EXPECT_EQ(info.si_code, CLD_KILLED);
  EXPECT_EQ(info.si_status, SIGKILL);
}

TEST_F(Spawner, ManyStartsAtOnceAllWork) {
  constexpr int count = 50;
  std::promise<void> all;
  std::vector<started_process> made;
  for (int i = 0; i < count; ++i)
    s.start(child("--exit", std::to_string(i)), [&](started_process p) {
      made.push_back(std::move(p));
      if (made.size() == count) all.set_value();
    });
  all.get_future().wait();
  for (int i = 0; i < count; ++i) EXPECT_EQ(wait(made[static_cast<std::size_t>(i)]).si_status, i);
}

TEST_F(Spawner, AStartNeedsNoSpareDescriptorsButOne) {
  // The pidfd is the one that is missing: clone fails, and says so.
  std::vector<base::unique_fd> all;
  const int keep = ::dup(0);
  for (int fd = ::dup(0); fd >= 0 && all.size() < 100'000; fd = ::dup(0)) all.emplace_back(fd);
  if (all.size() >= 100'000) {
    ::close(keep);
    GTEST_SKIP() << "there is no limit of descriptors here";
  }
  const auto p = start(child("--exit", "0"));
  ::close(keep);
  all.clear();
  EXPECT_EQ(p.pid, -1);
  EXPECT_STREQ(p.step, "clone");
  EXPECT_EQ(p.error, EMFILE);
}

}  // namespace
}  // namespace coppice::spawn
