// SPDX-License-Identifier: Apache-2.0
// The spawn backend of a simulation: an actor is a task that stands for a process of its own.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "actor/native_actor.hpp"
#include "coppice/exposed.hpp"
#include "coppice/nursery.hpp"
#include "dice.hpp"
#include "journal.hpp"
#include "network.hpp"
#include "spawn/backend.hpp"

namespace coppice::sim {

class machine;

/// From the end of an actor and its descendants to its parent's hearing of it: what it said before
/// is waited for, 100 ms at most on each level.
inline constexpr duration end_is_reported_within = std::chrono::milliseconds(303);

/// How machines behave in one run.
struct machine_habits {
  bool boots_badly = false;       // Some are slow to start, some never get as far as connecting.
  int without_rungs_percent = 0;  // Like threads: nothing but a message can stop them.
};

/// Starts actors as tasks of one loop, each joined to its parent by the simulated network. Promises
/// what spawn/backend.hpp does. kill() ends one like `kill -9`: nothing that it does from then on
/// is heard, its peers learn it from the network, and the supervisor that a signal ended it.
///
/// # What is simulated badly
/// The code of a killed actor is not gone, it is cancelled: so it runs on, unheard, until it has
/// unwound.
///
/// Owner: the process_runtime, as one of its backends. Thread: the loop's.
class machines final : public spawn::backend {
 public:
  machines(tree::process_runtime& runtime, std::vector<exposed> endpoints);

  /// What comes into being later than the backends do. Before the first start().
  void set_up(journal& trace, dice luck, machine_habits habits) {
    trace_ = &trace;
    luck_.emplace(luck);
    habits_ = habits;
  }
  void run_in(nursery& n, network& net) {
    tasks_ = &n;
    net_ = &net;
  }

  std::string_view key() const override { return "sim"; }
  spawn::capabilities can() const override { return {.native = true, .in_process = true}; }
  std::optional<std::string> refusal(const spawn::child_spec&) override { return std::nullopt; }
  std::unique_ptr<spawn::child> start(const spawn::child_spec& spec,
                                      std::shared_ptr<spawn::child_observer> observer) override;

  void kill(const std::string& uuid);
  void set_ending(const std::string& uuid);  // It was told to end, in whatever way.
  void set_lost(const std::string& uuid);    // Its parent hears the end of their connection.
  void set_up_now(const std::string& uuid);  // Its parent has it as started.

  std::vector<std::string> alive() const;  // Uuids, the oldest first.
  std::size_t actors_left() const;         // Actor objects that still exist.
  std::size_t abandoned() const;

  // --- of one actor, for judging what others heard from it ---
  bool was_killed(const std::string& uuid) const;
  bool is_ending(const std::string& uuid) const;  // Told to end, killed, or over.
  /// Since when its end was reported, or it was abandoned, and so with its descendants: only then
  /// its parent is told.
  std::optional<time_point> over_since(const std::string& uuid) const;
  bool is_over(const std::string& uuid) const;
  bool was_up(const std::string& uuid) const;  // It had said that it can serve.
  /// The same of one that was killed before anybody had told it to end.
  std::optional<time_point> told_when_died_unasked(const std::string& uuid) const;
  std::string uuid_of(const std::string& name) const;  // Empty: it was never started.
  bool boots_badly(const std::string& uuid) const;

 private:
  friend class machine;
  friend class machine_handle;
  machine* find(const std::string& uuid) const;
  std::optional<time_point> family_over(const machine& m) const;

  tree::process_runtime& runtime_;
  const std::vector<exposed> endpoints_;
  journal* trace_ = nullptr;
  std::optional<dice> luck_;
  machine_habits habits_;
  nursery* tasks_ = nullptr;  // In which the machines run.
  network* net_ = nullptr;
  std::vector<std::shared_ptr<machine>> all_;  // Shared with their tasks and the supervisor.
  std::map<std::string, machine*> by_uuid_;
};

}  // namespace coppice::sim
