// SPDX-License-Identifier: Apache-2.0
// What the machine allows: bench_limits eventfd|uds one|cross prints the median round trip in us;
// bench_limits exec PROGRAM [ARGUMENT] the median ms from the fork of a program to its end, on one
// processor.
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <cstdint>
#include <thread>

#include "bench/bench.hpp"

namespace {

constexpr int rounds = 20'000;

// Two threads, two eventfds, blocking reads.
double eventfd_round_trip(bool cross) {
  const int there = ::eventfd(0, 0), back = ::eventfd(0, 0);
  std::thread echo([&] {
    if (cross) bench::pin(0, 1);
    std::uint64_t n = 0;
    for (int i = 0; i < rounds; ++i) {
      if (::read(there, &n, sizeof n) != sizeof n || ::write(back, &n, sizeof n) != sizeof n)
        std::abort();
    }
  });
  std::vector<double> times;
  std::uint64_t n = 1;
  for (int i = 0; i < rounds; ++i) {
    const auto t = bench::clock::now();
    if (::write(there, &n, sizeof n) != sizeof n || ::read(back, &n, sizeof n) != sizeof n)
      std::abort();
    times.push_back(bench::us_since(t));
  }
  echo.join();
  return bench::median(times);
}

// Two processes, one stream socket, frames of the size that a small call has.
double uds_round_trip(bool cross) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) std::abort();
  char frame[160] = {};
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(ends[0]);  // Or its own copy would keep the end from it.
    if (cross) bench::pin(0, 1);
    while (::read(ends[1], frame, sizeof frame) > 0)
      if (::write(ends[1], frame, 64) != 64) std::abort();
    ::_exit(0);
  }
  ::close(ends[1]);
  std::vector<double> times;
  for (int i = 0; i < rounds; ++i) {
    const auto t = bench::clock::now();
    if (::write(ends[0], frame, sizeof frame) != sizeof frame || ::read(ends[0], frame, 64) != 64)
      std::abort();
    times.push_back(bench::us_since(t));
  }
  ::close(ends[0]);
  ::waitpid(child, nullptr, 0);
  return bench::median(times);
}

double exec_ms(char** command) {
  std::vector<double> times;
  for (int i = 0; i < 63; ++i) {
    const auto t = bench::clock::now();
    const pid_t child = ::vfork();
    if (child == 0) {
      ::execv(command[0], command);
      ::_exit(127);
    }
    int status = 0;
    if (::waitpid(child, &status, 0) != child || status != 0) std::abort();
    if (i >= 3) times.push_back(bench::us_since(t) / 1e3);
  }
  return bench::median(times);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  bench::pin(0, 0);
  if (std::strcmp(argv[1], "exec") == 0) {
    std::printf("%.3f\n", exec_ms(argv + 2));
    return 0;
  }
  const bool cross = std::strcmp(argv[2], "cross") == 0;
  const bool uds = std::strcmp(argv[1], "uds") == 0;
  std::printf("%.3f\n", uds ? uds_round_trip(cross) : eventfd_round_trip(cross));
}
