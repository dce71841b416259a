// SPDX-License-Identifier: Apache-2.0
#include "actor/process_runtime.hpp"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <future>
#include <utility>

#include "base/assert.hpp"
#include "coppice/errors.hpp"
#include "coppice/time.hpp"

namespace coppice::tree {

namespace {
// The one pointer by which everything in the process finds the runtime (ARCHITECTURE.md,
// "Globals").
std::atomic<process_runtime*> the_runtime{nullptr};
}  // namespace

process_runtime* process_runtime::current() noexcept { return the_runtime.load(); }

std::string canonical_key(const std::string& key) {
  if (key == "trio" || key == "mp_spawn") return "process";
  if (key == "mp_forkserver" || key == "main_thread_forkserver") return "forkserver";
  return key;
}

process_runtime::process_runtime(process_options options)
    : options_(std::move(options)),
      control_(std::make_shared<core::loop>(core::loop_options{.name = "coppice-ctl"})),
      supervisor_(std::make_unique<supervisor>(control_)) {
  process_runtime* none = nullptr;
  if (!the_runtime.compare_exchange_strong(none, this))
    throw error("a runtime is open in this process already: one at a time, so end that one first");
  try {
    if (options_.make_backends) backends_ = options_.make_backends(*this);
    std::promise<void> up;
    control_->post([&up] { up.set_value(); });
    control_thread_ = base::os_thread("coppice-ctl", [this] { control_main(); });
    up.get_future().wait();
  } catch (...) {
    the_runtime = nullptr;
    throw;
  }
}

process_runtime::~process_runtime() { stop(); }

void process_runtime::control_main() {
  control_->run([](process_runtime* me) -> task<> {
    me->signals_ = std::make_unique<signal_watch>(
        *me->control_, me->options_.signals, [me](int number, int nth) {
          if (number == SIGUSR1) {
            base::tree_writer w;
            me->supervisor_->describe(w);
            std::fputs(w.text().c_str(), stderr);
            return;
          }
          if (nth >= 2) return me->supervisor_->hurry();
          if (me->cancel_root_) me->cancel_root_(number == SIGINT ? "SIGINT" : "SIGTERM");
        });
    co_await me->supervisor_->run();
    me->signals_.reset();
    for (auto& [uuid, l] : std::exchange(me->listeners_, {}))
      if (l.on == me->control_ && l.listener) l.listener->close();
  }(this));
}

spawn::backend& process_runtime::backend_for(const std::string& key,
                                             const spawn::child_spec& spec) {
  const std::string wanted = canonical_key(key);
  std::string known;
  for (auto& b : backends_) {
    if (b->key() == wanted) {
      if (auto why = b->refusal(spec)) throw backend_unavailable(*why);
      return *b;
    }
    known += (known.empty() ? "" : ", ") + std::string(b->key());
  }
  throw backend_unavailable(
      fmt::format("unknown spawn backend '{}': this program has {}", key, known));
}

void process_runtime::listen(port::actor_port_ptr parent, std::function<void(ipc::address)> then,
                             std::function<void(std::exception_ptr)> failed) {
  auto& entry = listeners_[parent->self().uuid];
  if (entry.listener) return then(entry.listener->at());
  auto own = parent->own_loop();
  entry.on = own ? own : control_;
  auto open = [this, parent, on = entry.on, then, failed] {
    try {
      const auto& self = parent->self();
      auto at = ipc::socket_address(self.name, self.uuid, parent->alone_in_process());
      auto listener = ipc::uds_listener::open(on, std::move(at), self, parent, options_.limits);
      control_->post([this, uuid = self.uuid, listener, then] {
        auto& slot = listeners_[uuid];
        // Two starts at once may both have opened one, at the same path: the later one serves.
        slot.listener = listener;
        then(listener->at());
      });
    } catch (...) {
      control_->post([failed, e = std::current_exception()] { failed(e); });
    }
  };
  if (entry.on == control_)
    open();
  else
    entry.on->post(std::move(open));
}

void process_runtime::start_child(port::actor_port_ptr parent, spawn::backend& backend,
                                  spawn::child_spec spec, stop_policy stop, duration start_within) {
  spec.parent = parent->self();
  spec.parent_sink = parent;
  auto request = std::make_shared<start_request>(
      start_request{parent, &backend, std::move(spec), stop, start_within});
  if (backend.can().in_process) return supervisor_->start(std::move(*request));
  control_->post([this, parent, request] {
    listen(
        parent,
        [this, request](ipc::address at) {
          request->spec.parent_address = std::move(at);
          supervisor_->start(std::move(*request));
        },
        [parent, request](std::exception_ptr e) {
          port::child_changed change;
          change.what = port::child_changed::kind::start_failed;
          change.uuid = request->spec.self.uuid;
          change.error = e;
          parent->child_changed(std::move(change));
        });
  });
}

void process_runtime::connect_to_parent(port::actor_port_ptr port, ipc::address parent,
                                        std::function<void(std::exception_ptr)> done) {
  control_->post([this, port, parent, done] {
    ipc::connect_uds(control_, parent, port->self(), port, options_.limits,
                     [done](std::exception_ptr e, ipc::link_ptr) { done(e); });
  });
}

void process_runtime::actor_ended(const port::actor_port& port) {
  auto own = port.own_loop();
  std::promise<std::shared_ptr<ipc::uds_listener>> taken;
  const auto take = [this, &taken, uuid = port.self().uuid] {
    auto node = listeners_.extract(uuid);
    taken.set_value(node.empty() ? nullptr : node.mapped().listener);
  };
  if (control_->on_loop_thread()) {
    take();
  } else {
    control_->post(take);
  }
  auto listener = taken.get_future().get();
  if (!listener) return;
  if (own)
    listener->close();
  else
    control_->post([listener] { listener->close(); });
}

void process_runtime::on_interrupt(std::function<void(std::string)> cancel_root) {
  control_->post([this, f = std::move(cancel_root)]() mutable { cancel_root_ = std::move(f); });
}

bool process_runtime::stop(duration bound) {
  if (std::exchange(stopped_, true)) return !left_behind_;
  COPPICE_ASSERT(!control_->on_loop_thread(), "the control loop cannot stop the runtime it runs");
  std::promise<void> closing;
  control_->post([this, &closing] {
    cancel_root_ = nullptr;
    supervisor_->close();
    closing.set_value();
  });
  closing.get_future().wait();
  // Each ladder has its own bound, so this ends; the bound is for what nobody thought of.
  const bool ended =
      control_thread_.join_for(std::chrono::duration_cast<std::chrono::milliseconds>(bound));
  left_count_ = ended ? supervisor_->quarantined().size() : 1;
  left_behind_ = left_count_ != 0;
  if (!ended) control_thread_.abandon();
  for (auto& b : backends_) b->shut_down();
  if (left_behind_) {
    // Native code of this process may still come back and report here: it must find us.
    for (auto& b : backends_) (void)b.release();
    (void)supervisor_.release();
  }
  the_runtime = nullptr;
  return !left_behind_;
}

std::vector<quarantine_entry> process_runtime::quarantined() {
  std::promise<std::vector<quarantine_entry>> answer;
  control_->post([&] { answer.set_value(supervisor_->quarantined()); });
  return answer.get_future().get();
}

std::size_t process_runtime::quarantined_count() {
  return stopped_ ? left_count_ : quarantined().size();
}

std::string process_runtime::describe() {
  std::promise<std::string> answer;
  control_->post([&] {
    base::tree_writer w;
    supervisor_->describe(w);
    answer.set_value(w.text());
  });
  return answer.get_future().get();
}

}  // namespace coppice::tree
