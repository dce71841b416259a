// SPDX-License-Identifier: Apache-2.0
#include "pyhost/signals_rt.hpp"

#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

#include "base/thread.hpp"
#include "pyhost/guest_test_kit.hpp"

namespace coppice::py {
namespace {

using testkit::eventually;

bool at_default(int signal) {
  struct sigaction present{};
  ::sigaction(signal, nullptr, &present);
  return present.sa_handler == SIG_DFL;
}

TEST(SignalsRt, TakesTwoThatWereFreeAndGivesThemBack) {
  int kick = 0, leave = 0;
  {
    signals_rt signals;
    kick = signals.kick();
    leave = signals.leave();
    EXPECT_NE(kick, leave);
    EXPECT_GE(kick, SIGRTMIN);
    EXPECT_FALSE(at_default(kick));
    EXPECT_FALSE(at_default(leave));
  }
  EXPECT_TRUE(at_default(kick));
  EXPECT_TRUE(at_default(leave));
}

TEST(SignalsRt, NeverTakesOneThatHasAHandler) {
  const int taken = signals_rt().kick();
  ::signal(taken, [](int) {});
  {
    signals_rt signals;
    EXPECT_NE(signals.kick(), taken);
    EXPECT_NE(signals.leave(), taken);
  }
  EXPECT_FALSE(at_default(taken));
  ::signal(taken, SIG_DFL);
}

TEST(SignalsRt, KickMakesABlockedCallReturnEvenIfTheThreadsMaskWasFull) {
  signals_rt signals;
  std::atomic<int> error{0};
  base::os_thread t("blocked", [&] {
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, nullptr);
    signals.open_here();
    ::pause();
    error = errno;
  });
  const pid_t tid = t.tid();
  EXPECT_TRUE(eventually([&] {
    signals.send_kick(tid);
    return error == EINTR;
  }));
  t.join();
}

TEST(SignalsRt, KickOfAThreadThatIsGoneSaysSo) {
  signals_rt signals;
  base::os_thread t("short", [] {});
  const pid_t tid = t.tid();
  t.join();
  // The kernel lets go of it a moment after the join.
  EXPECT_TRUE(eventually([&] { return !signals.send_kick(tid); }));
}

TEST(SignalsRt, LeaveJumpsToTheBaseFrameOfTheThread) {
  signals_rt signals;
  static sigjmp_buf base;
  static std::atomic<bool> ready{false}, came_back{false};
  base::os_thread t("leaving", [] {
    if (sigsetjmp(base, 1) != 0) {
      came_back = true;
      return;
    }
    ready = true;
    for (;;) ::pause();
  });
  ASSERT_TRUE(eventually([] { return ready.load(); }));
  const leave_order order{&base};
  EXPECT_TRUE(signals.order(t.tid(), order));
  t.join();
  EXPECT_TRUE(came_back);
}

// glibc gives the stack of a joined thread to the next one, thread-specific values included.
TEST(SignalsRt, AThreadThatEndsWhereItStandsLeavesNoThreadSpecificValueToTheNext) {
  signals_rt signals;
  static pthread_key_t key;
  ASSERT_EQ(
      ::pthread_key_create(&key, [](void*) { ADD_FAILURE() << "a destructor of others ran"; }), 0);
  static std::atomic<pid_t> tid{0};
  pthread_t first{};
  // tidy: allow library-home: a thread that no owner of ours knows, as a guest starts them
  ASSERT_EQ(::pthread_create(
                &first, nullptr,
                [](void*) -> void* {
                  ::pthread_setspecific(key, &key);
                  tid = static_cast<pid_t>(::syscall(SYS_gettid));
                  for (;;) ::pause();
                },
                nullptr),
            0);
  ASSERT_TRUE(eventually([] { return tid != 0; }));
  const leave_order where_it_stands{};
  EXPECT_TRUE(signals.order(tid, where_it_stands));
  ASSERT_EQ(::pthread_join(first, nullptr), 0);
  static void* seen = &key;
  base::os_thread second("next", [] { seen = ::pthread_getspecific(key); });
  second.join();
  EXPECT_EQ(seen, nullptr);
  ::pthread_key_delete(key);
}

TEST(SignalsRt, LeaveFromAnybodyElseIsIgnored) {
  signals_rt signals;
  std::atomic<bool> stop{false};
  base::os_thread t("staying", [&] {
    while (!stop) ::pause();
  });
  const pid_t tid = t.tid();
  ASSERT_EQ(::syscall(SYS_tgkill, ::getpid(), tid, signals.leave()), 0);
  sigval no_order;
  no_order.sival_ptr = nullptr;  // Of sigval{} only the int would be zero.
  ASSERT_EQ(::pthread_sigqueue(t.native(), signals.leave(), no_order), 0);
  EXPECT_TRUE(signals.send_kick(tid)) << "it is still there";
  stop = true;
  EXPECT_TRUE(eventually([&] {
    signals.send_kick(tid);
    return t.join_for(std::chrono::milliseconds(1));
  }));
}

}  // namespace
}  // namespace coppice::py
