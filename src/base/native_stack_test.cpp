// SPDX-License-Identifier: Apache-2.0
#include "base/native_stack.hpp"  // First: proves the header stands alone.

#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>

#include "base/sanitizers.hpp"
#include "base/symbol.hpp"
#include "base/thread.hpp"

namespace coppice::base {
namespace {

using namespace std::chrono_literals;

std::string text_of(const std::vector<const void*>& stack) {
  std::string text;
  for (const void* frame : stack) text += place_at(frame) + "\n";
  return text;
}

TEST(NativeStack, ShowsWhereAThreadIsBlocked) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  std::atomic<bool> began{false};
  os_thread reader("reader", [&] {
    began = true;
    began.notify_all();
    char byte = 0;
    EXPECT_EQ(::read(ends[0], &byte, 1), 1) << "the signal must not end the call";
  });
  began.wait(false);
  std::vector<const void*> stack;
  for (int tries = 0; tries < 1000 && text_of(stack).find("read") == std::string::npos; ++tries)
    stack = stack_of(reader.tid(), 10s);  // It may be on its way into read().
  EXPECT_NE(text_of(stack).find("read"), std::string::npos) << text_of(stack);
  EXPECT_EQ(::write(ends[1], "x", 1), 1);
  reader.join();
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST(NativeStack, ShowsAThreadThatComputes) {
  if (under_thread_sanitizer) GTEST_SKIP() << "thread sanitizer holds signals back";
  std::atomic<bool> stop{false};
  os_thread busy("busy", [&] {
    while (!stop.load(std::memory_order_relaxed)) continue;
  });
  EXPECT_FALSE(stack_of(busy.tid(), 10s).empty());
  stop = true;
  busy.join();
}

TEST(NativeStack, AThreadThatBlocksSignalsHasNoStackAndTheNextOneHas) {
  if (under_thread_sanitizer) GTEST_SKIP() << "thread sanitizer holds signals back";
  std::atomic<bool> began{false};
  std::atomic<bool> stop{false};
  os_thread deaf("deaf", [&] {
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, nullptr);
    began = true;
    began.notify_all();
    stop.wait(false);
  });
  os_thread other("other", [&] { stop.wait(false); });
  began.wait(false);
  EXPECT_TRUE(stack_of(deaf.tid(), 20ms).empty());
  EXPECT_FALSE(stack_of(other.tid(), 10s).empty());
  stop = true;
  stop.notify_all();
  deaf.join();
  other.join();
}

}  // namespace
}  // namespace coppice::base
