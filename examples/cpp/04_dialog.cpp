// SPDX-License-Identifier: Apache-2.0
#include <coppice/coppice.hpp>
using namespace coppice;

struct order {
  char side = 'b';
  int quantity = 0;
};
struct fill {
  int quantity = 0;
  double price = 0;
};
struct trading {        // the types of one dialog
  using started = int;  // the callee's first word
  using to_callee = order;
  using to_caller = fill;
};
task<std::string> trade(context<trading>& ctx, std::string symbol) {
  co_await ctx.started(7);
  int orders = 0;
  auto stream = ctx.open_stream();
  while (auto o = co_await stream.receive()) {
    ++orders;
    co_await stream.send({.quantity = o->quantity, .price = 1.25});
  }
  co_return symbol + ": " + std::to_string(orders);
}
inline constexpr endpoint trade_endpoint{"market:trade", trade, "symbol"};

task<> root(actor& self) {
  co_await open_nursery(self, [](actor_nursery& an) -> task<> {
    portal market = co_await an.start_actor("market", {.enable_modules = {"market"}});
    auto summary = co_await market.open_context(
        trade_endpoint, "EURUSD", [&](remote_context<trading>& ctx, int session) -> task<> {
          auto stream = ctx.open_stream();
          for (int i = 1; i <= 3; ++i) {
            co_await stream.send({.quantity = 10 * i});
            auto f = co_await stream.receive();
            std::printf("session %d filled %d at %.2f\n", session, f->quantity, f->price);
          }
        });  // leaving the body closes the stream, then waits for the callee's result
    std::printf("%s\n", summary->c_str());
    an.cancel("done");
  });
}
int main(int argc, char** argv) {
  return run_main(argc, argv, root, {.endpoints = {trade_endpoint}});
}
