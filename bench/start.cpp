// SPDX-License-Identifier: Apache-2.0
// bench_start [warm | warm_async]: the median time from start_actor() to the first reply of a
// Python guest, with everything on one processor. Cold: in ms; from a full stock: in us.
#include <fmt/format.h>

#include <string_view>

#include "bench/bench.hpp"
#include "bench/endpoints.hpp"

using namespace coppice;

namespace {

constexpr const char* module = "coppice_tour";
constexpr unsigned stock = 8;

/// One actor, started, asked and ended.
task<> time_one(actor& self, std::string_view function, std::vector<double>& times) {
  auto body = [&](actor_nursery& an) -> task<> {
    const auto t = bench::clock::now();
    portal p =
        co_await an.start_actor("guest", {.backend = spawn::subint, .enable_modules = {module}});
    co_await p.run(function_name::parse(function), kw("x", 1));
    times.push_back(bench::us_since(t));
  };
  co_await open_nursery(self, body);
}

task<> measure_cold(actor& self) {
  std::vector<double> times;
  for (int i = 0; i < 33; ++i) co_await time_one(self, "coppice_tour:ping", times);
  times.erase(times.begin(), times.begin() + 3);
  fmt::print("{:.3f}\n", bench::median(times) / 1e3);
}

/// A stock of 8 is used up by each of several roots, so that nothing is made meanwhile.
int measure_warm(int argc, char** argv, bool async) {
  std::vector<double> times;
  for (int round = 0; round < 6; ++round) {
    main_options options;
    options.warm.size = stock;
    options.warm.preload = {module};
    if (async) options.warm.loop = "asyncio";
    options.warm.refill = refill_when::never;
    options.warm.fill_within = std::chrono::seconds(30);
    std::vector<double> taken;
    auto root = [&](actor& self) -> task<> {
      for (unsigned i = 0; i < stock; ++i)
        co_await time_one(self, async ? "coppice_tour:async_ping" : "coppice_tour:ping", taken);
    };
    if (const int status = run_main(argc, argv, root, std::move(options))) return status;
    if (round > 0) times.insert(times.end(), taken.begin(), taken.end());
  }
  fmt::print("{:.1f}\n", bench::median(times));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  bench::pin(0, 0);
  const std::string_view what = argc > 1 ? argv[1] : "";
  if (what == "warm" || what == "warm_async") return measure_warm(1, argv, what == "warm_async");
  auto root = [](actor& self) -> task<> { co_await measure_cold(self); };
  return run_main(argc, argv, root);
}
