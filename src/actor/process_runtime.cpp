// SPDX-License-Identifier: Apache-2.0
#include "actor/process_runtime.hpp"

#include <fmt/format.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <string_view>
#include <utility>

#include "actor/backend_table.hpp"
#include "actor/one_copy.hpp"
#include "actor/runtime_vars.hpp"
#include "base/assert.hpp"
#include "base/fd.hpp"
#include "base/forked.hpp"
#include "coppice/errors.hpp"
#include "coppice/time.hpp"
#include "core/thread_call.hpp"
#include "ipc/connect.hpp"

namespace coppice::tree {

namespace {
// The one pointer by which everything in the process finds the runtime (ARCHITECTURE.md,
// "Globals").
std::atomic<process_runtime*> the_runtime{nullptr};
}  // namespace

void process_options::use(const transport_settings& settings) {
  if (!settings.enable.empty()) transport = ipc::parse_transport(settings.enable.front());
  limits.peer_silence_max = settings.peer_silence_max;
  const auto may = [](permission p) {
    return p == permission::allow ? ipc::permission::allow : ipc::permission::refuse;
  };
  transports.insecure_tcp = may(settings.insecure_tcp);
  transports.other_users = may(settings.other_users);
  const tls_files& files = settings.tls;
  if (!files.ca_file.empty())
    transports.tls = ipc::load_tls({.certificate_file = files.certificate_file,
                                    .key_file = files.key_file,
                                    .ca_file = files.ca_file});
  discovery.wants_certificates = transports.tls != nullptr;
}

process_runtime* process_runtime::current() noexcept { return the_runtime.load(); }

// --- the network, as discovery sees it -----------------------------------------------------------

class process_runtime::own_network final : public network {
 public:
  explicit own_network(process_runtime& of) : rt_(of) {}

  void listen(port::actor_port_ptr actor, std::function<void(msg::wire_address)> then,
              std::function<void(std::exception_ptr)> failed) override {
    // Processes on this host are reached without TLS (see listener_table), but whoever has it and
    // is told of tcp uses it.
    const auto by = rt_.options_.transports.tls ? ipc::transport::uds : rt_.options_.transport;
    rt_.listeners_.reach(actor, by,
                         [then = std::move(then), failed = std::move(failed)](
                             std::exception_ptr e, const std::vector<ipc::address>& at) {
                           e ? failed(std::move(e)) : then(at.front().wire());
                         });
  }

  void listen_at(
      port::actor_port_ptr actor, std::vector<msg::wire_address> at,
      std::function<void(std::exception_ptr, std::vector<msg::wire_address>)> done) override {
    rt_.listeners_.bind(
        actor, {at.begin(), at.end()},
        [done = std::move(done)](std::exception_ptr e, const std::vector<ipc::address>& got) {
          std::vector<msg::wire_address> where;
          for (const auto& one : got) where.push_back(one.wire());
          done(std::move(e), std::move(where));
        });
  }

  void connect(const msg::wire_address& to, const msg::aid& self,
               std::shared_ptr<ipc::link_sink> sink, duration within,
               std::function<void(std::exception_ptr, ipc::link_ptr)> done) override {
    ipc::limits limits = rt_.options_.limits;
    limits.connect_within = std::min(limits.connect_within, within);
    limits.handshake_within = std::min(limits.handshake_within, within);
    std::erase_if(attempts_, [](const auto& one) { return one.expired(); });
    attempts_.push_back(ipc::connect(rt_.control_, to, self, std::move(sink), limits,
                                     rt_.options_.transports, std::move(done)));
  }

  std::optional<std::string> uuid_at(const msg::wire_address& at) const override {
    return rt_.listeners_.uuid_at(at);
  }

  /// The loop's run is about to end.
  void close() {
    for (const auto& one : std::exchange(attempts_, {}))
      if (const auto attempt = one.lock()) attempt->cancel("the runtime ends");
  }

 private:
  process_runtime& rt_;
  std::vector<std::weak_ptr<ipc::attempt>> attempts_;
};

process_runtime::process_runtime(process_options options)
    : options_(std::move(options)),
      stalls_(std::make_shared<core::stall_watch>(options_.stalls)),
      threads_(std::make_shared<base::worker_pool>(core::work_thread_name)),
      control_(options_.control ? options_.control
                                : std::make_shared<core::loop>(loop_options("coppice-ctl"))),
      supervisor_(std::make_unique<supervisor>(control_)),
      network_(std::make_unique<own_network>(*this)),
      discovery_(std::make_unique<tree::discovery>(control_, *network_, options_.discovery)),
      listeners_(control_, options_.limits, options_.transports) {
  supervisor_->register_in(*discovery_);
  refuse_second_copy();
  base::watch_for_forks();
  process_runtime* none = nullptr;
  if (!the_runtime.compare_exchange_strong(none, this))
    throw error("a runtime is open in this process already: one at a time, so end that one first");
  try {
    if (options_.make_backends) backends_ = options_.make_backends(*this);
    if (options_.checks_selected) refuse_unserved(options_.selected, backends_);
    if (options_.control) return;
    std::promise<void> up;
    control_thread_ = base::os_thread("coppice-ctl", [this, &up] { control_main(up); });
    up.get_future().get();
  } catch (...) {
    if (control_thread_.joinable()) control_thread_.join();
    the_runtime = nullptr;
    throw;
  }
}

process_runtime::~process_runtime() { stop(); }

void process_runtime::control_main(std::promise<void>& up) {
  try {
    control_->run(control_on_thread(&up));
  } catch (...) {
    // Every supervising task has been cancelled with it: nobody is left to stop what runs.
    std::fprintf(stderr, "coppice: the control loop failed: %s\n",
                 describe_exception(std::current_exception()).c_str());
    COPPICE_ASSERT(false, "what is posted to the control loop does not throw");
  }
}

task<> process_runtime::control_on_thread(std::promise<void>* up) {
  try {
    signals_ = std::make_unique<signal_watch>(
        *control_, options_.signals, [this](int number, int nth) { on_signal(number, nth); });
  } catch (...) {  // No descriptor for it.
    up->set_exception(std::current_exception());
    co_return;
  }
  up->set_value();
  co_await run_control();
  signals_.reset();
}

void process_runtime::on_signal(int number, int nth) {
  if (number == SIGUSR1) {
    base::tree_writer w;
    describe_here(w);
    return base::write_without_waiting(STDERR_FILENO, w.text());
  }
  // The second of two that came at once may be the only one that is seen.
  if (cancel_root_) cancel_root_(number == SIGINT ? "SIGINT" : "SIGTERM");
  if (nth >= 2) supervisor_->hurry();
}

spawn::backend* process_runtime::backend_named(std::string_view key) const {
  for (const auto& b : backends_)
    if (b->key() == key) return b.get();
  return nullptr;
}

process_runtime::placement process_runtime::place(const std::string& key) {
  const spawn::method* row = spawn::find_method(key);
  placement at{std::string(row ? row->key : key)};
  const spawn::backend* chosen = backend_named(at.key);
  if (!chosen) return at;
  const auto left = chosen->left_behind();
  const guest_budget& budget = options_.guests;
  std::string why;
  if (left.forced >= budget.forced_max)
    why = fmt::format(
        "{} actors of this process were stopped by force, and each left memory behind "
        "(guest_budget.forced_max)",
        left.forced);
  else if (left.quarantined >= budget.quarantined_max)
    why = fmt::format(
        "{} actors of this process are stuck in native code (guest_budget.quarantined_max)",
        left.quarantined);
  if (why.empty()) return at;
  if (budget.then == guest_budget::policy::other_process)
    return {std::string(spawn::subint_forkserver.text()), std::move(why)};
  if (budget.then == guest_budget::policy::end)
    control_->post([this, why] {
      if (cancel_root_) cancel_root_(why);
    });
  throw backend_unavailable(fmt::format(
      "{}: {}; start actors by 'subint_forkserver' or 'process', or start the program anew", at.key,
      why));
}

spawn::backend& process_runtime::backend_for(const std::string& asked,
                                             const spawn::child_spec& spec) {
  const std::string key = place(asked).key;
  // One that is no row of the list may be a simulation's.
  const spawn::method* row = spawn::find_method(key);
  const std::string wanted(row ? row->key : key);
  std::string known;
  for (auto& b : backends_) {
    if (b->key() == wanted) {
      if (!spec.program.empty() && b->can().in_process)
        throw backend_unavailable(fmt::format("{}: {} is another program, which needs a process",
                                              wanted, spec.program.front()));
      if (auto why = b->refusal(spec)) throw backend_unavailable(*why);
      return *b;
    }
    known += (known.empty() ? "" : ", ") + std::string(b->key());
  }
  if (row) throw backend_unavailable(spawn::not_served(wanted, known));
  throw backend_unavailable(
      fmt::format("unknown spawn backend '{}': this program has {}", key, known));
}

namespace {
std::string modules_of(const spawn::child_spec& spec) {
  std::string all;
  for (const auto& [name, path] : spec.spec.enable_modules.list) all += name + '\n';
  return all;
}

/// See pyhost/guest_functions.cpp, which puts the ways out into the error of such an import.
bool says_so(const std::exception_ptr& why) {
  try {
    std::rethrow_exception(why);
  } catch (const remote_actor_error& e) {
    return e.info().source_type == "ImportError" &&
           e.message().find(spawn::needs_main_words) != std::string::npos;
  } catch (...) {
    return false;
  }
}
}  // namespace

bool process_runtime::needs_main_interpreter(const spawn::child_spec& spec,
                                             const std::exception_ptr& why) {
  if (spec.native || key_for(spec) != spawn::subint.text() || !says_so(why)) return false;
  const std::lock_guard lock(need_main_mutex_);
  return need_main_.insert(modules_of(spec)).second;
}

std::string_view process_runtime::key_for(const spawn::child_spec& spec) const {
  if (!spec.program.empty()) return spawn::process.text();
  const spawn::method* chosen = spawn::find_method(options_.selected.key);
  const bool is_open = !chosen || chosen->key == spawn::automatic.text();
  if (!is_open && (spec.native ? chosen->native : chosen->python)) return chosen->key;
  if (spec.native) return spawn::thread.text();
  const std::lock_guard lock(need_main_mutex_);
  return (need_main_.contains(modules_of(spec)) ? spawn::forkserver : spawn::subint).text();
}

task<> process_runtime::run_control() {
  co_await open_nursery("control", [this](nursery& n) -> task<> {
    discovery_->open(n);
    co_await supervisor_->run();
    co_await discovery_->close();
  });
  network_->close();
  listeners_.close();
}

void process_runtime::stock_up(const spawn::stock_order& order) {
  if (order.pool.size == 0) return;
  if (order.pool.size > warm_pool::size_max)
    throw backend_unavailable(fmt::format("a stock of {} warm guests is too large: at most {}",
                                          order.pool.size, warm_pool::size_max));
  for (auto& b : backends_) b->stock_up(order);
}

std::vector<msg::wire_address> process_runtime::elect_registrars(
    const std::vector<msg::wire_address>& at) {
  if (at.empty()) return {};
  COPPICE_ASSERT(core::loop::current() == nullptr, "an election blocks: not on a loop's thread");
  struct outcome {
    std::promise<std::vector<msg::wire_address>> told;
  };
  const auto how = std::make_shared<outcome>();  // Shared: it is still being told when we know.
  control_->post([this, how, at] {
    discovery_->hold_election(at, [how](std::exception_ptr e, std::vector<msg::wire_address> who) {
      e ? how->told.set_exception(e) : how->told.set_value(std::move(who));
    });
  });
  return how->told.get_future().get();
}

void process_runtime::open_as_registrar(port::actor_port_ptr root,
                                        std::vector<msg::wire_address> at, discovery::listed done) {
  control_->post([this, root = std::move(root), at = std::move(at), done = std::move(done)] {
    discovery_->open_registrar(root, at, done);
  });
}

void process_runtime::join_registrars(port::actor_port_ptr main, std::vector<msg::wire_address> at,
                                      discovery::listed done) {
  control_->post([this, main = std::move(main), at = std::move(at), done = std::move(done)] {
    discovery_->join(main, at, done);
  });
}

void process_runtime::start_child(port::actor_port_ptr parent, spawn::backend& backend,
                                  spawn::child_spec spec, stop_policy stop, duration start_within) {
  spec.parent = parent->self();
  spec.parent_sink = parent;
  start_request request{parent, &backend, std::move(spec), stop, start_within, {}};
  if (!backend.can().in_process)
    request.prepare = [this, parent](spawn::child_spec& of,
                                     std::function<void(std::exception_ptr)> done) {
      tell_addresses(parent, of, std::move(done));
    };
  supervisor_->start(std::move(request));
}

void process_runtime::tell_addresses(const port::actor_port_ptr& parent, spawn::child_spec& spec,
                                     std::function<void(std::exception_ptr)> done) {
  const auto by = spec.transport.value_or(options_.transport);
  listeners_.reach(parent, by,
                   [this, &spec, done](std::exception_ptr e, std::vector<ipc::address> at) {
                     if (e) return done(e);
                     spec.parent_address = std::move(at.front());
                     discovery_->addresses_for_children(
                         [this, &spec, done](discovery::tree_addresses known) {
                           tell_registrars(spec, std::move(known));
                           done(nullptr);
                         },
                         done);
                   });
}

void process_runtime::tell_registrars(spawn::child_spec& spec, discovery::tree_addresses known) {
  // An actor of tractor's has one transport for all that it does: the registrar's.
  if (!spec.program.empty() && known.registrar == spec.parent.uuid)
    spec.parent_address = known.registrars.front();
  if (known.root.empty()) known.root.push_back(spec.parent_address->wire());
  spec.spec.runtime_vars = runtime_vars_for_child(spec.spec.runtime_vars, known.root,
                                                  known.registrars, *spec.parent_address);
  spec.spec.reg_addrs = std::move(known.registrars);
}

void process_runtime::connect_to_parent(port::actor_port_ptr port, ipc::address parent,
                                        std::function<void(std::exception_ptr)> done) {
  control_->post([this, port, parent, done] {
    ipc::connect(control_, parent, port->self(), port, options_.limits, options_.transports,
                 [done](std::exception_ptr e, ipc::link_ptr) { done(e); });
  });
}

void process_runtime::tell_if_hard(const actor_exit& one) const noexcept {
  if (one.report.rung < rung::forced) return;
  if (options_.on_hard_stop) return options_.on_hard_stop(one);
  base::write_without_waiting(STDERR_FILENO, "coppice: " + one.to_text() + "\n");
}

void process_runtime::actor_ended(const port::actor_port& port) {
  control_->post([this, uuid = port.self().uuid] { listeners_.ended(uuid); });
}

void process_runtime::on_interrupt(std::function<void(std::string)> cancel_root) {
  control_->post([this, f = std::move(cancel_root)]() mutable { cancel_root_ = std::move(f); });
}

bool process_runtime::stop(duration bound) {
  if (stopped_.exchange(true)) {
    stop_ended_.wait();
    return !left_behind_;
  }
  COPPICE_ASSERT(
      core::loop::current() == nullptr,
      "a loop's thread cannot stop the runtime: what runs on it would have to end first");
  control_->post([this] {
    cancel_root_ = nullptr;
    supervisor_->close();
  });
  for (auto& b : backends_) b->clear_stock();
  // Each ladder has its own bound, so this ends; the bound is for what nobody thought of.
  const bool ended = !control_thread_.joinable() ||
                     control_thread_.join_for(std::chrono::ceil<std::chrono::milliseconds>(bound));
  while (asking_ != 0) ::sched_yield();  // At most the length of a post.
  if (ended) {
    // What was told too late for the loop's run: that an abandoned child came back, perhaps.
    try {
      control_->run([]() -> task<> { co_await checkpoint(); }());
    } catch (...) {  // Whoever posted it is gone.
    }
    left_ = supervisor_->quarantined();
  } else {
    control_thread_.abandon();
    left_.push_back({{"(the control loop)", ""}, "it did not end", control_->now()});
  }
  stalls_->stop();
  if (ended)
    for (auto& b : backends_) b->shut_down();
  for (auto& one : quarantined_stock()) left_.push_back(std::move(one));
  threads_->close();
  left_behind_ = !left_.empty() || !threads_->quarantined().empty();
  if (must_stay()) {
    // Native code of this process may still come back and report here: it must find us.
    for (auto& b : backends_) (void)b.release();
    (void)supervisor_.release();
    (void)discovery_.release();
    (void)network_.release();
  }
  the_runtime = nullptr;
  stop_ends_.set_value();
  return !left_behind_;
}

// Blocks for a turn of the control loop, or not at all on its own thread. Nothing: stop() was
// called, and has ended.
template <class T>
std::optional<T> process_runtime::ask_control(base::unique_function<T()> question) {
  if (control_->on_loop_thread()) return question();
  asking_.fetch_add(1);
  if (stopped_) {
    asking_.fetch_sub(1);
    stop_ended_.wait();
    return std::nullopt;
  }
  // Shared: it is still being set when we have been told.
  const auto answer = std::make_shared<std::promise<T>>();
  control_->post([answer, &question] { answer->set_value(question()); });
  asking_.fetch_sub(1);
  return answer->get_future().get();
}

std::vector<quarantine_entry> process_runtime::quarantined() {
  using entries = std::vector<quarantine_entry>;
  auto told = ask_control<entries>([this] {
    entries of_actors = supervisor_->quarantined();
    for (auto& one : quarantined_stock()) of_actors.push_back(std::move(one));
    return of_actors;
  });
  entries all = told ? std::move(*told) : left_;
  for (auto& work : threads_->quarantined())
    all.push_back({{}, std::move(work.what), time_point(work.since)});
  return all;
}

std::vector<quarantine_entry> process_runtime::quarantined_stock() const {
  std::vector<quarantine_entry> all;
  for (const auto& b : backends_)
    for (auto& where : b->quarantined_stock())
      all.push_back({{"(a warm guest)", ""}, std::move(where), control_->now()});
  return all;
}

void process_runtime::describe_here(base::tree_writer& w) const {
  supervisor_->describe(w);
  for (const auto& b : backends_) {
    const auto left = b->left_behind();
    if (left.forced + left.quarantined > 0)
      w.line(fmt::format("{}: {} of {} stopped by force, {} of {} in quarantine", b->key(),
                         left.forced, options_.guests.forced_max, left.quarantined,
                         options_.guests.quarantined_max));
  }
  for (const auto& b : backends_) b->describe_stock(w);
  for (const auto& work : threads_->quarantined()) w.line("quarantine: " + work.what);
}

std::string process_runtime::describe() {
  auto told = ask_control<std::string>([this] {
    base::tree_writer w;
    describe_here(w);
    return w.text();
  });
  return told.value_or("");
}

}  // namespace coppice::tree
