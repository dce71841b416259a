// SPDX-License-Identifier: Apache-2.0
#include "coppice/lock.hpp"

#include "base/assert.hpp"
#include "coppice/errors.hpp"
#include "core/text.hpp"

namespace coppice {

lock::~lock() {
  COPPICE_ASSERT(!held(), "a lock ended while a task holds it");
  COPPICE_ASSERT(claims_.empty(), "a lock ended while a task waits for it");
}

std::optional<lock::guard> lock::try_acquire() {
  detail::task_node* self = detail::running_task();
  COPPICE_ASSERT(self != nullptr, "a lock belongs to a task: call try_acquire() in one");
  if (holder_.is_of(self)) throw_has_it();
  if (held()) return std::nullopt;
  holder_.give_to(*self);
  return guard(*this);
}

std::string lock::describe() const {
  const std::string what = "lock '" + name_ + "', ";
  if (!held()) return what + "free";
  return what + "held by " + core::to_text(*holder_.task()) + ", " + std::to_string(waiting()) +
         " waiting";
}

void lock::pass_on() noexcept {
  holder_.give_back();
  if (claim* next = claims_.pop_front()) next->grant();
}

void lock::throw_has_it() const {
  throw ownership_error("acquire() of " + describe() +
                        ": this task has it already, and would wait for itself for ever");
}

bool lock::claim::take_if_free() noexcept {
  if (lock_.held()) return false;
  lock_.holder_.give_to(waiter());
  return true;
}

void lock::claim::grant() noexcept {
  lock_.holder_.give_to(waiter());
  wake();
}

bool lock::acquire_op::begin() noexcept {
  refused_ = waiter_has_it();
  if (refused_ || take_if_free()) return true;
  queue();
  return false;
}

lock::guard lock::acquire_op::finish() {
  if (refused_) lock_.throw_has_it();
  return guard(lock_);
}

bool lock::acquire_op::abort() noexcept {
  unlink();
  return true;
}

std::string lock::acquire_op::describe() const { return lock_.describe(); }

lock::guard::~guard() {
  if (lock_ == nullptr) return;
  // What a task was given ends after its last turn, when no task runs.
  const detail::task_node* self = detail::running_task();
  COPPICE_ASSERT(self == nullptr || lock_->holder_.is_of(self),
                 "the guard of a lock ended in another task than the one that acquired it");
  lock_->pass_on();
}

void lock::guard::release() {
  if (lock_ == nullptr) throw ownership_error("a lock's guard was released already");
  if (!lock_->held_here()) {
    throw ownership_error("release() of " + lock_->describe() + " by another task");
  }
  std::exchange(lock_, nullptr)->pass_on();
}

}  // namespace coppice
