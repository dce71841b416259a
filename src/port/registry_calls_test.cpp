// SPDX-License-Identifier: Apache-2.0
#include "port/registry_calls.hpp"  // First: proves the header stands alone.

#include "coppice/kw.hpp"
#include "port/call_table_test_kit.hpp"

namespace coppice::port {
namespace {

const uid an_actor = test::uid_of("a");  // Named: a temporary with an owner inside kw() is refused.

using test::arguments;
using test::lines;
using test::link;
using test::me;
using test::no_arguments;
using test::start_of;
using test::uid_of;

msg::wire_address at(std::uint16_t port) { return msg::tcp_address{"127.0.0.1", port}; }

/// A link of another process.
class far_link final : public ipc::link {
 public:
  far_link() {
    peer_.name = "far";
    peer_.uuid = uid_of("far").uuid;
  }
  void send(msg::message, ipc::urgency) override {}
  void close(std::string) override {}
  bool is_local() const noexcept override { return false; }
  std::string describe() const override { return "far"; }
};

class RegistrarCalls : public test::table_fixture {
 protected:
  RegistrarCalls() {
    table.become_registrar({.actors_max = 2, .waiters_per_peer_max = 2},
                           [this](const std::string& uuid) { asked.push_back(uuid); });
    connect(peer);
    connect(other);
    table.connected(far, out);
    settle();
  }
  std::string cid() { return "c" + std::to_string(++cids_so_far); }
  void tell(const ipc::link_ptr& l, const std::string& func, payload kwargs) {
    table.message(l, start_of(l->peer().name, cid(), "self", func, std::move(kwargs)), out);
    settle();
  }
  void enter(const ipc::link_ptr& l, const uid& who, const msg::wire_address& at) {
    tell(l, "register_actor", to_kwargs(kw("uid", who), kw("addr", at)));
  }
  void publish(const std::string& uuid, const registry::addresses& at) {
    table.published(uuid, at, out);
    settle();
  }
  template <class T>
  T result() {
    return from_payload<T>(std::get<msg::returned>(last).pld);
  }
  std::string last_line() { return sent.empty() ? "nothing" : take(sent).back(); }

  std::shared_ptr<far_link> far = std::make_shared<far_link>();
  lines asked;
  int cids_so_far = 0;
};
using addresses = registry::addresses;

TEST_F(RegistrarCalls, EveryMethodIsAcknowledgedAndAnswered) {
  enter(peer, uid_of("a"), at(1));
  EXPECT_EQ(take(sent), (lines{"peer < StartAck c1 (lazy)", "peer < Return c1"}));
  EXPECT_TRUE(std::get<msg::returned>(last).pld.is_nil());
  tell(peer, "find_actor", arguments("name", "a"));
  EXPECT_EQ(result<addresses>(), addresses{at(1)});
  tell(peer, "find_actor", arguments("name", "uuid-of-a"));
  EXPECT_EQ(result<addresses>(), addresses{at(1)});
  tell(peer, "find_actor", arguments("name", "b"));
  EXPECT_TRUE(std::get<msg::returned>(last).pld.is_nil());
  tell(peer, "wait_for_actor", arguments("name", "a"));
  EXPECT_EQ(result<addresses>(), addresses{at(1)});
  tell(peer, "get_registry", no_arguments());
  EXPECT_EQ((result<std::map<std::string, addresses>>()),
            (std::map<std::string, addresses>{{"a.uuid-of-a", {at(1)}}}));
  tell(peer, "delete_addr", to_kwargs(kw("addr", at(1))));
  EXPECT_EQ(result<uid>(), uid_of("a"));
  tell(peer, "delete_addr", to_kwargs(kw("addr", at(1))));
  EXPECT_TRUE(std::get<msg::returned>(last).pld.is_nil());
  enter(other, uid_of("a"), at(1));
  tell(peer, "unregister_actor", to_kwargs(kw("uid", an_actor)));
  EXPECT_TRUE(std::get<msg::returned>(last).pld.is_nil());
  tell(peer, "get_registry", no_arguments());
  EXPECT_TRUE((result<std::map<std::string, addresses>>().empty()));
  EXPECT_TRUE(events.empty()) << "the actor's own code has nothing to do with it";
  EXPECT_TRUE(closes.empty());
}

TEST_F(RegistrarCalls, AnActorThatIsNoRegistrarRefusesThemAndNothingElseHappens) {
  call_table plain{me, limits};
  plain.connected(peer, out);
  plain.message(peer, start_of("peer", "c1", "self", "find_actor", arguments("name", "a")), out);
  plain.message(peer, start_of("peer", "c2", "self", "__init__"), out);
  settle();
  EXPECT_EQ(take(sent),
            (lines{"peer < Error c1 AttributeError: an actor's runtime has no method 'find_actor'",
                   "peer < Error c2 AttributeError: an actor's runtime has no method '__init__'"}));
  EXPECT_TRUE(closes.empty());
  EXPECT_TRUE(events.empty());
}

TEST_F(RegistrarCalls, WrongArgumentsAreErrorsOfTheirCall) {
  tell(peer, "find_actor", no_arguments());
  EXPECT_EQ(take(sent),
            lines{"peer < Error c1 TypeError: find_actor(): the argument 'name' is missing"});
  tell(peer, "find_actor", to_kwargs(kw("name", 5)));
  tell(peer, "register_actor", to_kwargs(kw("uid", an_actor)));
  tell(peer, "register_actor", to_kwargs(kw("uid", "a"), kw("addr", at(1))));
  tell(peer, "delete_addr", to_kwargs(kw("addr", std::string("x"))));
  EXPECT_EQ(sent.size(), 4u);
  for (const auto& one : sent) EXPECT_NE(one.find("TypeError: "), std::string::npos) << one;
  EXPECT_TRUE(closes.empty());
}

TEST_F(RegistrarCalls, ArgumentsThatItDoesNotKnowAreIgnored) {
  tell(peer, "find_actor", to_kwargs(kw("name", "a"), kw("later", 1)));
  EXPECT_EQ(last_line(), "peer < Return c1");
}

TEST_F(RegistrarCalls, AWaitIsAnsweredByTheRegistration) {
  tell(peer, "wait_for_actor", arguments("name", "a"));
  EXPECT_EQ(take(sent), lines{"peer < StartAck c1 (lazy)"});
  enter(other, uid_of("b"), at(2));
  EXPECT_EQ(take(sent), (lines{"other < StartAck c2 (lazy)", "other < Return c2"}));
  enter(other, uid_of("a"), at(1));
  EXPECT_EQ(take(sent),
            (lines{"other < StartAck c3 (lazy)", "other < Return c3", "peer < Return c1"}));
  EXPECT_EQ(result<addresses>(), addresses{at(1)});
}

TEST_F(RegistrarCalls, AnActorOfThisProcessIsRegisteredWithoutACall) {
  tell(peer, "wait_for_actor", arguments("name", "a"));
  table.register_here(uid_of("a"), at(1), out);
  settle();
  EXPECT_EQ(result<addresses>(), addresses{at(1)}) << "whoever waits hears of it";
  table.register_here(uid_of("b"), at(2), out);
  table.register_here(uid_of("c"), at(3), out);
  settle();
  tell(peer, "find_actor", arguments("name", "c"));
  EXPECT_TRUE(std::get<msg::returned>(last).pld.is_nil()) << "one too many";
  table.unregister_here(uid_of("a"));
  tell(peer, "find_actor", arguments("name", "a"));
  EXPECT_TRUE(std::get<msg::returned>(last).pld.is_nil());
  EXPECT_TRUE(events.empty());
}

TEST_F(RegistrarCalls, ACancelledWaitIsWithdrawn) {
  tell(peer, "wait_for_actor", arguments("name", "a"));
  take(sent);
  tell(peer, "_cancel_task", arguments("cid", "c1"));
  EXPECT_EQ(take(sent), (lines{"peer < StartAck c2",
                               "peer < Error c1 ContextCancelled: cancelled by its caller 'peer'",
                               "peer < CancelAck c2"}));
  enter(other, uid_of("a"), at(1));
  EXPECT_EQ(take(sent), (lines{"other < StartAck c3 (lazy)", "other < Return c3"}));
}

TEST_F(RegistrarCalls, WaitsAndHeldActorsGoWithTheirLink) {
  tell(peer, "wait_for_actor", arguments("name", "b"));
  tell(peer, "register_actor", to_kwargs(kw("uid", an_actor), kw("addr", at(1)), kw("held", true)));
  lose(peer);
  tell(other, "find_actor", arguments("name", "a"));
  EXPECT_TRUE(std::get<msg::returned>(last).pld.is_nil());
  take(sent);
  enter(other, uid_of("b"), at(2));
  EXPECT_EQ(take(sent).size(), 2u) << "nobody waits any more";
}

TEST_F(RegistrarCalls, WhatIsBeyondALimitIsAnErrorOfItsCall) {
  enter(peer, uid_of("a"), at(1));
  enter(peer, uid_of("b"), at(2));
  enter(peer, uid_of("c"), at(3));
  EXPECT_NE(last_line().find("Error c3 LimitExceeded: register_actor(): "), std::string::npos);
  tell(peer, "wait_for_actor", arguments("name", "x"));
  tell(peer, "wait_for_actor", arguments("name", "y"));
  tell(peer, "wait_for_actor", arguments("name", "z"));
  EXPECT_NE(last_line().find("Error c6 LimitExceeded: wait_for_actor(): "), std::string::npos);
}

TEST_F(RegistrarCalls, WaitsCountAmongTheCallsOfTheirPeer) {
  tell(peer, "wait_for_actor", arguments("name", "x"));
  tell(peer, "wait_for_actor", arguments("name", "y"));
  tell(peer, "wait_ready", no_arguments());
  tell(peer, "find_actor", arguments("name", "x"));
  EXPECT_NE(last_line().find("(calls_per_peer_max)"), std::string::npos);
}

// --- actors of this process ----------------------------------------------------------------------

TEST_F(RegistrarCalls, AnActorOfThisProcessIsAskedToListenBeforeItIsNamedToAnother) {
  enter(peer, uid_of("a"), in_process_address("uuid-of-a"));
  take(sent);
  tell(far, "find_actor", arguments("name", "a"));
  tell(far, "find_actor", arguments("name", "a"));
  EXPECT_EQ(asked, lines{"uuid-of-a"}) << "once for both";
  EXPECT_EQ(take(sent).size(), 2u) << "two acknowledgements";
  publish("uuid-of-a", {at(1)});
  EXPECT_EQ(take(sent), (lines{"far < Return c2", "far < Return c3"}));
  EXPECT_EQ(result<addresses>(), addresses{at(1)});
  tell(far, "wait_for_actor", arguments("name", "a"));
  EXPECT_EQ(result<addresses>(), addresses{at(1)});
  EXPECT_EQ(asked.size(), 1u) << "it listens";
}

TEST_F(RegistrarCalls, NoneOfSeveralAddressesOfThisProcessLeavesIt) {
  enter(peer, uid_of("a"), in_process_address("uuid-of-a"));
  enter(peer, uid_of("a"), in_process_address("uuid-of-b"));
  take(sent);
  tell(far, "find_actor", arguments("name", "a"));
  publish("uuid-of-a", {});
  publish("uuid-of-b", {});
  EXPECT_EQ(last_line(), "far < Return c3");
  EXPECT_TRUE(std::get<msg::returned>(last).pld.is_nil());
}

TEST_F(RegistrarCalls, WhoIsHereAndSaysSoGetsTheAddressOfThisProcess) {
  enter(peer, uid_of("a"), in_process_address("uuid-of-a"));
  tell(peer, "find_actor", to_kwargs(kw("name", "a"), kw("here", true)));
  EXPECT_EQ(result<addresses>(), addresses{in_process_address("uuid-of-a")});
  EXPECT_TRUE(asked.empty());
  tell(far, "find_actor", to_kwargs(kw("name", "a"), kw("here", true)));
  EXPECT_EQ(asked.size(), 1u) << "who is not here may say what it likes";
  publish("uuid-of-a", {at(1)});
  tell(peer, "find_actor", arguments("name", "a"));
  EXPECT_EQ(result<addresses>(), addresses{at(1)}) << "who does not say so gets what anybody gets";
}

TEST_F(RegistrarCalls, AWaitFromOutsideIsAnsweredWhenTheNewActorListens) {
  tell(far, "wait_for_actor", arguments("name", "a"));
  enter(peer, uid_of("a"), in_process_address("uuid-of-a"));
  EXPECT_EQ(asked, lines{"uuid-of-a"});
  EXPECT_EQ(last_line(), "peer < Return c2");
  publish("uuid-of-a", {at(1)});
  EXPECT_EQ(last_line(), "far < Return c1");
}

TEST_F(RegistrarCalls, OneThatCannotListenIsLeftOutOfTheAnswer) {
  enter(peer, uid_of("a"), in_process_address("uuid-of-a"));
  enter(peer, uid_of("b"), in_process_address("uuid-of-b"));
  tell(far, "find_actor", arguments("name", "a"));
  tell(far, "get_registry", no_arguments());
  EXPECT_EQ(asked, (lines{"uuid-of-a", "uuid-of-b"}));
  take(sent);
  publish("uuid-of-a", {});
  EXPECT_EQ(take(sent), lines{"far < Return c3"});
  EXPECT_TRUE(std::get<msg::returned>(last).pld.is_nil());
  publish("uuid-of-b", {at(2)});
  EXPECT_EQ(last_line(), "far < Return c4");
  EXPECT_EQ((result<std::map<std::string, addresses>>()),
            (std::map<std::string, addresses>{{"b.uuid-of-b", {at(2)}}}));
  EXPECT_EQ(asked.size(), 2u) << "it is not asked in circles";
}

TEST_F(RegistrarCalls, WhoEndsBeforeItListensDoesNotComeBack) {
  enter(peer, uid_of("a"), in_process_address("uuid-of-a"));
  tell(far, "find_actor", arguments("name", "a"));
  tell(peer, "unregister_actor", to_kwargs(kw("uid", an_actor)));
  publish("uuid-of-a", {at(1)});
  EXPECT_EQ(last_line(), "far < Return c2");
  EXPECT_TRUE(std::get<msg::returned>(last).pld.is_nil());
}

TEST_F(RegistrarCalls, AQuestionThatWaitsForAListenerCanBeCancelledAndGoesWithItsLink) {
  enter(peer, uid_of("a"), in_process_address("uuid-of-a"));
  tell(far, "find_actor", arguments("name", "a"));
  tell(far, "find_actor", arguments("name", "a"));
  take(sent);
  tell(far, "_cancel_task", arguments("cid", "c2"));
  EXPECT_EQ(take(sent).size(), 3u);
  table.closed(far, "gone", out);
  publish("uuid-of-a", {at(1)});
  EXPECT_TRUE(sent.empty());
}

TEST_F(RegistrarCalls, AnAddressWithoutADirectoryFromOutsideIsRefused) {
  enter(far, uid_of("a"), in_process_address("uuid-of-a"));
  EXPECT_NE(last_line().find("TypeError: register_actor(): "), std::string::npos);
  tell(far, "delete_addr", to_kwargs(kw("addr", in_process_address("uuid-of-a"))));
  EXPECT_NE(last_line().find("TypeError: delete_addr(): "), std::string::npos);
}

}  // namespace
}  // namespace coppice::port
