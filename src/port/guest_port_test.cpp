// SPDX-License-Identifier: Apache-2.0
#include "port/guest_port.hpp"  // First: proves the header stands alone.

#include <gtest/gtest.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>

#include <set>

#include "base/thread.hpp"
#include "port/port_test_kit.hpp"

namespace coppice::port {
namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;
using test::link_to;
using test::start_of;
using test::uid_of;

constexpr duration patience = 10s;  // A wait that takes so long was not woken.

msg::aid my_aid() {
  msg::aid a;
  a.name = test::me.name;
  a.uuid = test::me.uuid;
  return a;
}

class GuestPort : public testing::Test {
 protected:
  GuestPort() { port->on_connected(peer); }

  void start(const std::string& cid) {
    port->on_message(peer, start_of("peer", cid, "mod", "f"), {});
  }
  void cancel_call(const std::string& cid) {
    port->on_message(
        peer, start_of("peer", "k" + cid, "self", "_cancel_task", test::arguments("cid", cid)), {});
  }
  /// Takes an event of one kind; fails the test if it is another.
  template <class E>
  E take() {
    auto e = port->take();
    if (!e || !std::holds_alternative<E>(*e)) {
      ADD_FAILURE() << (e ? "an event of another kind: " + std::to_string(e->index()) : "no event");
      return {};
    }
    return std::get<E>(std::move(*e));
  }
  bool rings() const {
    pollfd p{port->wake_fd(), POLLIN, 0};
    return ::poll(&p, 1, 0) == 1;
  }
  std::vector<std::string> sent() {
    std::vector<std::string> out;
    for (auto& [m, u] : peer->take_sent()) out.push_back(test::line(m));
    return out;
  }

  std::shared_ptr<guest_port> port = std::make_shared<guest_port>(my_aid(), table_limits{});
  std::shared_ptr<test::fake_link> peer = link_to("peer");
};

// --- events --------------------------------------------------------------------------------------

TEST_F(GuestPort, EventsAreTakenInTheOrderOfDelivery) {
  EXPECT_FALSE(port->take());
  start("c1");
  port->cancel("why");
  start("c2");
  EXPECT_EQ(take<call_started>().caller.name, "peer");
  EXPECT_EQ(take<cancel_requested>().why, "why");
  take<call_started>();
  EXPECT_FALSE(port->take());
}

TEST_F(GuestPort, AnswersGoOutAsTheTableSays) {
  start("c1");
  const auto id = take<call_started>().id;
  port->acknowledge(id, msg::call_kind::asyncfunc);
  port->finish(id, to_payload(1));
  start("c2");
  port->finish(take<call_started>().id, test::error_info("ValueError", "boom"));
  EXPECT_EQ(sent(),
            (std::vector<std::string>{"StartAck c1", "Return c1", "Error c2 ValueError: boom"}));
  port->on_message(peer, start_of("peer", "k", "self", "cancel"), {});
  port->on_message(peer, start_of("peer", "w", "self", "wait_ready"), {});
  port->set_ready();
  port->acknowledge_cancel();
  EXPECT_EQ(sent(),
            (std::vector<std::string>{"StartAck k", "StartAck w", "Return w", "CancelAck k"}));
}

TEST_F(GuestPort, ARequestOfOthersIsAnsweredWithoutTheGuest) {
  std::vector<reply> heard;
  port->request(peer, "self", "cancel", test::no_arguments(), [&](reply&& r) {
    port->parent_link();  // Without any lock: it may call back.
    heard.push_back(std::move(r));
  });
  const auto out = peer->take_sent();
  ASSERT_EQ(out.size(), 1u);
  port->on_message(peer, msg::cancel_ack{*msg::cid_of(out[0].first)}, {});
  ASSERT_EQ(heard.size(), 1u);
  EXPECT_EQ(heard[0].how, reply::kind::value);
  EXPECT_FALSE(port->take());
}

TEST_F(GuestPort, ItsOwnCallsAreAnsweredByEvents) {
  const auto one = port->call(peer, "mod", "f", test::no_arguments());
  const auto two = port->call(peer, "mod", "g", test::no_arguments());
  port->cancel_request(one);
  port->forget(two);
  port->on_closed(peer, "gone");
  EXPECT_EQ(take<reply_arrived>().id, one);
  EXPECT_FALSE(port->take());
}

TEST_F(GuestPort, AChildsRequestsAreAnsweredBeforeItsEndIsToldWhetherItWasUpOrNot) {
  for (auto what : {child_changed::kind::ended, child_changed::kind::start_failed}) {
    const auto child = link_to("child");
    port->adopt(uid_of("child").uuid, {});
    port->on_connected(child);
    const auto id = port->call(child, "mod", "f", test::no_arguments());
    port->on_closed(child, "gone");
    EXPECT_FALSE(port->take()) << "the report is still to come";
    child_changed change;
    change.what = what;
    change.uuid = uid_of("child").uuid;
    port->child_changed(std::move(change));
    const auto answer = take<reply_arrived>();
    EXPECT_EQ(answer.id, id);
    EXPECT_EQ(answer.result.how, reply::kind::died);
    EXPECT_EQ(take<child_changed>().what, what);
  }
}

// A failed start kept the watch, the watch its supervisor's record, and the record this port.
TEST_F(GuestPort, AChildThatCouldNotBeStartedLeavesNothing) {
  const std::weak_ptr<guest_port> seen = port;
  port->adopt("u", {.on_connected = [port = port](ipc::link_ptr) {}, .on_lost = {}});
  child_changed change;
  change.what = child_changed::kind::start_failed;
  change.uuid = "u";
  port->child_changed(std::move(change));
  take<child_changed>();
  port.reset();
  EXPECT_TRUE(seen.expired());
}

TEST_F(GuestPort, CloseEndsItsLinksAndCompletesItsWaits) {
  const auto id = port->call(peer, "mod", "f", test::no_arguments());
  port->close("over");
  EXPECT_EQ(peer->closed(), std::vector<std::string>{"over"});
  EXPECT_EQ(take<reply_arrived>().id, id);
}

// A memory link delivers in send(): what it leads to comes back to the same port, on this thread.
class echo_link final : public ipc::link {
 public:
  explicit echo_link(std::weak_ptr<guest_port> p) : port_(std::move(p)) {
    peer_.name = "peer";
    peer_.uuid = uid_of("peer").uuid;
  }
  void send(msg::message m, ipc::urgency) override {
    if (const auto* s = std::get_if<msg::start>(&m))
      port_.lock()->on_message(shared_from_this(), msg::returned{s->cid, {}}, {});
  }
  void close(std::string why) override { port_.lock()->on_closed(shared_from_this(), why); }
  bool is_local() const noexcept override { return true; }
  std::string describe() const override { return "echo"; }

 private:
  const std::weak_ptr<guest_port> port_;
};

TEST_F(GuestPort, DeliveriesMayComeBackWhileItSends) {
  const auto echo = std::make_shared<echo_link>(port);
  port->on_connected(echo);
  const auto id = port->call(echo, "mod", "f", test::no_arguments());
  EXPECT_EQ(take<reply_arrived>().id, id);
  const auto other = port->call(echo, "mod", "g", test::no_arguments());
  EXPECT_EQ(take<reply_arrived>().id, other);
  port->close("over");
}

// --- sleeping ------------------------------------------------------------------------------------

TEST_F(GuestPort, WaitReturnsAtOnceIfSomethingIsThere) {
  start("c");
  const auto begun = steady_clock::now();
  port->wait(patience);
  EXPECT_LT(steady_clock::now() - begun, 5s);
}

TEST_F(GuestPort, WaitReturnsAtItsBoundAlsoAtOneThatHasPassed) {
  const auto begun = steady_clock::now();
  port->wait(5ms);
  EXPECT_GE(steady_clock::now() - begun, 5ms);
  port->wait(0ms);
  port->wait(-1s);
  EXPECT_LT(steady_clock::now() - begun, 5s);
}

TEST_F(GuestPort, WaitEndsWithTheNextEventOfAnyThread) {
  base::os_thread other("other", [&] {
    ::usleep(2000);  // tidy: allow sleep: so that the wait has begun; either way it must end
    port->cancel("why");
  });
  const auto begun = steady_clock::now();
  while (!port->take()) port->wait(patience);
  EXPECT_LT(steady_clock::now() - begun, 5s);
  other.join();
}

TEST_F(GuestPort, ASignalEndsAWait) {
  struct sigaction before{}, nothing{};
  nothing.sa_handler = [](int) {};
  ::sigaction(SIGUSR2, &nothing, &before);
  std::atomic<bool> woken{false};
  base::os_thread guest("guest", [&] {
    port->wait(patience);
    woken = true;
  });
  const auto begun = steady_clock::now();
  while (!woken && steady_clock::now() - begun < 5s) {
    ::pthread_kill(guest.native(), SIGUSR2);
    ::sched_yield();
  }
  EXPECT_TRUE(woken);
  guest.join();
  ::sigaction(SIGUSR2, &before, nullptr);
}

TEST_F(GuestPort, TheDescriptorRingsOnlyForAGuestThatSaidItSleeps) {
  start("c1");
  EXPECT_FALSE(rings());
  EXPECT_FALSE(port->prepare_to_sleep()) << "something is there";
  start("c2");
  EXPECT_FALSE(rings());
  while (port->take()) {
  }
  EXPECT_TRUE(port->prepare_to_sleep());
  EXPECT_FALSE(rings());
  start("c3");
  EXPECT_TRUE(rings());
  EXPECT_FALSE(port->prepare_to_sleep());
  EXPECT_FALSE(rings()) << "it has been heard";
}

// The ring of a nudge was cleared by a guest that was just going to sleep, which then slept on.
TEST_F(GuestPort, ANudgeIsNeverLost) {
  port->nudge();
  const auto begun = steady_clock::now();
  port->wait(patience);
  EXPECT_LT(steady_clock::now() - begun, 5s);
  port->nudge();
  EXPECT_FALSE(port->prepare_to_sleep()) << "look again first";
  EXPECT_TRUE(port->prepare_to_sleep());
  port->nudge();
  EXPECT_TRUE(rings());
}

TEST_F(GuestPort, ALookFindsWhatIsThereAndNudges) {
  EXPECT_TRUE(port->pays_to_look()) << "it is not asleep: look() says whether it may sleep";
  start("c1");
  EXPECT_TRUE(port->look());
  while (port->take()) {
  }
  port->nudge();
  EXPECT_TRUE(port->look());
  EXPECT_FALSE(port->look()) << "it has been heard";
}

// A signal handler that raises takes the loop out of its wait, and it waits again without a take().
TEST_F(GuestPort, WhatALookFoundIsFoundAgainIfNobodyTookIt) {
  start("c1");
  EXPECT_TRUE(port->look());
  EXPECT_FALSE(rings());
  EXPECT_TRUE(port->pays_to_look() && port->look());
}

// Said by an event loop before it waits for the descriptor.
TEST_F(GuestPort, AfterALookInVainTheDescriptorRings) {
  EXPECT_FALSE(port->look());
  start("c1");
  EXPECT_TRUE(rings());
}

// One delivers as soon as the last event was taken.
TEST_F(GuestPort, AGuestThatIsAnsweredAtOnceLooksAndNobodyRings) {
  if (::sysconf(_SC_NPROCESSORS_ONLN) < 2) GTEST_SKIP() << "with one processor nobody looks";
  std::atomic<int> taken{0};
  std::atomic<bool> enough{false};
  base::os_thread answers("answers", [&] {
    for (int given = 0; !enough;) {
      if (taken != given) continue;
      ++given;
      port->cancel("x");
    }
  });
  for (bool found = false; !found;) {
    while (port->take()) ++taken;
    if (!port->prepare_to_sleep()) continue;
    found = port->pays_to_look() && port->look() && !rings();
    pollfd p{port->wake_fd(), POLLIN, 0};
    if (!found) ::poll(&p, 1, 1'000);
  }
  enough = true;
  answers.join();
}

TEST_F(GuestPort, NoWakeUpIsLostAmongAHundredThousandEventsOfTwoThreads) {
  constexpr int each = 50'000;
  const auto deliver = [this] {
    for (int i = 0; i < each; ++i) {
      port->cancel("x");
      if (i % 64 == 0) ::sched_yield();
    }
  };
  for (const bool by_descriptor : {false, true}) {
    base::os_thread one("one", deliver), two("two", deliver);
    int taken = 0;
    while (taken < 2 * each) {
      while (port->take()) ++taken;
      if (taken == 2 * each) break;
      const auto begun = steady_clock::now();
      if (!by_descriptor) {
        port->wait(patience);
      } else if (port->prepare_to_sleep()) {
        pollfd p{port->wake_fd(), POLLIN, 0};
        ::poll(&p, 1, 10'000);
      }
      ASSERT_LT(steady_clock::now() - begun, 5s) << "asleep with " << taken << " events taken";
    }
    one.join();
    two.join();
    EXPECT_FALSE(port->take());
  }
}

// --- being cancelled -----------------------------------------------------------------------------

TEST_F(GuestPort, CancelIsSeenWhenEverythingUpToItHasBeenTaken) {
  EXPECT_TRUE(port->cancel_seen()) << "nobody asked";
  start("c1");
  port->cancel("why");
  start("c2");
  EXPECT_FALSE(port->cancel_seen());
  port->take();
  EXPECT_FALSE(port->cancel_seen());
  port->take();
  EXPECT_TRUE(port->cancel_seen()) << "what came after it does not count";
  port->on_message(peer, start_of("peer", "k", "self", "cancel"), {});
  EXPECT_FALSE(port->cancel_seen());
}

TEST_F(GuestPort, ACallThatIsCancelledWhileItRunsInterruptsTheGuest) {
  std::vector<call_id> interrupted;
  port->on_running_call_cancelled([&](call_id id) {
    base::tree_writer w;
    port->describe(w);  // Without the lock.
    interrupted.push_back(id);
  });
  start("c1");
  const auto id = take<call_started>().id;
  EXPECT_TRUE(port->begin_running(id));
  EXPECT_TRUE(interrupted.empty());
  cancel_call("c1");
  EXPECT_EQ(interrupted, std::vector<call_id>{id});
  EXPECT_FALSE(port->take()) << "the guest cannot take it, so it is not in the inbox";
  EXPECT_TRUE(port->end_running());
  EXPECT_FALSE(port->end_running());
  port->finish(id, test::error_info("ContextCancelled", "x"));
  EXPECT_EQ(sent(), (std::vector<std::string>{"StartAck kc1", "Error c1 ContextCancelled: x",
                                              "CancelAck kc1"}));
}

TEST_F(GuestPort, ARunningCallWhoseCallerHangsUpIsInterruptedToo) {
  call_id interrupted = 0;
  port->on_running_call_cancelled([&](call_id id) { interrupted = id; });
  start("c1");
  const auto id = take<call_started>().id;
  EXPECT_TRUE(port->begin_running(id));
  port->on_closed(peer, "gone");
  EXPECT_EQ(interrupted, id);
  EXPECT_TRUE(port->end_running());
}

TEST_F(GuestPort, AnotherCallsCancelIsAnEventAndInterruptsNobody) {
  int interrupts = 0;
  port->on_running_call_cancelled([&](call_id) { ++interrupts; });
  start("c1");
  start("c2");
  const auto running = take<call_started>().id, waiting = take<call_started>().id;
  EXPECT_TRUE(port->begin_running(running));
  cancel_call("c2");
  EXPECT_EQ(interrupts, 0);
  EXPECT_FALSE(port->end_running());
  EXPECT_EQ(take<call_cancelled>().id, waiting);
  cancel_call("c1");
  EXPECT_EQ(interrupts, 0) << "it runs no more";
  EXPECT_EQ(take<call_cancelled>().id, running);
}

TEST_F(GuestPort, ACallThatWasCancelledBeforeItsTurnDoesNotRun) {
  start("c1");
  start("c2");
  const auto first = take<call_started>().id, second = take<call_started>().id;
  cancel_call("c1");
  EXPECT_FALSE(port->begin_running(first));
  EXPECT_FALSE(port->end_running()) << "nothing ran";
  EXPECT_TRUE(port->begin_running(second));
  EXPECT_FALSE(port->end_running());
  port->on_closed(peer, "gone");
  EXPECT_FALSE(port->begin_running(second));
}

// One thread calls and cancels, the guest runs: a call that was cancelled in time is always told to
// somebody, and to one of its three places only.
TEST_F(GuestPort, ACancelIsToldExactlyOnceWhereverItMeetsTheCall) {
  constexpr int calls = 5000;
  std::atomic<int> interrupts{0};
  port->on_running_call_cancelled([&](call_id) { ++interrupts; });
  base::os_thread caller("caller", [&] {
    for (int i = 0; i < calls; ++i) {
      start("c" + std::to_string(i));
      if (i % 3 == 0) ::sched_yield();
      cancel_call("c" + std::to_string(i));
    }
    port->cancel("the end");
  });
  int not_run = 0, while_running = 0, late = 0;
  std::set<call_id> refused, ended;
  for (bool more = true; more;) {
    auto e = port->take();
    if (!e) {
      port->wait(patience);
      continue;
    }
    if (auto* s = std::get_if<call_started>(&*e)) {
      if (!port->begin_running(s->id)) {
        ++not_run;
        refused.insert(s->id);
      } else {
        ::sched_yield();
        while_running += port->end_running();
      }
      port->finish(s->id, payload());
      ended.insert(s->id);
    } else if (auto* c = std::get_if<call_cancelled>(&*e)) {
      if (!refused.contains(c->id)) ++late;
    } else {
      more = false;
    }
  }
  caller.join();
  EXPECT_EQ(ended.size(), static_cast<std::size_t>(calls));
  EXPECT_EQ(interrupts, while_running);
  int acknowledged = 0;
  for (const auto& text : sent()) acknowledged += text.starts_with("CancelAck");
  EXPECT_EQ(acknowledged, calls) << "every request to cancel is answered";
  EXPECT_LE(not_run + while_running + late, calls);
}

TEST_F(GuestPort, DescribeSaysWhatLiesInItsInbox) {
  start("c1");
  start("c2");
  EXPECT_TRUE(port->begin_running(take<call_started>().id));
  base::tree_writer w;
  port->describe(w);
  EXPECT_NE(w.text().find("guest 'me': 1 events in its inbox, runs a call"), std::string::npos)
      << w.text();
  EXPECT_NE(w.text().find("serves mod:f for 'peer'"), std::string::npos);
}

}  // namespace
}  // namespace coppice::port
