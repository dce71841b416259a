// SPDX-License-Identifier: Apache-2.0
#include "coppice/capacity_limiter.hpp"

#include "base/assert.hpp"
#include "coppice/errors.hpp"
#include "core/text.hpp"

namespace coppice {

namespace {

constexpr std::size_t borrowers_shown_max = 16;  // A dump is for reading.

}  // namespace

capacity_limiter::~capacity_limiter() {
  for (loan* l = loans_.first(); l != nullptr;) {
    loan* next = loans_.after(*l);
    if (l->outlives) {
      l->unlink();
      l->limiter = nullptr;
    }
    l = next;
  }
  COPPICE_ASSERT(loans_.empty(), "a capacity limiter ended before its tokens were given back");
  COPPICE_ASSERT(waiters_.empty(), "a capacity limiter ended while a task waits for a token");
}

std::optional<capacity_limiter::token> capacity_limiter::try_acquire() {
  detail::task_node* self = detail::running_task();
  COPPICE_ASSERT(self != nullptr,
                 "the borrower is the task that asks: call try_acquire() in one, or give a key to "
                 "try_acquire_for()");
  return try_lend(std::make_unique<loan>(*this, std::string_view(), false), self);
}

std::optional<capacity_limiter::token> capacity_limiter::try_acquire_for(std::string_view key) {
  return try_lend(std::make_unique<loan>(*this, key, true), nullptr);
}

std::optional<capacity_limiter::token> capacity_limiter::try_lend(std::unique_ptr<loan> l,
                                                                  detail::task_node* task) {
  if (!claim(*l, task)) throw_has_one(*l);
  if (lend(*l, task)) return token(std::move(l));
  forget(*l);
  return std::nullopt;
}

bool capacity_limiter::claim(const loan& l, const detail::task_node* task) {
  return l.has_key ? keys_.insert(l.key).second : !detail::holding::any(*task, this);
}

void capacity_limiter::forget(const loan& l) noexcept {
  if (l.has_key) keys_.erase(l.key);
}

bool capacity_limiter::lend(loan& l, detail::task_node* task) noexcept {
  if (borrowed_ >= total_) return false;
  ++borrowed_;
  loans_.push_back(l);
  if (!l.has_key) l.holder.give_to(*task);
  return true;
}

void capacity_limiter::take_back(loan& l) noexcept {
  forget(l);
  l.unlink();
  l.holder.give_back();
  --borrowed_;
  lend_to_waiters();
}

void capacity_limiter::lend_to_waiters() noexcept {
  for (acquire_op* w = waiters_.first(); w != nullptr; w = waiters_.first()) {
    if (!lend(*w->loan_, &w->waiter())) return;
    w->unlink();
    w->wake();
  }
}

void capacity_limiter::set_total_tokens(std::size_t total) noexcept {
  total_ = total;
  lend_to_waiters();
}

void capacity_limiter::throw_has_one(const loan& l) const {
  throw ownership_error("acquire() of " + describe() + ": " +
                        (l.has_key ? "key '" + l.key + "' has a token or waits for one already"
                                   : "this task has a token already"));
}

std::string capacity_limiter::describe() const {
  std::string text = "limiter '" + name_ + "', " + std::to_string(borrowed_) + " of " +
                     (total_ == unlimited ? "unlimited" : std::to_string(total_)) + " tokens lent";
  const char* between = " to ";
  std::size_t left = borrowers_shown_max;
  for (const loan* l = loans_.first(); l != nullptr && left > 0; l = loans_.after(*l), --left) {
    text += between +
            (l->has_key ? "key '" + l->key + "'" : "task " + core::to_text(*l->holder.task()));
    between = ", ";
  }
  if (borrowed_ > borrowers_shown_max) {
    text += " and " + std::to_string(borrowed_ - borrowers_shown_max) + " more";
  }
  return text + "; " + std::to_string(waiting()) + " waiting";
}

bool capacity_limiter::acquire_op::begin() {
  capacity_limiter& limiter = *loan_->limiter;
  refused_ = !limiter.claim(*loan_, &waiter());
  if (refused_ || limiter.lend(*loan_, &waiter())) return true;
  limiter.waiters_.push_back(*this);
  return false;
}

capacity_limiter::token capacity_limiter::acquire_op::finish() {
  if (refused_) loan_->limiter->throw_has_one(*loan_);
  return token(std::move(loan_));
}

bool capacity_limiter::acquire_op::abort() noexcept {
  unlink();
  loan_->limiter->forget(*loan_);
  return true;
}

std::string capacity_limiter::acquire_op::describe() const { return loan_->limiter->describe(); }

capacity_limiter::token::~token() {
  if (loan_ == nullptr || loan_->limiter == nullptr) return;
  // What a task was given ends after its last turn, when no task runs.
  const detail::task_node* self = detail::running_task();
  COPPICE_ASSERT(loan_->has_key || self == nullptr || loan_->holder.is_of(self),
                 "the token of a capacity limiter ended in another task than the one that has it: "
                 "use acquire_for() with a key for a token that travels");
  loan_->limiter->take_back(*loan_);
}

void capacity_limiter::token::release() {
  if (loan_ == nullptr) throw ownership_error("a limiter's token was released already");
  if (!loan_->has_key && !loan_->holder.is_of(detail::running_task())) {
    throw ownership_error("release() of a token of " + loan_->limiter->describe() +
                          " by another task");
  }
  loan_->limiter->take_back(*loan_);
  loan_.reset();
}

}  // namespace coppice
