// SPDX-License-Identifier: Apache-2.0
#include "spawn/forkserver/forkserver.hpp"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <system_error>
#include <utility>

#include "base/assert.hpp"
#include "coppice/errors.hpp"
#include "core/alarm.hpp"
#include "core/fd_watch.hpp"
#include "ipc/listener.hpp"
#include "spawn/process/pidfd.hpp"

namespace coppice::spawn {

namespace {

constexpr duration guest_gone_within = std::chrono::milliseconds(250);

/// A child, from its order to its end. Shared by its handle and the zygote's client: it may be
/// dropped while it is not even forked.
struct forked_state final : fork_observer, std::enable_shared_from_this<forked_state> {
  forked_state(core::loop& l, zygote_client& from, std::shared_ptr<child_observer> o)
      : control(l), zygote(from), observer(std::move(o)), kill_later(l) {}

  void forked(pid_t p, base::unique_fd fd) override {
    pid = p;
    pidfd = std::move(fd);
    if (wanted_signal != 0) send(wanted_signal);
  }

  void gone(exit_report report) override {
    kill_later.clear();
    watch.reset();
    pidfd.reset();
    const bool orderly = report.how == exit_report::cause::exited && report.status == 0;
    // Whoever was killed, or left in a hurry, has not removed its socket file.
    if (pid > 0 && !orderly) zygote.aside([] { ipc::remove_dead_sockets(); });
    if (auto o = std::move(observer)) o->ended(std::move(report));
  }

  void orphaned(const std::string& why) override {
    exit_report report;
    report.how = exit_report::cause::lost;
    report.detail = why;
    try {
      watch =
          std::make_unique<core::fd_watch>(control, pidfd.get(), [me = shared_from_this(), report] {
            const auto keep = me;
            keep->gone(report);
          });
    } catch (const std::exception&) {  // No memory for it: it is dying anyway.
      gone(report);
    }
  }

  void send(int signal) {
    wanted_signal = signal;
    if (pidfd) send_signal(pidfd.get(), signal);
  }

  core::loop& control;
  zygote_client& zygote;  // The backends', which outlive their children.
  std::shared_ptr<child_observer> observer;
  pid_t pid = -1;
  base::unique_fd pidfd;
  std::unique_ptr<core::fd_watch> watch;
  core::alarm kill_later;
  int wanted_signal = 0;  // Asked for before the process was there.
};

class forked_actor final : public child {
 public:
  forked_actor(std::shared_ptr<forked_state> state, forked_into where)
      : state_(std::move(state)), where_(where) {}

  bool interrupt() override { return send(SIGTERM); }
  bool force() override {
    if (where_ == forked_into::main_interpreter) return send(SIGKILL);
    if (forcing_) return true;
    forcing_ = true;
    // Not shared: the alarm is the state's own, and would keep it for ever.
    state_->kill_later.set(guest_gone_within, [s = state_.get()] { s->send(SIGKILL); });
    return send(SIGQUIT);
  }
  void abandon() override { send(SIGKILL); }
  std::string describe() const override {
    return state_->pid < 0 ? "forked process, starting" : fmt::format("pid {}", state_->pid);
  }

 private:
  bool send(int signal) {
    state_->send(signal);
    return true;
  }
  const std::shared_ptr<forked_state> state_;
  const forked_into where_;
  bool forcing_ = false;
};

class forkserver_backend final : public backend {
 public:
  forkserver_backend(std::string_view key, forked_into where, std::shared_ptr<core::loop> control,
                     std::shared_ptr<zygote_client> zygote)
      : key_(key), where_(where), control_(std::move(control)), zygote_(std::move(zygote)) {}

  std::string_view key() const override { return key_; }
  capabilities can() const override {
    return {.native = false, .python = true, .in_process = false, .can_be_killed = true};
  }

  std::optional<std::string> refusal(const child_spec& spec) override {
    if (spec.native)
      return fmt::format(
          "{}: runs Python modules only; use 'thread' or 'process' for actors in C++", key_);
    if (!spec.program.empty())
      return fmt::format("{}: a fork is a copy of what runs, never another program; use 'process'",
                         key_);
    try {
      zygote_->require();
      return std::nullopt;
    } catch (const std::exception& e) {
      return fmt::format("{}: {}", key_, e.what());
    }
  }

  std::unique_ptr<child> start(const child_spec& spec,
                               std::shared_ptr<child_observer> observer) override {
    COPPICE_ASSERT(spec.parent_address, "a forked child needs an address to connect back to");
    fork_order order;
    order.uid = ipc::tuple_text(spec.self.name, spec.self.uuid);
    order.parent_address = spec.parent_address->text();
    order.cwd = spec.cwd;
    if (order.cwd.empty()) order.cwd = here();
    if (spec.environment)
      order.environment = *spec.environment;
    else
      for (char** e = environ; *e; ++e) order.environment.emplace_back(*e);
    order.in_guest = where_ == forked_into::sub_interpreter;
    order.shared_gil = spec.gil == gil_mode::shared;
    auto state = std::make_shared<forked_state>(*control_, *zygote_, std::move(observer));
    try {
      zygote_->order(std::move(order), state);
    } catch (const std::system_error& e) {
      throw actor_start_error(
          fmt::format("actor '{}': no way to the zygote: {}", spec.self.name, e.what()));
    }
    return std::make_unique<forked_actor>(std::move(state), where_);
  }

  void shut_down() override { zygote_->shut_down(); }

 private:
  // Ours now: the zygote has that of its own start. Empty: it was removed, and the zygote's serves.
  static std::string here() {
    char path[4096];
    return ::getcwd(path, sizeof path) ? path : "";
  }

  const std::string key_;
  const forked_into where_;
  const std::shared_ptr<core::loop> control_;
  const std::shared_ptr<zygote_client> zygote_;
};

}  // namespace

std::unique_ptr<backend> make_forkserver_backend(std::string_view key, forked_into where,
                                                 std::shared_ptr<core::loop> control,
                                                 std::shared_ptr<zygote_client> zygote) {
  return std::make_unique<forkserver_backend>(key, where, std::move(control), std::move(zygote));
}

}  // namespace coppice::spawn
