// SPDX-License-Identifier: Apache-2.0
#include "coppice/testkit/order.hpp"

#include "coppice/detail/check.hpp"
#include "coppice/time.hpp"
#include "core/loop.hpp"

namespace coppice::testkit {

namespace {

class idle_op final : public detail::wait_op, public core::idle_hook {
 public:
  bool begin() noexcept {
    static_cast<core::loop&>(waiter().loop).when_idle(*this);
    return false;
  }
  void finish() const noexcept {}
  bool abort() noexcept override {
    unlink();
    return true;
  }
  std::string describe() const override { return "all others to wait"; }
  void at_idle() noexcept override { wake(); }
};

}  // namespace

task<> wait_all_blocked() {
  idle_op others;
  co_await others;
}

task<> sequencer::turn(int n) {
  if (next_ < n) {
    co_await waiting_[n].wait();
  } else {
    co_await checkpoint();
  }
  detail::check(next_ == n, "a turn of a sequencer was taken twice");
}

void sequencer::done(int n) {
  detail::check(next_ == n, "a turn of a sequencer ended before it came");
  ++next_;
  if (const auto after = waiting_.find(next_); after != waiting_.end()) after->second.set();
}

}  // namespace coppice::testkit
