// SPDX-License-Identifier: Apache-2.0
// A guest's port: run by whoever delivers, so it answers while the guest is stuck.
#pragma once

#include <atomic>
#include <deque>
#include <mutex>
#include <optional>
#include <string>

#include "base/fd.hpp"
#include "base/spin_wait.hpp"
#include "port/actor_port.hpp"

namespace coppice::port {

/// The port of an actor whose code runs in Python. Other threads deliver under its one mutex; the
/// guest's thread takes events from its inbox when it looks, without a GIL while it waits.
///
/// Under the mutex nobody runs user code, attaches to an interpreter, takes another port, or does
/// I/O: what a delivery leads to is collected and performed after the mutex is released.
///
/// Owner: shared by the guest, its links and its supervisor.
class guest_port final : public actor_port {
 public:
  guest_port(msg::aid self, table_limits limits);

  // --- links and supervisors: any thread ---
  void on_connected(const ipc::link_ptr& l) override;
  void on_message(const ipc::link_ptr& from, msg::message&& m, ipc::urgency u) override;
  void on_closed(const ipc::link_ptr& from, const std::string& why) override;
  void adopt(const std::string& uuid, child_watch watch) override;
  void request(ipc::link_ptr to, std::string ns, std::string func, payload kwargs,
               reply_handler on_reply) override;
  void child_changed(port::child_changed change) override;
  void cancel(std::string why) override;
  void become_registrar(port::registry_limits limits,
                        port::registrar::publish_function publish) override;
  void published(const std::string& uuid, const port::registry::addresses& at) override;
  void register_here(const uid& who, const msg::wire_address& at, ipc::urgency u) override;
  void unregister_here(const uid& who) override;
  void close(std::string why) override;
  void describe(base::tree_writer& w) override;

  /// An event that comes from elsewhere.
  void deliver(event e);
  void set_parent(const std::string& uuid);
  ipc::link_ptr parent_link() const;  // Null: not connected, or not any more.
  void set_alone() noexcept { alone_ = true; }
  bool alone_in_process() const override { return alone_; }
  /// Wakes whatever the guest sleeps in, or is about to sleep in, though its inbox may be empty.
  /// Any thread.
  void nudge() noexcept;

  /// Has the guest taken everything that was in its inbox when cancel was last asked? False: it
  /// runs code that does not look, and waiting for it to unwind by itself is pointless.
  bool cancel_seen() const noexcept;
  /// Called when a call that is running right now is cancelled by its caller: the one thing that
  /// the guest's own thread cannot look at. Set once, before the guest runs; any thread calls it.
  void on_running_call_cancelled(std::function<void(call_id)> interrupt);

  // --- the guest's own thread ---
  /// The eventfd that an event loop watches. It is rung only while the guest said it sleeps.
  int wake_fd() const noexcept { return wake_.fd(); }
  /// The next event, if there is one. Clears the wake-up.
  std::optional<event> take();
  /// Sleeps until the inbox is not empty or a signal arrives (the caller then attaches: a guest
  /// that is being destroyed must notice). Call without a GIL. Always returns within `bound`. Looks
  /// for a moment first, if that is likely to pay: base::spin_wait.
  void wait(duration bound);
  /// Announces that the next event must ring wake_fd(); false: something is there already, or there
  /// was a nudge() since the last time.
  bool prepare_to_sleep();
  /// For an event loop that is about to wait for wake_fd(): would it pay to look() first? False:
  /// the loop sleeps from now until it take()s.
  bool pays_to_look();
  /// Looks for a moment. True: there is something to take(), and wake_fd() does not ring for it.
  /// Call without a GIL.
  bool look();

  request_id call(const ipc::link_ptr& to, std::string_view ns, std::string_view func,
                  payload kwargs);  // The reply comes as reply_arrived.
  void cancel_request(request_id id);
  void forget(request_id id);
  void acknowledge(call_id id, msg::call_kind functype);
  // Dialogs: see call_table. What happens in them comes as dialog_changed.
  request_id open_dialog(const ipc::link_ptr& to, std::string_view ns, std::string_view func,
                         payload kwargs, msg::call_kind expected, stream_window window);
  void accept_dialog(call_id id, msg::call_kind functype, stream_window window);
  void start_dialog(call_id id, payload value);
  void finish_stream(call_id id);
  send_outcome send(dialog_id id, payload value);
  taken take(dialog_id id);
  void open_stream(dialog_id id, stream_window window, bool allow_overruns);
  void stop(dialog_id id);
  void release(dialog_id id);
  void fail_dialog(dialog_id id, remote_error_info error);
  bool peer_opened(dialog_id id) const;
  std::optional<dialog_look> look(dialog_id id) const;
  /// A `def` endpoint runs from now to end_running(): it cannot take events meanwhile. False: its
  /// caller has cancelled it while it waited for its turn, so it is not to run at all.
  bool begin_running(call_id id);
  /// True if the call was cancelled while it ran.
  bool end_running();
  void finish(call_id id, payload value);
  void finish(call_id id, remote_error_info error);
  void set_ready(const remote_error_info* failure = nullptr);
  void acknowledge_cancel();

 private:
  template <class F>
  void locked(F&& f);  // Runs f(effects&) under the mutex, then delivers and performs.
  void wake();
  bool empty() const;
  bool look_within(duration bound);

  mutable std::mutex mutex_;
  call_table table_;  // Guarded by mutex_, as is everything below up to the blank line.
  std::deque<event> inbox_;
  std::uint64_t delivered_ = 0;  // Events put into the inbox so far.
  call_id running_ = 0;
  bool running_cancelled_ = false;
  std::function<void(call_id)> interrupt_;

  std::atomic<std::uint64_t> taken_{0};        // Events taken out so far.
  std::atomic<std::uint64_t> cancel_mark_{0};  // `delivered_` right after cancel was asked.
  enum class waiting : std::uint8_t { no, looks, asleep };
  std::atomic<waiting> waits_{waiting::no};  // Whoever delivers ends it, outside of the mutex.
  std::atomic<bool> nudged_{false};
  std::atomic<bool> alone_{false};
  base::event_fd wake_;
  base::spin_wait spin_;
};

}  // namespace coppice::port
