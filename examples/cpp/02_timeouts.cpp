// SPDX-License-Identifier: Apache-2.0
#include <coppice/coppice.hpp>
using namespace coppice;
using namespace std::chrono_literals;

task<std::string> ask(std::string question) {
  co_await sleep_for(2s);
  co_return "re: " + question;
}
task<> say_goodbye() {
  co_await sleep_for(1s);
  std::puts("bye");
}

task<> sleep_for_task(duration d) { co_await sleep_for(d); }

task<> root(actor&) {
  if (auto reply = co_await move_on_after(3s, ask("a"))) std::puts(reply->c_str());
  if (auto reply = co_await move_on_after(1s, ask("b")); !reply) std::puts("b: too late");
  try {
    auto reply = co_await fail_after(1s, ask("c"));
    std::puts(reply.c_str());
  } catch (const timeout_error& e) {
    std::printf("c: %s\n", e.what());
  }
  bool finished =
      co_await move_on_after(5s, [&](cancel_scope& scope) -> task<> {  // a block, with its scope
        scope.cancel("changed my mind");
        co_await sleep_forever();
      });
  std::printf("finished %d\n", finished);
  co_await finally(sleep_for_task(1s), {.within = 2s},
                   say_goodbye());  // cleanup that awaits: shielded and bounded
}
int main(int argc, char** argv) { return run_main(argc, argv, root); }
