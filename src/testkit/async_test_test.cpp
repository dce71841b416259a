// SPDX-License-Identifier: Apache-2.0
#include "coppice/testkit/async_test.hpp"

#include <gtest/gtest-spi.h>

#include "coppice/event.hpp"
#include "coppice/testkit/test_env.hpp"

namespace coppice {
namespace {

using namespace std::chrono_literals;

task<int> slow() {
  co_await sleep_for(1h);
  co_return 3;
}

COPPICE_TEST(AsyncTest, TimeIsVirtual) {
  EXPECT_EQ(co_await slow(), 3);
  EXPECT_EQ(t.elapsed(), 1h);
}

task<> deadlocked(testkit::test_env&) {
  event never("never");
  co_await open_nursery([&](nursery& n) {
    n.start_soon("stuck", [](event& e) -> task<> { co_await e.wait(); }, std::ref(never));
  });
}

TEST(AsyncTest, ADeadlockFailsAtOnceWithTheTaskTree) {
  const std::string why = testkit::run_async_test("deadlocked", &deadlocked);
  EXPECT_NE(why.find("deadlock: every task waits"), std::string::npos) << why;
  EXPECT_NE(why.find("task 'stuck': waits for event 'never'"), std::string::npos) << why;
}

std::string order;
task<> writes_its_order(testkit::test_env&) {
  order.clear();
  co_await open_nursery([&](nursery& n) {
    for (char name = 'a'; name < 'k'; ++name)
      n.start_soon(
          [](char who) -> task<> {
            co_await checkpoint();
            order += who;
          },
          name);
  });
}

TEST(AsyncTest, ASeedShufflesTheOrderOfTasksTheSameEachTime) {
  testkit::run_async_test("in order", &writes_its_order);
  EXPECT_EQ(order, "abcdefghij");
  testkit::run_async_test("shuffled", &writes_its_order, 1);
  const std::string first = order;
  EXPECT_NE(first, "abcdefghij");
  testkit::run_async_test("again", &writes_its_order, 1);
  EXPECT_EQ(order, first);
  testkit::run_async_test("other seed", &writes_its_order, 2);
  EXPECT_NE(order, first);
}

TEST(AsyncTest, TheEnvironmentGivesTheSeedOfAllTestsAndABadOneIsRefused) {
  const char* before = std::getenv("COPPICE_ORDER_SEED");
  const std::string kept = before ? before : "";
  ::setenv("COPPICE_ORDER_SEED", "18446744073709551615", 1);
  EXPECT_EQ(testkit::order_seed_of_environment(), UINT64_MAX);
  for (const char* bad : {"x", "1x", "-1", " 1", "18446744073709551616"}) {
    ::setenv("COPPICE_ORDER_SEED", bad, 1);
    EXPECT_THROW(testkit::order_seed_of_environment(), std::invalid_argument) << bad;
  }
  ::setenv("COPPICE_ORDER_SEED", "", 1);
  EXPECT_EQ(testkit::order_seed_of_environment(), std::nullopt);
  if (before) ::setenv("COPPICE_ORDER_SEED", kept.c_str(), 1);
}

task<> throws(testkit::test_env&) {
  co_await checkpoint();
  throw std::runtime_error("boom");
}

TEST(AsyncTest, AnExceptionIsAFailureThatNamesIt) {
  EXPECT_EQ(testkit::run_async_test("throws", &throws),
            "the test's body threw std::runtime_error: boom");
}

task<> ends_well(testkit::test_env&) { co_await sleep_for(1h); }

TEST(AsyncTest, OneThatEndsWellGivesNothing) {
  EXPECT_EQ(testkit::run_async_test("well", &ends_well), "");
}

TEST(AsyncTest, AFailureNamesTheSeedOfItsOrder) {
  const char* before = std::getenv("COPPICE_ORDER_SEED");
  const std::string kept = before ? before : "";
  ::setenv("COPPICE_ORDER_SEED", "7", 1);
  EXPECT_NONFATAL_FAILURE(testkit::detail::run_as_gtest("throws", &throws), "COPPICE_ORDER_SEED=7");
  ::setenv("COPPICE_ORDER_SEED", kept.c_str(), 1);
}

}  // namespace
}  // namespace coppice
