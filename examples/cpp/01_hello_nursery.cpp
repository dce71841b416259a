// SPDX-License-Identifier: Apache-2.0
#include <coppice/coppice.hpp>
using namespace coppice;
using namespace std::chrono_literals;

task<> hello(std::string_view who, duration after) {
  co_await sleep_for(after);
  std::printf("hello %.*s\n", static_cast<int>(who.size()), who.data());
}
task<> listen(std::uint16_t wanted, task_status<std::uint16_t> status) {
  status.started(wanted == 0 ? 4242 : wanted);  // the nursery takes over from here
  co_await sleep_forever();
}
task<> root(actor&) {
  int met = 0;  // outside the block: lives longer than every task
  auto port = co_await open_nursery([&](nursery& n) -> task<std::uint16_t> {
    n.start_soon(hello, "ada", 2s);
    n.start_soon(hello, "grace", 1s);
    n.start_soon(
        [](int& count) -> task<> {
          ++count;
          co_return;
        },
        std::ref(met));
    auto bound = co_await n.start(listen, 0);
    co_await sleep_for(3s);
    n.cancel("seen enough");
    co_return bound;
  });  // here every task has ended
  std::printf("port %d, met %d\n", port, met);
}
int main(int argc, char** argv) { return run_main(argc, argv, root); }
