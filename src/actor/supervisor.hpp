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
  /// Completes `spec` before the backend gets it, then tells `done`, perhaps at once, or why it
  /// cannot; all on the control loop. `spec` is there for as long as somebody has `done`. None: it
  /// is complete.
  std::function<void(spawn::child_spec&, std::function<void(std::exception_ptr)> done)> prepare;
};

/// One line of `quarantined()`: native code in this process that has not come back.
struct quarantine_entry {
  uid actor;          // Empty: work of to_thread().
  std::string where;  // spawn::child::describe(), or which work of which task.
  time_point since;
};

/// Where actors are registered. Called on the control loop.
class directory {
 public:
  virtual ~directory() = default;
  /// A child in this process can serve: `done` is told, perhaps at once, that it is registered, or
  /// why it cannot be. `parent` is told of it right after that: if it is the registrar, it need not
  /// be woken twice.
  virtual void enlist(const uid& who, const std::string& parent,
                      std::function<void(std::exception_ptr)> done) = 0;
  /// A child, wherever it was, has ended. `has_left`: in a process of its own, in good order, so
  /// that it has unregistered itself.
  virtual void strike_off(const uid& who, bool has_left) = 0;
};

/// Every child of every actor in this process has one supervising task here, on the control loop.
/// Promises:
/// - For each start() the parent's port gets either `start_failed`, or `started` and later `ended`;
///   behind that, if it was abandoned and its code came back, `reclaimed`.
/// - A start is raced against the child's exit, the loss of its connection, an error of its
///   imports, and `start_within`. One that is stopped before its backend has begun never begins.
/// - A stop climbs the ladder within `stop_policy::total`, all children in parallel, and ends in a
///   report. No rung takes the time of those above it: each is left its bound, or at least a
///   quarter of the total. Descendants in this process end with their ancestor.
/// - A child's end is reported behind what it said before: its connection's end is waited for,
///   briefly.
/// - What goes wrong with one child is reported to its parent and concerns no other.
/// - Nothing here needs a GIL or blocks.
///
/// Owner: the process's runtime. Thread: as each member says.
class supervisor {
 public:
  explicit supervisor(std::shared_ptr<core::loop> control);
  /// Children are registered from now on: before their parent hears that they have started, and
  /// until it hears of their end. REQUIRES: before start(); `d` outlives this.
  void register_in(directory& d) noexcept { directory_ = &d; }
  ~supervisor();

  // --- any thread ---
  void start(start_request request);
  /// Stops one child; no policy: the one that it was started with. Idempotent: a second request may
  /// shorten the first, by whatever bound of its policy is shorter, and never prolongs it.
  void stop(std::string uuid, std::optional<stop_policy> policy = {});
  /// Every ladder hurries from now on (second Ctrl-C): 100 ms on each rung but "force", which keeps
  /// its bound, because only abandoning comes after it.
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

  task<> supervise(std::shared_ptr<record> r);
  task<> live(std::shared_ptr<record> r);
  task<> bring_up(std::shared_ptr<record> r);
  task<> prepare(std::shared_ptr<record> r, time_point until);
  static void expect_link(const std::shared_ptr<record>& r);
  static void greet(const std::shared_ptr<record>& r, const ipc::link_ptr& l);
  static std::exception_ptr why_not_up(const record& r);
  task<> enlist(std::shared_ptr<record> r);
  task<> watch(std::shared_ptr<record> r);
  task<> hear_out(std::shared_ptr<record> r);
  task<> wait_for_report(std::shared_ptr<record> r);
  task<> climb(std::shared_ptr<record> r);
  static void ask(record& r);
  void give_up(const std::shared_ptr<record>& r);
  task<> wait(std::shared_ptr<record> r, bool (*so)(const record&), time_point until);
  task<> wait_on_rung(std::shared_ptr<record> r, duration stop_policy::* bound,
                      bool (*so)(const record&));
  task<> look_again(std::shared_ptr<record> r, time_point until);
  task<> end_descendants(std::shared_ptr<record> r);
  void stop_descendants(const record& r);
  void announce(record& r);

  const std::shared_ptr<core::loop> control_;  // Shared with records: quarantine may outlive us.
  directory* directory_ = nullptr;
  nursery* children_ = nullptr;  // While run() runs.
  bool closing_ = false;
  std::unique_ptr<event> close_asked_;
  std::map<std::string, std::shared_ptr<record>> records_;  // By uuid of the child; running ones.
  std::map<std::string, std::shared_ptr<record>> quarantine_;
  std::size_t forced_stops_ = 0;
};

}  // namespace coppice::tree
