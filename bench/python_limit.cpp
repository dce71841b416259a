// SPDX-License-Identifier: Apache-2.0
// What a call of a Python guest may cost that blocks: bench_python_limit def|async one|cross PYTHON
// prints the median us of a round trip between a native thread that reads an eventfd and a Python
// thread that reads another, letting go of its GIL meanwhile, or an asyncio loop that watches it.
#include <Python.h>
#include <sys/eventfd.h>

#include <cstdint>
#include <thread>

#include "bench/bench.hpp"

namespace {

constexpr int warm_up = 2'000, rounds = 20'000;

// Each ends after as many round trips.
constexpr const char* waits = R"(
import os
for _ in range(rounds):
    os.eventfd_write(back, os.eventfd_read(there))
)";
constexpr const char* watches = R"(
import asyncio, os
left = rounds
def ready():
    global left
    os.eventfd_write(back, os.eventfd_read(there))
    left -= 1
    if left == 0:
        loop.stop()
loop = asyncio.new_event_loop()
loop.add_reader(there, ready)
loop.run_forever()
)";

double round_trips(int there, int back) {
  std::vector<double> times;
  std::uint64_t n = 1;
  for (int i = 0; i < warm_up + rounds; ++i) {
    const auto t = bench::clock::now();
    if (::write(there, &n, sizeof n) != sizeof n || ::read(back, &n, sizeof n) != sizeof n)
      std::abort();
    if (i >= warm_up) times.push_back(bench::us_since(t));
  }
  return bench::median(times);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  bench::pin(0, 0);
  PyConfig config;
  PyConfig_InitPythonConfig(&config);
  PyConfig_SetBytesString(&config, &config.executable, argv[3]);
  PyConfig_SetBytesString(&config, &config.program_name, argv[3]);
  if (PyStatus_Exception(Py_InitializeFromConfig(&config))) return 1;
  PyConfig_Clear(&config);
  const int there = ::eventfd(0, 0), back = ::eventfd(0, 0);
  double us = 0;
  std::thread caller([&] { us = round_trips(there, back); });
  if (std::strcmp(argv[2], "cross") == 0) bench::pin(0, 1);  // This thread, which runs Python.
  const std::string numbers = "there, back, rounds = " + std::to_string(there) + ", " +
                              std::to_string(back) + ", " + std::to_string(warm_up + rounds) + "\n";
  const bool async = std::strcmp(argv[1], "async") == 0;
  const bool failed = PyRun_SimpleString((numbers + (async ? watches : waits)).c_str()) != 0;
  if (failed) std::abort();
  caller.join();
  std::printf("%.3f\n", us);
  return Py_FinalizeEx();
}
