// SPDX-License-Identifier: Apache-2.0
#include "ipc/memory_link.hpp"  // First: proves the header stands alone.

#include <gtest/gtest.h>

#include <atomic>

#include "base/thread.hpp"
#include "ipc/link_test_kit.hpp"

namespace coppice::ipc {
namespace {

using test::aid;
using test::number_of;
using test::numbered;
using test::recorder;

struct joined {
  std::shared_ptr<recorder> a = std::make_shared<recorder>(), b = std::make_shared<recorder>();
  void connect() { connect_memory(aid("a"), a, aid("b"), b); }
};

TEST(MemoryLink, TheListenerKnowsTheLinkBeforeTheOtherSideCanSend) {
  joined j;
  std::vector<std::string> order;
  j.b->then_connected = [&](const link_ptr& l) {
    order.push_back("b to " + l->peer().name);
    EXPECT_EQ(j.a->connected(), 0u);
  };
  j.a->then_connected = [&](const link_ptr& l) { order.push_back("a to " + l->peer().name); };
  j.connect();
  EXPECT_EQ(order, (std::vector<std::string>{"b to a", "a to b"}));
  EXPECT_TRUE(j.a->link()->is_local());
  EXPECT_EQ(j.a->link()->describe(), "memory to b");
  EXPECT_EQ(j.a->link()->peer_uid(), (uid{"b", "uuid-of-b"}));
  j.a->link()->close("over");
}

TEST(MemoryLink, PayloadsAreSharedNotCopied) {
  joined j;
  j.connect();
  const payload sent = to_payload(std::string(1000, 'x'));
  j.a->link()->send(msg::returned{"cid", sent});
  ASSERT_EQ(j.b->messages().size(), 1u);
  const auto got = std::get<msg::returned>(j.b->messages()[0]).pld;
  EXPECT_EQ(got.bytes().data(), sent.bytes().data());
  j.a->link()->close("over");
}

TEST(MemoryLink, MessagesArriveOnTheSendersThreadBeforeSendReturns) {
  joined j;
  pthread_t receiver{};
  j.b->before_message = [&](const link_ptr&, const msg::message&) { receiver = ::pthread_self(); };
  j.connect();
  j.a->link()->send(numbered(1));
  EXPECT_EQ(j.b->messages().size(), 1u);
  EXPECT_TRUE(::pthread_equal(receiver, ::pthread_self()));
  j.a->link()->close("over");
}

TEST(MemoryLink, ValuesOfAStreamArriveLikeAYieldForEach) {
  joined j;
  j.b->then_connected = [&](const link_ptr& l) {
    l->send_values("early", {to_payload(1), to_payload(2)});
  };
  j.connect();
  EXPECT_EQ(j.a->messages().size(), 2u) << "before this side had heard of its link";
  j.a->link()->send(numbered(0));
  j.a->link()->send_values("late", {to_payload(3), to_payload(4)});
  const auto got = j.b->messages();
  ASSERT_EQ(got.size(), 3u);
  EXPECT_EQ(std::get<msg::yield>(got[1]), (msg::yield{"late", to_payload(3)}));
  EXPECT_EQ(std::get<msg::yield>(got[2]), (msg::yield{"late", to_payload(4)}));
  j.a->link()->close("over");
}

// The other side may answer on_connected() before the first to be told has told the second.
TEST(MemoryLink, WhatIsSentBeforeASideHasHeardOfItsLinkWaitsForIt) {
  joined j;
  j.b->then_connected = [&](const link_ptr& l) {
    l->send(numbered(1));
    l->send(numbered(2));
    EXPECT_EQ(j.a->messages().size(), 0u);
  };
  j.connect();
  ASSERT_EQ(j.a->messages().size(), 2u);
  EXPECT_EQ(number_of(j.a->messages()[0]), 1);
  EXPECT_EQ(number_of(j.a->messages()[1]), 2);
  j.a->link()->close("over");
}

TEST(MemoryLink, ACloseBeforeASideHasHeardOfItsLinkComesAfterWhatWasSentAndNothingElse) {
  joined j;
  j.b->then_connected = [](const link_ptr& l) {
    l->send(numbered(1));
    l->close("changed my mind");
    l->send(numbered(2));
  };
  j.connect();
  EXPECT_EQ(j.a->messages().size(), 1u) << "what was sent after the end is dropped";
  for (auto& side : {j.a, j.b}) {
    EXPECT_EQ(side->closed(), 1u);
    EXPECT_EQ(side->why(), "changed my mind");
  }
}

TEST(MemoryLink, ALinkThatHasEndedKeepsNobodyAlive) {
  std::weak_ptr<link> end;
  std::weak_ptr<recorder> sink;
  {
    joined j;
    j.connect();
    end = j.a->link();
    sink = j.b;
    j.a->link()->close("over");
  }
  EXPECT_TRUE(end.expired());
  EXPECT_TRUE(sink.expired());
}

TEST(MemoryLink, ASinkMayCloseItsLinkInsideAMessageAndIsToldOfTheEndAfterIt) {
  joined j;
  j.b->before_message = [&](const link_ptr& l, const msg::message&) {
    l->close("enough");
    EXPECT_EQ(j.b->closed(), 0u) << "on_closed() is the last word";
  };
  j.connect();
  j.a->link()->send(numbered(1));  // The recorder checks the order.
  EXPECT_EQ(j.b->messages().size(), 1u);
  EXPECT_EQ(j.b->closed(), 1u);
  EXPECT_EQ(j.a->closed(), 1u);
}

// A sender that had looked for the sink before the close delivered to it after it: a guest's port
// then answered a call on a link that it had just been told is gone.
TEST(MemoryLink, TheEndIsNotToldWhileAnotherThreadDelivers) {
  joined j;
  std::atomic<bool> inside{false}, go{false};
  j.b->before_message = [&](const link_ptr&, const msg::message&) {
    inside = true;
    inside.notify_all();
    go.wait(false);
  };
  j.connect();
  base::os_thread sender("sender", [l = j.a->link()] { l->send(numbered(1)); });
  inside.wait(false);
  j.a->link()->close("over");
  EXPECT_EQ(j.a->closed(), 1u) << "the side that is not in a delivery hears at once";
  EXPECT_EQ(j.b->closed(), 0u);
  go = true;
  go.notify_all();
  sender.join();
  EXPECT_EQ(j.b->messages().size(), 1u);
  EXPECT_EQ(j.b->closed(), 1u);
}

TEST(MemoryLink, ThreadsThatSendAndCloseAtOnceLeaveOneEndPerSide) {
  for (int round = 0; round < 200; ++round) {
    joined j;
    j.connect();
    const auto a = j.a->link(), b = j.b->link();
    base::os_thread one("one", [&] {
      for (int i = 0; i < 50; ++i) a->send(numbered(i));
      a->close("one");
    });
    base::os_thread two("two", [&] {
      for (int i = 0; i < 50; ++i) b->send(numbered(i));
      b->close("two");
    });
    one.join();
    two.join();
    EXPECT_EQ(j.a->closed(), 1u);
    EXPECT_EQ(j.b->closed(), 1u);
    EXPECT_EQ(j.a->why(), j.b->why());
  }
}

}  // namespace
}  // namespace coppice::ipc
