// SPDX-License-Identifier: Apache-2.0
// The step that starts actors, and what their nursery is held against.
#include <algorithm>
#include <utility>

#include "coppice/actor_nursery.hpp"
#include "coppice/errors.hpp"
#include "coppice/event.hpp"
#include "coppice/handle_errors.hpp"
#include "coppice/time.hpp"
#include "workload.hpp"

namespace coppice::sim {

using namespace std::chrono_literals;

namespace {

// At the same time, and in the whole run.
constexpr std::size_t alive_max = 6;
constexpr std::uint64_t actors_max = 24;

bool room_for_actors(const world& w) {
  return w.hosts.alive().size() < alive_max && w.actors_so_far < actors_max;
}

/// What became of the tasks and actors of one actor nursery.
struct crew {
  family tasks;
  std::vector<std::string> names;          // Of the actors that were to start.
  time_point stopped = time_point::max();  // From then on its actors may have been told to end.
  event body_over{"the end of a crew's body"};

  void stops(time_point now) { stopped = std::min(stopped, now); }
};

void flatten(const std::exception_ptr& e, std::vector<std::exception_ptr>& out) {
  const error_group* group = e ? detail::as_group(e) : nullptr;
  if (group == nullptr) {
    if (e) out.push_back(e);
    return;
  }
  for (const auto& member : group->errors()) flatten(member, out);
}

/// The error of an actor that died unasked, or null.
const actor_died* as_death(const std::exception_ptr& e) {
  try {
    std::rethrow_exception(e);
  } catch (const actor_died& died) {
    return &died;  // Lives in `e`.
  } catch (...) {
    return nullptr;
  }
}

bool names(const actor_died& e, const std::string& actor) {
  return std::string_view(e.what()).find("'" + actor + "'") != std::string_view::npos;
}

void judge_deaths(const place& p, const crew& c, const std::vector<std::exception_ptr>& deaths) {
  const machines& hosts = p.w.hosts;
  for (const auto& e : deaths) {
    const actor_died* died = as_death(e);
    if (died == nullptr)
      p.w.trace.fail("no task of an actor nursery failed with {}", describe_exception(e));
    if (std::ranges::none_of(c.names, [&](const auto& n) { return names(*died, n); }))
      p.w.trace.fail("an actor nursery failed with '{}', whom it never started", died->what());
  }
  if (hosts.was_killed(p.self.id().uuid)) return;  // Nobody is there to hear it.
  for (const auto& name : c.names) {
    const auto told = hosts.told_when_died_unasked(hosts.uuid_of(name));
    if (!told || *told + end_is_reported_within >= c.stopped || !hosts.was_up(hosts.uuid_of(name)))
      continue;
    if (std::ranges::none_of(deaths, [&](const auto& e) { return names(*as_death(e), name); }))
      p.w.trace.fail("{} was killed unasked, but its nursery did not fail", name);
  }
}

void judge_crew(const place& p, const crew& c, const std::exception_ptr& out,
                bool cancelled_outside) {
  journal& trace = p.w.trace;
  for (const auto& name : c.names) {
    const std::string uuid = p.w.hosts.uuid_of(name);
    if (!uuid.empty() && !p.w.hosts.is_over(uuid))
      trace.fail("an actor nursery ended before {} had", name);
  }
  if (detail::is_cancelled(out)) {
    if (!c.tasks.failures.empty()) trace.fail("an actor nursery swallowed a failure");
    if (!cancelled_outside) trace.fail("an actor nursery was cancelled by nobody");
    return judge_deaths(p, c, {});
  }
  std::vector<std::exception_ptr> heard, deaths, missed;
  flatten(out, heard);
  std::vector<std::exception_ptr> thrown;
  for (const auto& e : c.tasks.failures) flatten(e, thrown);
  for (const auto& e : thrown)
    if (std::ranges::count(heard, e) != std::ranges::count(thrown, e))
      trace.fail("an actor nursery swallowed {}: it gave {}", describe_exception(e),
                 out ? describe_exception(out) : "nothing");
  for (const auto& e : heard)
    if (std::ranges::find(thrown, e) == thrown.end()) deaths.push_back(e);
  judge_deaths(p, c, deaths);
  if (!out && c.tasks.some_cancelled && !c.tasks.own_cancel)
    trace.fail("an actor nursery swallowed a cancellation from outside");
}

/// May a start fail, other than by being cancelled?
bool may_fail_to_start(const place& p, const std::string& uuid) {
  const machines& hosts = p.w.hosts;
  const std::string& self = p.self.id().uuid;
  return hosts.boots_badly(uuid) || p.w.net.was_hurt(uuid) || hosts.is_ending(uuid) ||
         hosts.is_ending(self) || p.w.faults.has(fault::stall) || p.w.root_ends();
}

task<> start_one(actor_nursery* an, crew* c, place* p) {
  detail::task_node& node = co_await detail::this_task{};
  world& w = p->w;
  // Such code runs on here until it has unwound; in a process that was killed it would not.
  if (w.hosts.was_killed(p->self.id().uuid)) co_return;
  const std::string name = fmt::format("a{}", ++w.actors_so_far);
  c->names.push_back(name);
  ++w.book.counts.actors;
  actor_options options;
  options.backend = spawn::key("sim");
  options.start_within = p->luck.between(2s, 4s);
  if (p->luck.chance(30)) options.stop.ask = p->luck.between(0ms, 200ms);
  auto starting = detail::take(an->start_actor(name, options));
  auto how = co_await detail::captured<portal>(std::move(starting));
  const std::string uuid = w.hosts.uuid_of(name);
  if (!how.error()) {
    w.hosts.set_up_now(uuid);
    p->kids.push_back({how.value(), how.value().id().uuid});
    co_return;
  }
  w.trace.note("{} did not start: {}", name, describe_exception(how.error()));
  if (!uuid.empty() && !w.hosts.is_over(uuid))
    w.trace.fail("the start of {} failed, but something of it is left", name);
  if (detail::is_cancelled(how.error())) {
    if (!node.cancel_visible()) w.trace.fail("the start of {} was cancelled by nobody", name);
    std::rethrow_exception(how.error());
  }
  if (!may_fail_to_start(*p, uuid))
    w.trace.fail("{} did not start for no reason: {}", name, describe_exception(how.error()));
  if (p->luck.chance(30)) std::rethrow_exception(how.error());
}

/// Learns when the crew is cancelled: from then on its actors may have been told to end.
task<> sentinel(crew* c, place* p) {
  auto waiting = detail::take(detail::as_task(c->body_over.wait()));
  auto how = co_await detail::captured<void>(std::move(waiting));
  c->stops(p->now());
  if (how.error()) std::rethrow_exception(how.error());
}

task<> crew_body(actor_nursery* an, crew* c, place* p, std::vector<place>* places) {
  for (auto n = 1 + p->luck.below(2); n > 0 && room_for_actors(p->w); --n)
    co_await start_one(an, c, p);
  for (place& one : *places) {
    one.kids = p->kids;
    an->start_soon(member, p->luck.chance(70) ? attempt : some, &one, &c->tasks);
  }
  for (auto n = 1 + p->luck.below(4); n > 0; --n) {
    place here = p->part();
    co_await attempt(&here);
  }
  if (!p->luck.chance(10)) co_return;
  c->tasks.own_cancel = true;
  c->stops(p->now());
  an->cancel("enough of this crew");
}

}  // namespace

task<> with_actors(place* p) {
  if (p->levels <= 0 || !room_for_actors(p->w)) co_return co_await rest(p);
  detail::task_node& node = co_await detail::this_task{};
  crew c;
  place inside = p->part();
  inside.kids.clear();
  std::vector<place> places;
  for (auto n = p->luck.below(3); n > 0; --n) places.push_back(inside.part());
  auto body = [&](actor_nursery& an) -> task<> {
    an.start_soon("sentinel", sentinel, &c, &inside);
    auto inner = detail::take(crew_body(&an, &c, &inside, &places));
    auto how = co_await detail::captured<void>(std::move(inner));
    c.stops(p->now());
    c.body_over.set();
    c.tasks.note(how.error());
    if (how.error()) std::rethrow_exception(how.error());
  };
  auto frame = detail::take(open_nursery(p->self, body));
  auto how = co_await detail::captured<void>(std::move(frame));
  judge_crew(*p, c, how.error(), node.cancel_visible());
  if (how.error()) std::rethrow_exception(how.error());
}

}  // namespace coppice::sim
