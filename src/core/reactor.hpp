// SPDX-License-Identifier: Apache-2.0
// Boost.Asio as what it is here: the thing that waits for file descriptors. Includes Asio; loop.hpp
// does not.
#pragma once

#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/detail/epoll_reactor.hpp>
#include <boost/asio/detail/scheduler.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <concepts>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>

#include "coppice/detail/promise.hpp"
#include "core/loop.hpp"

namespace coppice::core {

/// A loop's io_context. Made on first use: a loop without I/O has no epoll descriptor.
///
/// Start operations on the loop's thread only; other threads go through loop::post(). Handlers run
/// on the loop's thread, outside of every task.
///
/// Owner: its loop. Thread: the loop's, but for wake_reactor().
class reactor {
 public:
  reactor();

  boost::asio::io_context& context() noexcept { return context_; }

  /// Runs the handlers that are ready, without waiting. True: some ran.
  bool poll();

  /// Waits for at most `limit` (negative: no limit) until one handler ran or wake_reactor().
  void wait(duration limit);

  /// Did any operation wait after the last poll() or wait()? If not, the loop can sleep without
  /// epoll.
  bool has_work() const noexcept { return !context_.stopped(); }

 private:
  friend void wake_reactor(reactor& r) noexcept;
  boost::asio::io_context context_{1};  // One thread: Asio need not hand its queue to another.
  boost::asio::detail::scheduler& scheduler_;
  boost::asio::detail::epoll_reactor& epoll_;
};

inline boost::asio::io_context& io_context_of(loop& l) { return l.io().context(); }

struct by_slot {};  // Cancels by the handler's cancellation slot, which most of Asio knows.

/// What a handler was called with. A struct, not a tuple to take apart: structured bindings of a
/// co_await are reported to leak on newer g++.
template <class... Values>
struct asio_result {
  boost::system::error_code error;
  std::tuple<Values...> values;
};
template <class Value>
struct asio_result<Value> {
  boost::system::error_code error;
  Value value;
};
template <>
struct asio_result<> {
  boost::system::error_code error;
};

/// One Asio operation as an awaitable. Made by asio_op().
///
/// Promises: resumes through the ready queue; on a cancellation it stops the operation, waits until
/// the handler has run (so nothing refers to the frame any more), and then throws `cancelled`; an
/// operation that was complete by then gives its result, and nothing that was read is lost.
template <class Initiate, class Cancel, class... Values>
class asio_wait final : public detail::wait_op {
 public:
  using result = asio_result<Values...>;

  asio_wait(std::string_view what, Initiate initiate, Cancel cancel)
      : what_(what), initiate_(std::move(initiate)), cancel_(std::move(cancel)) {}
  asio_wait(asio_wait&& other) noexcept
      : wait_op(),
        what_(other.what_),
        initiate_(std::move(other.initiate_)),
        cancel_(std::move(other.cancel_)) {}

  /// What Asio gets: two pointers' worth, so that its own allocation stays small.
  class handler {
   public:
    using cancellation_slot_type = boost::asio::cancellation_slot;

    explicit handler(asio_wait& op) noexcept : op_(&op) {}
    void operator()(boost::system::error_code ec, Values... values) {
      if constexpr (sizeof...(Values) > 1) {
        op_->result_.emplace(result{ec, {std::move(values)...}});
      } else {
        op_->result_.emplace(result{ec, std::move(values)...});
      }
      op_->wake();
    }
    cancellation_slot_type get_cancellation_slot() const noexcept { return op_->signal_.slot(); }

   private:
    asio_wait* op_;
  };

  bool begin() {
    initiate_(handler(*this));  // Never calls the handler in here: Asio posts it at the earliest.
    return false;
  }

  bool abort() noexcept override {
    stopping_ = true;
    if constexpr (std::is_same_v<Cancel, by_slot>) {
      signal_.emit(boost::asio::cancellation_type::all);
    } else {
      cancel_();
    }
    return false;  // The handler wakes us.
  }

  result finish() {
    const bool aborted = result_->error == boost::asio::error::operation_aborted;
    if (stopping_ && aborted) waiter().throw_cancelled();
    return std::move(*result_);
  }

  std::string describe() const override { return "I/O: " + std::string(what_); }

 private:
  std::string_view what_;
  Initiate initiate_;
  [[no_unique_address]] Cancel cancel_;
  boost::asio::cancellation_signal signal_;
  std::optional<result> result_;
  bool stopping_ = false;
};

/// Awaits an Asio operation, whose handler takes (error_code, Values...). `what` is a literal for
/// dumps; `initiate(handler)` starts it; `cancel()` stops it, by default its cancellation slot
/// does.
///
///     auto got = co_await asio_op<std::size_t>("read", [&](auto handler) {
///       socket.async_read_some(buffer, std::move(handler));
///     });
///     if (!got.error) use(buffer, got.value);
template <class... Values, class Initiate, class Cancel = by_slot>
[[nodiscard("co_await it")]] auto asio_op(std::string_view what, Initiate initiate,
                                          Cancel cancel = {}) {
  static_assert(std::is_trivially_destructible_v<Initiate>,
                "g++ 12 destroys the captures of a temporary lambda twice: capture by reference");
  return asio_wait<Initiate, Cancel, Values...>(what, std::move(initiate), std::move(cancel));
}

}  // namespace coppice::core
