// SPDX-License-Identifier: Apache-2.0
// A runtime's side of its zygote: brings it up when it is first needed, and orders children.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/fd.hpp"
#include "base/unique_function.hpp"
#include "coppice/stop.hpp"
#include "core/loop.hpp"
#include "spawn/forkserver/fork_protocol.hpp"
#include "spawn/process/spawner.hpp"

namespace coppice::spawn {

/// What a zygote imports before it serves.
struct zygote_preload {
  std::vector<std::string> modules = {};
  std::vector<std::string> sys_path = {};  // Where it looks for them. Empty: its own.
};
/// `argv` of a zygote's program with whose it is and that behind it.
std::vector<std::string> with_preload(std::vector<std::string> argv, const zygote_preload& preload);

/// How a runtime comes to a zygote.
struct zygote_source {
  /// argv of a program that serves on its fd 3. Throws backend_unavailable.
  std::function<std::vector<std::string>()> program = {};
  /// In a forked child: its connection to the zygote that it came from, which it uses until that
  /// closes. Shared: the client takes it out.
  std::shared_ptr<base::unique_fd> connection = nullptr;
};

/// Who hears of an ordered child. Control loop only.
class fork_observer {
 public:
  virtual ~fork_observer() = default;
  virtual void forked(pid_t pid, base::unique_fd pidfd) = 0;
  /// It has ended and is reaped, or was never there. The last call.
  virtual void gone(exit_report report) = 0;
  /// The zygote has died, which kills the child: its pidfd says when, and nobody how. After
  /// forked(), and the last call.
  virtual void orphaned(const std::string& why) = 0;
};

/// Promises:
/// - The zygote is executed at the first order, and again at the first one after it ended.
/// - An order is answered: forked() and then gone() or orphaned(), or gone() alone with the reason.
/// - Nothing blocks but shut_down(), which does for as long as a kill takes.
///
/// Owner: shared by the backends that fork. Thread: the control loop.
class zygote_client {
 public:
  zygote_client(std::shared_ptr<core::loop> control, zygote_source source);
  ~zygote_client();
  zygote_client(const zygote_client&) = delete;
  zygote_client& operator=(const zygote_client&) = delete;

  /// Throws what zygote_source::program throws, std::system_error when there are no descriptors.
  void order(fork_order wanted, std::shared_ptr<fork_observer> who);
  /// Throws backend_unavailable where there can be no zygote. May run a Python once; any thread.
  void require() const;
  /// Runs what may block for a moment on a thread that is there for it.
  void aside(base::unique_function<void()> work) { spawner_.post(std::move(work)); }
  /// The control loop does not run any more; no child is left. Ends the zygote. Idempotent.
  void shut_down();

 private:
  class incarnation;

  const std::shared_ptr<core::loop> control_;
  const zygote_source source_;
  spawner spawner_;
  // Shared with what comes from the spawner's thread.
  std::shared_ptr<incarnation> now_;               // Null: none yet.
  std::vector<std::shared_ptr<incarnation>> all_;  // Those that are not over, too.
  std::uint64_t last_number_ = 0;
};

}  // namespace coppice::spawn
