// SPDX-License-Identifier: Apache-2.0
// Starts actors, watches them, stops them up the ladder, and says how they ended.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "coppice/nursery.hpp"
#include "coppice/stop.hpp"
#include "core/loop.hpp"
#include "port/actor_port.hpp"
#include "spawn/backend.hpp"

namespace coppice::tree {

/// A request to start an actor.
struct start_request {
  port::actor_port_ptr parent;  // Gets child_changed events.
  spawn::backend* backend = nullptr;
  spawn::child_spec spec;
  stop_policy stop;
  duration start_within = std::chrono::seconds(10);
};

/// One line of `quarantined()`: native code in this process that has not come back.
struct quarantine_entry {
  uid actor;
  std::string where;  // spawn::child::describe()
  time_point since;
};

/// Every child of every actor in this process has one supervising task here, on the control loop.
/// Promises:
/// - For each start() the parent's port gets either `start_failed`, or `started` and later `ended`.
/// - A start is raced against the child's exit, an error of its imports, and `start_within`.
/// - A stop climbs the ladder within `stop_policy::total`, all children in parallel, and ends in a
///   report. Descendants in this process end with their ancestor.
/// - Nothing here needs a GIL or blocks.
///
/// Owner: the process's runtime. Thread: as each member says.
class supervisor {
 public:
  explicit supervisor(std::shared_ptr<core::loop> control);
  ~supervisor();

  // --- any thread ---
  void start(start_request request);
  /// Stops one child; no policy: the one that it was started with. Idempotent: a second request
  /// with a shorter policy does not prolong the first.
  void stop(std::string uuid, std::optional<stop_policy> policy = {});
  /// Every ladder climbs at once from now on, without waiting on its present rung (second Ctrl-C).
  void hurry();

  // --- control loop ---
  /// Supervises until close(), then ends when every child has ended or is in quarantine.
  task<> run();
  void close();
  std::vector<quarantine_entry> quarantined() const;
  std::size_t forced_stops() const noexcept { return forced_stops_; }
  void describe(base::tree_writer& w) const;

 private:
  struct record;
  struct news;

  task<> supervise(std::shared_ptr<record> r);
  task<> bring_up(std::shared_ptr<record> r);
  task<> watch(std::shared_ptr<record> r);
  task<> climb(std::shared_ptr<record> r);
  task<> wait_for_end(std::shared_ptr<record> r, time_point until);
  task<> end_descendants(std::shared_ptr<record> r);
  void stop_descendants(const record& r);
  void announce(record& r);

  const std::shared_ptr<core::loop> control_;  // Shared with records: quarantine may outlive us.
  nursery* children_ = nullptr;                // While run() runs.
  bool closing_ = false;
  std::unique_ptr<event> close_asked_;
  std::map<std::string, std::shared_ptr<record>> records_;  // By uuid of the child; running ones.
  std::map<std::string, std::shared_ptr<record>> quarantine_;
  std::size_t forced_stops_ = 0;
};

}  // namespace coppice::tree
