// SPDX-License-Identifier: Apache-2.0
#include "coppice/condition.hpp"

#include <limits>

#include "base/assert.hpp"
#include "coppice/errors.hpp"

namespace coppice {

condition::condition(std::string_view name)
    : name_(name), own_(std::in_place, name), lock_(*own_) {}

condition::condition(lock& with, std::string_view name) : name_(name), lock_(with) {}

condition::~condition() {
  COPPICE_ASSERT(waiters_.empty(), "a condition ended while a task waits for it");
}

void condition::check_held(const char* what) const {
  if (lock_.held_here()) return;
  throw ownership_error(std::string(what) + " of " + describe() + ": acquire the lock first");
}

void condition::notify(std::size_t n) {
  check_held("notify()");
  for (; n > 0; --n) {
    auto* first = static_cast<wait_op*>(waiters_.pop_front());
    if (first == nullptr) return;
    first->notified();
  }
}

void condition::notify_all() { notify(std::numeric_limits<std::size_t>::max()); }

std::string condition::describe() const {
  return "condition '" + name_ + "', " + std::to_string(waiting()) + " waiting; " +
         lock_.describe();
}

bool condition::wait_op::begin() noexcept {
  if (!waiter_has_it()) {
    stage_ = stage::refused;
    return true;
  }
  condition_.waiters_.push_back(*this);
  lock_.pass_on();
  return false;
}

// The notifier has the lock, so it is the lock's turn to wake this.
void condition::wait_op::notified() noexcept {
  stage_ = stage::notified;
  queue();
}

bool condition::wait_op::abort() noexcept {
  if (stage_ != stage::waits) return false;  // Waits for the lock already.
  stage_ = stage::cancelled;
  unlink();
  if (take_if_free()) return true;
  queue();
  return false;
}

void condition::wait_op::finish() const {
  if (stage_ == stage::refused) {
    throw ownership_error("wait() of " + condition_.describe() + ": acquire the lock first");
  }
  if (stage_ == stage::cancelled) waiter().throw_cancelled();
}

std::string condition::wait_op::describe() const {
  return stage_ == stage::waits
             ? condition_.describe()
             : lock_.describe() + ", to go on behind condition '" + condition_.name_ + "'";
}

}  // namespace coppice
