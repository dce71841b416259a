// SPDX-License-Identifier: Apache-2.0
// Whatever may suspend is a checkpoint on every call: it lets others run, and sees a cancellation,
// also when there is nothing to wait for.
#include <functional>

#include "coppice/broadcast_channel.hpp"
#include "coppice/capacity_limiter.hpp"
#include "coppice/channel.hpp"
#include "coppice/channel_ends.hpp"
#include "coppice/event.hpp"
#include "coppice/lock.hpp"
#include "coppice/nursery.hpp"
#include "coppice/semaphore.hpp"
#include "coppice/testkit/async_test.hpp"
#include "coppice/testkit/order.hpp"

namespace coppice {
namespace {

using namespace std::chrono_literals;

task<> raise_flag(bool& up) {
  up = true;
  co_return;
}

/// Awaits `make()` twice: in a scope that is cancelled, and beside a task that is ready.
template <class Make>
task<> expect_checkpoint(const char* what, Make& make) {
  const auto in_cancelled = [&](cancel_scope& s) -> task<> {
    s.cancel();
    co_await make();
  };
  const bool went_on = co_await move_on_after(1h, in_cancelled);
  EXPECT_FALSE(went_on) << what << " does not see a cancellation";
  bool other_ran = false;
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon(raise_flag, std::ref(other_ran));
    co_await make();
    EXPECT_TRUE(other_ran) << what << " does not let others run";
  });
}

COPPICE_TEST(EveryOperation, ThatIsReadyIsACheckpointAllTheSame) {
  auto nothing = [] { return sleep_for(0s); };
  co_await expect_checkpoint("sleep_for(0s)", nothing);
  auto past = [&] { return sleep_until(t.time().now() - 1s); };
  co_await expect_checkpoint("sleep_until()", past);
  auto yields = [] { return checkpoint(); };
  co_await expect_checkpoint("checkpoint()", yields);
  event set;
  set.set();
  auto waits = [&] { return set.wait(); };
  co_await expect_checkpoint("event::wait()", waits);
  auto quiet = [] { return testkit::wait_all_blocked(); };
  co_await expect_checkpoint("wait_all_blocked()", quiet);
  testkit::sequencer order;
  auto first = [&] { return order.turn(0); };
  co_await expect_checkpoint("sequencer::turn()", first);
}

COPPICE_TEST(EveryOperation, OfAChannelIsACheckpointWithRoomAndWithAValue) {
  channel<int> c(1);
  auto sends = [&] { return c.send(1); };
  co_await expect_checkpoint("channel::send()", sends);
  auto receives = [&] { return c.receive(); };
  co_await expect_checkpoint("channel::receive()", receives);
  c.close();
  co_await expect_checkpoint("channel::receive() at the end", receives);
  auto ends = open_channel<int>(1);
  auto through = [&] { return ends.first.send(1); };
  co_await expect_checkpoint("sender::send()", through);
  auto out_of = [&] { return ends.second.receive(); };
  co_await expect_checkpoint("receiver::receive()", out_of);
  broadcast_channel<int> b(1);
  auto subscription = b.subscribe();
  b.send(1);
  auto takes = [&] { return subscription.receive(); };
  co_await expect_checkpoint("subscription::receive()", takes);
}

COPPICE_TEST(EveryOperation, ThatTakesALockAPermitOrATokenThatIsFreeIsACheckpoint) {
  lock l;
  auto locks = [&]() -> task<> { auto held = co_await l.acquire(); };
  co_await expect_checkpoint("lock::acquire()", locks);
  semaphore s(1);
  auto permits = [&]() -> task<> { auto permit = co_await s.acquire(); };
  co_await expect_checkpoint("semaphore::acquire()", permits);
  capacity_limiter c(1);
  auto borrows = [&]() -> task<> { auto token = co_await c.acquire(); };
  co_await expect_checkpoint("capacity_limiter::acquire()", borrows);
  auto for_key = [&]() -> task<> { auto token = co_await c.acquire_for("a"); };
  co_await expect_checkpoint("capacity_limiter::acquire_for()", for_key);
}

// Opening and leaving a nursery lets others run but is no cancellation point, see Nursery.
COPPICE_TEST(EveryOperation, AlsoTheEndOfAnEmptyNurseryLetsOthersRun) {
  bool other_ran = false;
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon(raise_flag, std::ref(other_ran));
    co_await open_nursery([](nursery&) {});
    EXPECT_TRUE(other_ran);
  });
}

}  // namespace
}  // namespace coppice
