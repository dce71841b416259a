// SPDX-License-Identifier: Apache-2.0
#include "coppice/from_thread.hpp"  // First: proves the header stands alone.

#include <gtest/gtest.h>
#include <unistd.h>

#include <random>
#include <string>

#include "coppice/errors.hpp"
#include "coppice/event.hpp"
#include "coppice/introspect.hpp"
#include "coppice/nursery.hpp"
#include "coppice/testkit/async_test.hpp"
#include "coppice/testkit/order.hpp"
#include "coppice/time.hpp"
#include "coppice/to_thread.hpp"
#include "core/loop.hpp"
#include "core/thread_for_test.hpp"

namespace coppice {
namespace {

using namespace std::chrono_literals;

task<int> twice_later(int x) {
  co_await sleep_for(1h);
  co_return 2 * x;
}
task<std::unique_ptr<int>> boxed(std::unique_ptr<int> of) {
  co_await checkpoint();
  co_return of;
}
task<> throws_there() {
  co_await checkpoint();
  throw std::invalid_argument("odd");
}

COPPICE_TEST(FromThread, RunRunsATaskOnTheLoopAndGivesItsValueOrError) {
  const pid_t here = ::gettid();
  co_await to_thread<on_cancel::wait>([&] {
    EXPECT_EQ(from_thread::run(twice_later, 21), 42) << "virtual time goes on for it";
    EXPECT_EQ(*from_thread::run(boxed, std::make_unique<int>(7)), 7);
    EXPECT_THROW(from_thread::run(throws_there), std::invalid_argument);
    pid_t there = 0;
    from_thread::run([&]() -> task<> {
      there = ::gettid();
      co_return;
    });
    EXPECT_EQ(there, here);
  });
  EXPECT_EQ(t.elapsed(), 1h);
}

COPPICE_TEST(FromThread, RunSyncCallsAFunctionOnTheLoopsThread) {
  const pid_t here = ::gettid();
  event happened;
  co_await to_thread<on_cancel::wait>([&] {
    EXPECT_EQ(from_thread::run_sync([] { return ::gettid(); }), here);
    from_thread::run_sync([&] { happened.set(); });
    EXPECT_THROW(from_thread::run_sync([] { throw std::domain_error("odd"); }), std::domain_error);
  });
  EXPECT_TRUE(happened.is_set());
}

COPPICE_TEST(FromThread, WhatRunRunsIsInTheTaskThatWaits) {
  event go;
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon(
        "caller",
        [](event& e) -> task<> {
          co_await to_thread<on_cancel::wait>(
              [&] { from_thread::run([&]() -> task<> { co_await e.wait(); }); });
        },
        std::ref(go));
    auto waits = [] { return this_loop().snapshot().tasks.at(1).waits_for; };
    while (waits() != "an event") co_await checkpoint();
    EXPECT_EQ(this_loop().snapshot().tasks.at(1).name, "caller");
    go.set();
  });
}

// Each level has a thread of its own, which waits for the loop.
int descend(int levels) {
  if (levels == 0) return 0;
  return 1 + from_thread::run(
                 [](int left) -> task<int> {
                   co_return co_await to_thread<on_cancel::wait>(descend, left);
                 },
                 levels - 1);
}

COPPICE_TEST(FromThread, ThereAndBackAndThereAgain) {
  EXPECT_EQ(co_await to_thread<on_cancel::wait>(descend, 5), 5);
}

COPPICE_TEST(FromThread, CancellingTheCallCancelsWhatRunRunsAndThrowsThere) {
  bool thrown = false, cleaned = false;
  bool finished = co_await move_on_after(
      5s, to_thread<on_cancel::wait>([&] {
        try {
          from_thread::run([]() -> task<> { co_await sleep_forever(); });
        } catch (const cancelled& c) {
          thrown = c.cause() == "move_on_after(5s): deadline passed";
        }
        EXPECT_THROW(from_thread::check_cancelled(), cancelled);
        EXPECT_THROW(from_thread::run([]() -> task<> { co_await checkpoint(); }), cancelled);
        from_thread::run_sync([&] { cleaned = true; });
      }));
  EXPECT_TRUE(thrown);
  EXPECT_TRUE(cleaned);
  EXPECT_TRUE(finished) << "the work has ended in spite of it";
}

/// What a test and work that is to be abandoned share.
struct dialog {
  gate in;
  std::atomic<bool> serving{false}, unwound{false}, refused{false};
};
using dialog_ptr = std::shared_ptr<dialog>;

struct says_unwound {
  ~says_unwound() { d->unwound = true; }
  dialog_ptr d;
};
task<> serves_for_ever(dialog_ptr d) {
  const says_unwound at_end{d};
  d->serving = true;
  co_await sleep_forever();
}

void asks_when_abandoned(const dialog_ptr& d) {
  EXPECT_THROW(from_thread::run(serves_for_ever, d), cancelled);
  EXPECT_TRUE(d->unwound);
  d->in.enter();  // Whoever lets us go has seen the call end.
  EXPECT_THROW(from_thread::check_cancelled(), cancelled);
  EXPECT_THROW(from_thread::run_sync([] {}), cancelled);
  EXPECT_THROW(from_thread::run(twice_later, 1), cancelled);
  d->refused = true;
}

task<> call_and_cancel_while_serving(dialog_ptr d) {
  bool finished = co_await move_on_after(1h, [&](cancel_scope& scope) -> task<> {
    co_await open_nursery([&](nursery& n) -> task<> {
      n.start_soon(
          [](dialog_ptr of) -> task<> {
            co_await to_thread<on_cancel::abandon>(asks_when_abandoned, of);
          },
          d);
      while (!d->serving) co_await checkpoint();
      scope.cancel();
    });
  });
  EXPECT_FALSE(finished);
  EXPECT_TRUE(d->unwound) << "what was served has ended before the call did";
}

COPPICE_TEST(FromThread, ACallThatIsAbandonedEndsWhatItServesAndThenRefusesAll) {
  auto d = std::make_shared<dialog>();
  co_await call_and_cancel_while_serving(d);
  EXPECT_EQ(this_loop().snapshot().quarantine.size(), 1u);
  d->in.let_go();
  while (!this_loop().snapshot().quarantine.empty()) co_await checkpoint();
  EXPECT_TRUE(d->refused);
}

TEST(FromThread, AThreadWhoseLoopHasEndedIsRefused) {
  auto d = std::make_shared<dialog>();
  {
    core::loop loop;
    loop.run(call_and_cancel_while_serving(d));
  }
  d->in.let_go();
  wait_until([&] { return d->refused.load(); });
}

// The thread posts its request when nobody looks at the loop's inbox any more.
TEST(FromThread, AThreadThatWaitsWhileItsLoopsRunEndsIsReleased) {
  for (int round = 0; round < 200; ++round) {
    auto d = std::make_shared<dialog>();
    core::loop loop;
    auto main = [&]() -> task<> {
      co_await open_nursery([&](nursery& n) -> task<> {
        n.start_soon(
            [](dialog_ptr of) -> task<> {
              co_await to_thread<on_cancel::abandon>(
                  [](const dialog_ptr& at) {
                    at->in.enter();
                    EXPECT_THROW(for (;;) from_thread::run_sync([] {}), cancelled);
                    at->refused = true;
                  },
                  of);
            },
            d);
        co_await testkit::wait_all_blocked();
        wait_until([&] { return d->in.entered.load(); });
        d->in.let_go();
        for (int i = 0; i < round; ++i) co_await checkpoint();
        n.cancel();
      });
    };
    loop.run(main());
    wait_until([&] { return d->refused.load(); });  // The loop does not run, but is still there.
  }
}

TEST(FromThread, OnAnyOtherThreadItIsAnErrorThatSaysWhy) {
  const auto text_of = [](auto fn) -> std::string {
    try {
      fn();
    } catch (const error& e) {
      return e.what();
    }
    return "nothing was thrown";
  };
  const auto check = [&](auto fn, const char* text) {
    EXPECT_NE(text_of(fn).find(text), std::string::npos) << text_of(fn);
  };
  check([] { from_thread::run_sync([] {}); }, "is not one of to_thread()");
  check([] { from_thread::run(twice_later, 1); }, "is not one of to_thread()");
  check([] { from_thread::check_cancelled(); }, "is not one of to_thread()");
  core::loop loop;
  auto main = [&]() -> task<> {
    check([] { from_thread::run_sync([] {}); }, "would wait for itself");
    check([] { from_thread::run(twice_later, 1); }, "would wait for itself");
    check([] { from_thread::check_cancelled(); }, "would wait for itself");
    // A thread of to_thread() on which somebody runs a loop is that loop's.
    co_await to_thread<on_cancel::wait>([&] {
      core::loop inner;
      auto nested = [&]() -> task<> {
        check([] { from_thread::run_sync([] {}); }, "would wait for itself");
        co_return;
      };
      inner.run(nested());
    });
  };
  loop.run(main());
}

// --- everything at once

/// Asks its loop for this and that until it is told, or for a while.
int busy(int seed, const gate_ptr& g) {
  std::mt19937 random(static_cast<unsigned>(seed));
  for (int i = 0; i < 20; ++i) {
    switch (random() % 4) {
      case 0:
        from_thread::check_cancelled();
        break;
      case 1:
        from_thread::run_sync([&] { ++g->ended; });
        break;
      case 2:
        from_thread::run([&]() -> task<> {
          ++g->ended;
          co_await checkpoint();
        });
        break;
      default:
        ::sched_yield();
    }
  }
  if (random() % 8 == 0) throw std::runtime_error("odd");
  return seed;
}

struct tally {
  int begun = 0, values = 0, errors = 0, cancelled = 0;
};

template <on_cancel policy>
task<> one_call(int seed, tally& all, gate_ptr g) {
  ++all.begun;
  auto frame = detail::take(to_thread<policy>(busy, seed, g));
  auto how = co_await detail::captured<int>(std::move(frame));
  if (detail::is_cancelled(how.error())) {
    ++all.cancelled;
  } else if (how.error()) {
    ++all.errors;
  } else {
    EXPECT_EQ(how.value(), seed);
    ++all.values;
  }
  if (detail::is_cancelled(how.error())) std::rethrow_exception(how.error());
}

task<> some_calls(int seed, tally& all, gate_ptr g) {
  std::mt19937 random(static_cast<unsigned>(seed));
  co_await open_nursery([&](nursery& n) -> task<> {
    for (int i = 0; i < 20; ++i) {
      const int number = static_cast<int>(random());
      if (i % 2 == 0) {
        n.start_soon(one_call<on_cancel::wait>, number, std::ref(all), g);
      } else {
        n.start_soon(one_call<on_cancel::abandon>, number, std::ref(all), g);
      }
    }
    const auto turns = random() % 100;
    for (unsigned i = 0; i < turns; ++i) co_await checkpoint();
    if (seed % 2 == 0) n.cancel("half of them");
  });
}

TEST(FromThread, StressEveryCallEndsOnceAndNoThreadIsLeft) {
  const auto before = threads_of_this_process();
  const unsigned seed = std::random_device{}();
  std::printf("seed %u\n", seed);
  tally all;
  auto g = std::make_shared<gate>();
  {
    core::loop loop;
    auto main = [&]() -> task<> {
      thread_limiter().set_total_tokens(8);
      co_await open_nursery([&](nursery& n) {
        for (unsigned i = 0; i < 50; ++i)
          n.start_soon(some_calls, static_cast<int>(seed % 1000 + i), std::ref(all), g);
      });
      while (!this_loop().snapshot().quarantine.empty()) co_await checkpoint();
      EXPECT_EQ(thread_limiter().borrowed_tokens(), 0u);
    };
    loop.run(main());
  }
  EXPECT_EQ(all.values + all.errors + all.cancelled, all.begun);
  EXPECT_GT(all.values, 0);
  wait_until([&] { return threads_of_this_process() == before; });
  EXPECT_EQ(g.use_count(), 1);
}

}  // namespace
}  // namespace coppice
