// SPDX-License-Identifier: Apache-2.0
#include "coppice/event.hpp"  // First: proves the header stands alone.

#include "coppice/testkit/async_test.hpp"

namespace coppice {
namespace {

using namespace std::chrono_literals;
using log = std::vector<std::string>;

task<> note_when_set(event& e, log& l, std::string who) {
  co_await e.wait();
  l.push_back(who);
}

COPPICE_TEST(Event, SetWakesEveryWaiterInOrderAndItStaysSet) {
  event e("ready");
  log l;
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon(note_when_set, std::ref(e), std::ref(l), "first");
    n.start_soon(note_when_set, std::ref(e), std::ref(l), "second");
    co_await sleep_for(1s);
    EXPECT_TRUE(l.empty());
    EXPECT_EQ(e.waiting(), 2u);
    e.set();
    e.set();  // Nothing more.
    EXPECT_TRUE(e.is_set());
    n.start_soon(note_when_set, std::ref(e), std::ref(l), "late");
  });
  EXPECT_EQ(l, (log{"first", "second", "late"}));
}

COPPICE_TEST(Event, WaitingForASetEventIsACheckpoint) {
  event e;
  e.set();
  auto finished = co_await move_on_after(1h, [&](cancel_scope& s) -> task<> {
    s.cancel();
    co_await e.wait();
  });
  EXPECT_FALSE(finished);
}

COPPICE_TEST(Event, ACancelledWaiterLeavesNoTrace) {
  event e;
  EXPECT_FALSE(co_await move_on_after(1s, e.wait()));
  EXPECT_EQ(e.waiting(), 0u);
  e.set();
}

COPPICE_TEST(Event, AWaiterThatWasWokenIsNotCancelledAnyMore) {
  event e;
  bool went_on = false;
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon(
        [](event& x, bool& b) -> task<> {
          co_await x.wait();
          b = true;
        },
        std::ref(e), std::ref(went_on));
    co_await checkpoint();
    e.set();
    n.cancel();
  });
  EXPECT_TRUE(went_on);
}

COPPICE_TEST(Event, DescribesItself) {
  event e("ready");
  EXPECT_EQ(e.describe(), "event 'ready', not set, 0 waiting");
  co_return;
}

task<> event_ends_early(testkit::test_env&) {
  co_await open_nursery([](nursery& n) -> task<> {
    event e;
    n.start_soon([](event& x) -> task<> { co_await x.wait(); }, std::ref(e));
    co_await checkpoint();
    co_await checkpoint();
  });
}
TEST(EventDeath, EndingWhileATaskWaitsAborts) {
  EXPECT_DEATH(testkit::run_async_test("early", &event_ends_early),
               "an event ended while a task waits");
}

COPPICE_TEST(Event, OneThatIsCancelledLeavesTheOthersWaitingInTheirOrder) {
  event e;
  log l;
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon(note_when_set, std::ref(e), std::ref(l), "first");
    n.start_soon(
        [](event& x, log& to) -> task<> {
          EXPECT_FALSE(co_await move_on_after(1s, x.wait()));
          to.push_back("cancelled");
        },
        std::ref(e), std::ref(l));
    n.start_soon(note_when_set, std::ref(e), std::ref(l), "third");
    co_await sleep_for(2s);
    EXPECT_EQ(l, log{"cancelled"});
    EXPECT_EQ(e.waiting(), 2u);
    e.set();
    EXPECT_EQ(e.waiting(), 0u);
  });
  EXPECT_EQ(l, (log{"cancelled", "first", "third"}));
}

}  // namespace
}  // namespace coppice
