// SPDX-License-Identifier: Apache-2.0
// The limit of a guest's start: bench_bare_interpreter EXECUTABLE prints the median time of
// Py_NewInterpreterFromConfig with an own GIL, on a thread of its own, in ms.
#include <Python.h>

#include <thread>

#include "bench/bench.hpp"

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  bench::pin(0, 0);
  PyConfig config;
  PyConfig_InitPythonConfig(&config);
  config.install_signal_handlers = 0;
  PyConfig_SetBytesString(&config, &config.executable, argv[1]);
  PyConfig_SetBytesString(&config, &config.program_name, argv[1]);
  if (PyStatus_Exception(Py_InitializeFromConfig(&config))) return 1;
  PyConfig_Clear(&config);
  PyThreadState* main_state = PyEval_SaveThread();
  std::vector<double> times;
  for (int i = 0; i < 33; ++i) {
    std::thread([&] {
      PyInterpreterConfig c{};
      c.allow_threads = 1;
      c.allow_daemon_threads = 1;
      c.check_multi_interp_extensions = 1;
      c.gil = PyInterpreterConfig_OWN_GIL;
      PyThreadState* ts = nullptr;
      const auto t = bench::clock::now();
      Py_NewInterpreterFromConfig(&ts, &c);
      if (i >= 3) times.push_back(bench::us_since(t) / 1e3);
      Py_EndInterpreter(ts);
    }).join();
  }
  std::printf("%.3f\n", bench::median(times));
  PyEval_RestoreThread(main_state);
  return Py_FinalizeEx();
}
