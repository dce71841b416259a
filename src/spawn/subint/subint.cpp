// SPDX-License-Identifier: Apache-2.0
#include "spawn/subint/subint.hpp"

#include <fmt/format.h>

#include <atomic>
#include <system_error>
#include <utility>

#include "coppice/errors.hpp"
#include "spawn/subint/warm_stock.hpp"

namespace coppice::spawn {

namespace {

/// What a guest_thread tells, as a supervisor understands it. Shared: it may be told long after the
/// child was abandoned.
class guest_news final : public py::guest_observer {
 public:
  guest_news(std::shared_ptr<child_observer> observer, std::shared_ptr<port::guest_port> port,
             std::shared_ptr<std::string> failure)
      : observer_(std::move(observer)), port_(std::move(port)), failure_(std::move(failure)) {}

  /// Kept until its interpreter is up, or will not be. Before the guest is started.
  void keep_while_starting(std::shared_ptr<void> what) { starting_ = std::move(what); }

  void on_running() noexcept override { starting_.reset(); }

  void on_stuck(py::stuck_in where, duration) noexcept override {
    stuck_ = where;
    is_stuck_ = true;
    switch (where) {
      case py::stuck_in::native_code:
      case py::stuck_in::native_wait:
      case py::stuck_in::finalizer:
        observer_->in_native_code();
        break;
      case py::stuck_in::deaf:
        observer_->cannot_unwind();
        break;
      case py::stuck_in::start:      // It may still come up; start_within bounds that.
      case py::stuck_in::force_off:  // The rung's bound passes, then it is abandoned.
        break;
    }
  }

  void on_start_failed(std::string_view text) noexcept override {
    exit_report report;
    report.how = exit_report::cause::failed;
    report.detail = text;
    end(std::move(report));
  }

  void on_ended(rung, duration) noexcept override {
    exit_report report;
    if (!failure_->empty()) {
      report.how = exit_report::cause::failed;
      report.detail = *failure_;
    }
    end(std::move(report));
  }

  void on_reclaimed(duration) noexcept override {
    exit_report report;
    report.rung = rung::reclaimed;
    end(std::move(report));
  }

  std::string where() const {
    return is_stuck_ ? fmt::format(", stuck in {}", py::to_string(stuck_)) : std::string();
  }

 private:
  void end(exit_report report) {
    starting_.reset();
    // First the port: whoever waits for an answer of this actor has it before its end is announced.
    port_->close("the actor has ended");
    std::exchange(observer_, nullptr)->ended(std::move(report));
  }

  std::shared_ptr<child_observer> observer_;  // Shared with the supervisor's record of the child.
  const std::shared_ptr<port::guest_port> port_;
  const std::shared_ptr<std::string> failure_;
  std::shared_ptr<void> starting_;  // Calls of an observer come one at a time.
  std::atomic<py::stuck_in> stuck_{py::stuck_in::start};
  std::atomic<bool> is_stuck_{false};
};

class subint_child final : public child {
 public:
  subint_child(std::string name, std::shared_ptr<py::guest_host> host,
               std::shared_ptr<port::guest_port> port, std::shared_ptr<guest_news> news,
               std::shared_ptr<py::guest_thread> guest)
      : name_(std::move(name)),
        host_(std::move(host)),
        port_(std::move(port)),
        news_(std::move(news)),
        guest_(std::move(guest)) {}

  bool interrupt() override {
    guest_->interrupt(py::any_call);
    return true;
  }

  bool force() override {
    if (host_->verdict().is == py::force_verdict::state::broken) return false;
    guest_->force();
    return true;
  }

  void abandon() override {
    if (guest_->abandon()) port_->close("the actor is stuck in native code and was given up");
  }

  bool cancel_seen() const override { return port_->cancel_seen(); }
  std::string describe() const override {
    return fmt::format("guest '{}'{}", name_, news_->where());
  }

 private:
  const std::string name_;
  const std::shared_ptr<py::guest_host> host_;
  const std::shared_ptr<port::guest_port> port_;
  const std::shared_ptr<guest_news> news_;
  // Shared with a call that is being cancelled on some other thread at this moment.
  const std::shared_ptr<py::guest_thread> guest_;
};

class subint_backend final : public backend {
 public:
  subint_backend(std::shared_ptr<py::guest_host> host, std::string refusal, guest_entry entry,
                 warm_entry warm)
      : host_(std::move(host)),
        refusal_(std::move(refusal)),
        entry_(std::move(entry)),
        warm_(std::move(warm)),
        stock_(host_) {}

  std::string_view key() const override { return "subint"; }
  capabilities can() const override {
    return {.native = false, .python = true, .in_process = true, .can_be_killed = false};
  }

  std::optional<std::string> refusal(const child_spec& spec) override {
    if (!host_) return refusal_;
    if (spec.native)
      return "subint: runs Python modules only; use 'thread' or 'process' for actors in C++";
    if (!spec.cwd.empty())
      return "subint: the working directory belongs to the whole process; use 'process' for an "
             "actor with its own";
    if (!spec.program.empty() || spec.environment)
      return "subint: an actor of this process has its program and its environment; use 'process' "
             "for one with its own";
    return std::nullopt;
  }

  leftovers left_behind() const override {
    if (!host_) return {};
    const py::host_counts counts = host_->counts();
    return {counts.forced, counts.quarantined};
  }

  std::optional<force_test> forced_stops(bool may_run) override {
    if (!host_) return std::nullopt;
    const py::force_verdict v = may_run ? host_->self_test() : host_->verdict();
    if (v.is == py::force_verdict::state::untested) return std::nullopt;
    return force_test{v.is == py::force_verdict::state::works, v.text, v.took};
  }

  std::unique_ptr<child> start(const child_spec& spec,
                               std::shared_ptr<child_observer> observer) override {
    guest_start made = entry_(spec);
    const auto port = made.port;
    auto news = std::make_shared<guest_news>(std::move(observer), port, std::move(made.failure));
    std::shared_ptr<py::guest_thread> guest;
    if (spec.gil == gil_mode::own) guest = stock_.try_take(spec.self.name, made.body, news);
    if (!guest) guest = start_cold(spec, std::move(made.body), news);
    // In time: nothing can call the guest before its supervisor, which called us, has heard of it.
    port->on_running_call_cancelled([weak = std::weak_ptr(guest)](port::call_id id) {
      if (auto g = weak.lock()) g->interrupt(id);
    });
    return std::make_unique<subint_child>(spec.self.name, host_, port, std::move(news),
                                          std::move(guest));
  }

  void stock_up(const stock_order& order) override {
    if (!host_) throw backend_unavailable("warm guests: " + refusal_);
    warm_start start = warm_(order);
    stock_.open({order.pool, std::move(start.modules), std::move(start.warm)});
  }
  void clear_stock() noexcept override { stock_.begin_close(); }
  void shut_down() override { stock_.close(); }
  void describe_stock(base::tree_writer& w) const override { stock_.describe(w); }
  std::vector<std::string> quarantined_stock() const override { return stock_.quarantined(); }

 private:
  std::shared_ptr<py::guest_thread> start_cold(const child_spec& spec,
                                               std::unique_ptr<py::guest_body> body,
                                               const std::shared_ptr<guest_news>& news) {
    news->keep_while_starting(stock_.cold_start());
    py::guest_options options;
    options.name = spec.self.name;
    options.gil = spec.gil == gil_mode::own ? py::gil_kind::own : py::gil_kind::shared;
    try {
      return py::guest_thread::start(*host_, std::move(options), std::move(body), news);
    } catch (const std::system_error& e) {
      throw actor_start_error(
          fmt::format("actor '{}': no thread for a guest: {}", spec.self.name, e.what()));
    }
  }

  const std::shared_ptr<py::guest_host> host_;  // Shared: children ask it what force() can do.
  const std::string refusal_;
  const guest_entry entry_;
  const warm_entry warm_;
  warm_stock stock_;
};

}  // namespace

std::unique_ptr<backend> make_subint_backend(std::shared_ptr<py::guest_host> host,
                                             std::string refusal, guest_entry entry,
                                             warm_entry warm) {
  return std::make_unique<subint_backend>(std::move(host), std::move(refusal), std::move(entry),
                                          std::move(warm));
}

}  // namespace coppice::spawn
