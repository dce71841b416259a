// SPDX-License-Identifier: Apache-2.0
#include "coppice/event.hpp"

#include "base/assert.hpp"

namespace coppice {

event::~event() { COPPICE_ASSERT(waiters_.empty(), "an event ended while a task waits for it"); }

void event::set() noexcept {
  if (set_) return;
  set_ = true;
  waiting_ = 0;
  while (wait_op* w = waiters_.pop_front()) w->wake();
}

std::string event::describe() const {
  return "event '" + name_ + "', " + (set_ ? "set" : "not set") + ", " + std::to_string(waiting_) +
         " waiting";
}

bool event::wait_op::begin() noexcept {
  if (event_.set_) return true;
  event_.waiters_.push_back(*this);
  ++event_.waiting_;
  return false;
}

bool event::wait_op::abort() noexcept {
  unlink();
  --event_.waiting_;
  return true;
}

std::string event::wait_op::describe() const {
  return event_.name_.empty() ? "an event" : "event '" + event_.name_ + "'";
}

}  // namespace coppice
