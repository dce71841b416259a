// SPDX-License-Identifier: Apache-2.0
#include "ipc/tls.hpp"  // First: proves the header stands alone.

#include <gtest/gtest.h>

#include <random>

#include "ipc/certificate_for_test.hpp"
#include "ipc/transport_test_kit.hpp"

namespace coppice::ipc {
namespace {

using namespace std::chrono_literals;
using test::identity;
using test::numbered;
using test::until;

class Tls : public testing::Test, public test::server_and_client {
 protected:
  Tls() {
    ca_file = write_certificate("ca", ca);
    server_tls = options_of("server", server_id);
    client_tls = options_of("client", client_id);
  }
  std::string write_certificate(const std::string& name, const identity& who) {
    return who.write_certificate(own.path() + "/" + name + ".pem");
  }
  tls_options options_of(const std::string& name, const identity& who) {
    tls_options o;
    o.certificate_file = write_certificate(name, who);
    o.key_file = who.write_key(own.path() + "/" + name + ".key");
    o.ca_file = ca_file;
    o.library = COPPICE_TEST_TLS;
    return o;
  }
  void use() {
    server_options.tls = load_tls(server_tls);
    client_options.tls = load_tls(client_tls);
  }
  // What a connection that must not be came to.
  task<> expect_refused(std::string said) {
    use();
    listen_tcp();
    connect();
    EXPECT_TRUE(co_await told());
    EXPECT_NE(failure.find(said), std::string::npos) << failure;
    EXPECT_EQ(server->connected(), 0u);
    EXPECT_EQ(client->connected(), 0u);
  }
  static std::string refusal(const tls_options& o) {
    try {
      load_tls(o);
    } catch (const error& e) {
      return e.what();
    }
    return "accepted";
  }

  const identity ca{"ca", ""}, other_ca{"other ca", ""};
  const identity server_id{"server", "DNS:localhost,IP:127.0.0.1", &ca};
  const identity client_id{"client", "", &ca};
  std::string ca_file;
  tls_options server_tls, client_tls;
};

TEST_F(Tls, BothSidesSpeakThroughItAndFramesOfAnySizeArrive) {
  use();
  run([&]() -> task<> {
    listen_tcp();
    connect();
    EXPECT_TRUE(co_await both_connected()) << failure;
    EXPECT_EQ(client->link()->describe().rfind("tls to server fd ", 0), 0u);
    const std::size_t sizes[] = {0, 1, 16'383, 16'384, 16'385, 70'000, 3'000'000, 5};
    for (const std::size_t n : sizes)
      for (auto& from : {client, server})
        from->link()->send(msg::returned{"cid", to_payload(std::string(n, 'x'))});
    for (auto& to : {client, server}) {
      EXPECT_TRUE(co_await until([&] { return to->messages().size() == std::size(sizes); }));
      const auto got = to->messages();
      for (std::size_t i = 0; i < got.size(); ++i)
        EXPECT_EQ(from_payload<std::string>(std::get<msg::returned>(got[i]).pld),
                  std::string(sizes[i], 'x'));
    }
  });
}

TEST_F(Tls, WhatWasSentBeforeCloseArrivesAndTheEndIsSaid) {
  use();
  run([&]() -> task<> {
    listen_tcp();
    connect();
    EXPECT_TRUE(co_await both_connected()) << failure;
    for (int i = 0; i < 100; ++i) client->link()->send(numbered(i));
    client->link()->close("done");
    EXPECT_TRUE(co_await until([&] { return server->closed() == 1; }));
    EXPECT_EQ(server->messages().size(), 100u);
    EXPECT_EQ(server->why(), "closed by the peer");
  });
}

TEST_F(Tls, WithItAnAddressBeyondLoopbackIsAllowed) {
  use();
  run([&]() -> task<> {
    listen(address::tcp("0.0.0.0", 0));
    at = address::tcp("127.0.0.1", at.as_tcp()->port);
    connect();
    EXPECT_TRUE(co_await both_connected()) << failure;
  });
}

TEST_F(Tls, AServerThatNobodyWeBelieveHasSignedIsRefused) {
  const identity stranger("server", "IP:127.0.0.1", &other_ca);
  server_tls = options_of("stranger", stranger);
  run([&]() -> task<> { co_await expect_refused("TLS: certificate verify failed"); });
}

TEST_F(Tls, AServerOfAnotherNameIsRefused) {
  const identity elsewhere("server", "DNS:elsewhere,IP:192.0.2.1", &ca);
  server_tls = options_of("elsewhere", elsewhere);
  run([&]() -> task<> { co_await expect_refused("IP address mismatch"); });
}

TEST_F(Tls, TheNameToLookForCanBeGiven) {
  const identity elsewhere("server", "DNS:elsewhere", &ca);
  server_tls = options_of("elsewhere", elsewhere);
  client_tls.server_name = "elsewhere";
  use();
  run([&]() -> task<> {
    listen_tcp();
    connect();
    EXPECT_TRUE(co_await both_connected()) << failure;
  });
}

TEST_F(Tls, AClientWithoutACertificateIsRefusedUnlessTheOptionSaysSo) {
  client_tls.certificate_file = client_tls.key_file = "";
  run([&]() -> task<> {
    co_await expect_refused("TLS: ");
    listening->close();
    server_tls.clients_need_certificate = false;
    use();
    listen_tcp();
    connect();
    EXPECT_TRUE(co_await both_connected()) << failure;
  });
}

TEST_F(Tls, AClientThatNobodyWeBelieveHasSignedIsRefused) {
  const identity stranger("client", "", &other_ca);
  client_tls = options_of("stranger", stranger);
  run([&]() -> task<> { co_await expect_refused("TLS: "); });
}

TEST_F(Tls, PlainWordsToATlsPortAndTheOtherWayRoundAreRefused) {
  bounds.handshake_within = 200ms;
  run([&]() -> task<> {
    use();
    client_options.tls = nullptr;
    listen_tcp();
    connect();
    EXPECT_TRUE(co_await told());
    EXPECT_EQ(server->connected(), 0u);
    listening->close();
    use();
    server_options.tls = nullptr;
    done = 0;
    listen_tcp();
    connect();
    EXPECT_TRUE(co_await told());
    EXPECT_EQ(server->connected() + client->connected(), 0u);
  });
}

TEST_F(Tls, APeerThatFallsSilentInTheHandshakeIsGivenUpAtTheBound) {
  bounds.handshake_within = 50ms;
  use();
  run([&]() -> task<> {
    listen_tcp();
    test::raw_peer silent = test::raw_peer::connect(at);
    EXPECT_TRUE(co_await silent.wait_closed());
    test::raw_peer partly = test::raw_peer::connect(at);
    co_await partly.send(std::string("\x16\x03\x01\x02\x00", 5));
    EXPECT_TRUE(co_await partly.wait_closed());
  });
}

TEST_F(Tls, GarbageCostsTheConnectionOnly) {
  use();
  run([&]() -> task<> {
    listen_tcp();
    connect();
    EXPECT_TRUE(co_await both_connected()) << failure;
    std::mt19937 random(3);
    for (int i = 0; i < 50; ++i) {
      test::raw_peer bad = test::raw_peer::connect(at);
      std::string bytes(random() % 600, '\0');
      for (char& c : bytes) c = static_cast<char>(random());
      co_await bad.send(std::move(bytes));
      bad.close();
    }
    client->link()->send(numbered(1));
    EXPECT_TRUE(co_await until([&] { return server->messages().size() == 1; }));
    EXPECT_EQ(server->closed(), 0u);
  });
}

TEST_F(Tls, OptionsThatCannotBeAreSaid) {
  tls_options o = server_tls;
  o.library = own.path() + "/none.so";
  EXPECT_EQ(refusal(o).rfind("no TLS here: " + o.library, 0), 0u) << refusal(o);
  o = server_tls;
  o.ca_file = "";
  EXPECT_EQ(refusal(o), "no TLS with these options: ca_file is needed: whom to believe");
  o.ca_file = own.path() + "/none.pem";
  EXPECT_NE(refusal(o).find("ca_file " + o.ca_file), std::string::npos) << refusal(o);
  o = server_tls;
  o.certificate_file = own.path() + "/none.pem";
  EXPECT_NE(refusal(o).find("certificate_file " + o.certificate_file), std::string::npos);
  o = server_tls;
  o.key_file = client_tls.key_file;
  EXPECT_NE(refusal(o).find("key_file " + o.key_file), std::string::npos) << refusal(o);
}

}  // namespace
}  // namespace coppice::ipc
