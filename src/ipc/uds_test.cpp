// SPDX-License-Identifier: Apache-2.0
#include "ipc/uds.hpp"  // First: proves the header stands alone.

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "coppice/errors.hpp"
#include "ipc/link_test_kit.hpp"

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

class Uds : public testing::Test {
 protected:
  ~Uds() override {
    listener.reset();
    for (auto& s : {server, client}) s->forget();
    connecting.reset();
    test::expect_released(loop, descriptors_);
  }

  template <class Body>
  void run(Body body) {
    auto whole = [&]() -> task<> {
      co_await body();
      if (listener) listener->close();
      for (auto& s : {server, client})
        for (auto& l : s->links()) l->close("the test is over");
      if (connecting) connecting->close("the test is over");
    };
    loop->run(whole());
  }
  void listen() { listener = uds_listener::open(loop, at, aid("server"), server, bounds); }
  void connect() {
    connecting = connect_uds(loop, at, aid("client"), client, bounds,
                             [this](std::exception_ptr e, link_ptr l) {
                               ++done;
                               failure = e ? describe_exception(e) : "";
                               EXPECT_EQ(l != nullptr, e == nullptr);
                             });
  }
  task<bool> both_connected() {
    co_return co_await until([this] { return server->connected() > 0 && client->connected() > 0; });
  }

  const std::size_t descriptors_ = test::open_descriptors();
  test::own_runtime_directory own;
  const address at = socket_address("server", "uuid", true);
  limits bounds;
  std::shared_ptr<core::loop> loop = std::make_shared<core::loop>();
  std::shared_ptr<recorder> server = std::make_shared<recorder>(),
                            client = std::make_shared<recorder>();
  std::shared_ptr<uds_listener> listener;
  link_ptr connecting;
  int done = 0;
  std::string failure = "(nothing)";
};

TEST_F(Uds, BothSidesLearnWhoThePeerIs) {
  run([&]() -> task<> {
    listen();
    connect();
    EXPECT_TRUE(co_await both_connected());
    EXPECT_EQ(server->link()->peer(), aid("client"));
    EXPECT_EQ(client->link()->peer(), aid("server"));
    EXPECT_EQ(client->link(), connecting);
    EXPECT_EQ(done, 1);
    EXPECT_EQ(failure, "");
  });
}

TEST_F(Uds, TheSocketIsForThisUserAloneAndGoesWithTheListener) {
  run([&]() -> task<> {
    listen();
    struct stat s{};
    EXPECT_EQ(::stat(at.path().c_str(), &s), 0);
    EXPECT_EQ(s.st_mode & 0777, 0600u);
    EXPECT_EQ(listener->at(), at);
    listener->close();
    EXPECT_FALSE(exists(at.path()));
    listener->close();
    co_return;
  });
}

TEST_F(Uds, WhatCannotBeListenedOnIsNamed) {
  run([&]() -> task<> {
    for (const address& bad :
         {address{own.path() + "/missing", "x.sock"}, address{own.path(), std::string(200, 'x')}}) {
      try {
        uds_listener::open(loop, bad, aid("server"), server, bounds);
        ADD_FAILURE() << bad.path();
      } catch (const error& e) {
        EXPECT_EQ(std::string(e.what()).rfind("cannot listen on " + bad.path() + ": ", 0), 0u)
            << e.what();
      }
    }
    co_return;
  });
}

TEST_F(Uds, NobodyThereIsAnErrorAtOnceThatNamesThePath) {
  run([&]() -> task<> {
    connect();
    EXPECT_EQ(done, 1);
    EXPECT_EQ(connecting, nullptr);
    EXPECT_EQ(failure, "coppice::transport_closed: cannot connect to " + at.path() +
                           ": No such file or directory");
    connect_uds(loop, {own.path(), std::string(200, 'x')}, aid("client"), client, bounds,
                [&](std::exception_ptr e, link_ptr) { failure = describe_exception(e); });
    EXPECT_NE(failure.find("cannot connect to"), std::string::npos);
    co_return;
  });
}

TEST_F(Uds, AListenerThatNeverAnswersIsGivenUpAtTheBound) {
  bounds.handshake_within = 30ms;
  run([&]() -> task<> {
    const base::unique_fd silent(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un where{};
    where.sun_family = AF_UNIX;
    std::strncpy(where.sun_path, at.path().c_str(), sizeof where.sun_path - 1);
    EXPECT_EQ(::bind(silent.get(), reinterpret_cast<sockaddr*>(&where), sizeof where), 0);
    EXPECT_EQ(::listen(silent.get(), 1), 0);
    connect();
    EXPECT_EQ(done, 0);
    EXPECT_TRUE(co_await until([&] { return done > 0; }));
    EXPECT_NE(failure.find("did not introduce itself within 0.03 s"), std::string::npos) << failure;
  });
  EXPECT_EQ(client->connected(), 0u);
}

TEST_F(Uds, AHandshakeCanBeGivenUpEarlier) {
  run([&]() -> task<> {
    listen();
    connect();
    connecting->close("no time");
    EXPECT_EQ(done, 1);
    EXPECT_NE(failure.find("no time"), std::string::npos) << failure;
    co_await sleep_for(2ms);
    EXPECT_EQ(client->connected(), 0u);
  });
}

TEST_F(Uds, SilentPeersCostTheirOwnConnectionOnlyAndTheOldestGoesFirst) {
  bounds.handshakes_max = 4;
  run([&]() -> task<> {
    listen();
    std::vector<raw_peer> silent;
    for (int i = 0; i < 4; ++i) silent.push_back(raw_peer::connect(at.path()));
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

TEST_F(Uds, ASilentPeerIsGivenUpAtTheBound) {
  bounds.handshake_within = 30ms;
  run([&]() -> task<> {
    listen();
    raw_peer silent = raw_peer::connect(at.path());
    EXPECT_TRUE(co_await silent.wait_closed());
    EXPECT_EQ(server->connected(), 0u);
  });
}

TEST_F(Uds, GarbageFromManyPeersDisturbsNobodyElse) {
  run([&]() -> task<> {
    listen();
    connect();
    EXPECT_TRUE(co_await both_connected());
    for (int i = 0; i < 100; ++i) {
      raw_peer bad = raw_peer::connect(at.path());
      co_await bad.send(std::string(static_cast<std::size_t>(i) + 4, static_cast<char>(i * 37)));
      client->link()->send(numbered(i));
    }
    EXPECT_TRUE(co_await until([&] { return server->messages().size() == 100; }));
    EXPECT_EQ(server->connected(), 1u);
    EXPECT_EQ(server->closed(), 0u);
  });
}

TEST_F(Uds, ManyPeersMayConnectWhileTheListenerIsBusy) {
  run([&]() -> task<> {
    listen();
    std::vector<raw_peer> peers;
    for (int i = 0; i < 200; ++i) peers.push_back(raw_peer::connect(at.path()));  // No turn yet.
    for (std::size_t i = 0; i < peers.size(); ++i) {
      EXPECT_GE(peers[i].fd(), 0);
      co_await peers[i].send(msg::message(aid("peer" + std::to_string(i))));
    }
    EXPECT_TRUE(co_await until([&] { return server->connected() == 200; }));
  });
}

TEST_F(Uds, CloseKeepsTheLinksThatShookHandsAndDropsTheOthers) {
  run([&]() -> task<> {
    listen();
    connect();
    EXPECT_TRUE(co_await both_connected());
    raw_peer silent = raw_peer::connect(at.path());
    const auto their_aid = co_await silent.receive();
    EXPECT_TRUE(their_aid) << "it was accepted";
    listener->close();
    EXPECT_TRUE(co_await silent.wait_closed());
    client->link()->send(numbered(1));
    EXPECT_TRUE(co_await until([&] { return server->messages().size() == 1; }));
  });
}

TEST_F(Uds, OutOfDescriptorsItGoesOnAndAcceptsLater) {
  run([&]() -> task<> {
    listen();
    connect();
    EXPECT_TRUE(co_await both_connected());
    const base::unique_fd waiting(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    rlimit before{};
    ::getrlimit(RLIMIT_NOFILE, &before);
    const rlimit none{static_cast<rlim_t>(waiting.get()) + 1, before.rlim_max};
    ::setrlimit(RLIMIT_NOFILE, &none);
    std::vector<base::unique_fd> rest;
    for (int fd = ::dup(0); fd >= 0; fd = ::dup(0)) rest.emplace_back(fd);
    sockaddr_un where{};
    where.sun_family = AF_UNIX;
    std::strncpy(where.sun_path, at.path().c_str(), sizeof where.sun_path - 1);
    EXPECT_EQ(::connect(waiting.get(), reinterpret_cast<sockaddr*>(&where), sizeof where), 0);
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

// A process that is gone, and its pid with it.
pid_t dead_pid() {
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(0);
  ::waitpid(pid, nullptr, 0);
  return pid;
}

TEST_F(Uds, TheSocketFilesOfKilledProcessesAreRemovedAndNoOthers) {
  const auto bound = [&](const std::string& file) {
    base::unique_fd s(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un where{};
    where.sun_family = AF_UNIX;
    std::strncpy(where.sun_path, (at.directory + "/" + file).c_str(), sizeof where.sun_path - 1);
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
  remove_dead_sockets();
  std::vector<std::string> left;
  for (const auto& e : std::filesystem::directory_iterator(at.directory))
    left.push_back(e.path().filename());
  std::ranges::sort(left);
  EXPECT_EQ(left, (std::vector<std::string>{"in.another.container" + dead,
                                            "mine@" + std::to_string(::getpid()) + ".sock",
                                            "no pid.sock", "odd@12x.sock"}));
  ::setenv("XDG_RUNTIME_DIR", "/nonexistent", 1);
  remove_dead_sockets();  // Nothing to do, nothing to say.
}

}  // namespace
}  // namespace coppice::ipc
