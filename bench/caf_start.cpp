// SPDX-License-Identifier: Apache-2.0
// The peer of thread.start_us: bench_caf_start prints the median us from the spawn of a detached
// actor of CAF's, which has a thread of its own as ours does, to its first reply. On one processor.
#include <caf/all.hpp>

#include "bench/bench.hpp"

namespace {

caf::behavior echo(caf::event_based_actor*) {
  return {[](std::int64_t x) { return x; }};
}

double start_us(caf::actor_system& system) {
  constexpr int warm_up = 3, rounds = 1'000;
  std::vector<double> times;
  caf::scoped_actor self{system};
  for (std::int64_t i = 0; i < warm_up + rounds; ++i) {
    const auto t = bench::clock::now();
    const caf::actor one = self->spawn<caf::detached>(echo);
    self->request(one, std::chrono::seconds(10), i)
        .receive(
            [&](std::int64_t x) {
              if (x != i) std::abort();
            },
            [](const caf::error&) { std::abort(); });
    if (i >= warm_up) times.push_back(bench::us_since(t));
    self->send_exit(one, caf::exit_reason::user_shutdown);
    self->wait_for(one);
  }
  return bench::median(times);
}

}  // namespace

int main() {
  bench::pin(0, 0);
  caf::actor_system_config config;
  caf::actor_system system{config};
  std::printf("%.2f\n", start_us(system));
}
