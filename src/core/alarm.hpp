// SPDX-License-Identifier: Apache-2.0
// A timer for code that is not a task: calls back once on its loop.
#pragma once

#include <utility>

#include "base/unique_function.hpp"
#include "core/loop.hpp"

namespace coppice::core {

/// Calls a function once, at a time of the loop's clock, unless it is set again, cleared or
/// destroyed first. Owner: any object of that loop. Thread: the loop's.
class alarm final : private detail::timer {
 public:
  explicit alarm(loop& l) noexcept : loop_(l) {}
  ~alarm() { clear(); }

  void set(duration from_now, base::unique_function<void()> fn) {
    fn_ = std::move(fn);
    loop_.arm(*this, loop_.now() + from_now);
  }
  void clear() noexcept { loop_.disarm(*this); }

 private:
  void fire() noexcept override {
    auto fn = std::move(fn_);  // It may set us again, or destroy us.
    fn();
  }

  loop& loop_;
  base::unique_function<void()> fn_;
};

}  // namespace coppice::core
