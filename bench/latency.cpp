// SPDX-License-Identifier: Apache-2.0
// bench_latency native|process|guest|guest_async one|cross: the median call in us. All threads on
// one processor, or the callee's on the other.
#include <fmt/format.h>

#include "bench/bench.hpp"
#include "bench/endpoints.hpp"

using namespace coppice;

namespace {

constexpr int warm_up = 2'000, rounds = 20'000;

task<> measure(actor& self, std::string kind, bool cross) {
  auto body = [&](actor_nursery& an) -> task<> {
    actor_options how;
    const char* name = "bench:ping";
    if (kind == "native") {
      how.backend = spawn::thread;
    } else if (kind == "process") {
      how.backend = spawn::process;
    } else {
      how.backend = spawn::subint;
      how.enable_modules = name_list("coppice_tour");
      name = kind == "guest" ? "coppice_tour:ping" : "coppice_tour:async_ping";
    }
    portal p = co_await an.start_actor("callee", how);
    if (cross) {
      if (kind == "process")
        bench::pin_threads(static_cast<pid_t>(co_await p.run(bench::pid_endpoint)), "", 1);
      else
        bench::pin_threads(::getpid(), kind == "native" ? "actor/callee" : "guest/callee", 1);
    }
    std::vector<double> times;
    for (int i = 0; i < warm_up + rounds; ++i) {
      const auto t = bench::clock::now();
      co_await p.run<std::int64_t>(function_name::parse(std::string_view(name)), kw("x", i));
      if (i >= warm_up) times.push_back(bench::us_since(t));
    }
    fmt::print("{:.3f}\n", bench::median(times));
  };
  co_await open_nursery(self, body);
}

}  // namespace

int main(int argc, char** argv) {
  const bool child = argc > 1 && std::strcmp(argv[1], "--coppice-child") == 0;
  if (!child && argc != 3) return 2;
  if (!child) bench::pin(0, 0);
  const std::string kind = argc > 1 ? argv[1] : "", mode = argc > 2 ? argv[2] : "";
  auto root = [kind, mode](actor& self) -> task<> {
    co_await measure(self, kind, mode == "cross");
  };
  return run_main(argc, argv, root, {.endpoints = {bench::ping_endpoint, bench::pid_endpoint}});
}
