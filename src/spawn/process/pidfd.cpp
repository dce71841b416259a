// SPDX-License-Identifier: Apache-2.0
#include "spawn/process/pidfd.hpp"

#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

namespace coppice::spawn {

namespace {
std::optional<exit_report> waited_for(idtype_t by, int id) {
  siginfo_t info{};
  int failed = 0;
  do {
    failed = ::waitid(by, static_cast<id_t>(id), &info, WEXITED);
  } while (failed != 0 && errno == EINTR);
  if (failed != 0 && errno == EAGAIN) return std::nullopt;
  if (failed == 0) return exit_of(info.si_code, info.si_status);
  exit_report report;  // ECHILD: some other code of this program waited for it.
  report.how = exit_report::cause::lost;
  return report;
}
}  // namespace

bool send_signal(int pidfd, int number) noexcept {
  return ::syscall(SYS_pidfd_send_signal, pidfd, number, nullptr, 0u) == 0;
}

exit_report exit_of(int code, int status) {
  exit_report report;
  report.status = status;
  report.how = code == CLD_EXITED ? exit_report::cause::exited : exit_report::cause::signalled;
  if (code == CLD_DUMPED) report.detail = "core dumped";
  return report;
}

std::optional<exit_report> reap(int pidfd) { return waited_for(P_PIDFD, pidfd); }

exit_report reap_pid(pid_t pid) { return waited_for(P_PID, pid).value_or(exit_report{}); }

}  // namespace coppice::spawn
