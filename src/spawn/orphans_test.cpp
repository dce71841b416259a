// SPDX-License-Identifier: Apache-2.0
#include "spawn/orphans.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "ipc/address.hpp"

namespace coppice::spawn {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// A process of this test with any command line: argv[0] is what is executed.
class stray {
 public:
  explicit stray(std::vector<std::string> argv) {
    std::vector<char*> words;
    for (auto& word : argv) words.push_back(word.data());
    words.push_back(nullptr);
    int ends[2];
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    posix_spawn_file_actions_t out;
    ::posix_spawn_file_actions_init(&out);
    ::posix_spawn_file_actions_adddup2(&out, ends[1], STDOUT_FILENO);
    EXPECT_EQ(::posix_spawn(&pid_, words[0], &out, nullptr, words.data(), environ), 0);
    ::posix_spawn_file_actions_destroy(&out);
    ::close(ends[1]);
    char up = 0;
    EXPECT_EQ(::read(ends[0], &up, 1), 1) << "it says that it is up";
    ::close(ends[0]);
  }
  ~stray() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  stray(const stray&) = delete;
  stray& operator=(const stray&) = delete;
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = -1;
};

/// This program waits when it is executed like that: see main_for_test.cpp.
std::string this_program() { return std::filesystem::canonical("/proc/self/exe").string(); }

std::vector<std::string> native_child(const ipc::address& parent, const char* name = "oak") {
  return {this_program(),  "--coppice-child", "--uid", ipc::tuple_text(name, "u-1"),
          "--parent_addr", parent.text()};
}

/// A pid that nobody has: that of a process which has ended, and not even its zombie is left.
pid_t gone_pid() {
  pid_t pid = -1;
  std::string program = "/bin/true";
  char* argv[] = {program.data(), nullptr};
  EXPECT_EQ(::posix_spawn(&pid, argv[0], nullptr, nullptr, argv, environ), 0);
  ::waitpid(pid, nullptr, 0);
  return pid;
}

class Orphans : public testing::Test {
 protected:
  void SetUp() override {
    char made[] = "/tmp/cpc-orphans-XXXXXX";
    ASSERT_NE(::mkdtemp(made), nullptr);
    folder_ = made;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  ipc::address socket_of(pid_t pid) const {
    return ipc::address::uds(folder_, "root@" + std::to_string(pid) + ".sock");
  }

  static std::vector<orphan> found(const std::vector<pid_t>& pids) {
    std::vector<orphan> all = find_orphans();
    std::erase_if(all,
                  [&](const orphan& o) { return std::ranges::find(pids, o.pid) == pids.end(); });
    return all;
  }
  static bool is_orphan(const stray& s) { return !found({s.pid()}).empty(); }

  std::string folder_;
};

TEST_F(Orphans, AreChildrenWhoseParentIsGone) {
  const pid_t gone = gone_pid();
  const stray child(native_child(socket_of(gone)));
  const auto them = found({child.pid()});
  ASSERT_EQ(them.size(), 1u);
  EXPECT_EQ(them[0].name, "oak");
  EXPECT_EQ(them[0].why, "its parent, pid " + std::to_string(gone) + ", is gone");
  EXPECT_NE(them[0].shown.find("--coppice-child"), std::string::npos);
  EXPECT_FALSE(them[0].below);
}

TEST_F(Orphans, AreNeverChildrenOfWhoStartedThem) {
  const stray child(native_child(socket_of(::getpid())));  // Nobody listens there, either.
  EXPECT_FALSE(is_orphan(child));
}

TEST_F(Orphans, AreNeverThoseWhoseParentStillListens) {
  const ipc::address at = socket_of(gone_pid());
  sockaddr_un where{};
  where.sun_family = AF_UNIX;
  std::strncpy(where.sun_path, at.describe().c_str(), sizeof where.sun_path - 1);
  const int listening = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ASSERT_EQ(::bind(listening, reinterpret_cast<sockaddr*>(&where), sizeof where), 0);
  ASSERT_EQ(::listen(listening, 4), 0);
  const stray child(native_child(at));
  EXPECT_FALSE(is_orphan(child));
  ::close(listening);  // The file is still there: that is what a killed process leaves.
  EXPECT_TRUE(is_orphan(child));
}

TEST_F(Orphans, OfATcpParentAreThoseWhoseParentHasNoCoppiceInIt) {
  // A port that was free a moment ago, and that nobody has now.
  const int s = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in where{};
  where.sin_family = AF_INET;
  where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof where;
  ASSERT_EQ(::bind(s, reinterpret_cast<sockaddr*>(&where), size), 0);
  ASSERT_EQ(::listen(s, 4), 0);
  ASSERT_EQ(::getsockname(s, reinterpret_cast<sockaddr*>(&where), &size), 0);
  const stray child(native_child(ipc::address::tcp("127.0.0.1", ntohs(where.sin_port))));
  EXPECT_FALSE(is_orphan(child));
  ::close(s);
  EXPECT_TRUE(is_orphan(child));
  const stray named(native_child(ipc::address::tcp("no-such-host.invalid", 1)));
  EXPECT_FALSE(is_orphan(named));
}

TEST_F(Orphans, AreNeverProcessesThatMerelyMentionTheWords) {
  const ipc::address at = socket_of(gone_pid());
  const std::string uid = ipc::tuple_text("oak", "u-1");
  const std::string self = this_program();
  const std::vector<std::vector<std::string>> alike = {
      {self, "-m", "--coppice-child", "--uid", uid, "--parent_addr", at.text()},
      {self, "--coppice-child", "--uid", uid},
      {self, "--coppice-child", "--uid", "oak", "--parent_addr", at.text()},
      {self, "--coppice-child", "--uid", uid, "--parent_addr", "somewhere"},
      {self, "-P", "/x/child.py", "--uid", uid, "--parent_addr", at.text()},
      {self, "-m", "tractor._child", "--uid", uid, "--parent_addr", at.text()},  // tractor's own.
      {self, "-P", "/x/coppice/_zygote.py", "--uid", uid},
  };
  for (const auto& argv : alike) {
    const stray other(argv);
    EXPECT_FALSE(is_orphan(other)) << argv[1] << " " << argv[2];
  }
}

TEST_F(Orphans, OfPythonAndOfAZygoteAreFoundToo) {
  const pid_t gone = gone_pid();
  const std::string uid = ipc::tuple_text("elm", "u-2");
  const stray python({this_program(), "-P", "/x/coppice/_child.py", "--uid", uid, "--parent_addr",
                      socket_of(gone).text()});
  const stray zygote(
      {this_program(), "-P", "/x/coppice/_zygote.py", "--owner", std::to_string(gone)});
  const auto them = found({python.pid(), zygote.pid()});
  ASSERT_EQ(them.size(), 2u);
  EXPECT_EQ(them[0].name, "elm");
  EXPECT_EQ(them[1].name, "(zygote)");
  const stray of_ours(
      {this_program(), "-P", "/x/coppice/_zygote.py", "--owner", std::to_string(::getpid())});
  EXPECT_FALSE(is_orphan(of_ours));
}

TEST_F(Orphans, OfAZygoteHaveWhatItForkedBelowThemAndEndWithIt) {
  const auto zygote_of = [](pid_t owner) {
    return std::vector<std::string>{
        this_program(), "-P", "/x/coppice/_zygote.py", "--owner", std::to_string(owner), "--forks"};
  };
  const auto with_forked = [](const stray& zygote) {
    std::vector<orphan> all = find_orphans();
    std::erase_if(
        all, [&](const orphan& o) { return o.pid != zygote.pid() && o.parent != zygote.pid(); });
    return all;
  };
  const stray living(zygote_of(::getpid()));
  EXPECT_TRUE(with_forked(living).empty());

  const stray zygote(zygote_of(gone_pid()));
  auto them = with_forked(zygote);
  ASSERT_EQ(them.size(), 2u);
  std::ranges::sort(them, {}, &orphan::below);
  EXPECT_FALSE(them[0].below);
  EXPECT_EQ(them[0].pid, zygote.pid());
  EXPECT_EQ(them[1].why, "its parent is the orphan " + std::to_string(zygote.pid()));
  const auto outcome = end_orphans(them, {.ask = seconds(10), .kill = seconds(10)});
  EXPECT_EQ(outcome, (std::vector{reaped::asked, reaped::asked})) << "the kernel ended the second";
}

TEST_F(Orphans, APidThatIsYoungerThanTheChildIsSomebodyElse) {
  const stray first({this_program(), "-m", "waiting"});
  EXPECT_TRUE(is_older(::getpid(), first.pid()));
  EXPECT_TRUE(is_older(first.pid(), first.pid()));
  EXPECT_FALSE(is_older(gone_pid(), first.pid()));
}

TEST_F(Orphans, EndAtSigtermOrAreKilledAfterIt) {
  const ipc::address at = socket_of(gone_pid());
  const stray polite(native_child(at, "polite")), deaf(native_child(at, "deaf"));
  const auto them = found({polite.pid(), deaf.pid()});
  ASSERT_EQ(them.size(), 2u);
  const auto outcome = end_orphans(them, {.ask = milliseconds(300), .kill = seconds(10)});
  for (std::size_t i = 0; i < them.size(); ++i)
    EXPECT_EQ(outcome[i], them[i].name == "polite" ? reaped::asked : reaped::killed);
  EXPECT_TRUE(found({polite.pid(), deaf.pid()}).empty());
}

TEST_F(Orphans, AnOrphanThatEndedBetweenLookingAndActingCostsNobodyElseAnything) {
  const ipc::address at = socket_of(gone_pid());
  std::vector<orphan> them;
  {
    const stray child(native_child(at));
    them = found({child.pid()});
    ASSERT_EQ(them.size(), 1u);
  }
  // Gone and reaped: its pid may be anybody's from here on, its descriptor is nobody's.
  const auto outcome = end_orphans(them, {.ask = milliseconds(50), .kill = milliseconds(50)});
  EXPECT_EQ(outcome, std::vector{reaped::asked});
}

}  // namespace
}  // namespace coppice::spawn
