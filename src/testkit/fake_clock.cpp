// SPDX-License-Identifier: Apache-2.0
#include "coppice/testkit/fake_clock.hpp"

#include "coppice/detail/check.hpp"

namespace coppice::testkit {

void fake_clock::advance(duration d) noexcept {
  detail::check(d >= duration::zero(), "time does not go backwards: advance() by zero or more");
  now_.fetch_add(d.count());
}

bool fake_clock::skip_to(time_point next) noexcept {
  if (!autojump_) return false;
  if (next == time_point::max()) {
    detail::check(static_cast<bool>(on_deadlock_),
                  "deadlock: every task waits, and there is no timer that could end a wait");
    on_deadlock_();
  } else if (next > now()) {
    now_.store(next.time_since_epoch().count());
  }
  return true;
}

}  // namespace coppice::testkit
