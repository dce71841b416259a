// SPDX-License-Identifier: Apache-2.0
#include "port/call_table.hpp"  // First: proves the header stands alone.
#include "port/call_table_test_kit.hpp"

namespace coppice::port {
namespace {

using msg::call_kind;
using test::error_info;
using test::lines;
using test::link_to;
using test::no_arguments;
using test::start_of;
using test::uid_of;

class Dialogs : public test::table_fixture {
 protected:
  void SetUp() override { coppice->peer_announces("credit"); }

  /// A dialog that we open; its reply is noted in replies[name].
  dialog_id open(const test::link& to, const std::string& name, call_kind kind = call_kind::context,
                 stream_window window = {}) {
    const auto id =
        table.open_dialog(to, "mod", name, no_arguments(), kind, window, note(name), out);
    if (!out.sends.empty()) start = std::get<msg::start>(out.sends.back().message);
    settle();
    sent.clear();
    return id;
  }
  /// One that `from` opens, accepted.
  dialog_id accept(const test::link& from, const std::string& cid,
                   call_kind kind = call_kind::context, stream_window window = {},
                   std::optional<msg::stream_credit> credit = {}) {
    msg::start m = start_of(from->peer().name, cid, "mod", "f");
    m.credit = credit;
    deliver(from, std::move(m));
    table.accept_dialog(started.back(), kind, window, out);
    settle();
    events.clear();
    sent.clear();
    return started.back();
  }
  send_outcome send(dialog_id id, const std::string& value) {
    const auto how = table.send(id, to_payload(value), out);
    settle();
    return how;
  }
  std::string taken_from(dialog_id id) {
    const taken t = table.take(id, out);
    settle();
    return t.what == taken::kind::value ? from_payload<std::string>(t.value)
           : t.what == taken::kind::end ? "(end)"
                                        : "(nothing)";
  }
  static msg::yield yield_of(const std::string& cid, const std::string& v) {
    return {cid, to_payload(v)};
  }
  test::link coppice = link_to("coppice");
  msg::start start;  // The last that opened a dialog.
};

// --- the caller's end ----------------------------------------------------------------------------

TEST_F(Dialogs, AContextIsStartedStreamsBothWaysAndEndsWithItsResult) {
  connect(peer);
  const auto id = open(peer, "f");
  const auto cid = start.cid;
  deliver(peer, msg::start_ack{cid, call_kind::context});
  deliver(peer, msg::started{cid, to_payload(7)});
  EXPECT_EQ(take(events), lines{"first word"});
  EXPECT_EQ(send(id, "hello"), send_outcome::sent);
  EXPECT_EQ(take(sent), lines{"peer < Yield " + cid});
  deliver(peer, yield_of(cid, "a"));
  deliver(peer, yield_of(cid, "b"));
  EXPECT_EQ(take(events), lines{"readable"}) << "once: take() says the rest";
  EXPECT_EQ(taken_from(id), "a");
  EXPECT_EQ(taken_from(id), "b");
  EXPECT_EQ(taken_from(id), "(nothing)");
  deliver(peer, msg::returned{cid, to_payload(9)});
  ASSERT_EQ(replies["f"].size(), 1u);
  EXPECT_EQ(from_payload<int>(replies["f"][0].value), 9);
  EXPECT_EQ(taken_from(id), "(end)");
  EXPECT_EQ(send(id, "late"), send_outcome::over);
  table.release(id);
  EXPECT_EQ(taken_from(id), "(end)");
}

TEST_F(Dialogs, ValuesThatCameBeforeTheResultCanStillBeTakenUntilItIsReleased) {
  connect(peer);
  const auto id = open(peer, "f");
  const auto cid = start.cid;
  deliver(peer, yield_of(cid, "a"));
  deliver(peer, msg::returned{cid, payload()});
  EXPECT_EQ(taken_from(id), "a");
  EXPECT_EQ(taken_from(id), "(end)");
  table.release(id);
  deliver(peer, yield_of(cid, "late"));
  deliver(peer, msg::started{cid, payload()});
  EXPECT_TRUE(closes.empty()) << "late is not wrong";
}

TEST_F(Dialogs, AStopThatWasTakenEndsBothDirectionsAndIsNotAnswered) {
  connect(peer);
  const auto id = open(peer, "f");
  const auto cid = start.cid;
  deliver(peer, yield_of(cid, "a"));
  take(events);
  deliver(peer, msg::stop{cid});
  deliver(peer, msg::stop{cid});
  EXPECT_EQ(send(id, "x"), send_outcome::sent) << "it may have crossed the Stop";
  EXPECT_TRUE(sent.empty()) << "and nobody would look at it";
  EXPECT_EQ(taken_from(id), "a");
  EXPECT_EQ(taken_from(id), "(end)");
  EXPECT_EQ(send(id, "x"), send_outcome::stopped);
  table.stop(id, out);
  settle();
  EXPECT_TRUE(sent.empty()) << "who got a Stop sends none";
}

TEST_F(Dialogs, AStopThatLiesUnreadIsAnsweredByOursAlsoBehindTheResult) {
  connect(peer);
  const auto id = open(peer, "f");
  deliver(peer, msg::stop{start.cid});
  deliver(peer, msg::returned{start.cid, payload()});
  table.stop(id, out);
  settle();
  EXPECT_EQ(take(sent), lines{"peer < Stop " + start.cid});
}

TEST_F(Dialogs, AGeneratorCanBeToldThatItIsCancelledAfterItsEndAsTractorDoes) {
  connect(peer);
  const auto id = open(peer, "f", call_kind::asyncgen);
  deliver(peer, msg::stop{start.cid});
  table.cancel_request(id, out);
  settle();
  EXPECT_EQ(take(sent), lines{"peer < Start self:_cancel_task"});
  table.release(id);
  table.cancel_request(id, out);
  settle();
  EXPECT_TRUE(sent.empty());
}

TEST_F(Dialogs, OurStopIsSentOnceAndWhatComesAfterItIsDropped) {
  connect(peer);
  const auto id = open(peer, "f");
  table.stop(id, out);
  table.stop(id, out);
  settle();
  EXPECT_EQ(take(sent), lines{"peer < Stop " + start.cid});
  deliver(peer, yield_of(start.cid, "late"));
  EXPECT_TRUE(sent.empty());
  EXPECT_EQ(taken_from(id), "(nothing)");
  EXPECT_EQ(send(id, "x"), send_outcome::stopped);
}

TEST_F(Dialogs, AGeneratorEndsWithItsStop) {
  connect(peer);
  const auto id = open(peer, "f", call_kind::asyncgen);
  const auto cid = start.cid;
  deliver(peer, msg::start_ack{cid, call_kind::asyncgen});
  deliver(peer, yield_of(cid, "a"));
  EXPECT_TRUE(replies["f"].empty());
  deliver(peer, msg::stop{cid});
  ASSERT_EQ(replies["f"].size(), 1u);
  EXPECT_EQ(replies["f"][0].how, reply::kind::value);
  EXPECT_EQ(taken_from(id), "a");
  EXPECT_EQ(taken_from(id), "(end)");
}

TEST_F(Dialogs, ACancelledGeneratorThatSaysNothingEndsWithTheAcknowledgement) {
  connect(peer);
  const auto id = open(peer, "f", call_kind::asyncgen);
  table.cancel_request(id, out);
  settle();
  EXPECT_TRUE(replies["f"].empty());
  deliver(peer, msg::cancel_ack{cid_of("_cancel_task"), true});
  ASSERT_EQ(replies["f"].size(), 1u);
  EXPECT_EQ(replies["f"][0].error.type, "ContextCancelled");
  EXPECT_EQ(replies["f"][0].error.canceller, test::me);
}

TEST_F(Dialogs, ACalleeOfAnotherKindFailsTheRequestAndIsCancelled) {
  connect(peer);
  const std::pair<call_kind, const char*> kinds[] = {
      {call_kind::asyncfunc, "'mod:f' is a function that is called with run()"},
      {call_kind::asyncgen, "'mod:f' is an async generator: open a stream from it"}};
  for (const auto& [kind, says] : kinds) {
    replies.clear();
    open(peer, "f");
    deliver(peer, msg::start_ack{start.cid, kind});
    EXPECT_EQ(take(sent), lines{"peer < Start self:_cancel_task"});
    ASSERT_EQ(replies["f"].size(), 1u);
    EXPECT_EQ(replies["f"][0].error.type, "TypeError");
    EXPECT_EQ(replies["f"][0].error.message, says);
  }
}

TEST_F(Dialogs, TheEndOfTheConnectionIsTheEndOfBothKindsOfDialog) {
  connect(peer);
  const auto ours = open(peer, "f");
  const auto theirs = accept(peer, "c");
  deliver(peer, yield_of("c", "a"));
  lose(peer);
  EXPECT_EQ(replies["f"].at(0).how, reply::kind::closed);
  EXPECT_EQ(taken_from(ours), "(end)");
  EXPECT_EQ(send(ours, "x"), send_outcome::over);
  EXPECT_EQ(taken_from(theirs), "a") << "it can still be taken";
  EXPECT_EQ(taken_from(theirs), "(end)");
  EXPECT_EQ(send(theirs, "x"), send_outcome::over);
  table.finish(theirs, payload(), out);
  settle();
  EXPECT_TRUE(sent.empty());
}

TEST_F(Dialogs, ASecondFirstWordIsABreach) {
  connect(peer);
  open(peer, "f");
  deliver(peer, msg::started{start.cid, payload()});
  deliver(peer, msg::started{start.cid, payload()});
  EXPECT_EQ(take(closes), lines{"peer: protocol error: a second Started"});
}

// It would give credit that nobody who waits for some is told of.
TEST_F(Dialogs, ASecondStartAckOfAStreamWithCreditIsABreach) {
  connect(coppice);
  open(coppice, "f");
  const msg::start_ack ack{start.cid, call_kind::context, msg::stream_credit{1, 1000}};
  deliver(coppice, ack);
  EXPECT_TRUE(take(closes).empty());
  deliver(coppice, ack);
  EXPECT_EQ(take(closes), lines{"coppice: protocol error: a second StartAck"});
}

// --- the callee's end ----------------------------------------------------------------------------

TEST_F(Dialogs, AServedContextIsAcknowledgedStartedAndFinished) {
  connect(peer);
  deliver(peer, start_of("peer", "c", "mod", "f"));
  const auto id = started[0];
  table.accept_dialog(id, call_kind::context, {}, out);
  table.start_dialog(id, to_payload(1), out);
  settle();
  EXPECT_EQ(send(id, "x"), send_outcome::sent);
  deliver(peer, yield_of("c", "in"));
  EXPECT_EQ(taken_from(id), "in");
  table.finish(id, to_payload(2), out);
  settle();
  EXPECT_EQ(take(sent), (lines{"peer < StartAck c (lazy)", "peer < Started c", "peer < Yield c",
                               "peer < Return c"}));
  deliver(peer, yield_of("c", "late"));
  EXPECT_EQ(taken_from(id), "(end)");
}

TEST_F(Dialogs, AServedGeneratorEndsWithStopAndAnswersWhoCancelledIt) {
  connect(peer);
  const auto id = accept(peer, "c", call_kind::asyncgen);
  deliver(peer, start_of("peer", "k", "self", "_cancel_task", test::arguments("cid", "c")));
  table.finish_stream(id, out);
  settle();
  EXPECT_EQ(take(sent), (lines{"peer < StartAck k", "peer < Stop c", "peer < CancelAck k"}));
  EXPECT_EQ(table.served(), 0u);
}

TEST_F(Dialogs, AnErrorOfTheCallersSideReachesTheCallee) {
  connect(peer);
  accept(peer, "c");
  auto m = msg::to_message(error_info("StreamOverrun", "slow"), "c");
  m.sender = uid_of("me");
  deliver(peer, std::move(m));
  EXPECT_EQ(take(events), lines{"failed"});
  EXPECT_EQ(failures.at(0).sender, uid_of("me"));
}

// --- who did it ----------------------------------------------------------------------------------

TEST_F(Dialogs, ACancellationNamesWhoAskedForIt) {
  connect(peer);
  connect(other);
  const auto by_caller = accept(peer, "c1");
  deliver(peer, start_of("peer", "k", "self", "_cancel_task", test::arguments("cid", "c1")));
  const auto canceller = [&](dialog_id id, remote_error_info e) {
    table.finish(id, std::move(e), out);
    const auto& m = std::get<msg::boxed_error>(out.sends.at(0).message);
    const auto who = m.canceller.value_or(uid{}).name;
    settle();
    return who;
  };
  EXPECT_EQ(canceller(by_caller, error_info("ContextCancelled", "x")), "peer");
  const auto by_itself = accept(peer, "c2");
  EXPECT_EQ(canceller(by_itself, error_info("ContextCancelled", "x")), "me");
  const auto relayed = accept(peer, "c3");
  auto of_another = error_info("ContextCancelled", "x");
  of_another.canceller = uid_of("third");
  EXPECT_EQ(canceller(relayed, of_another), "third");
  const auto with_actor = accept(peer, "c4");
  deliver(other, start_of("other", "k2", "self", "cancel"));
  EXPECT_EQ(canceller(with_actor, error_info("ContextCancelled", "x")), "other");
  EXPECT_EQ(canceller(accept(peer, "c5"), error_info("ValueError", "x")), "");
}

// --- room ----------------------------------------------------------------------------------------

TEST_F(Dialogs, APeerWithoutCreditIsToldOfItsOverrunAndTheDialogGoesOn) {
  connect(peer);
  const auto id = accept(peer, "c", call_kind::context, {.messages = 1});
  deliver(peer, yield_of("c", "a"));
  deliver(peer, yield_of("c", "b"));
  ASSERT_EQ(sent.size(), 1u);
  const auto& m = std::get<msg::boxed_error>(last);
  EXPECT_EQ(m.boxed_type_str, "StreamOverrun");
  EXPECT_EQ(m.sender, uid_of("peer"));
  EXPECT_EQ(m.cid, "c");
  EXPECT_EQ(taken_from(id), "a");
  deliver(peer, yield_of("c", "c"));
  EXPECT_EQ(taken_from(id), "c");
}

TEST_F(Dialogs, BetweenPeersWithCreditASenderWaitsAndIsToldWhenItMayGoOn) {
  connect(coppice);
  const auto id = accept(coppice, "c", call_kind::context, {}, msg::stream_credit{2, 1000});
  EXPECT_EQ(send(id, "1"), send_outcome::sent);
  EXPECT_EQ(send(id, "2"), send_outcome::sent);
  EXPECT_EQ(send(id, "3"), send_outcome::full);
  EXPECT_FALSE(table.peer_opened(id));
  deliver(coppice, msg::credit{"c", 1, 1});
  EXPECT_EQ(take(events), lines{"writable"});
  EXPECT_TRUE(table.peer_opened(id));
  EXPECT_EQ(send(id, "3"), send_outcome::sent);
}

TEST_F(Dialogs, BothSidesTellTheOtherWhatTheyTakeAndGiveItBackAsTheyRead) {
  connect(coppice);
  const auto id = open(coppice, "f", call_kind::context, {.messages = 4, .bytes = 1000});
  EXPECT_EQ(start.credit, (msg::stream_credit{4, 1000}));
  deliver(coppice, msg::start_ack{start.cid, call_kind::context, msg::stream_credit{1, 1000}});
  EXPECT_EQ(send(id, "1"), send_outcome::sent);
  EXPECT_EQ(send(id, "2"), send_outcome::full);
  take(sent);
  table.open_stream(id, {.messages = 4, .bytes = 1000}, false, out);
  settle();
  EXPECT_EQ(take(sent), lines{"coppice < coppice.Credit " + start.cid + " 0"});
  deliver(coppice, yield_of(start.cid, "a"));
  deliver(coppice, yield_of(start.cid, "b"));
  taken_from(id);
  EXPECT_TRUE(sent.empty());
  taken_from(id);
  EXPECT_EQ(take(sent), lines{"coppice < coppice.Credit " + start.cid + " 2"});
}

TEST_F(Dialogs, APeerThatSendsBeyondItsCreditLosesItsLink) {
  connect(coppice);
  accept(coppice, "c", call_kind::context, {.messages = 1}, msg::stream_credit{64, 1000});
  deliver(coppice, yield_of("c", "a"));
  EXPECT_TRUE(closes.empty());
  deliver(coppice, yield_of("c", "b"));
  EXPECT_EQ(take(closes),
            lines{"coppice: protocol error: a value beyond the credit of its stream"});
}

TEST_F(Dialogs, ATractorPeerIsSentNoCreditAndMayNotSendAny) {
  connect(peer);
  const auto id = open(peer, "f");
  EXPECT_FALSE(start.credit);
  table.open_stream(id, {}, false, out);
  deliver(peer, yield_of(start.cid, "a"));
  for (int i = 0; i < 2; ++i) taken_from(id);
  EXPECT_TRUE(sent.empty());
  deliver(peer, msg::credit{start.cid, 1, 1});
  EXPECT_EQ(take(closes),
            lines{"peer: protocol error: a Credit from a peer that did not announce it"});
}

TEST_F(Dialogs, AWaitingSenderIsWokenByEveryEnd) {
  connect(coppice);
  for (int how : {0, 1, 2}) {
    const std::string cid = "c" + std::to_string(how);
    const auto id = accept(coppice, cid, call_kind::context, {}, msg::stream_credit{0, 0});
    EXPECT_EQ(send(id, "x"), send_outcome::full);
    if (how == 0) deliver(coppice, msg::stop{cid});
    if (how == 1) deliver(coppice, msg::credit{cid, 1, 1});
    if (how == 2) lose(coppice);
    EXPECT_TRUE(std::ranges::count(events, "writable")) << how;
  }
}

TEST_F(Dialogs, BytesThatNobodyTakesCostTheLinkAtTheirLimit) {
  table_limits small;
  small.stream_bytes_per_peer_max = 100;
  call_table bounded(test::me, small);
  bounded.connected(peer, out);
  bounded.message(peer, start_of("peer", "c", "mod", "f"), out);
  const auto id = std::get<call_started>(out.events.back()).id;
  bounded.accept_dialog(id, call_kind::context, {}, out);
  const std::string forty(40, 'x');
  for (int i = 0; i < 2; ++i) bounded.message(peer, yield_of("c", forty), out);
  EXPECT_TRUE(out.closes.empty());
  bounded.take(id, out);
  bounded.message(peer, yield_of("c", forty), out);
  EXPECT_TRUE(out.closes.empty()) << "one was taken";
  bounded.message(peer, yield_of("c", forty), out);
  ASSERT_EQ(out.closes.size(), 1u);
  EXPECT_NE(out.closes[0].why.find("stream_bytes_per_peer_max"), std::string::npos);
}

TEST_F(Dialogs, AValueBeyondTheLimitIsRefusedWhereItIsSent) {
  connect(peer);
  const auto id = open(peer, "f");
  EXPECT_THROW(send(id, std::string(2000, 'x')), limit_exceeded);
  EXPECT_EQ(send(id, "x"), send_outcome::sent);
}

TEST_F(Dialogs, ALookSaysItsNameWhetherItIsOverAndWhetherThePeerKnowsCredit) {
  connect(peer);
  connect(coppice);
  const auto id = open(peer, "f");
  ASSERT_TRUE(table.look(id));
  EXPECT_EQ(table.look(id)->cid, start.cid);
  EXPECT_FALSE(table.look(id)->is_over);
  EXPECT_FALSE(table.look(id)->knows_credit);
  deliver(peer, msg::returned{start.cid, payload()});
  ASSERT_TRUE(table.look(id)) << "until it is released";
  EXPECT_TRUE(table.look(id)->is_over);
  table.release(id);
  EXPECT_FALSE(table.look(id));
  const auto served = accept(coppice, "c", call_kind::context, {}, msg::stream_credit{1, 1});
  EXPECT_TRUE(table.look(served)->knows_credit);
}

TEST_F(Dialogs, SeveralValuesAtOnceAreTheSameAsOneAfterTheOther) {
  connect(peer);
  const auto id = accept(peer, "c", call_kind::context);
  std::vector<payload> values = {to_payload(std::string("a")), to_payload(std::string("b"))};
  table.values(peer, "c", std::move(values), out);
  EXPECT_EQ(table.take(id, out).value, to_payload(std::string("a")));
  EXPECT_EQ(table.take(id, out).value, to_payload(std::string("b")));
  table.values(peer, "unknown", {to_payload(1)}, out);
  table.values(other, "c", {to_payload(1)}, out);
  EXPECT_EQ(table.take(id, out).what, taken::kind::nothing);
}

TEST_F(Dialogs, AValueThatIsAdmittedCountsAsSent) {
  connect(coppice);
  const auto id = accept(coppice, "c", call_kind::context, {}, msg::stream_credit{1, 1000});
  const dialog* to = nullptr;
  EXPECT_EQ(table.admit(id, 10, to), send_outcome::sent);
  ASSERT_TRUE(to);
  EXPECT_EQ(to->cid, "c");
  EXPECT_EQ(table.admit(id, 10, to), send_outcome::full);
  EXPECT_FALSE(to);
  deliver(coppice, msg::stop{"c"});
  EXPECT_EQ(table.admit(id, 10, to), send_outcome::sent);
  EXPECT_FALSE(to) << "it is to be dropped";
}

TEST_F(Dialogs, ACidThatIsInUseEitherWayIsABreach) {
  connect(peer);
  open(peer, "f");
  deliver(peer, start_of("peer", start.cid, "mod", "g"));
  EXPECT_EQ(take(closes), lines{"peer: protocol error: call id '" + start.cid + "' twice"});
}

}  // namespace
}  // namespace coppice::port
