// SPDX-License-Identifier: Apache-2.0
// The one runtime of a process: control loop, supervisor, backends, signals.
#pragma once

#include <atomic>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "actor/discovery.hpp"
#include "actor/listener_table.hpp"
#include "actor/signals.hpp"
#include "actor/supervisor.hpp"
#include "base/thread.hpp"
#include "base/worker_pool.hpp"
#include "coppice/actor_nursery.hpp"
#include "coppice/guest_budget.hpp"
#include "coppice/stall.hpp"
#include "coppice/transports.hpp"
#include "core/loop.hpp"
#include "core/stall_watch.hpp"
#include "port/actor_port.hpp"
#include "spawn/backend.hpp"
#include "spawn/forkserver/zygote_client.hpp"
#include "spawn/methods.hpp"

namespace coppice::tree {

class process_runtime;

struct process_options {
  signal_mode signals = signal_mode::none;
  ipc::limits limits;
  ipc::transport_options transports;
  /// How children in other processes reach their parent, where nobody says otherwise.
  ipc::transport transport = ipc::transport::uds;
  /// Sets limits, transports and transport by what a program says. Throws coppice::error: there is
  /// no such transport, or no TLS with these files.
  void use(const transport_settings& settings);
  /// How actors are started that leave it open. The constructor throws backend_unavailable if
  /// nothing serves it.
  spawn::selection selected = {};
  bool checks_selected = true;  // Off in a child: its root has.
  port::table_limits calls;
  discovery_options discovery;
  std::vector<error_kind> errors;  // The program's own that travel by name.
  spawn::zygote_preload forkserver_preload = {};
  guest_budget guests = {};
  std::function<void(const actor_exit&)> on_hard_stop = {};  // See main_options.
  /// Of its loops: the control loop, and those of native actors. Not looked at if nobody asks.
  stall_options stalls{.after = duration::zero()};
  /// A loop that the caller runs, with run_control() as one of its tasks, instead of a loop on a
  /// thread of its own: so that a simulation has a whole tree, supervisor and all, on one thread
  /// and on virtual time. No signals then. Null in every program.
  std::shared_ptr<core::loop> control = nullptr;
  /// Makes the backends. Called once, before the control loop runs.
  std::function<std::vector<std::unique_ptr<spawn::backend>>(process_runtime&)> make_backends;
};

/// What a process needs to have actors: the control loop on its own thread (`coppice-ctl`), the
/// supervisor on it, the spawn backends, and signal handling. One at a time per process: opening a
/// second throws coppice::error. The root actor is somebody else's: a native one, or a guest.
///
/// Owner: run_main(), a `runtime` object, or Python's root. Thread: any, where not said otherwise.
class process_runtime {
 public:
  explicit process_runtime(process_options options);
  ~process_runtime();  // stop() with its default bound.
  process_runtime(const process_runtime&) = delete;
  process_runtime& operator=(const process_runtime&) = delete;

  /// The open runtime of this process, or null.
  static process_runtime* current() noexcept;

  const std::shared_ptr<core::loop>& control() noexcept { return control_; }
  /// With process_options::control: a task of that loop which supervises, and ends once
  /// supervision().close() was called and every child has ended. Then stop() leaves nothing.
  task<> run_control();
  supervisor& supervision() noexcept { return *supervisor_; }
  tree::discovery& lookups() noexcept { return *discovery_; }
  const process_options& options() const noexcept { return options_; }

  /// For a loop of this process: the one that runs an actor. Its runs are looked at for stalls; its
  /// to_thread() shares the threads of this runtime.
  core::loop_options loop_options(std::string name) const {
    return {.name = std::move(name), .stalls = stalls_, .threads = threads_};
  }

  /// By key or alias ("subint", "trio"). Throws backend_unavailable: an unknown key, with the list
  /// of known ones, or why it cannot serve this child. May run a Python once (never on the control
  /// loop).
  spawn::backend& backend_for(const std::string& key, const spawn::child_spec& spec);
  /// By which backend an actor is started that is to be started by `key`: by that one, unless its
  /// guests have used up guest_budget and its policy says otherwise. Throws backend_unavailable.
  struct placement {
    std::string key;
    std::string why = {};  // If it is another one.
  };
  placement place(const std::string& key);
  /// The key of a child that leaves it open: `process` for another program than ours, else what is
  /// selected if it runs the child's language, else `thread` in C++ and `subint` in Python.
  std::string_view key_for(const spawn::child_spec& spec) const;
  /// Has a start of this child by `subint` failed because a module of it loads in a main
  /// interpreter only? Remembered: from then on key_for() says `forkserver` for the same modules.
  bool needs_main_interpreter(const spawn::child_spec& spec, const std::exception_ptr& why);
  const std::vector<std::unique_ptr<spawn::backend>>& backends() const { return backends_; }

  /// Has its backends make what is to be ready before it is asked for. Blocks, for at most the
  /// pool's `fill_within`, or as long as loading a Python takes. Throws backend_unavailable.
  void stock_up(const spawn::stock_order& order);

  /// Which registrars a root joins: see elect(). Blocks, for at most election_options::total.
  /// Empty: the root is to be the registrar, as it is without addresses.
  std::vector<msg::wire_address> elect_registrars(const std::vector<msg::wire_address>& at);
  /// The root is there: it is the registrar and listens at `at`, or it is registered at those that
  /// it joins. `done` is called on the control loop: null, or why not.
  void open_as_registrar(port::actor_port_ptr root, std::vector<msg::wire_address> at,
                         discovery::listed done);
  void join_registrars(port::actor_port_ptr main, std::vector<msg::wire_address> at,
                       discovery::listed done);

  /// Starts a child of `parent`; fills in spec.parent, spec.parent_sink and, where the backend
  /// needs one, spec.parent_address from the parent's listener for spec.transport, opened on first
  /// use. The outcome is a child_changed event at the parent's port.
  void start_child(port::actor_port_ptr parent, spawn::backend& backend, spawn::child_spec spec,
                   stop_policy stop, duration start_within);

  /// Connects an actor of this process to its parent in another one, on the control loop, which
  /// then owns the socket. `done` runs there too: null, or why not.
  void connect_to_parent(port::actor_port_ptr port, ipc::address parent,
                         std::function<void(std::exception_ptr)> done);

  /// A native actor's child has ended so. Tells main_options::on_hard_stop if that was needed.
  void tell_if_hard(const actor_exit& one) const noexcept;

  /// The actor has ended: its listeners are closed, by itself if it has a loop of its own, and
  /// starts that wait for one fail. Does not block.
  void actor_ended(const port::actor_port& port);

  /// What SIGINT and SIGTERM do, on the control loop; a second SIGINT within 2 s makes every ladder
  /// hurry besides, the third leaves from the handler itself.
  void on_interrupt(std::function<void(std::string why)> cancel_root);

  /// Ends everything: children still running are stopped, threads joined. True: nothing is left;
  /// false: native code is in quarantine, and the process has to leave by coppice::leave().
  /// Idempotent, from any thread: the first call stops, the others wait for it. Not on the control
  /// loop, nor inside a run of any other.
  bool stop(duration bound = std::chrono::seconds(5));

  /// After stop(): has this object to live until the process ends? Actors that are in quarantine
  /// may still come back to it; abandoned work of to_thread() knows nothing of it.
  bool must_stay() const noexcept { return !left_.empty(); }

  /// Actors and abandoned work of to_thread() that are in quarantine. Before stop(), blocks for a
  /// turn of the control loop; after it, the actors are those that were left then.
  std::size_t quarantined_count() { return quarantined().size(); }
  std::vector<quarantine_entry> quarantined();
  std::string describe();  // Likewise: the tree of this process, as text; empty after stop().

 private:
  class own_network;

  void control_main(std::promise<void>& up);
  task<> control_on_thread(std::promise<void>* up);
  void on_signal(int number, int nth);
  /// A child in another process is told where its parent listens, and where the registrars do.
  void tell_addresses(const port::actor_port_ptr& parent, spawn::child_spec& spec,
                      std::function<void(std::exception_ptr)> done);
  void tell_registrars(spawn::child_spec& spec, discovery::tree_addresses known);
  void describe_here(base::tree_writer& w) const;
  spawn::backend* backend_named(std::string_view key) const;
  std::vector<quarantine_entry> quarantined_stock() const;
  template <class T>
  std::optional<T> ask_control(base::unique_function<T()> question);

  const process_options options_;
  // Shared with the loops: one whose native code comes back late leaves the watch then.
  const std::shared_ptr<core::stall_watch> stalls_;
  const std::shared_ptr<base::worker_pool> threads_;  // Likewise.
  std::shared_ptr<core::loop> control_;
  std::unique_ptr<supervisor> supervisor_;
  std::unique_ptr<own_network> network_;
  std::unique_ptr<tree::discovery> discovery_;
  std::vector<std::unique_ptr<spawn::backend>> backends_;
  base::os_thread control_thread_;
  std::atomic<bool> stopped_{false};  // stop() was called.
  std::atomic<int> asking_{0};        // Threads between looking at that and having asked.
  // tidy: allow lock: any thread that starts actors may ask
  mutable std::mutex need_main_mutex_;
  std::set<std::string> need_main_;  // Modules, joined. Guarded by it.
  std::promise<void> stop_ends_;
  const std::shared_future<void> stop_ended_ = stop_ends_.get_future().share();  // Of what follows:
  bool left_behind_ = false;            // Something is in quarantine, or the end did not come.
  std::vector<quarantine_entry> left_;  // Of actors.

  // Control loop only.
  std::unique_ptr<signal_watch> signals_;
  std::function<void(std::string)> cancel_root_;
  listener_table listeners_;
};

}  // namespace coppice::tree
