// SPDX-License-Identifier: Apache-2.0
// Two ways in: run_main() for programs that are ours, `runtime` for everybody else's.
#pragma once

#include <chrono>
#include <concepts>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "coppice/actor.hpp"
#include "coppice/actor_nursery.hpp"
#include "coppice/exposed.hpp"
#include "coppice/guest_budget.hpp"
#include "coppice/pending.hpp"
#include "coppice/portal.hpp"
#include "coppice/spawn.hpp"
#include "coppice/stall.hpp"
#include "coppice/time.hpp"
#include "coppice/transports.hpp"
#include "coppice/warm.hpp"

namespace coppice {

enum class signals : std::uint8_t {
  none,       // The program's own business.
  interrupt,  // SIGINT cancels the root.
  all,        // SIGTERM too; SIGUSR1 prints the tree to stderr.
};

/// What run_main() and `runtime` are given. `endpoints` is all that native actors can expose.
struct main_options {
  std::vector<exposed> endpoints = {};
  std::string name = "root";
  signals handled = signals::all;
  std::size_t payload_bytes_max = 256u << 20;  // Of one call's arguments or result.
  stall_options stalls = {};                   // Tasks that keep their loop: told on stderr.
  /// Told of each actor that had to be stopped by `forced` or more when it has ended or is
  /// abandoned, and once more if abandoned code came back (`reclaimed`): on the thread of the C++
  /// actor that started it; Python logs those that it starts. Empty: a line to stderr, each.
  /// Throwing from it ends the process.
  std::function<void(const actor_exit&)> on_hard_stop = {};
  /// Where a registrar is looked for, like "('127.0.0.1', 1616)" or "/ip4/127.0.0.1/tcp/1616". One
  /// that is there is joined; if nobody is, the root becomes the registrar and listens at all of
  /// them; somebody else there is an error. None: the root is the registrar of its own tree.
  std::vector<std::string> registry_addrs = {};
  std::vector<error_kind> errors = {};  // Your own that travel by name: error_type<E>.
  transport_settings transports = {};   // Between processes.
  guest_budget guests = {};             // What stops by force may leave behind.
  /// Python modules that the process imports from which `forkserver` and its like fork actors.
  std::vector<std::string> forkserver_preload = {};
  /// How actors are started that say `automatic`, if it runs their language; else, and if this is
  /// `automatic` too: C++ modules by thread, Python modules by subint. $COPPICE_SPAWN_METHOD
  /// overrides it, and `--coppice-spawn-method KEY` on the command line of run_main() both. A
  /// backend that this build or machine cannot serve is refused when the runtime opens.
  spawn::key backend = spawn::automatic;
  warm_pool warm = {};  // Python guests that are up before they are asked for.
};

namespace detail {
using root_function = std::function<task<int>(actor&)>;
int run_main_erased(int argc, char** argv, root_function root, main_options options);

template <class Root>
root_function make_root(Root root) {
  if constexpr (std::is_same_v<std::invoke_result_t<Root&, actor&>, task<int>>) {
    return [root](actor& self) mutable { return root(self); };
  } else {
    static_assert(std::is_same_v<std::invoke_result_t<Root&, actor&>, task<>>,
                  "the root is task<>(actor&) or task<int>(actor&)");
    return [root](actor& self) mutable -> task<int> {
      co_await root(self);
      co_return 0;
    };
  }
}
}  // namespace detail

/// Runs `root(self)` as the root actor of this process, on this thread, and gives the exit status:
/// root's own, 0 if another actor cancelled the root, 1 after an error (one line on stderr), 130
/// after SIGINT, 143 after SIGTERM. When it returns, nothing that the root started is left. If
/// native code is in quarantine it does not return: it flushes stdio and leaves the process with
/// that status.
///
/// Children of the `process` backend run the same main(): it must reach run_main() early, and pass
/// argc and argv on unchanged. Of the arguments, run_main() reads those that begin with
/// `--coppice-` before a `--`, and leaves them where they are.
///
///     int main(int argc, char** argv) {
///       return run_main(argc, argv, root, {.endpoints = {primes::count}});
///     }
template <class Root>
  requires std::invocable<Root&, actor&>
int run_main(int argc, char** argv, Root root, main_options options = {}) {
  return detail::run_main_erased(argc, argv, detail::make_root(std::move(root)),
                                 std::move(options));
}

class runtime;

/// A portal for threads that Coppice did not make. run() blocks; runtime::call() does with a
/// deadline; start() does not.
class blocking_portal {
 public:
  blocking_portal() = default;
  template <class R = value, class... Values>
  R run(function_name name, const kwarg<Values>&... arguments) const;
  template <class Endpoint, class... Args>
    requires is_endpoint<Endpoint>
  auto run(const Endpoint& e, Args&&... args) const;
  exit_report cancel_actor() const;

  /// Starts a call and returns at once: see `pending`. Throws `error` if the runtime has ended.
  template <class R = value, class... Values>
  pending<R> start(call_options options, function_name name,
                   const kwarg<Values>&... arguments) const;
  template <class Endpoint, class... Args>
    requires is_endpoint<Endpoint>
  auto start(call_options options, const Endpoint& e, Args&&... args) const;

 private:
  friend class runtime;
  blocking_portal(runtime& rt, portal p) : rt_(&rt), portal_(p) {}
  runtime* rt_ = nullptr;
  portal portal_;
};

/// The runtime as an object, for programs with their own main(), loops and signals.
///
/// Promises:
/// - Made on any thread; its calls block, from any thread that is not a loop of ours (they abort
///   there: they would deadlock). A foreign event loop starts calls instead:
///   blocking_portal::start.
/// - Several runtimes one after another in a process, never two at once (coppice::error).
/// - stop() returns within its bound, and at most 2 s later if code keeps one of its threads.
/// - No call outlives it: those under way end with an error, later ones throw it at once. If the
///   root ends by itself, because an actor died that nobody was to stop, the error says why.
///
///     runtime rt;
///     auto physics = rt.start_actor(
///         "physics", {.backend = spawn::subint, .enable_modules = {"physics"}});
///     double e = physics.run<double>("physics:energy", kw("mass", 2.0), kw("speed", 3.0));
///
/// Owner: the program. Thread: any.
class runtime {
 public:
  explicit runtime(main_options options = {.handled = signals::none});
  ~runtime();  // stop() with 5 s.
  runtime(const runtime&) = delete;
  runtime& operator=(const runtime&) = delete;

  /// Starts an actor that lives until it is cancelled or the runtime stops. Throws what
  /// actor_nursery::start_actor() throws.
  blocking_portal start_actor(std::string_view name, const actor_options& options = {},
                              init_call first = {});

  /// Runs `body(self)` as a scope of the root actor and waits for it; gives its value.
  template <class Body>
    requires std::invocable<Body&, actor&>
  auto run(Body&& body) {
    using T = detail::body_value_t<Body, actor>;
    detail::settled<T> how;
    run_erased([&](actor& self) -> task<> {
      auto frame = detail::take(body(self));
      how = co_await detail::captured<T>(std::move(frame));
    });
    return how.take();
  }

  /// A call with a deadline, by name or endpoint; throws timeout_error at it, after the callee's
  /// side was cancelled; at most a second later if that does not end.
  template <class R = value, class Rep, class Period, class... Values>
  R call(std::chrono::duration<Rep, Period> within, const blocking_portal& p, function_name name,
         const kwarg<Values>&... arguments) {
    return finish(within, p.start<R>({.within = within}, name, arguments...));
  }
  template <class Rep, class Period, class Endpoint, class... Args>
    requires is_endpoint<Endpoint>
  auto call(std::chrono::duration<Rep, Period> within, const blocking_portal& p, const Endpoint& e,
            Args&&... args) {
    return finish(within, p.start({.within = within}, e, std::forward<Args>(args)...));
  }

  /// Ends everything. True: nothing is left. False: native code is in quarantine; end the process
  /// with coppice::leave(). Idempotent, from any thread that is no loop of ours: the first call
  /// stops, the others wait for it and give the same.
  bool stop(duration bound = std::chrono::seconds(5));

  /// Native code that was given up and has not come back: stuck actors, abandoned work of
  /// to_thread(). At any time; such work is counted after stop() too, for as long as it goes on.
  std::size_t quarantined() const;

 private:
  friend class blocking_portal;
  void run_erased(std::function<task<>(actor&)> body);
  portal start_in_root(std::string_view name, const actor_options& options, init_call first);
  std::shared_ptr<detail::started_call> start_call(portal p, function_name name, payload kwargs,
                                                   call_options options);
  static void wait_past_deadline(const detail::started_call& call, duration within);
  template <class R>
  static R finish(duration within, pending<R> call) {
    wait_past_deadline(call.state(), within);
    return call.take();
  }

  struct state;
  std::unique_ptr<state> state_;
};

/// Leaves the process at once, with stdio flushed: for programs with native code in quarantine,
/// which exit() would wait for or tear down under.
[[noreturn]] void leave(int status) noexcept;

// --- templates
// ---------------------------------------------------------------------------------------

template <class R, class... Values>
R blocking_portal::run(function_name name, const kwarg<Values>&... arguments) const {
  return runtime::finish(duration::max(), start<R>({}, name, arguments...));
}

template <class Endpoint, class... Args>
  requires is_endpoint<Endpoint>
auto blocking_portal::run(const Endpoint& e, Args&&... args) const {
  return runtime::finish(duration::max(), start({}, e, std::forward<Args>(args)...));
}

template <class R, class... Values>
pending<R> blocking_portal::start(call_options options, function_name name,
                                  const kwarg<Values>&... arguments) const {
  static_assert(std::is_void_v<R> || owned_message<R>,
                "this type cannot be a result: see the table in coppice/message.hpp");
  return pending<R>(rt_->start_call(portal_, name, to_kwargs(arguments...), std::move(options)));
}

template <class Endpoint, class... Args>
  requires is_endpoint<Endpoint>
auto blocking_portal::start(call_options options, const Endpoint& e, Args&&... args) const {
  return pending<typename Endpoint::result>(rt_->start_call(
      portal_, e.name(), e.arguments(std::forward<Args>(args)...), std::move(options)));
}

}  // namespace coppice
