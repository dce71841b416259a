// SPDX-License-Identifier: Apache-2.0
#include "coppice/cancel_scope.hpp"

#include <algorithm>
#include <utility>

#include "base/assert.hpp"
#include "coppice/detail/holding.hpp"
#include "coppice/detail/settled.hpp"
#include "coppice/errors.hpp"
#include "core/text.hpp"

namespace coppice {

cancel_scope::cancel_scope(detail::task_node& task, detail::scope_spec spec)
    : loop_(task.loop),
      task_(task),
      parent_(task.scope),
      name_(std::move(spec.name)),
      limit_of_(spec.limit_of),
      limit_(spec.limit),
      deadline_(time_point::max()),
      shield_(spec.shield) {
  effective_ = reached_from_above();
  arm_deadline(spec.deadline);  // Before anybody is told of us: it may throw.
  if (parent_ != nullptr) parent_->below_.push_back(*this);
  task_.enter(*this);
}

cancel_scope::~cancel_scope() {
  loop_.disarm(*this);
  task_.leave(*this);
  COPPICE_ASSERT(below_.empty() && tasks_.empty(), "a cancel scope ended before what is inside it");
}

void cancel_scope::cancel(std::string_view reason) {
  loop_.check_thread("cancel_scope::cancel()");
  if (!cancel_called_) cancel_for(reason, core::who(detail::running_task()));
}

void cancel_scope::cancel_for(std::string_view reason, std::string canceller) {
  if (reason.empty()) reason = "cancelled";
  cause_ = std::make_shared<const cancel_cause>(
      cancel_cause{name() + ": " + std::string(reason), std::move(canceller)});
  reason_ = reason;
  cancel_called_ = true;
  loop_.disarm(*this);
  spread();
}

void cancel_scope::fire() noexcept {
  deadline_passed_ = true;
  cancel_for("deadline passed", "its deadline");
}

std::string cancel_scope::canceller() const { return cause_ ? cause_->canceller : std::string(); }

std::string cancel_scope::name() const { return core::name_of_scope(limit_of_, limit_, name_); }

bool cancel_scope::cancelled() const noexcept { return effective_; }
bool cancel_scope::cancel_called() const noexcept { return cancel_called_; }
bool cancel_scope::cancelled_caught() const noexcept { return caught_; }
bool cancel_scope::deadline_passed() const noexcept { return deadline_passed_; }

void cancel_scope::check() const {
  if (effective_) throw coppice::cancelled(cause());
}

void cancel_scope::set_deadline(time_point deadline) {
  COPPICE_ASSERT(!shield_ || deadline != time_point::max(),
                 "a shielded scope needs a deadline: take the shield down first");
  arm_deadline(deadline);
}

void cancel_scope::arm_deadline(time_point deadline) {
  deadline_ = deadline;
  if (cancel_called_) return;
  if (deadline == time_point::max()) {
    loop_.disarm(*this);
  } else if (deadline <= loop_.now()) {
    fire();
  } else {
    loop_.arm(*this, deadline);
  }
}

time_point cancel_scope::effective_deadline() const noexcept {
  if (effective_) return time_point::min();
  time_point soonest = deadline_;
  for (const cancel_scope* s = this; !s->shield_ && s->parent_ != nullptr; s = s->parent_) {
    soonest = std::min(soonest, s->parent_->deadline_);
  }
  return soonest;
}

const cancel_scope* cancel_scope::outermost_cancelled(bool through_shields) const noexcept {
  const cancel_scope* outermost = nullptr;
  for (const cancel_scope* s = this; s != nullptr; s = s->parent_) {
    if (s->cancel_called_) outermost = s;
    if (s->shield_ && !through_shields) break;
  }
  return outermost;
}

std::shared_ptr<const cancel_cause> cancel_scope::cause() const {
  const cancel_scope* outermost = outermost_cancelled(false);
  // A task was woken by a cancellation, and then the shield came between the two.
  if (outermost == nullptr) outermost = outermost_cancelled(true);
  COPPICE_ASSERT(outermost != nullptr, "the cause of a cancellation was asked for without one");
  return outermost->cause_;
}

bool cancel_scope::absorbs(const std::exception_ptr& e) noexcept {
  if (!e || !cancel_called_ || reached_from_above() || !detail::is_cancelled(e)) return false;
  return caught_ = true;
}

bool cancel_scope::reached_from_above() const noexcept {
  return !shield_ && parent_ != nullptr && parent_->effective_;
}

// The next scope of the tree below this one, in preorder; null at the end. Recursion would make the
// depth of a program's nesting a matter of stack size.
cancel_scope* cancel_scope::next_below(cancel_scope* s, bool descend) const noexcept {
  if (descend) {
    if (cancel_scope* child = s->below_.first()) return child;
  }
  while (s != this) {
    if (cancel_scope* sibling = s->parent_->below_.after(*s)) return sibling;
    s = s->parent_;
  }
  return nullptr;
}

void cancel_scope::set_shield(bool up) {
  loop_.check_thread("cancel_scope::set_shield()");
  if (shield_ == up) return;
  COPPICE_ASSERT(!up || deadline_ != time_point::max(),
                 "a shield needs a deadline: call set_deadline() before set_shield()");
  shield_ = up;
  if (up) {
    withdraw();
  } else if (reached_from_above()) {
    spread();
  }
}

void cancel_scope::spread() noexcept {
  // But for shields that are moved, each scope turns effective once in its life, so the work of all
  // cancellations of a tree together is linear in its scopes and tasks (a shield or a turned scope
  // ends the walk at that branch).
  for (cancel_scope* s = this; s != nullptr;) {
    const bool turns = !s->effective_ && (s == this || !s->shield_);
    if (turns) {
      s->effective_ = true;
      s->wake_tasks();
    }
    s = next_below(s, turns);
  }
}

void cancel_scope::withdraw() noexcept {
  for (cancel_scope* s = this; s != nullptr;) {
    const bool turns = s->effective_ && !s->cancel_called_ && (s == this || !s->shield_);
    if (turns) s->effective_ = false;
    s = next_below(s, turns);
  }
}

void cancel_scope::wake_tasks() noexcept {
  for (auto* t = tasks_.first(); t != nullptr; t = tasks_.after(*t)) t->cancel_wait();
}

void cancel_scope::adopt(cancel_scope& from, const detail::task_node& but) {
  for (auto* t = from.tasks_.first(); t != nullptr;) {
    auto* next = from.tasks_.after(*t);
    if (t != &but) {
      static_cast<detail::list_link<detail::in_scope>&>(*t).unlink();
      tasks_.push_back(*t);
      t->scope = this;
      if (effective_) t->cancel_wait();
    }
    t = next;
  }
  while (cancel_scope* s = from.below_.pop_front()) {
    s->parent_ = this;
    below_.push_back(*s);
    if (s->reached_from_above()) s->spread();
  }
}

namespace detail {

task_node::~task_node() {
  check(scope == nullptr && !list_link<in_nursery>::linked(), "a task ended inside an open scope");
  check(holds.empty(), "a task ended while it holds a lock or a token: the guard must end in it");
}

void task_node::enter(cancel_scope& s) noexcept {
  list_link<in_scope>::unlink();
  s.tasks_.push_back(*this);
  scope = &s;
}

void task_node::leave(cancel_scope& s) noexcept {
  check(scope == &s, "cancel scopes must be left in the reverse order of entering");
  list_link<in_scope>::unlink();
  scope = s.parent_;
  if (scope != nullptr) scope->tasks_.push_back(*this);
}

bool task_node::cancel_visible() const noexcept { return scope->cancelled(); }

void task_node::throw_cancelled() const { throw coppice::cancelled(scope->cause()); }

void task_node::cancel_wait() noexcept {
  if (state != task_state::parked || std::exchange(asked_to_stop, true)) return;
  if (!waits_for->abort()) return;
  woken_by_cancel = true;
  wake();
}

}  // namespace detail
}  // namespace coppice
