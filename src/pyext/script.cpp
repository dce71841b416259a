// SPDX-License-Identifier: Apache-2.0
#include "pyext/script.hpp"

#include <fmt/format.h>
#include <signal.h>

#include <condition_variable>
#include <cstdio>
#include <filesystem>
#include <mutex>
#include <optional>
#include <utility>

#include "actor/backends.hpp"
#include "actor/python_side.hpp"
#include "base/uuid.hpp"
#include "coppice/errors.hpp"
#include "coppice/runtime.hpp"
#include "pyext/guest_actor.hpp"
#include "pyext/leaving.hpp"
#include "pyext/main_script.hpp"
#include "pyhost/guest_side.hpp"
#include "pyhost/guest_thread.hpp"

namespace coppice::py {

namespace {

/// Prints what a script raised as python does; its exit status.
int status_of(ref error) {
  if (PyErr_GivenExceptionMatches(error.get(), PyExc_SystemExit)) {
    const ref code = ref::take(PyObject_GetAttrString(error.get(), "code"));
    if (!code || code.get() == Py_None) return PyErr_Clear(), 0;
    if (PyLong_Check(code.get())) return static_cast<int>(PyLong_AsLong(code.get()) & 0xff);
    std::fprintf(stderr, "%s\n", text_of(code.get(), 1 << 20).c_str());
    return 1;
  }
  if (PyErr_GivenExceptionMatches(error.get(), PyExc_KeyboardInterrupt)) return 128 + SIGINT;
  if (PyErr_GivenExceptionMatches(error.get(), interrupted_type())) return 1;
  const ref hook = ref::of(PySys_GetObject("excepthook"));
  const ref trace = ref::take(PyException_GetTraceback(error.get()));
  const ref shown =
      ref::take(hook ? PyObject_CallFunction(hook.get(), "OOO", Py_TYPE(error.get()), error.get(),
                                             trace ? trace.get() : Py_None)
                     : nullptr);
  if (!shown) {
    PyErr_Clear();
    PyErr_DisplayException(error.get());
  }
  return 1;
}

/// What the waiting thread, the guest's and the control loop's tell each other.
struct progress {
  // tidy: allow lock: the waiting thread has no loop
  std::mutex mutex;
  // tidy: allow lock: the waiting thread has no loop
  std::condition_variable changed;
  bool ended = false;
  bool stop_wanted = false;
  bool only_force = false;    // It waits where no exception reaches.
  bool only_abandon = false;  // It is in native code.
  int status = 1;
  std::string failure;  // No guest came up.

  template <class F>
  void change(F&& f) {
    {
      std::lock_guard lock(mutex);
      f();
    }
    changed.notify_all();
  }
  template <class F>
  bool wait(duration bound, F&& until) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, bound, until);
  }
};

class script_body final : public guest_body, public call_fence {
 public:
  script_body(std::shared_ptr<port::guest_port> port, std::vector<std::string> argv,
              std::string package, std::shared_ptr<progress> shared)
      : port_(std::move(port)),
        path_(argv.front()),
        rest_(argv.begin() + 1, argv.end()),
        package_(std::move(package)),
        shared_(std::move(shared)) {}

  void run(guest_side& side) noexcept override {
    side_ = &side;
    guest_actor_options options;
    options.root_script = true;
    options.package_path = package_;
    actor_.emplace(port_, *this, std::move(options));
    ref result;
    if (actor_->install()) {
      port_->set_ready();
      result = run_main_script(path_, rest_);
    }
    const int status = result ? 0 : status_of(take_error());
    shared_->change([&] { shared_->status = status; });
    actor_->release();
    flush_output();
  }

  void wake() noexcept override { port_->nudge(); }

 private:
  void begin_call(std::uint64_t id) noexcept override { side_->begin_call(id); }
  void end_call(std::uint64_t id) noexcept override { side_->end_call(id); }
  bool stopping() const noexcept override { return side_->stopping(); }

  const std::shared_ptr<port::guest_port> port_;  // Shared with the script's children.
  const std::string path_;
  const std::vector<std::string> rest_;
  const std::string package_;
  const std::shared_ptr<progress> shared_;
  guest_side* side_ = nullptr;
  std::optional<guest_actor> actor_;
};

class script_observer final : public guest_observer {
 public:
  explicit script_observer(std::shared_ptr<progress> shared) : shared_(std::move(shared)) {}

  void on_stuck(stuck_in where, duration) noexcept override {
    if (where == stuck_in::start || where == stuck_in::force_off) return;
    if (where == stuck_in::deaf) return shared_->change([&] { shared_->only_force = true; });
    shared_->change([&] { shared_->only_abandon = true; });
  }
  void on_start_failed(std::string_view text) noexcept override {
    shared_->change([&] {
      shared_->failure = text;
      shared_->ended = true;
    });
  }
  void on_ended(rung, duration) noexcept override {
    shared_->change([&] { shared_->ended = true; });
  }
  void on_reclaimed(duration) noexcept override {}

 private:
  const std::shared_ptr<progress> shared_;
};

// A script that unwinds stops its own tree meanwhile, whose ladders take up to their total.
constexpr duration unwind_max = stop_policy{}.total;

/// Waits for the script's end, and climbs the ladder when that is wanted. False: it was abandoned.
bool wait_for_script(guest_thread& guest, port::guest_port& port, progress& p) {
  const auto for_ever = std::chrono::hours(24);
  const auto ended = [&p] { return p.ended; };
  while (!p.wait(for_ever, [&p] { return p.ended || p.stop_wanted; })) {
  }
  stop_policy policy;
  // It has heard and unwinds: its children's ladders come first, and take what they take.
  policy.ask = std::chrono::seconds(2);
  const auto gone = [&](duration bound) {
    p.wait(bound, [&p] { return p.ended || p.only_abandon || std::exchange(p.only_force, false); });
    return p.wait(duration::zero(), ended);
  };
  if (gone(policy.unseen)) return true;
  if (port.cancel_seen() && gone(unwind_max)) return true;
  guest.interrupt();
  if (gone(policy.interrupt)) return true;
  guest.force();
  if (gone(policy.force)) return true;
  return !guest.abandon() || p.wait(std::chrono::seconds(1), ended);
}

}  // namespace

int run_script_as_root(embedding& python, const std::string& executable,
                       const std::vector<std::string>& argv, const spawn::selection& selected) {
  const std::string& path = argv.at(0);
  if (!std::filesystem::is_regular_file(path)) {
    std::fprintf(stderr, "error: cannot run %s: there is no such file\n", path.c_str());
    return 2;
  }
  if (!spawn::find_method(selected.key)->python)
    throw backend_unavailable(selected.describe() +
                              " runs actors in C++, and those of a script are in Python: use "
                              "'process' or 'subint'");
  auto host = std::make_shared<python_host>(&python, "", executable, tree::python_package_path());
  if (!host->guests()) throw backend_unavailable(host->refusal());
  tree::process_options options;
  options.signals = tree::signal_mode::all;
  options.selected = selected;
  options.make_backends = [host](tree::process_runtime& rt) {
    tree::backend_choices choices;
    choices.make_subint = [host](tree::process_runtime& of) { return host->make_subint(of); };
    return tree::standard_backends(rt, std::move(choices));
  };
  tree::process_runtime rt(std::move(options));
  auto port = std::make_shared<port::guest_port>(
      tree::aid_of_guest({"root", base::new_uuid()}, true), rt.options().calls);
  rt.open_as_registrar(port, {}, [](const std::exception_ptr&) {});
  auto shared = std::make_shared<progress>();
  rt.on_interrupt([port, shared](std::string why) {
    port->cancel(std::move(why));
    shared->change([&] { shared->stop_wanted = true; });
  });
  guest_options wanted;
  wanted.name = "root";
  auto guest =
      guest_thread::start(*host->guests(), std::move(wanted),
                          std::make_unique<script_body>(port, argv, host->package(), shared),
                          std::make_shared<script_observer>(shared));
  port->on_running_call_cancelled([&guest](port::call_id id) { guest->interrupt(id); });

  const bool ended = wait_for_script(*guest, *port, *shared);
  port->on_running_call_cancelled({});
  port->close("the root has ended");
  const bool clean = rt.stop() && ended;
  if (!shared->failure.empty())
    std::fprintf(stderr, "error: no interpreter for %s: %s\n", path.c_str(),
                 shared->failure.c_str());
  int status = shared->status;
  if (const int signal = tree::signal_watch::first()) status = 128 + signal;
  if (!clean) leave(status);
  return status;
}

}  // namespace coppice::py
