// SPDX-License-Identifier: Apache-2.0
#include "coppice/runtime.hpp"

#include <fmt/format.h>
#include <sched.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstring>
#include <future>
#include <mutex>
#include <utility>

#include "actor/backends.hpp"
#include "actor/native_actor.hpp"
#include "actor/process_runtime.hpp"
#include "base/assert.hpp"
#include "base/uuid.hpp"
#include "coppice/time.hpp"
#include "ipc/connect.hpp"

namespace coppice {

using tree::native_actor;
using tree::process_runtime;

namespace {

tree::signal_mode mode_of(signals s) {
  switch (s) {
    case signals::none:
      return tree::signal_mode::none;
    case signals::interrupt:
      return tree::signal_mode::interrupt;
    case signals::all:
      return tree::signal_mode::all;
  }
  return tree::signal_mode::none;
}

tree::process_options process_options_of(const main_options& options, bool reaches_run_main,
                                         std::string method_typed = {}) {
  tree::process_options out;
  out.selected = spawn::select({.argument = std::string(options.backend.text()),
                                .environment = spawn::method_in_environment(),
                                .command_line = std::move(method_typed)});
  out.signals = mode_of(options.handled);
  out.calls.payload_bytes_max = options.payload_bytes_max;
  out.stalls = options.stalls;
  out.on_hard_stop = options.on_hard_stop;
  out.use(options.transports);
  out.errors = options.errors;
  out.guests = options.guests;
  out.forkserver_preload.modules = options.forkserver_preload;
  out.make_backends = [endpoints = options.endpoints, reaches_run_main](process_runtime& rt) {
    return tree::standard_backends(rt,
                                   {.endpoints = endpoints, .reaches_run_main = reaches_run_main});
  };
  return out;
}

/// One line for people; the text of a remote traceback below it, since only that says where.
void print_error(const std::exception_ptr& e) {
  try {
    std::rethrow_exception(e);
  } catch (const remote_actor_error& remote) {
    std::fprintf(stderr, "error: %s\n", remote.what());
    if (!remote.traceback().empty()) std::fprintf(stderr, "%s", remote.traceback().c_str());
  } catch (const error& plain) {
    // The base type's name would say nothing that the text does not.
    const bool typed = typeid(plain) != typeid(error);
    std::fprintf(stderr, "error: %s\n", typed ? describe_exception(e).c_str() : plain.what());
  } catch (...) {
    std::fprintf(stderr, "error: %s\n", describe_exception(e).c_str());
  }
}

int status_after(int status) {
  if (const int signal = tree::signal_watch::first()) return 128 + signal;
  return status;
}

/// `--uid "('n','u')" --parent_addr "('d','f')"` after `--coppice-child`.
struct child_arguments {
  uid self;
  ipc::address parent;
};
std::optional<child_arguments> child_arguments_of(int argc, char** argv) {
  if (argc < 2 || std::strcmp(argv[1], "--coppice-child") != 0) return std::nullopt;
  child_arguments out;
  for (int i = 2; i + 1 < argc; i += 2) {
    const std::string_view name = argv[i];
    if (name == "--uid") {
      auto [n, u] = ipc::parse_tuple(argv[i + 1]);
      out.self = {std::move(n), std::move(u)};
    } else if (name == "--parent_addr") {
      out.parent = ipc::address::parse(argv[i + 1]);
    }
  }
  if (out.self.uuid.empty() || out.parent.empty())
    throw error("--coppice-child needs --uid and --parent_addr; it is not meant to be typed");
  return out;
}

std::vector<msg::wire_address> registry_of(const main_options& options) {
  std::vector<msg::wire_address> out;
  for (const auto& text : options.registry_addrs) out.push_back(tree::parse_address(text));
  return out;
}

int run_child(const child_arguments& arguments, const main_options& options) {
  auto chosen = process_options_of(options, true);
  chosen.checks_selected = false;
  chosen.transport =
      arguments.parent.kind();  // Its own children reach it as it reaches its parent.
  process_runtime rt(std::move(chosen));
  auto loop = std::make_shared<core::loop>(rt.loop_options(arguments.self.name));
  auto self =
      std::make_shared<native_actor>(rt, loop, tree::aid_of(arguments.self), options.endpoints);
  self->set_alone();
  rt.on_interrupt([self](std::string why) { self->cancel(std::move(why)); });
  std::string failure;
  // The parent's address carries its pid, not its uuid: whoever answers there is the parent.
  ipc::transport_options plain = rt.options().transports;
  plain.tls = nullptr;  // See listener_table::reach().
  std::function<void()> connect = [&] {
    ipc::connect(loop, arguments.parent, self->self(), self, rt.options().limits, plain,
                 [&](std::exception_ptr e, ipc::link_ptr l) {
                   if (l) return self->set_parent(l->peer().uuid);
                   failure = describe_exception(e);
                   self->cancel(failure);
                 });
  };
  loop->run(self->serve("", connect));
  const bool clean = rt.stop();
  if (!failure.empty()) {
    std::fprintf(stderr, "actor '%s': cannot join its parent: %s\n", arguments.self.name.c_str(),
                 failure.c_str());
    return 1;
  }
  const int status = self->lost_parent() ? 1 : 0;  // Nobody asked it to end.
  if (!clean) leave(status);
  return status;
}

}  // namespace

int detail::run_main_erased(int argc, char** argv, root_function root, main_options options) {
  int status = 0;  // Of a root that was cancelled before it gave its own.
  bool clean = true;
  try {
    if (auto child = child_arguments_of(argc, argv)) return run_child(*child, options);
    auto chosen = process_options_of(options, true, spawn::method_in_arguments(argc, argv));
    spawn::hand_on(chosen.selected);
    process_runtime rt(std::move(chosen));
    auto loop = std::make_shared<core::loop>(rt.loop_options(options.name));
    const auto registry = registry_of(options);
    const auto joined = rt.elect_registrars(registry);
    auto self = std::make_shared<native_actor>(
        rt, loop, tree::aid_of({options.name, base::new_uuid()}, joined.empty()),
        options.endpoints);
    rt.on_interrupt([self](std::string why) { self->cancel(std::move(why)); });
    rt.stock_up({options.warm, {}, {}});
    std::function<task<>(actor&)> body = [&](actor& me) -> task<> {
      co_await self->enter_registry(registry, joined);
      status = co_await root(me);
    };
    std::exception_ptr failure;
    try {
      loop->run(self->run_root(std::move(body)));
    } catch (...) {
      failure = std::current_exception();
    }
    clean = rt.stop();
    if (failure && !is_cancelled(failure)) {
      status = 1;
      if (tree::signal_watch::first() == 0) print_error(failure);
    }
  } catch (const std::exception&) {
    print_error(std::current_exception());
    status = 1;
  }
  status = status_after(status);
  if (!clean) leave(status);
  return status;
}

void leave(int status) noexcept {
  std::fflush(nullptr);
  ::_exit(status);
}

// --- runtime -------------------------------------------------------------------------------------

namespace {

// What cancelled calls are given to end, native_actor::call(), and some time to say so.
constexpr duration answer_within = std::chrono::seconds(1);
// For the actors, once the root's own thread turned out to be stuck.
constexpr duration stop_without_root_within = std::chrono::seconds(2);
constexpr duration look_for_root_every = std::chrono::milliseconds(100);

void refuse_on_loop() {
  COPPICE_ASSERT(
      core::loop::current() == nullptr,
      "a blocking call on a loop's thread would wait for itself: co_await there instead");
}

/// The way to the root's loop for other threads, as long as the root lives.
///
/// Promises: what was posted is run, by the root or, once it has ended, by close().
///
/// Owner: shared by the runtime and its calls, which may outlive it. Thread: any, but for close().
class root_door {
 public:
  explicit root_door(core::loop_ref loop) : loop_(std::move(loop)) {}

  bool post(base::unique_function<void()> fn) {
    posting_.fetch_add(1);
    const bool posted = !closed_ && !lost_ && loop_.post(std::move(fn));
    posting_.fetch_sub(1);
    return posted;
  }

  /// On the root's thread, when its run has ended.
  void close(core::loop& loop, std::string why) {
    why_ = std::move(why);
    closed_ = true;
    while (posting_ != 0) ::sched_yield();  // At most the length of a post.
    auto nothing = []() -> task<> { co_return; };
    loop.run(nothing());
  }
  /// The root's thread is stuck and is not waited for.
  void lose() noexcept { lost_ = true; }
  bool lost() const noexcept { return lost_; }

  std::exception_ptr refusal() const {
    return std::make_exception_ptr(
        error(closed_ ? why_ : "the runtime has stopped, and code keeps its root's thread"));
  }

 private:
  const core::loop_ref loop_;
  std::atomic<bool> closed_{false};
  std::atomic<bool> lost_{false};
  std::atomic<int> posting_{0};
  std::string why_;  // Set before closed_.
};

/// The error of a call as it is told to a thread that knows nothing of scopes.
std::exception_ptr plain(std::exception_ptr e, const std::string& what) {
  if (!detail::is_cancelled(e)) return e;
  return std::make_exception_ptr(error(
      what + " was ended by the runtime, or by whoever started it: " + describe_exception(e)));
}

/// A call of the root actor for a thread that is none of ours.
///
/// Owner: shared by its `pending` and the task that makes it.
class root_call final : public detail::started_call,
                        public std::enable_shared_from_this<root_call> {
 public:
  root_call(std::shared_ptr<root_door> door, std::string name, call_options options)
      : door_(std::move(door)), name_(std::move(name)), options_(std::move(options)) {}

  bool done() const noexcept override { return told() || door_->lost(); }
  bool wait_for(duration bound) const override {
    refuse_on_loop();
    const time_point until = detail::after(std::chrono::steady_clock::now(), bound);
    // A root that is stuck tells nobody: look, now and then.
    for (time_point now{}; !done() && (now = std::chrono::steady_clock::now()) < until;)
      done_.wait_for(std::min<duration>(until - now, look_for_root_every));
    return done();
  }
  void cancel() override {
    door_->post([me = shared_from_this()] {
      me->cancelled_ = true;
      if (me->scope_ != nullptr) me->scope_->cancel("cancelled by whoever started it");
    });
  }
  payload take() override {
    if (!told()) std::rethrow_exception(door_->refusal());
    auto how = std::move(how_);  // The error's last owner is who catches it, not the root's thread.
    return how.take();
  }

  // --- the root's loop
  static task<> run(std::shared_ptr<root_call> me, native_actor* caller, detail::call_target target,
                    payload kwargs) {
    detail::task_node& self = co_await detail::this_task{};
    detail::settled<payload> how;
    {
      cancel_scope scope(self, {.name = "call of " + me->name_,
                                .deadline = detail::after(self.loop.now(), me->options_.within)});
      me->scope_ = &scope;
      if (me->cancelled_) scope.cancel("cancelled by whoever started it");
      auto frame = detail::take(caller->call(target, me->name_, std::move(kwargs)));
      how = co_await detail::captured<payload>(std::move(frame));
      me->scope_ = nullptr;
      if (scope.deadline_passed() && how.error()) how.fail(me->timed_out(how.error()));
    }
    if (how.error()) how.fail(plain(how.error(), "the call of '" + me->name_ + "'"));
    me->finish(std::move(how));
  }
  void fail(std::exception_ptr e) noexcept {
    detail::settled<payload> how;
    how.fail(std::move(e));
    finish(std::move(how));
  }

 private:
  bool told() const noexcept {
    return done_.wait_for(duration::zero()) == std::future_status::ready;
  }
  void finish(detail::settled<payload> how) noexcept {
    how_ = std::move(how);
    const auto wake = std::exchange(options_.on_done, nullptr);
    told_.set_value();
    if (wake) wake();
  }

  /// What the deadline made of it; the callee's own errors are not lost to it.
  std::exception_ptr timed_out(std::exception_ptr e) const {
    std::string more;
    try {
      std::rethrow_exception(e);
    } catch (const call_stuck& stuck) {
      more = std::string("; ") + stuck.what();
    } catch (const cancelled&) {
    } catch (...) {
      return e;
    }
    return std::make_exception_ptr(
        timeout_error(fmt::format("the call of '{}' was not done within {} s{}", name_,
                                  std::chrono::duration<double>(options_.within).count(), more)));
  }

  const std::shared_ptr<root_door> door_;  // Shared with the runtime, which may end first.
  const std::string name_;
  call_options options_;
  detail::settled<payload> how_;
  std::promise<void> told_;
  const std::shared_future<void> done_ = told_.get_future().share();

  // The loop's.
  cancel_scope* scope_ = nullptr;
  bool cancelled_ = false;
};

}  // namespace

struct runtime::state {
  explicit state(const main_options& options)
      : rt(process_options_of(options, false)),
        registry(registry_of(options)),
        joined(rt.elect_registrars(registry)),
        loop(std::make_shared<core::loop>(rt.loop_options(options.name))),
        self(std::make_shared<native_actor>(
            rt, loop, tree::aid_of({options.name, base::new_uuid()}, joined.empty()),
            options.endpoints)),
        door(std::make_shared<root_door>(loop->ref())) {
    rt.on_interrupt([root = self](std::string why) { root->cancel(std::move(why)); });
    rt.stock_up({options.warm, {}, {}});
  }

  // Runs on the root's thread: opens a nursery for the actors that start_actor() makes, and stays.
  void main(std::promise<void>& up) {
    std::function<task<>(actor&)> body = [&](actor& me) -> task<> {
      auto inside = [&](actor_nursery& an) -> task<> {
        actors = &an;
        up.set_value();
        auto staying = detail::take(stay());
        co_await detail::captured<void>(std::move(staying));
        actors = nullptr;  // It takes no more from here on.
      };
      auto entering = detail::take(self->enter_registry(registry, joined));
      auto entered = co_await detail::captured<void>(std::move(entering));
      if (entered.error()) {
        up.set_exception(entered.error());
        std::rethrow_exception(entered.error());
      }
      co_await open_nursery(me, inside);
    };
    std::string why = "the runtime's root has ended";
    try {
      loop->run(self->run_root(std::move(body)));
      if (self->was_cancelled()) why += ": " + self->cancel_reason();
    } catch (...) {
      why += ": " + describe_exception(std::current_exception());
    }
    door->close(*loop, stopping ? "the runtime has stopped" : why);
  }
  static task<> stay() { co_await sleep_forever(); }

  bool stop(duration bound) {
    const auto until = std::chrono::steady_clock::now() + bound;
    stopping = true;
    self->cancel("the runtime stops");
    if (!thread.join_for(std::chrono::ceil<std::chrono::milliseconds>(bound))) {
      root_lost = true;
      thread.abandon();
      door->lose();
      rt.supervision().hurry();  // Nobody can unwind: the root would have to ask them.
      return rt.stop(stop_without_root_within), false;
    }
    const duration left = until - std::chrono::steady_clock::now();
    return rt.stop(std::max<duration>(left, std::chrono::seconds(1)));
  }

  process_runtime rt;
  const std::vector<msg::wire_address> registry, joined;
  std::shared_ptr<core::loop> loop;
  std::shared_ptr<native_actor> self;
  const std::shared_ptr<root_door> door;  // Shared with calls that may outlive us.
  actor_nursery* actors = nullptr;        // While it takes some; the root's thread's.
  base::os_thread thread;
  std::atomic<bool> stopping{false};
  std::atomic<bool> root_lost{false};
  std::once_flag stopped;
  bool clean = false;

  // Those that have to stay until the process ends, the last one first.
  static inline std::atomic<state*> left_behind{nullptr};
  state* left_before = nullptr;
};

runtime::runtime(main_options options) : state_(std::make_unique<state>(options)) {
  std::promise<void> up;
  auto ready = up.get_future();
  state_->thread = base::os_thread("actor/" + options.name, [this, &up] { state_->main(up); });
  try {
    ready.get();
  } catch (...) {
    state_->stop(std::chrono::seconds(5));
    throw;
  }
}

runtime::~runtime() {
  stop();
  // Stuck actors may still report to it, and a stuck root is in it.
  if (!state_->rt.must_stay() && !state_->root_lost) return;
  state* const left = state_.release();
  left->left_before = state::left_behind.exchange(left);
}

namespace {

/// How a blocking call ended. Shared by its two threads: it is still being told when we have heard.
struct ending {
  std::promise<void> told;
  std::exception_ptr error;  // Moved to whoever throws it, as its last owner.

  void tell(std::exception_ptr e) {
    error = std::move(e);
    told.set_value();
  }
};

task<> blocking_call(std::function<task<>(actor&)>* body, actor* self,
                     std::shared_ptr<ending> how) {
  std::exception_ptr error;
  {
    auto frame = detail::take((*body)(*self));
    auto ended = co_await detail::captured<void>(std::move(frame));
    if (ended.error()) error = plain(ended.error(), "a blocking call");
  }
  how->tell(std::move(error));
}

}  // namespace

void runtime::run_erased(std::function<task<>(actor&)> body) {
  refuse_on_loop();
  const auto how = std::make_shared<ending>();
  const bool posted = state_->door->post([root = state_.get(), &body, how] {
    if (root->self->calls())
      root->self->calls()->start_soon("blocking call", blocking_call, &body, &root->self->face(),
                                      how);
    else
      how->tell(root->door->refusal());
  });
  if (!posted) std::rethrow_exception(state_->door->refusal());
  how->told.get_future().get();
  if (how->error) std::rethrow_exception(std::exchange(how->error, nullptr));
}

std::shared_ptr<detail::started_call> runtime::start_call(portal p, function_name name,
                                                          payload kwargs, call_options options) {
  const auto call =
      std::make_shared<root_call>(state_->door, std::string(name.text()), std::move(options));
  const bool posted = state_->door->post(
      [root = state_.get(), call, target = p.target_, kwargs = std::move(kwargs)]() mutable {
        if (!root->self->calls()) return call->fail(root->door->refusal());
        root->self->calls()->start_soon("started call", &root_call::run, call, root->self.get(),
                                        target, std::move(kwargs));
      });
  if (!posted) std::rethrow_exception(state_->door->refusal());
  return call;
}

void runtime::wait_past_deadline(const detail::started_call& call, duration within) {
  if (call.wait_for(within >= duration::max() - answer_within ? within : within + answer_within))
    return;
  throw timeout_error(
      "a blocking call was not done at its deadline, nor could it be cancelled: "
      "code keeps the thread of the runtime's root");
}

portal runtime::start_in_root(std::string_view name, const actor_options& options,
                              init_call first) {
  return run([&](actor&) -> task<portal> {
    if (state_->actors == nullptr) throw error("the runtime is ending: it starts no more actors");
    auto frame = detail::take(state_->actors->start_actor(name, options, std::move(first)));
    auto how = co_await detail::captured<portal>(std::move(frame));
    co_return how.take();
  });
}

blocking_portal runtime::start_actor(std::string_view name, const actor_options& options,
                                     init_call first) {
  return blocking_portal(*this, start_in_root(name, options, std::move(first)));
}

exit_report blocking_portal::cancel_actor() const {
  return rt_->run([&](actor&) -> task<exit_report> {
    auto frame = detail::take(portal_.cancel_actor());
    auto how = co_await detail::captured<exit_report>(std::move(frame));
    co_return how.take();
  });
}

bool runtime::stop(duration bound) {
  COPPICE_ASSERT(core::loop::current() == nullptr,
                 "a loop's thread cannot stop the runtime: what runs on it has to end first");
  std::call_once(state_->stopped, [&] { state_->clean = state_->stop(bound); });
  return state_->clean;
}

std::size_t runtime::quarantined() const {
  return state_->rt.quarantined_count() + (state_->root_lost ? 1 : 0);
}

}  // namespace coppice
