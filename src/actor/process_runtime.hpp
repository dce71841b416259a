// SPDX-License-Identifier: Apache-2.0
// The one runtime of a process: control loop, supervisor, backends, signals.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "actor/signals.hpp"
#include "actor/supervisor.hpp"
#include "base/thread.hpp"
#include "core/loop.hpp"
#include "ipc/uds.hpp"
#include "port/actor_port.hpp"
#include "spawn/backend.hpp"

namespace coppice::tree {

class process_runtime;

struct process_options {
  signal_mode signals = signal_mode::none;
  ipc::limits limits;
  port::table_limits calls;
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
  supervisor& supervision() noexcept { return *supervisor_; }
  const process_options& options() const noexcept { return options_; }

  /// By key or alias ("subint", "trio"). Throws backend_unavailable: an unknown key, with the list
  /// of known ones, or why it cannot serve this child. May run a Python once (never on the control
  /// loop).
  spawn::backend& backend_for(const std::string& key, const spawn::child_spec& spec);
  const std::vector<std::unique_ptr<spawn::backend>>& backends() const { return backends_; }

  /// Starts a child of `parent`; fills in spec.parent, spec.parent_sink and, where the backend
  /// needs one, spec.parent_address from the parent's listener, opened on first use. The outcome is
  /// a child_changed event at the parent's port.
  void start_child(port::actor_port_ptr parent, spawn::backend& backend, spawn::child_spec spec,
                   stop_policy stop, duration start_within);

  /// Connects an actor of this process to its parent in another one, on the control loop, which
  /// then owns the socket. `done` runs there too: null, or why not.
  void connect_to_parent(port::actor_port_ptr port, ipc::address parent,
                         std::function<void(std::exception_ptr)> done);

  /// The actor has ended: closes its listener. On its own loop's thread if it has one.
  void actor_ended(const port::actor_port& port);

  /// What the first SIGINT or SIGTERM does, on the control loop; a second SIGINT within 2 s makes
  /// every ladder hurry, the third leaves from the handler itself.
  void on_interrupt(std::function<void(std::string why)> cancel_root);

  /// Ends everything: children still running are stopped, threads joined. True: nothing is left;
  /// false: native code is in quarantine, and the process has to leave by coppice::leave().
  /// Idempotent. Not on the control loop.
  bool stop(duration bound = std::chrono::seconds(5));

  /// After stop(): what was left. Before: blocks for a turn of the control loop.
  std::size_t quarantined_count();
  std::vector<quarantine_entry> quarantined();  // Blocks for a turn of the control loop.
  std::string describe();                       // Likewise: the tree of this process, as text.

 private:
  void control_main();
  void listen(port::actor_port_ptr parent, std::function<void(ipc::address)> then,
              std::function<void(std::exception_ptr)> failed);

  const process_options options_;
  std::shared_ptr<core::loop> control_;
  std::unique_ptr<supervisor> supervisor_;
  std::vector<std::unique_ptr<spawn::backend>> backends_;
  base::os_thread control_thread_;
  bool stopped_ = false;
  bool left_behind_ = false;  // Quarantine was not empty at the end.
  std::size_t left_count_ = 0;

  // Control loop only.
  std::unique_ptr<signal_watch> signals_;
  std::function<void(std::string)> cancel_root_;
  struct listening {
    std::shared_ptr<core::loop> on;
    std::shared_ptr<ipc::uds_listener> listener;
  };
  std::map<std::string, listening> listeners_;  // By the actor's uuid.
};

/// "trio" and "mp_spawn" mean "process", and so on: tractor's and multiprocessing's names.
std::string canonical_key(const std::string& key);

}  // namespace coppice::tree
