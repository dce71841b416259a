// SPDX-License-Identifier: Apache-2.0
#include "coppice/time.hpp"

#include "base/assert.hpp"
#include "coppice/errors.hpp"
#include "core/text.hpp"

namespace coppice {

static_assert(std::is_trivially_destructible_v<finally_options>);

namespace detail {

bool sleep_op::begin() {
  scheduler& loop = waiter().loop;
  if (kind_ == kind::forever) return false;
  const time_point now = loop.now();
  if (kind_ == kind::span) until_ = after(now, span_);
  instant_ = until_ <= now;
  if (instant_) return true;
  if (until_ != time_point::max()) loop.arm(*this, until_);
  return false;
}

bool sleep_op::abort() noexcept {
  waiter().loop.disarm(*this);
  return true;
}

std::string sleep_op::describe() const {
  if (kind_ == kind::forever) return "nothing: sleep_forever()";
  const duration left = until_ - waiter().loop.now();
  return "time: " + core::to_text(left < duration::zero() ? duration::zero() : left) + " left";
}

scope_spec limit_spec(const char* function, time_point now, duration limit) {
  return {.deadline = after(now, limit), .limit_of = function, .limit = limit};
}

void throw_timeout(const cancel_scope& scope) {
  if (scope.deadline_passed()) throw timeout_error("timed out: " + scope.name() + " passed");
  throw timeout_error(scope.name() + " was cancelled before its end: " + scope.reason());
}

std::exception_ptr cleanup_timeout(duration within) {
  return std::make_exception_ptr(timeout_error("cleanup given to finally() did not end within " +
                                               core::to_text(within) +
                                               "; raise .within, or wait for less in it"));
}

void throw_cleanup_failure(std::exception_ptr work, std::exception_ptr cleanup) {
  // A cancellation of the work is not lost by throwing the error: it is a level, not an edge.
  if (!work || is_cancelled(work)) std::rethrow_exception(cleanup);
  if (is_cancelled(cleanup)) std::rethrow_exception(work);
  throw error_group("finally", {std::move(work), std::move(cleanup)});
}

}  // namespace detail
}  // namespace coppice
