// SPDX-License-Identifier: Apache-2.0
// What the two kinds of channel ends share: being open, being counted, who waits through which.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "coppice/channel.hpp"
#include "coppice/errors.hpp"

namespace coppice::detail {

struct through_end;  // Tag: the operations that go through one end.
template <class T, class Base, class Op>
class end_op;

/// A channel and how many ends of it are open. Owner: its ends, which close in any order.
template <class T>
struct counted_channel {
  counted_channel(std::size_t capacity, std::string_view name) : values(capacity, name) {}

  std::string describe() const {
    return values.describe() + "; senders: " + std::to_string(senders) + ", " +
           std::to_string(values.senders_waiting()) +
           " waiting; receivers: " + std::to_string(receivers) + ", " +
           std::to_string(values.receivers_waiting()) + " waiting";
  }

  channel<T> values;
  std::size_t senders = 0;
  std::size_t receivers = 0;
};

template <class T>
using shared_channel = std::shared_ptr<counted_channel<T>>;

template <class T, class Op>
class channel_end {
 public:
  channel_end(channel_end&& other) noexcept
      : channel_(other.channel_), open_(std::exchange(other.open_, false)) {
    check(other.ops_.empty(), "an end of a channel was moved while a task waits on it");
  }
  channel_end& operator=(channel_end&&) = delete;

  bool closed() const noexcept { return !open_; }  // This end: by close(), or moved from.
  const std::string& name() const noexcept { return channel_->values.name(); }

  /// "channel 'numbers', 3 of 8 kept, open; senders: 2, 0 waiting; receivers: 1, 1 waiting"
  std::string describe() const { return channel_->describe() + (open_ ? "" : "; this end closed"); }

 protected:
  explicit channel_end(shared_channel<T> c) noexcept : channel_(std::move(c)) {}
  ~channel_end() { check(ops_.empty(), "an end of a channel ended while a task waits on it"); }

  const shared_channel<T>& opened(const char* what) const {
    if (!open_) throw_closed(what);
    return channel_;
  }
  bool leave() noexcept {  // False: closed already. Tells whoever waits through this end.
    if (!std::exchange(open_, false)) return false;
    for (Op* op = ops_.first(); op != nullptr; op = ops_.after(*op)) op->end_closed();
    return true;
  }

  channel<T>& values() noexcept { return channel_->values; }

 private:
  template <class, class, class>
  friend class end_op;
  [[noreturn]] void throw_closed(const char* what) const {
    throw channel_closed(std::string(what) + " through a closed end of " + channel_->describe());
  }

 protected:
  shared_channel<T> channel_;

 private:
  list<Op, through_end> ops_;  // Woken ones too, until they end.
  bool open_ = true;
};

/// An operation of the channel that goes through one end, and ends when that closes. `Op` derives
/// from it; `Base` is the channel's own operation.
template <class T, class Base, class Op>
class end_op : public Base, public list_link<through_end> {
 protected:
  using end = channel_end<T, Op>;

 public:
  template <class... Value>
  end_op(end& e, channel<T>& c, Value&&... value)
      : Base(c, std::forward<Value>(value)...), end_(e) {}
  end_op(end_op&& o) noexcept(std::is_nothrow_move_constructible_v<Base>)
      : Base(static_cast<Base&&>(o)), list_link<through_end>(), end_(o.end_) {}

  bool begin() {
    end_closed_ = !end_.open_;
    if (end_closed_ || Base::begin()) return true;
    end_.ops_.push_back(static_cast<Op&>(*this));
    return false;
  }
  bool abort() noexcept override {
    list_link<through_end>::unlink();
    return Base::abort();
  }

 protected:
  void check_end(const char* what) const {
    if (end_closed_) end_.throw_closed(what);
  }
  std::string describe_end() const { return end_.describe(); }

 private:
  friend end;
  void end_closed() noexcept { end_closed_ = Base::give_up(); }

  end& end_;
  bool end_closed_ = false;
};

template <class T>
class end_send_op final : public end_op<T, typename channel<T>::send_op, end_send_op<T>> {
  using base = end_op<T, typename channel<T>::send_op, end_send_op>;

 public:
  using base::base;
  void finish() const {
    base::check_end("send()");
    if (base::refused()) {
      throw channel_closed("send() into " + base::describe_end() +
                           ": nobody is left to receive it");
    }
  }
};

template <class T>
class end_receive_op final : public end_op<T, typename channel<T>::receive_op, end_receive_op<T>> {
  using base = end_op<T, typename channel<T>::receive_op, end_receive_op>;

 public:
  using base::base;
  std::optional<T> finish() {
    base::check_end("receive()");
    return base::finish();
  }
};

}  // namespace coppice::detail
