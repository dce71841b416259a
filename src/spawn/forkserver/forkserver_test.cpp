// SPDX-License-Identifier: Apache-2.0
#include "spawn/forkserver/forkserver.hpp"  // First: proves the header stands alone.

#include <dirent.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/sanitizers.hpp"
#include "coppice/errors.hpp"
#include "ipc/link_test_kit.hpp"
#include "spawn/process/process_test_kit.hpp"

namespace coppice::spawn {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;
using ipc::test::until;
using test::ignores;
using test::is_there;
using noting = test::noting_observer;

// The backend on a loop of the test's own. The zygote is this program, see main_for_test.cpp; what
// a child does is its actor's name.
class Forkserver : public testing::Test {
 protected:
  void SetUp() override {
    if (base::under_thread_sanitizer)
      GTEST_SKIP() << "thread sanitizer cannot follow clone(CLONE_VM | CLONE_VFORK)";
  }
  template <class Body>
  void run(Body body) {
    loop->run(body());
    tested.reset();
    zygote->shut_down();
  }
  std::unique_ptr<child> start(const std::string& what, std::shared_ptr<noting> seen,
                               child_spec spec = {}) {
    spec.self.name = what;
    spec.self.uuid = "u-1";
    spec.parent_address = ipc::address::uds(own.path(), "parent.sock");
    return tested->start(spec, std::move(seen));
  }
  task<bool> ended(const std::shared_ptr<noting>& seen) {
    co_return co_await until([of = seen.get()] { return of->ends > 0; });
  }
  task<pid_t> pid_of(child* c) {
    EXPECT_TRUE(co_await until([c] { return c->describe().rfind("pid ", 0) == 0; }));
    co_return std::stoi(c->describe().substr(4));
  }
  static pid_t parent_of(pid_t pid) {
    const auto found = base::stat_of(pid);
    return found ? found->parent : -1;
  }
  std::string report_of(child_spec spec = {}) {
    const std::string file = own.path() + "/report";
    auto seen = std::make_shared<noting>();
    run([&]() -> task<> {
      auto c = start("--report " + file, seen, std::move(spec));
      EXPECT_TRUE(co_await ended(seen));
    });
    EXPECT_EQ(seen->report.text(), "exited with status 0");
    std::ifstream in(file);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  ipc::test::own_runtime_directory own;
  std::shared_ptr<core::loop> loop = std::make_shared<core::loop>();
  std::vector<std::string> program = {fs::read_symlink("/proc/self/exe"), "--zygote"};
  std::shared_ptr<zygote_client> zygote =
      std::make_shared<zygote_client>(loop, zygote_source{.program = [this] { return program; }});
  std::unique_ptr<backend> tested =
      make_forkserver_backend("forkserver", forked_into::main_interpreter, loop, zygote);
};

TEST_F(Forkserver, ReportsAnExitStatus) {
  auto seen = std::make_shared<noting>();
  run([&]() -> task<> {
    auto c = start("--exit 3", seen);
    EXPECT_TRUE(co_await ended(seen));
  });
  EXPECT_EQ(seen->ends, 1);
  EXPECT_EQ(seen->report.text(), "exited with status 3");
}

TEST_F(Forkserver, ReportsASignalByName) {
  auto seen = std::make_shared<noting>();
  run([&]() -> task<> {
    auto c = start("--wait", seen);
    ::kill(co_await pid_of(c.get()), SIGABRT);
    EXPECT_TRUE(co_await ended(seen));
  });
  EXPECT_NE(seen->report.text().find("SIGABRT"), std::string::npos) << seen->report.text();
}

TEST_F(Forkserver, OneZygoteForksThemAll) {
  auto a = std::make_shared<noting>(), b = std::make_shared<noting>();
  run([&]() -> task<> {
    auto one = start("--wait", a);
    auto two = start("--wait", b);
    const pid_t first = co_await pid_of(one.get());
    const pid_t second = co_await pid_of(two.get());
    EXPECT_EQ(parent_of(first), parent_of(second));
    EXPECT_EQ(parent_of(parent_of(first)), ::getpid());
    one->force();
    two->force();
    EXPECT_TRUE(co_await ended(a));
    EXPECT_TRUE(co_await ended(b));
  });
}

TEST_F(Forkserver, AChildHasDefaultDispositionsAndAnEmptyMaskAndDiesWithItsZygote) {
  const std::string report = report_of();
  EXPECT_NE(report.find("pdeathsig 9\n"), std::string::npos) << report;
  EXPECT_NE(report.find("SigBlk:\t0000000000000000\n"), std::string::npos) << report;
  // SIGPIPE is what a test program may ignore; the first of the others is SIGINT.
  EXPECT_EQ(report.find("SigIgn:\t0000000000000002"), std::string::npos) << report;
}

TEST_F(Forkserver, AChildHasTheEnvironmentAndWorkingDirectoryOfItsSpec) {
  child_spec spec;
  spec.environment = {"STATUS=7", "EMPTY="};
  spec.cwd = "/usr";
  const std::string report = report_of(std::move(spec));
  EXPECT_NE(report.find("cwd /usr\n"), std::string::npos) << report;
  EXPECT_NE(report.find("env STATUS=7\nenv EMPTY=\n"), std::string::npos) << report;
  EXPECT_EQ(report.find("env PATH"), std::string::npos) << report;
}

TEST_F(Forkserver, AChildHasOurEnvironmentOfNowIfItsSpecHasNone) {
  ::setenv("COPPICE_TEST_LATE", "yes", 1);
  const std::string report = report_of();
  ::unsetenv("COPPICE_TEST_LATE");
  EXPECT_NE(report.find("env COPPICE_TEST_LATE=yes\n"), std::string::npos) << report;
}

TEST_F(Forkserver, AChildHasNoDescriptorsOfTheZygotesButItsOwnConnection) {
  const std::string file = own.path() + "/fds";
  auto a = std::make_shared<noting>(), b = std::make_shared<noting>();
  run([&]() -> task<> {
    auto waiting = start("--wait", a);
    (void)co_await pid_of(waiting.get());
    auto c = start("--descriptors " + file, b);
    EXPECT_TRUE(co_await ended(b));
    waiting->force();
    EXPECT_TRUE(co_await ended(a));
  });
  std::ifstream in(file);
  std::vector<int> fds;
  for (int fd = 0; in >> fd;) fds.push_back(fd);
  ASSERT_EQ(fds.size(), 4u);  // 0 to 2, and its connection.
  EXPECT_EQ(fds[2], 2);
}

TEST_F(Forkserver, AnImpossibleWorkingDirectoryIsNamed) {
  auto seen = std::make_shared<noting>();
  child_spec spec;
  spec.cwd = "/no/such/folder";
  run([&]() -> task<> {
    auto c = start("--wait", seen, std::move(spec));
    EXPECT_TRUE(co_await ended(seen));
  });
  EXPECT_EQ(seen->report.how, exit_report::cause::failed);
  EXPECT_NE(seen->report.detail.find("/no/such/folder"), std::string::npos) << seen->report.detail;
}

TEST_F(Forkserver, InterruptIsSigtermAndForceIsSigkill) {
  auto a = std::make_shared<noting>(), b = std::make_shared<noting>();
  run([&]() -> task<> {
    auto one = start("--wait", a);
    EXPECT_TRUE(one->interrupt());  // Before it is even forked.
    EXPECT_TRUE(co_await ended(a));
    auto two = start("--deaf", b);
    (void)co_await pid_of(two.get());
    EXPECT_TRUE(two->force());
    EXPECT_TRUE(co_await ended(b));
  });
  EXPECT_EQ(a->report.status, SIGTERM);
  EXPECT_EQ(b->report.status, SIGKILL);
}

TEST_F(Forkserver, AGuestIsForcedBySigquitAndItsProcessKilledIfThatDoesNotEndIt) {
  auto a = std::make_shared<noting>(), b = std::make_shared<noting>();
  tested = make_forkserver_backend("subint_forkserver", forked_into::sub_interpreter, loop, zygote);
  run([&]() -> task<> {
    auto one = start("--wait", a);
    (void)co_await pid_of(one.get());
    one->force();
    EXPECT_TRUE(co_await ended(a));
    auto two = start("--deaf", b);
    const pid_t deaf = co_await pid_of(two.get());
    EXPECT_TRUE(co_await until([=] { return ignores(deaf, SIGQUIT); }));
    two->force();
    EXPECT_TRUE(co_await ended(b));
  });
  EXPECT_EQ(a->report.status, SIGQUIT);
  EXPECT_EQ(b->report.status, SIGKILL);
}

TEST_F(Forkserver, AZygoteThatDiesTakesItsChildrenAndTheNextOrderBringsUpAnother) {
  auto a = std::make_shared<noting>(), b = std::make_shared<noting>();
  pid_t child_pid = -1;
  run([&]() -> task<> {
    auto one = start("--deaf", a);
    child_pid = co_await pid_of(one.get());
    const pid_t old = parent_of(child_pid);
    ::kill(old, SIGKILL);
    EXPECT_TRUE(co_await ended(a));
    auto two = start("--exit 4", b);
    EXPECT_TRUE(co_await ended(b));
  });
  EXPECT_EQ(a->report.how, exit_report::cause::lost);
  EXPECT_NE(a->report.detail.find("SIGKILL"), std::string::npos) << a->report.detail;
  EXPECT_EQ(b->report.status, 4);
  EXPECT_FALSE(is_there(child_pid));
}

TEST_F(Forkserver, AnOrderFromAZygoteThatRefusesFailsWithItsWords) {
  program.emplace_back("refuse");
  auto seen = std::make_shared<noting>();
  run([&]() -> task<> {
    auto c = start("--wait", seen);
    EXPECT_TRUE(co_await ended(seen));
  });
  EXPECT_EQ(seen->report.how, exit_report::cause::failed);
  EXPECT_EQ(seen->report.detail, "module x started a thread");
}

TEST_F(Forkserver, AZygoteThatCannotBeExecutedIsNamed) {
  program = {"/no/such/python"};
  auto seen = std::make_shared<noting>();
  run([&]() -> task<> {
    auto c = start("--wait", seen);
    EXPECT_TRUE(co_await ended(seen));
  });
  EXPECT_NE(seen->report.detail.find("/no/such/python"), std::string::npos) << seen->report.detail;
}

TEST_F(Forkserver, ChildrenOfAChildThatDiesAreKilledByTheZygote) {
  const std::string file = own.path() + "/grandchild";
  auto seen = std::make_shared<noting>();
  pid_t grandchild = -1;
  run([&]() -> task<> {
    auto c = start("--order " + file, seen);
    const pid_t pid = co_await pid_of(c.get());
    EXPECT_TRUE(co_await until([&] { return bool(std::ifstream(file) >> grandchild); }));
    EXPECT_EQ(parent_of(grandchild), parent_of(pid));
    ::kill(pid, SIGKILL);
    EXPECT_TRUE(co_await ended(seen));
    EXPECT_TRUE(co_await until([&] { return !is_there(grandchild); }));
  });
}

TEST_F(Forkserver, ManyOrdersAtOnceAreAllAnswered) {
  std::vector<std::shared_ptr<noting>> all;
  std::vector<std::unique_ptr<child>> children;
  run([&]() -> task<> {
    for (int i = 0; i < 300; ++i) {
      all.push_back(std::make_shared<noting>());
      children.push_back(start("--exit 0", all.back()));
    }
    for (auto& one : all) EXPECT_TRUE(co_await ended(one));
    children.clear();
  });
}

TEST_F(Forkserver, RefusesWhatItCannotServeInASentence) {
  child_spec native;
  native.native = true;
  EXPECT_NE(tested->refusal(native).value_or("").find("use 'thread' or 'process'"),
            std::string::npos);
  child_spec other;
  other.program = {"/bin/true"};
  EXPECT_NE(tested->refusal(other).value_or("").find("another program"), std::string::npos);
  EXPECT_EQ(tested->refusal({}), std::nullopt);
}

}  // namespace
}  // namespace coppice::spawn
