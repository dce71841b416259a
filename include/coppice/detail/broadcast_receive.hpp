// SPDX-License-Identifier: Apache-2.0
// Waiting for a subscription's next value. Included by broadcast_channel.hpp, at its end.
#pragma once
// By name too: broadcast_channel.hpp and this include each other, and #pragma once does not hold
// for the file that a tool is given.
#ifndef COPPICE_DETAIL_BROADCAST_RECEIVE
#define COPPICE_DETAIL_BROADCAST_RECEIVE

#include <cstdint>
#include <exception>
#include <optional>
#include <string>
#include <utility>

#include "coppice/broadcast_channel.hpp"

namespace coppice {

template <class T>
class broadcast_channel<T>::receive_op final
    : public detail::wait_op,
      public detail::list_link<typename broadcast_channel<T>::receiving> {
 public:
  explicit receive_op(subscription& s) noexcept : subscription_(s) {}
  receive_op(receive_op&& o) noexcept : detail::wait_op(), link(), subscription_(o.subscription_) {}

  bool begin() {
    lag_ = subscription_.skip();
    if (lag_ > 0) return true;
    fill();
    if (value_ || error_ || subscription_.home().closed_) return true;
    subscription_.waiters_.push_back(*this);
    return false;
  }
  std::optional<T> finish() {
    if (lag_ > 0) subscription_.throw_lagged(lag_);
    if (error_) std::rethrow_exception(error_);
    return std::move(value_);
  }
  bool abort() noexcept override {
    link::unlink();
    return true;
  }
  std::string describe() const override { return "a value: " + subscription_.describe(); }

 private:
  friend class broadcast_channel;
  friend class broadcast_channel::subscription;
  using link = detail::list_link<typename broadcast_channel<T>::receiving>;

  void fill() noexcept {  // What copying a value throws is its receiver's, not the sender's.
    try {
      value_ = subscription_.take();
    } catch (...) {
      error_ = std::current_exception();
    }
  }
  void give() noexcept {
    fill();
    wake();
  }
  void end() noexcept { wake(); }

  subscription& subscription_;
  std::optional<T> value_;
  std::exception_ptr error_;
  std::uint64_t lag_ = 0;
};

}  // namespace coppice

#endif
