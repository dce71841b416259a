// SPDX-License-Identifier: Apache-2.0
#include <coppice/coppice.hpp>
using namespace coppice;
struct counter {  // each actor that exposes these has its own counter
  std::int64_t total = 0;
  task<std::int64_t> add(std::int64_t by) {
    total += by;
    co_return total;
  }
};
inline constexpr endpoint counter_add{"counter:add", &counter::add, "by"};
struct query {
  std::string_view text;
  int limit = 10;
  bool exact = false;
};  // keyword arguments with defaults
task<std::string> find(query q) {
  co_return std::string(q.text) + "/" + std::to_string(q.limit) + (q.exact ? "!" : "?");
}
inline constexpr endpoint find_endpoint{"index:find", find, as_kwargs};
task<std::string> whoami(actor& self, std::optional<std::string> greeting) {
  co_return greeting.value_or("I am ") + std::string(self.name());
}
inline constexpr endpoint whoami_endpoint{"who:am_i", whoami, "greeting"};

task<> root(actor& self) {
  co_await open_nursery(self, [](actor_nursery& an) -> task<> {
    portal a = co_await an.start_actor("a");
    portal b = co_await an.start_actor("b");
    co_await a.run(counter_add, 2);
    auto x = co_await a.run(counter_add, 3);
    auto y = co_await b.run(counter_add, 1);
    auto f = co_await a.run(find_endpoint, {.text = "oak", .exact = true});
    auto g = co_await a.run<std::string>("index:find", kw("text", "yew"),
                                         kw("limit", 3));  // what a Python caller sends
    try {
      co_await a.run("index:find", kw("txt", "yew"));
    } catch (const remote_actor_error& e) {
      std::printf("%s | ", e.what());
    }
    std::printf("%s | ", g.c_str());
    auto w = co_await b.run<std::string>("who:am_i");
    auto raw = co_await b.run("who:am_i", kw("greeting", "je suis "));
    std::printf("%d %d %s %s %s\n", static_cast<int>(x), static_cast<int>(y), f.c_str(), w.c_str(),
                raw.as<std::string>().c_str());
  });
}
int main(int argc, char** argv) {
  return run_main(argc, argv, root, {.endpoints = {counter_add, find_endpoint, whoami_endpoint}});
}
