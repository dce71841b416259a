// SPDX-License-Identifier: Apache-2.0
#include "port/call_table.hpp"  // First: proves the header stands alone.

#include "port/call_table_test_kit.hpp"

namespace coppice::port {
namespace {

using test::error_info;
using test::lines;
using test::link;
using test::link_to;
using test::me;
using test::no_arguments;
using test::start_of;
using test::uid_of;

class CallTable : public test::table_fixture {};

// --- calls that it serves ------------------------------------------------------------------------

TEST_F(CallTable, ACallIsAnEventAndIsAnsweredByAnAckAndOneReply) {
  connect(peer);
  deliver(peer, start_of("peer", "c1", "mod", "f"));
  EXPECT_EQ(take(events), lines{"started mod:f by peer"});
  EXPECT_TRUE(sent.empty()) << "what it is, its actor knows";
  EXPECT_EQ(table.served(), 1u);
  table.acknowledge(started[0], msg::call_kind::asyncfunc, out);
  table.acknowledge(started[0], msg::call_kind::asyncfunc, out);
  table.finish(started[0], to_payload(7), out);
  settle();
  EXPECT_EQ(take(sent), (lines{"peer < StartAck c1 (lazy)", "peer < Return c1"}));
  EXPECT_EQ(from_payload<int>(std::get<msg::returned>(last).pld), 7);
  EXPECT_EQ(table.served(), 0u);
}

TEST_F(CallTable, AValueIsAlwaysAcknowledgedFirstAndAnErrorMayComeInsteadOfTheAck) {
  connect(peer);
  deliver(peer, start_of("peer", "c1", "mod", "f"));
  deliver(peer, start_of("peer", "c2", "mod", "no_such"));
  table.finish(started[0], to_payload(1), out);
  table.finish(started[1], error_info("AttributeError", "no"), out);
  settle();
  EXPECT_EQ(take(sent), (lines{"peer < StartAck c1 (lazy)", "peer < Return c1",
                               "peer < Error c2 AttributeError: no"}));
}

TEST_F(CallTable, ACancellationThatOnlyComesThroughACalleeIsAFailure) {
  const uid us{"us", "1"}, callee{"callee", "2"}, further{"further", "3"};
  reply r;
  r.how = reply::kind::error;
  r.error.type = "ContextCancelled";
  r.error.path = {callee};
  r.error.canceller = callee;
  EXPECT_TRUE(r.is_cancellation(us));  // The callee's own, whoever cancelled it.
  r.error.path = {further, callee};
  EXPECT_FALSE(r.is_cancellation(us));
  r.error.canceller = us;
  EXPECT_TRUE(r.is_cancellation(us));  // We had cancelled that one.
  r.error.type = "ValueError";
  EXPECT_FALSE(r.is_cancellation(us));
}

TEST_F(CallTable, TheSameCidOfTwoPeersAreTwoCalls) {
  connect(peer);
  connect(other);
  deliver(peer, start_of("peer", "c", "mod", "f"));
  deliver(other, start_of("other", "c", "mod", "f"));
  table.finish(started[1], to_payload(1), out);
  settle();
  EXPECT_EQ(sent.back(), "other < Return c");
  EXPECT_TRUE(closes.empty());
}

TEST_F(CallTable, ACidMayBeUsedAgainWhenItsCallHasEnded) {
  connect(peer);
  for (int i = 0; i < 2; ++i) {
    deliver(peer, start_of("peer", "c", "mod", "f"));
    table.finish(started.back(), to_payload(1), out);
  }
  settle();
  EXPECT_TRUE(closes.empty());
  EXPECT_NE(started[0], started[1]) << "its own ids are never reused";
}

TEST_F(CallTable, CallsBeyondTheLimitAreRefusedAndTheRestGoesOn) {
  connect(peer);
  connect(other);
  for (int i = 0; i < 4; ++i) deliver(peer, start_of("peer", "c" + std::to_string(i), "mod", "f"));
  EXPECT_EQ(started.size(), 3u);
  EXPECT_EQ(take(sent), lines{"peer < Error c3 LimitExceeded: actor 'me' serves 3 calls of 'peer' "
                              "already (calls_per_peer_max)"});
  deliver(other, start_of("other", "c", "mod", "f"));
  EXPECT_EQ(started.size(), 4u) << "another peer has its own limit";
  table.finish(started[0], to_payload(1), out);
  deliver(peer, start_of("peer", "c4", "mod", "f"));
  EXPECT_EQ(started.size(), 5u) << "one has ended: there is room";
  EXPECT_TRUE(closes.empty());
}

TEST_F(CallTable, AResultThatIsTooLargeIsAnErrorOfTheCall) {
  connect(peer);
  deliver(peer, start_of("peer", "c", "mod", "f"));
  table.finish(started[0], to_payload(std::string(2000, 'x')), out);
  settle();
  EXPECT_EQ(sent, lines{"peer < Error c LimitExceeded: the result takes 2003 bytes; "
                        "payload_bytes_max is 1000"});
}

TEST_F(CallTable, AClosedLinkCancelsWhatWasServedForItAndLateResultsGoNowhere) {
  connect(peer);
  connect(other);
  deliver(peer, start_of("peer", "c1", "mod", "f"));
  deliver(other, start_of("other", "c2", "mod", "f"));
  take(events);
  lose(peer, "reset");
  EXPECT_EQ(take(events), lines{"cancelled 0 its caller's connection closed: reset"});
  EXPECT_TRUE(table.was_cancelled(started[0]));
  EXPECT_FALSE(table.was_cancelled(started[1]));
  table.acknowledge(started[0], msg::call_kind::asyncfunc, out);
  table.finish(started[0], to_payload(1), out);
  settle();
  EXPECT_TRUE(sent.empty());
  deliver(peer, start_of("peer", "c3", "mod", "f"));
  EXPECT_EQ(started.size(), 2u) << "a racing thread's last words";
  lose(peer);
  EXPECT_TRUE(events.empty()) << "once";
}

// --- self.* --------------------------------------------------------------------------------------

TEST_F(CallTable, SelfCancelIsSeenAtOnceAndAcknowledgedWhenEverythingHasEnded) {
  connect(peer);
  connect(other);
  deliver(peer, start_of("peer", "k1", "self", "cancel"));
  EXPECT_EQ(take(sent), lines{"peer < StartAck k1"});
  EXPECT_EQ(take(events), lines{"end: cancelled by 'peer'"});
  deliver(other, start_of("other", "k2", "self", "cancel"));
  take(sent);
  table.acknowledge_cancel(out);
  table.acknowledge_cancel(out);
  settle();
  EXPECT_EQ(take(sent), (lines{"peer < CancelAck k1", "other < CancelAck k2"}));
}

TEST_F(CallTable, CancelTaskCancelsThatCallAndIsAcknowledgedAfterItsEnd) {
  connect(peer);
  deliver(peer, start_of("peer", "c1", "mod", "f"));
  take(events);
  deliver(peer, start_of("peer", "k", "self", "_cancel_task", test::arguments("cid", "c1")));
  EXPECT_EQ(take(events), lines{"cancelled 0 cancelled by its caller 'peer'"});
  EXPECT_EQ(take(sent), lines{"peer < StartAck k"});
  EXPECT_TRUE(table.was_cancelled(started[0]));
  deliver(peer, start_of("peer", "k2", "self", "_cancel_task", test::arguments("cid", "c1")));
  EXPECT_TRUE(take(events).empty()) << "it is told once";
  EXPECT_EQ(take(sent), lines{"peer < StartAck k2"});
  table.finish(started[0], error_info("ContextCancelled", "it was"), out);
  settle();
  EXPECT_EQ(take(sent), (lines{"peer < Error c1 ContextCancelled: it was", "peer < CancelAck k",
                               "peer < CancelAck k2"}));
}

TEST_F(CallTable, AContextCancelledNamesWhoAskedAndOtherErrorsDoNot) {
  connect(peer);
  for (const char* type : {"ContextCancelled", "ValueError"}) {
    deliver(peer, start_of("peer", type, "mod", "f"));
    deliver(peer, start_of("peer", "k", "self", "_cancel_task", test::arguments("cid", type)));
    effects own;
    table.finish(started.back(), error_info(type, "x"), own);
    const auto& e = std::get<msg::boxed_error>(own.sends[0].message);
    EXPECT_EQ(e.canceller.has_value(), type == std::string("ContextCancelled"));
    if (e.canceller) {
      EXPECT_EQ(*e.canceller, uid_of("peer"));
    }
  }
}

TEST_F(CallTable, CancelTaskOfAnUnknownCallIsWhatWasWanted) {
  connect(peer);
  connect(other);
  deliver(other, start_of("other", "c1", "mod", "f"));
  take(events);
  deliver(peer, start_of("peer", "k", "self", "_cancel_task", test::arguments("cid", "c1")));
  EXPECT_EQ(take(sent), (lines{"peer < StartAck k", "peer < CancelAck k"}));
  EXPECT_TRUE(events.empty()) << "another peer's call has the same cid and nothing to do with it";
}

TEST_F(CallTable, CancelTaskWithBadArgumentsIsATypeErrorOfThatRequest) {
  connect(peer);
  const payload bad[] = {no_arguments(), test::arguments("call", "c1"),
                         to_payload(5),  to_payload(std::map<std::string, int>{{"cid", 5}}),
                         payload(),      payload::copy_of({})};
  for (const auto& kwargs : bad) {
    deliver(peer, start_of("peer", "k", "self", "_cancel_task", kwargs));
    ASSERT_EQ(sent.size(), 1u);
    EXPECT_EQ(take(sent)[0].rfind("peer < Error k TypeError: _cancel_task(): ", 0), 0u);
  }
  EXPECT_TRUE(closes.empty());
}

TEST_F(CallTable, AnUnknownMethodIsAnErrorOfThatRequest) {
  connect(peer);
  deliver(peer, start_of("peer", "k", "self", "register_actor"));
  EXPECT_EQ(sent, lines{"peer < Error k AttributeError: an actor's runtime has no method "
                        "'register_actor'"});
  EXPECT_TRUE(closes.empty());
  EXPECT_TRUE(events.empty());
}

TEST_F(CallTable, WaitReadyIsAnsweredWhenItIsAndLaterAtOnce) {
  connect(peer);
  deliver(peer, start_of("peer", "k1", "self", "wait_ready"));
  EXPECT_EQ(take(sent), lines{"peer < StartAck k1"});
  table.set_ready(nullptr, out);
  settle();
  EXPECT_EQ(take(sent), lines{"peer < Return k1"});
  deliver(peer, start_of("peer", "k2", "self", "wait_ready"));
  EXPECT_EQ(take(sent), (lines{"peer < StartAck k2", "peer < Return k2"}));
}

TEST_F(CallTable, AFailedStartIsTheAnswerToWaitReadyAndToEveryCall) {
  connect(peer);
  deliver(peer, start_of("peer", "k1", "self", "wait_ready"));
  take(sent);
  const auto failure = error_info("ModuleNotFoundError", "no module named 'x'");
  table.set_ready(&failure, out);
  settle();
  const std::string said = " ModuleNotFoundError: no module named 'x'";
  EXPECT_EQ(take(sent), lines{"peer < Error k1" + said});
  deliver(peer, start_of("peer", "k2", "self", "wait_ready"));
  EXPECT_EQ(take(sent), (lines{"peer < StartAck k2", "peer < Error k2" + said}));
  deliver(peer, start_of("peer", "c", "mod", "f"));
  EXPECT_EQ(take(sent), lines{"peer < Error c" + said});
  EXPECT_TRUE(events.empty());
  deliver(peer, start_of("peer", "k3", "self", "cancel"));
  EXPECT_EQ(take(events), lines{"end: cancelled by 'peer'"}) << "it can still be ended";
}

TEST_F(CallTable, AskersThatLeaveAreForgotten) {
  connect(peer);
  deliver(peer, start_of("peer", "k1", "self", "wait_ready"));
  deliver(peer, start_of("peer", "k2", "self", "cancel"));
  deliver(peer, start_of("peer", "c", "mod", "f"));
  deliver(peer, start_of("peer", "k3", "self", "_cancel_task", test::arguments("cid", "c")));
  const std::weak_ptr<test::fake_link> seen = peer;
  lose(peer);
  take(sent);
  table.finish(started[0], to_payload(1), out);
  table.set_ready(nullptr, out);
  table.acknowledge_cancel(out);
  settle();
  EXPECT_TRUE(sent.empty());
  peer.reset();
  EXPECT_TRUE(seen.expired()) << "nothing keeps the link";
}

TEST_F(CallTable, RequestsToOurselvesThatWaitHaveALimitToo) {
  connect(peer);
  for (int i = 0; i < 3; ++i)
    deliver(peer,
            start_of("peer", "k" + std::to_string(i), "self", i % 2 ? "cancel" : "wait_ready"));
  take(sent);
  deliver(peer, start_of("peer", "k3", "self", "wait_ready"));
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(take(sent)[0].rfind("peer < Error k3 LimitExceeded: ", 0), 0u);
  table.set_ready(nullptr, out);
  settle();
  take(sent);
  deliver(peer, start_of("peer", "k4", "self", "wait_ready"));
  EXPECT_EQ(take(sent), (lines{"peer < StartAck k4", "peer < Return k4"})) << "there is room again";
}

// --- breaches ------------------------------------------------------------------------------------

TEST_F(CallTable, ABreachCostsItsLinkAndNothingElse) {
  const auto twice = [&](const link& l) {
    deliver(l, start_of("bad", "c", "mod", "f"));
    return start_of("bad", "c", "mod", "g");
  };
  const auto twice_self = [&](const link& l) {
    deliver(l, start_of("bad", "k", "self", "cancel"));
    return start_of("bad", "k", "self", "cancel");
  };
  struct breach {
    std::string said;
    std::function<msg::message(const link&)> commit;
  };
  const breach all[] = {
      {"Start from 'peer' on the connection of 'bad'",
       [](const link&) { return start_of("peer", "c", "mod", "f"); }},
      {"a second Aid", [](const link&) { return msg::aid{}; }},
      {"SpawnSpec from an actor that is not the parent",
       [](const link&) { return msg::spawn_spec{}; }},
      {"call id 'c' twice", twice},
      {"call id 'k' twice", twice_self},
  };
  connect(peer);
  deliver(peer, start_of("peer", "mine", "mod", "f"));
  for (const auto& b : all) {
    const link bad = link_to("bad");
    connect(bad);
    auto m = b.commit(bad);
    take(events);
    const auto before = started.size();
    deliver(bad, std::move(m));
    EXPECT_EQ(take(closes), lines{"bad: protocol error: " + b.said});
    EXPECT_EQ(started.size(), before) << "it was not served";
    EXPECT_TRUE(take(events).empty());
    lose(bad);
  }
  EXPECT_FALSE(table.was_cancelled(started[0]));
}

TEST_F(CallTable, AnErrorWithoutACallCostsItsLink) {
  connect(peer);
  deliver(peer, msg::to_message(error_info("RuntimeError", "lost my mind"), std::nullopt));
  EXPECT_EQ(closes, lines{"peer: its runtime failed: RuntimeError: lost my mind"});
}

TEST_F(CallTable, LateAndStrayMessagesAreDropped) {
  connect(peer);
  for (msg::message m : {msg::message(msg::start_ack{"x"}), msg::message(msg::returned{"x", {}}),
                         msg::message(msg::cancel_ack{"x"}), msg::message(msg::started{"x", {}}),
                         msg::message(msg::yield{"x", {}}), msg::message(msg::stop{"x"}),
                         msg::message(msg::to_message(error_info("E", "e"), "x"))})
    deliver(peer, std::move(m));
  EXPECT_TRUE(events.empty() && sent.empty() && closes.empty());
}

// --- calls that it makes -------------------------------------------------------------------------

TEST_F(CallTable, AReplyGoesToItsHandlerOrComesAsAnEvent) {
  connect(peer);
  call(peer, "f");
  EXPECT_EQ(take(sent), lines{"peer < Start mod:f"});
  EXPECT_EQ(std::get<msg::start>(last).uid, me);
  deliver(peer, msg::start_ack{cid_of("f")});
  EXPECT_TRUE(replies.empty()) << "an ack is no answer";
  deliver(peer, msg::returned{cid_of("f"), to_payload(3)});
  ASSERT_EQ(replies["f"].size(), 1u);
  EXPECT_EQ(replies["f"][0].how, reply::kind::value);
  EXPECT_EQ(from_payload<int>(replies["f"][0].value), 3);

  const auto id = table.request(peer, "mod", "g", no_arguments(), {}, out);
  settle();
  deliver(peer, msg::returned{cid_of("g"), to_payload(4)});
  EXPECT_EQ(events, lines{"reply " + std::to_string(id)});
}

TEST_F(CallTable, ARepliedCallHearsNoSecondReply) {
  connect(peer);
  call(peer, "f");
  for (int i = 0; i < 3; ++i) deliver(peer, msg::returned{cid_of("f"), to_payload(i)});
  deliver(peer, msg::to_message(error_info("E", "e"), cid_of("f")));
  lose(peer);
  table.close("end", out);
  settle();
  EXPECT_EQ(replies["f"].size(), 1u);
}

TEST_F(CallTable, AnErrorArrivesWhole) {
  connect(peer);
  call(peer, "f");
  deliver(peer, msg::to_message(error_info("ValueError", "boom"), cid_of("f")));
  ASSERT_EQ(replies["f"].size(), 1u);
  const reply& r = replies["f"][0];
  EXPECT_EQ(r.how, reply::kind::error);
  EXPECT_EQ(r.error.type, "ValueError");
  EXPECT_THROW(std::rethrow_exception(r.to_exception("peer")), remote_actor_error);
}

TEST_F(CallTable, AReplyOfAnotherPeerIsNotAnAnswer) {
  connect(peer);
  connect(other);
  call(peer, "f");
  deliver(other, msg::returned{cid_of("f"), to_payload(3)});
  EXPECT_TRUE(replies.empty());
}

TEST_F(CallTable, AClosedLinkAnswersEveryCallOnItAndNoOther) {
  connect(peer);
  connect(other);
  call(peer, "f");
  call(peer, "g");
  call(other, "h");
  lose(peer, "reset");
  EXPECT_EQ(replies["f"].size(), 1u);
  EXPECT_EQ(replies["g"].size(), 1u);
  EXPECT_EQ(replies.count("h"), 0u);
  EXPECT_EQ(replies["f"][0].how, reply::kind::closed);
  try {
    std::rethrow_exception(replies["f"][0].to_exception("peer"));
  } catch (const transport_closed& e) {
    EXPECT_STREQ(e.what(), "connection to actor 'peer' closed: reset");
  }
}

TEST_F(CallTable, ACallOverAClosedLinkIsAnsweredAtOnce) {
  connect(peer);
  lose(peer);
  call(peer, "f");
  ASSERT_EQ(replies["f"].size(), 1u);
  EXPECT_EQ(replies["f"][0].how, reply::kind::closed);
  EXPECT_TRUE(sent.empty());
}

TEST_F(CallTable, ArgumentsThatAreTooLargeAreRefusedBeforeAnythingIsSent) {
  connect(peer);
  EXPECT_THROW(
      table.request(peer, "mod", "f", test::arguments("x", std::string(2000, 'x')), note("f"), out),
      limit_exceeded);
  settle();
  EXPECT_TRUE(sent.empty());
  lose(peer);
  EXPECT_TRUE(replies.empty()) << "the exception was the answer";
}

TEST_F(CallTable, CancelRequestAsksOnceAndTheReplyStillComes) {
  connect(peer);
  const auto id = call(peer, "f");
  const std::string cid = cid_of("f");
  take(sent);
  table.cancel_request(id, out);
  table.cancel_request(id, out);
  settle();
  EXPECT_EQ(take(sent), lines{"peer < Start self:_cancel_task"});
  EXPECT_EQ((from_payload<std::map<std::string, std::string>>(std::get<msg::start>(last).kwargs)),
            (std::map<std::string, std::string>{{"cid", cid}}));
  deliver(peer, msg::to_message(error_info("ContextCancelled", "x"), cid));
  deliver(peer, msg::cancel_ack{cid_of("_cancel_task")});
  ASSERT_EQ(replies["f"].size(), 1u) << "the acknowledgement comes behind it and adds nothing";
  EXPECT_EQ(replies["f"][0].error.message, "x");
  table.cancel_request(id, out);
  settle();
  EXPECT_TRUE(sent.empty()) << "nothing to cancel any more";
}

// A tractor peer says no more of a call that was cancelled than that it was.
TEST_F(CallTable, ACancelledCallWhoseCalleeSaysNothingEndsWithTheAcknowledgement) {
  connect(peer);
  table.cancel_request(call(peer, "f"), out);
  settle();
  EXPECT_TRUE(replies.empty());
  deliver(peer, msg::cancel_ack{cid_of("_cancel_task")});
  ASSERT_EQ(replies["f"].size(), 1u);
  EXPECT_EQ(replies["f"][0].error.type, "ContextCancelled");
  EXPECT_EQ(replies["f"][0].error.canceller, test::me);
}

TEST_F(CallTable, AForgottenCallHearsNothing) {
  connect(peer);
  const auto id = call(peer, "f");
  table.forget(id);
  table.forget(id);
  deliver(peer, msg::returned{cid_of("f"), to_payload(3)});
  lose(peer);
  table.close("end", out);
  settle();
  EXPECT_TRUE(replies.empty());
  EXPECT_TRUE(events.empty());
}

TEST_F(CallTable, ACalleeThatIsADialogIsAnErrorAndIsCancelled) {
  for (const auto& [kind, text] : std::map<msg::call_kind, std::string>{
           {msg::call_kind::context, "a context: open it with open_context()"},
           {msg::call_kind::asyncgen, "an async generator: open a stream from it"}}) {
    const link l = link_to("peer");
    connect(l);
    call(l, "f");
    take(sent);
    deliver(l, msg::start_ack{cid_of("f"), kind});
    EXPECT_EQ(take(sent), lines{"peer < Start self:_cancel_task"});
    ASSERT_EQ(replies["f"].size(), 1u);
    EXPECT_EQ(replies["f"][0].error.type, "TypeError");
    EXPECT_EQ(replies["f"][0].error.message, "'mod:f' is " + text);
    deliver(l, msg::started{cid_of("f"), {}});
    deliver(l, msg::returned{cid_of("f"), {}});
    EXPECT_EQ(replies["f"].size(), 1u);
    replies.clear();
  }
}

TEST_F(CallTable, LinksAreClosedInTheOrderInWhichTheyConnected) {
  std::vector<link> links;  // Enough that their addresses are not in that order by chance.
  lines expected;
  for (int i = 0; i < 20; ++i) {
    links.push_back(link_to("p" + std::to_string(i)));
    expected.push_back("p" + std::to_string(i) + ": over");
  }
  for (const link& l : links) connect(l);
  table.close("over", out);
  settle();
  EXPECT_EQ(take(closes), expected);
}

TEST_F(CallTable, DescribeNamesCallsBothWays) {
  connect(peer);
  deliver(peer, start_of("peer", "c", "mod", "served"));
  deliver(peer, start_of("peer", "k", "self", "_cancel_task", test::arguments("cid", "c")));
  const auto id = call(peer, "made");
  table.cancel_request(id, out);
  base::tree_writer w;
  table.describe(w);
  EXPECT_NE(w.text().find("serves mod:served for 'peer' (cancelled)"), std::string::npos)
      << w.text();
  EXPECT_NE(w.text().find("waits for mod:made of 'peer' (cancel sent)"), std::string::npos)
      << w.text();
}

}  // namespace
}  // namespace coppice::port
