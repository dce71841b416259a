// SPDX-License-Identifier: Apache-2.0
// One actor's calls, both ways, as a state machine without threads, locks or I/O.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <variant>
#include <vector>

#include "base/describe.hpp"
#include "base/unique_function.hpp"
#include "coppice/errors.hpp"
#include "ipc/link.hpp"
#include "msg/messages.hpp"
#include "port/dialog.hpp"
#include "port/registry_calls.hpp"

namespace coppice::port {

using call_id = std::uint64_t;     // A call that this actor serves. Never 0, never reused.
using request_id = std::uint64_t;  // A call that this actor made. Never 0, never reused.
                                   // Both are of one number space, and a dialog is one of them.

/// How a request ended.
struct reply {
  enum class kind : std::uint8_t {
    value,   // Return or CancelAck: `value`.
    error,   // The callee raised: `error`.
    closed,  // The connection ended: `why`.
    died,    // The callee was our child and has ended: `report`.
  };
  kind how = kind::closed;
  payload value;
  remote_error_info error;
  std::string why;
  exit_report report;

  /// The exception that a caller of actor `name` sees. REQUIRES: how != value.
  std::exception_ptr to_exception(const std::string& name) const;
  /// Was it the request itself that was cancelled, or does a cancellation only come through it?
  /// That of another call, which the callee made and did not handle, is a failure like any other.
  bool is_cancellation(const uid& us) const;
};
using reply_handler = base::unique_function<void(reply&&)>;

// --- What the actor's own code has to act on -----------------------------------------------------
struct call_started {
  call_id id;
  std::string ns, func;
  payload kwargs;
  uid caller;
};
struct call_cancelled {
  call_id id;
  std::string why;
  uid canceller = {};  // Empty: nobody asked, its caller's connection ended.
};
/// Something that an open dialog's own code waits for.
struct dialog_changed {
  enum class kind : std::uint8_t {
    started,   // The callee's first word is `value`. To the caller, once.
    readable,  // take() has something to say that it had not.
    writable,  // send() takes values again, after it said `full`.
    failed,    // To the callee: the caller's side failed, with `error`.
  };
  dialog_id id;
  kind what;
  payload value = {};
  remote_error_info error = {};
};
struct reply_arrived {
  request_id id;
  reply result;
};
/// The whole actor is to end: its parent asked, its parent is gone, or a signal came.
struct cancel_requested {
  std::string why;
  bool by_parent_loss = false;
};
struct spec_arrived {
  msg::spawn_spec spec;
};
/// A child of this actor. Sent by its supervisor, in this order: at most one `started`, at most one
/// `lost`, whose requests are answered by then, then exactly one of `start_failed` or `ended`.
struct child_changed {
  // reclaimed: after the end, or failed start, of one that was abandoned, if its code came back.
  enum class kind : std::uint8_t { started, lost, start_failed, ended, reclaimed };
  kind what = kind::ended;
  std::string uuid;
  std::string name;          // reclaimed: its parent may have forgotten it.
  ipc::link_ptr link;        // started
  std::exception_ptr error;  // start_failed
  exit_report report;        // ended, and start_failed of one that began; lost: `detail` says why
  bool requested = false;    // ended: somebody had asked for it.
  bool began = false;        // start_failed: it was there for a time, and has a report.
};
using event = std::variant<call_started, call_cancelled, dialog_changed, reply_arrived,
                           cancel_requested, spec_arrived, child_changed>;

/// What has to be done after a call into the table, outside its lock, in this order: events to the
/// actor, messages to peers, notices to whoever waits.
struct effects {
  struct sending {
    ipc::link_ptr to;
    msg::message message;
    ipc::urgency urgency;
  };
  struct closing {
    ipc::link_ptr link;
    std::string why;
  };
  std::vector<event> events;
  std::vector<sending> sends;
  std::vector<base::unique_function<void()>> notices;
  std::vector<closing> closes;

  bool empty() const {
    return events.empty() && sends.empty() && notices.empty() && closes.empty();
  }
  /// Sends, notifies and closes; the caller has taken `events` by then.
  void perform();
};

/// What a supervisor is told of the link to a child that is starting or running.
struct child_watch {
  base::unique_function<void(ipc::link_ptr)> on_connected;
  base::unique_function<void(std::string why)> on_lost;  // At most once.
};

struct table_limits {
  // Served at once for one link; and likewise of its requests to us ourselves that wait
  // (wait_ready, cancel, _cancel_task).
  std::size_t calls_per_peer_max = 10'000;
  std::size_t payload_bytes_max = 256u << 20;  // Of one message; sockets refuse larger frames too.
  // Values of streams that arrived over one link and are not taken. Beyond: the link is closed.
  std::size_t stream_bytes_per_peer_max = 512u << 20;
};

/// The calls that an actor makes and serves, keyed by link and call id, and what it knows of its
/// children's links. Promises:
/// - Every request gets exactly one reply, whatever happens to its link.
/// - A peer that breaks the protocol loses its link and nothing else does.
/// - A call served for a link that closes is cancelled.
/// - A request whose callee turns out to be of another kind than was asked for fails, and the
///   callee's side is cancelled.
/// - Who cancelled an actor or a call stands in every ContextCancelled that it leads to.
/// - After close() nothing stays: what connects or is adopted later is turned away.
///
/// # Why no thread, lock or I/O?
/// A native actor drives it on its loop, a guest's port under a mutex from whichever thread
/// delivers, and tests drive it from a list of messages. Each asks only: what now follows?
///
/// Owner: one actor's port. Thread: one at a time.
class call_table {
 public:
  call_table(uid self, table_limits limits) : self_(std::move(self)), limits_(limits) {}

  // --- what links say ---
  void connected(const ipc::link_ptr& l, effects& out);
  void message(const ipc::link_ptr& from, msg::message&& m, effects& out);
  /// Values of a stream: the same as a Yield for each, one after the other.
  void values(const ipc::link_ptr& from, const std::string& cid, std::vector<payload>&& run,
              effects& out);
  void closed(const ipc::link_ptr& l, const std::string& why, effects& out);

  // --- calls that this actor makes ---
  /// Starts a call; the reply goes to `on_reply`, or as `reply_arrived` if that is empty. A link
  /// that has closed replies at once. Throws limit_exceeded if the arguments are too large.
  request_id request(const ipc::link_ptr& to, std::string_view ns, std::string_view func,
                     payload kwargs, reply_handler on_reply, effects& out);
  /// The same for a dialog (`asyncgen` or `context`): what happens before its reply comes as
  /// `dialog_changed`. It can be taken from until release().
  request_id open_dialog(const ipc::link_ptr& to, std::string_view ns, std::string_view func,
                         payload kwargs, msg::call_kind expected, stream_window window,
                         reply_handler on_reply, effects& out);
  /// Asks the callee to cancel it. The reply still comes: the callee's own, or if that says nothing
  /// more, as tractor's do, a ContextCancelled once it acknowledges. Once; a dialog that is not
  /// released can be told so after its reply, too.
  void cancel_request(request_id id, effects& out);
  /// Nobody waits any more: the reply will be dropped.
  void forget(request_id id);

  // --- calls that this actor serves ---
  void acknowledge(call_id id, msg::call_kind functype, effects& out);
  /// It is a dialog: acknowledged as one. From now to finish() it can be used as one.
  void accept_dialog(call_id id, msg::call_kind functype, stream_window window, effects& out);
  /// The first word of a context. REQUIRES: said once.
  void start_dialog(call_id id, payload value, effects& out);
  void finish(call_id id, payload value, effects& out);
  /// An async generator has ended: by Stop, which is all that its caller hears.
  void finish_stream(call_id id, effects& out);
  void finish(call_id id, remote_error_info error, effects& out);
  /// Serving begins: `wait_ready` requests are answered, with the error if there is one. A parent
  /// of tractor's asks none. Its calls are kept until here, because whoever answers one is
  /// registered; the error it gets for the whole connection, and this actor is to end.
  void set_ready(const remote_error_info* failure, effects& out);
  /// Everything that this actor ran has ended: whoever asked it to is told.
  void acknowledge_cancel(effects& out);

  // --- the registrar's ---
  /// From now on this actor serves a registrar's methods: see `registrar`. Others refuse them, as
  /// they do any method that they lack.
  void become_registrar(registry_limits limits, registrar::publish_function publish);
  /// What an actor of this process would say by a call. Nothing, if this is no registrar.
  void register_here(const uid& who, const msg::wire_address& at, effects& out);
  void unregister_here(const uid& who);
  /// Where an actor that was asked to listen does; empty: nowhere.
  void published(const std::string& uuid, const registry::addresses& at, effects& out);

  // --- both ends of dialogs. Unknown ids are dialogs that have ended ---
  /// One value, moved from if it is `sent`. Throws limit_exceeded if it is larger than
  /// payload_bytes_max.
  send_outcome send(dialog_id id, payload&& value, effects& out);
  /// The same for one of `bytes` that the caller sends itself: by the link and with the cid of
  /// `to`. Null, though `sent`: it is to be dropped.
  send_outcome admit(dialog_id id, std::size_t bytes, const dialog*& to);
  taken take(dialog_id id, effects& out);
  /// Its user reads: see dialog::open().
  void open_stream(dialog_id id, stream_window window, bool allow_overruns, effects& out);
  /// This side sends no more and reads no more.
  void stop(dialog_id id, effects& out);
  /// The caller is done with it: what is left is dropped. REQUIRES: its reply came, or forget().
  void release(dialog_id id);
  /// The caller's side failed: the callee's is told, and goes on to end.
  void fail_dialog(dialog_id id, remote_error_info error, effects& out);
  bool peer_opened(dialog_id id) const;
  /// None: it has ended, and is released.
  std::optional<dialog_look> look(dialog_id id) const;

  // --- parent and children ---
  /// The first link to an actor with this uuid is the one to the parent: it alone may send a
  /// SpawnSpec, once, and its end asks this actor to end.
  void set_parent(const std::string& uuid);
  /// A child with this uuid will connect. The watch is kept until child_ended() or close().
  void adopt(const std::string& uuid, child_watch watch, effects& out);
  /// The child's OS-level end is known, or its start has failed: every request on its link is
  /// answered with the report.
  void child_ended(const std::string& uuid, const exit_report& report, effects& out);
  /// Its connection has gone, and no report came: nobody waits for that any longer. Every request
  /// is answered with the reason, and so is every later one.
  void child_lost(const std::string& uuid, const std::string& why, effects& out);

  /// Closes every link; every request is answered.
  void close(const std::string& why, effects& out);

  /// Did its caller cancel this served call?
  bool was_cancelled(call_id id) const;
  /// The open link to the parent, or null.
  ipc::link_ptr parent_link() const { return parent_link_; }
  const uid& self() const { return self_; }
  std::size_t served() const { return served_.size(); }
  void describe(base::tree_writer& w) const;

 private:
  struct served_call {
    ipc::link_ptr link;
    std::string cid, name;
    bool acknowledged = false;
    bool cancelled = false;
    uid canceller;
    std::optional<msg::stream_credit> credit;  // What its caller takes, if that one knows credit.
    std::vector<std::string> cancel_cids;      // Requests to cancel it that wait for a CancelAck.
  };
  struct open_request {
    ipc::link_ptr link;
    std::string cid, name;
    reply_handler on_reply;
    bool cancel_sent = false;
    msg::call_kind expected = msg::call_kind::asyncfunc;
  };
  struct link_state {
    ipc::link_ptr link;
    std::uint64_t nth = 0;                                 // To have connected.
    std::unordered_map<std::string, call_id> served;       // by cid
    std::unordered_map<std::string, request_id> requests;  // by cid
    std::unordered_set<std::string> waiting;  // cids of its requests to ourselves, not yet answered
    std::unordered_map<std::string, dialog_id> dialogs;   // Of both ends, by cid.
    std::unordered_map<std::string, request_id> cancels;  // What ours to cancel are for, by cid.
    std::size_t kept_bytes = 0;                           // In its dialogs.
    // The dialog that was spoken of last: streams come in runs.
    dialog* last = nullptr;
    dialog_id last_id = 0;
  };
  struct child {
    child_watch watch;
    ipc::link_ptr link;
    bool given_up = false;  // See child_lost().
  };
  struct waiting_peer {
    ipc::link_ptr link;
    std::string cid;
  };

  void on_start(const ipc::link_ptr& from, msg::start&& m, effects& out);
  void on_self_call(const ipc::link_ptr& from, msg::start&& m, effects& out);
  void on_cancel_task(const ipc::link_ptr& from, const msg::start& m, effects& out);
  void on_registrar_call(const ipc::link_ptr& from, const msg::start& m, effects& out);
  void answer_registrar_calls(registrar::outcome&& outcome, effects& out);
  void on_start_ack(link_state& state, const msg::start_ack& m, effects& out);
  void on_started(link_state& state, msg::started&& m, effects& out);
  void on_value(link_state& state, msg::yield&& m, effects& out);
  void on_values(link_state& state, const std::string& cid, std::vector<payload>&& run,
                 effects& out);
  template <class Arrive>
  void take_in(link_state& state, const std::string& cid, Arrive arrive, effects& out);
  bool overrun(const link_state& state, const dialog& d, effects& out);
  void on_stop(link_state& state, const msg::stop& m, effects& out);
  void on_credit(link_state& state, const msg::credit& m, effects& out);
  void on_cancel_ack(link_state& state, const msg::cancel_ack& m, effects& out);
  dialog* find_dialog(link_state& state, const std::string& cid, dialog_id& id);
  dialog* find_dialog(dialog_id id);
  dialog& add_dialog(dialog_id id, const ipc::link_ptr& l, const std::string& cid, bool callee,
                     stream_window window);
  void drop_dialog(dialog_id id);
  void end_dialog(dialog_id id, effects& out);  // It can only be taken from any more.
  request_id start_request(open_request request, std::string_view ns, std::string_view func,
                           payload kwargs, std::optional<stream_window> window, effects& out);
  void on_spec(const ipc::link_ptr& from, msg::spawn_spec&& m, effects& out);
  void wait_for_us(const ipc::link_ptr& from, std::vector<waiting_peer>& list, std::string cid);
  bool no_longer_waits(const waiting_peer& peer);  // False: its link is gone.
  void on_error(const ipc::link_ptr& from, msg::boxed_error&& m, effects& out);
  void answer(const ipc::link_ptr& from, const std::string& cid, reply&& r, effects& out);
  void complete(request_id id, reply&& r, effects& out);
  static void lost(child& c, const std::string& why, effects& out);
  void fail_requests(const ipc::link_ptr& l, const reply& r, effects& out);
  void breach(const ipc::link_ptr& from, std::string what, effects& out);
  void send_error(const ipc::link_ptr& to, const std::string& cid, remote_error_info e,
                  effects& out, const uid* canceller = nullptr);
  remote_error_info error_of_ours(std::string type, std::string message) const;
  served_call take_served(call_id id);
  bool comes_too_early(const ipc::link_ptr& from, const msg::start& m) const;
  void fail_unasked(effects& out);
  void ack_cancels(const served_call& call, effects& out);

  const uid self_;
  const table_limits limits_;
  std::string parent_uuid_;  // Empty: none, or not known yet.
  ipc::link_ptr parent_link_;
  bool has_spec_ = false;
  std::string closed_;  // Why; empty while open.
  std::uint64_t next_id_ = 1;
  std::unordered_map<call_id, served_call> served_;
  std::unordered_map<request_id, open_request> requests_;
  std::unordered_map<dialog_id, dialog> dialogs_;
  struct {
    dialog_id id = 0;
    port::dialog* dialog = nullptr;
    link_state* of = nullptr;    // Null: its link has closed.
  } last_used_;                  // By find_dialog(id).
  std::optional<uid> ended_by_;  // The actor that asked this one to end.
  std::unordered_map<ipc::link*, link_state> links_;
  std::uint64_t links_so_far_ = 0;
  std::unordered_map<std::string, child> children_;  // by uuid
  enum class readiness : std::uint8_t { starting, ready, failed } readiness_ = readiness::starting;
  remote_error_info start_failure_;
  std::vector<msg::start> early_;               // Of the parent: see set_ready().
  std::vector<waiting_peer> wait_ready_;        // wait_ready requests to answer
  std::vector<waiting_peer> cancel_asked_;      // self.cancel requests to acknowledge
  std::unique_ptr<port::registrar> registrar_;  // Null: it is none.
};

}  // namespace coppice::port
