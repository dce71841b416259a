// SPDX-License-Identifier: Apache-2.0
// A process by its pidfd: signalled, reaped, and how it ended as an exit_report.
#pragma once

#include <signal.h>

#include <optional>

#include "coppice/stop.hpp"

namespace coppice::spawn {

/// False: it has ended, or may not be signalled; errno says which.
bool send_signal(int pidfd, int number) noexcept;

/// `code` is CLD_EXITED, CLD_KILLED or CLD_DUMPED, `status` the exit status or the signal's number.
exit_report exit_of(int code, int status);

/// Reaps the process behind a pidfd of one of ours, which has ended. Nothing: a debugger, strace or
/// leak sanitizer holds it, and lets go of it when it ends itself; that is said of a pidfd that
/// does not block. exit_report::cause::lost: some other code of this program waited for it.
std::optional<exit_report> reap(int pidfd);
/// The same by its pid, and waits for its end.
exit_report reap_pid(pid_t pid);

}  // namespace coppice::spawn
