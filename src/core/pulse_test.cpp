// SPDX-License-Identifier: Apache-2.0
#include "core/pulse.hpp"  // First: proves the header stands alone.

#include <gtest/gtest.h>

#include <atomic>

#include "base/thread.hpp"
#include "coppice/nursery.hpp"
#include "coppice/time.hpp"
#include "core/loop.hpp"

namespace coppice::core {
namespace {

using namespace std::chrono_literals;

struct bare_scheduler final : detail::scheduler {
  bare_scheduler() : scheduler(system_clock()) {}
};
struct bare_task final : detail::task_node {
  bare_task(detail::scheduler& s, std::string called, std::coroutine_handle<> at)
      : task_node(s, std::move(called)) {
    resume_at = at;
  }
  void finished() noexcept override {}
};

class PulseOfATask : public testing::Test {
 protected:
  bare_scheduler scheduler_;
  bare_task task_{scheduler_, "hog", std::noop_coroutine()};
  loop_pulse pulse_{"main", std::make_shared<inbox>(), true};
};

TEST_F(PulseOfATask, WhoNamesTheTaskThatHasTheLoop) {
  pulse_.run_begins();
  pulse_.turn_begins();
  EXPECT_FALSE(pulse_.who(pulse_.now()).is_task);
  pulse_.resumes(task_);
  EXPECT_EQ(to_text(pulse_.who(pulse_.now())), "'hog'");
  pulse_.task_ends();
  EXPECT_FALSE(pulse_.who(pulse_.now()).is_task);
}

TEST_F(PulseOfATask, WhoOfAMomentThatIsOverIsNobody) {
  pulse_.run_begins();
  pulse_.turn_begins();
  pulse_.resumes(task_);
  const auto then = pulse_.now();
  pulse_.task_ends();
  EXPECT_FALSE(pulse_.who(then).is_task);
  pulse_.turn_begins();
  pulse_.resumes(task_);
  EXPECT_FALSE(pulse_.who(then).is_task) << "the same task, another turn";
  pulse_.task_ends();
}

task<> compute(unsigned rounds) {
  for (volatile unsigned i = 0; i < rounds;) i = i + 1;
  co_return;
}

TEST(Pulse, TheLongestTurnIsKeptFromWhenItIsAskedFor) {
  loop l;
  l.run([](loop_pulse& pulse) -> task<> {
    const auto keep_the_loop = [] {
      const auto until = std::chrono::steady_clock::now() + 2ms;
      while (std::chrono::steady_clock::now() < until) {
      }
    };
    keep_the_loop();
    co_await checkpoint();
    EXPECT_EQ(pulse.longest_turns().wall, 0ms) << "nobody asked";
    pulse.measure_turns();
    co_await checkpoint();
    keep_the_loop();
    for (int i = 0; i < 3; ++i) co_await checkpoint();
    EXPECT_GE(pulse.longest_turns().wall, 2ms) << "though shorter ones followed";
    EXPECT_GT(pulse.longest_turns().cpu, 0ms);
    pulse.measure_turns();
    EXPECT_EQ(pulse.longest_turns().wall, 0ms);
  }(l.pulse()));
}

TEST(Pulse, NamesCanBeReadWhileTheirTasksEnd) {
  loop l({.name = "root, with a name that is too long to be kept inside of a string"});
  std::atomic<bool> end{false};
  auto churn = [](std::atomic<bool>& stop) -> task<> {
    while (!stop) {
      co_await open_nursery([&](nursery& n) {
        for (unsigned i = 0; i < 20; ++i)
          n.start_soon("a task with a name that is too long to be kept inside of a string", compute,
                       i * 1000);
      });
    }
  };
  base::os_thread thread("looping", [&] { l.run(churn(end)); });
  int found = 0;
  const auto hangs = system_clock().now() + std::chrono::seconds(30);
  while (found < 500 && system_clock().now() < hangs) {
    const auto who = l.pulse().who(l.pulse().now());
    if (!who.is_task) continue;
    ++found;
    EXPECT_NE(who.name.find("too long to be kept"), std::string::npos) << who.name;
  }
  end = true;
  thread.join();
  EXPECT_EQ(found, 500);
}

}  // namespace
}  // namespace coppice::core
