// SPDX-License-Identifier: Apache-2.0
#include "pyext/process_child.hpp"

#include <fmt/format.h>
#include <signal.h>

#include <atomic>
#include <cstdio>
#include <future>
#include <utility>

#include "actor/backends.hpp"
#include "coppice/errors.hpp"
#include "coppice/runtime.hpp"
#include "core/fd_watch.hpp"
#include "ipc/connect.hpp"
#include "pyext/convert.hpp"
#include "pyext/guest_actor.hpp"
#include "pyext/leaving.hpp"
#include "pyext/main_fence.hpp"
#include "pyext/program.hpp"

namespace coppice::py {

namespace {

using shared_text = std::shared_ptr<std::string>;  // Why it could not join; "" if it could.

/// On the control loop, which then owns the socket. `failure` is written before the port is told to
/// end.
void join_parent(tree::process_runtime& rt, const ipc::address& parent,
                 const std::shared_ptr<port::guest_port>& port, const shared_text& failure) {
  rt.control()->post([&rt, port, parent, failure] {
    ipc::connect(rt.control(), parent, port->self(), port, rt.options().limits,
                 rt.options().transports, [port, failure](std::exception_ptr e, ipc::link_ptr l) {
                   // The address carries the parent's pid, not its uuid: who answers is it.
                   if (l) return port->set_parent(l->peer().uuid);
                   *failure = describe_exception(e);
                   port->cancel(*failure);
                 });
  });
}

// --- the actor in the main interpreter -----------------------------------------------------------

/// True: it ended well.
bool serve_here(tree::process_runtime& rt, const std::shared_ptr<port::guest_port>& port,
                const ipc::address& parent, const shared_text& failure) {
  port->set_alone();
  auto fence = std::make_shared<main_fence>(port);
  if (!fence->install()) throw python_error();
  port->on_running_call_cancelled(
      [fence, control = rt.control()](port::call_id id) { fence->strike(control, id); });
  guest_actor actor(port, *fence, {});
  if (!actor.install()) throw python_error();
  join_parent(rt, parent, port, failure);
  actor.serve();
  actor.release();
  fence->give_back_sigterm();
  rt.control()->post([fence] { fence->forget_loop(); });
  return actor.failure().empty();
}

// --- the actor in a guest ------------------------------------------------------------------------

// What the handlers ring. Constant while they are installed, which is until the process ends.
std::atomic<const base::event_fd*> rung_by_sigterm{nullptr};
std::atomic<const base::event_fd*> rung_by_sigquit{nullptr};

void on_sigterm(int) {
  if (const auto* bell = rung_by_sigterm.load()) bell->ring();
}
void on_sigquit(int) {
  if (const auto* bell = rung_by_sigquit.load()) bell->ring();
}
void on_sigint(int) {}

void handle(int number, void (*handler)(int)) {
  struct sigaction action{};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  ::sigaction(number, &action, nullptr);
}

/// The guest's ladder, climbed by the parent's signals. Control loop only, but for the future.
class lone_guest final : public spawn::child_observer,
                         public std::enable_shared_from_this<lone_guest> {
 public:
  explicit lone_guest(tree::process_runtime& rt) : rt_(rt) {}

  std::future<exit_report> end() { return end_.get_future(); }

  void start(spawn::backend& backend, const spawn::child_spec& spec) {
    const auto me = shared_from_this();
    try {
      child_ = backend.start(spec, me);
    } catch (const std::exception& e) {
      exit_report report;
      report.how = exit_report::cause::failed;
      report.detail = e.what();
      return end_.set_value(std::move(report));
    }
    watches_[0] = std::make_unique<core::fd_watch>(*rt_.control(), sigterm_.fd(), [me] {
      me->sigterm_.clear();
      if (me->child_) me->child_->interrupt();
    });
    watches_[1] = std::make_unique<core::fd_watch>(*rt_.control(), sigquit_.fd(), [me] {
      me->sigquit_.clear();
      if (me->child_) me->child_->force();
    });
    rung_by_sigterm = &sigterm_;
    rung_by_sigquit = &sigquit_;
    handle(SIGTERM, &on_sigterm);
    handle(SIGQUIT, &on_sigquit);
    handle(SIGINT, &on_sigint);
  }

  // On the reaper's thread.
  void ended(exit_report report) override {
    rt_.control()->post([me = shared_from_this(), report = std::move(report)]() mutable {
      rung_by_sigterm = nullptr;
      rung_by_sigquit = nullptr;
      for (auto& watch : me->watches_) watch.reset();
      me->child_.reset();
      me->end_.set_value(std::move(report));
    });
  }
  void cannot_unwind() override {}   // The parent's bounds decide: it counts the rungs.
  void in_native_code() override {}  // Nor can anything but its SIGKILL end that.

 private:
  tree::process_runtime& rt_;
  const base::event_fd sigterm_;
  const base::event_fd sigquit_;
  std::unique_ptr<core::fd_watch> watches_[2];
  std::unique_ptr<spawn::child> child_;
  std::promise<exit_report> end_;
};

/// Under tracemalloc, which the environment may have switched on, no guest can start.
void stop_tracing() {
  if (!is_traced()) return;
  const ref module = ref::take(PyImport_ImportModule("_tracemalloc"));
  const ref done = ref::take(module ? PyObject_CallMethod(module.get(), "stop", nullptr) : nullptr);
  if (!done) PyErr_Clear();
}

bool serve_in_guest(const program& p, const uid& self, const process_child& start,
                    const ipc::address& parent, const shared_text& failure) {
  tree::process_runtime& rt = *p.runtime;
  const auto inside = p.host->make_subint(
      rt, [&rt, parent, failure](const std::shared_ptr<port::guest_port>& port) {
        join_parent(rt, parent, port, failure);
      });
  spawn::child_spec spec;
  spec.self = tree::aid_of_guest(self);
  spec.gil = start.gil;
  if (const auto why = inside->refusal(spec)) throw backend_unavailable(*why);
  stop_tracing();
  const auto guest = std::make_shared<lone_guest>(rt);
  auto end = guest->end();
  exit_report report;
  const auto trouble = without_gil([&] {
    rt.control()->post([&] { guest->start(*inside, spec); });
    report = end.get();
    inside->shut_down();
  });
  if (trouble) std::rethrow_exception(trouble);
  if (report.how == exit_report::cause::failed && failure->empty()) {
    std::fprintf(stderr, "actor '%s': %s\n", self.name.c_str(), report.detail.c_str());
    return false;
  }
  return true;
}

}  // namespace

int child_main(const process_child& start) {
  auto [name, uuid] = ipc::parse_tuple(start.uid);
  const uid self{name, uuid};
  const ipc::address parent = ipc::address::parse(start.parent_addr);
  tree::process_options chosen;
  chosen.transport = parent.kind();  // Its own children reach it as it reaches its parent.
  program p = open_program(std::move(chosen), start.zygote);
  const auto failure = std::make_shared<std::string>();
  std::shared_ptr<port::guest_port> port;  // A guest's is its backend's business.
  bool well = false;
  if (start.in_guest) {
    well = serve_in_guest(p, self, start, parent, failure);
  } else {
    port = std::make_shared<port::guest_port>(tree::aid_of_guest(self), p.runtime->options().calls);
    well = serve_here(*p.runtime, port, parent, failure);
  }
  const bool clean = stop_without_gil(*p.runtime);
  if (port) port->close("the actor has ended");
  if (!failure->empty())
    std::fprintf(stderr, "actor '%s': cannot join its parent: %s\n", name.c_str(),
                 failure->c_str());
  const int status = well && failure->empty() ? 0 : 1;
  if (!clean) {
    flush_output();
    leave(status);
  }
  return status;
}

}  // namespace coppice::py
