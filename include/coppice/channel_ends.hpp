// SPDX-License-Identifier: Apache-2.0
// sender<T>, receiver<T>: ends of a channel, which closes with the last of either kind.
#pragma once

#include <concepts>
#include <cstddef>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "coppice/detail/channel_end.hpp"

namespace coppice {

template <class T>
class sender;
template <class T>
class receiver;

/// A channel<T>, by its two ends. Each can be cloned and given to a task.
///
/// Promises, beside those of channel<T> on order, capacity and cancellation:
/// - When the last sender has closed, receivers get what is there and then nothing, for ever.
/// - When the last receiver has closed, values that nobody took are destroyed, and send() throws
///   channel_closed, one that waits too.
/// - An end closes by close() or when it ends. Using it later throws channel_closed; what waits
///   through it throws that at once. A clone is an end of its own and stays open.
///
///     auto [tx, rx] = open_channel<int>(8, "numbers");
///     n.start_soon(produce, tx.clone());
///     n.start_soon(produce, std::move(tx));
///     while (auto v = co_await rx.receive()) use(*v);  // until both have ended
///
/// # Why not copyable ends?
/// One copy too many, in a lambda's capture, and the receivers wait for ever. And why not
/// channel<T> alone? Somebody would have to know who is the last, and close() it also when that one
/// fails.
///
/// Owner: a task, by value; an end outlives what waits through it. Thread: one loop's.
template <class T>
std::pair<sender<T>, receiver<T>> open_channel(std::size_t capacity, std::string_view name = {});

/// The end that sends. See open_channel().
template <class T>
class [[nodiscard("an end closes when it ends")]] sender
    : public detail::channel_end<T, detail::end_send_op<T>> {
  using end = detail::channel_end<T, detail::end_send_op<T>>;

 public:
  sender(sender&&) noexcept = default;
  ~sender() { close(); }  // REQUIRES: nobody waits through it.

  sender clone() const { return sender(end::opened("clone()")); }  // Throws channel_closed.

  /// Waits for room, then sends. Throws channel_closed: no receiver is left, or this end is closed.
  template <class U = T>
    requires std::convertible_to<U&&, T>
  [[nodiscard("co_await it")]] detail::end_send_op<T> send(U&& value) {
    detail::check_sent<T, U>();
    return detail::end_send_op<T>(*this, end::values(), std::forward<U>(value));
  }

  /// Never waits. False: no room and no receiver that waits, or closed; then `value` is untouched.
  template <class U = T>
    requires std::convertible_to<U&&, T>
  bool try_send(U&& value) {
    return !end::closed() && end::values().try_send(std::forward<U>(value));
  }

  void close() noexcept {
    if (end::leave() && --end::channel_->senders == 0) end::values().close();
  }

 private:
  friend std::pair<sender<T>, receiver<T>> open_channel<T>(std::size_t, std::string_view);
  explicit sender(detail::shared_channel<T> c) noexcept : end(std::move(c)) {
    ++end::channel_->senders;
  }
};

/// The end that receives. See open_channel().
template <class T>
class [[nodiscard("an end closes when it ends")]] receiver
    : public detail::channel_end<T, detail::end_receive_op<T>> {
  using end = detail::channel_end<T, detail::end_receive_op<T>>;

 public:
  receiver(receiver&&) noexcept = default;
  ~receiver() { close(); }  // REQUIRES: nobody waits through it.

  receiver clone() const { return receiver(end::opened("clone()")); }  // Throws channel_closed.

  /// Waits for a value; empty: every sender has closed, and nothing is left. Throws channel_closed:
  /// this end is closed.
  [[nodiscard("co_await it")]] detail::end_receive_op<T> receive() noexcept {
    return detail::end_receive_op<T>(*this, end::values());
  }

  /// Never waits. Empty: nothing there now, or this end is closed.
  std::optional<T> try_receive() {
    if (end::closed()) return std::nullopt;
    return end::values().try_receive();
  }

  void close() noexcept {
    if (!end::leave() || --end::channel_->receivers != 0) return;
    end::values().close();
    // Now, not with the last sender: a value may own an end of this very channel.
    while (end::values().try_receive()) continue;
  }

 private:
  friend std::pair<sender<T>, receiver<T>> open_channel<T>(std::size_t, std::string_view);
  explicit receiver(detail::shared_channel<T> c) noexcept : end(std::move(c)) {
    ++end::channel_->receivers;
  }
};

template <class T>
std::pair<sender<T>, receiver<T>> open_channel(std::size_t capacity, std::string_view name) {
  const auto c = std::make_shared<detail::counted_channel<T>>(capacity, name);
  return {sender<T>(c), receiver<T>(c)};
}

}  // namespace coppice
