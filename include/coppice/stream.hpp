// SPDX-License-Identifier: Apache-2.0
// stream<Send, Receive>: the two-way flow of values inside a context.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include "coppice/broadcast_channel.hpp"
#include "coppice/clock.hpp"
#include "coppice/detail/dialog_end.hpp"
#include "coppice/detail/stream_hub.hpp"
#include "coppice/kw.hpp"
#include "coppice/message.hpp"
#include "coppice/value.hpp"

namespace coppice {

struct stream_options {
  /// What lies here, arrived and not taken, before the sender has to wait. Between Coppice peers; a
  /// tractor peer knows no waiting: what it sends beyond that is an overrun, its error.
  std::uint32_t messages_max = 4096;
  std::uint64_t bytes_max = 2u << 20;  // One value more than that fits always.
  /// From a tractor peer, 616 more are kept, and then the oldest of those make room.
  bool allow_overruns = false;
  /// A send() waits so long for an other side that has not opened its stream. Then stream_overrun.
  duration open_within = std::chrono::milliseconds(500);
  std::uint32_t subscribe_max = 1024;  // Values kept for the slowest subscription.
};

/// One side's end of a stream: what it sends are `Send`, what it receives `Receive`. Opened by
/// open_stream() of a context, once; or handed to the body of open_stream_from(), then without
/// send().
///
/// Promises:
/// - Values arrive whole, in order, each once. Between Coppice peers none is lost and none is too
///   many: send() waits while the other side's window is full.
/// - send() and receive() are checkpoints, but do not wait for a turn of the loop each time: a task
///   that finds room or values lets the others run every 256th time at the latest.
/// - A cancelled send() has not sent and a cancelled receive() has not taken.
/// - Several tasks may wait in either: served in the order in which they came, each value to one.
/// - The end is sticky: once the other side has closed its stream or returned, receive() gives what
///   is there and then nothing, for ever.
/// - If the dialog failed, receive() gives what is there and then throws the other side's error,
///   and send() throws it.
/// - send() after close() throws channel_closed, and so it does once the other side's end was taken
///   or the callee has returned. Between the other side's close() and that, what is sent is
///   dropped: it might as well have crossed.
/// - A value that is no `Receive` throws message_type_error, which names "Yield"; it is taken then,
///   and the next receive() gives the next one.
/// - Ending the object closes this side, as close() does.
///
///     auto stream = ctx.open_stream();
///     co_await stream.send({.quantity = 10});
///     while (auto fill = co_await stream.receive()) use(*fill);
///
/// Owner: the frame that opened it; the context outlives it. Movable while nobody waits on it.
/// Thread: its actor's loop.
template <class Send, class Receive>
class [[nodiscard("the stream closes with the object")]] stream {
  using sent = std::conditional_t<std::is_void_v<Send>, detail::nothing, Send>;
  static constexpr bool sends = !std::is_void_v<Send>;

 public:
  using receive_type = Receive;
  using subscription = detail::stream_subscription<Receive>;

  stream(detail::dialog_end& end, const stream_options& options)
      : end_(&end), subscribe_max_(options.subscribe_max) {
    end.open_stream(options);
  }
  stream(stream&& o) noexcept
      : end_(std::exchange(o.end_, nullptr)),
        subscribe_max_(o.subscribe_max_),
        room_(std::move(o.room_)),
        bytes_each_(o.bytes_each_),
        hub_(std::move(o.hub_)) {}
  stream& operator=(stream&&) = delete;
  ~stream() {
    if (end_ != nullptr) end_->close_stream();
  }

  /// Waits for room, then sends. The value is encoded before this returns.
  [[nodiscard("co_await it")]] detail::stream_send_op send(const sent& v)
    requires sends
  {
    return detail::stream_send_op(*end_, encoded(v));
  }
  // g++ 12 destroys this temporary twice: name it on the line before.
  detail::stream_send_op send(sent&& v)
    requires(sends && !safe_temporary<sent &&>)
  = delete;
  /// An untyped stream sends any message.
  template <message T>
    requires(std::same_as<Send, value> && !std::same_as<T, value>)
  [[nodiscard("co_await it")]] detail::stream_send_op send(const T& v) {
    return detail::stream_send_op(*end_, encoded(v));
  }

  /// Waits for a value; empty: the end.
  [[nodiscard("co_await it")]] detail::stream_receive_op<Receive> receive() {
    if (hub_) detail::stream_hub<Receive>::throw_shared();
    return detail::stream_receive_op<Receive>(*end_);
  }

  /// Never waits. Empty: nothing there now, or the end.
  std::optional<Receive> try_receive() {
    if (hub_) detail::stream_hub<Receive>::throw_shared();
    payload bytes;
    const auto got = end_->try_take(bytes);
    if (got == detail::dialog_end::got::value)
      return end_->template decoded<Receive>(std::move(bytes));
    if (got == detail::dialog_end::got::end)
      if (auto e = end_->failure()) std::rethrow_exception(e);
    return std::nullopt;
  }

  /// Every value to every subscription, from now on; receive() is then an error. One is taken from
  /// the stream whenever a subscription waits that has had all so far, so the fastest loses none,
  /// and the sender waits for it; a slower one hears of what it missed (`lagged`), see
  /// broadcast_channel. The stream outlives its subscriptions.
  [[nodiscard("a subscription ends with the object")]] subscription subscribe(
      subscribe_options options = {}) {
    if (!hub_) hub_ = std::make_unique<detail::stream_hub<Receive>>(*end_, subscribe_max_);
    return hub_->subscribe(options);
  }

  /// This side sends and reads no more: the other one is told. Again: nothing.
  void close() noexcept { end_->close_stream(); }

  std::string describe() const { return end_->describe_stream(); }

 private:
  // Most values are as large as the one before; small ones share blocks of memory.
  template <class T>
  payload encoded(const T& v) {
    constexpr std::size_t small = 256, block = 4096;
    room_.clear();
    if (room_.left() < bytes_each_)
      room_ = msgpack::buffer(bytes_each_ <= small ? block : bytes_each_);
    room_.keep_blocks();
    msgpack::writer w(room_);
    codec<T>::encode(w, v);
    bytes_each_ = room_.size();
    const bool shares = bytes_each_ <= small && room_.left() < block;  // No large one's memory.
    return shares ? payload::cut(room_) : payload::take(std::move(room_));
  }

  detail::dialog_end* end_;  // Null: moved from.
  std::uint32_t subscribe_max_;
  msgpack::buffer room_;  // For what is sent next.
  std::size_t bytes_each_ = 0;
  std::unique_ptr<detail::stream_hub<Receive>> hub_;
};

}  // namespace coppice
