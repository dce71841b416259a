// SPDX-License-Identifier: Apache-2.0
// One stream, taken by several tasks: what subscribe() is made of.
#pragma once

#include <cstdint>
#include <exception>
#include <optional>
#include <string>
#include <utility>

#include "coppice/broadcast_channel.hpp"
#include "coppice/detail/dialog_end.hpp"
#include "coppice/task.hpp"

namespace coppice::detail {

[[noreturn]] void throw_shared_stream();

template <class T>
class stream_subscription;

/// Takes from the stream on behalf of those that wait, and gives to all.
///
/// # Why not a task that pumps?
/// It would take whether or not anybody has had the last value, and then the fastest loses, too.
template <class T>
class stream_hub final : public stream_reader {
 public:
  stream_hub(dialog_end& end, std::uint32_t kept_max)
      : end_(end), values_(kept_max, "stream " + std::string(end.function())) {
    end_.read_by(this);
  }
  ~stream_hub() { end_.read_by(nullptr); }
  stream_hub(const stream_hub&) = delete;
  stream_hub& operator=(const stream_hub&) = delete;

  stream_subscription<T> subscribe(subscribe_options options) {
    return stream_subscription<T>(*this, options);
  }

  /// One more value to all of them, if there is one.
  void pull() {
    payload bytes;
    if (values_.closed()) return;
    switch (end_.try_take(bytes)) {
      case dialog_end::got::value:
        try {
          values_.send(end_.decoded<T>(std::move(bytes)));
        } catch (...) {  // No T: that concerns everybody who would have got it.
          misfit_ = std::current_exception();
          values_.close();
        }
        break;
      case dialog_end::got::nothing:
        break;
      case dialog_end::got::end:
        values_.close();
        break;
    }
  }
  void throw_if_failed() const {
    if (misfit_) std::rethrow_exception(misfit_);
    if (auto e = end_.failure()) std::rethrow_exception(e);
  }
  [[noreturn]] static void throw_shared() { throw_shared_stream(); }

 private:
  friend class stream_subscription<T>;
  void readable() noexcept override {
    if (values_.receivers_waiting() > 0) pull();
  }

  dialog_end& end_;
  broadcast_channel<T> values_;
  std::exception_ptr misfit_;
};

/// One subscriber's place in a stream: see broadcast_channel::subscription.
///
/// Owner: a task, by value; the stream outlives it. Movable while nobody waits on it.
template <class T>
class [[nodiscard("a subscription ends with the object")]] stream_subscription {
 public:
  /// Waits for the next value; empty: the stream's end. Throws lagged, and what the stream's
  /// receive() throws.
  task<std::optional<T>> receive() {
    if (place_.behind() == 0) hub_->pull();
    auto v = co_await place_.receive();
    if (!v) hub_->throw_if_failed();
    co_return v;
  }

  std::uint64_t missed() const noexcept { return place_.missed(); }
  std::uint64_t behind() const noexcept { return place_.behind(); }
  std::string describe() const { return place_.describe(); }

 private:
  friend class stream_hub<T>;

  // Made in its place: it is a member of a list, and g++ 12 warns of every move of it.
  stream_subscription(stream_hub<T>& hub, subscribe_options options)
      : hub_(&hub), place_(hub.values_.subscribe(options)) {}

  stream_hub<T>* hub_;  // Kept in one place by the stream, wherever that moves.
  typename broadcast_channel<T>::subscription place_;
};

}  // namespace coppice::detail
