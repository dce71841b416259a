// SPDX-License-Identifier: Apache-2.0
#include "spawn/process/process.hpp"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <optional>
#include <utility>

#include "base/assert.hpp"
#include "coppice/errors.hpp"
#include "core/alarm.hpp"
#include "core/fd_watch.hpp"
#include "ipc/listener.hpp"
#include "spawn/process/pidfd.hpp"

namespace coppice::spawn {

namespace {

constexpr duration ask_again_after = std::chrono::milliseconds(5);

/// State that the handle, the spawner's answer and the pidfd's watch share: a child may be dropped
/// while its start is still under way.
struct process_state : std::enable_shared_from_this<process_state> {
  process_state(std::shared_ptr<core::loop> on, spawner& by, std::shared_ptr<child_observer> o)
      : control(std::move(on)), starter(by), observer(std::move(o)), again(*control) {}

  // Control loop only.
  void started(started_process p, const std::string& program) {
    if (p.pid < 0) {
      exit_report report;
      report.how = exit_report::cause::failed;
      report.detail =
          fmt::format("cannot start {}: {}: {}", program, p.step, std::strerror(p.error));
      return end(std::move(report));
    }
    pid = p.pid;
    pidfd = std::move(p.pidfd);
    if (wanted_signal != 0) send(wanted_signal);
    try {
      watch = std::make_unique<core::fd_watch>(*control, pidfd.get(), [me = shared_from_this()] {
        auto keep = me;  // The watch, which owns this closure, ends in here.
        keep->watch.reset();
        keep->ended();
      });
    } catch (const std::exception& e) {
      cannot_watch(e.what());
    }
  }

  void ended() {
    if (auto report = reap(pidfd.get())) return end(std::move(*report));
    again.set(ask_again_after, [me = shared_from_this()] { me->ended(); });
  }

  // It must not run unwatched. Its end is a moment away, but not to be waited for here.
  void cannot_watch(const std::string& why) {
    send(SIGKILL);
    starter.post([me = shared_from_this(), why] {
      exit_report report = reap_pid(me->pid);
      report.detail += " after it could not be watched: " + why;
      me->control->post([me, report = std::move(report)]() mutable { me->end(std::move(report)); });
    });
  }

  void send(int signal) {
    wanted_signal = signal;
    if (pidfd) send_signal(pidfd.get(), signal);
  }

  void end(exit_report report) {
    pidfd.reset();
    const bool orderly = report.how == exit_report::cause::exited && report.status == 0;
    // Whoever was killed, or left in a hurry, has not removed its socket file.
    if (pid > 0 && !orderly) starter.post([] { ipc::remove_dead_sockets(); });
    if (auto o = std::move(observer)) o->ended(std::move(report));
  }

  const std::shared_ptr<core::loop> control;
  spawner& starter;  // The backend's, which outlives its children.
  std::shared_ptr<child_observer> observer;
  pid_t pid = -1;
  base::unique_fd pidfd;
  std::unique_ptr<core::fd_watch> watch;
  core::alarm again;
  int wanted_signal = 0;  // Asked for before the process was there.
};

class process_child final : public child {
 public:
  explicit process_child(std::shared_ptr<process_state> state) : state_(std::move(state)) {}

  bool interrupt() override { return send(SIGTERM); }
  bool force() override { return send(SIGKILL); }
  // Nobody looks after it any more, so it must not go on. The watch does: it keeps the state until
  // the kernel lets go.
  void abandon() override { send(SIGKILL); }
  std::string describe() const override {
    return state_->pid < 0 ? "process, starting" : fmt::format("pid {}", state_->pid);
  }

 private:
  bool send(int signal) {
    state_->send(signal);
    return true;
  }
  const std::shared_ptr<process_state> state_;
};

class process_backend final : public backend {
 public:
  process_backend(std::shared_ptr<core::loop> control, process_programs programs)
      : control_(std::move(control)), programs_(std::move(programs)) {}

  std::string_view key() const override { return "process"; }
  capabilities can() const override {
    return {.native = true, .python = true, .in_process = false, .can_be_killed = true};
  }

  std::optional<std::string> refusal(const child_spec& spec) override {
    try {
      program(spec);
      return std::nullopt;
    } catch (const std::exception& e) {
      return e.what();
    }
  }

  std::unique_ptr<child> start(const child_spec& spec,
                               std::shared_ptr<child_observer> observer) override {
    COPPICE_ASSERT(spec.parent_address, "a process child needs an address to connect back to");
    command c;
    c.argv = program(spec);
    const std::string name = c.argv[0];
    c.argv.push_back("--uid");
    c.argv.push_back(ipc::tuple_text(spec.self.name, spec.self.uuid));
    c.argv.push_back("--parent_addr");
    c.argv.push_back(spec.parent_address->text());
    if (spec.environment)
      c.environment = *spec.environment;
    else
      for (char** e = environ; *e; ++e) c.environment.emplace_back(*e);
    c.cwd = spec.cwd;
    auto state = std::make_shared<process_state>(control_, spawner_, std::move(observer));
    spawner_.start(std::move(c), [state, name](started_process p) {
      state->control->post(
          [state, name, p = std::move(p)]() mutable { state->started(std::move(p), name); });
    });
    // Of a tree that was killed whole nobody is left to do it.
    if (!std::exchange(tidied_, true)) spawner_.post([] { ipc::remove_dead_sockets(); });
    return std::make_unique<process_child>(std::move(state));
  }

  void shut_down() override { spawner_.stop(); }

 private:
  std::vector<std::string> program(const child_spec& spec) const {
    if (!spec.program.empty()) return spec.program;
    return spec.native ? programs_.native() : programs_.python();
  }

  const std::shared_ptr<core::loop> control_;
  const process_programs programs_;
  spawner spawner_;
  bool tidied_ = false;  // Control loop.
};

}  // namespace

std::unique_ptr<backend> make_process_backend(std::shared_ptr<core::loop> control,
                                              process_programs programs) {
  return std::make_unique<process_backend>(std::move(control), std::move(programs));
}

}  // namespace coppice::spawn
