// SPDX-License-Identifier: Apache-2.0
// bench_many cold|warm: 25 guests up at once, one call each, down: the median ms, and the longest
// turns of the control loop meanwhile, in us, as "ms turn cpu".
// bench_many memory: what a guest that has answered a call adds to the process's memory, in MB.
#include <fmt/format.h>

#include "bench/bench.hpp"
#include "bench/control.hpp"
#include "bench/endpoints.hpp"

using namespace coppice;

namespace {

constexpr int count = 25;

task<> up_and_ask(actor_nursery& an) {
  portal p =
      co_await an.start_actor("one", {.backend = spawn::subint, .enable_modules = {"ping_guest"}});
  co_await p.run<std::int64_t>(function_name::parse(std::string_view("ping_guest:ping")),
                               kw("x", 1));
}

task<> up(actor_nursery& an) {
  auto all = [&](nursery& n) {
    for (int i = 0; i < count; ++i) n.start_soon(up_and_ask, std::ref(an));
  };
  co_await open_nursery(all);
}

task<double> up_and_down_ms(actor& self) {
  const auto t = bench::clock::now();
  auto body = [&](actor_nursery& an) -> task<> {
    co_await up(an);
    an.cancel("measured");
  };
  co_await open_nursery(self, body);
  co_return bench::us_since(t) / 1e3;
}

/// Cold: one after another in one root, the first is a warm-up. Warm: a root each, whose stock is
/// full.
int measure(char** argv, bool warm) {
  std::vector<double> times;
  bench::turns longest;
  for (int round = 0; round < (warm ? 6 : 1); ++round) {
    main_options options;
    if (warm) {
      options.warm.size = count;
      options.warm.preload = {"ping_guest"};
      options.warm.refill = refill_when::never;
      options.warm.fill_within = std::chrono::seconds(30);
    }
    auto root = [&](actor& self) -> task<> {
      for (int i = 0; i < (warm ? 1 : 6); ++i) {
        bench::measure_turns();
        const double ms = co_await up_and_down_ms(self);
        if (round == 0 && i == 0) continue;
        longest.add(bench::longest_turns());
        times.push_back(ms);
      }
    };
    if (const int status = run_main(1, argv, root, std::move(options))) return status;
  }
  fmt::print("{:.3f} {:.1f} {:.1f}\n", bench::median(times), longest.wall_us, longest.cpu_us);
  return 0;
}

task<> measure_memory(actor& self) {
  double mb = 0;
  auto body = [&](actor_nursery& an) -> task<> {
    co_await up_and_ask(an);  // What is there once: the host, the code of extension modules.
    const double before = bench::resident_mb();
    co_await up(an);
    mb = (bench::resident_mb() - before) / count;
    an.cancel("measured");
  };
  co_await open_nursery(self, body);
  fmt::print("{:.3f}\n", mb);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view what = argc > 1 ? argv[1] : "";
  if (what == "cold" || what == "warm") return measure(argv, what == "warm");
  if (what != "memory") return 2;
  auto root = [](actor& self) -> task<> { co_await measure_memory(self); };
  return run_main(1, argv, root);
}
