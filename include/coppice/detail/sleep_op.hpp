// SPDX-License-Identifier: Apache-2.0
// Waiting for a point in the loop's time, for nothing, or for ever.
#pragma once

#include <string>

#include "coppice/clock.hpp"
#include "coppice/detail/promise.hpp"

namespace coppice::detail {

class sleep_op final : public wait_op, private timer {
 public:
  enum class kind : unsigned char { span, point, forever };

  sleep_op(kind k, duration span, time_point until) noexcept
      : kind_(k), span_(span), until_(until) {}
  sleep_op(sleep_op&& other) noexcept
      : wait_op(), timer(), kind_(other.kind_), span_(other.span_), until_(other.until_) {}

  bool begin();
  void finish() const {
    // A sleep of no length is checkpoint(): it looks for a cancellation after its turn, too.
    if (instant_ && waiter().cancel_visible()) waiter().throw_cancelled();
  }
  bool abort() noexcept override;
  std::string describe() const override;

 private:
  void fire() noexcept override { wake(); }

  kind kind_;
  duration span_;
  time_point until_;
  bool instant_ = false;  // The time had come already.
};

}  // namespace coppice::detail
