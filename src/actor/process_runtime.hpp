// SPDX-License-Identifier: Apache-2.0
// The one runtime of a process: control loop, supervisor, backends, signals.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "actor/supervisor.hpp"
#include "base/thread.hpp"
#include "core/loop.hpp"
#include "ipc/uds.hpp"
#include "port/actor_port.hpp"
#include "spawn/backend.hpp"

namespace coppice::tree {

enum class signal_mode : std::uint8_t { none, interrupt };

struct process_options {
  signal_mode signals = signal_mode::none;
  ipc::limits limits;
  /// The program to execute for native process children, which must reach run_main(); empty: none.
  std::string self_executable;
  /// Makes the backends; called once, with the runtime, before the control loop runs.
  std::function<std::vector<std::unique_ptr<spawn::backend>>(class process_runtime&)> make_backends;
};

/// What a process needs to have actors: the control loop on its own thread (`coppice-ctl`), the
/// supervisor on it, the spawn backends, and signal handling. One at a time per process: opening a
/// second throws coppice::error. The root actor itself is somebody else's: a native one, or a guest.
///
/// Owner: run_main(), a `runtime` object, or Python's root. Thread: any, where not said otherwise.
class process_runtime {
 public:
  explicit process_runtime(process_options options);
  ~process_runtime();  // stop() with its default bound.

  /// The open runtime of this process, or null.
  static process_runtime* current() noexcept;

  core::loop& control() noexcept { return *control_; }
  supervisor& supervision() noexcept { return *supervisor_; }
  const process_options& options() const noexcept { return options_; }

  /// By key or alias ("subint", "trio"). Throws backend_unavailable: unknown key (with the list of
  /// known ones), or why it cannot serve this child.
  spawn::backend& backend_for(const std::string& key, const spawn::child_spec& spec);
  const std::vector<std::unique_ptr<spawn::backend>>& backends() const { return backends_; }

  /// Starts a child of `parent`. Opens the parent's listener first if the backend needs one. The
  /// outcome is a child_changed event at the parent's port. Throws what backend_for() throws.
  void start_child(port::actor_port_ptr parent, const std::string& backend_key,
                   spawn::child_spec spec, stop_policy stop, duration start_within);

  /// Connects an actor of this process to its parent in another one, on the control loop; the port
  /// then has a link to the parent. `done` gets null, or why not; it runs on the control loop.
  void connect_to_parent(std::shared_ptr<port::actor_port> port, ipc::address parent,
                         std::function<void(std::exception_ptr)> done);

  /// What SIGINT does: called on the control loop for the first signal. The second within 2 s makes
  /// every ladder hurry, the third leaves from the handler itself with status 130.
  void on_interrupt(std::function<void()> cancel_root);
  bool interrupted() const noexcept;  // Was there a SIGINT?

  /// Ends everything: children still running are stopped, threads joined. True: nothing is left;
  /// false: native code is in quarantine, and the process has to leave by coppice::leave().
  bool stop(duration bound = std::chrono::seconds(5));

  std::size_t quarantined() const noexcept { return quarantined_.load(); }

 private:
  friend class supervisor;
  const process_options options_;
  std::shared_ptr<core::loop> control_;
  std::unique_ptr<supervisor> supervisor_;
  std::vector<std::unique_ptr<spawn::backend>> backends_;
  std::atomic<std::size_t> quarantined_{0};
  base::os_thread control_thread_;
  bool stopped_ = false;
};

}  // namespace coppice::tree
