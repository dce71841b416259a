// SPDX-License-Identifier: Apache-2.0
#include "base/worker_pool.hpp"  // First: proves the header stands alone.

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

#include "base/threads_for_test.hpp"

namespace coppice::base {
namespace {

using namespace std::chrono_literals;

/// Work that blocks until it is let go.
class gate {
 public:
  worker_pool::work work() {
    return [this]() -> worker_pool::afterwards {
      entered_ = true;
      entered_.notify_all();
      open_.wait(false);
      return [this] {
        left_ = true;
        left_.notify_all();
      };
    };
  }
  void wait_entered() { entered_.wait(false); }
  void open() {
    open_ = true;
    open_.notify_all();
  }
  void wait_left() { left_.wait(false); }

 private:
  std::atomic<bool> entered_{false}, open_{false}, left_{false};
};

TEST(WorkerPool, EachPieceOfWorkHasAThreadToItselfAtOnce) {
  gate a, b;
  worker_pool pool("test-pool");
  EXPECT_EQ(pool.threads(), 0u);
  pool.run(a.work());
  pool.run(b.work());
  a.wait_entered();
  b.wait_entered();
  EXPECT_EQ(pool.threads(), 2u);
  a.open();
  b.open();
  a.wait_left();
  b.wait_left();
}

TEST(WorkerPool, AThreadIsIdleAgainBeforeAnybodyHearsOfTheEnd) {
  std::vector<pid_t> threads;
  std::atomic<bool> done{false};
  worker_pool pool("test-pool");
  pool.run([&]() -> worker_pool::afterwards {
    threads.push_back(::gettid());
    return [&] {
      pool.run([&]() -> worker_pool::afterwards {
        threads.push_back(::gettid());
        return [&] {
          done = true;
          done.notify_all();
        };
      });
    };
  });
  done.wait(false);
  EXPECT_EQ(pool.threads(), 1u);
  ASSERT_EQ(threads.size(), 2u);
  EXPECT_EQ(threads[0], threads[1]);
}

TEST(WorkerPool, AThreadThatWasIdleForLongEnoughEnds) {
  gate g, again;
  worker_pool pool("test-pool", {.idle_max = 1ms});
  pool.run(g.work());
  EXPECT_EQ(pool.threads(), 1u);
  g.open();
  wait_until([&] { return pool.threads() == 0; });
  pool.run(again.work());
  EXPECT_EQ(pool.threads(), 1u);
  again.open();
  again.wait_left();
}

TEST(WorkerPool, AbandonedWorkIsInQuarantineUntilItReturnsAndItsThreadEnds) {
  gate g;
  worker_pool pool("test-pool");
  const auto t = pool.run(g.work());
  EXPECT_TRUE(pool.quarantined().empty());
  pool.abandon(t, "the stuck one");
  ASSERT_EQ(pool.quarantined().size(), 1u);
  EXPECT_EQ(pool.quarantined()[0].what, "the stuck one");
  g.open();
  g.wait_left();
  EXPECT_TRUE(pool.quarantined().empty());
  EXPECT_EQ(pool.threads(), 0u);
  pool.abandon(t, "too late");
  EXPECT_TRUE(pool.quarantined().empty());
}

TEST(WorkerPool, JoinIdleLeavesWhatWorks) {
  const auto before = threads_of_this_process();
  gate idle, busy;
  worker_pool pool("test-pool");
  pool.run(idle.work());
  pool.run(busy.work());
  idle.open();
  idle.wait_left();
  pool.join_idle();
  EXPECT_EQ(pool.threads(), 1u);
  wait_until([&] { return threads_of_this_process() == before + 1; });
  busy.open();
  busy.wait_left();
  pool.join_idle();
  EXPECT_EQ(pool.threads(), 0u);
  wait_until([&] { return threads_of_this_process() == before; });
}

TEST(WorkerPool, AfterCloseABusyThreadEndsWithItsWorkAndNoneIsMade) {
  const auto before = threads_of_this_process();
  gate g;
  {
    worker_pool pool("test-pool");
    pool.abandon(pool.run(g.work()), "stuck");
    g.wait_entered();
    pool.close();
    EXPECT_EQ(pool.quarantined().size(), 1u);
    EXPECT_THROW(pool.run([]() -> worker_pool::afterwards { return {}; }), std::system_error);
  }
  EXPECT_EQ(threads_of_this_process(), before + 1);
  g.open();
  g.wait_left();
  wait_until([&] { return threads_of_this_process() == before; });
}

struct slow_to_end {
  ~slow_to_end() {
    if (held) held->wait(true);
  }
  std::shared_ptr<std::atomic<bool>> held;  // Shared: nobody joins that thread.
};

TEST(WorkerPool, AThreadThatHangsAtItsVeryEndIsLetGoAndCounted) {
  const auto before = threads_of_this_process();
  auto held = std::make_shared<std::atomic<bool>>(true);
  std::atomic<bool> done{false};
  worker_pool pool("test-pool", {.join_max = 10ms});
  pool.run([&]() -> worker_pool::afterwards {
    thread_local slow_to_end at_end;
    at_end.held = held;
    return [&] {
      done = true;
      done.notify_all();
    };
  });
  done.wait(false);
  pool.close();
  ASSERT_EQ(pool.quarantined().size(), 1u);
  EXPECT_NE(pool.quarantined()[0].what.find("thread_local"), std::string::npos);
  *held = false;
  held->notify_all();
  wait_until([&] { return threads_of_this_process() == before; });
}

}  // namespace
}  // namespace coppice::base
