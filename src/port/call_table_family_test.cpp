// SPDX-License-Identifier: Apache-2.0
// A call table's parent and children, and its end.
#include "port/call_table_test_kit.hpp"

namespace coppice::port {
namespace {

using test::lines;
using test::link;
using test::link_to;
using test::uid_of;

// --- parent and children -------------------------------------------------------------------------

class Family : public test::table_fixture {
 protected:
  void adopt(const std::string& name) {
    table.adopt(
        uid_of(name).uuid,
        {.on_connected =
             [this, name](ipc::link_ptr l) {
               news.push_back(name + " connected as " + l->peer().name);
             },
         .on_lost = [this, name](std::string why) { news.push_back(name + " lost: " + why); }},
        out);
    settle();
  }
  void end(const std::string& name, int status = 9) {
    exit_report report;
    report.how = exit_report::cause::signalled;
    report.status = status;
    table.child_ended(uid_of(name).uuid, report, out);
    settle();
  }
  void give_up(const std::string& name, const std::string& why) {
    table.child_lost(uid_of(name).uuid, why, out);
    settle();
  }
  lines news;
  link child = link_to("child"), parent = link_to("parent");
};

TEST_F(Family, AnAdoptedChildsConnectAndLossAreToldOnceEach) {
  adopt("child");
  connect(other);
  EXPECT_TRUE(news.empty());
  connect(child);
  EXPECT_EQ(take(news), lines{"child connected as child"});
  const link again = link_to("child");
  connect(again);
  lose(again);
  EXPECT_TRUE(news.empty()) << "a second connection of a child is a peer like any";
  lose(child, "reset");
  EXPECT_EQ(take(news), lines{"child lost: reset"});
  lose(child, "reset");
  EXPECT_TRUE(news.empty());
}

TEST_F(Family, CallsToAChildThatIsLostWaitForItsReport) {
  adopt("child");
  connect(child);
  call(child, "before");
  lose(child);
  call(child, "after");
  EXPECT_TRUE(replies.empty()) << "'closed' says too little: the report is coming";
  end("child");
  for (const char* name : {"before", "after"}) {
    ASSERT_EQ(replies[name].size(), 1u) << name;
    EXPECT_EQ(replies[name][0].how, reply::kind::died);
    EXPECT_EQ(replies[name][0].report.status, 9);
    EXPECT_THROW(std::rethrow_exception(replies[name][0].to_exception("child")), actor_died);
  }
  call(child, "late");
  EXPECT_EQ(replies["late"][0].how, reply::kind::closed);
}

TEST_F(Family, CallsToAChildThatIsGivenUpAreAnsweredWithoutItsReport) {
  adopt("child");
  connect(child);
  call(child, "before");
  lose(child);
  EXPECT_TRUE(replies.empty());
  give_up("child", "the peer has been silent");
  call(child, "after");
  for (const char* name : {"before", "after"}) {
    ASSERT_EQ(replies[name].size(), 1u) << name;
    EXPECT_EQ(replies[name][0].how, reply::kind::closed);
  }
  end("child");
  EXPECT_EQ(replies["before"].size(), 1u) << "once";
}

TEST_F(Family, AReportThatComesBeforeTheLossAnswersCallsAndClosesTheLink) {
  adopt("child");
  connect(child);
  call(child, "f");
  end("child");
  EXPECT_EQ(replies["f"].size(), 1u);
  EXPECT_EQ(replies["f"][0].how, reply::kind::died);
  ASSERT_EQ(closes.size(), 1u);
  EXPECT_EQ(closes[0].rfind("child: the actor has ended: killed by", 0), 0u) << closes[0];
  call(child, "g");
  EXPECT_EQ(replies.count("g"), 0u) << "its link is still open: the loss will answer";
  lose(child);
  EXPECT_EQ(replies["f"].size(), 1u);
  EXPECT_EQ(replies["g"].size(), 1u);
  EXPECT_TRUE(std::ranges::count(news, "child lost: gone") == 0) << "nobody watches any more";
}

TEST_F(Family, AChildThatNeverConnectedLeavesNothing) {
  auto watched = std::make_shared<int>(0);
  const std::weak_ptr<int> seen = watched;
  table.adopt(uid_of("child").uuid, {.on_connected = [watched](ipc::link_ptr) {}, .on_lost = {}},
              out);
  watched.reset();
  end("child");
  EXPECT_TRUE(seen.expired());
  end("child");
  end("nobody");
  EXPECT_TRUE(closes.empty());
}

TEST_F(Family, TheParentsSpecIsTakenOnce) {
  table.set_parent(uid_of("parent").uuid);
  connect(parent);
  EXPECT_EQ(table.parent_link(), parent);
  deliver(parent, msg::spawn_spec{});
  EXPECT_EQ(take(events), lines{"spec"});
  deliver(parent, msg::spawn_spec{});
  EXPECT_EQ(closes, lines{"parent: protocol error: a second SpawnSpec"});
  EXPECT_TRUE(events.empty());
}

TEST_F(Family, TheParentMayBecomeKnownAfterItConnected) {
  connect(parent);
  EXPECT_EQ(table.parent_link(), nullptr);
  table.set_parent(uid_of("parent").uuid);
  EXPECT_EQ(table.parent_link(), parent);
  deliver(parent, msg::spawn_spec{});
  EXPECT_EQ(events, lines{"spec"});
}

TEST_F(Family, TheLossOfTheParentAsksTheActorToEnd) {
  table.set_parent(uid_of("parent").uuid);
  connect(parent);
  connect(other);
  lose(other);
  EXPECT_TRUE(events.empty());
  lose(parent, "reset");
  EXPECT_EQ(events, lines{"orphaned: its parent's connection closed: reset"});
  EXPECT_EQ(table.parent_link(), nullptr);
}

// A parent opens and closes further connections, to look something up: that is no loss.
TEST_F(Family, ASecondConnectionOfTheParentIsNotTheOneThatCounts) {
  table.set_parent(uid_of("parent").uuid);
  connect(parent);
  const link second = link_to("parent");
  connect(second);
  deliver(second, msg::spawn_spec{});
  EXPECT_EQ(closes.size(), 1u) << "nor may it give orders";
  lose(second);
  EXPECT_TRUE(events.empty());
  EXPECT_EQ(table.parent_link(), parent);
}

// A root has no parent, and a peer without a uuid was taken for it: its hanging up ended the tree.
TEST_F(Family, TheCallsOfAParentThatDoesNotAskWaitUntilItIsReady) {
  table.set_parent(uid_of("parent").uuid);
  connect(parent);
  connect(other);
  deliver(parent, test::start_of("parent", "k1", "mod", "f"));
  deliver(parent, test::start_of("parent", "k2", "mod", "g"));
  EXPECT_TRUE(sent.empty() && events.empty());
  deliver(other, test::start_of("other", "k1", "mod", "h"));
  EXPECT_EQ(take(events), lines{"started mod:h by other"}) << "who found us may call us";
  table.set_ready(nullptr, out);
  settle();
  EXPECT_EQ(take(events), (lines{"started mod:f by parent", "started mod:g by parent"}));
}

TEST_F(Family, TheEarlyCallsOfALostParentAreDropped) {
  table.set_parent(uid_of("parent").uuid);
  connect(parent);
  deliver(parent, test::start_of("parent", "k1", "mod", "f"));
  lose(parent);
  take(events);
  table.set_ready(nullptr, out);
  settle();
  EXPECT_TRUE(sent.empty() && events.empty());
}

TEST_F(Family, AFailedStartIsSaidOfTheConnectionToAParentThatDoesNotAsk) {
  table.set_parent(uid_of("parent").uuid);
  connect(parent);
  parent->peer_announces("credit");
  remote_error_info failure;
  failure.type = failure.source_type = "ImportError";
  failure.message = "no such module";
  table.set_ready(&failure, out);
  settle();
  EXPECT_TRUE(sent.empty() && events.empty()) << "one of ours asks";
  const link tractors = link_to("tractors");
  table.set_parent(uid_of("tractors").uuid);
  lose(parent);
  connect(tractors);
  take(events);
  table.set_ready(&failure, out);
  settle();
  const auto& error = std::get<msg::boxed_error>(last);
  EXPECT_EQ(error.cid, std::nullopt);
  EXPECT_EQ(error.boxed_type_str, "ImportError");
  EXPECT_EQ(take(events), lines{"end: it cannot serve: no such module"});
}

TEST_F(Family, APeerWithoutAUuidIsNobodysParent) {
  const link nameless = link_to("nameless");
  nameless->set_peer_uuid("");
  connect(nameless);
  deliver(nameless, msg::spawn_spec{});
  lose(nameless);
  EXPECT_TRUE(events.empty());
  table.set_parent("");
  connect(nameless);
  EXPECT_EQ(table.parent_link(), nullptr);
}

// --- the end -------------------------------------------------------------------------------------

TEST_F(Family, CloseEndsEveryLinkAnswersEveryCallAndTellsWhoWatches) {
  adopt("child");
  adopt("unborn");
  connect(child);
  connect(peer);
  call(child, "f");
  call(peer, "g");
  news.clear();
  table.close("over", out);
  settle();
  std::ranges::sort(closes);
  EXPECT_EQ(take(closes), (lines{"child: over", "peer: over"}));
  EXPECT_EQ(replies["f"].size(), 1u);
  EXPECT_EQ(replies["g"].size(), 1u);
  EXPECT_EQ(replies["g"][0].how, reply::kind::closed);
  EXPECT_EQ(replies["g"][0].why, "over");
  std::ranges::sort(news);
  EXPECT_EQ(take(news), (lines{"child lost: over", "unborn lost: over"}));
  lose(child);
  lose(peer);
  EXPECT_TRUE(news.empty());
  EXPECT_EQ(replies["f"].size(), 1u);
}

TEST_F(Family, AfterTheEndWhatConnectsOrIsAdoptedIsTurnedAway) {
  table.close("over", out);
  connect(peer);
  EXPECT_EQ(take(closes), lines{"peer: over"});
  lose(peer);
  adopt("child");
  EXPECT_EQ(take(news), lines{"child lost: over"});
  call(peer, "f");
  EXPECT_EQ(replies["f"].size(), 1u);
}

}  // namespace
}  // namespace coppice::port
