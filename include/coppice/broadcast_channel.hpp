// SPDX-License-Identifier: Apache-2.0
// broadcast_channel<T>: every value to every subscriber; the slow ones hear what they missed.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "coppice/detail/promise.hpp"
#include "coppice/errors.hpp"

namespace coppice {

struct subscribe_options {
  bool lag_throws = true;  // False: goes on at once with what is kept; missed() counts.
};

/// One stream of values to many tasks, of which none can hold up the sender or another.
///
/// Promises:
/// - send() never waits. At most `capacity` values are kept; the oldest makes room for the newest.
/// - Every subscription gets every value that was sent since it was made, in order, or hears how
///   many it missed: receive() throws `lagged` once, and goes on with the oldest that is kept.
/// - A subscription that is made later begins with the next value.
/// - A cancelled receive() has not taken.
/// - After close(), subscriptions get what is there and then nothing, for ever; send() and
///   subscribe() throw channel_closed.
///
///     broadcast_channel<double> prices(64, "prices");
///     n.start_soon(show, prices.subscribe());
///     prices.send(1.5);
///     // show: while (auto p = co_await subscription.receive()) draw(*p);
///
/// # Why not a channel per subscriber?
/// One that is not read stops the sender, and with it all others; or its queue has no bound.
///
/// Every subscription gets a copy: of what is large, send a std::shared_ptr<const T>.
///
/// Owner: a frame that outlives its subscriptions. Thread: one loop's.
template <class T>
class broadcast_channel {
 public:
  explicit broadcast_channel(std::size_t capacity, std::string_view name = {})
      : capacity_(capacity), name_(name) {
    static_assert(std::copy_constructible<T>,
                  "every subscription gets a copy: send a std::shared_ptr<const T> instead");
    detail::check(capacity > 0, "a broadcast channel has to keep at least one value");
  }
  broadcast_channel(const broadcast_channel&) = delete;
  broadcast_channel& operator=(const broadcast_channel&) = delete;
  ~broadcast_channel() {
    detail::check(subscriptions_.empty(), "a broadcast channel ended before its subscriptions");
  }

  class subscription;
  class receive_op;

  /// To every subscription; gives their number. Without one the value is gone. Throws
  /// channel_closed.
  template <class U = T>
    requires std::convertible_to<U&&, T>
  std::size_t send(U&& value) {
    if (closed_) throw channel_closed("send() into closed " + describe());
    if (subscriptions_.empty()) return 0;
    kept_.emplace_back(std::forward<U>(value));
    ++end_;
    std::size_t to = 0;
    for (subscription* s = subscriptions_.first(); s != nullptr; s = subscriptions_.after(*s)) {
      s->wake_first();
      ++to;
    }
    if (kept_.size() > capacity_) kept_.pop_front();
    return to;
  }

  [[nodiscard("a subscription ends with the object")]] subscription subscribe(
      subscribe_options options = {}) {
    if (closed_) throw channel_closed("subscribe() to closed " + describe());
    return subscription(*this, options);
  }

  void close() noexcept {
    if (std::exchange(closed_, true)) return;
    for (subscription* s = subscriptions_.first(); s != nullptr; s = subscriptions_.after(*s)) {
      s->wake_all();
    }
  }

  bool closed() const noexcept { return closed_; }
  std::size_t size() const noexcept { return kept_.size(); }
  std::size_t capacity() const noexcept { return capacity_; }
  std::size_t subscribers() const noexcept { return subscriptions_.count(); }
  const std::string& name() const noexcept { return name_; }
  std::size_t receivers_waiting() const noexcept {
    std::size_t n = 0;
    for (const subscription* s = subscriptions_.first(); s != nullptr; s = subscriptions_.after(*s))
      n += s->waiters_.count();
    return n;
  }

  /// "broadcast channel 'prices', 3 of 64 kept, open, 2 subscribers, the slowest 3 behind"
  std::string describe() const {
    std::uint64_t most = 0;
    for (const subscription* s = subscriptions_.first(); s != nullptr;
         s = subscriptions_.after(*s)) {
      most = std::max(most, s->behind());
    }
    return "broadcast channel '" + name_ + "', " + std::to_string(kept_.size()) + " of " +
           std::to_string(capacity_) + " kept, " + (closed_ ? "closed, " : "open, ") +
           std::to_string(subscribers()) + " subscribers, the slowest " + std::to_string(most) +
           " behind";
  }

 private:
  struct subscribed;  // Tags.
  struct receiving;

  std::uint64_t first() const noexcept { return end_ - kept_.size(); }  // Number of the oldest.

  const std::size_t capacity_;
  const std::string name_;
  std::deque<T> kept_;
  std::uint64_t end_ = 0;  // Number of the next value.
  detail::list<subscription, subscribed> subscriptions_;
  bool closed_ = false;
};

/// One subscriber's place in the stream. Several tasks may receive from it: each value to one.
///
/// Owner: a task, by value; the channel outlives it. Movable while nobody waits on it.
template <class T>
class [[nodiscard("a subscription ends with the object")]] broadcast_channel<T>::subscription
    : public detail::list_link<subscribed> {
 public:
  subscription(subscription&& o) noexcept
      : link(),
        channel_(std::exchange(o.channel_, nullptr)),
        options_(o.options_),
        next_(o.next_),
        missed_(o.missed_) {
    detail::check(o.waiters_.empty(), "a subscription was moved while a task waits on it");
    o.link::unlink();
    if (channel_ != nullptr) channel_->subscriptions_.push_back(*this);
  }
  subscription& operator=(subscription&&) = delete;
  ~subscription() {
    detail::check(waiters_.empty(), "a subscription ended while a task waits on it");
    link::unlink();
    if (channel_ != nullptr && channel_->subscriptions_.empty()) channel_->kept_.clear();
  }

  /// Waits for the next value; empty: closed, and nothing is left. Throws lagged.
  [[nodiscard("co_await it")]] receive_op receive() { return receive_op(*this); }

  /// Never waits. Empty: nothing there now. Throws lagged.
  std::optional<T> try_receive() {
    if (const std::uint64_t n = skip(); n > 0) throw_lagged(n);
    return take();
  }

  std::uint64_t missed() const noexcept { return missed_; }  // So far, of those heard of.
  std::uint64_t behind() const noexcept { return home().end_ - next_; }  // Sent, and not taken.

  std::string describe() const {  // "subscription of 'prices', 2 behind, 0 missed"
    return "subscription of '" + home().name_ + "', " + std::to_string(behind()) + " behind, " +
           std::to_string(missed_) + " missed";
  }

 private:
  friend class broadcast_channel;
  friend class broadcast_channel::receive_op;
  using link = detail::list_link<subscribed>;

  subscription(broadcast_channel& c, subscribe_options options)
      : channel_(&c), options_(options), next_(c.end_) {
    c.subscriptions_.push_back(*this);
  }

  broadcast_channel& home() const noexcept {
    detail::check(channel_ != nullptr, "a subscription was used after it was moved away");
    return *channel_;
  }
  std::uint64_t skip() {  // What was overwritten; zero if that is not to be reported.
    const std::uint64_t oldest = home().first();
    if (next_ >= oldest) return 0;
    const std::uint64_t n = oldest - std::exchange(next_, oldest);
    missed_ += n;
    return options_.lag_throws ? n : 0;
  }
  std::optional<T> take() {  // REQUIRES: skip() came before.
    std::optional<T> value;
    if (behind() == 0) return value;
    const auto at = static_cast<std::size_t>(next_ - home().first());
    ++next_;  // Before it is copied: what throws there must not come again for ever.
    value.emplace(home().kept_[at]);
    return value;
  }
  [[noreturn]] void throw_lagged(std::uint64_t n) const { throw lagged(describe(), n); }

  void wake_first() noexcept {
    if (receive_op* r = waiters_.pop_front()) r->give();
  }
  void wake_all() noexcept {
    while (receive_op* r = waiters_.pop_front()) r->end();
  }

  broadcast_channel* channel_;  // Null: moved from.
  const subscribe_options options_;
  std::uint64_t next_;  // Number of the value that it gets next.
  std::uint64_t missed_ = 0;
  detail::list<receive_op, receiving> waiters_;  // Not empty: nothing is behind.
};

}  // namespace coppice

#include "coppice/detail/broadcast_receive.hpp"
