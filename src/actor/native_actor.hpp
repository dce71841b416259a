// SPDX-License-Identifier: Apache-2.0
// An actor in C++: its port on its own loop, the calls it serves, the children it has.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "actor/process_runtime.hpp"
#include "coppice/actor.hpp"
#include "coppice/detail/call.hpp"
#include "coppice/event.hpp"
#include "coppice/exposed.hpp"
#include "coppice/nursery.hpp"
#include "coppice/spawn.hpp"
#include "core/loop.hpp"
#include "core/one_shot.hpp"
#include "port/actor_port.hpp"

namespace coppice::tree {

class native_dialog;

/// What a portal of a native actor names: a child, or whoever is at the other end of a link. Loop
/// only.
struct child_slot {
  explicit child_slot(uid who, bool child = true) : id(std::move(who)), is_child(child) {}
  const uid id;
  const bool is_child;
  std::string closed_why;  // No child: its link has closed.
  ipc::link_ptr link;      // Once it is up.
  std::exception_ptr start_error;
  exit_report report;
  std::function<void(const exit_report&)> on_reclaimed;  // It was abandoned, and has come back.
  bool up = false;
  bool began = false;                 // Whose start failed: it was there for a time.
  bool ended = false;                 // Or its link has closed.
  bool lost = false;                  // Its connection has closed: it is about to end.
  bool requested = false;             // Its end was asked for.
  event settled{"an actor's start"};  // Up, or failed to start.
  event gone{"an actor's end"};

  void came_back(const exit_report& now) {
    report = now;
    if (on_reclaimed) on_reclaimed(now);
  }
};

/// What an actor is started with, as often as it is started. Owns all of it.
struct child_plan {
  spawn::backend* backend = nullptr;
  spawn::child_spec spec;  // Its `self` has a name; each incarnation gets a uuid.
  stop_policy stop;
  duration start_within{};
  bool is_open = false;  // The program left it open by which backend.
};

/// A native actor's runtime. Its port belongs to its loop: other threads deliver by posting to it,
/// so nothing here is locked; a socket of its own is read on the same loop, without a hop.
///
/// Owner: shared by its links and whoever runs it. Thread: its loop's; the actor_port side any.
class native_actor final : public port::actor_port,
                           public std::enable_shared_from_this<native_actor> {
 public:
  native_actor(process_runtime& runtime, std::shared_ptr<core::loop> loop, msg::aid self,
               std::vector<exposed> endpoints);
  ~native_actor() override;

  // --- actor_port: any thread ---
  void on_connected(const ipc::link_ptr& l) override;
  void on_message(const ipc::link_ptr& from, msg::message&& m, ipc::urgency u) override;
  void on_values(const ipc::link_ptr& from, const std::string& cid,
                 std::vector<payload>&& values) override;
  void on_closed(const ipc::link_ptr& from, const std::string& why) override;
  void adopt(const std::string& uuid, port::child_watch watch) override;
  void request(ipc::link_ptr to, std::string ns, std::string func, payload kwargs,
               port::reply_handler on_reply) override;
  void child_changed(port::child_changed change) override;
  void cancel(std::string why) override;
  void become_registrar(port::registry_limits limits,
                        port::registrar::publish_function publish) override;
  void published(const std::string& uuid, const port::registry::addresses& at) override;
  void register_here(const uid& who, const msg::wire_address& at, ipc::urgency u) override;
  void unregister_here(const uid& who) override;
  void close(std::string why) override;
  void describe(base::tree_writer& w) override;
  std::shared_ptr<core::loop> own_loop() const override { return loop_; }
  void listens(std::shared_ptr<ipc::listener> listener) override;
  bool alone_in_process() const override { return alone_; }
  void set_alone() noexcept { alone_ = true; }
  void set_parent(const std::string& uuid);

  // --- its life: one of these is the root task of its loop ---
  /// Serves its parent until it is told to end. `connect` joins it to the parent.
  task<> serve(std::string parent_uuid, std::function<void()> connect);
  /// Runs `body` as a root actor: it ends when the body does, or is cancelled.
  task<> run_root(std::function<task<>(actor&)> body);

  /// Of a root whose registrars were elected: it becomes the registrar, listening at `at`, or is
  /// registered with `joined`. Throws what keeps it from that.
  task<> enter_registry(std::vector<msg::wire_address> at, std::vector<msg::wire_address> joined);

  // --- what portals and actor nurseries need ---
  /// Throws backend_unavailable.
  child_plan plan_child(std::string_view name, const actor_options& options);
  child_slot& start_child(const child_plan& plan);
  /// Its start has failed so: is it worth another try, by another backend? Python modules that need
  /// the main interpreter get one, where the program left that open.
  bool plan_elsewhere(child_plan& plan, const std::exception_ptr& why);
  void stop_child(child_slot& c, std::optional<stop_policy> policy = {});
  detail::call_target target_of(const child_slot& c) const;
  /// For a portal to the actor at the other end of any link of ours, child or not, until release().
  /// Calls, dialogs and cancel_child() work; it has no ladder and no exit report. Once the link has
  /// closed they throw transport_closed.
  detail::call_target name_peer(const ipc::link_ptr& l);
  child_slot* find(detail::call_target t);   // Null: its nursery has ended.
  child_slot& reach(detail::call_target t);  // Throws actor_died or transport_closed.
  void release(detail::call_target t);
  /// Calls "module:function" of a child. A cancelled call cancels the callee's side and waits for
  /// its end, at most call_cancel_within, then throws call_stuck.
  task<payload> call(detail::call_target t, std::string name, payload kwargs);
  task<exit_report> cancel_child(detail::call_target t);
  // A cancelled call is given so long to end before its caller goes on without it.
  static constexpr duration call_cancel_within = std::chrono::milliseconds(500);
  const uid& id() const noexcept { return id_; }

  process_runtime& runtime() noexcept { return runtime_; }
  const std::vector<exposed>& endpoints() const noexcept { return endpoints_; }
  actor& face() noexcept { return face_; }
  nursery* calls() noexcept { return calls_; }  // Null: it does not serve (any more).
  bool was_cancelled() const noexcept { return cancel_why_.has_value(); }
  const std::string& cancel_reason() const { return *cancel_why_; }
  /// It ended because its parent's connection closed, not because it was asked to.
  bool lost_parent() const noexcept { return lost_parent_; }

  // --- what dialogs need ---
  port::call_table& table() noexcept { return table_; }
  detail::scheduler& scheduler() noexcept { return *loop_; }
  /// Acts on the events, sends, notifies, closes.
  void apply(port::effects&& out);
  /// For takes of streams, which are many: filled, then delivered, at once.
  port::effects& stream_effects() noexcept { return stream_effects_; }
  void deliver_streams();
  /// A value that the table has admitted: leaves at the end of the turn, with those before it.
  void send_value(port::dialog_id id, const port::dialog& of, payload&& value);
  void dialog_begins(port::dialog_id id, native_dialog& d) { dialogs_.emplace(id, &d); }
  void dialog_ends(port::dialog_id id) { dialogs_.erase(id); }
  /// A served call runs in this scope, until call_ran().
  void call_runs(port::call_id id, cancel_scope& scope);
  void call_ran(port::call_id id) { running_.erase(id); }
  void finish_with(port::call_id id, const std::exception_ptr& e);
  void finish_cancelled(port::call_id id, const std::exception_ptr& e, bool by_itself);

 private:
  /// Values of streams, sent together at the end of the turn.
  struct outbox final : core::turn_hook {
    explicit outbox(native_actor& of) : actor(of) {}
    void at_turn_end() override { actor.flush(nullptr); }
    native_actor& actor;
    struct batch {
      port::dialog_id id;
      ipc::link_ptr to;
      std::string cid;
      std::vector<payload> values;
    };
    std::vector<batch> batches;
    std::size_t usual = 0;  // Values in the last one: the next is as large.
  };

  using link_watcher = decltype(port::child_watch::on_connected);
  template <class F>
  void on_loop(F&& f, bool quiet = false);
  link_watcher take_watcher(const std::string& uuid);  // Empty: that is none of our children.
  void deliver(port::effects::sending&& s);
  void flush(const ipc::link* only);  // Null: whomever it is for.
  void act(port::call_started&& e);
  void act(port::call_cancelled&& e);
  void act(port::dialog_changed&& e);
  void act(port::reply_arrived&& e);
  void act(port::cancel_requested&& e);
  void act(port::spec_arrived&& e);
  void act(port::child_changed&& e);
  task<> run_call(port::call_id id, exposed endpoint, payload kwargs);
  void ready(const std::exception_ptr& failure);
  task<> serving(std::function<task<>()> body);
  void leave(const std::string& why);

  process_runtime& runtime_;
  const std::shared_ptr<core::loop> loop_;  // Shared: links may outlive our thread.
  const uid id_;
  port::call_table table_;
  const std::vector<exposed> endpoints_;  // Of the program: what main() listed.
  std::vector<std::string> enabled_;      // Modules; empty: all of endpoints_.
  actor face_;
  nursery* calls_ = nullptr;  // While serving.
  std::unordered_map<port::call_id, cancel_scope*> running_;
  std::unordered_map<port::call_id, std::string> cancelled_early_;
  std::unordered_map<port::dialog_id, native_dialog*> dialogs_;
  port::effects stream_effects_;
  outbox outbox_{*this};
  struct slot_entry {
    std::unique_ptr<child_slot> child;  // Null: free.
    std::uint32_t generation = 0;
  };
  detail::call_target add_slot(std::unique_ptr<child_slot> made);
  task<exit_report> cancel_peer(child_slot& c);
  task<port::reply> end_cancelled_call(port::request_id id, core::one_shot<port::reply>* answer,
                                       std::string what);
  std::vector<slot_entry> slots_;
  // tidy: allow lock: a child's own thread asks who waits for its link
  std::mutex watchers_mutex_;
  std::unordered_map<std::string, link_watcher> watchers_;  // Of children without a link, by uuid.
  std::map<std::string, std::uint32_t> slot_of_;            // By uuid.
  std::vector<std::shared_ptr<ipc::listener>> listeners_;   // Shared with the runtime's list.
  payload runtime_vars_ = to_payload(std::map<std::string, std::string>());  // Handed on.
  std::optional<std::string> cancel_why_;
  bool lost_parent_ = false;
  bool alone_ = false;
  bool left_ = false;
};

}  // namespace coppice::tree
