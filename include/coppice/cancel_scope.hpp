// SPDX-License-Identifier: Apache-2.0
// The unit of cancellation: a stretch of work that is stopped as one.
#pragma once

#include <exception>
#include <memory>
#include <string>
#include <string_view>

#include "coppice/clock.hpp"
#include "coppice/detail/list.hpp"
#include "coppice/detail/task_node.hpp"

namespace coppice {

struct cancel_cause;

namespace core {
struct tree_access;  // Reads what a snapshot shows, see introspect.hpp.
}

namespace detail {

struct in_parent;  // Tag: the scopes directly below one.

/// How a scope is opened.
struct scope_spec {
  std::string name = {};                    // What a dump and `cancelled` say.
  time_point deadline = time_point::max();  // When the scope cancels itself.
  bool shield = false;                      // Keeps out cancellation from above.
  const char* limit_of = nullptr;  // Instead of a name: "fail_after", spelt out with `limit` when
  duration limit{};  // somebody asks, because every call with a timeout opens a scope.
};

}  // namespace detail

/// A stretch of one task's work that is cancelled as a unit.
///
/// Promises:
/// - Cancellation is a level, not an edge: once a scope is cancelled, every checkpoint inside it
///   throws `cancelled` until control leaves the scope. Code that swallows one cannot wander on by
///   accident.
/// - Scopes nest; cancelling one cancels all below it, bar what is shielded, and wakes what waits
///   there at once. The soonest deadline applies, however deep.
/// - A scope absorbs `cancelled` at its end only if it was itself cancelled and no scope around it
///   is; it never absorbs an error.
/// - A shield keeps out cancellation and deadlines from above, not the scope's own. It can be put
/// up
///   and taken down: what is cancelled above then stops mattering, or matters again, at once.
///
/// Functions open scopes and hand them to the body they run:
///
///     bool done = co_await move_on_after(5s, [&](cancel_scope& scope) -> task<> {
///       … scope.cancel("changed my mind"); …
///     });
///
/// # Why not `std::stop_token`?
/// It is one shared flag. It has no deadline, no shield, no parent, and cannot say who asked; all
/// four are what a person needs to read a hung program.
///
/// # Why can users not declare one?
/// A destructor can neither absorb `cancelled` nor wait.
///
/// Owner: the frame of the function that runs the body. Thread: its loop's.
class cancel_scope final : public detail::list_link<detail::in_parent>, private detail::timer {
 public:
  /// Opens a scope around what `task` does from now on; a root if it has none yet. For functions
  /// that run bodies.
  cancel_scope(detail::task_node& task, detail::scope_spec spec);
  cancel_scope(const cancel_scope&) = delete;
  cancel_scope& operator=(const cancel_scope&) = delete;
  ~cancel_scope();  // REQUIRES: every scope below is gone. Aborts otherwise.

  void cancel(std::string_view reason = {});  // Later calls are ignored: the first reason is kept.
  bool cancelled() const noexcept;            // Would a checkpoint here throw, whoever asked?
  bool cancel_called() const noexcept;     // Was it this very scope: by cancel() or its deadline?
  bool cancelled_caught() const noexcept;  // Did it absorb a `cancelled` at its end?
  bool deadline_passed() const noexcept;   // Did its deadline cancel it?
  void check() const;                      // Throws `cancelled`, naming the outermost cause.

  time_point deadline() const noexcept { return deadline_; }
  /// A time that has passed cancels now. REQUIRES: not "never", if it is shielded.
  void set_deadline(time_point deadline);
  bool shield() const noexcept { return shield_; }
  /// REQUIRES: it has a deadline, or it is taken down. A wait without a bound could keep a program
  /// from ending. What was woken by a cancellation before the shield came, still gets it.
  void set_shield(bool up);
  time_point effective_deadline()
      const noexcept;  // The soonest that applies; min() once cancelled.

  std::string name() const;
  const std::string& reason() const noexcept { return reason_; }  // Empty until cancelled.
  std::string canceller() const;  // Who called cancel(), see cancel_cause. Empty until cancelled.

  /// Of the outermost cancelled scope that reaches here, or would but for a shield that came too
  /// late. REQUIRES: there is one.
  std::shared_ptr<const cancel_cause> cause() const;

  /// For functions that run bodies: must `e` stop here? True only for a `cancelled` that is ours.
  bool absorbs(const std::exception_ptr& e) noexcept;

 private:
  friend class detail::task_node;
  friend class nursery;
  friend struct core::tree_access;

  void fire() noexcept override;  // The deadline.
  void cancel_for(std::string_view reason, std::string canceller);
  void spread() noexcept;    // Cancels what is below, without recursion.
  void withdraw() noexcept;  // The opposite, for what a shield keeps out.
  void arm_deadline(time_point deadline);
  void wake_tasks() noexcept;
  cancel_scope* next_below(cancel_scope* s, bool descend) const noexcept;
  bool reached_from_above() const noexcept;
  const cancel_scope* outermost_cancelled(bool through_shields) const noexcept;
  void adopt(cancel_scope& from, const detail::task_node& but);  // Moves what is inside `from`.

  detail::scheduler& loop_;
  detail::task_node& task_;  // Whose frame it is in.
  cancel_scope* parent_;  // Null in a root. Changes only when nursery::start() hands a task over.
  detail::list<cancel_scope, detail::in_parent> below_;
  detail::list<detail::task_node, detail::in_scope> tasks_;  // Whose innermost scope this is.
  const std::string name_;
  const char* const limit_of_;
  const duration limit_;
  std::string reason_;
  std::shared_ptr<const cancel_cause> cause_;  // Shared: each `cancelled` that is thrown keeps it.
  time_point deadline_;
  bool shield_;
  bool cancel_called_ = false;
  bool deadline_passed_ = false;
  bool caught_ = false;
  bool effective_ = false;  // Cancelled here or by a scope that reaches here.
};

}  // namespace coppice
