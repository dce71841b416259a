// SPDX-License-Identifier: Apache-2.0
// What a link does about a peer that says nothing, takes nothing, or does not finish its words.
#include <gtest/gtest.h>
#include <linux/filter.h>

#include "ipc/socket_link_test_kit.hpp"
#include "ipc/transport_test_kit.hpp"

namespace coppice::ipc {
namespace {

using namespace std::chrono_literals;
using test::aid;
using test::bytes_of;
using test::number_of;
using test::numbered;
using test::raw_peer;
using test::until;

msg::message large() { return msg::returned{"cid", to_payload(std::string(100'000, 'x'))}; }

class Silence : public test::one_link {
 protected:
  Silence() { bounds.peer_silence_max = bound; }

  task<raw_peer> connected_to(msg::aid peer_aid) {
    began = std::chrono::steady_clock::now();  // No wait of the link's begins before.
    raw_peer peer = open();
    EXPECT_TRUE(co_await peer.shake_hands(std::move(peer_aid)));
    EXPECT_TRUE(co_await until([&] { return sink->connected() == 1; }));
    co_return std::move(peer);
  }
  static msg::aid pingable() {
    msg::aid a = aid("peer");
    a.extensions->ext = {"ping"};
    return a;
  }
  std::chrono::steady_clock::duration took() const {
    return std::chrono::steady_clock::now() - began;
  }

  static constexpr auto bound = 150ms;
  std::chrono::steady_clock::time_point began;
};

TEST_F(Silence, APeerThatTakesNothingIsGivenUpAtTheBound) {
  run([&]() -> task<> {
    began = std::chrono::steady_clock::now();
    raw_peer peer = co_await connected();
    for (int i = 0; i < 40; ++i) link_->send(large(), urgency::now);
    EXPECT_TRUE(co_await closed());
  });
  EXPECT_GE(took(), bound);
  EXPECT_LT(took(), 10 * bound);
  EXPECT_NE(sink->why().find("the peer does not read: it has taken nothing of"), std::string::npos)
      << sink->why();
  EXPECT_NE(sink->why().find("peer_silence_max"), std::string::npos) << sink->why();
}

TEST_F(Silence, APeerThatTakesALittleNowAndThenIsNot) {
  run([&]() -> task<> {
    raw_peer peer = co_await connected_to(aid("peer"));
    for (int i = 0; i < 60; ++i) link_->send(large(), urgency::now);
    while (took() < 3 * bound) {
      co_await sleep_for(bound / 5);
      peer.read_some(20'000);  // More than the kernel waits for before it asks us for the next.
      EXPECT_EQ(sink->closed(), 0u) << sink->why();
      if (sink->closed() > 0) break;
    }
  });
}

TEST_F(Silence, AFrameThatDoesNotComeToItsEndCostsTheConnection) {
  bounds.frame_within = 50ms;
  run([&]() -> task<> {
    raw_peer peer = co_await connected_to(aid("peer"));
    const std::string whole = bytes_of(numbered(1));
    co_await peer.send(whole);
    for (std::size_t i = 0; i + 1 < whole.size() && sink->closed() == 0; ++i) {
      co_await peer.send(whole.substr(i, 1));
      co_await sleep_for(10ms);
    }
    EXPECT_TRUE(co_await closed());
  });
  EXPECT_EQ(sink->messages().size(), 1u);
  EXPECT_EQ(sink->why(), "a frame was not complete within 0.05 s (frame_within)");
}

TEST_F(Silence, FramesThatAreAlwaysBegunAndAlwaysFinishedAreNone) {
  bounds.frame_within = 60ms;
  run([&]() -> task<> {
    raw_peer peer = co_await connected_to(aid("peer"));
    const std::string whole = bytes_of(numbered(1));
    co_await peer.send(whole.substr(0, 5));
    while (took() < 5 * bounds.frame_within && sink->closed() == 0) {
      co_await peer.send(whole.substr(5) + whole.substr(0, 5));  // Never a moment without a part.
      co_await sleep_for(5ms);
    }
    EXPECT_EQ(sink->closed(), 0u) << sink->why();
  });
}

TEST_F(Silence, APeerThatAnswersPingsIsAskedOnceItIsSilentAndGivenUpAtTheBound) {
  run([&]() -> task<> {
    raw_peer peer = co_await connected_to(pingable());
    const auto asked = co_await peer.receive();
    EXPECT_TRUE(asked && std::holds_alternative<msg::ping>(*asked));
    EXPECT_GE(took(), bound / 3);
    EXPECT_EQ(sink->closed(), 0u);
    EXPECT_TRUE(co_await closed());
    EXPECT_TRUE(co_await peer.wait_closed());
  });
  EXPECT_GE(took(), bound);
  EXPECT_LT(took(), 10 * bound);
  EXPECT_EQ(sink->why(), "the peer has been silent for 0.15 s (peer_silence_max)");
}

TEST_F(Silence, WhoAnswersOrSaysAnythingElseIsThere) {
  run([&]() -> task<> {
    raw_peer peer = co_await connected_to(pingable());
    for (bool answer = true; took() < 4 * bound; answer = !answer) {
      const auto asked = co_await peer.receive();
      EXPECT_TRUE(asked) << sink->why();
      if (!asked) break;
      const msg::message said =
          answer ? msg::message(msg::pong{std::get<msg::ping>(*asked).n}) : numbered(7);
      co_await peer.send(said);
    }
    EXPECT_EQ(sink->closed(), 0u) << sink->why();
  });
  for (const auto& m : sink->messages()) EXPECT_EQ(number_of(m), 7) << "a Pong is nobody's message";
}

TEST_F(Silence, WhoDidNotAnnounceItIsNeverAsked) {
  for (const bool ours : {true, false}) {
    sink = std::make_shared<test::recorder>();
    run([&]() -> task<> {
      raw_peer peer = co_await connected_to(aid("peer", ours));
      co_await sleep_for(2 * bound);
      link_->send(numbered(1), urgency::now);
      const auto first = co_await peer.receive();
      EXPECT_TRUE(first && number_of(*first) == 1);
      EXPECT_EQ(sink->closed(), 0u) << sink->why();
    });
  }
}

TEST_F(Silence, APingIsAnsweredByTheLinkItself) {
  run([&]() -> task<> {
    raw_peer peer = co_await connected_to(aid("peer"));
    co_await peer.send(msg::message(msg::ping{42}));
    const auto answer = co_await peer.receive();
    EXPECT_TRUE(answer && std::get<msg::pong>(*answer) == msg::pong{42});
  });
  EXPECT_TRUE(sink->messages().empty());
}

// A network that drops every packet, seen from one socket: from now on nothing arrives at it.
void drop_what_comes(const link_ptr& l) {
  const std::string said = l->describe();  // "tcp to server fd 7"
  const int fd = std::stoi(said.substr(said.rfind(' ')));
  sock_filter nothing{BPF_RET | BPF_K, 0, 0, 0};
  const sock_fprog all{1, &nothing};
  EXPECT_EQ(::setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &all, sizeof all), 0);
}

class DeadNetwork : public testing::Test, public test::server_and_client {
 protected:
  // Both sides find out by themselves: their sockets are looked after by the kernel.
  void expect_the_end(bool bytes_under_way) {
    bounds.peer_silence_max = 1s;
    run([&]() -> task<> {
      listen_tcp();
      connect();
      EXPECT_TRUE(co_await both_connected());
      for (auto& s : {server, client}) drop_what_comes(s->link());
      const auto began = std::chrono::steady_clock::now();
      for (auto& s : {server, client})
        if (bytes_under_way) s->link()->send(numbered(1));
      EXPECT_TRUE(co_await until([&] { return server->closed() + client->closed() == 2; }));
      const auto took = std::chrono::steady_clock::now() - began;
      EXPECT_GE(took, 900ms);
      EXPECT_LT(took, 4s);
    });
    for (auto& s : {server, client})
      EXPECT_EQ(s->why(), "no answer from the peer's host for 1 s (peer_silence_max)");
  }
};

TEST_F(DeadNetwork, EndsAnIdleLinkAtAboutTheBound) { expect_the_end(false); }
TEST_F(DeadNetwork, EndsALinkWithBytesUnderWayAtAboutTheBound) { expect_the_end(true); }

// As after SIGSTOP: the loop's thread does not get to run, while the peer's words wait for it.
void do_not_run_for(std::chrono::milliseconds time) {
  const auto end = std::chrono::steady_clock::now() + time;
  while (std::chrono::steady_clock::now() < end) {
  }
}

TEST_F(Silence, TimeInWhichThisProcessDidNotRunCountsAgainstNobody) {
  run([&]() -> task<> {
    raw_peer peer = co_await connected_to(pingable());
    do_not_run_for(2 * bound);  // Before it was asked.
    const auto first = co_await peer.receive();
    EXPECT_TRUE(first && std::holds_alternative<msg::ping>(*first)) << sink->why();
    co_await peer.send(msg::message(msg::pong{1}));
    do_not_run_for(2 * bound);  // Its answer is there, and is not yet read.
    const auto second = co_await peer.receive();
    EXPECT_TRUE(second && std::holds_alternative<msg::ping>(*second)) << sink->why();
    EXPECT_EQ(sink->closed(), 0u) << sink->why();
  });
}

TEST_F(Silence, NorDoesWhatAPeerTookMeanwhile) {
  run([&]() -> task<> {
    raw_peer peer = co_await connected_to(aid("peer"));
    for (int i = 0; i < 40; ++i) link_->send(large(), urgency::now);
    co_await sleep_for(5ms);
    for (int i = 0; i < 20; ++i) peer.read_some(100'000);
    do_not_run_for(2 * bound);
    for (int i = 0; i < 40; ++i) {
      const auto m = co_await peer.receive();
      EXPECT_TRUE(m) << sink->why();
      if (!m) break;
    }
    EXPECT_EQ(sink->closed(), 0u) << sink->why();
  });
}

}  // namespace
}  // namespace coppice::ipc
