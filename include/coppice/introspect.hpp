// SPDX-License-Identifier: Apache-2.0
// The task tree of a loop as data, text and JSON, taken from any thread while the loop runs.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "coppice/clock.hpp"

namespace coppice {

namespace core {
class loop;
class loop_pulse;
class stall_watch;
}  // namespace core

/// A cancel scope that a task has open. A nursery has one, too.
struct scope_info {
  std::string name = {};
  std::optional<duration> deadline_in = {};  // From the snapshot on; negative: it has passed.
  bool shield = false;
  bool cancelled = false;         // A checkpoint in it throws, whoever asked.
  std::string cancelled_by = {};  // "scope: reason" of the outermost; empty: not cancelled.
  std::string canceller = {};     // Who cancelled that one: "task 'reader'", see cancel_cause.
};

/// A nursery that a task has open.
struct nursery_info {
  std::string name = {};
  std::size_t tasks = 0;  // That it waits for, not counting its body.
  std::size_t scope = 0;  // Its own one, in task_info::scopes.
};

struct task_info {
  enum class phase : std::uint8_t { ready, running, waiting };
  static constexpr std::size_t unknown = static_cast<std::size_t>(-1);

  std::uint64_t id = 0;           // Of its loop's; the same in every snapshot, never used again.
  std::uint64_t parent = 0;       // The task that has the nursery open; 0: this is the root.
  std::size_t nursery = unknown;  // In the parent's `nurseries`; unknown: the root, or a nursery
                                  // that was opened after the parent was looked at.
  std::string name = {};          // Empty: it has none.
  std::string coroutine = {};  // Where it goes on, by its function. Empty: no symbol names it, or
                               // it runs.
  phase state = phase::ready;
  std::string waits_for = {};                // "event 'ready'". Empty: it does not wait.
  duration waits_since{};                    // How long it has waited.
  std::vector<scope_info> scopes = {};       // Opened by it, outermost first.
  std::vector<nursery_info> nurseries = {};  // Opened by it, outermost first.
};

/// Work of to_thread() that goes on although its call was cancelled: in quarantine until it
/// returns.
struct abandoned_work {
  std::string work = {};  // Its name, or its function's.
  std::string task = {};  // That gave it up: "'name'", or by its function.
  duration since{};       // How long ago.
};

/// What a loop answered, or why it did not.
struct task_tree {
  enum class outcome : std::uint8_t {
    complete,     // `tasks` is the whole tree.
    cut,          // There are more than tasks_max.
    stalled,      // No answer: one task, or something else, keeps the loop; see the next fields.
    busy,         // No answer, although the loop goes from task to task.
    not_running,  // Between two runs, or before the first: there are no tasks.
    ended,        // The loop is gone.
  };

  outcome how = outcome::complete;
  std::string loop = {};
  duration stalled_for{};       // `stalled`: at least so long.
  std::string stalled_by = {};  // `stalled`: "'name'", the function of an unnamed one, or that it
                                // is no task. Empty: it changed while we looked.
  std::vector<task_info> tasks = {};  // Parents before children, siblings in the order of starting.
  std::vector<abandoned_work> quarantine = {};
  std::size_t slices = 0;  // What it cost the loop: visits,
  duration slice_max{};    // the longest of them,
  duration loop_time{};    // and all together.

  std::string to_text() const;  // An indented tree, one line per task, nursery and scope.
  std::string to_json() const;  // One line. The names of the fields: docs/formats/task_tree.md.
};

struct snapshot_options {
  duration within = std::chrono::seconds(1);  // To wait for the loop's answer.
  std::size_t tasks_max = 100'000;
};

/// A loop, seen from outside. Copyable; may outlive the loop.
///
///     loop_view here = this_loop();           // in a task, or an actor's function
///     std::puts(here.snapshot().to_text().c_str());  // on any thread, whenever you like
///
/// Promises:
/// - snapshot() returns within its bound, whatever the loop does. If the loop does not answer, the
///   result says whether it is stalled, for how long, and which task has it.
/// - The loop is not stopped: it is visited in slices, each of which ends after the task at which a
///   fifth of a millisecond is over; between two of them it has a turn. Names of functions, text
///   and JSON are made on the asking thread.
/// - Consistency: what one slice sees (some hundred tasks) is one moment. A task that exists from
///   the first slice to the last is in the result exactly once; one that starts or ends meanwhile
///   may be, with a parent that is not. A loop that is small enough is seen in one moment.
/// - "Waits since" is as exact as the loop's turns: a wait counts from about the beginning of the
///   turn in which it began, or up to 64 turns earlier in a loop without timers.
///
/// On the loop's own thread snapshot() walks at once, in one slice. A loop on virtual time gives
/// times of that clock; only how long it is stalled is real time.
///
/// # Why not read the tasks' memory from the other thread?
/// They come and go while it reads. A lock around each change would cost every task of every loop.
///
/// Owner: anybody. Thread: any.
class loop_view {
 public:
  task_tree snapshot(const snapshot_options& options = {}) const;
  const std::string& name() const noexcept;

 private:
  friend class core::loop;
  friend class core::stall_watch;
  explicit loop_view(std::shared_ptr<core::loop_pulse> pulse) : pulse_(std::move(pulse)) {}
  std::shared_ptr<core::loop_pulse> pulse_;  // Shared: the loop may end before this does.
};

/// The loop that runs on this thread. Throws `error` where none does.
loop_view this_loop();

}  // namespace coppice
