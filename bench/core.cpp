// SPDX-License-Identifier: Apache-2.0
// bench_core spawn|handoff|cancel|timer: the core on one loop, in ns per task or operation;
// bench_core parked: bytes per task. Its peer, Boost.Asio's own coroutines, is core_asio.cpp.
#include <malloc.h>
#include <coppice/coppice.hpp>

#include "bench/bench.hpp"

using namespace coppice;

namespace {

task<> nothing() { co_return; }
task<> park() { co_await sleep_forever(); }

// Starts 1,000 tasks and waits for them, again and again.
task<double> spawn_ns() {
  constexpr int rounds = 300, tasks = 1000;
  std::vector<double> times;
  for (int r = 0; r < rounds; ++r) {
    const auto t = bench::clock::now();
    auto body = [&](nursery& n) {
      for (int i = 0; i < tasks; ++i) n.start_soon(nothing);
    };
    co_await open_nursery(body);
    times.push_back(bench::us_since(t) * 1e3 / tasks);
  }
  co_return bench::median(times);
}

task<> send_all(channel<int>* c, int count) {
  for (int i = 0; i < count; ++i) co_await c->send(i);
  c->close();
}

// One sender, one receiver, room for one value.
task<double> handoff_ns() {
  constexpr int rounds = 30, count = 10'000;
  std::vector<double> times;
  for (int r = 0; r < rounds; ++r) {
    channel<int> c(1);
    const auto t = bench::clock::now();
    auto body = [&](nursery& n) -> task<> {
      n.start_soon(send_all, &c, count);
      while (auto v = co_await c.receive()) {
      }
    };
    co_await open_nursery(body);
    times.push_back(bench::us_since(t) * 1e3 / count);
  }
  co_return bench::median(times);
}

// 100,000 parked tasks, cancelled together.
task<double> cancel_ns() {
  constexpr int rounds = 5, tasks = 100'000;
  std::vector<double> times;
  for (int r = 0; r < rounds; ++r) {
    bench::clock::time_point t;
    auto body = [&](nursery& n) -> task<> {
      for (int i = 0; i < tasks; ++i) n.start_soon(park);
      for (int i = 0; i < 3; ++i) co_await checkpoint();
      t = bench::clock::now();
      n.cancel("enough");
    };
    co_await open_nursery(body);
    times.push_back(bench::us_since(t) * 1e3 / tasks);
  }
  co_return bench::median(times);
}

task<> nap() { co_await sleep_for(std::chrono::microseconds(100)); }

// 10,000 tasks that sleep once. When the last has been started, the first are due: nobody waits.
task<double> timer_ns() {
  constexpr int rounds = 30, tasks = 10'000;
  std::vector<double> times;
  for (int r = 0; r < rounds; ++r) {
    const auto t = bench::clock::now();
    auto body = [&](nursery& n) {
      for (int i = 0; i < tasks; ++i) n.start_soon(nap);
    };
    co_await open_nursery(body);
    times.push_back(bench::us_since(t) * 1e3 / tasks);
  }
  co_return bench::median(times);
}

// What the allocator gives out for a parked task: its frame, and what the nursery keeps of it.
task<double> parked_bytes() {
  constexpr int tasks = 100'000;
  double bytes = 0;
  auto body = [&](nursery& n) -> task<> {
    const auto before = ::mallinfo2().uordblks;
    for (int i = 0; i < tasks; ++i) n.start_soon(park);
    for (int i = 0; i < 3; ++i) co_await checkpoint();
    bytes = static_cast<double>(::mallinfo2().uordblks - before) / tasks;
    n.cancel("enough");
  };
  co_await open_nursery(body);
  co_return bytes;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  bench::pin(0, 0);
  const std::string what = argv[1];
  auto root = [what](actor&) -> task<> {
    double ns = 0;
    if (what == "spawn") ns = co_await spawn_ns();
    if (what == "handoff") ns = co_await handoff_ns();
    if (what == "cancel") ns = co_await cancel_ns();
    if (what == "timer") ns = co_await timer_ns();
    if (what == "parked") ns = co_await parked_bytes();
    std::printf("%.1f\n", ns);
  };
  return run_main(argc, argv, root);
}
