// SPDX-License-Identifier: Apache-2.0
// context<D> and remote_context<D>: the two ends of a dialog between two actors.
#pragma once

#include <concepts>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "coppice/detail/dialog_end.hpp"
#include "coppice/detail/dialog_types.hpp"
#include "coppice/message.hpp"
#include "coppice/stream.hpp"
#include "coppice/value.hpp"

namespace coppice {

namespace detail {

/// What both ends can say of a dialog. Thread: its actor's loop.
class context_base {
 public:
  context_base(const context_base&) = delete;
  context_base& operator=(const context_base&) = delete;

  /// Was cancel() called on this side?
  bool cancel_called() const noexcept { return end_.cancel_called(); }
  /// Did the other side answer it?
  bool cancel_acked() const noexcept { return end_.cancel_acked(); }
  /// Which actor had it cancelled, once that is known.
  const std::optional<uid>& canceller() const noexcept { return end_.canceller(); }
  /// The actor at the other end.
  uid peer() const { return end_.peer(); }

 protected:
  explicit context_base(dialog_end& end) noexcept : end_(end) {}
  ~context_base() = default;
  dialog_end& end_;
};

}  // namespace detail

/// The callee's end. An endpoint whose function begins with one is a dialog:
///
///     struct trading {                 // the types of one dialog; leave one out and it is `value`
///       using started   = int;         // the callee's first word; may be void
///       using to_callee = order;
///       using to_caller = fill;
///     };
///     task<std::string> trade(context<trading>& ctx, std::string symbol) {
///       co_await ctx.started(7);
///       auto stream = ctx.open_stream();
///       while (auto o = co_await stream.receive()) co_await stream.send({.price = 1.25});
///       co_return symbol;
///     }
///
/// Promises:
/// - started() is said once: again, or open_stream() before it or a second time, is an out_of_order
///   error.
/// - The function runs in a scope. It is cancelled when the caller cancels the dialog or its
///   connection ends, when the caller's side fails, and by cancel().
/// - A function that ends because it was cancelled ends its dialog with context_cancelled, which
///   names who asked: the caller, this actor itself, or whoever cancelled this actor. If it was the
///   caller's failure, that is passed back instead. An error of its own goes before either.
///
/// Owner: the runtime, while the function runs. Thread: the actor's loop.
template <class D = any_dialog>
class context : public detail::context_base {
 public:
  using dialog = D;
  using started_type = detail::started_t<D>;
  using stream_type = stream<detail::to_caller_t<D>, detail::to_callee_t<D>>;

  explicit context(detail::dialog_end& end) noexcept : context_base(end) {
    detail::check_dialog<D>();
  }

  /// The first word: the caller's body begins with it.
  template <class T = started_type>
    requires(!std::is_void_v<started_type> && std::convertible_to<const T&, started_type>)
  [[nodiscard("co_await it")]] detail::start_op started(const T& v) {
    if constexpr (std::same_as<T, started_type>) {
      return detail::start_op(end_, to_payload(v));
    } else {
      const started_type word = v;
      return detail::start_op(end_, to_payload(word));
    }
  }
  template <message T>
    requires(std::same_as<started_type, value> && !std::same_as<T, value>)
  [[nodiscard("co_await it")]] detail::start_op started(const T& v) {
    return detail::start_op(end_, to_payload(v));
  }
  [[nodiscard("co_await it")]] detail::start_op started()
    requires(std::is_void_v<started_type> || std::same_as<started_type, value>)
  {
    return detail::start_op(end_, payload());
  }

  stream_type open_stream(const stream_options& options = {}) { return stream_type(end_, options); }

  /// Ends the dialog from this side: the function's scope is cancelled.
  void cancel(std::string_view reason = {}) { end_.cancel(reason); }
};

/// The caller's end, handed to the body of portal::open_context(), which says what happens when.
///
/// Owner: the frame of open_context(). Thread: its actor's loop.
template <class D = any_dialog>
class remote_context : public detail::context_base {
 public:
  using dialog = D;
  using stream_type = stream<detail::to_callee_t<D>, detail::to_caller_t<D>>;

  explicit remote_context(detail::dialog_end& end) noexcept : context_base(end) {
    detail::check_dialog<D>();
  }

  /// Once; a second time is an out_of_order error. Throws what the dialog failed with, if it has.
  stream_type open_stream(const stream_options& options = {}) { return stream_type(end_, options); }

  /// Asks the callee to stop. Does not wait: the body is cancelled once the callee has, or has not
  /// within 500 ms.
  void cancel(std::string_view reason = {}) { end_.cancel(reason); }
};

}  // namespace coppice
