// SPDX-License-Identifier: Apache-2.0
// The programs that the README and the guide show for this layer, on virtual time.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "coppice/errors.hpp"
#include "coppice/nursery.hpp"
#include "coppice/testkit/async_test.hpp"
#include "coppice/time.hpp"

namespace coppice {
namespace {

using namespace std::chrono_literals;

std::vector<std::string> printed;
void print(std::string line) { printed.push_back(std::move(line)); }

// --- 01_hello_nursery

task<> hello(std::string_view who, duration after) {
  co_await sleep_for(after);
  print("hello " + std::string(who));
}
task<> listen(std::uint16_t wanted, task_status<std::uint16_t> status) {
  status.started(wanted == 0 ? 4242 : wanted);  // the nursery takes over from here
  co_await sleep_forever();
}

COPPICE_TEST(Examples, HelloNursery) {
  printed.clear();
  int met = 0;  // outside the block: lives longer than every task
  auto port = co_await open_nursery([&](nursery& n) -> task<std::uint16_t> {
    n.start_soon(hello, "ada", 2s);
    n.start_soon(hello, "grace", 1s);
    n.start_soon(
        [](int& count) -> task<> {
          ++count;
          co_return;
        },
        std::ref(met));
    auto bound = co_await n.start(listen, 0);
    co_await sleep_for(3s);
    n.cancel("seen enough");
    co_return bound;
  });  // here every task has ended
  EXPECT_EQ(port, 4242);
  EXPECT_EQ(met, 1);
  EXPECT_EQ(printed, (std::vector<std::string>{"hello grace", "hello ada"}));
  EXPECT_EQ(t.elapsed(), 3s);
}

// --- 02_timeouts

task<std::string> ask(std::string question) {
  co_await sleep_for(2s);
  co_return "re: " + question;
}
task<> say_goodbye() {
  co_await sleep_for(1s);
  print("bye");
}
task<> sleep_for_task(duration d) { co_await sleep_for(d); }

COPPICE_TEST(Examples, Timeouts) {
  printed.clear();
  if (auto reply = co_await move_on_after(3s, ask("a"))) print(*reply);
  if (auto reply = co_await move_on_after(1s, ask("b")); !reply) print("b: too late");
  try {
    auto reply = co_await fail_after(1s, ask("c"));
    print(reply);
  } catch (const timeout_error& e) {
    print(std::string("c: ") + e.what());
  }
  bool finished = co_await move_on_after(5s, [&](cancel_scope& scope) -> task<> {
    scope.cancel("changed my mind");
    co_await sleep_forever();
  });
  print(finished ? "finished" : "not finished");
  co_await finally(sleep_for_task(1s), {.within = 2s}, say_goodbye());
  EXPECT_EQ(printed,
            (std::vector<std::string>{"re: a", "b: too late", "c: timed out: fail_after(1s) passed",
                                      "not finished", "bye"}));
  EXPECT_EQ(t.elapsed(), 6s);
}

}  // namespace
}  // namespace coppice
