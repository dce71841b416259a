// SPDX-License-Identifier: Apache-2.0
#include "workload.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "coppice/context.hpp"
#include "coppice/endpoint.hpp"
#include "coppice/errors.hpp"
#include "coppice/handle_errors.hpp"
#include "coppice/nursery.hpp"
#include "coppice/time.hpp"

namespace coppice::sim {

using namespace std::chrono_literals;

namespace {

world* the_world = nullptr;

constexpr duration stuck_after = 500ms;  // native_actor::call_cancel_within

struct weighted {
  std::uint64_t weight;
  action does;
};
constexpr std::array steps = {
    weighted{20, rest},         weighted{3, rest_long},     weighted{4, fail},
    weighted{14, attempt},      weighted{3, stubborn},      weighted{10, limited},
    weighted{4, cleaned_up},    weighted{10, side_by_side}, weighted{40, call_kid},
    weighted{15, talk_to},      weighted{3, stop_kid},      weighted{8, with_actors},
    weighted{4, meet_at_event}, weighted{4, share_lock},    weighted{3, share_permits},
    weighted{4, pass_values},
};

action any_step(dice& luck) {
  std::uint64_t all = 0;
  for (const auto& s : steps) all += s.weight;
  std::uint64_t drawn = luck.below(all);
  for (const auto& s : steps) {
    if (drawn < s.weight) return s.does;
    drawn -= s.weight;
  }
  return rest;
}

template <class E>
bool is_a(const std::exception_ptr& e) {
  try {
    std::rethrow_exception(e);
  } catch (const E&) {
    return true;
  } catch (...) {
    return false;
  }
}

std::string text_of(const std::exception_ptr& e) { return e ? describe_exception(e) : "nothing"; }

}  // namespace

void set_world(world* w) { the_world = w; }

task<> recorded(action work, place* p, ending* how) {
  auto frame = detail::take(work(p));
  auto ended = co_await detail::captured<void>(std::move(frame));
  how->over = true;
  how->error = ended.error();
  if (how->error) std::rethrow_exception(how->error);
}

task<> member(action work, place* p, family* of) {
  auto frame = detail::take(work(p));
  auto how = co_await detail::captured<void>(std::move(frame));
  of->note(how.error());
  if (how.error()) std::rethrow_exception(how.error());
}

// --- simple steps --------------------------------------------------------------------------------

task<> some(place* p) {
  const auto n = 1 + p->luck.below(4);
  for (std::uint64_t i = 0; i < n; ++i) {
    if (--p->w.actions_left < 0) co_return;
    const action next = any_step(p->luck);
    place here = p->part();
    co_await next(&here);
  }
}

task<> rest(place* p) { co_await sleep_for(p->luck.between(0ms, 80ms)); }

task<> rest_long(place* p) { co_await sleep_for(p->luck.between(1s, 30s)); }

task<> fail(place* p) {
  co_await checkpoint();
  p->w.book.throw_error();
}

task<> attempt(place* p) {
  place here = p->part();
  auto trying = detail::take(some(&here));
  auto how = co_await detail::captured<void>(std::move(trying));
  if (!how.error()) co_return;
  if (detail::is_cancelled(how.error()) || p->luck.chance(15)) std::rethrow_exception(how.error());
  p->w.book.arrived(how.error());
}

task<> stubborn(place* p) {
  if (!p->w.faults.has(fault::stuck)) co_return co_await rest(p);
  const duration d = p->luck.between(0ms, p->luck.chance(15) ? duration(5s) : duration(700ms));
  co_await finally(checkpoint(), {.within = 6s}, sleep_for(d));
}

// --- limits --------------------------------------------------------------------------------------

namespace {

void judge_limit(const place& p, const ending& in, const std::exception_ptr& out, bool finished,
                 bool fails, bool time_is_up, bool cancelled_outside) {
  journal& trace = p.w.trace;
  if (!in.over) trace.fail("a limit ended before its work");
  if (in.failed() && out != in.error)
    trace.fail("a limit swallowed '{}' and gave {}", text_of(in.error), text_of(out));
  if (in.failed()) return;
  if (!in.error && (out || !finished))
    trace.fail("the work in a limit ended well, the limit with {}", text_of(out));
  if (!in.error) return;
  if (detail::is_cancelled(out)) {
    if (!cancelled_outside) trace.fail("a limit was cancelled by nobody: {}", text_of(out));
    return;
  }
  const bool says_so = fails ? out && is_a<timeout_error>(out) : !out && !finished;
  if (!says_so) trace.fail("the work in a limit was stopped, but the limit says {}", text_of(out));
  if (!time_is_up) trace.fail("a limit stopped its work too soon");
  if (cancelled_outside) trace.fail("a limit swallowed a cancellation from outside");
}

}  // namespace

task<> limited(place* p) {
  detail::task_node& node = co_await detail::this_task{};
  const duration limit = p->luck.between(0ms, 300ms);
  const bool fails = p->luck.chance(50);
  const bool one_call = !p->kids.empty() && p->luck.chance(50);
  place here = p->part();
  const time_point began = p->now();
  ending in;
  std::exception_ptr out;
  bool finished = true;
  if (fails) {
    auto frame = detail::take(fail_after(limit, recorded(one_call ? call_kid : some, &here, &in)));
    auto how = co_await detail::captured<void>(std::move(frame));
    out = how.error();
  } else {
    auto work = recorded(one_call ? call_kid : some, &here, &in);
    auto frame = detail::take(move_on_after(limit, std::move(work)));
    auto how = co_await detail::captured<bool>(std::move(frame));
    out = how.error();
    finished = !out && how.value();
  }
  const duration took = p->now() - began;
  judge_limit(*p, in, out, finished, fails, took >= limit, node.cancel_visible());
  if (one_call && took > limit + stuck_after)
    p->w.trace.fail("a call with a limit of {} ms took {} ms", limit.count() / 1'000'000,
                    took.count() / 1'000'000);
  if (out) std::rethrow_exception(out);
}

namespace {

task<> tidy_up(place* p) {
  co_await sleep_for(p->luck.between(0ms, 50ms));
  if (p->luck.chance(20)) p->w.book.throw_error();
}

std::vector<std::exception_ptr> members_of(const std::exception_ptr& e) {
  const error_group* group = e ? detail::as_group(e) : nullptr;
  if (group == nullptr) return {};
  return {group->errors().begin(), group->errors().end()};
}

}  // namespace

task<> cleaned_up(place* p) {
  place here = p->part();
  place there = p->part();
  ending work, cleanup;
  auto frame = detail::take(
      finally(recorded(some, &here, &work), {.within = 1s}, recorded(tidy_up, &there, &cleanup)));
  auto how = co_await detail::captured<void>(std::move(frame));
  const std::exception_ptr out = how.error();
  journal& trace = p->w.trace;
  if (!work.over || !cleanup.over) trace.fail("finally() ended before its work and cleanup");
  if (cleanup.cancelled()) trace.fail("a cleanup was cancelled: {}", text_of(cleanup.error));
  bool right = false;
  if (work.failed() && cleanup.failed())
    right = members_of(out) == std::vector{work.error, cleanup.error};
  else
    right = out == (cleanup.failed() ? cleanup.error : work.error);
  if (!right)
    trace.fail("finally() of work that ended with {} and a cleanup that did with {} gave {}",
               text_of(work.error), text_of(cleanup.error), text_of(out));
  if (out) std::rethrow_exception(out);
}

// --- nurseries -----------------------------------------------------------------------------------

namespace {

void judge_nursery(const place& p, const family& f, const std::exception_ptr& out,
                   bool cancelled_outside) {
  journal& trace = p.w.trace;
  if (!f.failures.empty()) {
    const bool right =
        f.failures.size() == 1 ? out == f.failures.front() : members_of(out) == f.failures;
    if (!right)
      trace.fail("a nursery with {} failures swallowed some: it gave {}", f.failures.size(),
                 text_of(out));
    return;
  }
  if (detail::is_cancelled(out)) {
    if (!cancelled_outside) trace.fail("a nursery was cancelled by nobody: {}", text_of(out));
  } else if (out) {
    trace.fail("no task of a nursery failed, but it gave {}", text_of(out));
  } else if (f.some_cancelled && (!f.own_cancel || cancelled_outside)) {
    trace.fail("a nursery swallowed a cancellation from outside");
  }
}

/// A member that nursery::start() waits for. Until it says that it is up it is start()'s.
task<> server(place* p, family* of, std::uint64_t says, task_status<std::uint64_t> status) {
  co_await rest(p);
  if (p->luck.chance(20)) co_await fail(p);
  status.started(says);
  co_await member(some, p, of);
}

task<> start_server(nursery* n, place* p, family* f) {
  const std::uint64_t says = p->luck.next();
  const std::uint64_t said = co_await n->start(server, p, f, says);
  if (said != says) p->w.trace.fail("start() gave a value that its task never said");
}

task<> side_by_side_body(nursery* n, place* p, family* f, std::vector<place>* places) {
  for (std::size_t i = 1; i < places->size(); ++i)
    n->start_soon(member, any_step((*places)[i].luck), &(*places)[i], f);
  if (p->luck.chance(40)) co_await start_server(n, &places->front(), f);
  if (p->luck.chance(50)) {
    place here = p->part();
    co_await some(&here);
  }
  if (!p->luck.chance(15)) co_return;
  co_await rest(p);
  f->own_cancel = true;
  n->cancel("enough");
}

}  // namespace

task<> side_by_side(place* p) {
  detail::task_node& node = co_await detail::this_task{};
  family f;
  std::vector<place> places;
  for (auto n = 2 + p->luck.below(4); n > 0; --n) places.push_back(p->part());
  auto body = [&](nursery& n) -> task<> {
    auto inner = detail::take(side_by_side_body(&n, p, &f, &places));
    auto how = co_await detail::captured<void>(std::move(inner));
    f.note(how.error());
    if (how.error()) std::rethrow_exception(how.error());
  };
  auto frame = detail::take(open_nursery(body));
  auto how = co_await detail::captured<void>(std::move(frame));
  judge_nursery(*p, f, how.error(), node.cancel_visible());
  if (how.error()) std::rethrow_exception(how.error());
}

// --- calls ---------------------------------------------------------------------------------------

namespace {

task<std::string> serve_call(actor& self, std::int64_t call, std::int64_t levels,
                             std::string text) {
  world& w = *the_world;
  const auto id = static_cast<std::uint64_t>(call);
  w.book.callee_begins(id, std::string(self.name()));
  std::string value = fmt::format("{}:{}", call, text);
  place here{w, self, w.luck.of(value), levels};
  auto work = detail::take(some(&here));
  auto how = co_await detail::captured<void>(std::move(work));
  w.book.callee_ends(id, how.error(), value);
  if (how.error()) std::rethrow_exception(how.error());
  co_return value;
}
constexpr endpoint run_e{"sim:run", serve_call, "call", "levels", "text"};

// --- dialogs ---

struct talk {
  using started = std::int64_t;
  using to_callee = std::int64_t;
  using to_caller = std::int64_t;
};

/// Echoes, and does this and that in between.
task<> echo(context<talk>* ctx, place* here, std::int64_t call) {
  if (here->luck.chance(30)) co_await rest(here);
  co_await ctx->started(call);
  auto s = ctx->open_stream();
  while (auto n = co_await s.receive()) {
    if (here->luck.chance(2)) co_await some(here);
    co_await s.send(*n);
  }
}
task<std::string> serve_talk(actor& self, context<talk>& ctx, std::int64_t call,
                             std::int64_t levels, std::string text) {
  world& w = *the_world;
  const auto id = static_cast<std::uint64_t>(call);
  w.book.callee_begins(id, std::string(self.name()));
  std::string value = fmt::format("{}:{}", call, text);
  place here{w, self, w.luck.of(value), levels};
  auto work = detail::take(echo(&ctx, &here, call));
  auto how = co_await detail::captured<void>(std::move(work));
  w.book.callee_ends(id, how.error(), value);
  if (how.error()) std::rethrow_exception(how.error());
  co_return value;
}
constexpr endpoint talk_e{"sim:talk", serve_talk, "call", "levels", "text"};

/// Every value comes back, in order, until the stream ends.
task<> listen_and_answer(remote_context<talk>* ctx, place* here) {
  auto s = ctx->open_stream();
  for (auto rounds = here->luck.below(10); rounds > 0; --rounds) {
    const auto burst = static_cast<std::int64_t>(1 + here->luck.below(60));
    for (std::int64_t i = 0; i < burst; ++i) co_await s.send(i);
    for (std::int64_t i = 0; i < burst; ++i) {
      auto back = co_await s.receive();
      if (!back) co_return;
      if (*back != i) here->w.trace.fail("a stream gave {} where {} was due", *back, i);
    }
    if (here->luck.chance(20)) co_await rest(here);
  }
}

}  // namespace

std::vector<exposed> endpoints() { return {run_e, talk_e}; }

task<> talk_to(place* p) {
  if (p->kids.empty()) co_return co_await rest(p);
  detail::task_node& node = co_await detail::this_task{};
  const kid callee = p->kids[p->luck.below(p->kids.size())];
  const std::string text(p->luck.below(30), 'x');
  ledger& book = p->w.book;
  const auto id = book.begin_call(p->self.id().uuid, callee.uuid, text);
  place here = p->part();
  auto body = [&](remote_context<talk>& ctx, std::int64_t first) -> task<> {
    if (first != static_cast<std::int64_t>(id))
      p->w.trace.fail("the first word of dialog #{} was {}", id, first);
    if (here.luck.chance(80)) co_await listen_and_answer(&ctx, &here);
  };
  auto talking = detail::take(
      callee.to.open_context(talk_e, static_cast<std::int64_t>(id), p->levels - 1, text, body));
  auto how = co_await detail::captured<std::optional<std::string>>(std::move(talking));
  const bool said = !how.error() && how.value().has_value();
  if (!how.error() && !said) p->w.trace.fail("dialog #{} was cancelled by nobody", id);
  book.end_call(id, how.error(), said ? *how.value() : std::string(), node.cancel_visible());
  if (how.error()) std::rethrow_exception(how.error());
}

task<> call_kid(place* p) {
  if (p->kids.empty()) co_return co_await rest(p);
  detail::task_node& node = co_await detail::this_task{};
  const kid callee = p->kids[p->luck.below(p->kids.size())];
  const std::string text(p->luck.below(30), 'x');
  ledger& book = p->w.book;
  const auto id = book.begin_call(p->self.id().uuid, callee.uuid, text);
  auto calling =
      detail::take(callee.to.run(run_e, static_cast<std::int64_t>(id), p->levels - 1, text));
  auto how = co_await detail::captured<std::string>(std::move(calling));
  book.end_call(id, how.error(), how.error() ? std::string() : how.value(), node.cancel_visible());
  if (how.error()) std::rethrow_exception(how.error());
}

task<> stop_kid(place* p) {
  if (p->kids.empty()) co_return co_await rest(p);
  detail::task_node& node = co_await detail::this_task{};
  const kid whom = p->kids[p->luck.below(p->kids.size())];
  p->w.trace.note("cancel_actor() of {}", whom.to.id().name);
  p->w.hosts.set_ending(whom.uuid);
  auto stopping = detail::take(whom.to.cancel_actor());
  auto how = co_await detail::captured<exit_report>(std::move(stopping));
  if (how.error()) {
    if (!detail::is_cancelled(how.error()) || !node.cancel_visible())
      p->w.trace.fail("cancel_actor() threw {}", text_of(how.error()));
    std::rethrow_exception(how.error());
  }
  if (!p->w.hosts.is_over(whom.uuid))
    p->w.trace.fail("cancel_actor() returned before the actor had ended");
  if (how.value().took > stop_policy().total)  // Nobody here asks for a longer one.
    p->w.trace.fail("a stop took {} ms", how.value().took / 1ms);
}

}  // namespace coppice::sim
