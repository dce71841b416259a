// SPDX-License-Identifier: Apache-2.0
// What the two kinds of channel ends share: being open, being counted, who waits through which.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "coppice/channel.hpp"
#include "coppice/errors.hpp"

namespace coppice::detail {

struct through_end;  // Tag: the operations that go through one end.

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
  friend Op;
  [[noreturn]] void throw_closed(const char* what) const {
    throw channel_closed(std::string(what) + " through a closed end of " + channel_->describe());
  }

 protected:
  shared_channel<T> channel_;

 private:
  list<Op, through_end> ops_;  // Woken ones too, until they end.
  bool open_ = true;
};

template <class T>
class end_send_op final : public channel<T>::send_op, public list_link<through_end> {
  using base = typename channel<T>::send_op;
  using end = channel_end<T, end_send_op>;

 public:
  template <class U>
  end_send_op(end& e, channel<T>& c, U&& value) : base(c, std::forward<U>(value)), end_(e) {}
  end_send_op(end_send_op&& o) noexcept(std::is_nothrow_move_constructible_v<T>)
      : base(static_cast<base&&>(o)), list_link(), end_(o.end_) {}

  bool begin() {
    end_closed_ = !end_.open_;
    if (end_closed_ || base::begin()) return true;
    end_.ops_.push_back(*this);
    return false;
  }
  void finish() const {
    if (end_closed_) end_.throw_closed("send()");
    if (base::refused()) {
      throw channel_closed("send() into " + end_.describe() + ": nobody is left to receive it");
    }
  }
  bool abort() noexcept override {
    list_link::unlink();
    return base::abort();
  }

 private:
  friend end;
  void end_closed() noexcept { end_closed_ = base::give_up(); }

  end& end_;
  bool end_closed_ = false;
};

template <class T>
class end_receive_op final : public channel<T>::receive_op, public list_link<through_end> {
  using base = typename channel<T>::receive_op;
  using end = channel_end<T, end_receive_op>;

 public:
  end_receive_op(end& e, channel<T>& c) noexcept : base(c), end_(e) {}
  end_receive_op(end_receive_op&& o) noexcept
      : base(static_cast<base&&>(o)), list_link(), end_(o.end_) {}

  bool begin() {
    end_closed_ = !end_.open_;
    if (end_closed_ || base::begin()) return true;
    end_.ops_.push_back(*this);
    return false;
  }
  std::optional<T> finish() {
    if (end_closed_) end_.throw_closed("receive()");
    return base::finish();
  }
  bool abort() noexcept override {
    list_link::unlink();
    return base::abort();
  }

 private:
  friend end;
  void end_closed() noexcept { end_closed_ = base::give_up(); }

  end& end_;
  bool end_closed_ = false;
};

}  // namespace coppice::detail
