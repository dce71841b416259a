// SPDX-License-Identifier: Apache-2.0
// What tests of cancel scopes, deadlines and shields share.
#pragma once

#include <string>
#include <vector>

#include "coppice/cancel_scope.hpp"
#include "coppice/errors.hpp"
#include "coppice/time.hpp"

namespace coppice {

inline std::string cause_of(const cancel_scope& scope) try {
  scope.check();
  return "not cancelled";
} catch (const cancelled& c) {
  return c.cause();
}

/// The cause with which a checkpoint throws here, or "".
inline task<std::string> checkpoint_cause() {
  try {
    co_await checkpoint();
  } catch (const cancelled& c) {
    co_return c.cause();
  }
  co_return std::string();
}

/// A scope by its own name, without a deadline if none is given. Did it absorb a cancellation?
template <class Body>
task<bool> scoped(std::string name, Body body, bool shield = false,
                  time_point deadline = time_point::max()) {
  auto& self = co_await detail::this_task{};
  cancel_scope scope(self, {.name = name, .deadline = deadline, .shield = shield});
  auto how = co_await detail::captured<void>(detail::take(body(scope)));
  if (how.error() && !scope.absorbs(how.error())) std::rethrow_exception(how.error());
  co_return scope.cancelled_caught();
}

/// Waits until it is cancelled; notes by whom, and lets the cancellation through.
inline task<> note_cancel(std::vector<std::string>& log, std::string who) {
  try {
    co_await sleep_forever();
  } catch (const cancelled& c) {
    log.push_back(who + " " + c.cause());
    throw;
  }
}

/// Waits in a way that a cancellation cannot end, until somebody calls release().
class stubborn_op final : public detail::wait_op {
 public:
  explicit stubborn_op(int& asked) noexcept : asked_(asked) {}
  bool begin() noexcept { return false; }
  void finish() const noexcept {}
  bool abort() noexcept override {
    ++asked_;
    return false;
  }
  std::string describe() const override { return "nobody but release()"; }
  void release() noexcept { wake(); }

 private:
  int& asked_;
};

}  // namespace coppice
