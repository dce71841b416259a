// SPDX-License-Identifier: Apache-2.0
// One end of a dialog as contexts and streams see it, and what waits at it.
#pragma once

#include <exception>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "coppice/clock.hpp"
#include "coppice/detail/list.hpp"
#include "coppice/detail/payload_type.hpp"
#include "coppice/detail/promise.hpp"
#include "coppice/payload.hpp"
#include "coppice/remote_error.hpp"

namespace coppice {
struct stream_options;
}

namespace coppice::detail {

class stream_send_op;
class stream_receive_base;
struct at_send;  // Tags.
struct at_receive;

/// Told whenever there may be something to take, in place of the tasks that wait in receive().
class stream_reader {
 public:
  virtual void readable() noexcept = 0;

 protected:
  ~stream_reader() = default;
};

/// Owner: the frame that runs the block of the dialog; contexts and streams refer to it.
/// Thread: its actor's loop.
class dialog_end {
 public:
  dialog_end(const dialog_end&) = delete;
  dialog_end& operator=(const dialog_end&) = delete;

  // --- the context ---
  virtual void say_started(payload value) = 0;
  virtual void cancel(std::string_view reason) = 0;
  virtual bool cancel_called() const noexcept = 0;
  virtual bool cancel_acked() const noexcept = 0;
  virtual const std::optional<uid>& canceller() const noexcept = 0;
  virtual uid peer() const = 0;
  virtual std::string_view function() const noexcept = 0;
  virtual std::string_view cid() const noexcept = 0;

  // --- its stream ---
  virtual void open_stream(const stream_options& options) = 0;
  virtual void close_stream() noexcept = 0;
  enum class sent : unsigned char { yes, full, refused };
  virtual sent try_send(payload& value) = 0;
  enum class got : unsigned char { value, nothing, end };
  virtual got try_take(payload& to) = 0;
  virtual bool peer_opened() const noexcept = 0;  // Its stream, as far as one can know.
  virtual duration open_within() const noexcept = 0;
  [[noreturn]] virtual void throw_refused() const = 0;  // Why try_send() did.
  virtual std::exception_ptr overrun() const = 0;       // The other side never opened its stream.
  virtual std::exception_ptr failure() const noexcept = 0;  // Null: none.
  virtual std::string describe_stream() const = 0;

  void read_by(stream_reader* r) noexcept { reader_ = r; }
  /// A value of the stream. Throws message_type_error.
  template <class T>
  T decoded(payload value) const {
    return decode_payload<T>(std::move(value),
                             [this] { return payload_context{"Yield", function(), cid()}; });
  }

 protected:
  friend class stream_send_op;
  friend class stream_receive_base;

  dialog_end() = default;
  ~dialog_end() = default;

  list<stream_send_op, at_send> senders_;  // Not empty: full.
  list<stream_receive_base, at_receive> receivers_;
  stream_reader* reader_ = nullptr;
};

/// A callee's first word. Done at once.
class start_op final : public wait_op {
 public:
  start_op(dialog_end& end, payload value) noexcept : end_(end), value_(std::move(value)) {}
  start_op(start_op&& o) noexcept : wait_op(), end_(o.end_), value_(std::move(o.value_)) {}
  bool begin() noexcept { return true; }
  void finish() { end_.say_started(std::move(value_)); }
  bool abort() noexcept override { return true; }
  std::string describe() const override { return "its turn"; }

 private:
  dialog_end& end_;
  payload value_;
};

/// Waits for room in the other side's window, then sends.
class stream_send_op final : public wait_op, public list_link<at_send>, private timer {
 public:
  static constexpr bool prompt = true;

  stream_send_op(dialog_end& end, payload value) noexcept : end_(end), value_(std::move(value)) {}
  stream_send_op(stream_send_op&& o) noexcept
      : wait_op(), list_link(), timer(), end_(o.end_), value_(std::move(o.value_)) {}
  ~stream_send_op() { leave(); }

  bool begin() {
    if (end_.senders_.empty()) {
      how_ = end_.try_send(value_);
      if (how_ != dialog_end::sent::full) return true;
    }
    wait();
    return false;
  }
  void finish() const {
    if (how_ == dialog_end::sent::yes) [[likely]]
      return;
    throw_failure();
  }
  bool abort() noexcept override;
  std::string describe() const override;

  /// Tries again. False: there is no room yet.
  bool retry();

 private:
  void wait();
  void leave() noexcept;
  void fire() noexcept override;
  [[noreturn]] void throw_failure() const;

  dialog_end& end_;
  payload value_;
  dialog_end::sent how_ = dialog_end::sent::full;
  bool overrun_ = false;
};

/// Waits for a value.
class stream_receive_base : public wait_op, public list_link<at_receive> {
 public:
  static constexpr bool prompt = true;

  explicit stream_receive_base(dialog_end& end) noexcept : end_(end) {}
  stream_receive_base(stream_receive_base&& o) noexcept : wait_op(), list_link(), end_(o.end_) {}

  bool begin() {
    if (end_.receivers_.empty()) {
      how_ = end_.try_take(value_);
      if (how_ != dialog_end::got::nothing) return true;
    }
    end_.receivers_.push_back(*this);
    return false;
  }
  bool abort() noexcept override;
  std::string describe() const override;

  /// Tries again. False: nothing is there yet.
  bool retry();

 protected:
  ~stream_receive_base() = default;

  bool has_value() const {  // False: the end. Throws if that was none.
    if (how_ == dialog_end::got::value) [[likely]]
      return true;
    if (auto e = end_.failure()) std::rethrow_exception(e);
    return false;
  }

  dialog_end& end_;
  payload value_;

 private:
  dialog_end::got how_ = dialog_end::got::nothing;
};

template <class T>
class stream_receive_op final : public stream_receive_base {
 public:
  using stream_receive_base::stream_receive_base;
  std::optional<T> finish() {
    if (!has_value()) return std::nullopt;
    return end_.decoded<T>(std::move(value_));
  }
};

}  // namespace coppice::detail
