// SPDX-License-Identifier: Apache-2.0
// bench_threads to_thread|new|cached one|cross: work that does nothing on another thread and back,
// in us: by to_thread(), on a std::thread of its own, on one that waits for it.
#include <condition_variable>
#include <coppice/coppice.hpp>
#include <future>
#include <mutex>
#include <thread>

#include "bench/bench.hpp"

using namespace coppice;

namespace {

constexpr int rounds = 20'000;

task<double> to_thread_us(bool cross) {
  co_await to_thread<on_cancel::wait>([] {});
  bench::pin_threads(::getpid(), "coppice-work", cross ? 1 : 0);
  std::vector<double> times;
  for (int i = 0; i < rounds; ++i) {
    const auto t = bench::clock::now();
    co_await to_thread<on_cancel::wait>([] {});
    times.push_back(bench::us_since(t));
  }
  co_return bench::median(times);
}

double new_us(bool cross) {
  std::vector<double> times;
  for (int i = 0; i < rounds; ++i) {
    const auto t = bench::clock::now();
    std::promise<void> done;
    std::thread work([&] {
      if (cross) bench::pin(0, 1);
      done.set_value();
    });
    done.get_future().get();
    work.join();
    times.push_back(bench::us_since(t));
  }
  return bench::median(times);
}

// What a cached thread cannot do without: two waits on a condition.
double cached_us(bool cross) {
  std::mutex mutex;
  std::condition_variable changed;
  int asked = 0, answered = 0;
  std::thread work([&] {
    if (cross) bench::pin(0, 1);
    std::unique_lock lock(mutex);
    for (int i = 1; i <= rounds; ++i) {
      changed.wait(lock, [&] { return asked == i; });
      answered = i;
      changed.notify_one();
    }
  });
  std::vector<double> times;
  for (int i = 1; i <= rounds; ++i) {
    const auto t = bench::clock::now();
    std::unique_lock lock(mutex);
    asked = i;
    changed.notify_one();
    changed.wait(lock, [&] { return answered == i; });
    lock.unlock();
    times.push_back(bench::us_since(t));
  }
  work.join();
  return bench::median(times);
}

double with_runtime(bool cross) {
  runtime rt;
  return rt.run([&](actor&) -> task<double> { co_return co_await to_thread_us(cross); });
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view what = argc > 1 ? argv[1] : "";
  const std::string_view where = argc > 2 ? argv[2] : "";
  if (where != "one" && where != "cross") {
    std::fprintf(stderr, "usage: bench_threads to_thread|new|cached one|cross\n");
    return 2;
  }
  bench::pin(0, 0);
  const bool cross = where == "cross";
  double us = 0;
  if (what == "to_thread") us = with_runtime(cross);
  if (what == "new") us = new_us(cross);
  if (what == "cached") us = cached_us(cross);
  std::printf("%.2f\n", us);
}
