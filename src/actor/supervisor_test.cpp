// SPDX-License-Identifier: Apache-2.0
#include "actor/supervisor.hpp"  // First: proves the header stands alone.

#include <gtest/gtest.h>

#include "base/uuid.hpp"
#include "coppice/errors.hpp"
#include "coppice/testkit/fake_clock.hpp"
#include "coppice/time.hpp"
#include "ipc/memory_link.hpp"
#include "port/guest_port.hpp"

namespace coppice::tree {
namespace {

using namespace std::chrono_literals;

msg::aid aid_of(const std::string& name) {
  msg::aid a;
  a.name = name;
  a.uuid = "uuid-of-" + name;
  a.extensions.emplace();
  return a;
}

// A child that does what the test says. Its port is real, and joined to its parent's by memory
// link.
struct fake_child {
  spawn::child_spec spec;
  std::shared_ptr<spawn::child_observer> observer;
  std::shared_ptr<port::guest_port> port;
  bool can_interrupt = true, can_force = true, seen = true;
  int interrupts = 0, forces = 0, abandons = 0, handles = 0;
  std::function<void(fake_child&)> on_interrupt, on_force;

  void connect() { ipc::connect_memory(spec.self, port, spec.parent, spec.parent_sink); }
  void ready() { port->set_ready(); }
  void end(exit_report how = {}) {
    port->close("the actor has ended");
    if (auto o = std::exchange(observer, nullptr)) o->ended(std::move(how));
  }
  /// Was it asked to end, by a message?
  bool asked() {
    for (auto e = port->take(); e; e = port->take())
      if (std::holds_alternative<port::cancel_requested>(*e)) was_asked = true;
    return was_asked;
  }
  bool was_asked = false;
};

class fake_handle final : public spawn::child {
 public:
  explicit fake_handle(std::shared_ptr<fake_child> of) : of_(std::move(of)) { ++of_->handles; }
  ~fake_handle() override { --of_->handles; }
  bool interrupt() override {
    if (!of_->can_interrupt) return false;
    ++of_->interrupts;
    if (of_->on_interrupt) of_->on_interrupt(*of_);
    return true;
  }
  bool force() override {
    if (!of_->can_force) return false;
    ++of_->forces;
    if (of_->on_force) of_->on_force(*of_);
    return true;
  }
  void abandon() override { ++of_->abandons; }
  bool cancel_seen() const override { return of_->seen; }
  std::string describe() const override { return "fake " + of_->spec.self.name; }

 private:
  const std::shared_ptr<fake_child> of_;
};

class fake_backend final : public spawn::backend {
 public:
  std::string_view key() const override { return "fake"; }
  spawn::capabilities can() const override { return {.in_process = true}; }
  std::optional<std::string> refusal(const spawn::child_spec&) override { return std::nullopt; }
  std::unique_ptr<spawn::child> start(const spawn::child_spec& spec,
                                      std::shared_ptr<spawn::child_observer> observer) override {
    if (refuse) throw actor_start_error("no room");
    auto made = std::make_shared<fake_child>();
    made->spec = spec;
    made->observer = std::move(observer);
    made->port = std::make_shared<port::guest_port>(spec.self, port::table_limits{});
    made->port->set_parent(spec.parent.uuid);
    children[spec.self.name] = made;
    if (prepare) prepare(*made);
    return std::make_unique<fake_handle>(made);
  }
  bool refuse = false;
  std::function<void(fake_child&)> prepare;
  std::map<std::string, std::shared_ptr<fake_child>> children;
};

// Everything on one thread and on virtual time: a deadlock aborts with the task tree.
class Supervisor : public testing::Test {
 protected:
  ~Supervisor() override {
    for (auto& [uuid, news] : heard_) {
      const bool once = news == "failed" || news == "started ended";
      EXPECT_TRUE(once || news == "started") << uuid << ": " << news;
    }
    for (auto& [name, c] : backend.children) {
      EXPECT_EQ(c->handles, c->abandons && c->observer ? 1 : 0) << name << "'s handle";
      c->port->close("the test is over");
    }
    parent->close("the test is over");
  }

  template <class Body>
  void run(Body body) {
    auto whole = [&]() -> task<> {
      auto both = [&](nursery& n) -> task<> {
        n.start_soon("supervisor", [](supervisor* s) { return s->run(); }, &s);
        co_await settle();
        co_await body();
        s.close();
      };
      co_await open_nursery(both);
    };
    loop->run(whole());
    drain();
  }
  /// Until everything that follows at once has happened. Takes no virtual time.
  static task<> settle() {
    for (int i = 0; i < 20; ++i) co_await checkpoint();
  }

  start_request request(const std::string& name) {
    start_request r;
    r.parent = parent;
    r.backend = &backend;
    r.spec.self = aid_of(name);
    r.spec.parent = parent->self();
    r.spec.parent_sink = parent;
    r.stop = policy;
    r.start_within = 5s;
    return r;
  }
  task<fake_child*> start(std::string name) {
    s.start(request(name));
    co_await settle();
    co_return backend.children.at(name).get();
  }
  task<fake_child*> start_up(std::string name) {
    fake_child* c = co_await start(std::move(name));
    c->connect();
    c->ready();
    co_await settle();
    drain();
    EXPECT_EQ(last.what, port::child_changed::kind::started);
    co_return c;
  }
  void stop(const fake_child* c, std::optional<stop_policy> p = {}) {
    s.stop(c->spec.self.uuid, p);
  }
  void drain() {
    for (auto e = parent->take(); e; e = parent->take())
      if (auto* c = std::get_if<port::child_changed>(&*e)) {
        static const char* names[] = {"started", "failed", "ended"};
        auto& news = heard_[c->uuid];
        news += (news.empty() ? "" : " ") + std::string(names[static_cast<int>(c->what)]);
        order.push_back(c->uuid.substr(8) + " " + names[static_cast<int>(c->what)]);
        if (c->error) failure = describe_exception(c->error);
        last = std::move(*c);
      }
  }
  /// Waits, at most a minute of virtual time, until a child's news has come.
  task<bool> hears(std::string name, std::string news) {
    for (int i = 0; i < 60'000; ++i) {
      drain();
      if (heard_["uuid-of-" + name] == news) co_return true;
      co_await sleep_for(1ms);
    }
    co_return false;
  }
  time_point now() const { return clock.now(); }

  testkit::fake_clock clock{{.autojump = true}};
  std::shared_ptr<core::loop> loop =
      std::make_shared<core::loop>(core::loop_options{.name = "control", .time = &clock});
  supervisor s{loop};
  fake_backend backend;
  stop_policy policy;
  std::shared_ptr<port::guest_port> parent =
      std::make_shared<port::guest_port>(aid_of("parent"), port::table_limits{});
  port::child_changed last;
  std::string failure;
  std::vector<std::string> order;

 private:
  std::map<std::string, std::string> heard_;
};

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
    co_await sleep_for(50ms);
    exit_report report;
    report.how = exit_report::cause::signalled;
    report.status = 11;
    c->end(report);
    EXPECT_TRUE(co_await hears("kid", "failed"));
    EXPECT_NE(failure.find("ended before it was up: killed by"), std::string::npos) << failure;
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

TEST_F(Supervisor, ABackendThatThrowsIsAFailedStart) {
  run([&]() -> task<> {
    backend.refuse = true;
    s.start(request("kid"));
    EXPECT_TRUE(co_await hears("kid", "failed"));
    EXPECT_EQ(failure, "coppice::actor_start_error: no room");
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
    EXPECT_GE(now() - begun, 100ms);
    EXPECT_LT(now() - begun, 150ms);
    EXPECT_EQ(last.report.rung, rung::interrupted) << "nobody can ask it";
    EXPECT_FALSE(last.requested);
  });
}

TEST_F(Supervisor, AChildThatIsLostBecauseItEndedIsReportedWithItsEnd) {
  run([&]() -> task<> {
    fake_child* c = co_await start_up("kid");
    c->port->close("reset");
    co_await sleep_for(50ms);
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

// --- the ladder ----------------------------------------------------------------------------------

TEST_F(Supervisor, AskingIsEnoughForWhoeverListens) {
  run([&]() -> task<> {
    fake_child* c = co_await start_up("kid");
    stop(c);
    co_await sleep_for(200ms);
    EXPECT_TRUE(c->asked());
    EXPECT_EQ(c->interrupts, 0) << "it has half a second";
    c->end();
    EXPECT_TRUE(co_await hears("kid", "started ended"));
    EXPECT_EQ(last.report.rung, rung::asked);
    EXPECT_TRUE(last.requested);
    EXPECT_GE(last.report.took, 200ms);
    EXPECT_LT(last.report.took, 210ms);
  });
}

// What happened when, in ms since the stop.
struct climbed {
  long interrupt = -1, force = -1, end = -1;
};

class Ladder : public Supervisor {
 protected:
  /// Stops a child that does not listen, and says when each rung was climbed.
  task<climbed> climb(std::function<void(fake_child&)> prepare = {},
                      std::optional<stop_policy> with = {}) {
    fake_child* c = co_await start_up("kid");
    climbed when;
    const auto begun = now();
    const auto ms = [this, begun] { return static_cast<long>((now() - begun) / 1ms); };
    if (prepare) prepare(*c);
    auto on_interrupt = c->on_interrupt, on_force = c->on_force;
    c->on_interrupt = [&when, ms, on_interrupt](fake_child& me) {
      when.interrupt = ms();
      if (on_interrupt) on_interrupt(me);
    };
    c->on_force = [&when, ms, on_force](fake_child& me) {
      when.force = ms();
      if (on_force) on_force(me);
    };
    stop(c, with);
    EXPECT_TRUE(co_await hears("kid", "started ended"));
    EXPECT_TRUE(c->asked()) << "whatever comes after, it is asked first";
    when.end = ms();
    c->on_interrupt = c->on_force = {};
    co_return when;
  }
};

TEST_F(Ladder, EachRungIsClimbedInOrderAtItsBound) {
  run([&]() -> task<> {
    const climbed when = co_await climb();
    EXPECT_EQ(when.interrupt, 500);
    EXPECT_EQ(when.force, 1500);
    EXPECT_EQ(when.end, 2000);
  });
  EXPECT_EQ(last.report.rung, rung::abandoned);
  EXPECT_EQ(last.report.how, exit_report::cause::abandoned);
  EXPECT_EQ(last.report.detail, "fake kid");
  EXPECT_EQ(last.report.took, 2s);
  EXPECT_EQ(s.quarantined().size(), 1u);
}

TEST_F(Ladder, WhoeverIsInterruptedEndsThere) {
  run([&]() -> task<> {
    const climbed when =
        co_await climb([](fake_child& c) { c.on_interrupt = [](fake_child& me) { me.end(); }; });
    EXPECT_EQ(when.interrupt, 500);
    EXPECT_EQ(when.force, -1);
  });
  EXPECT_EQ(last.report.rung, rung::interrupted);
  EXPECT_EQ(s.forced_stops(), 0u);
}

TEST_F(Ladder, WhoeverIsForcedEndsThereAndIsCounted) {
  run([&]() -> task<> {
    const climbed when =
        co_await climb([](fake_child& c) { c.on_force = [](fake_child& me) { me.end(); }; });
    EXPECT_EQ(when.force, 1500);
    EXPECT_LE(when.end, 1502);
  });
  EXPECT_EQ(last.report.rung, rung::forced);
  EXPECT_EQ(s.forced_stops(), 1u);
  EXPECT_TRUE(s.quarantined().empty());
}

TEST_F(Ladder, AGuestThatDoesNotLookIsInterruptedAfterUnseen) {
  run([&]() -> task<> {
    const climbed when = co_await climb([](fake_child& c) { c.seen = false; });
    EXPECT_EQ(when.interrupt, 50);
    EXPECT_EQ(when.force, 1050);
  });
}

TEST_F(Ladder, AWaitThatNoExceptionReachesIsForcedAtOnce) {
  run([&]() -> task<> {
    const climbed when = co_await climb([](fake_child& c) {
      c.on_interrupt = [](fake_child& me) { me.observer->cannot_unwind(); };
    });
    EXPECT_EQ(when.interrupt, 500);
    EXPECT_LE(when.force, 502);
  });
}

TEST_F(Ladder, NativeCodeIsAbandonedAtOnce) {
  run([&]() -> task<> {
    const climbed when = co_await climb([](fake_child& c) {
      c.on_interrupt = [](fake_child& me) { me.observer->in_native_code(); };
    });
    EXPECT_EQ(when.force, -1) << "nothing to be destroyed while it runs";
    EXPECT_LE(when.end, 502);
  });
  EXPECT_EQ(last.report.rung, rung::abandoned);
}

TEST_F(Ladder, NativeCodeThatIsFoundByForcingIsAbandonedAtOnce) {
  run([&]() -> task<> {
    const climbed when = co_await climb(
        [](fake_child& c) { c.on_force = [](fake_child& me) { me.observer->in_native_code(); }; });
    EXPECT_EQ(when.force, 1500);
    EXPECT_LE(when.end, 1502);
  });
}

// A cancelled call may find native code, or a deaf wait, that has long ended when the actor is
// stopped.
TEST_F(Ladder, WhatWasSoBeforeTheStopDoesNotCount) {
  run([&]() -> task<> {
    const climbed when = co_await climb([](fake_child& c) {
      c.observer->in_native_code();
      c.observer->cannot_unwind();
      c.on_force = [](fake_child& me) { me.end(); };
    });
    EXPECT_EQ(when.interrupt, 500);
    EXPECT_EQ(when.force, 1500);
  });
  EXPECT_EQ(last.report.rung, rung::forced);
}

TEST_F(Ladder, WithoutMayForceNothingIsForced) {
  policy.may_force = false;
  run([&]() -> task<> {
    const climbed when = co_await climb();
    EXPECT_EQ(when.force, -1);
    EXPECT_EQ(when.end, 1500);
  });
  EXPECT_EQ(last.report.rung, rung::abandoned);
}

TEST_F(Ladder, AChildWithoutRungsIsWaitedForUntilTheTotal) {
  run([&]() -> task<> {
    const climbed when =
        co_await climb([](fake_child& c) { c.can_interrupt = c.can_force = false; });
    EXPECT_EQ(when.end, 3000);
  });
  EXPECT_EQ(last.report.rung, rung::abandoned);
}

TEST_F(Ladder, ThePolicyOfTheStopReplacesThatOfTheStart) {
  run([&]() -> task<> {
    const stop_policy p{.ask = 100ms, .interrupt = 200ms, .force = 300ms};
    const climbed when = co_await climb({}, p);
    EXPECT_EQ(when.interrupt, 100);
    EXPECT_EQ(when.force, 300);
    EXPECT_EQ(when.end, 600);
  });
}

// SIGKILL was sent and given no time: a process was reported as abandoned, and died a moment later.
TEST_F(Ladder, AShortTotalLeavesEachRungItsShare) {
  policy.total = 400ms;
  run([&]() -> task<> {
    const climbed when = co_await climb([this](fake_child& c) {
      c.on_force = [this](fake_child& me) { loop->post([&me] { me.end(); }); };
    });
    EXPECT_EQ(when.interrupt, 200);
    EXPECT_EQ(when.force, 300);
  });
  EXPECT_EQ(last.report.rung, rung::forced);
}

TEST_F(Ladder, TheTotalIsKept) {
  policy.total = 400ms;
  run([&]() -> task<> {
    const climbed when = co_await climb();
    EXPECT_EQ(when.end, 400);
  });
}

TEST_F(Ladder, AHurryShortensEveryRungButTheLast) {
  run([&]() -> task<> {
    const climbed when = co_await climb([this](fake_child&) { s.hurry(); });
    EXPECT_EQ(when.interrupt, 100);
    EXPECT_EQ(when.force, 200);
    EXPECT_EQ(when.end, 700);
  });
}

TEST_F(Ladder, AHurryInTheMiddleOfARungEndsIt) {
  run([&]() -> task<> {
    auto later = [this]() -> task<> {
      co_await sleep_for(800ms);
      s.hurry();
    };
    climbed when;
    auto both = [&](nursery& n) -> task<> {
      n.start_soon(later);
      when = co_await climb();
    };
    co_await open_nursery(both);
    EXPECT_EQ(when.interrupt, 500);
    EXPECT_EQ(when.force, 800) << "it had been waited for longer than a hurry allows";
    EXPECT_EQ(when.end, 1300);
  });
}

TEST_F(Ladder, InAHurryAChildWithoutRungsIsAskedAllTheSame) {
  run([&]() -> task<> {
    const climbed when = co_await climb([this](fake_child& c) {
      c.can_interrupt = c.can_force = false;
      s.hurry();
    });
    EXPECT_GE(when.end, 100);
    EXPECT_LE(when.end, 202);
  });
}

TEST_F(Ladder, ASecondStopMayShortenTheFirstAndNeverProlongsIt) {
  run([&]() -> task<> {
    auto again = [this]() -> task<> {
      co_await sleep_for(100ms);
      s.stop("uuid-of-kid", stop_policy{.ask = 200ms, .interrupt = 5s, .force = 5s, .total = 9s});
    };
    climbed when;
    auto both = [&](nursery& n) -> task<> {
      n.start_soon(again);
      when = co_await climb();
    };
    co_await open_nursery(both);
    EXPECT_EQ(when.interrupt, 200);
    EXPECT_EQ(when.force, 1200);
    EXPECT_EQ(when.end, 1700);
  });
}

TEST_F(Ladder, AStricterStopMayAllowForce) {
  policy.may_force = false;
  run([&]() -> task<> {
    auto again = [this]() -> task<> {
      co_await sleep_for(100ms);
      s.stop("uuid-of-kid", stop_policy{});
    };
    climbed when;
    auto both = [&](nursery& n) -> task<> {
      n.start_soon(again);
      when = co_await climb();
    };
    co_await open_nursery(both);
    EXPECT_EQ(when.force, 1500);
  });
}

// Each was kept until it was read; 256 of them, and the process aborted.
TEST_F(Ladder, AnyNumberOfNewsIsOneFactEach) {
  run([&]() -> task<> {
    const climbed when = co_await climb([this](fake_child& c) {
      for (int i = 0; i < 1000; ++i) {
        stop(&c);
        s.hurry();
        c.observer->cannot_unwind();
        c.observer->in_native_code();
      }
    });
    EXPECT_GE(when.interrupt, 0);
  });
}

TEST_F(Ladder, AnAbandonedChildThatComesBackLeavesQuarantine) {
  run([&]() -> task<> {
    co_await climb();
    fake_child& c = *backend.children.at("kid");
    EXPECT_EQ(c.abandons, 1);
    EXPECT_EQ(c.handles, 1);
    const auto list = s.quarantined();
    EXPECT_EQ(list.size(), 1u);
    EXPECT_EQ(list.at(0).actor.name, "kid");
    EXPECT_EQ(list.at(0).where, "fake kid");
    c.end();
    co_await settle();
    EXPECT_TRUE(s.quarantined().empty());
    EXPECT_EQ(c.handles, 0);
  });
}

TEST_F(Ladder, ChildrenAreStoppedInParallel) {
  run([&]() -> task<> {
    std::vector<fake_child*> all;
    for (int i = 0; i < 5; ++i) {
      fake_child* c = co_await start_up("kid" + std::to_string(i));
      all.push_back(c);
    }
    const auto begun = now();
    for (auto* c : all) stop(c);
    for (int i = 0; i < 5; ++i)
      EXPECT_TRUE(co_await hears("kid" + std::to_string(i), "started ended"));
    EXPECT_LE(now() - begun, 2010ms);
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
  /// Starts a child of another child; its news comes to that one's port.
  task<fake_child*> start_below(fake_child* above, std::string name) {
    auto r = request(name);
    r.parent = above->port;
    r.spec.parent = above->spec.self;
    r.spec.parent_sink = above->port;
    s.start(std::move(r));
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
    auto r = request("late");
    r.parent = top->port;
    r.spec.parent = top->spec.self;
    r.spec.parent_sink = top->port;
    s.start(std::move(r));
    co_await settle();
    EXPECT_FALSE(backend.children.contains("late"));
    slow->end();
    EXPECT_TRUE(co_await hears("top", "started ended"));
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
