// SPDX-License-Identifier: Apache-2.0
#include "coppice/nursery.hpp"

#include "base/assert.hpp"
#include "coppice/errors.hpp"

namespace coppice {

nursery::nursery(detail::task_node& parent, std::string name)
    : parent_(parent), scope_(parent, {.name = name.empty() ? "nursery" : std::move(name)}) {
  parent_.nurseries.push_back(*this);
}

nursery::~nursery() { COPPICE_ASSERT(idle(), "a nursery ended before its tasks"); }

void nursery::adopt(std::unique_ptr<detail::child_base> child) {
  scope_.loop_.check_thread("nursery::start_soon()");
  COPPICE_ASSERT(!closed_, "a task was started in a nursery whose block has ended");
  detail::child_base& c = *child.release();  // Ends itself: child_base::finished().
  c.owner = this;
  children_.push_back(c);
  ++children_count_;
  c.enter(scope_);
  c.loop.make_ready(c);
}

void nursery::body_ended(const std::exception_ptr& error) noexcept {
  if (error) add_failure(error, "its block");
}

void nursery::child_ended(std::exception_ptr error, const std::string& name) noexcept {
  --children_count_;
  if (error) add_failure(std::move(error), name.empty() ? "a task" : "'" + name + "'");
  wake_joiner_if_idle();
}

void nursery::add_failure(std::exception_ptr error, const std::string& who) noexcept {
  const bool is_cancel = detail::is_cancelled(error);
  // One cancels all. Also for a `cancelled` that nobody's scope threw: the block must end.
  if (!scope_.cancelled()) {
    scope_.cancel_for(who + " failed: " + describe_exception(error),
                      who.front() == '\'' ? "task " + who : who);
  }
  if (!is_cancel) {
    failures_.push_back(std::move(error));
  } else if (!cancelled_) {
    cancelled_ = std::move(error);
  }
}

void nursery::close() {
  closed_ = true;
  if (failures_.size() == 1) std::rethrow_exception(failures_.front());
  if (!failures_.empty()) throw error_group(name(), std::move(failures_));
  if (!cancelled_ || scope_.absorbs(cancelled_)) return;
  scope_.check();  // Throws anew, naming the outermost cause.
  std::rethrow_exception(cancelled_);
}

void nursery::throw_no_value() const {
  throw error("nursery '" + name() + "' was cancelled (" + scope_.reason() +
              ") before its block returned a value");
}

void nursery::throw_not_started() const {
  throw error("a task ended without calling status.started(), so start() has no value to give");
}

void nursery::give_to(nursery& other) noexcept {
  COPPICE_ASSERT(!other.closed_, "a task was handed over to a nursery whose block has ended");
  while (auto* child = children_.first()) {
    child->loop.leaves_place(*child);
    static_cast<detail::list_link<detail::in_nursery>&>(*child).unlink();
    child->owner = &other;
    other.children_.push_back(*child);
    --children_count_;
    ++other.children_count_;
  }
  other.scope_.adopt(scope_, parent_);
  wake_joiner_if_idle();
}

void nursery::hold() noexcept {
  COPPICE_ASSERT(!closed_, "start() into a nursery whose block has ended");
  ++pending_starts_;
}

void nursery::unhold() noexcept {
  --pending_starts_;
  wake_joiner_if_idle();
}

void nursery::wake_joiner_if_idle() noexcept {
  if (idle() && joiner_ != nullptr) std::exchange(joiner_, nullptr)->wake();
}

nursery::join_op nursery::join() noexcept { return join_op(*this); }

bool nursery::join_op::begin() noexcept {
  if (nursery_.idle()) return true;
  nursery_.joiner_ = this;
  return false;
}

std::string nursery::join_op::describe() const { return "the tasks of '" + nursery_.name() + "'"; }

namespace detail {

child_base::child_base(nursery& n, std::string_view called)
    : task_node(n.loop(), std::string(called)) {}

void child_base::finished() noexcept {
  nursery& n = *owner;
  std::exception_ptr e = error();
  const std::string ended = std::move(name);
  check(scope == &n.scope_, "a task ended inside a cancel scope that it opened");
  loop.leaves_place(*this);
  list_link<in_scope>::unlink();
  list_link<in_nursery>::unlink();
  scope = nullptr;
  // tidy: allow new: a task owns itself until it has ended
  delete this;  // Before the nursery can end: arguments may refer to what lives around it.
  n.child_ended(std::move(e), ended);
}

void child_base::hand_over(start_slot& slot) noexcept {
  // A start() that is being cancelled keeps the task: it is cancelled there.
  if (!slot.from->scope().cancelled()) slot.from->give_to(*slot.to);
}

}  // namespace detail
}  // namespace coppice
