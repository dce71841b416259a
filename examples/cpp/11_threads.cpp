// SPDX-License-Identifier: Apache-2.0
#include <coppice/coppice.hpp>

#include <atomic>
#include <memory>
using namespace coppice;
using namespace std::chrono_literals;

// Blocks, as libraries do that know nothing of coroutines.
int sum_up_to(int n) {
  int sum = 0;
  for (int i = 1; i <= n; ++i) sum += i;
  return sum;
}

// A long computation that tells its loop how far it is, and stops when nobody wants it any more.
void crunch(channel<int>& progress) {
  for (int percent = 10;; percent += 10) {
    from_thread::check_cancelled();
    from_thread::run([&]() -> task<> { co_await progress.send(percent); });
  }
}

// A name server that does not answer.
using answer = std::shared_ptr<std::atomic<bool>>;
void resolve(const answer& late) { late->wait(false); }

task<> root(actor&) {
  auto sum = co_await to_thread<on_cancel::wait>(sum_up_to, 100);
  std::printf("sum %d\n", sum);

  channel<int> progress(0, "progress");
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon(
        [](channel<int>& to) -> task<> {
          co_await to_thread<on_cancel::wait>({.name = "crunch"}, crunch, std::ref(to));
        },
        std::ref(progress));
    for (int i = 0; i < 3; ++i) {
      if (auto percent = co_await progress.receive()) std::printf("crunched %d %%\n", *percent);
    }
    n.cancel("enough");
  });  // here the thread has returned from crunch()

  auto late = std::make_shared<std::atomic<bool>>(false);
  bool answered =
      co_await move_on_after(50ms, to_thread<on_cancel::abandon>({.name = "dns"}, resolve, late));
  for (const auto& w : this_loop().snapshot().quarantine)
    std::printf("answered: %d; in quarantine: %s of task %s\n", answered, w.work.c_str(),
                w.task.c_str());
  *late = true;  // It comes back after all; if it did not, run_main() would leave by _exit.
  late->notify_all();
  while (!this_loop().snapshot().quarantine.empty()) co_await checkpoint();
}
int main(int argc, char** argv) { return run_main(argc, argv, root); }
