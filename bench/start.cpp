// SPDX-License-Identifier: Apache-2.0
// bench_start WHAT: the median time from start_actor() to the first reply, with everything on one
// processor, from a root that has started such an actor before.
//   guest                ms, of a Python guest          warm, warm_async  us, from a full stock
//   forkserver, process  ms, of a Python process that is forked, and of a C++ process
//   thread               us, of a C++ actor on a thread
// bench_start --nothing does nothing: what a C++ process costs before it is ours.
#include <fmt/format.h>

#include <string_view>

#include "bench/bench.hpp"
#include "bench/endpoints.hpp"

using namespace coppice;

namespace {

constexpr const char* module = "coppice_tour";
constexpr unsigned stock = 8;
constexpr int warm_up = 3;

struct kind {
  spawn::key backend;
  bool python;
  int rounds;
  double per_us;  // What is printed, of a microsecond.
};

/// One actor, started, asked and ended.
task<> time_one(actor& self, spawn::key backend, std::string_view function, bool python,
                std::vector<double>& times) {
  auto body = [&](actor_nursery& an) -> task<> {
    actor_options how{.backend = backend};
    if (python) how.enable_modules = name_list(module);
    const auto t = bench::clock::now();
    portal p = co_await an.start_actor("one", how);
    co_await p.run<std::int64_t>(function_name::parse(function), kw("x", 1));
    times.push_back(bench::us_since(t));
    an.cancel("measured");
  };
  co_await open_nursery(self, body);
}

task<> measure(actor& self, kind k) {
  std::vector<double> times;
  for (int i = 0; i < k.rounds + warm_up; ++i)
    co_await time_one(self, k.backend, k.python ? "coppice_tour:ping" : "bench:ping", k.python,
                      times);
  times.erase(times.begin(), times.begin() + warm_up);
  fmt::print("{:.3f}\n", bench::median(times) * k.per_us);
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
        co_await time_one(self, spawn::subint,
                          async ? "coppice_tour:async_ping" : "coppice_tour:ping", true, taken);
    };
    if (const int status = run_main(argc, argv, root, std::move(options))) return status;
    if (round > 0) times.insert(times.end(), taken.begin(), taken.end());
  }
  fmt::print("{:.1f}\n", bench::median(times));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view what = argc > 1 ? argv[1] : "";
  if (what == "--nothing") return 0;
  kind k{spawn::subint, true, 30, 1e-3};
  if (what != "--coppice-child") {
    bench::pin(0, 0);
    if (what == "warm" || what == "warm_async") return measure_warm(1, argv, what == "warm_async");
    if (what == "forkserver") k.backend = spawn::forkserver;
    if (what == "process") k = {spawn::process, false, 60, 1e-3};
    if (what == "thread") k = {spawn::thread, false, 1'000, 1};
  }
  auto root = [k](actor& self) -> task<> { co_await measure(self, k); };
  return run_main(argc, argv, root, {.endpoints = {bench::ping_endpoint}});
}
