// SPDX-License-Identifier: Apache-2.0
#include "coppice/task.hpp"  // First: proves the header stands alone.

#include "coppice/errors.hpp"
#include "coppice/testkit/async_test.hpp"

namespace coppice {
namespace {

using namespace std::chrono_literals;

static_assert(!std::is_move_constructible_v<task<int>>, "a task is awaited where it is made");

task<int> twice(int x) {
  co_await checkpoint();
  co_return 2 * x;
}

COPPICE_TEST(Task, GivesItsValue) { EXPECT_EQ(co_await twice(21), 42); }

COPPICE_TEST(Task, NothingOfItRunsBeforeItIsAwaited) {
  bool ran = false;
  auto sets = [](bool& b) -> task<> {
    b = true;
    co_return;
  };
  {
    [[maybe_unused]] const auto dropped = sets(ran);
    EXPECT_FALSE(ran);
  }
  EXPECT_FALSE(ran) << "ending an unawaited task runs nothing";
  co_await sets(ran);
  EXPECT_TRUE(ran);
}

task<> throws() {
  co_await checkpoint();
  throw std::runtime_error("boom");
}

COPPICE_TEST(Task, ItsExceptionComesOutOfTheAwait) {
  EXPECT_THROW(co_await throws(), std::runtime_error);
}

struct probe {
  std::vector<std::string>* log;
  const char* name;
  ~probe() { log->push_back(name); }
};

COPPICE_TEST(Task, ItEndsBeforeTheExpressionThatAwaitsIt) {
  std::vector<std::string> log;
  auto with_local = [](std::vector<std::string>& l) -> task<int> {
    probe local{&l, "local"};
    co_await checkpoint();
    co_return 1;
  };
  const int got = co_await with_local(log);
  log.push_back("after");
  EXPECT_EQ(got, 1);
  EXPECT_EQ(log, (std::vector<std::string>{"local", "after"}));
}

struct no_default {
  explicit no_default(std::unique_ptr<int> v) : value(std::move(v)) {}
  std::unique_ptr<int> value;
};

COPPICE_TEST(Task, ItsValueNeedsNeitherDefaultNorCopyNorAssignment) {
  auto make = []() -> task<no_default> {
    co_await checkpoint();
    co_return no_default(std::make_unique<int>(5));
  };
  auto v = co_await make();
  EXPECT_EQ(*v.value, 5);
}

task<int> ready(int x) { co_return x; }

// Without optimisation each transfer is a call: this overflowed the stack before tasks bounced.
COPPICE_TEST(Task, AMillionAwaitsOfATaskThatNeverWaitsDoNotGrowTheStack) {
  std::int64_t sum = 0;
  for (int i = 0; i < 1'000'000; ++i) sum += co_await ready(1);
  EXPECT_EQ(sum, 1'000'000);
}

task<int> deep(int n) {
  if (n == 0) co_return 0;
  const int below = co_await deep(n - 1);
  co_return below + 1;
}

COPPICE_TEST(Task, DeepChainsOfAwaitsDoNotGrowTheStack) {
  EXPECT_EQ(co_await deep(50'000), 50'000);
}

COPPICE_TEST(Task, ATaskThatNeverWaitsLetsOthersRunAtEveryCheckpoint) {
  int other = 0;
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon(
        [](int& count) -> task<> {
          for (int i = 0; i < 3; ++i) {
            ++count;
            co_await checkpoint();
          }
        },
        std::ref(other));
    for (int i = 0; i < 3; ++i) {
      EXPECT_EQ(other, i);
      co_await checkpoint();
    }
  });
}

// What a dropped body looks like to the loop: resume() returns, and nothing has happened. The real
// one (4.1 in the list of g++ 12's traps) is no test: at -O2 g++ sometimes makes it an illegal
// instruction.
struct bare_coroutine {
  struct promise_type {
    bare_coroutine get_return_object() {
      return {std::coroutine_handle<promise_type>::from_promise(*this)};
    }
    std::suspend_always initial_suspend() noexcept { return {}; }
    std::suspend_always final_suspend() noexcept { return {}; }
    void return_void() noexcept {}
    void unhandled_exception() noexcept {}
  };
  std::coroutine_handle<promise_type> handle;
};
bare_coroutine returns_at_once() { co_await std::suspend_always{}; }

struct bare_task final : detail::task_node {
  using task_node::task_node;
  void finished() noexcept override {}
};

task<> resumes_a_dropped_body(testkit::test_env&) {
  auto& self = co_await detail::this_task{};
  bare_task dropped(self.loop, "dropped");
  dropped.resume_at = returns_at_once().handle;
  self.loop.make_ready(dropped);
  co_await checkpoint();
}

TEST(TaskDeath, ACoroutineThatReturnsWithoutWaitingOrEndingAbortsWithAdvice) {
  EXPECT_DEATH(testkit::run_async_test("dropped", &resumes_a_dropped_body),
               "a coroutine returned without having ended.*if .auto r = co_await x");
}

COPPICE_TEST(Task, ACancellationComesOutOfTheAwaitToo) {
  std::string cause;
  auto finished = co_await move_on_after(1s, [&](cancel_scope&) -> task<> {
    try {
      co_await []() -> task<> { co_await sleep_forever(); }();
    } catch (const cancelled& c) {
      cause = c.cause();
      throw;
    }
  });
  EXPECT_FALSE(finished);
  EXPECT_EQ(cause, "move_on_after(1s): deadline passed");
}

}  // namespace
}  // namespace coppice
