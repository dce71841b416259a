// SPDX-License-Identifier: Apache-2.0
// The limit of a guest: bench_bare_interpreter start|memory EXECUTABLE prints the median time of
// Py_NewInterpreterFromConfig with an own GIL, on a thread of its own, in ms, on one processor; or
// what one of 25 such interpreters adds to the process's memory, in MB.
#include <Python.h>

#include <barrier>
#include <latch>
#include <thread>

#include "bench/bench.hpp"

namespace {

PyThreadState* new_interpreter() {
  PyInterpreterConfig c{};
  c.allow_threads = 1;
  c.allow_daemon_threads = 1;
  c.check_multi_interp_extensions = 1;
  c.gil = PyInterpreterConfig_OWN_GIL;
  PyThreadState* ts = nullptr;
  if (PyStatus_Exception(Py_NewInterpreterFromConfig(&ts, &c))) std::abort();
  return ts;
}

double start_ms() {
  bench::pin(0, 0);
  std::vector<double> times;
  for (int i = 0; i < 33; ++i) {
    std::thread([&] {
      const auto t = bench::clock::now();
      PyThreadState* ts = new_interpreter();
      if (i >= 3) times.push_back(bench::us_since(t) / 1e3);
      Py_EndInterpreter(ts);
    }).join();
  }
  return bench::median(times);
}

// Each on a thread of its own, all alive. The first is not counted: what is there once.
double memory_mb() {
  constexpr int count = 25;
  std::barrier down(count + 2);
  std::vector<std::thread> all;
  double before = 0;
  for (int i = 0; i <= count; ++i) {
    std::latch up(1);
    all.emplace_back([&] {
      PyThreadState* ts = new_interpreter();
      up.count_down();
      down.arrive_and_wait();
      Py_EndInterpreter(ts);
    });
    up.wait();
    if (i == 0) before = bench::resident_mb();
  }
  const double mb = (bench::resident_mb() - before) / count;
  down.arrive_and_wait();
  for (std::thread& one : all) one.join();
  return mb;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  PyConfig config;
  PyConfig_InitPythonConfig(&config);
  config.install_signal_handlers = 0;
  PyConfig_SetBytesString(&config, &config.executable, argv[2]);
  PyConfig_SetBytesString(&config, &config.program_name, argv[2]);
  if (PyStatus_Exception(Py_InitializeFromConfig(&config))) return 1;
  PyConfig_Clear(&config);
  PyThreadState* main_state = PyEval_SaveThread();
  const bool memory = std::strcmp(argv[1], "memory") == 0;
  std::printf("%.3f\n", memory ? memory_mb() : start_ms());
  PyEval_RestoreThread(main_state);
  return Py_FinalizeEx();
}
