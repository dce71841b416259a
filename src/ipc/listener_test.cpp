// SPDX-License-Identifier: Apache-2.0
#include "ipc/listener.hpp"  // First: proves the header stands alone.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "coppice/errors.hpp"
#include "ipc/transport_test_kit.hpp"

namespace coppice::ipc {
namespace {

using namespace std::chrono_literals;
using test::aid;
using test::number_of;
using test::numbered;
using test::raw_peer;
using test::recorder;
using test::until;

bool exists(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

class Listener : public test::EachTransport {};
INSTANTIATE_TEST_SUITE_P(, Listener, test::each_transport(), test::transport_of);

class OneTransport : public testing::Test, public test::server_and_client {
 protected:
  // What opening says when it refuses.
  std::string refusal(const address& bad) {
    try {
      listener::open(loop, bad, aid("server"), server, bounds, server_options)->close();
    } catch (const error& e) {
      return e.what();
    }
    return "accepted " + bad.describe();
  }
};
class UnixListener : public OneTransport {};
class TcpListener : public OneTransport {};

TEST_P(Listener, BothSidesLearnWhoThePeerIs) {
  run([&]() -> task<> {
    listen();
    connect();
    EXPECT_TRUE(co_await both_connected());
    EXPECT_EQ(server->link()->peer(), aid("client"));
    EXPECT_EQ(client->link()->peer(), aid("server"));
    EXPECT_EQ(client->link(), made);
    EXPECT_EQ(done, 1);
    EXPECT_EQ(failure, "");
  });
}

TEST_P(Listener, SilentPeersCostTheirOwnConnectionOnlyAndTheOldestGoesFirst) {
  bounds.handshakes_max = 4;
  run([&]() -> task<> {
    listen();
    std::vector<raw_peer> silent;
    for (int i = 0; i < 4; ++i) silent.push_back(raw_peer::connect(at));
    co_await sleep_for(5ms);
    connect();
    EXPECT_TRUE(co_await both_connected()) << "four peers that say nothing keep nobody out";
    EXPECT_TRUE(co_await silent[0].wait_closed());
    for (std::size_t i = 1; i < 4; ++i) {
      const bool talks = co_await silent[i].shake_hands(aid("late"));
      EXPECT_TRUE(talks) << "the others still may";
    }
  });
}

TEST_P(Listener, ASilentPeerIsGivenUpAtTheBound) {
  bounds.handshake_within = 30ms;
  run([&]() -> task<> {
    listen();
    raw_peer silent = raw_peer::connect(at);
    EXPECT_TRUE(co_await silent.wait_closed());
    EXPECT_EQ(server->connected(), 0u);
  });
}

TEST_P(Listener, GarbageFromManyPeersDisturbsNobodyElse) {
  run([&]() -> task<> {
    listen();
    connect();
    EXPECT_TRUE(co_await both_connected());
    for (int i = 0; i < 100; ++i) {
      raw_peer bad = raw_peer::connect(at);
      co_await bad.send(std::string(static_cast<std::size_t>(i) + 4, static_cast<char>(i * 37)));
      client->link()->send(numbered(i));
    }
    EXPECT_TRUE(co_await until([&] { return server->messages().size() == 100; }));
    EXPECT_EQ(server->connected(), 1u);
    EXPECT_EQ(server->closed(), 0u);
  });
}

TEST_P(Listener, ManyPeersMayConnectWhileTheListenerIsBusy) {
  run([&]() -> task<> {
    listen();
    std::vector<raw_peer> peers;
    for (int i = 0; i < 200; ++i) peers.push_back(raw_peer::connect(at));  // No turn yet.
    for (std::size_t i = 0; i < peers.size(); ++i) {
      EXPECT_GE(peers[i].fd(), 0);
      co_await peers[i].send(msg::message(aid("peer" + std::to_string(i))));
    }
    EXPECT_TRUE(co_await until([&] { return server->connected() == 200; }));
  });
}

TEST_P(Listener, CloseKeepsTheLinksThatShookHandsAndDropsTheOthers) {
  run([&]() -> task<> {
    listen();
    connect();
    EXPECT_TRUE(co_await both_connected());
    raw_peer silent = raw_peer::connect(at);
    const auto their_aid = co_await silent.receive();
    EXPECT_TRUE(their_aid) << "it was accepted";
    listening->close();
    EXPECT_TRUE(co_await silent.wait_closed());
    client->link()->send(numbered(1));
    EXPECT_TRUE(co_await until([&] { return server->messages().size() == 1; }));
  });
}

TEST_P(Listener, OutOfDescriptorsItGoesOnAndAcceptsLater) {
  run([&]() -> task<> {
    listen();
    connect();
    EXPECT_TRUE(co_await both_connected());
    const endpoint where = endpoint_of(at).value();
    const base::unique_fd waiting(::socket(where.protocol().family(), SOCK_STREAM, 0));
    rlimit before{};
    ::getrlimit(RLIMIT_NOFILE, &before);
    const rlimit none{static_cast<rlim_t>(waiting.get()) + 1, before.rlim_max};
    ::setrlimit(RLIMIT_NOFILE, &none);
    std::vector<base::unique_fd> rest;
    for (int fd = ::dup(0); fd >= 0; fd = ::dup(0)) rest.emplace_back(fd);
    const auto size = static_cast<socklen_t>(where.size());
    EXPECT_EQ(::connect(waiting.get(), where.data(), size), 0);
    co_await sleep_for(5ms);
    client->link()->send(numbered(1));
    EXPECT_TRUE(co_await until([&] { return server->messages().size() == 1; })) << "it goes on";
    ::setrlimit(RLIMIT_NOFILE, &before);
    rest.clear();
    raw_peer late{base::unique_fd(::dup(waiting.get()))};
    EXPECT_TRUE(co_await late.shake_hands(aid("late")));
    EXPECT_TRUE(co_await until([&] { return server->connected() == 2; }));
  });
}

TEST_F(UnixListener, TheSocketIsForThisUserAloneAndGoesWithTheListener) {
  run([&]() -> task<> {
    listen_uds();
    const std::string path = at.describe();
    struct stat s{};
    EXPECT_EQ(::stat(path.c_str(), &s), 0);
    EXPECT_EQ(s.st_mode & 0777, 0600u);
    EXPECT_EQ(at, socket_address("server", "uuid", true));
    listening->close();
    EXPECT_FALSE(exists(path));
    listening->close();
    co_return;
  });
}

TEST_F(UnixListener, WhatCannotBeListenedOnIsNamed) {
  run([&]() -> task<> {
    for (const address& bad : {address::uds(own.path() + "/missing", "x.sock"),
                               address::uds(own.path(), std::string(200, 'x'))})
      EXPECT_EQ(refusal(bad).rfind("cannot listen on " + bad.describe() + ": ", 0), 0u)
          << refusal(bad);
    co_return;
  });
}

TEST_F(UnixListener, AFileThatAKilledProcessLeftIsReplacedAndOneInUseIsNot) {
  run([&]() -> task<> {
    listen_uds();
    const address mine = at;
    EXPECT_EQ(refusal(mine), "cannot listen on " + mine.describe() + ": Address already in use");
    EXPECT_TRUE(exists(mine.describe())) << "the listener's that is there";
    const address left = address::uds(runtime_directory(), "left.sock");
    {
      const endpoint where = endpoint_of(left).value();
      const base::unique_fd gone(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
      EXPECT_EQ(::bind(gone.get(), where.data(), static_cast<socklen_t>(where.size())), 0);
    }
    EXPECT_TRUE(exists(left.describe()));
    listening->close();
    listen(left);
    connect();
    EXPECT_TRUE(co_await both_connected());
  });
}

TEST_F(UnixListener, APeerOfAnotherUserIsToldSoAndDroppedUnlessTheOptionAllowsIt) {
  if (!test::as_another_user::possible()) GTEST_SKIP() << "only root can be another user";
  ::chmod(own.path().c_str(), 0777);
  run([&]() -> task<> {
    for (const permission others : {permission::refuse, permission::allow}) {
      server_options.other_users = others;
      listen(address::uds(own.path(), "open.sock"));
      ::chmod(at.describe().c_str(), 0666);
      auto stranger = [&] {
        const test::as_another_user they;
        return raw_peer::connect(at);
      }();
      const auto first = co_await stranger.receive();
      EXPECT_TRUE(first);
      if (!first) break;
      if (others == permission::allow) {
        EXPECT_TRUE(std::holds_alternative<msg::aid>(*first));
      } else {
        const auto* said = std::get_if<msg::boxed_error>(&*first);
        EXPECT_EQ(said ? said->message.value_or("") : "",
                  "it is a process of user 12345, and this one of user 0: allow it with "
                  "other_users = allow");
        EXPECT_TRUE(co_await stranger.wait_closed());
      }
      listening->close();
    }
  });
}

TEST_F(TcpListener, PortZeroIsAnyFreeOneAndIsSaid) {
  run([&]() -> task<> {
    for (const char* host : {"127.0.0.1", "::1", "localhost"}) {
      listen(address::tcp(host, 0));
      EXPECT_EQ(at.as_tcp()->host, host);
      EXPECT_NE(at.as_tcp()->port, 0);
      listening->close();
    }
    co_return;
  });
}

TEST_F(TcpListener, APortCanBeHadAgainAtOnceButNotWhileSomebodyListens) {
  run([&]() -> task<> {
    listen_tcp();
    connect();
    EXPECT_TRUE(co_await both_connected());
    EXPECT_EQ(refusal(at), "cannot listen on " + at.describe() + ": Address already in use");
    listening->close();
    server->link()->close("leaves a TIME_WAIT behind");
    EXPECT_TRUE(co_await until([&] { return client->closed() == 1; }));
    listen(at);
  });
}

TEST_F(TcpListener, BeyondLoopbackItIsRefusedUnlessTheOptionSaysSo) {
  run([&]() -> task<> {
    for (const char* host : {"0.0.0.0", "::", "192.0.2.1", "::ffff:192.0.2.1"})
      EXPECT_NE(refusal(address::tcp(host, 0)).find("insecure_tcp = allow"), std::string::npos)
          << host << ": " << refusal(address::tcp(host, 0));
    server_options.insecure_tcp = permission::allow;
    listen(address::tcp("0.0.0.0", 0));
    at = address::tcp("::ffff:127.0.0.1", at.as_tcp()->port);
    connect();
    EXPECT_TRUE(co_await both_connected());
  });
}

TEST_F(TcpListener, ANameIsNotLookedUp) {
  run([&]() -> task<> {
    EXPECT_EQ(refusal(address::tcp("somewhere.invalid", 0)),
              "cannot listen on somewhere.invalid:0: a host to listen at has to be a numeric "
              "address");
    co_return;
  });
}

// A process that is gone, and its pid with it.
pid_t dead_pid() {
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(0);
  ::waitpid(pid, nullptr, 0);
  return pid;
}

// As if it had been made when this process was not there, and its pid somebody else's.
void make_old(const std::string& path) {
  timespec times[2] = {};
  ::clock_gettime(CLOCK_REALTIME, &times[1]);
  times[1].tv_sec -= std::chrono::seconds(std::chrono::hours(24)).count();
  times[0] = times[1];
  EXPECT_EQ(::utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
}

TEST_F(UnixListener, TheSocketFilesOfKilledProcessesAreRemovedAndNoOthers) {
  const std::string directory = runtime_directory();
  const auto bound = [&](const std::string& file) {
    base::unique_fd s(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un where{};
    where.sun_family = AF_UNIX;
    std::strncpy(where.sun_path, (directory + "/" + file).c_str(), sizeof where.sun_path - 1);
    EXPECT_EQ(::bind(s.get(), reinterpret_cast<sockaddr*>(&where), sizeof where), 0);
    EXPECT_EQ(::listen(s.get(), 1), 0);
    return s;
  };
  const std::string dead = "@" + std::to_string(dead_pid()) + ".sock";
  bound("killed" + dead);
  const auto elsewhere = bound("in.another.container" + dead);
  bound("mine@" + std::to_string(::getpid()) + ".sock");
  bound("no pid.sock");
  bound("odd@12x.sock");
  const std::string before = "before.the.boot@" + std::to_string(::getpid()) + ".sock";
  bound(before);
  make_old(directory + "/" + before);
  const std::string listens = "old.but.listens@" + std::to_string(::getpid()) + ".sock";
  const auto old = bound(listens);
  make_old(directory + "/" + listens);
  EXPECT_EQ(dead_sockets(), (std::vector{directory + "/" + before, directory + "/killed" + dead}));
  remove_dead_sockets();
  std::vector<std::string> left;
  for (const auto& e : std::filesystem::directory_iterator(directory))
    left.push_back(e.path().filename());
  std::ranges::sort(left);
  EXPECT_EQ(left, (std::vector<std::string>{"in.another.container" + dead,
                                            "mine@" + std::to_string(::getpid()) + ".sock",
                                            "no pid.sock", "odd@12x.sock", listens}));
  ::setenv("XDG_RUNTIME_DIR", "/nonexistent", 1);
  remove_dead_sockets();  // Nothing to do, nothing to say.
}

}  // namespace
}  // namespace coppice::ipc
