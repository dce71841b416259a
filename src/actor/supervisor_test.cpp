// SPDX-License-Identifier: Apache-2.0
#include "actor/supervisor.hpp"  // First: proves the header stands alone.

#include "actor/supervisor_test_kit.hpp"

namespace coppice::tree {
namespace {

using namespace std::chrono_literals;
using test::fake_child;

class Supervisor : public test::supervised {};

// --- starting ------------------------------------------------------------------------------------

TEST_F(Supervisor, AChildIsStartedWhenItIsReadyAndNotBefore) {
  run([&]() -> task<> {
    fake_child* c = co_await start("kid");
    c->connect();
    co_await settle();
    const auto spec = c->port->take();
    EXPECT_TRUE(spec && std::holds_alternative<port::spec_arrived>(*spec)) << "it is told first";
    drain();
    EXPECT_TRUE(order.empty());
    c->ready();
    EXPECT_TRUE(co_await hears("kid", "started"));
    EXPECT_EQ(last.link->peer().name, "kid");
    stop(c);
    co_await settle();
    c->end();
    EXPECT_TRUE(co_await hears("kid", "started ended"));
  });
}

TEST_F(Supervisor, AChildThatIsNotOursIsNotAskedWhetherItIsReady) {
  run([&]() -> task<> {
    fake_child* c = co_await start("a");
    c->spec.self.extensions.reset();
    c->connect();
    co_await settle();
    drain();
    EXPECT_EQ(last.what, port::child_changed::kind::started);
    base::tree_writer asked;
    c->port->describe(asked);
    EXPECT_EQ(asked.text().find("wait_ready"), std::string::npos) << asked.text();
    c->end();
    co_await settle();
  });
}

TEST_F(Supervisor, AChildThatEndsBeforeItConnectsIsAFailedStartAtOnce) {
  run([&]() -> task<> {
    const auto begun = now();
    fake_child* c = co_await start("kid");
    exit_report report;
    report.how = exit_report::cause::exited;
    report.status = 1;
    c->end(report);
    EXPECT_TRUE(co_await hears("kid", "failed"));
    EXPECT_LT(now() - begun, 10ms);
    EXPECT_NE(failure.find("actor 'kid' ended before it was up: exited with status 1"),
              std::string::npos)
        << failure;
    EXPECT_EQ(c->interrupts + c->forces + c->abandons, 0);
  });
}

TEST_F(Supervisor, AChildThatNeverConnectsIsGivenUpAtTheBoundAndStopped) {
  run([&]() -> task<> {
    const auto begun = now();
    fake_child* c = co_await start("kid");
    c->on_interrupt = [](fake_child& me) { me.end(); };
    EXPECT_TRUE(co_await hears("kid", "failed"));
    EXPECT_GE(now() - begun, 5s);
    EXPECT_LT(now() - begun, 5100ms);
    EXPECT_EQ(failure,
              "coppice::timeout_error: actor 'kid' (fake kid) was not up within 5 s: it did "
              "not connect back");
    EXPECT_EQ(c->interrupts, 1);
  });
}

TEST_F(Supervisor, AChildThatIsNeverReadyIsGivenUpAtTheBoundAndAsked) {
  run([&]() -> task<> {
    fake_child* c = co_await start("kid");
    c->connect();
    co_await sleep_for(5001ms);
    EXPECT_TRUE(c->asked());
    c->end();
    EXPECT_TRUE(co_await hears("kid", "failed"));
    EXPECT_NE(failure.find("its modules are still being imported"), std::string::npos) << failure;
  });
}

TEST_F(Supervisor, AChildIsPreparedBeforeItsBackendIsGivenIt) {
  run([&]() -> task<> {
    std::function<void(std::exception_ptr)> done;
    start_request r = request("kid");
    r.prepare = [&](spawn::child_spec& of, std::function<void(std::exception_ptr)> then) {
      of.cwd = "/found";
      done = std::move(then);
    };
    s.start(std::move(r));
    co_await settle();
    EXPECT_TRUE(backend.children.empty());
    std::exchange(done, nullptr)(nullptr);
    co_await settle();
    fake_child* c = backend.children.at("kid").get();
    EXPECT_EQ(c->spec.cwd, "/found");
    c->end();
    EXPECT_TRUE(co_await hears("kid", "failed"));
    EXPECT_TRUE(last.began);
  });
}

TEST_F(Supervisor, AChildThatCannotBePreparedIsAFailedStart) {
  run([&]() -> task<> {
    start_request r = request("kid");
    r.prepare = [](spawn::child_spec&, const std::function<void(std::exception_ptr)>& done) {
      done(std::make_exception_ptr(actor_start_error("no address")));
    };
    s.start(std::move(r));
    EXPECT_TRUE(co_await hears("kid", "failed"));
    EXPECT_NE(failure.find("no address"), std::string::npos) << failure;
    EXPECT_FALSE(last.began);
  });
}

// Such a stop found nothing to stop, and whoever waited for the end waited for ever.
TEST_F(Supervisor, AChildThatIsStoppedWhileItIsPreparedNeverBegins) {
  run([&]() -> task<> {
    std::function<void(std::exception_ptr)> done;
    start_request r = request("kid");
    r.prepare = [&](spawn::child_spec&, std::function<void(std::exception_ptr)> then) {
      done = std::move(then);
    };
    s.start(std::move(r));
    s.stop("uuid-of-kid");
    EXPECT_TRUE(co_await hears("kid", "failed"));
    EXPECT_NE(failure.find("actor 'kid' was stopped before it was up"), std::string::npos)
        << failure;
    EXPECT_FALSE(last.began);
    std::exchange(done, nullptr)(nullptr);  // Too late.
    co_await settle();
    EXPECT_TRUE(backend.children.empty());
  });
}

TEST_F(Supervisor, AChildThatIsNeverPreparedIsGivenUpAtTheBound) {
  run([&]() -> task<> {
    const auto begun = now();
    std::function<void(std::exception_ptr)> done;
    start_request r = request("kid");
    r.prepare = [&](spawn::child_spec&, std::function<void(std::exception_ptr)> then) {
      done = std::move(then);
    };
    s.start(std::move(r));
    EXPECT_TRUE(co_await hears("kid", "failed"));
    EXPECT_GE(now() - begun, 5s);
    EXPECT_NE(failure.find("actor 'kid' was not started within 5 s"), std::string::npos) << failure;
  });
}

TEST_F(Supervisor, AnErrorOfItsImportsIsTheErrorOfTheStart) {
  run([&]() -> task<> {
    fake_child* c = co_await start("kid");
    c->connect();
    remote_error_info e;
    e.type = e.source_type = "ModuleNotFoundError";
    e.message = "no module named 'x'";
    c->port->set_ready(&e);
    co_await settle();
    EXPECT_TRUE(c->asked()) << "it is of no use";
    drain();
    EXPECT_TRUE(order.empty()) << "told when nothing of it is left";
    c->end();
    EXPECT_TRUE(co_await hears("kid", "failed"));
    EXPECT_NE(failure.find("ModuleNotFoundError"), std::string::npos) << failure;
  });
}

// It waited for the whole start_within, 10 s, for a child that had hung up.
TEST_F(Supervisor, AChildThatHangsUpBeforeItIsUpIsAFailedStartSoon) {
  run([&]() -> task<> {
    const auto begun = now();
    fake_child* c = co_await start("kid");
    c->on_interrupt = [](fake_child& me) { me.end(); };
    c->connect();
    co_await settle();
    c->port->close("lost my mind");
    EXPECT_TRUE(co_await hears("kid", "failed"));
    EXPECT_LT(now() - begun, 200ms);
    EXPECT_NE(failure.find("closed its connection before it was up: lost my mind"),
              std::string::npos)
        << failure;
  });
}

TEST_F(Supervisor, AChildThatDiesBeforeItIsUpIsReportedWithItsDeath) {
  run([&]() -> task<> {
    fake_child* c = co_await start("kid");
    c->connect();
    co_await settle();
    c->port->close("reset");
    co_await sleep_for(30ms);
    exit_report report;
    report.how = exit_report::cause::signalled;
    report.status = 11;
    c->end(report);
    EXPECT_TRUE(co_await hears("kid", "failed"));
    EXPECT_NE(failure.find("ended before it was up: killed by"), std::string::npos) << failure;
  });
}

// Its parent heard of an end without a beginning, and start_actor() waited for ever.
TEST_F(Supervisor, AChildThatIsUpTooLateHasFailedToStart) {
  run([&]() -> task<> {
    fake_child* c = co_await start("kid");
    c->connect();
    co_await settle();
    co_await sleep_for(5001ms);  // start_within has passed, the ladder has begun,
    EXPECT_TRUE(c->asked());
    c->ready();  // and the answer to wait_ready comes after all.
    co_await settle();
    c->end();
    EXPECT_TRUE(co_await hears("kid", "failed"));
    EXPECT_NE(failure.find("was not up within 5 s"), std::string::npos) << failure;
  });
}

TEST_F(Supervisor, AStopDuringTheStartEndsIt) {
  run([&]() -> task<> {
    fake_child* early = co_await start("early");
    early->on_interrupt = [](fake_child& me) { me.end(); };
    stop(early);
    EXPECT_TRUE(co_await hears("early", "failed"));
    EXPECT_NE(failure.find("actor 'early' was stopped before it was up"), std::string::npos);

    fake_child* connected = co_await start("connected");
    connected->connect();
    co_await settle();
    stop(connected);
    co_await settle();
    EXPECT_TRUE(connected->asked());
    connected->end();
    EXPECT_TRUE(co_await hears("connected", "failed"));
  });
}

// A thread can only be asked; one that connected a moment after the stop was never asked, and was
// abandoned 3 s later in the best of health.
TEST_F(Supervisor, AChildThatConnectsAfterItsStopIsAskedThen) {
  run([&]() -> task<> {
    fake_child* c = co_await start("kid");
    c->can_interrupt = c->can_force = false;
    stop(c);
    co_await sleep_for(10ms);
    c->connect();
    co_await settle();
    EXPECT_TRUE(c->asked());
    c->end();
    EXPECT_TRUE(co_await hears("kid", "failed"));
    EXPECT_EQ(c->abandons, 0);
    EXPECT_EQ(last.report.rung, rung::asked);
  });
}

// A call whose callee had answered just before its process ended threw actor_died instead, and an
// error that so came back to a cancelled call was lost.
TEST_F(Supervisor, TheEndOfAChildIsReportedBehindWhatItSaidBefore) {
  run([&]() -> task<> {
    fake_child* c = co_await start_up("kid");
    std::exchange(c->observer, nullptr)->ended({});
    co_await sleep_for(50ms);
    drain();
    EXPECT_EQ(order, std::vector<std::string>{"kid started"}) << "its connection is still open";
    c->port->close("end of file");
    co_await settle();
    drain();
    EXPECT_EQ(order, (std::vector<std::string>{"kid started", "kid ended"}));
  });
}

TEST_F(Supervisor, TheEndOfAChildIsReportedAlthoughItsConnectionStays) {
  run([&]() -> task<> {
    fake_child* c = co_await start_up("kid");
    std::exchange(c->observer, nullptr)->ended({});
    const auto begun = now();
    EXPECT_TRUE(co_await hears("kid", "started ended"));
    EXPECT_LE(now() - begun, 101ms);
  });
}

TEST_F(Supervisor, ABackendThatThrowsIsAFailedStart) {
  run([&]() -> task<> {
    backend.refuse = true;
    s.start(request("kid"));
    EXPECT_TRUE(co_await hears("kid", "failed"));
    EXPECT_EQ(failure, "coppice::actor_start_error: no room");
  });
}

// It was told as "OSError: eventfd: Too many open files", and of which actor nobody knew.
TEST_F(Supervisor, AStartForWhichThisProcessLacksSomethingNamesTheActorAndWhatToDo) {
  run([&]() -> task<> {
    backend.at_limit = true;
    s.start(request("kid"));
    EXPECT_TRUE(co_await hears("kid", "failed"));
    EXPECT_NE(failure.find("actor_start_error: actor 'kid' cannot be started: eventfd: Too many "
                           "open files"),
              std::string::npos)
        << failure;
    EXPECT_NE(failure.find("run fewer actors"), std::string::npos) << failure;
  });
}

TEST_F(Supervisor, AStartAfterTheEndIsRefused) {
  run([&]() -> task<> { co_return; });
  auto late = [&]() -> task<> {
    s.start(request("kid"));
    co_await settle();
  };
  loop->run(late());
  drain();
  EXPECT_NE(failure.find("actor 'kid' was not started: the runtime ends"), std::string::npos);
  EXPECT_TRUE(backend.children.empty());
}

TEST_F(Supervisor, APortThatHasClosedGetsNoChildren) {
  run([&]() -> task<> {
    parent->close("over");
    fake_child* c = co_await start("kid");
    c->on_interrupt = [](fake_child& me) { me.end(); };
    EXPECT_TRUE(co_await hears("kid", "failed"));
    EXPECT_NE(failure.find("before it was up: over"), std::string::npos) << failure;
  });
}

// --- living --------------------------------------------------------------------------------------

TEST_F(Supervisor, AnEndThatNobodyAskedForIsReportedAsSuch) {
  run([&]() -> task<> {
    fake_child* c = co_await start_up("kid");
    exit_report report;
    report.how = exit_report::cause::signalled;
    report.status = 9;
    report.detail = "SIGKILL";
    c->end(report);
    EXPECT_TRUE(co_await hears("kid", "started ended"));
    EXPECT_EQ(last.report.rung, rung::none);
    EXPECT_EQ(last.report.status, 9);
    EXPECT_EQ(last.report.detail, "SIGKILL");
    EXPECT_EQ(last.report.took, duration::zero());
    EXPECT_FALSE(last.requested);
  });
}

TEST_F(Supervisor, AChildThatIsLostAndDoesNotEndIsStoppedAfterAMoment) {
  run([&]() -> task<> {
    fake_child* c = co_await start_up("kid");
    const auto begun = now();
    c->on_interrupt = [](fake_child& me) { me.end(); };
    c->port->close("protocol error: nonsense");
    EXPECT_TRUE(co_await hears("kid", "started ended"));
    EXPECT_GE(now() - begun, 50ms);
    EXPECT_LT(now() - begun, 100ms);
    EXPECT_EQ(last.report.rung, rung::interrupted) << "nobody can ask it";
    EXPECT_EQ(last.report.detail, "protocol error: nonsense");
    EXPECT_FALSE(last.requested);
  });
}

TEST_F(Supervisor, AChildThatIsLostBecauseItEndedIsReportedWithItsEnd) {
  run([&]() -> task<> {
    fake_child* c = co_await start_up("kid");
    c->port->close("reset");
    co_await sleep_for(30ms);
    exit_report report;
    report.how = exit_report::cause::exited;
    report.status = 3;
    c->end(report);
    EXPECT_TRUE(co_await hears("kid", "started ended"));
    EXPECT_EQ(last.report.status, 3);
    EXPECT_EQ(last.report.rung, rung::none);
    EXPECT_EQ(c->interrupts, 0);
  });
}

// The request to end went through the parent's port, and so to a loop that was stuck in user code:
// its healthy children were never asked, and abandoned.
class stuck_port final : public port::actor_port {
 public:
  explicit stuck_port(std::shared_ptr<port::guest_port> real)
      : actor_port(real->self()), real_(std::move(real)) {}
  void on_connected(const ipc::link_ptr& l) override { real_->on_connected(l); }
  void on_message(const ipc::link_ptr& l, msg::message&& m, ipc::urgency u) override {
    real_->on_message(l, std::move(m), u);
  }
  void on_closed(const ipc::link_ptr& l, const std::string& why) override {
    real_->on_closed(l, why);
  }
  void adopt(const std::string& uuid, port::child_watch w) override {
    real_->adopt(uuid, std::move(w));
  }
  void request(ipc::link_ptr to, std::string ns, std::string func, payload kwargs,
               port::reply_handler on_reply) override {
    if (!stuck) real_->request(to, ns, func, std::move(kwargs), std::move(on_reply));
  }
  void child_changed(port::child_changed change) override { real_->child_changed(change); }
  void cancel(std::string) override {}
  void close(std::string why) override { real_->close(std::move(why)); }
  void describe(base::tree_writer&) override {}
  bool stuck = false;

 private:
  const std::shared_ptr<port::guest_port> real_;
};

TEST_F(Supervisor, AChildIsAskedThoughItsParentIsStuck) {
  run([&]() -> task<> {
    const auto stuck = std::make_shared<stuck_port>(parent);
    auto r = request("kid");
    r.parent = stuck;
    s.start(std::move(r));
    co_await settle();
    fake_child& c = *backend.children.at("kid");
    c.connect();
    c.ready();
    EXPECT_TRUE(co_await hears("kid", "started"));
    stuck->stuck = true;
    stop(&c);
    co_await settle();
    EXPECT_TRUE(c.asked());
    c.end();
    EXPECT_TRUE(co_await hears("kid", "started ended"));
  });
}

// --- trouble -------------------------------------------------------------------------------------

TEST_F(Supervisor, WhatGoesWrongWithOneChildConcernsNoOther) {
  run([&]() -> task<> {
    fake_child* bad = co_await start_up("bad");
    fake_child* good = co_await start_up("good");
    bad->on_interrupt = [](fake_child&) { throw std::bad_alloc(); };
    stop(bad);
    EXPECT_TRUE(co_await hears("bad", "started ended"));
    EXPECT_EQ(last.report.rung, rung::abandoned);
    EXPECT_EQ(bad->abandons, 1);
    stop(good);
    co_await settle();
    EXPECT_TRUE(good->asked());
    good->end();
    EXPECT_TRUE(co_await hears("good", "started ended"));
    EXPECT_EQ(last.report.rung, rung::asked);
    bad->end();
    co_await settle();
  });
}

// --- descendants ---------------------------------------------------------------------------------

class Descendants : public Supervisor {
 protected:
  start_request request_below(fake_child* above, const std::string& name) {
    start_request r = request(name);
    r.parent = above->port;
    r.spec.parent = above->spec.self;
    r.spec.parent_sink = above->port;
    return r;
  }
  /// Starts a child of another child; its news comes to that one's port.
  task<fake_child*> start_below(fake_child* above, std::string name) {
    s.start(request_below(above, name));
    co_await settle();
    fake_child* c = backend.children.at(name).get();
    c->connect();
    c->ready();
    co_await settle();
    co_return c;
  }
};

TEST_F(Descendants, EndWithTheirAncestorAndBeforeItIsReported) {
  run([&]() -> task<> {
    fake_child* top = co_await start_up("top");
    fake_child* middle = co_await start_below(top, "middle");
    fake_child* leaf = co_await start_below(middle, "leaf");
    top->end();
    co_await settle();
    drain();
    EXPECT_EQ(order, std::vector<std::string>{"top started"}) << "not before its descendants";
    EXPECT_TRUE(middle->asked() || middle->interrupts) << "its link is gone: it is stopped";
    middle->end();
    co_await settle();
    leaf->end();
    EXPECT_TRUE(co_await hears("top", "started ended"));
  });
}

TEST_F(Descendants, OfAStuckActorAreStoppedWhileItsLadderClimbs) {
  run([&]() -> task<> {
    fake_child* top = co_await start_up("top");
    fake_child* below = co_await start_below(top, "below");
    stop(top);
    co_await sleep_for(499ms);
    EXPECT_FALSE(below->asked()) << "that is its parent's business, for as long as it may act";
    co_await sleep_for(2ms);
    EXPECT_TRUE(below->asked());
    below->end();
    EXPECT_TRUE(co_await hears("top", "started ended"));
    EXPECT_EQ(last.report.rung, rung::abandoned);
  });
}

// A start that was under way when its parent ended was not told to stop: its parent's end, and so
// everything above, waited for it for ever.
TEST_F(Descendants, ThatComeWhileTheirParentLeavesAreRefused) {
  run([&]() -> task<> {
    fake_child* top = co_await start_up("top");
    fake_child* slow = co_await start_below(top, "slow");
    top->end();
    co_await settle();
    s.start(request_below(top, "late"));
    co_await settle();
    EXPECT_FALSE(backend.children.contains("late"));
    slow->end();
    EXPECT_TRUE(co_await hears("top", "started ended"));
  });
}

// Code of an abandoned actor that came back could start children that nobody stopped before the end
// of the runtime.
TEST_F(Descendants, OfAnAbandonedActorAreNotStarted) {
  run([&]() -> task<> {
    fake_child* top = co_await start_up("top");
    top->can_interrupt = top->can_force = false;
    stop(top);
    EXPECT_TRUE(co_await hears("top", "started ended"));
    EXPECT_EQ(top->abandons, 1);
    s.start(request_below(top, "late"));
    co_await settle();
    EXPECT_FALSE(backend.children.contains("late"));
  });
}

// Its end is told when its descendants have ended: it had come back by then, which was told first.
TEST_F(Descendants, OfAnAbandonedActorThatComesBackMeanwhileEndBeforeEitherIsTold) {
  run([&]() -> task<> {
    fake_child* top = co_await start_up("top");
    policy.interrupt = policy.total = 10s;
    fake_child* below = co_await start_below(top, "below");
    top->can_interrupt = top->can_force = false;
    stop(top);
    while (top->abandons == 0) co_await sleep_for(1ms);
    top->end();
    co_await settle();
    drain();
    EXPECT_EQ(order, std::vector<std::string>{"top started"});
    below->end();
    EXPECT_TRUE(co_await hears("top", "started ended reclaimed"));
    EXPECT_EQ(last.report.rung, rung::reclaimed);
    EXPECT_EQ(last.report.how, exit_report::cause::returned);
    EXPECT_TRUE(s.quarantined().empty());
  });
}

// --- the end -------------------------------------------------------------------------------------

TEST_F(Supervisor, CloseStopsEveryChildAndTheRunEndsAfterThem) {
  fake_child* a = nullptr;
  run([&]() -> task<> {
    a = co_await start_up("a");
    fake_child* b = co_await start("b");  // Not up yet.
    b->on_interrupt = [](fake_child& me) { me.end(); };
    a->on_interrupt = [](fake_child& me) { me.end(); };
  });
  EXPECT_TRUE(a->asked());
  EXPECT_EQ(order, (std::vector<std::string>{"a started", "b failed", "a ended"}));
  EXPECT_TRUE(last.requested);
}

TEST_F(Supervisor, CloseDoesNotWaitForQuarantine) {
  const auto begun = now();
  run([&]() -> task<> { co_await start_up("kid"); });
  EXPECT_LE(now() - begun, 3s);
  EXPECT_EQ(s.quarantined().size(), 1u);
}

TEST_F(Supervisor, DescribeNamesChildrenAndQuarantine) {
  run([&]() -> task<> {
    fake_child* c = co_await start_up("kid");
    base::tree_writer before, during, after;
    s.describe(before);
    EXPECT_EQ(before.text(), "child 'kid' of 'parent': fake kid\n");
    stop(c);
    co_await settle();
    s.describe(during);
    EXPECT_EQ(during.text(), "child 'kid' of 'parent': fake kid, stopping (asked)\n");
    EXPECT_TRUE(co_await hears("kid", "started ended"));
    s.describe(after);
    EXPECT_EQ(after.text(), "quarantine: 'kid': fake kid\n");
  });
}

}  // namespace
}  // namespace coppice::tree
