// SPDX-License-Identifier: Apache-2.0
// The stock of warm guests: keeps it full, hands them out, and ends what is left.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/describe.hpp"
#include "base/thread.hpp"
#include "pyhost/guest_host.hpp"
#include "pyhost/guest_thread.hpp"
#include "spawn/backend.hpp"
#include "spawn/subint/guest_seat.hpp"

namespace coppice::spawn {

/// What a stock is told to have, by a backend that knows Python.
struct stock_plan {
  warm_pool pool;
  std::vector<std::string> modules;  // For messages: what `warm` imports, in its order.
  warm_up warm;
};

/// Bounds that nobody chooses. Tests do.
struct stock_limits {
  duration ask = std::chrono::milliseconds(300);  // The ladder of a guest in stock.
  duration interrupt = std::chrono::milliseconds(500);
  duration force = std::chrono::milliseconds(500);
  duration quiet = std::chrono::milliseconds(20);       // No start for so long: a guest is made.
  duration quiet_max = std::chrono::milliseconds(500);  // Starts do not cease: one is made anyway.
  duration pause = std::chrono::milliseconds(100);      // After a death in stock; doubles.
  duration pause_max = std::chrono::seconds(30);
};

/// Guests that wait for an actor, each on a seat. One thread of its own (`coppice-warm`) makes
/// them, notices those that are stuck, and climbs their ladder; it needs no GIL and waits for
/// nobody.
///
/// What it promises, beside what coppice/warm.hpp says to users:
/// - try_take() takes a lock and writes a few words: it never waits for a guest or for a GIL.
/// - Guests are made `at_once_max` at a time, none while an actor starts cold, and not within
///   `quiet` of the last start, unless starts go on for `quiet_max`.
/// - close() returns when every guest in stock has ended or is in quarantine; that is within the
///   three bounds of the ladder, which all of them climb at once.
///
/// Owner: the subint backend. Thread: any, where not said otherwise. REQUIRES at its end: close().
class warm_stock {
 public:
  explicit warm_stock(std::shared_ptr<py::guest_host> host, stock_limits limits = {});
  ~warm_stock();
  warm_stock(const warm_stock&) = delete;
  warm_stock& operator=(const warm_stock&) = delete;

  /// Begins to keep a stock, and waits until it is full, cannot be filled, or `fill_within` is
  /// over. Once; later calls do nothing. Not on a loop.
  void open(stock_plan plan);

  /// An actor starts: a warm guest becomes it, under this name. Null: there is none, and both stay
  /// the caller's. The control loop.
  std::shared_ptr<py::guest_thread> try_take(const std::string& name,
                                             std::unique_ptr<py::guest_body>& body,
                                             const std::shared_ptr<py::guest_observer>& observer);
  /// An actor starts cold: nothing is made in the background until what this gives is dropped, on
  /// whatever thread.
  [[nodiscard]] std::shared_ptr<void> cold_start();

  /// No more: what is there begins to end. Does not block.
  void begin_close() noexcept;
  void close();

  std::size_t parked() const;
  bool given_up() const;  // A module of the plan cannot be had.
  /// Those that never came back, until they do: where each is stuck.
  std::vector<std::string> quarantined() const;
  void describe(base::tree_writer& w) const;

 private:
  class ledger;
  const std::shared_ptr<py::guest_host> host_;  // Shared with the backend and its children.
  // Shared with seats: an abandoned guest may come back when the stock is gone.
  const std::shared_ptr<ledger> ledger_;
  base::os_thread thread_;
};

}  // namespace coppice::spawn
