// SPDX-License-Identifier: Apache-2.0
#include <coppice/coppice.hpp>
using namespace coppice;
struct leg {
  std::string symbol;
  double price = 0;
};
struct basket {
  std::string owner;
  std::vector<leg> legs;
  std::optional<int> tag;
};
static_assert(message<basket> && !message<int*> && !message<std::string*>);
basket cheapest(basket b) {
  std::erase_if(b.legs, [](const leg& l) { return l.price > 2; });
  return b;
}
inline constexpr endpoint cheapest_endpoint{"basket:cheapest", cheapest, "b"};
task<> root(actor& self) {
  co_await open_nursery(self, [](actor_nursery& an) -> task<> {
    portal p = co_await an.start_actor("p");
    basket in{.owner = "ada",
              .legs = {{"oak", 1.0}, {"yew", 3.0}},
              .tag = 4};  // named first: it owns memory
    auto out = co_await p.run(cheapest_endpoint, in);
    std::printf("%s %zu %s %d\n", out.owner.c_str(), out.legs.size(), out.legs[0].symbol.c_str(),
                *out.tag);
    auto v = co_await p.run("basket:cheapest", kw("b", in));  // untyped: a `value`
    std::printf("%s\n", v.as<basket>().legs[0].symbol.c_str());
  });
}
int main(int argc, char** argv) {
  return run_main(argc, argv, root, {.endpoints = {cheapest_endpoint}});
}
