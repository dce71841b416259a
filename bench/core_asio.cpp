// SPDX-License-Identifier: Apache-2.0
// bench_core_asio spawn|handoff|cancel|timer: what bench_core does, by Boost.Asio's own coroutines:
// co_spawn, experimental::channel, cancellation slots, steady_timer. No nurseries: nothing is
// joined but by counting.
// tidy: allow library-home: what is measured here is Asio itself
#include <boost/asio.hpp>
// tidy: allow library-home: what is measured here is the channel of Asio
#include <boost/asio/experimental/channel.hpp>
#include <memory>

#include "bench/bench.hpp"

namespace asio = boost::asio;
using asio::awaitable;
using asio::use_awaitable;

namespace {

awaitable<void> nothing() { co_return; }

double spawn_ns() {
  constexpr int rounds = 300, tasks = 1000;
  asio::io_context io(1);
  std::vector<double> times;
  for (int r = 0; r < rounds; ++r) {
    int ended = 0;
    const auto t = bench::clock::now();
    for (int i = 0; i < tasks; ++i)
      asio::co_spawn(io, nothing(), [&](std::exception_ptr) { ++ended; });
    io.restart();
    io.run();
    if (ended != tasks) std::abort();
    times.push_back(bench::us_since(t) * 1e3 / tasks);
  }
  return bench::median(times);
}

using int_channel = asio::experimental::channel<void(boost::system::error_code, int)>;

awaitable<void> send_all(int_channel& c, int count) {
  for (int i = 0; i < count; ++i) co_await c.async_send({}, i, use_awaitable);
}
awaitable<void> receive_all(int_channel& c, int count) {
  for (int i = 0; i < count; ++i) co_await c.async_receive(use_awaitable);
}

double handoff_ns() {
  constexpr int rounds = 30, count = 10'000;
  asio::io_context io(1);
  std::vector<double> times;
  for (int r = 0; r < rounds; ++r) {
    int_channel c(io, 1);
    const auto t = bench::clock::now();
    asio::co_spawn(io, send_all(c, count), asio::detached);
    asio::co_spawn(io, receive_all(c, count), asio::detached);
    io.restart();
    io.run();
    times.push_back(bench::us_since(t) * 1e3 / count);
  }
  return bench::median(times);
}

awaitable<void> park() {
  asio::steady_timer never(co_await asio::this_coro::executor,
                           asio::steady_timer::time_point::max());
  co_await never.async_wait(use_awaitable);
}

double cancel_ns() {
  constexpr int rounds = 5, tasks = 100'000;
  asio::io_context io(1);
  std::vector<double> times;
  for (int r = 0; r < rounds; ++r) {
    const auto signals = std::make_unique<asio::cancellation_signal[]>(tasks);
    int ended = 0;
    for (int i = 0; i < tasks; ++i)
      asio::co_spawn(io, park(),
                     asio::bind_cancellation_slot(signals[static_cast<std::size_t>(i)].slot(),
                                                  [&](std::exception_ptr) { ++ended; }));
    io.restart();
    io.poll();
    const auto t = bench::clock::now();
    for (int i = 0; i < tasks; ++i)
      signals[static_cast<std::size_t>(i)].emit(asio::cancellation_type::terminal);
    io.run();
    if (ended != tasks) std::abort();
    times.push_back(bench::us_since(t) * 1e3 / tasks);
  }
  return bench::median(times);
}

awaitable<void> nap() {
  asio::steady_timer t(co_await asio::this_coro::executor, std::chrono::microseconds(100));
  co_await t.async_wait(use_awaitable);
}

double timer_ns() {
  constexpr int rounds = 30, tasks = 10'000;
  asio::io_context io(1);
  std::vector<double> times;
  for (int r = 0; r < rounds; ++r) {
    const auto t = bench::clock::now();
    for (int i = 0; i < tasks; ++i) asio::co_spawn(io, nap(), asio::detached);
    io.restart();
    io.run();
    times.push_back(bench::us_since(t) * 1e3 / tasks);
  }
  return bench::median(times);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  bench::pin(0, 0);
  const std::string what = argv[1];
  const double ns = what == "spawn"     ? spawn_ns()
                    : what == "handoff" ? handoff_ns()
                    : what == "cancel"  ? cancel_ns()
                                        : timer_ns();
  std::printf("%.1f\n", ns);
}
