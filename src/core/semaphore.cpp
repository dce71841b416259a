// SPDX-License-Identifier: Apache-2.0
#include "coppice/semaphore.hpp"

#include "base/assert.hpp"
#include "coppice/errors.hpp"

namespace coppice {

semaphore::semaphore(std::size_t value, semaphore_options options)
    : name_(options.name), value_max_(options.value_max), value_(value) {
  COPPICE_ASSERT(value_ <= value_max_, "a semaphore begins with more permits than .value_max");
}

semaphore::~semaphore() {
  COPPICE_ASSERT(waiters_.empty(), "a semaphore ended while a task waits for a permit");
}

std::optional<semaphore::permit> semaphore::try_acquire() {
  if (value_ == 0) return std::nullopt;
  --value_;
  return permit(*this);
}

void semaphore::release() {
  if (full()) {
    throw limit_exceeded("release() of " + describe() +
                         ": more permits were released than acquired, see .value_max");
  }
  add();
}

void semaphore::add() noexcept {
  if (acquire_op* next = waiters_.pop_front()) {
    next->wake();
  } else {
    ++value_;
  }
}

std::string semaphore::describe() const {
  const bool limited = value_max_ != std::numeric_limits<std::size_t>::max();
  return "semaphore '" + name_ + "', " + std::to_string(value_) +
         (limited ? " of at most " + std::to_string(value_max_) : "") + " left, " +
         std::to_string(waiting()) + " waiting";
}

bool semaphore::acquire_op::begin() noexcept {
  if (semaphore_.value_ > 0) {
    --semaphore_.value_;
    return true;
  }
  semaphore_.waiters_.push_back(*this);
  return false;
}

bool semaphore::acquire_op::abort() noexcept {
  unlink();
  return true;
}

std::string semaphore::acquire_op::describe() const { return semaphore_.describe(); }

semaphore::permit::~permit() { release(); }

void semaphore::permit::release() noexcept {
  if (semaphore_ == nullptr) return;
  COPPICE_ASSERT(!semaphore_->full(),
                 "a semaphore's permit was given back twice: call release() of the permit, or "
                 "detach() it first and call release() of the semaphore");
  std::exchange(semaphore_, nullptr)->add();
}

}  // namespace coppice
