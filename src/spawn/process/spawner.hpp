// SPDX-License-Identifier: Apache-2.0
// Starts processes from one thread that lives as long as the runtime.
#pragma once

#include <sys/types.h>

#include <string>
#include <utility>
#include <vector>

#include "base/fd.hpp"
#include "base/unique_function.hpp"
#include "base/worker.hpp"

namespace coppice::spawn {

/// What to execute. Strings are complete: no shell, no search path. REQUIRES: argv is not empty.
struct command {
  std::vector<std::string> argv;         // argv[0] is the path of the program.
  std::vector<std::string> environment;  // "NAME=value", the whole of it.
  std::string cwd;                       // Empty: ours.
  int inherit = -1;                      // A descriptor of ours that becomes its fd 3. None: -1.
  bool deaf_to_sigint = false;           // SIGINT is ignored from its first instruction on.
};

/// A started process. Its pidfd is readable when it has ended.
struct started_process {
  pid_t pid = -1;
  base::unique_fd pidfd;
  int error = 0;          // errno if it could not be started; then pid is -1.
  const char* step = "";  // What failed: "clone", "chdir", "execve".
};

/// Starts processes one after the other on its own thread. A child gets: SIGKILL when that thread
/// ends (PR_SET_PDEATHSIG is bound to the thread that forks, hence the thread), default signal
/// dispositions, an empty mask, fds 0 to 2 and no others, where the command does not say otherwise.
///
/// clone(CLONE_VM | CLONE_VFORK): nothing of this process is copied, whatever its size, and no
/// pthread_atfork handler runs, so interpreters need not know.
///
/// Owner: the process backend. Thread: start() from any.
class spawner {
 public:
  spawner() : thread_("coppice-spawn") {}
  /// `done` is called on the spawner's thread.
  void start(command c, base::unique_function<void(started_process)> done);
  /// Runs something there that may block for a moment: what must not hold up the control loop.
  void post(base::unique_function<void()> work) { thread_.post(std::move(work)); }
  void stop() { thread_.stop(); }

 private:
  base::worker thread_;
};

}  // namespace coppice::spawn
