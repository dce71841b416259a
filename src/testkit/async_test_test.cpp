// SPDX-License-Identifier: Apache-2.0
#include "coppice/testkit/async_test.hpp"

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

task<> throws(testkit::test_env&) {
  co_await checkpoint();
  throw std::runtime_error("boom");
}

TEST(AsyncTest, AnExceptionIsAFailureThatNamesIt) {
  EXPECT_EQ(testkit::run_async_test("throws", &throws),
            "the test's body threw std::runtime_error: boom");
}

}  // namespace
}  // namespace coppice
