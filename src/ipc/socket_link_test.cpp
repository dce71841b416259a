// SPDX-License-Identifier: Apache-2.0
#include "ipc/socket_link.hpp"  // First: proves the header stands alone.

#include <gtest/gtest.h>

#include <random>

#include "base/thread.hpp"
#include "coppice/errors.hpp"
#include "coppice/nursery.hpp"
#include "ipc/socket_link_test_kit.hpp"

namespace coppice::ipc {
namespace {

using namespace std::chrono_literals;
using test::aid;
using test::bytes_of;
using test::frame_of;
using test::number_of;
using test::numbered;
using test::raw_peer;
using test::recorder;
using test::until;

class SocketLink : public test::one_link {};

// --- handshake -----------------------------------------------------------------------------------

TEST_F(SocketLink, SendsItsAidAtOnceAndIsSilentUntilThePeersHasCome) {
  run([&]() -> task<> {
    raw_peer peer = open();
    const auto first = co_await peer.receive();
    EXPECT_TRUE(first);
    EXPECT_EQ(std::get<msg::aid>(*first), aid("self"));
    EXPECT_EQ(sink->connected(), 0u);
    EXPECT_EQ(done_, 0);
    co_await peer.send(msg::message(aid("peer")));
    EXPECT_TRUE(co_await until([&] { return done_ == 1; }));
    EXPECT_EQ(failure_, "");
    EXPECT_EQ(sink->link(), link_);
    EXPECT_EQ(link_->peer_uid(), (uid{"peer", "uuid-of-peer"}));
    EXPECT_FALSE(link_->is_local());
    EXPECT_EQ(link_->describe().rfind("uds to peer fd ", 0), 0u) << link_->describe();
  });
}

TEST_F(SocketLink, ASilentPeerIsGivenUpAtTheBound) {
  bounds.handshake_within = 30ms;
  run([&]() -> task<> {
    raw_peer peer = open();
    EXPECT_TRUE(co_await until([&] { return done_ > 0; }));
    EXPECT_EQ(failure_, "coppice::timeout_error: the peer did not introduce itself within 0.03 s");
    EXPECT_TRUE(co_await peer.wait_closed());
    EXPECT_EQ(sink->connected(), 0u);
  });
  EXPECT_EQ(done_, 1);
}

TEST_F(SocketLink, APeerThatNeverFinishesItsAidIsGivenUpAtTheBoundToo) {
  bounds.handshake_within = 30ms;
  run([&]() -> task<> {
    raw_peer peer = open();
    const std::string whole = bytes_of(aid("peer"));
    for (std::size_t i = 0; i + 1 < whole.size() && done_ == 0; ++i) {
      co_await peer.send(whole.substr(i, 1));
      co_await sleep_for(1ms);
    }
    EXPECT_TRUE(co_await until([&] { return done_ > 0; }));
    EXPECT_TRUE(co_await peer.wait_closed());
  });
  EXPECT_NE(failure_.find("timeout_error"), std::string::npos) << failure_;
}

struct hostile {
  const char* name;
  std::string bytes;
  std::string said;  // Part of it.
};
void PrintTo(const hostile& h, std::ostream* out) { *out << h.name; }

class HostileFirstWords : public SocketLink, public testing::WithParamInterface<hostile> {};

TEST_P(HostileFirstWords, CostTheConnectionAndAreSaid) {
  run([&]() -> task<> {
    raw_peer peer = open();
    co_await peer.send(GetParam().bytes);
    EXPECT_TRUE(co_await until([&] { return done_ > 0; }));
    EXPECT_TRUE(co_await peer.wait_closed());
  });
  EXPECT_EQ(done_, 1);
  EXPECT_NE(failure_.find(GetParam().said), std::string::npos) << failure_;
  EXPECT_EQ(sink->connected(), 0u);
  EXPECT_EQ(sink->closed(), 0u) << "the sink never heard of it";
}

INSTANTIATE_TEST_SUITE_P(
    , HostileFirstWords,
    testing::Values(hostile{"Garbage", std::string("GET / HTTP/1.1\r\n\r\n"), "aid_bytes_max"},
                    hostile{"GarbageInAFrame", frame_of("\xc1\xc1\xc1"), "protocol_error"},
                    hostile{"AnEmptyFrame", frame_of(""), "protocol_error"},
                    hostile{"AnArray", frame_of("\x93\x01\x02\x03"), "protocol_error"},
                    hostile{"AFrameBeyondTheLimit", "\xff\xff\xff\x7f", "aid_bytes_max"},
                    hostile{"AFirstFrameTooLargeForAnAid", std::string("\x00\x00\x02\x00", 4),
                            "aid_bytes_max"},
                    hostile{"AMessageThatIsNoAid", bytes_of(numbered(1)), "must be an Aid"}),
    [](const auto& one) { return one.param.name; });

TEST_F(SocketLink, APeerThatHangsUpDuringTheHandshakeIsSaid) {
  run([&]() -> task<> {
    raw_peer peer = open();
    peer.close();
    EXPECT_TRUE(co_await until([&] { return done_ > 0; }));
  });
  EXPECT_NE(failure_.find("connection ended during the handshake: "), std::string::npos)
      << failure_;
}

TEST_F(SocketLink, AProbeIsAnsweredAndIsNoPeer) {
  run([&]() -> task<> {
    raw_peer peer = open();
    msg::aid probe = aid("probe");
    probe.is_probe = true;
    co_await peer.send(msg::message(probe));
    const auto answer = co_await peer.receive();
    EXPECT_TRUE(answer && std::holds_alternative<msg::aid>(*answer));
    EXPECT_TRUE(co_await peer.wait_closed());
  });
  EXPECT_EQ(done_, 1);
  EXPECT_EQ(sink->connected(), 0u);
}

// The probe's own Aid may be there before ours has left: it was closed then without an answer.
TEST_F(SocketLink, AProbeThatSpeaksFirstIsAnsweredToo) {
  run([&]() -> task<> {
    int fds[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    raw_peer peer{base::unique_fd(fds[1])};
    msg::aid probe = aid("probe");
    probe.is_probe = true;
    co_await peer.send(msg::message(probe));
    socket s(core::io_context_of(*loop), socket_protocol(AF_UNIX, 0), fds[0]);
    link_ = std::make_shared<socket_link>(loop, make_stream(std::move(s), bounds), aid("self"),
                                          sink, bounds);
    link_->begin([](std::exception_ptr, link_ptr) {});
    const auto answer = co_await peer.receive();
    EXPECT_TRUE(answer && std::holds_alternative<msg::aid>(*answer));
  });
}

// An actor may be given any name. It threw out of the listener's handler, and so ended the loop.
TEST_F(SocketLink, AnAidThatCannotBeSentIsAFailedHandshake) {
  run([&]() -> task<> {
    raw_peer peer = open(aid("\xff\xfe"));
    EXPECT_EQ(done_, 1) << "nothing to wait for";
    EXPECT_TRUE(co_await peer.wait_closed());
  });
  EXPECT_NE(failure_.find("UTF-8"), std::string::npos) << failure_;
}

TEST_F(SocketLink, CloseGivesUpAHandshake) {
  run([&]() -> task<> {
    raw_peer peer = open();
    link_->close("changed my mind");
    EXPECT_EQ(done_, 1);
    EXPECT_TRUE(co_await peer.wait_closed());
  });
  EXPECT_NE(failure_.find("changed my mind"), std::string::npos) << failure_;
}

// --- reading -------------------------------------------------------------------------------------

TEST_F(SocketLink, MessagesSplitAtAnyByteArrive) {
  const std::string all = bytes_of(aid("peer")) + bytes_of(numbered(1)) +
                          bytes_of(msg::start_ack{"cid", msg::call_kind::context}) +
                          bytes_of(numbered(70000));
  run([&]() -> task<> {
    for (std::size_t cut = 0; cut <= all.size(); ++cut) {
      sink = std::make_shared<recorder>();
      raw_peer peer = open();
      co_await peer.send(all.substr(0, cut));
      co_await checkpoint();
      co_await sleep_for(100us);
      co_await peer.send(all.substr(cut));
      EXPECT_TRUE(co_await received(3)) << cut;
      const auto got = sink->messages();
      EXPECT_EQ(number_of(got[0]), 1);
      EXPECT_EQ(number_of(got[2]), 70000);
      link_->close("next");
    }
  });
}

TEST_F(SocketLink, MessagesThatComeByteByByteArrive) {
  run([&]() -> task<> {
    raw_peer peer = co_await connected();
    const std::string all = bytes_of(numbered(1)) + bytes_of(numbered(2));
    for (char c : all) {
      co_await peer.send(std::string(1, c));
      co_await checkpoint();
      co_await checkpoint();
    }
    EXPECT_TRUE(co_await received(2));
    EXPECT_EQ(number_of(sink->messages()[1]), 2);
  });
}

TEST_F(SocketLink, ManyFramesInOneReadArriveInOrder) {
  run([&]() -> task<> {
    raw_peer peer = co_await connected();
    std::string all;
    constexpr int count = 5000;
    for (int i = 0; i < count; ++i) all += bytes_of(numbered(i));
    co_await peer.send(all);
    EXPECT_TRUE(co_await received(count));
    const auto got = sink->messages();
    for (int i = 0; i < count; ++i) EXPECT_EQ(number_of(got[static_cast<std::size_t>(i)]), i);
  });
}

TEST_F(SocketLink, ValuesOfStreamsArriveInOrderAmongOtherMessages) {
  run([&]() -> task<> {
    raw_peer peer = co_await connected();
    std::string all;
    std::vector<msg::message> sent;
    for (int i = 0; i < 300; ++i) {
      sent.push_back(msg::yield{i % 100 < 50 ? "one" : "another", to_payload(i)});
      if (i % 7 == 0) sent.push_back(numbered(i));
    }
    for (const auto& m : sent) all += bytes_of(m);
    co_await peer.send(all);
    EXPECT_TRUE(co_await received(sent.size()));
    const auto got = sink->messages();
    for (std::size_t i = 0; i < sent.size(); ++i) EXPECT_EQ(bytes_of(got[i]), bytes_of(sent[i]));
  });
}

TEST_F(SocketLink, ValuesThatAreSentTogetherLeaveAsAFrameEach) {
  run([&]() -> task<> {
    raw_peer peer = co_await connected();
    link_->send(numbered(1), urgency::now);
    link_->send_values("c", {to_payload(2), to_payload(3)});
    const auto first = co_await peer.receive();
    EXPECT_EQ(number_of(*first), 1);
    for (int i : {2, 3}) {
      const auto next = co_await peer.receive();
      EXPECT_EQ(std::get<msg::yield>(*next), (msg::yield{"c", to_payload(i)}));
    }
  });
}

msg::message sized(std::size_t bytes, char fill) {
  return msg::returned{"cid", to_payload(std::string(bytes, fill))};
}
std::string text_of(const msg::message& m) {
  return from_payload<std::string>(std::get<msg::returned>(m).pld);
}

TEST_F(SocketLink, FramesOfAnySizeArriveWhole) {
  constexpr std::size_t chunk = 64 * 1024;
  const std::size_t sizes[] = {0,       1,         chunk / 2, chunk - 100, chunk - 40, chunk - 4,
                               chunk,   chunk + 1, 2 * chunk, 1 << 20,     7,          3 << 20,
                               100'000, 1,         1,         10 << 20,    5};
  run([&]() -> task<> {
    raw_peer peer = co_await connected();
    auto feed = [&]() -> task<> {
      for (std::size_t n : sizes) {
        std::string bytes = bytes_of(sized(n, 'x'));
        co_await peer.send(std::move(bytes));
      }
    };
    auto both = [&](nursery& n) { n.start_soon(feed); };
    co_await open_nursery(both);
    EXPECT_TRUE(co_await received(std::size(sizes)));
    const auto got = sink->messages();
    for (std::size_t i = 0; i < std::size(sizes); ++i)
      EXPECT_EQ(text_of(got[i]), std::string(sizes[i], 'x')) << i;
  });
}

TEST_F(SocketLink, PayloadsSurviveTheBufferThatTheyCameIn) {
  run([&]() -> task<> {
    raw_peer peer = co_await connected();
    std::mt19937 random(7);
    std::vector<std::string> sent;
    for (int i = 0; i < 300; ++i) {
      const std::size_t n = random() % 3000 + (i % 50 == 0 ? 100'000 : 0);
      sent.push_back(std::string(n, static_cast<char>('a' + i % 26)));
      std::string bytes = bytes_of(sized(n, sent.back().empty() ? 'x' : sent.back()[0]));
      co_await peer.send(std::move(bytes));
      if (i % 7 == 0) co_await checkpoint();
    }
    EXPECT_TRUE(co_await received(sent.size()));
    const auto got = sink->messages();
    for (std::size_t i = 0; i < sent.size(); ++i) EXPECT_EQ(text_of(got[i]), sent[i]) << i;
  });
}

TEST_F(SocketLink, APayloadIsTheReceiversOnWhateverThreadItEnds) {
  run([&]() -> task<> {
    raw_peer peer = co_await connected();
    std::atomic<bool> more{true};
    std::mutex mutex;
    std::vector<msg::message> taken;
    sink->before_message = [&](const link_ptr&, const msg::message& m) {
      std::lock_guard lock(mutex);
      taken.push_back(m);
    };
    base::os_thread reader("reader", [&] {
      while (more) {
        std::vector<msg::message> mine;
        {
          std::lock_guard lock(mutex);
          mine.swap(taken);
        }
        for (const auto& m : mine) EXPECT_EQ(text_of(m).size(), 500u);
      }
    });
    for (int i = 0; i < 2000; ++i) {
      std::string bytes = bytes_of(sized(500, 'p'));
      co_await peer.send(std::move(bytes));
      if (i % 3 == 0) co_await checkpoint();
      if (i % 100 == 0) sink->clear_messages();
    }
    co_await sleep_for(5ms);
    more = false;
    reader.join();
    std::lock_guard lock(mutex);
    taken.clear();
  });
}

class HostileLaterWords : public SocketLink, public testing::WithParamInterface<hostile> {};

TEST_P(HostileLaterWords, CostTheConnectionOnlyAndAreSaid) {
  run([&]() -> task<> {
    raw_peer peer = co_await connected();
    co_await peer.send(bytes_of(numbered(1)) + GetParam().bytes + bytes_of(numbered(2)));
    EXPECT_TRUE(co_await closed());
    EXPECT_TRUE(co_await peer.wait_closed());
  });
  EXPECT_EQ(sink->messages().size(), 1u) << "what came before counts, what came after does not";
  EXPECT_EQ(sink->closed(), 1u);
  EXPECT_NE(sink->why().find(GetParam().said), std::string::npos) << sink->why();
  EXPECT_EQ(done_, 1);
}

INSTANTIATE_TEST_SUITE_P(
    , HostileLaterWords,
    testing::Values(hostile{"GarbageInAFrame", frame_of("\xc1\xc1\xc1"), "protocol error: "},
                    hostile{"AnUnknownType", frame_of("\x81\xa8msg_type\xa3Lie"), "Lie"},
                    hostile{"AFrameBeyondTheLimit", "\xff\xff\xff\x7f", "frame_bytes_max"},
                    hostile{"AMapCutShort", frame_of("\x82\xa8msg_type\xa4Stop"),
                            "protocol error"}),
    [](const auto& one) { return one.param.name; });

TEST_F(SocketLink, TheLargestFrameIsTakenAndOneByteMoreIsNot) {
  const std::string fits = bytes_of(sized(1000, 'x')), beyond = bytes_of(sized(1001, 'x'));
  bounds.frame_bytes_max = fits.size() - 4;
  run([&]() -> task<> {
    raw_peer peer = co_await connected();
    co_await peer.send(fits);
    EXPECT_TRUE(co_await received(1));
    EXPECT_EQ(sink->closed(), 0u);
    co_await peer.send(beyond);
    EXPECT_TRUE(co_await closed());
  });
  EXPECT_NE(sink->why().find(std::to_string(beyond.size() - 4) + " bytes; frame_bytes_max is " +
                             std::to_string(fits.size() - 4)),
            std::string::npos)
      << sink->why();
}

TEST_F(SocketLink, AMessageNestedBeyondTheLimitCostsTheConnection) {
  for (const int depth : {3, 2}) {  // An Aid of ours is a map with a map with an array in it.
    bounds.depth_max = depth;
    sink = std::make_shared<recorder>();
    done_ = 0;
    run([&]() -> task<> {
      raw_peer peer = open();
      co_await peer.send(msg::message(aid("peer")));
      EXPECT_TRUE(co_await until([&] { return done_ == 1; }));
    });
    EXPECT_EQ(failure_.find("limit_exceeded") != std::string::npos, depth == 2) << failure_;
  }
}

TEST_F(SocketLink, TheLargestPayloadThatACallTableLetsOutFitsIntoAFrame) {
  EXPECT_GT(limits{}.frame_bytes_max, (256u << 20) + 4096u);  // port::table_limits
}

TEST_F(SocketLink, AHalfClosedConnectionIsAClosedOne) {
  run([&]() -> task<> {
    raw_peer peer = co_await connected();
    ::shutdown(peer.fd(), SHUT_WR);
    EXPECT_TRUE(co_await closed());
    EXPECT_EQ(sink->why(), "closed by the peer");
    EXPECT_TRUE(co_await peer.wait_closed());
  });
}

TEST_F(SocketLink, APeerThatDiesInTheMiddleOfAFrameIsSaid) {
  run([&]() -> task<> {
    raw_peer peer = co_await connected();
    const std::string whole = bytes_of(numbered(1));
    co_await peer.send(whole + whole.substr(0, whole.size() - 1));
    peer.close();
    EXPECT_TRUE(co_await closed());
  });
  EXPECT_EQ(sink->messages().size(), 1u);
  EXPECT_EQ(sink->why(), "closed by the peer in the middle of a frame");
}

TEST_F(SocketLink, AResetIsTheEndAndIsSaidOnce) {
  run([&]() -> task<> {
    raw_peer peer = co_await connected();
    link_->send(numbered(1), urgency::now);
    co_await sleep_for(1ms);
    peer.close();  // With bytes that it never read: the kernel resets the connection.
    EXPECT_TRUE(co_await closed());
    link_->send(numbered(2), urgency::now);
    co_await sleep_for(1ms);
  });
  EXPECT_EQ(sink->closed(), 1u);
  EXPECT_FALSE(sink->why().empty());
}

// --- writing -------------------------------------------------------------------------------------

TEST_F(SocketLink, MessagesOfManyThreadsArriveEachThreadsInOrder) {
  constexpr int threads = 4, each = 500;
  run([&]() -> task<> {
    raw_peer peer = co_await connected();
    std::vector<base::os_thread> senders;
    for (int t = 0; t < threads; ++t)
      senders.emplace_back("sender", [l = link_, t] {
        for (int i = 0; i < each; ++i) l->send(numbered(t * 1'000'000 + i), urgency::now);
      });
    for (int i = 0; i < each; ++i) {  // The loop's own thread, too.
      link_->send(numbered(threads * 1'000'000 + i), urgency::now);
      if (i % 10 == 0) co_await checkpoint();
    }
    std::vector<std::int64_t> next(threads + 1, 0);
    for (int i = 0; i < (threads + 1) * each; ++i) {
      const auto m = co_await peer.receive();
      if (!m) {
        ADD_FAILURE() << "the end after " << i;
        break;
      }
      const auto n = number_of(*m);
      EXPECT_EQ(n % 1'000'000, next[static_cast<std::size_t>(n / 1'000'000)]++);
    }
    for (auto& s : senders) s.join();
  });
}

TEST_F(SocketLink, APeerThatDoesNotReadIsGivenUpBeyondQueuedBytesMax) {
  bounds.queued_bytes_max = 1 << 20;
  run([&]() -> task<> {
    raw_peer peer = co_await connected();
    int sent = 0;
    for (; sent < 1000 && sink->closed() == 0; ++sent) {
      link_->send(sized(10'000, 'x'), urgency::now);
      co_await checkpoint();
    }
    EXPECT_GT(sent, 100) << "it was not given up before its limit";
    EXPECT_TRUE(co_await closed());
    EXPECT_NE(sink->why().find("the peer does not read"), std::string::npos) << sink->why();
    EXPECT_NE(sink->why().find("queued_bytes_max"), std::string::npos) << sink->why();
    EXPECT_TRUE(co_await peer.wait_closed());
  });
  EXPECT_EQ(sink->closed(), 1u);
}

// What had been sent stayed in the buffer until it was empty, which for a peer that is always a
// little behind was never: the queue was bounded, its memory was not.
TEST_F(SocketLink, AQueueThatIsNeverEmptyKeepsOrderAndBytes) {
  bounds.queued_bytes_max = 4 << 20;
  run([&]() -> task<> {
    raw_peer peer = co_await connected();
    std::int64_t sent = 0;
    for (int i = 0; i < 400; ++i, ++sent)
      link_->send(msg::returned{std::to_string(sent), to_payload(std::string(4000, 'q'))},
                  urgency::now);
    for (std::int64_t read = 0; read < 4000; ++read) {
      const auto m = co_await peer.receive();
      EXPECT_TRUE(m);
      if (!m) break;
      EXPECT_EQ(std::get<msg::returned>(*m).cid, std::to_string(read));
      EXPECT_EQ(text_of(*m).size(), 4000u);
      if (sent < 4000) {
        link_->send(msg::returned{std::to_string(sent), to_payload(std::string(4000, 'q'))},
                    urgency::now);
        ++sent;
      }
      if (read % 16 == 0) co_await checkpoint();
    }
    EXPECT_EQ(sink->closed(), 0u);
  });
}

TEST_F(SocketLink, AMessageThatCannotBeSentCostsTheConnection) {
  run([&]() -> task<> {
    raw_peer peer = co_await connected();
    link_->send(msg::stop{"\xff"}, urgency::now);
    EXPECT_TRUE(co_await closed());
    EXPECT_NE(sink->why().find("a message could not be encoded"), std::string::npos) << sink->why();
  });
}

TEST_F(SocketLink, ATractorPeerIsSentNothingThatItsProtocolDoesNotHave) {
  for (const bool ours : {true, false}) {
    sink = std::make_shared<recorder>();
    run([&]() -> task<> {
      raw_peer peer = open();
      EXPECT_TRUE(co_await peer.shake_hands(aid("peer", ours)));
      EXPECT_TRUE(co_await until([&] { return sink->connected() == 1; }));
      remote_error_info member, group;
      member.type = "ValueError";
      group.type = "ExceptionGroup";
      group.members = {member, member};
      link_->send(msg::to_message(group, "cid"), urgency::now);
      const auto m = co_await peer.receive();
      EXPECT_TRUE(m);
      if (m) {
        EXPECT_EQ(std::get<msg::boxed_error>(*m).members.size(), ours ? 2u : 0u);
      }
    });
  }
}

// --- the end -------------------------------------------------------------------------------------

TEST_F(SocketLink, WhatWasSentBeforeCloseArrivesAndWhatIsSentAfterDoesNot) {
  run([&]() -> task<> {
    raw_peer peer = co_await connected();
    link_->send(numbered(1), urgency::now);
    link_->send(numbered(2), urgency::lazy);
    link_->close("done");
    link_->send(numbered(3), urgency::now);
    link_->close("again");
    const auto one = co_await peer.receive(), two = co_await peer.receive();
    EXPECT_TRUE(one && number_of(*one) == 1);
    EXPECT_TRUE(two && number_of(*two) == 2);
    const auto three = co_await peer.receive();
    EXPECT_FALSE(three);
    EXPECT_TRUE(co_await peer.wait_closed());
  });
  EXPECT_EQ(sink->closed(), 1u);
  EXPECT_EQ(sink->why(), "done");
}

TEST_F(SocketLink, CloseFromAnotherThreadComesAfterWhatThatThreadSent) {
  run([&]() -> task<> {
    raw_peer peer = co_await connected();
    base::os_thread closer("closer", [l = link_] {
      for (int i = 0; i < 100; ++i) l->send(numbered(i), urgency::now);
      l->close("from elsewhere");
      l->send(numbered(100), urgency::now);
    });
    for (int i = 0; i < 100; ++i) {
      const auto m = co_await peer.receive();
      EXPECT_TRUE(m && number_of(*m) == i);
    }
    EXPECT_TRUE(co_await peer.wait_closed());
    EXPECT_TRUE(co_await closed());
    closer.join();
  });
  EXPECT_EQ(sink->why(), "from elsewhere");
}

// Closes its link inside the first message and looks at itself afterwards.
struct hasty_sink final : link_sink {
  explicit hasty_sink(int& seen) : messages(seen) {}
  void on_connected(const link_ptr&) override {}
  void on_message(const link_ptr& from, msg::message&&, urgency) override {
    from->close("enough");
    ++messages;
  }
  void on_closed(const link_ptr&, const std::string&) override {}
  int& messages;
};

TEST_F(SocketLink, ASinkThatOnlyItsLinkKeepsMayCloseItInsideAMessage) {
  run([&]() -> task<> {
    int messages = 0;
    auto only = std::make_shared<hasty_sink>(messages);
    const std::weak_ptr<hasty_sink> seen = only;
    int fds[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    raw_peer peer{base::unique_fd(fds[1])};
    socket s(core::io_context_of(*loop), socket_protocol(AF_UNIX, 0), fds[0]);
    std::make_shared<socket_link>(loop, make_stream(std::move(s), bounds), aid("self"),
                                  std::move(only), bounds)
        ->begin([](std::exception_ptr, link_ptr) {});
    co_await peer.shake_hands(aid("peer"));
    EXPECT_FALSE(seen.expired());
    co_await peer.send(bytes_of(numbered(1)) + bytes_of(numbered(2)));
    EXPECT_TRUE(co_await peer.wait_closed());
    EXPECT_EQ(messages, 1);
    EXPECT_TRUE(seen.expired());
  });
}

TEST_F(SocketLink, PostsToALoopThatRunsNoMoreKeepNothing) {
  std::weak_ptr<socket_link> seen;
  run([&]() -> task<> {
    raw_peer peer = co_await connected();
    seen = link_;
  });
  link_->send(numbered(1), urgency::now);
  link_->close("too late");
  // The fixture's end looks whether the loop is gone.
}

}  // namespace
}  // namespace coppice::ipc
