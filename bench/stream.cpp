// SPDX-License-Identifier: Apache-2.0
// bench_stream memory|uds|guest <bytes> <messages>: messages per second from a sender to a receiver
// in another actor: on another thread, in another process, or (the sender) a Python guest.
#include <fmt/format.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "bench/bench.hpp"
#include "bench/endpoints.hpp"

using namespace coppice;

namespace {

constexpr std::int64_t warm_up = 10'000;
using block = std::vector<std::byte>;

struct pushing {
  using started = void;
  using to_callee = block;
  using to_caller = std::int64_t;
};

/// Takes everything; says how many it were after each `of` of them.
task<std::int64_t> pull(context<pushing>& ctx, std::int64_t of) {
  co_await ctx.started();
  auto in = ctx.open_stream();
  std::int64_t count = 0;
  while (auto b = co_await in.receive())
    if (++count % of == 0) co_await in.send(count);
  co_return count;
}
inline constexpr endpoint pull_endpoint{"bench:pull", pull, "of"};

task<> push(stream<block, std::int64_t>& out, const block& b, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) co_await out.send(b);
  const auto seen = co_await out.receive();
  if (!seen) throw error("the receiver has left");
}

task<> measure(actor& self, std::string kind, std::size_t bytes, std::int64_t messages) {
  const block b(bytes, std::byte(1));
  const auto rate = [&](auto since) {
    fmt::print("{:.0f}\n", static_cast<double>(messages) / bench::us_since(since) * 1e6);
  };
  auto inside = [&](actor_nursery& an) -> task<> {
    actor_options how;
    how.backend = kind == "memory" ? spawn::thread : spawn::process;
    if (kind == "guest") {
      how.backend = spawn::subint;
      how.enable_modules = name_list("coppice_tour");
    }
    portal p = co_await an.start_actor("peer", how);
    auto body = [&](remote_context<pushing>& ctx) -> task<> {
      auto out = ctx.open_stream();
      for (std::int64_t done = 0; done < warm_up; done += messages) co_await push(out, b, messages);
      const auto t = bench::clock::now();
      co_await push(out, b, messages);
      rate(t);
    };
    const auto name = function_name::parse(kind == "guest" ? std::string_view("coppice_tour:pull")
                                                           : std::string_view("bench:pull"));
    co_await p.open_context<pushing, std::int64_t>(name, kw("of", messages), body);
  };
  co_await open_nursery(self, inside);
}

}  // namespace

int main(int argc, char** argv) {
  const bool child = argc > 1 && std::strcmp(argv[1], "--coppice-child") == 0;
  if (!child && argc != 4) return 2;
  const std::string kind = argc > 1 ? argv[1] : "";
  const auto number = [&](int i) { return child ? 0 : std::strtoll(argv[i], nullptr, 10); };
  const auto bytes = static_cast<std::size_t>(number(2));
  const std::int64_t messages = number(3);
  auto root = [kind, bytes, messages](actor& self) -> task<> {
    co_await measure(self, kind, bytes, messages);
  };
  return run_main(argc, argv, root, {.endpoints = {pull_endpoint}});
}
