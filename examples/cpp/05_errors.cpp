// SPDX-License-Identifier: Apache-2.0
#include <coppice/coppice.hpp>
using namespace coppice;
using namespace std::chrono_literals;

task<int> parse(std::string s) {
  if (s.empty()) throw std::invalid_argument("empty input");
  co_return static_cast<int>(s.size());
}
inline constexpr endpoint parse_endpoint{"text:parse", parse, "s"};
task<> must_parse(portal p, std::string s) { co_await p.run(parse_endpoint, s); }

task<> root(actor& self) {
  co_await open_nursery(self, [](actor_nursery& an) -> task<> {
    portal p = co_await an.start_actor("parser");
    // one error, at the call
    try {
      co_await p.run(parse_endpoint, "");
    } catch (const remote_actor_error& e) {
      std::printf("%s from %s, is invalid_argument: %d\n", e.what(), e.path()[0].c_str(),
                  e.is<std::invalid_argument>());
    }
    // a handler that awaits: C++ forbids co_await in catch, so take the result
    auto r = co_await as_result(p.run(parse_endpoint, ""));
    if (auto* e = r.error<remote_actor_error>()) {
      co_await sleep_for(100ms);
      std::printf("retry after %s\n", e->type().c_str());
    }
    // many errors at once
    try {
      co_await open_nursery([&](nursery& n) {
        n.start_soon(must_parse, p, "");
        n.start_soon(must_parse, p, "");
      });
    } catch (...) {
      handle_errors(
          [](const remote_actor_error& e) { std::printf("handled %s\n", e.type().c_str()); },
          [](const timeout_error&) { std::puts("too slow"); });
    }
    // wrong name, dead actor
    try {
      co_await p.run<int>("text:no_such", kw("s", "x"));
    } catch (const remote_actor_error& e) {
      std::printf("%s\n", e.what());
    }
    co_await p.cancel_actor();
    try {
      co_await p.run(parse_endpoint, "x");
    } catch (const actor_died& e) {
      std::printf("%s\n", e.what());
    }
  });
}
int main(int argc, char** argv) {
  return run_main(argc, argv, root, {.endpoints = {parse_endpoint}});
}
