// SPDX-License-Identifier: Apache-2.0
#include "pyhost/guest_host.hpp"

#include <unistd.h>

#include <atomic>
#include <ctime>
#include <future>

#include "base/thread.hpp"
#include "coppice/errors.hpp"
#include "pyhost/embed.hpp"
#include "pyhost/guest_core.hpp"
#include "pyhost/host_core.hpp"

namespace coppice::py {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// --- quarantine --------------------------------------------------------------

void host_core::enter_quarantine(const guest_core& guest, std::string name, std::string where) {
  std::lock_guard lock(mutex_);
  quarantine_.push_back({&guest, std::move(name), std::move(where), steady_clock::now()});
}

void host_core::leave_quarantine(const guest_core& guest) {
  std::lock_guard lock(mutex_);
  std::erase_if(quarantine_, [&](const patient& p) { return p.guest == &guest; });
  reclaimed.fetch_add(1);
}

std::vector<quarantine_entry> host_core::quarantined() const {
  std::lock_guard lock(mutex_);
  std::vector<quarantine_entry> all;
  const auto now = steady_clock::now();
  for (const patient& p : quarantine_) all.push_back({p.name, now - p.since, p.where});
  return all;
}

std::uint64_t host_core::quarantined_count() const noexcept {
  std::lock_guard lock(mutex_);
  return quarantine_.size();
}

// --- the self-test -----------------------------------------------------------

namespace {

constexpr milliseconds test_bound{2000};  // For each half: a hundred times what it takes.

class test_observer : public guest_observer {
 public:
  std::promise<std::string> running, ended;  // Empty text: good.
  std::atomic<pid_t> falls_asleep{0};        // The guest's thread, once it is about to.

  void on_running() noexcept override { running.set_value(""); }
  void on_start_failed(std::string_view text) noexcept override {
    running.set_value(std::string(text));
    ended.set_value("");
  }
  void on_stuck(stuck_in where, duration) noexcept override { where_ = to_string(where); }
  void on_ended(rung how, duration) noexcept override {
    ended.set_value(how == rung::forced ? "" : "the guest returned instead");
  }
  void on_reclaimed(duration) noexcept override {}

  std::string where() const { return where_.empty() ? "no reason seen" : std::string(where_); }

 private:
  std::string_view where_;
};

// Sleeps through CPython's own blocking call, and would for ever.
class sleeping_body : public guest_body {
 public:
  explicit sleeping_body(std::shared_ptr<test_observer> told) : told_(std::move(told)) {}
  void run(guest_side&) noexcept override {
    PyObject* time = PyImport_ImportModule("time");
    told_->falls_asleep = ::gettid();
    PyObject* result = time ? PyObject_CallMethod(time, "sleep", "i", 1'000'000) : nullptr;
    Py_XDECREF(result);
    Py_XDECREF(time);
    PyErr_Clear();
  }

 private:
  const std::shared_ptr<test_observer> told_;  // Shared with who waits for the guest.
};

// Only a guest that is asleep needs the kick that is tested: one that still runs stops by itself
// where it next asks for its GIL. Where the kernel does not say who waits, this is a pause.
void wait_until_asleep(const test_observer& guest) {
  const auto until = steady_clock::now() + test_bound;
  while (steady_clock::now() < until && !base::is_blocked(guest.falls_asleep)) {
    const timespec ms{0, 1'000'000};
    ::nanosleep(&ms, nullptr);
  }
}

force_verdict run_self_test(const std::shared_ptr<host_core>& host) {
  const auto broken = [](const std::string& why) {
    return force_verdict{
        force_verdict::state::broken,
        "forced stops of Python actors do not work here (" + why +
            "): a stuck one can only be abandoned; use start_method='process' for code that "
            "may get stuck",
        {}};
  };
  auto observer = std::make_shared<test_observer>();
  auto running = observer->running.get_future();
  auto ended = observer->ended.get_future();
  guest_options options;
  options.name = "selftest";
  options.self_test = true;
  auto core = std::make_shared<guest_core>(host, options, std::make_unique<sleeping_body>(observer),
                                           observer);
  try {
    core->start_thread();
  } catch (const std::exception& e) {
    return broken(e.what());
  }
  const auto done = [&](force_verdict v) {
    core->request_abandon();  // A no-op if it has ended.
    core->handle_gone();
    return v;
  };
  if (running.wait_for(test_bound) != std::future_status::ready) {
    return done(broken("the test guest did not start within 2 s"));
  }
  if (const std::string text = running.get(); !text.empty()) return done(broken(text));
  wait_until_asleep(*observer);
  const auto start = steady_clock::now();
  core->request_force();
  if (ended.wait_for(test_bound) != std::future_status::ready) {
    return done(broken("the test guest was not gone 2 s later: " + observer->where()));
  }
  if (const std::string text = ended.get(); !text.empty()) return done(broken(text));
  return done({force_verdict::state::works, {}, steady_clock::now() - start});
}

}  // namespace

force_verdict host_core::verdict() const {
  std::lock_guard lock(mutex_);
  return verdict_;
}

force_verdict host_core::self_test() {
  // A CPython and a kernel that passed once need no second guest, whichever host asks.
  static constinit std::atomic<std::int64_t> passed_in_ns{0};
  std::lock_guard one(test_mutex_);
  if (force_verdict known = verdict(); known.is != force_verdict::state::untested) return known;
  force_verdict found;
  if (const auto ns = passed_in_ns.load(); ns != 0) {
    found = {force_verdict::state::works, {}, std::chrono::nanoseconds(ns)};
  } else {
    found = run_self_test(shared_from_this());
    if (found.is == force_verdict::state::works) passed_in_ns.store(found.took.count());
  }
  std::lock_guard lock(mutex_);
  verdict_ = found;
  return found;
}

// --- the handle --------------------------------------------------------------

guest_host::guest_host(embedding&) : core_(std::make_shared<host_core>()) {}

guest_host::~guest_host() {
  // Reapers that are being joined by the watch still hold the core, for microseconds; it must not
  // be the watch's own thread that lets go of it last.
  const auto until = steady_clock::now() + milliseconds(1000);
  while (core_.use_count() > 1 && core_->quarantined_count() == 0 && steady_clock::now() < until) {
    const timespec ms{0, 1'000'000};
    ::nanosleep(&ms, nullptr);
  }
  if (core_.use_count() == 1) return;
  core_->signals.keep();
  core_->timers.detach_for_good([forever = core_] { (void)forever; });
}

std::vector<quarantine_entry> guest_host::quarantined() const { return core_->quarantined(); }

host_counts guest_host::counts() const noexcept {
  return {core_->started, core_->live, core_->forced, core_->quarantined_count(), core_->reclaimed};
}

force_verdict guest_host::verdict() const { return core_->verdict(); }
force_verdict guest_host::self_test() { return core_->self_test(); }

}  // namespace coppice::py
