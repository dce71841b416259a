// SPDX-License-Identifier: Apache-2.0
#include "spawn/process/process.hpp"  // First: proves the header stands alone.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "coppice/errors.hpp"
#include "ipc/link_test_kit.hpp"
#include "spawn/process/process_test_kit.hpp"

#include "base/sanitizers.hpp"

namespace coppice::spawn {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;
using ipc::test::until;
using test::ignores;
using test::noting_observer;

// The backend on a loop of the test's own; children are this program, see main_for_test.cpp.
class ProcessBackend : public testing::Test {
 protected:
  void SetUp() override {
    if (base::under_thread_sanitizer)
      GTEST_SKIP() << "thread sanitizer cannot follow clone(CLONE_VM | CLONE_VFORK)";
  }
  template <class Body>
  void run(Body body) {
    loop->run(body());
    tested->shut_down();
  }
  std::unique_ptr<child> start(std::vector<std::string> program, child_spec spec = {}) {
    argv = std::move(program);
    spec.native = true;
    spec.self.name = "kid";
    spec.self.uuid = "u-1";
    spec.parent_address = ipc::address::uds(own.path(), "parent.sock");
    return tested->start(spec, seen);
  }
  std::vector<std::string> me(const std::string& what, const std::string& argument = "") {
    return {fs::read_symlink("/proc/self/exe"), what, argument};
  }
  task<bool> ended() {
    co_return co_await until([this] { return seen->ends > 0; });
  }
  task<pid_t> pid_of(child* c) {
    EXPECT_TRUE(co_await until([c] { return c->describe().rfind("pid ", 0) == 0; }));
    co_return std::stoi(c->describe().substr(4));
  }

  ipc::test::own_runtime_directory own;
  std::shared_ptr<core::loop> loop = std::make_shared<core::loop>();
  std::shared_ptr<noting_observer> seen = std::make_shared<noting_observer>();
  std::vector<std::string> argv;
  std::unique_ptr<backend> tested =
      make_process_backend(loop, {.native = [this] { return argv; },
                                  .python = []() -> std::vector<std::string> {
                                    throw backend_unavailable("no Python here: install one");
                                  }});
};

TEST_F(ProcessBackend, ReportsAnExitStatus) {
  run([&]() -> task<> {
    auto c = start(me("--exit", "3"));
    EXPECT_TRUE(co_await ended());
  });
  EXPECT_EQ(seen->ends, 1);
  EXPECT_EQ(seen->report.how, exit_report::cause::exited);
  EXPECT_EQ(seen->report.status, 3);
}

TEST_F(ProcessBackend, AProgramOfTheSpecsIsExecutedInTheSpecsEnvironment) {
  argv = me("--exit", "1");
  child_spec spec;
  spec.self.name = "kid";
  spec.self.uuid = "00000000-0000-4000-8000-000000000000";
  spec.parent_address = ipc::address::uds("/run", "p.sock");
  const std::string check =
      R"sh([ "$2" = "('kid', '00000000-0000-4000-8000-000000000000')" ] &&)sh"
      R"sh( [ "$1 $3 $4" = "--uid --parent_addr ('/run', 'p.sock')" ] && exit $STATUS)sh";
  spec.program = {"/bin/sh", "-c", check, "sh"};
  spec.environment = {"STATUS=7"};
  EXPECT_EQ(tested->refusal(spec), std::nullopt);
  run([&]() -> task<> {
    auto c = tested->start(spec, seen);
    EXPECT_TRUE(co_await ended());
  });
  EXPECT_EQ(seen->report.status, 7);
}

TEST_F(ProcessBackend, ReportsASignalByName) {
  run([&]() -> task<> {
    auto c = start(me("--wait"));
    const pid_t pid = co_await pid_of(c.get());
    ::kill(pid, SIGABRT);
    EXPECT_TRUE(co_await ended());
  });
  EXPECT_EQ(seen->report.how, exit_report::cause::signalled);
  EXPECT_EQ(seen->report.status, SIGABRT);
  EXPECT_EQ(seen->report.text().rfind("killed by SIGABRT", 0), 0u) << seen->report.text();
}

TEST_F(ProcessBackend, AProgramThatCannotBeStartedHasEndedAndSaysWhy) {
  run([&]() -> task<> {
    auto c = start({"/no/such/program"});
    EXPECT_EQ(c->describe(), "process, starting");
    EXPECT_TRUE(co_await ended());
    child_spec spec;
    spec.cwd = "/no/such/directory";
    seen->ends = 0;
    EXPECT_EQ(seen->report.detail,
              "cannot start /no/such/program: execve: No such file or directory");
    auto d = start(me("--exit", "0"), spec);
    EXPECT_TRUE(co_await ended());
    EXPECT_NE(seen->report.detail.find(": chdir: No such file or directory"), std::string::npos)
        << seen->report.detail;
  });
  EXPECT_EQ(seen->report.how, exit_report::cause::failed);
}

TEST_F(ProcessBackend, InterruptIsATermAndForceAKill) {
  run([&]() -> task<> {
    auto c = start(me("--deaf"));
    const pid_t pid = co_await pid_of(c.get());
    // Before that it dies of it, which is tested below.
    EXPECT_TRUE(co_await until([pid] { return ignores(pid, SIGTERM); }));
    EXPECT_TRUE(c->interrupt());
    co_await sleep_for(20ms);
    EXPECT_EQ(seen->ends, 0) << "it does not listen";
    EXPECT_TRUE(c->force());
    EXPECT_TRUE(c->force());
    EXPECT_TRUE(co_await ended());
    EXPECT_TRUE(c->interrupt()) << "nobody there: no harm";
  });
  EXPECT_EQ(seen->report.status, SIGKILL);
  EXPECT_EQ(seen->ends, 1);
}

TEST_F(ProcessBackend, AnInterruptBeforeTheProcessIsThereReachesIt) {
  run([&]() -> task<> {
    auto c = start(me("--wait"));
    EXPECT_TRUE(c->interrupt());
    EXPECT_TRUE(co_await ended());
  });
  EXPECT_EQ(seen->report.status, SIGTERM);
}

TEST_F(ProcessBackend, AnAbandonedChildStillTellsItsEnd) {
  run([&]() -> task<> {
    auto c = start(me("--wait"));
    const pid_t pid = co_await pid_of(c.get());
    c->abandon();
    c.reset();
    ::kill(pid, SIGKILL);
    EXPECT_TRUE(co_await ended());
  });
  EXPECT_EQ(seen->ends, 1);
}

TEST_F(ProcessBackend, AChildThatSomebodyElseReapedIsLost) {
  run([&]() -> task<> {
    auto c = start(me("--wait"));
    const pid_t pid = co_await pid_of(c.get());
    ::kill(pid, SIGKILL);
    EXPECT_EQ(::waitpid(pid, nullptr, 0), pid);  // In the same turn: the loop has not looked yet.
    EXPECT_TRUE(co_await ended());
  });
  EXPECT_EQ(seen->report.how, exit_report::cause::lost);
}

// It was taken for lost, and stayed a zombie: so it went with a child whose leak sanitizer looked
// at it when it was killed.
TEST_F(ProcessBackend, AChildThatADebuggerHoldsEndsWhenTheDebuggerLetsGo) {
  run([&]() -> task<> {
    auto c = start(me("--wait"));
    const pid_t pid = co_await pid_of(c.get());
    int attached[2];
    EXPECT_EQ(::pipe2(attached, O_CLOEXEC), 0);
    const pid_t debugger = ::fork();
    if (debugger == 0) {
      const char how = ::ptrace(PTRACE_SEIZE, pid, nullptr, nullptr) == 0 ? '+' : '-';
      (void)!::write(attached[1], &how, 1);
      for (;;) ::pause();
    }
    char how = 0;
    EXPECT_EQ(::read(attached[0], &how, 1), 1);
    EXPECT_EQ(how, '+');
    ::kill(pid, SIGKILL);
    co_await sleep_for(50ms);
    EXPECT_EQ(seen->ends, 0);
    ::kill(debugger, SIGKILL);
    EXPECT_EQ(::waitpid(debugger, nullptr, 0), debugger);
    EXPECT_TRUE(co_await ended());
    ::close(attached[0]);
    ::close(attached[1]);
  });
  EXPECT_EQ(seen->report.how, exit_report::cause::signalled);
  EXPECT_EQ(seen->report.status, SIGKILL);
}

TEST_F(ProcessBackend, WhatItCannotServeItRefusesWithTheSentence) {
  child_spec native, python;
  native.native = true;
  EXPECT_EQ(tested->refusal(native), std::nullopt);
  EXPECT_EQ(tested->refusal(python), "no Python here: install one");
  const auto can = tested->can();
  EXPECT_TRUE(can.native && can.python && can.can_be_killed && !can.in_process);
  EXPECT_EQ(tested->key(), "process");
}

TEST_F(ProcessBackend, TheSocketFileOfAKilledChildIsRemoved) {
  const std::string directory = ipc::runtime_directory();
  std::string file;
  run([&]() -> task<> {
    auto c = start(me("--wait"));
    const pid_t pid = co_await pid_of(c.get());
    file = directory + "/kid@" + std::to_string(pid) + ".sock";
    {
      base::unique_fd s(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
      sockaddr_un at{};
      at.sun_family = AF_UNIX;
      std::strncpy(at.sun_path, file.c_str(), sizeof at.sun_path - 1);
      EXPECT_EQ(::bind(s.get(), reinterpret_cast<sockaddr*>(&at), sizeof at), 0);
    }
    ::kill(pid, SIGKILL);
    EXPECT_TRUE(co_await ended());
  });
  EXPECT_FALSE(fs::exists(file));
}

TEST_F(ProcessBackend, ChildrenLeaveNoDescriptors) {
  std::size_t before = 0;
  run([&]() -> task<> {
    auto first = start(me("--exit", "0"));
    EXPECT_TRUE(co_await ended());
    before = ipc::test::open_descriptors();
    for (int i = 0; i < 20; ++i) {
      seen->ends = 0;
      auto c = start(i % 2 ? me("--exit", "0") : std::vector<std::string>{"/no/such"});
      EXPECT_TRUE(co_await ended());
    }
    co_await sleep_for(1ms);
    EXPECT_LE(ipc::test::open_descriptors(), before);
  });
}

}  // namespace
}  // namespace coppice::spawn
