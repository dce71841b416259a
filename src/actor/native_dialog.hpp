// SPDX-License-Identifier: Apache-2.0
// The two ends of a dialog of a native actor: what contexts and streams stand on.
#pragma once

#include <cstdint>
#include <exception>
#include <optional>
#include <string>
#include <string_view>

#include "actor/native_actor.hpp"
#include "coppice/cancel_scope.hpp"
#include "coppice/detail/dialog_block.hpp"
#include "coppice/detail/dialog_end.hpp"
#include "coppice/event.hpp"
#include "port/call_table.hpp"

namespace coppice::tree {

/// What both ends do: the stream, and what the port says of it.
///
/// Owner: the frame of its block. Thread: its actor's loop.
class native_dialog : public detail::dialog_end {
 public:
  /// From the actor: something happened to it.
  void changed(port::dialog_changed&& e);
  /// To the callee: this actor asked for its end.
  void cancelled_by(const uid& who) { canceller_ = who; }

  bool cancel_called() const noexcept override { return cancel_called_; }
  bool cancel_acked() const noexcept override { return cancel_acked_; }
  const std::optional<uid>& canceller() const noexcept override { return canceller_; }
  uid peer() const override { return peer_; }
  std::string_view function() const noexcept override { return function_; }
  std::string_view cid() const noexcept override { return cid_; }

  void open_stream(const stream_options& options) override;
  void close_stream() noexcept override;
  sent try_send(payload& value) override;
  got try_take(payload& to) override;
  bool peer_opened() const noexcept override;
  duration open_within() const noexcept override { return open_within_; }
  [[noreturn]] void throw_refused() const override;
  std::exception_ptr overrun() const override;
  std::exception_ptr failure() const noexcept override { return failure_; }
  std::string describe_stream() const override;

 protected:
  enum class stream_state : std::uint8_t { unopened, open, closed };

  native_dialog(native_actor& actor, std::string function, uid peer, bool generator);
  ~native_dialog();
  void bind(port::dialog_id id);  // From now on the actor tells it what happens.
  void fail(std::exception_ptr e);
  void serve_senders();
  void serve_receivers();
  void drop_what_comes();
  virtual bool may_open() const noexcept = 0;
  virtual bool says_stop() const noexcept { return true; }
  /// It is over, and how is about to be said: until then nobody is told that the stream has ended.
  virtual bool ends_unsaid() const { return false; }
  virtual void on_started(payload&&) {}
  virtual void on_failed(remote_error_info&&) {}

  native_actor& actor_;
  const std::string function_;
  const uid peer_;
  const bool generator_;
  port::dialog_id id_ = 0;
  std::string cid_;
  std::exception_ptr failure_;
  std::optional<uid> canceller_;
  bool cancel_called_ = false;
  bool cancel_acked_ = false;

 private:
  stream_state stream_ = stream_state::unopened;
  bool drops_ = false;  // Its block waits for the end: nobody reads any more.
  duration open_within_{};
};

/// The caller's end. Its promises are those of portal::open_context().
class opened_dialog final : public native_dialog {
 public:
  using kind = detail::dialog_handle::kind;

  opened_dialog(native_actor& actor, const child_slot& callee, const std::string& name,
                payload kwargs, kind k, const stream_options& options);
  ~opened_dialog();

  task<payload> first_word();
  void body_begins(cancel_scope& around);
  void body_ends() noexcept;
  task<std::optional<payload>> last_word(std::exception_ptr ours);

  void say_started(payload) override;
  void cancel(std::string_view reason) override;

 private:
  struct late_timer final : detail::timer {
    explicit late_timer(opened_dialog& of) : dialog(of) {}
    void fire() noexcept override { dialog.is_late(); }
    opened_dialog& dialog;
  };

  bool may_open() const noexcept override { return generator_ || started_.has_value(); }
  void on_started(payload&& word) override;
  bool ends_unsaid() const override;
  void on_reply(port::reply&& r);
  void ask_to_stop();
  void is_late() noexcept;
  task<> until_replied();
  task<std::exception_ptr> wait_for_result();
  task<> wait_for_end();
  std::optional<payload> outcome(std::exception_ptr ours) const;
  void throw_failures(const std::exception_ptr& ours) const;
  bool is_cancelled_here() const;  // Of failure_: not by what only comes through the callee.

  std::optional<payload> started_;
  event first_;    // The first word, or what came instead.
  event replied_;  // The last word.
  std::optional<port::reply> reply_;
  cancel_scope* body_ = nullptr;     // While the body runs.
  cancel_scope* waiting_ = nullptr;  // While the result is waited for.
  time_point cancelled_at_{};
  late_timer late_{*this};
  bool stuck_ = false;
  const bool tractor_;
};

/// The callee's end. Its promises are those of context.
class served_dialog final : public native_dialog {
 public:
  served_dialog(native_actor& actor, const port::call_started& call, bool generator,
                cancel_scope& scope);

  void say_started(payload value) override;
  void cancel(std::string_view reason) override;

 private:
  bool may_open() const noexcept override { return started_; }
  // A generator ends by Stop or by its error: finish_dialog() says which.
  bool says_stop() const noexcept override { return !generator_; }
  void on_failed(remote_error_info&& e) override;

  cancel_scope& scope_;
  bool started_ = false;
};

/// Runs the function of a dialog or a generator that another actor called.
task<> serve_dialog(native_actor* actor, port::call_started call, exposed endpoint);

}  // namespace coppice::tree
