// SPDX-License-Identifier: Apache-2.0
// An actor in C++: its port on its own loop, the calls it serves, the children it has.
#pragma once

#include <functional>
#include <map>
#include <memory>
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

/// One child of a native actor, for as long as a portal may name it. Loop only.
struct child_slot {
  explicit child_slot(uid who) : id(std::move(who)) {}
  const uid id;
  ipc::link_ptr link;  // Once it is up.
  std::exception_ptr start_error;
  exit_report report;
  bool up = false;
  bool ended = false;
  bool requested = false;             // Its end was asked for.
  event settled{"an actor's start"};  // Up, or failed to start.
  event gone{"an actor's end"};
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
  void on_closed(const ipc::link_ptr& from, const std::string& why) override;
  void adopt(const std::string& uuid, port::child_watch watch) override;
  void request(ipc::link_ptr to, std::string ns, std::string func, payload kwargs,
               port::reply_handler on_reply) override;
  void child_changed(port::child_changed change) override;
  void cancel(std::string why) override;
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

  // --- what portals and actor nurseries need ---
  child_slot& start_child(std::string_view name, const actor_options& options);
  void stop_child(child_slot& c, std::optional<stop_policy> policy = {});
  detail::call_target target_of(const child_slot& c) const;
  child_slot* find(detail::call_target t);  // Null: its nursery has ended.
  void release(detail::call_target t);
  /// Calls "module:function" of a child. A cancelled call cancels the callee's side and waits for
  /// its end, at most call_cancel_within, then throws call_stuck.
  task<payload> call(detail::call_target t, std::string name, payload kwargs);
  task<exit_report> cancel_child(detail::call_target t);
  const uid& id() const noexcept { return id_; }

  process_runtime& runtime() noexcept { return runtime_; }
  const std::vector<exposed>& endpoints() const noexcept { return endpoints_; }
  actor& face() noexcept { return face_; }
  nursery* calls() noexcept { return calls_; }  // Null: it does not serve (any more).
  bool was_cancelled() const noexcept { return cancel_why_.has_value(); }
  const std::string& cancel_reason() const { return *cancel_why_; }

 private:
  template <class F>
  void on_loop(F&& f, bool quiet = false);
  void apply(port::effects&& out);
  void act(port::call_started&& e);
  void act(port::call_cancelled&& e);
  void act(port::dialog_changed&& e);
  void act(port::reply_arrived&& e);
  void act(port::cancel_requested&& e);
  void act(port::spec_arrived&& e);
  void act(port::child_changed&& e);
  task<> run_call(port::call_id id, exposed endpoint, payload kwargs);
  void finish_with(port::call_id id, const std::exception_ptr& e);
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
  struct slot_entry {
    std::unique_ptr<child_slot> child;  // Null: free.
    std::uint32_t generation = 0;
  };
  task<port::reply> end_cancelled_call(port::request_id id, core::one_shot<port::reply>* answer,
                                       std::string what);
  std::vector<slot_entry> slots_;
  std::map<std::string, std::uint32_t> slot_of_;           // By uuid.
  std::vector<std::shared_ptr<ipc::listener>> listeners_;  // Shared with the runtime's list.
  std::optional<std::string> cancel_why_;
  bool alone_ = false;
  bool left_ = false;
};

}  // namespace coppice::tree
