// SPDX-License-Identifier: Apache-2.0
// Warm guests: interpreters that are up before anybody asks for an actor.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "coppice/clock.hpp"

namespace coppice {

/// When a stock of warm guests is filled again.
enum class refill_when : std::uint8_t {
  background,  // As soon as one was taken and no start is under way.
  on_demand,   // Once a start has found none.
  never,       // Those that are made when the runtime opens are all.
};

/// How many Python guests a process keeps in stock, and what they have imported: a start that finds
/// one takes microseconds where a cold one takes the time of its interpreter and of its imports.
///
///     run_main(argc, argv, root, {.warm = {.size = 4, .preload = {"prices"}, .loop = "asyncio"}});
///
/// What it promises:
/// - The stock is filled before the root's code runs, for at most `fill_within`.
/// - Any Python actor of the backend `subint` with an own GIL takes a warm guest if there is one
///   and starts cold, at once, if there is none. Those with a shared GIL always start cold.
/// - An actor cannot tell that its guest was warm, but by sys.modules, which has what `preload` and
///   `loop` bring: name, threads, `__main__`, sys.path and os.environ are those of its own start.
///   Each guest serves one actor.
/// - A module of `preload` that raises, or is not imported within `preload_within`, is reported
///   once, by name. No guest is kept in stock from then on: actors start cold, and the error is
///   theirs if they import that module, too.
/// - A guest that ends in stock is replaced, after a pause that doubles each time.
/// - The stock counts: its guests are guests of this process (os.fork is refused, dumps show them)
///   and end with the runtime within its bound, a module that is stuck included: that one is
///   interrupted, forced, or in quarantine as an actor's would be.
///
/// What a preloaded module must not do: ask for its actor while it is imported; there is none yet.
///
/// Owner: whoever opens the runtime; copied. Only the root's process keeps a stock.
struct warm_pool {
  static constexpr unsigned size_max = 256;

  unsigned size = 0;                      // Guests in stock; 0: none.
  std::vector<std::string> preload = {};  // Python modules, imported in this order.
  std::string loop = {};  // "asyncio" or "trio": what `async def` endpoints need, too. Else "".
  refill_when refill = refill_when::background;
  unsigned at_once_max = 2;  // So many are made at once, and none while an actor starts cold.
  duration fill_within = std::chrono::seconds(2);
  duration preload_within = std::chrono::seconds(10);  // Of one guest.
  std::function<void(std::string_view)> report = {};   // Empty: a line on stderr. Any thread.
};

}  // namespace coppice
