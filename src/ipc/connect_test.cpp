// SPDX-License-Identifier: Apache-2.0
#include "ipc/connect.hpp"  // First: proves the header stands alone.

#include <gtest/gtest.h>

#include "ipc/transport_test_kit.hpp"

namespace coppice::ipc {
namespace {

using namespace std::chrono_literals;
using test::aid;
using test::until;

class Connect : public test::EachTransport {
 protected:
  // Listens, and never says a word.
  base::unique_fd silent_listener() {
    const address wanted = GetParam() == transport::tcp ? address::tcp("127.0.0.1", 0)
                                                        : socket_address("silent", "uuid", true);
    const endpoint where = endpoint_of(wanted).value();
    base::unique_fd silent(::socket(where.protocol().family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::bind(silent.get(), where.data(), static_cast<socklen_t>(where.size())), 0);
    EXPECT_EQ(::listen(silent.get(), 1), 0);
    at = address_of(silent.get(), wanted);
    return silent;
  }
};
INSTANTIATE_TEST_SUITE_P(, Connect, test::each_transport(), test::transport_of);

class ConnectTcp : public testing::Test, public test::server_and_client {};
class ConnectUnix : public testing::Test, public test::server_and_client {};

TEST_P(Connect, AListenerThatNeverAnswersIsGivenUpAtTheBound) {
  bounds.handshake_within = 30ms;
  run([&]() -> task<> {
    const auto silent = silent_listener();
    connect();
    EXPECT_EQ(done, 0);
    EXPECT_TRUE(co_await told());
    EXPECT_NE(failure.find("did not introduce itself within 0.03 s"), std::string::npos) << failure;
  });
  EXPECT_EQ(client->connected(), 0u);
}

TEST_P(Connect, AHandshakeCanBeGivenUpEarlier) {
  run([&]() -> task<> {
    const auto silent = silent_listener();
    connect();
    co_await sleep_for(2ms);
    EXPECT_EQ(done, 0);
    connecting->cancel("no time");
    EXPECT_EQ(done, 1);
    EXPECT_NE(failure.find("no time"), std::string::npos) << failure;
    connecting->cancel("again");
    EXPECT_EQ(done, 1);
  });
  EXPECT_EQ(client->connected(), 0u);
}

TEST_P(Connect, ALateCancelChangesNothing) {
  run([&]() -> task<> {
    listen();
    connect();
    EXPECT_TRUE(co_await both_connected());
    connecting->cancel("too late");
    client->link()->send(test::numbered(1));
    EXPECT_TRUE(co_await until([&] { return server->messages().size() == 1; }));
  });
  EXPECT_EQ(done, 1);
}

TEST_P(Connect, WhoListensAndIsNoActorIsSaid) {
  run([&]() -> task<> {
    const auto silent = silent_listener();
    connect();
    co_await sleep_for(2ms);
    test::raw_peer odd{base::unique_fd(::accept4(silent.get(), nullptr, nullptr, SOCK_CLOEXEC))};
    co_await odd.send(std::string("HTTP/1.1 400 Bad Request\r\n"));
    EXPECT_TRUE(co_await told());
    EXPECT_NE(failure.find("aid_bytes_max"), std::string::npos) << failure;
  });
}

TEST_F(ConnectUnix, NobodyThereIsAnErrorAtOnceThatNamesThePath) {
  run([&]() -> task<> {
    at = address::uds(own.path(), "nobody.sock");
    connect();
    EXPECT_EQ(done, 1);
    EXPECT_EQ(failure, "coppice::transport_closed: cannot connect to " + at.describe() +
                           ": No such file or directory");
    at = address::uds(own.path(), std::string(200, 'x'));
    connect();
    EXPECT_NE(failure.find("cannot connect to"), std::string::npos);
    co_return;
  });
}

TEST_F(ConnectUnix, AListenerOfAnotherUserIsRefusedUnlessTheOptionAllowsIt) {
  if (!test::as_another_user::possible()) GTEST_SKIP() << "only root can be another user";
  ::chmod(own.path().c_str(), 0777);
  run([&]() -> task<> {
    at = address::uds(own.path(), "theirs.sock");
    const endpoint where = endpoint_of(at).value();
    const base::unique_fd theirs(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    {
      const test::as_another_user they;
      EXPECT_EQ(::bind(theirs.get(), where.data(), static_cast<socklen_t>(where.size())), 0);
      EXPECT_EQ(::listen(theirs.get(), 1), 0);
    }
    connect();
    EXPECT_EQ(done, 1);
    EXPECT_NE(failure.find("a process of user 12345"), std::string::npos) << failure;
    EXPECT_NE(failure.find("other_users = allow"), std::string::npos) << failure;
    client_options.other_users = permission::allow;
    connect();
    EXPECT_EQ(done, 1) << "it waits for the Aid";
    co_return;
  });
}

TEST_F(ConnectUnix, WhyAListenerRefusesIsHeard) {
  if (!test::as_another_user::possible()) GTEST_SKIP() << "only root can be another user";
  ::chmod(own.path().c_str(), 0777);
  run([&]() -> task<> {
    listen(address::uds(own.path(), "open.sock"));
    ::chmod(at.describe().c_str(), 0666);
    client_options.other_users = permission::allow;
    {
      const test::as_another_user they;
      connect();
    }
    EXPECT_TRUE(co_await told());
    EXPECT_NE(failure.find("the peer refused: it is a process of user 12345"), std::string::npos)
        << failure;
  });
}

TEST_F(ConnectTcp, NobodyThereIsAnErrorThatNamesThePort) {
  run([&]() -> task<> {
    listen_tcp();
    listening->close();
    connect();
    EXPECT_TRUE(co_await told());
    EXPECT_EQ(failure, "coppice::transport_closed: cannot connect to " + at.describe() +
                           ": Connection refused");
  });
}

TEST_F(ConnectTcp, AHostNameIsLookedUpAndItsAddressesAreTriedInTurn) {
  run([&]() -> task<> {
    listen_tcp();  // IPv4 only: where "localhost" is ::1 first, the second is taken.
    at = address::tcp("ip6-localhost.or.not", 0);
    connect();
    EXPECT_TRUE(co_await told());
    EXPECT_NE(failure.find("no address is known for the host 'ip6-localhost.or.not'"),
              std::string::npos)
        << failure;
    done = 0;
    at = address::tcp("LOCALHOST", listening->at().as_tcp()->port);  // Ours is in small letters.
    connect();
    EXPECT_EQ(done, 0);
    EXPECT_TRUE(co_await both_connected()) << failure;
  });
}

TEST_F(ConnectTcp, ALookUpCanBeGivenUp) {
  run([&]() -> task<> {
    at = address::tcp("somewhere.invalid", 1);
    connect();
    EXPECT_EQ(done, 0);
    connecting->cancel("no time");
    EXPECT_EQ(done, 1);
    EXPECT_NE(failure.find("no time"), std::string::npos) << failure;
    co_await sleep_for(20ms);
    EXPECT_EQ(done, 1);
  });
}

TEST_F(ConnectTcp, WhatDoesNotAnswerIsGivenUpAtTheBound) {
  bounds.connect_within = 30ms;
  run([&]() -> task<> {
    // A full backlog: the kernel drops what would come next.
    listen_tcp();
    listening->close();
    const endpoint where = endpoint_of(address::tcp("127.0.0.1", 0)).value();
    const base::unique_fd full(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::bind(full.get(), where.data(), static_cast<socklen_t>(where.size())), 0);
    EXPECT_EQ(::listen(full.get(), 0), 0);
    at = address_of(full.get(), address::tcp("127.0.0.1", 0));
    std::vector<base::unique_fd> others;
    for (int i = 0; i < 4; ++i) {
      const endpoint to = endpoint_of(at).value();
      others.push_back(open_socket(to));
      (void)::connect(others.back().get(), to.data(), static_cast<socklen_t>(to.size()));
    }
    connect();
    EXPECT_EQ(done, 0);
    EXPECT_TRUE(co_await told());
    EXPECT_NE(failure.find("no answer within 0.03 s"), std::string::npos) << failure;
  });
}

TEST_F(ConnectTcp, BeyondLoopbackItIsRefusedUnlessTheOptionSaysSo) {
  run([&]() -> task<> {
    at = address::tcp("192.0.2.1", 9);
    connect();
    EXPECT_EQ(done, 1);
    EXPECT_NE(failure.find("insecure_tcp = allow"), std::string::npos) << failure;
    client_options.insecure_tcp = permission::allow;
    connect();
    connecting->cancel("it was tried");
    EXPECT_EQ(failure.find("insecure_tcp"), std::string::npos) << failure;
    co_return;
  });
}

}  // namespace
}  // namespace coppice::ipc
