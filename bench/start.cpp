// SPDX-License-Identifier: Apache-2.0
// bench_start: the median time from start_actor() to the first reply of a Python guest, in ms, with
// everything on one processor.
#include <fmt/format.h>

#include "bench/bench.hpp"
#include "bench/endpoints.hpp"

using namespace coppice;

namespace {

task<> measure(actor& self) {
  std::vector<double> times;
  for (int i = 0; i < 33; ++i) {
    auto body = [&](actor_nursery& an) -> task<> {
      const auto t = bench::clock::now();
      portal p = co_await an.start_actor(
          "guest", {.backend = spawn::subint, .enable_modules = {"coppice_tour"}});
      co_await p.run("coppice_tour:ping", kw("x", 1));
      if (i >= 3) times.push_back(bench::us_since(t) / 1e3);
    };
    co_await open_nursery(self, body);
  }
  fmt::print("{:.3f}\n", bench::median(times));
}

}  // namespace

int main(int argc, char** argv) {
  bench::pin(0, 0);
  auto root = [](actor& self) -> task<> { co_await measure(self); };
  return run_main(argc, argv, root);
}
