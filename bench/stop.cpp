// SPDX-License-Identifier: Apache-2.0
// bench_stop: 25 guests stuck in four ways, cancelled at once. Prints the ms until the block has
// ended, the threads that are left, and the longest turns of the control loop during the stops in
// us, as "ms threads turn cpu".
#include <fmt/format.h>

#include <filesystem>
#include <thread>

#include "bench/bench.hpp"
#include "bench/control.hpp"
#include "bench/endpoints.hpp"

using namespace coppice;
using namespace std::chrono_literals;

namespace {

long threads() {
  return std::distance(std::filesystem::directory_iterator("/proc/self/task"),
                       std::filesystem::directory_iterator());
}

task<> get_stuck(portal p, std::string name) {
  auto call = [&]() -> task<> { co_await p.run(function_name::parse(name)); };
  auto r = co_await as_result(call());
  (void)r;
}

task<> start_all(actor_nursery& an, int count) {
  const char* states[] = {"coppice_tour:pure_loop", "coppice_tour:sleep", "coppice_tour:event_wait",
                          "coppice_tour:lock_never_released"};
  std::vector<portal> all;
  for (int i = 0; i < count; ++i) {
    portal p = co_await an.start_actor(
        "stuck", {.backend = spawn::subint, .enable_modules = {"coppice_tour"}});
    all.push_back(p);
  }
  // Stuck only now: busy loops would slow down the starts.
  for (int i = 0; i < count; ++i)
    an.start_soon(get_stuck, all[static_cast<std::size_t>(i)], states[i % 4]);
  co_await sleep_for(500ms);
}

task<> measure(actor& self) {
  std::vector<double> times;
  bench::turns longest;
  long left = 0;
  for (int round = 0; round < 4; ++round) {
    const long before = threads();
    bench::clock::time_point begun;
    auto body = [&](actor_nursery& an) -> task<> {
      co_await start_all(
          an, round == 0 ? 1 : 25);  // The first is a warm-up: helper threads, self-test.
      bench::measure_turns();
      begun = bench::clock::now();
      an.cancel("measure");
    };
    co_await open_nursery(self, body);
    if (round == 0) continue;
    times.push_back(bench::us_since(begun) / 1e3);
    longest.add(bench::longest_turns());
    for (int i = 0; i < 100 && threads() > before; ++i) std::this_thread::sleep_for(5ms);
    left = std::max(left, threads() - before);
  }
  fmt::print("{:.3f} {} {:.1f} {:.1f}\n", bench::median(times), left, longest.wall_us,
             longest.cpu_us);
}

}  // namespace

int main(int argc, char** argv) {
  auto root = [](actor& self) -> task<> { co_await measure(self); };
  return run_main(argc, argv, root);
}
