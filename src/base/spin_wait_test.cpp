// SPDX-License-Identifier: Apache-2.0
#include "base/spin_wait.hpp"  // First: proves the header stands alone.

#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <deque>
#include <optional>
#include <vector>

#include "base/thread.hpp"

namespace coppice::base {
namespace {

using namespace std::chrono_literals;

/// The processors that this thread may use.
std::vector<int> usable_processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  ::sched_getaffinity(0, sizeof set, &set);
  std::vector<int> found;
  for (int i = 0; i < CPU_SETSIZE; ++i)
    if (CPU_ISSET(i, &set)) found.push_back(i);
  return found;
}

void stay_on(int processor) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(processor, &set);
  ASSERT_EQ(::sched_setaffinity(0, sizeof set, &set), 0);
}

void compute_for(spin_wait::duration how_long) {
  const auto until = spin_wait::clock::now() + how_long;
  while (spin_wait::clock::now() < until) {
  }
}

/// The test's thread stays on one processor; who calls it is on another.
class SpinWait : public testing::Test {
 protected:
  void SetUp() override {
    usable_ = usable_processors();
    if (usable_.size() < 2) GTEST_SKIP() << "needs two processors: with one, nobody looks";
    stay_on(usable_[0]);
  }
  void TearDown() override {
    cpu_set_t set;
    CPU_ZERO(&set);
    for (int one : usable_) CPU_SET(one, &set);
    ::sched_setaffinity(0, sizeof set, &set);
  }
  void call_from(int processor, spin_wait& w) {
    os_thread caller("caller", [&] {
      stay_on(processor);
      w.called();
    });
    caller.join();
  }
  void call_from_elsewhere() { call_from(usable_[1], spin); }
  /// Asleep for a moment; however often it takes until nothing prolonged it.
  void wait_shortly() {
    do {
      spin.falls_asleep();
      spin.wakes_up();
    } while (!spin.pays());
  }
  /// One that is worth looking in.
  void prepare() {
    call_from_elsewhere();
    wait_shortly();
  }
  /// How often it asks, from a call that makes `change` at its first question, in vain.
  template <class Change>
  int questions_when(Change change) {
    int asked = 0;
    EXPECT_FALSE(spin.look([&] {
      if (asked++ == 0) change();
      return false;
    }));
    return asked;
  }

  static constexpr int round = 16,
                       last = 1;  // Questions between two looks at the clock, and after.
  std::vector<int> usable_;
  spin_wait spin;
};

TEST_F(SpinWait, AfterAShortWaitItLooksAndFindsWhatComes) {
  prepare();
  int asked = 0;
  EXPECT_TRUE(spin.look([&] { return ++asked == 3; }));
  EXPECT_EQ(asked, 3);
  EXPECT_EQ(spin.looks(), 1u);
  EXPECT_TRUE(spin.look([] { return true; })) << "it paid, so it goes on";
}

TEST_F(SpinWait, ALookInVainEnds) {
  prepare();
  EXPECT_FALSE(spin.look([] { return false; }));  // A hang is ended by ctest.
}

TEST_F(SpinWait, ALookEndsAtItsOwnBoundToo) {
  prepare();
  int asked = 0;
  EXPECT_FALSE(spin.look([&] { return ++asked < 0; }, 0us));
  EXPECT_EQ(spin.looks(), 1u);
  EXPECT_EQ(asked, last);
}

TEST_F(SpinWait, WhoHasNotWaitedShortlyDoesNotLook) {
  call_from_elsewhere();
  EXPECT_FALSE(spin.look([] { return true; })) << "it never waited";
  wait_shortly();
  EXPECT_TRUE(spin.pays());
  spin.falls_asleep();
  compute_for(2 * spin_wait::short_max);
  spin.wakes_up();
  EXPECT_FALSE(spin.pays());
  EXPECT_FALSE(spin.look([] { return true; }));
  EXPECT_EQ(spin.looks(), 0u);
}

TEST_F(SpinWait, DoesNotLookForACallFromItsOwnProcessor) {
  prepare();
  call_from(usable_[0], spin);
  EXPECT_FALSE(spin.pays());
  EXPECT_FALSE(spin.look([] { return true; }));
  call_from_elsewhere();
  EXPECT_TRUE(spin.pays());
}

TEST_F(SpinWait, DoesNotLookBeforeAnybodyCalled) {
  spin.falls_asleep();
  spin.wakes_up();
  EXPECT_FALSE(spin.pays());
}

TEST_F(SpinWait, AfterLooksInVainItPausesLongerAndLonger) {
  prepare();
  for (unsigned pause : {1u, 2u, 4u, 8u, 16u, 32u, 64u, 64u}) {
    EXPECT_FALSE(spin.look([] { return false; }));
    const unsigned before = spin.looks();
    for (unsigned i = 0; i < pause; ++i) {
      wait_shortly();
      EXPECT_FALSE(spin.look([] { return true; })) << "it pauses";
    }
    EXPECT_EQ(spin.looks(), before);
    wait_shortly();
  }
  EXPECT_TRUE(spin.look([] { return true; })) << "and then looks again";
  EXPECT_FALSE(spin.look([] { return false; }));
  wait_shortly();
  EXPECT_FALSE(spin.look([] { return true; }));
  wait_shortly();
  EXPECT_TRUE(spin.look([] { return true; })) << "one that paid has ended the long pauses";
}

/// As many threads at work as there are processors, seen from the counters.
struct crowd {
  crowd() {
    for (long i = 0; i < ::sysconf(_SC_NPROCESSORS_ONLN); ++i) {
      working.emplace_back();
      working.back().falls_asleep();
      working.back().wakes_up();
    }
  }
  std::deque<spin_wait> working;
};

TEST_F(SpinWait, DoesNotLookWhenThreadsAtWorkNeedTheProcessors) {
  prepare();
  {
    crowd busy;
    EXPECT_FALSE(spin.pays());
    EXPECT_FALSE(spin.look([] { return true; }));
    busy.working.front().falls_asleep();
    EXPECT_TRUE(spin.pays()) << "one that waits leaves a processor to look on";
    busy.working.front().wakes_up();
    EXPECT_FALSE(spin.pays());
    busy.working.back().stops();
    EXPECT_TRUE(spin.pays()) << "one that stops is not counted";
  }
  EXPECT_TRUE(spin.pays()) << "nor is one that has ended";
}

TEST_F(SpinWait, EndsItsLookWhenOthersBeginToWork) {
  prepare();
  std::optional<crowd> busy;
  EXPECT_EQ(questions_when([&] { busy.emplace(); }), round + last);
}

TEST_F(SpinWait, EndsItsLookWhenItsProcessorWasTaken) {
  prepare();
  EXPECT_EQ(questions_when([] { compute_for(2 * spin_wait::gap_max); }), round + last);
}

TEST_F(SpinWait, WakingUpWithoutHavingSleptIsNotWork) {
  prepare();
  crowd busy;
  busy.working.pop_back();
  spin_wait other;
  other.wakes_up();
  EXPECT_TRUE(spin.pays()) << "there is a processor left";
  other.falls_asleep();
  other.wakes_up();
  EXPECT_FALSE(spin.pays());
}

}  // namespace
}  // namespace coppice::base
