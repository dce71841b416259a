// SPDX-License-Identifier: Apache-2.0
#include "coppice/runtime.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstring>
#include <future>
#include <utility>

#include "actor/backends.hpp"
#include "actor/native_actor.hpp"
#include "actor/process_runtime.hpp"
#include "base/assert.hpp"
#include "base/uuid.hpp"

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

tree::process_options process_options_of(const main_options& options, bool reaches_run_main) {
  tree::process_options out;
  out.signals = mode_of(options.handled);
  out.calls.payload_bytes_max = options.payload_bytes_max;
  out.stalls = options.stalls;
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
  if (out.self.uuid.empty() || out.parent.file.empty())
    throw error("--coppice-child needs --uid and --parent_addr; it is not meant to be typed");
  return out;
}

int run_child(const child_arguments& arguments, const main_options& options) {
  process_runtime rt(process_options_of(options, true));
  auto loop = std::make_shared<core::loop>(rt.loop_options(arguments.self.name));
  auto self =
      std::make_shared<native_actor>(rt, loop, tree::aid_of(arguments.self), options.endpoints);
  self->set_alone();
  rt.on_interrupt([self](std::string why) { self->cancel(std::move(why)); });
  std::string failure;
  // The parent's address carries its pid, not its uuid: whoever answers there is the parent.
  std::function<void()> connect = [&] {
    ipc::connect_uds(loop, arguments.parent, self->self(), self, rt.options().limits,
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
  if (!clean) leave(0);
  return 0;
}

}  // namespace

int detail::run_main_erased(int argc, char** argv, root_function root, main_options options) {
  int status = 1;
  bool clean = true;
  try {
    if (auto child = child_arguments_of(argc, argv)) return run_child(*child, options);
    process_runtime rt(process_options_of(options, true));
    auto loop = std::make_shared<core::loop>(rt.loop_options(options.name));
    auto self = std::make_shared<native_actor>(
        rt, loop, tree::aid_of({options.name, base::new_uuid()}), options.endpoints);
    rt.on_interrupt([self](std::string why) { self->cancel(std::move(why)); });
    std::function<task<>(actor&)> body = [&](actor& me) -> task<> { status = co_await root(me); };
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

struct runtime::state {
  explicit state(const main_options& options)
      : rt(process_options_of(options, false)),
        loop(std::make_shared<core::loop>(rt.loop_options(options.name))),
        self(std::make_shared<native_actor>(
            rt, loop, tree::aid_of({options.name, base::new_uuid()}), options.endpoints)) {}

  // Runs on the root's thread: opens a nursery for the actors that start_actor() makes, and stays.
  void main(std::promise<void>& up) {
    std::function<task<>(actor&)> body = [&](actor& me) -> task<> {
      auto inside = [&](actor_nursery& an) -> task<> {
        actors = &an;
        up.set_value();
        co_await sleep_forever();
      };
      co_await open_nursery(me, inside);
    };
    try {
      loop->run(self->run_root(std::move(body)));
    } catch (...) {
      // Failures of actors that nobody was calling: calls on their portals say so, actor_died.
    }
  }

  process_runtime rt;
  std::shared_ptr<core::loop> loop;
  std::shared_ptr<native_actor> self;
  actor_nursery* actors = nullptr;
  base::os_thread thread;
  std::atomic<bool> stopped{false};
};

runtime::runtime(main_options options) : state_(std::make_unique<state>(options)) {
  std::promise<void> up;
  auto ready = up.get_future();
  state_->thread = base::os_thread("actor/" + options.name, [this, &up] { state_->main(up); });
  ready.wait();
}

runtime::~runtime() {
  stop();
  if (state_->rt.must_stay()) (void)state_.release();  // Stuck actors may still report to it.
}

void runtime::run_erased(std::function<task<>(actor&)> body) {
  COPPICE_ASSERT(
      core::loop::current() == nullptr,
      "a blocking call on a loop's thread would wait for itself: co_await there instead");
  if (state_->stopped) throw error("the runtime has stopped");
  std::promise<void> done;
  auto finished = done.get_future();
  auto one = [&](actor* self) -> task<> {
    auto frame = detail::take(body(*self));
    auto how = co_await detail::captured<void>(std::move(frame));
    if (how.error())
      done.set_exception(how.error());
    else
      done.set_value();
  };
  const bool posted = state_->loop->post([&] {
    if (state_->stopped || !state_->self->calls()) {
      done.set_exception(std::make_exception_ptr(error("the runtime has stopped")));
      return;
    }
    state_->self->calls()->start_soon("blocking call", one, &state_->self->face());
  });
  if (!posted) throw error("the runtime has stopped");
  finished.get();
}

portal runtime::start_in_root(std::string_view name, const actor_options& options) {
  return run([&](actor&) -> task<portal> {
    auto frame = detail::take(state_->actors->start_actor(name, options));
    auto how = co_await detail::captured<portal>(std::move(frame));
    co_return how.take();
  });
}

blocking_portal runtime::start_actor(std::string_view name, const actor_options& options) {
  return blocking_portal(*this, start_in_root(name, options));
}

exit_report blocking_portal::cancel_actor() const {
  return rt_->run([&](actor&) -> task<exit_report> {
    auto frame = detail::take(portal_.cancel_actor());
    auto how = co_await detail::captured<exit_report>(std::move(frame));
    co_return how.take();
  });
}

bool runtime::stop(duration bound) {
  if (state_->stopped.exchange(true)) return state_->rt.stop();  // What the first call said.
  state_->self->cancel("the runtime stops");
  state_->thread.join();  // Every ladder in there has its bound.
  // Calls that other threads posted meanwhile find that it has stopped.
  auto nothing = []() -> task<> { co_return; };
  state_->loop->run(nothing());
  return state_->rt.stop(bound);
}

std::size_t runtime::quarantined() const { return state_->rt.quarantined_count(); }

}  // namespace coppice
