// SPDX-License-Identifier: Apache-2.0
// channel<T>: a bounded queue between the tasks of one loop.
#pragma once

#include <concepts>
#include <cstddef>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "coppice/detail/block.hpp"
#include "coppice/detail/promise.hpp"
#include "coppice/errors.hpp"

namespace coppice {

namespace detail {

template <class T, class U>
constexpr void check_sent() {
  static_assert(std::is_lvalue_reference_v<U> || !temporaries_end_twice ||
                    !std::is_aggregate_v<T> || std::is_trivially_destructible_v<T>,
                "g++ 12 destroys a temporary of this type twice: give the value a name on the line "
                "before and send that");
}

}  // namespace detail

/// Values in order from many senders to many receivers, each value to one of them.
///
/// Promises:
/// - At most `capacity` values are kept; a sender beyond waits. With capacity 0 it waits until a
///   receiver has its value.
/// - Senders and receivers are served in the order in which they came.
/// - A cancelled send() has not sent and a cancelled receive() has not taken: no value is lost or
///   doubled.
/// - After close(), receivers get what is there and then nothing, for ever; senders get
///   channel_closed, those that wait too.
///
///     channel<int> numbers(8, "numbers");
///     co_await numbers.send(1);
///     while (auto n = co_await numbers.receive()) use(*n);
///
/// It ends when somebody calls close(). Where it is to end with the last of its senders or
/// receivers, open_channel() gives ends that count themselves.
///
/// # Why not an unbounded queue?
/// A slow receiver then costs all the memory, long after the mistake was made.
///
/// Owner: a frame that outlives its users. Thread: one loop's.
template <class T>
class channel {
 public:
  explicit channel(std::size_t capacity, std::string_view name = {})
      : capacity_(capacity), name_(name) {}
  channel(const channel&) = delete;
  channel& operator=(const channel&) = delete;
  ~channel() {
    detail::check(senders_.empty() && receivers_.empty(),
                  "a channel ended while a task waits on it");
  }

  class send_op;
  class receive_op;

  /// Waits for room, then sends. Throws channel_closed.
  template <class U = T>
    requires std::convertible_to<U&&, T>
  [[nodiscard("co_await it")]] send_op send(U&& value) {
    detail::check_sent<T, U>();
    return send_op(*this, std::forward<U>(value));
  }

  /// Waits for a value; empty: closed, and nothing is left.
  [[nodiscard("co_await it")]] receive_op receive() noexcept { return receive_op(*this); }

  /// Never waits. False: no room and no receiver, or closed; then `value` is untouched.
  template <class U = T>
    requires std::convertible_to<U&&, T>
  bool try_send(U&& value) {
    if (closed_ || !can_take()) return false;
    put(T(std::forward<U>(value)));
    return true;
  }

  /// Never waits. Empty: nothing there now; see closed().
  std::optional<T> try_receive() {
    std::optional<T> value;
    get(value);
    return value;
  }

  void close() noexcept {
    if (std::exchange(closed_, true)) return;
    while (send_op* s = senders_.pop_front()) s->refuse();
    while (receive_op* r = receivers_.pop_front()) r->end();
  }

  bool closed() const noexcept { return closed_; }
  std::size_t size() const noexcept { return kept_.size(); }
  std::size_t capacity() const noexcept { return capacity_; }
  const std::string& name() const noexcept { return name_; }
  std::size_t senders_waiting() const noexcept { return senders_.count(); }
  std::size_t receivers_waiting() const noexcept { return receivers_.count(); }

  std::string describe() const {  // "channel 'numbers', 3 of 8 kept, open"
    return "channel '" + name_ + "', " + std::to_string(kept_.size()) + " of " +
           std::to_string(capacity_) + " kept, " + (closed_ ? "closed" : "open");
  }

 private:
  struct sending;  // Tags.
  struct receiving;

  bool can_take() const noexcept {
    return receivers_.first() != nullptr || kept_.size() < capacity_;
  }
  void put(T&& value) {  // REQUIRES: can_take().
    if (receive_op* r = receivers_.pop_front()) {
      r->give(std::move(value));
    } else {
      kept_.push_back(std::move(value));
    }
  }
  bool get(std::optional<T>& to) {
    send_op* s = senders_.first();
    if (!kept_.empty()) {
      to.emplace(std::move(kept_.front()));
      kept_.pop_front();
      if (s != nullptr) kept_.push_back(s->hand_over());
    } else if (s != nullptr) {
      to.emplace(s->hand_over());
    }
    return to.has_value();
  }

  const std::size_t capacity_;
  const std::string name_;
  std::deque<T> kept_;
  detail::list<send_op, sending> senders_;
  detail::list<receive_op, receiving> receivers_;
  bool closed_ = false;
};

template <class T>
class channel<T>::send_op : public detail::wait_op, public detail::list_link<sending> {
 public:
  template <class U>
  send_op(channel& c, U&& value) : channel_(c), value_(std::forward<U>(value)) {}
  send_op(send_op&& o) noexcept(std::is_nothrow_move_constructible_v<T>)
      : detail::wait_op(), link(), channel_(o.channel_), value_(std::move(o.value_)) {}

  bool begin() {
    if (channel_.closed_) {
      refused_ = true;
      return true;
    }
    if (channel_.can_take()) {
      channel_.put(std::move(value_));
      return true;
    }
    channel_.senders_.push_back(*this);
    return false;
  }
  void finish() const {
    if (refused_) throw channel_closed("send() into closed " + channel_.describe());
  }
  bool abort() noexcept override {
    link::unlink();
    return true;
  }
  std::string describe() const override { return "room in " + channel_.describe(); }

 protected:
  using link = detail::list_link<sending>;

  bool give_up() noexcept {  // Ends a wait that is not over yet, unsent.
    if (!link::linked()) return false;
    link::unlink();
    refuse();
    return true;
  }
  bool refused() const noexcept { return refused_; }

 private:
  friend class channel;

  T hand_over() {
    link::unlink();
    wake();
    return std::move(value_);
  }
  void refuse() noexcept {
    refused_ = true;
    wake();
  }

  channel& channel_;
  T value_;
  bool refused_ = false;
};

template <class T>
class channel<T>::receive_op : public detail::wait_op, public detail::list_link<receiving> {
 public:
  explicit receive_op(channel& c) noexcept : channel_(c) {}
  receive_op(receive_op&& o) noexcept : detail::wait_op(), link(), channel_(o.channel_) {}

  bool begin() {
    if (channel_.get(value_) || channel_.closed_) return true;
    channel_.receivers_.push_back(*this);
    return false;
  }
  std::optional<T> finish() { return std::move(value_); }
  bool abort() noexcept override {
    link::unlink();
    return true;
  }
  std::string describe() const override { return "a value from " + channel_.describe(); }

 protected:
  using link = detail::list_link<receiving>;

  bool give_up() noexcept {  // Ends a wait that is not over yet, without a value.
    if (!link::linked()) return false;
    link::unlink();
    end();
    return true;
  }

 private:
  friend class channel;

  void give(T&& value) {
    value_.emplace(std::move(value));
    wake();
  }
  void end() noexcept { wake(); }

  channel& channel_;
  std::optional<T> value_;
};

}  // namespace coppice
