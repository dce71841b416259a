// SPDX-License-Identifier: Apache-2.0
#include "simulation.hpp"

#include <utility>

#include "actor/backends.hpp"
#include "actor/native_actor.hpp"
#include "base/uuid.hpp"
#include "coppice/errors.hpp"
#include "coppice/nursery.hpp"
#include "coppice/testkit/fake_clock.hpp"
#include "coppice/time.hpp"
#include "core/alarm.hpp"
#include "workload.hpp"

namespace coppice::sim {

using namespace std::chrono_literals;

namespace {

constexpr duration run_max = 600s;        // Virtual. The longest programs need a tenth of it.
constexpr duration unwinding_max = 15s;   // Of a tree of three levels, the most stubborn included.
constexpr duration last_words_max = 10s;  // Of the network, once every actor has ended.

fault_set faults_of(dice luck, fault_set allowed) {
  fault_set out;
  const bool calm = luck.chance(20);
  for (std::size_t i = 0; i < fault_names.size(); ++i) {
    const auto f = static_cast<fault>(i);
    const bool wanted = luck.chance(40) && (!calm || f == fault::delay);
    if (wanted && allowed.has(f)) out.add(f);
  }
  return out;
}

weather weather_of(dice luck, fault_set faults) {
  weather w;
  w.delay_max = luck.between(100us, 10ms);
  if (faults.has(fault::delay)) {
    w.spikes_percent = static_cast<int>(luck.below(30));
    w.spike_max = luck.between(1ms, 200ms);
  }
  return w;
}

/// What the tasks of a run share besides the world.
struct cast {
  world& w;
  std::shared_ptr<tree::native_actor> root;
  ending body;  // Of the root's program.
};

// --- what goes wrong -----------------------------------------------------------------------------

void do_mischief(world& w, dice& luck, fault f) {
  const auto alive = w.hosts.alive();
  if (alive.empty()) return;
  const std::string& whom = alive[luck.below(alive.size())];
  switch (f) {
    case fault::stall:
      return w.net.stall(whom);
    case fault::cut:
      return w.net.cut(whom);
    case fault::half_open:
      return w.net.make_half_open(whom);
    case fault::kill:
      ++w.book.counts.killed;
      return w.hosts.kill(whom);
    case fault::delay:
    case fault::boot:
    case fault::stuck:
    case fault::interrupt:
      return;  // Not things that happen at a time.
  }
}

task<> mischief(cast* c) {
  dice luck = c->w.luck.of("mischief");
  for (auto n = 1 + luck.below(8); n > 0; --n) {
    co_await sleep_for(luck.between(0ms, 400ms));
    for (const fault f : {fault::stall, fault::cut, fault::half_open, fault::kill})
      if (c->w.faults.has(f) && luck.chance(40)) do_mischief(c->w, luck, f);
  }
}

/// Ctrl-C, perhaps twice.
task<> interruption(cast* c) {
  if (!c->w.faults.has(fault::interrupt)) co_return;
  dice luck = c->w.luck.of("interruption");
  co_await sleep_for(luck.between(0ms, 2s));
  c->w.trace.note("the root is interrupted");
  c->w.interrupted = c->w.loop.now();
  c->root->cancel("SIGINT");
  co_await sleep_for(luck.between(0ms, 1s));
  if (luck.chance(50)) c->w.runtime.supervision().hurry();
}

// --- the run -------------------------------------------------------------------------------------

task<> root_program(cast* c, actor* self) {
  place p{c->w, *self, c->w.luck.of("root"), 3};
  for (auto blocks = 1 + p.luck.below(6); blocks > 0; --blocks) {
    place here = p.part();
    auto block = detail::take(with_actors(&here));
    auto how = co_await detail::captured<void>(std::move(block));
    if (!how.error()) continue;
    const bool last = detail::is_cancelled(how.error()) || p.luck.chance(20);
    if (last) std::rethrow_exception(how.error());
    c->w.book.arrived(how.error());
  }
}

task<> root_life(cast* c) {
  std::function<task<>(actor&)> body = [c](actor& self) -> task<> {
    auto program = detail::take(root_program(c, &self));
    auto how = co_await detail::captured<void>(std::move(program));
    c->body.over = true;
    c->body.error = how.error();
    if (how.error()) std::rethrow_exception(how.error());
  };
  auto running = detail::take(c->root->run_root(std::move(body)));
  auto how = co_await detail::captured<void>(std::move(running));
  journal& trace = c->w.trace;
  trace.note("the root ends: {}", describe_exception(how.error()));
  if (c->w.root_ends() && c->w.loop.now() - c->w.interrupted > unwinding_max)
    trace.fail("an interrupted tree took {} s to end", (c->w.loop.now() - c->w.interrupted) / 1s);
  if (!c->body.over) trace.fail("the root ended before its program");
  if (c->body.failed() && how.error() != c->body.error)
    trace.fail("the root swallowed {}", describe_exception(c->body.error));
  if (!c->body.failed() && how.error())
    trace.fail("the root failed by itself: {}", describe_exception(how.error()));
  if (c->body.cancelled() && !c->w.root_ends()) trace.fail("the root was cancelled by nobody");
  if (how.error()) c->w.book.arrived(how.error());
}

task<> actors(cast* c) {
  auto beside = [c](nursery& n) -> task<> {
    n.start_soon("mischief", mischief, c);
    n.start_soon("interruption", interruption, c);
    co_await root_life(c);
    n.cancel("the program is over");
  };
  co_await open_nursery("the program and its troubles", beside);
}

task<> whole(cast* c) {
  world& w = c->w;
  core::alarm too_long(w.loop);
  too_long.set(run_max, [&w] {
    w.trace.fail("it still runs after {} s: a wake-up was lost, or a wait has no bound",
                 run_max / 1s);
  });
  auto body = [c](nursery& n) -> task<> {
    c->w.hosts.run_in(n, c->w.net);
    n.start_soon(
        "control", [](tree::process_runtime* rt) { return rt->run_control(); }, &c->w.runtime);
    co_await checkpoint();  // From its first turn on it supervises.
    co_await actors(c);
    c->w.runtime.supervision().close();
  };
  co_await open_nursery("hosts", body);
  const time_point until = w.loop.now() + last_words_max;
  while (!w.net.open().empty() && w.loop.now() < until) co_await sleep_for(100ms);
}

void check_nothing_left(world& w) {
  journal& trace = w.trace;
  if (const auto open = w.net.open(); !open.empty())
    trace.fail("the connection {} is still open", open.front());
  base::tree_writer records;
  w.runtime.supervision().describe(records);
  if (!records.text().empty()) trace.fail("the supervisor still has {}", records.text());
  if (!w.runtime.stop()) trace.fail("the runtime does not stop");
  if (const auto n = w.hosts.actors_left()) trace.fail("{} actor objects are left", n);
  if (const auto n = w.net.left()) trace.fail("{} connections are left", n);
  base::tree_writer tree;
  w.loop.describe(tree);
  if (tree.text() != "loop 'sim', not running, 0 timers\n")
    trace.fail("something of the run is left on its loop");
  w.book.check_end();
}

}  // namespace

run_result run_seed(const run_options& options) {
  base::seed_uuids(options.seed);
  const dice luck(dice(options.seed).next());
  const fault_set faults = faults_of(luck.of("faults"), options.allowed);
  testkit::fake_clock time({.autojump = true});
  const auto loop = std::make_shared<core::loop>(
      core::loop_options{.name = "sim", .time = &time, .order_seed = luck.of("order").next()});
  journal trace(options.seed, options.repeat, *loop, options.print_trace);
  time.on_deadlock([&] { trace.fail("deadlock: every task waits, and no timer is left"); });

  machines* hosts = nullptr;
  tree::process_options process;
  process.control = loop;
  process.make_backends = [&](tree::process_runtime& rt) {
    auto made = std::make_unique<machines>(rt, endpoints());
    hosts = made.get();
    std::vector<std::unique_ptr<spawn::backend>> all;
    all.push_back(std::move(made));
    return all;
  };
  tree::process_runtime runtime(std::move(process));
  hosts->set_up(trace, luck.of("machines"),
                {.boots_badly = faults.has(fault::boot),
                 .without_rungs_percent = faults.has(fault::stuck) ? 40 : 0});
  network net(*loop, trace, luck.of("network"), weather_of(luck.of("weather"), faults),
              {.on_ending = [&](const std::string& uuid) { hosts->set_ending(uuid); },
               .on_lost = [&](const std::string& uuid) { hosts->set_lost(uuid); }});
  ledger book(trace, *loop, net, *hosts);
  world w{luck, faults, *loop, trace, runtime, net, *hosts, book};
  w.actions_left = 20 + static_cast<int>(luck.of("length").below(500));
  set_world(&w);

  cast c{w,
         std::make_shared<tree::native_actor>(
             runtime, loop, tree::aid_of({"root", base::new_uuid()}), endpoints()),
         {}};
  try {
    loop->run(whole(&c));
  } catch (...) {
    trace.fail("the run threw {}", describe_exception(std::current_exception()));
  }
  c.root.reset();
  const auto hosts_abandoned = hosts->abandoned();
  check_nothing_left(w);
  set_world(nullptr);
  book.counts.abandoned = hosts_abandoned;
  return {trace.hash(), trace.events(), book.counts};
}

}  // namespace coppice::sim
