// SPDX-License-Identifier: Apache-2.0
#include "core/inbox.hpp"  // First: proves the header stands alone.

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <deque>
#include <vector>

#include "base/thread.hpp"

namespace coppice::core {
namespace {

using namespace std::chrono_literals;

struct note final : inbox_item {
  int from = 0;
  int number = 0;
  std::vector<note*>* ran = nullptr;
  std::vector<note*>* dropped = nullptr;
  void run() override { ran->push_back(this); }
  void drop() noexcept override {
    if (dropped != nullptr) dropped->push_back(this);
  }
};

TEST(Inbox, GivesItemsOldestFirst) {
  inbox box;
  note a, b, c;
  EXPECT_TRUE(box.empty());
  EXPECT_TRUE(box.push(a, false));
  EXPECT_TRUE(box.push(b, true));
  EXPECT_TRUE(box.push(c, false));
  EXPECT_FALSE(box.empty());
  std::vector<inbox_item*> got;
  box.take_each([&](inbox_item& i) { got.push_back(&i); });
  EXPECT_EQ(got, (std::vector<inbox_item*>{&a, &b, &c}));
  EXPECT_TRUE(box.empty());
}

TEST(Inbox, DoesNotSleepWhenSomethingIsThere) {
  inbox box;
  note a;
  box.push(a, true);
  EXPECT_FALSE(box.prepare_sleep(inbox::sleep::on_futex));
}

TEST(Inbox, AQuietPushDoesNotWakeALoudOneDoes) {
  inbox box;
  note quiet, loud;
  ASSERT_TRUE(box.prepare_sleep(inbox::sleep::on_futex));
  EXPECT_TRUE(box.push(quiet, true));
  EXPECT_TRUE(box.asleep());
  EXPECT_TRUE(box.push(loud, false));
  EXPECT_FALSE(box.asleep());
  std::vector<inbox_item*> got;
  box.take_each([&](inbox_item& i) { got.push_back(&i); });
  EXPECT_EQ(got, (std::vector<inbox_item*>{&quiet, &loud}));
}

TEST(Inbox, RefusesAfterCloseAndGivesWhatWasLeft) {
  inbox box;
  note a, b;
  box.push(a, false);
  EXPECT_EQ(box.close(), &a);
  EXPECT_FALSE(box.push(b, false));
  EXPECT_EQ(box.close(), nullptr);
}

TEST(Inbox, ALookEndsAtItsLimitAndWithoutOne) {
  inbox box;
  EXPECT_FALSE(box.look(duration::zero()));
  EXPECT_FALSE(box.look(duration(-1)));
}

// One answers each question at once, on another processor where there is one.
TEST(Inbox, ALookFindsAnAnswerThatComesAtOnce) {
  if (::sysconf(_SC_NPROCESSORS_ONLN) < 2) GTEST_SKIP() << "with one processor nobody looks";
  inbox box;
  note answer;
  std::atomic<int> asked{0};
  std::atomic<bool> enough{false};
  base::os_thread answers("answers", [&] {
    for (int answered = 0; !enough;) {
      if (asked == answered) continue;
      ++answered;
      box.push(answer, false);
    }
  });
  bool found = false;
  while (!found) {
    ++asked;
    found = box.empty() && box.look(duration(-1));
    if (!found && box.prepare_sleep(inbox::sleep::on_futex)) {
      box.sleep_on_futex(5s);
      box.awake();
    }
    for (bool taken = false; !taken;) box.take_each([&](inbox_item&) { taken = true; });
  }
  enough = true;
  answers.join();
}

// Two threads push, one takes and sleeps in between: nothing is lost, nothing overtakes.
TEST(Inbox, ManyThreadsLoseNothingAndKeepEachThreadsOrder) {
  constexpr int each = 20'000;
  inbox box;
  std::deque<std::deque<note>> notes(2);
  for (auto& n : notes) n.resize(each);
  const auto push_all = [&](int who) {
    return [&box, &notes, who] {
      for (int i = 0; i < each; ++i) {
        note& n = notes[who][i];
        n.from = who;
        n.number = i;
        box.push(n, i % 5 == 4 && i + 1 != each);
      }
    };
  };
  base::os_thread one("push-1", push_all(0));
  base::os_thread two("push-2", push_all(1));
  int next[2] = {0, 0};
  while (next[0] + next[1] < 2 * each) {
    box.take_each([&](inbox_item& i) {
      auto& n = static_cast<note&>(i);
      EXPECT_EQ(n.number, next[n.from]++);
    });
    if (next[0] + next[1] < 2 * each && box.prepare_sleep(inbox::sleep::on_futex)) {
      box.sleep_on_futex(5s);
      box.awake();
    }
  }
  one.join();
  two.join();
}

}  // namespace
}  // namespace coppice::core
