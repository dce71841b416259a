// SPDX-License-Identifier: Apache-2.0
#include "primes.hpp"
using namespace coppice;

task<std::int64_t> primes::count_primes(std::int64_t start, std::int64_t stop) {
  std::int64_t n = 0;
  for (std::int64_t i = start; i < stop; ++i) {
    bool p = i > 1;
    for (std::int64_t d = 2; d * d <= i && p; ++d) p = i % d != 0;
    n += p;
  }
  co_return n;
}
task<> root(actor& self) {
  auto total = co_await open_nursery(self, [](actor_nursery& an) -> task<std::int64_t> {
    portal native = co_await an.start_actor("native", {.backend = spawn::thread});
    portal python = co_await an.start_actor(
        "python", {.backend = spawn::subint, .enable_modules = {"primes_py"}});
    auto a = co_await native.run(primes::count, 0, 500);  // typed: checked while compiling
    auto b = co_await python.run(primes::count_in_python, 500, 1'000);  // the same, in Python
    auto c = co_await python.run<std::int64_t>("primes_py:count_primes", kw("start", 1'000),
                                               kw("stop", 2'000));  // by name
    an.cancel("done");
    co_return a + b + c;
  });
  std::printf("%lld\n", static_cast<long long>(total));
}
int main(int argc, char** argv) {
  return run_main(argc, argv, root, {.endpoints = {primes::count}});
}
