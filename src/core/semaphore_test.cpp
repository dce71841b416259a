// SPDX-License-Identifier: Apache-2.0
#include "coppice/semaphore.hpp"  // First: proves the header stands alone.

#include "coppice/errors.hpp"
#include "coppice/outcome.hpp"
#include "coppice/testkit/async_test.hpp"
#include "coppice/testkit/order.hpp"

namespace coppice {
namespace {

using namespace std::chrono_literals;
using log = std::vector<std::string>;
using testkit::wait_all_blocked;

task<> use_permit(semaphore& s, log& to, std::string who, duration d) {
  auto permit = co_await s.acquire();
  to.push_back(who);
  co_await sleep_for(d);
}

COPPICE_TEST(Semaphore, AsManyAsItsValueRunAtOnce) {
  semaphore s(2);
  log in;
  co_await open_nursery([&](nursery& n) -> task<> {
    for (const char* who : {"a", "b", "c"}) {
      n.start_soon(use_permit, std::ref(s), std::ref(in), who, 1s);
    }
    co_await wait_all_blocked();
    EXPECT_EQ(in, (log{"a", "b"}));
    EXPECT_EQ(s.value(), 0u);
    EXPECT_EQ(s.waiting(), 1u);
  });
  EXPECT_EQ(t.elapsed(), 2s);
  EXPECT_EQ(s.value(), 2u);
}

COPPICE_TEST(Semaphore, TasksGetPermitsInTheOrderInWhichTheyAsked) {
  semaphore s(1);
  log in;
  co_await open_nursery([&](nursery& n) {
    for (const char* who : {"a", "b", "c", "d"}) {
      n.start_soon(use_permit, std::ref(s), std::ref(in), who, 1s);
    }
  });
  EXPECT_EQ(in, (log{"a", "b", "c", "d"}));
}

COPPICE_TEST(Semaphore, WhoeverAsksLaterCannotOvertakeTheFirstThatWaits) {
  semaphore s(0);
  log in;
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon(use_permit, std::ref(s), std::ref(in), "waited", 0s);
    co_await wait_all_blocked();
    EXPECT_TRUE(in.empty());
    s.release();
    EXPECT_EQ(s.value(), 0u) << "it went straight to the task that waits, which has not run yet";
    EXPECT_FALSE(s.try_acquire());
  });
  EXPECT_EQ(in, log{"waited"});
}

COPPICE_TEST(Semaphore, AcquiringIsACheckpoint) {
  semaphore s(1);
  auto finished = co_await move_on_after(1h, [&](cancel_scope& scope) -> task<> {
    scope.cancel();
    auto permit = co_await s.acquire();
  });
  EXPECT_FALSE(finished);
  EXPECT_EQ(s.value(), 1u);
}

COPPICE_TEST(Semaphore, ACancelledAcquireLeavesNoTrace) {
  semaphore s(0);
  auto none = co_await move_on_after(1s, s.acquire());
  EXPECT_FALSE(none);
  EXPECT_EQ(s.waiting(), 0u);
  s.release();
  EXPECT_EQ(s.value(), 1u);
}

COPPICE_TEST(Semaphore, ATaskThatWasGivenAPermitIsNotCancelledAnyMore) {
  semaphore s(0);
  log in;
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon(
        [](semaphore& x, log& to) -> task<> {
          auto permit = co_await x.acquire();
          to.push_back("has it");
        },
        std::ref(s), std::ref(in));
    co_await wait_all_blocked();
    s.release();
    n.cancel();
  });
  EXPECT_EQ(in, log{"has it"});
  EXPECT_EQ(s.value(), 1u);
}

task<> give_back(semaphore::permit) { co_return; }

COPPICE_TEST(Semaphore, APermitIsGivenBackHoweverItsBlockEndsAndInWhicheverTask) {
  semaphore s(1);
  auto fails = [](semaphore& x) -> task<> {
    auto permit = co_await x.acquire();
    throw error("no");
  };
  auto failed = co_await as_result(fails(s));
  EXPECT_FALSE(failed);
  EXPECT_EQ(s.value(), 1u);
  auto permit = co_await s.acquire();
  co_await open_nursery([&](nursery& n) {
    n.start_soon(give_back, std::move(permit));
    EXPECT_EQ(s.value(), 0u);
  });
  EXPECT_EQ(s.value(), 1u);
}

COPPICE_TEST(Semaphore, ADetachedPermitIsGivenBackByRelease) {
  semaphore s(1);
  {
    auto permit = co_await s.acquire();
    permit.detach();
    EXPECT_FALSE(permit.held());
  }
  EXPECT_EQ(s.value(), 0u);
  s.release();
  EXPECT_EQ(s.value(), 1u);
}

COPPICE_TEST(Semaphore, ThereAreNeverMoreThanItsMaximum) {
  semaphore s(1, {.name = "slots", .value_max = 2});
  s.release();
  EXPECT_THROW(s.release(), limit_exceeded);
  EXPECT_EQ(s.value(), 2u);
  co_return;
}

COPPICE_TEST(Semaphore, TryAcquireNeverWaits) {
  semaphore s(1);
  auto permit = s.try_acquire();
  EXPECT_TRUE(permit.has_value());
  EXPECT_FALSE(s.try_acquire());
  permit->release();
  EXPECT_TRUE(s.try_acquire().has_value());
  co_return;
}

COPPICE_TEST(Semaphore, DescribesItself) {
  semaphore s(1);
  EXPECT_EQ(s.describe(), "semaphore '', 1 left, 0 waiting");
  semaphore slots(3, {.name = "slots", .value_max = 4});
  EXPECT_EQ(slots.describe(), "semaphore 'slots', 3 of at most 4 left, 0 waiting");
  co_return;
}

task<> gives_back_twice(testkit::test_env&) {
  semaphore s(1, {.value_max = 1});
  auto permit = co_await s.acquire();
  s.release();
}
TEST(SemaphoreDeath, APermitThatIsGivenBackTwiceAborts) {
  EXPECT_DEATH(testkit::run_async_test("twice", &gives_back_twice), "permit was given back twice");
}

COPPICE_TEST(Semaphore, APermitReleasedTwiceIsGivenBackOnce) {
  semaphore s(1);
  auto permit = co_await s.acquire();
  permit.release();
  EXPECT_FALSE(permit.held());
  permit.release();
  EXPECT_EQ(s.value(), 1u);
}

TEST(SemaphoreDeath, StartingWithMoreThanItsMaximumAborts) {
  EXPECT_DEATH(semaphore(2, {.name = "slots", .value_max = 1}),
               "a semaphore begins with more permits");
}

task<> semaphore_ends_early(testkit::test_env&) {
  co_await open_nursery([](nursery& n) -> task<> {
    semaphore s(0);
    n.start_soon([](semaphore& x) -> task<> { auto got = co_await x.acquire(); }, std::ref(s));
    co_await wait_all_blocked();
  });
}
TEST(SemaphoreDeath, EndingWhileATaskWaitsAborts) {
  EXPECT_DEATH(testkit::run_async_test("early", &semaphore_ends_early),
               "a semaphore ended while a task waits");
}

}  // namespace
}  // namespace coppice
