// SPDX-License-Identifier: Apache-2.0
#include "coppice/actor_nursery.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <utility>
#include <vector>

#include "actor/native_actor.hpp"
#include "actor/restarts.hpp"
#include "coppice/time.hpp"

namespace coppice {

std::string actor_exit::to_text() const {
  return fmt::format("actor '{}': {}", actor.name, report.text());
}

}  // namespace coppice

namespace coppice::detail {

using tree::child_slot;
using tree::native_actor;

/// The one call of a one-shot actor, once it has ended.
struct one_shot_state {
  settled<payload> how;
  event done{"the result of a one-shot actor"};
  bool taken = false;                   // Its error is somebody's.
  event claimed{"who takes a result"};  // It is, or nobody can take it any more.
};

namespace {

/// An actor of the block, whatever incarnation of it there is.
struct member final : tree::place {
  member(std::string_view called, restart_type restarted) : place(std::string(called), restarted) {}
  tree::child_plan plan;
  init_call first;
  call_target target;
  std::optional<call_target> earlier;  // The one before: portals to it still say how it died.
  bool told = false;                   // Its death has failed the block.
  std::size_t uses = 0;                // Tasks that work on it.
  bool retired = false;
};

bool same(call_target a, call_target b) { return a.slot == b.slot && a.generation == b.generation; }

task<> until_gone(child_slot* c) { co_await c->gone.wait(); }
task<> until_settled(child_slot* c) { co_await c->settled.wait(); }

/// Asks a child to end and waits for it, shielded: the ladder has its own bound.
task<> end_child(native_actor* owner, child_slot* c) {
  if (c->ended) co_return;
  owner->stop_child(*c);
  task_node& node = co_await this_task{};
  cancel_scope shield(node, {.name = "end of actor " + c->id.name, .shield = true});
  co_await c->gone.wait();
}

/// Is that what a call ends with because its actor was told to end?
bool is_end_of_actor(const std::exception_ptr& e) {
  try {
    std::rethrow_exception(e);
  } catch (const transport_closed&) {
    return true;
  } catch (const context_cancelled&) {
    return true;
  } catch (const remote_actor_error& boxed) {
    return boxed.is<transport_closed>();
  } catch (...) {
    return false;
  }
}

bool is_fault(const exit_report& r) {
  return !(r.how == exit_report::cause::returned ||
           (r.how == exit_report::cause::exited && r.status == 0));
}

}  // namespace

struct actor_set::state final : tree::place_keeper {
  state(native_actor& by, const nursery_options& options)
      : owner(by), restarts(by.scheduler(), options.restart, *this), told(options.exits) {}

  /// Keeps a member while a task works on it, or is about to. The last one retires it, if it is
  /// over.
  class use {
   public:
    use(state* in, member* of) noexcept : state_(in), of_(of) { ++of_->uses; }
    use(use&& other) noexcept : state_(other.state_), of_(std::exchange(other.of_, nullptr)) {}
    use& operator=(use&&) = delete;
    ~use() {
      if (of_ && --of_->uses == 0 && of_->now == tree::place::state::over) state_->retire(of_);
    }
    member* get() const noexcept { return of_; }

   private:
    state* const state_;
    member* of_;
  };
  void retire(member* m);
  void release(const member& m);

  /// Begins an incarnation.
  child_slot* begin(member& m);
  task<> come_up(member* m, child_slot* c);
  task<> answer_init(member* m, child_slot* c);
  task<> start(tree::place& p) override;
  task<> stop(tree::place& p) override;
  bool is_there(const tree::place& p) const override;
  task<> mind(use of, child_slot* c, call_target target);
  task<> collect(use of, std::string function, payload arguments,
                 std::shared_ptr<one_shot_state> result);
  task<> until_nobody_takes(std::shared_ptr<one_shot_state> result);
  member& add(std::string_view name, const actor_options& options);
  task<> start_first(member* m, child_slot* c);
  void note_exit(child_slot& c);
  template <class Do>
  void for_each_list_of_exits(Do act);
  void forget_exit(child_slot& c);

  native_actor& owner;
  nursery* minders = nullptr;
  tree::restarts restarts;
  std::vector<std::unique_ptr<member>> members;
  std::deque<member*> retired;                           // The last of those that are over.
  std::vector<std::shared_ptr<one_shot_state>> results;  // Those that are not collected yet.
  std::vector<actor_exit> exits;
  std::vector<actor_exit>* const told;  // The caller's; none: nobody wants them.
  bool body_over = false;
};

member& actor_set::state::add(std::string_view name, const actor_options& options) {
  auto made = std::make_unique<member>(name, options.restart);
  made->plan = owner.plan_child(name, options);
  members.push_back(std::move(made));
  restarts.add(*members.back());
  return *members.back();
}

child_slot* actor_set::state::begin(member& m) {
  child_slot& c = owner.start_child(m.plan);
  m.target = owner.target_of(c);
  auto minding = [](state* s, use of, child_slot* child, call_target target) {
    return s->mind(std::move(of), child, target);
  };
  minders->start_soon(fmt::format("actor {}", m.name), minding, this, use(this, &m), &c, m.target);
  return &c;
}

// A block may start actors for years. Of those that have ended, portals still say how, for a time.
void actor_set::state::retire(member* m) {
  if (std::exchange(m->retired, true)) return;
  m->plan = {};
  m->first = {};
  retired.push_back(m);
  if (retired.size() <= actor_nursery::exits_kept_max) return;
  member* oldest = retired.front();
  retired.pop_front();
  if (oldest->uses != 0) return retired.push_back(oldest);
  restarts.remove(*oldest);
  release(*oldest);
  std::erase_if(members, [oldest](const auto& one) { return one.get() == oldest; });
}

void actor_set::state::release(const member& m) {
  owner.release(m.target);
  if (m.earlier) owner.release(*m.earlier);
}

/// One per incarnation, in the outer nursery of the block: the actor's life as a task.
task<> actor_set::state::mind(use of, child_slot* c, call_target target) {
  member* m = of.get();
  auto waiting = take(until_gone(c));
  settled<void> how = co_await captured<void>(std::move(waiting));
  co_await end_child(&owner, c);
  note_exit(*c);
  // One that was not up yet is the business of whoever started it.
  if (m->now == tree::place::state::up && same(m->target, target)) {
    const actor_died death(c->id.name, c->report);
    const auto verdict =
        restarts.ended(*m, std::make_exception_ptr(death), is_fault(c->report), c->requested);
    m->told = verdict == tree::restarts::verdict::fails;
    if (m->told) throw death;
  }
  if (how.error()) std::rethrow_exception(how.error());
}

template <class Do>
void actor_set::state::for_each_list_of_exits(Do act) {
  act(exits);
  if (told) act(*told);
}

void actor_set::state::note_exit(child_slot& c) {
  if (c.start_error && !c.began) return;
  if (exits.size() == actor_nursery::exits_kept_max) exits.erase(exits.begin());
  for_each_list_of_exits([&](auto& list) { list.push_back({c.id, c.report}); });
  if (c.report.rung != rung::abandoned) return;
  c.on_reclaimed = [this, who = c.id](const exit_report& report) {
    for_each_list_of_exits([&](auto& list) {
      const auto it = std::ranges::find(list, who, &actor_exit::actor);
      if (it != list.end()) it->report = report;
    });
  };
}

// A first try is nobody's actor.
void actor_set::state::forget_exit(child_slot& c) {
  c.began = false;  // If it is not noted yet.
  for_each_list_of_exits([&](auto& list) {
    std::erase_if(list, [&](const actor_exit& one) { return one.actor == c.id; });
  });
}

task<> actor_set::state::come_up(member* m, child_slot* c) {
  auto waiting = take(until_settled(c));
  settled<void> how = co_await captured<void>(std::move(waiting));
  if (!how.error() && !c->start_error && m->first) {
    auto answering = take(answer_init(m, c));
    how = co_await captured<void>(std::move(answering));
  }
  if (how.error()) {
    co_await end_child(&owner, c);
    std::rethrow_exception(how.error());
  }
  if (c->start_error) std::rethrow_exception(c->start_error);
  if (c->ended) throw actor_died(c->id.name, c->report);
  restarts.is_up(*m);  // In one go with that look: from now on its minder sees its death.
}

task<> actor_set::state::answer_init(member* m, child_slot* c) {
  auto calling = take(move_on_after(m->plan.start_within,
                                    raw_call(m->target, m->first.name(), m->first.arguments())));
  auto how = co_await captured<std::optional<payload>>(std::move(calling));
  if (how.error()) std::rethrow_exception(how.error());
  if (!how.value())
    throw timeout_error(fmt::format("actor '{}': its init '{}' did not end within {} s", c->id.name,
                                    m->first.name(),
                                    std::chrono::duration<double>(m->plan.start_within).count()));
}

task<> actor_set::state::start_first(member* m, child_slot* c) {
  const use starting(this, m);
  auto coming = take(come_up(m, c));
  auto how = co_await captured<void>(std::move(coming));
  if (how.error() && owner.plan_elsewhere(m->plan, how.error())) {
    forget_exit(*c);
    auto again = take(start(*m));
    how = co_await captured<void>(std::move(again));
  }
  if (how.error()) {
    m->now = tree::place::state::over;
    restarts.remove(*m);
    std::rethrow_exception(how.error());
  }
}

task<> actor_set::state::start(tree::place& p) {
  auto* m = static_cast<member*>(&p);
  if (m->earlier) owner.release(*m->earlier);
  m->earlier = m->target;
  return come_up(m, begin(*m));
}

task<> actor_set::state::stop(tree::place& p) {
  return end_child(&owner, owner.find(static_cast<member&>(p).target));
}

bool actor_set::state::is_there(const tree::place& p) const {
  const child_slot* c = owner.find(static_cast<const member&>(p).target);
  return c && !c->ended && !c->lost;
}

// One that fails does not cut the others short: their errors come out with its own.
task<> actor_set::state::until_nobody_takes(std::shared_ptr<one_shot_state> result) {
  co_await result->claimed.wait();
  while (!result->taken) {
    const auto open = [](const auto& other) { return !other->done.is_set(); };
    const auto it = std::ranges::find_if(results, open);
    if (it == results.end()) co_return;
    const std::shared_ptr<one_shot_state> other = *it;
    co_await other->done.wait();
  }
}

// The task of a one-shot, in the block's own nursery: its error is the block's if nobody takes it.
task<> actor_set::state::collect(use of, std::string function, payload arguments,
                                 std::shared_ptr<one_shot_state> result) {
  member* m = of.get();
  struct listing {
    ~listing() { std::erase(in->results, one); }
    state* const in;
    const std::shared_ptr<one_shot_state> one;
  };
  const listing until_collected{this, result};
  auto calling = take(raw_call(m->target, std::move(function), std::move(arguments)));
  result->how = co_await captured<payload>(std::move(calling));
  result->done.set();
  const std::exception_ptr error = result->how.error();
  child_slot* c = owner.find(m->target);
  const bool stopped = c->requested;
  co_await end_child(&owner, c);
  if (!error) co_return;
  if (is_cancelled(error)) std::rethrow_exception(error);
  if (stopped && is_end_of_actor(error)) co_return;  // Somebody wanted that: no failure.
  auto waiting = take(until_nobody_takes(result));
  auto how = co_await captured<void>(std::move(waiting));
  // Its death is told by who minds it, where that is a failure.
  if (!result->taken && !m->told) std::rethrow_exception(error);
  if (how.error()) std::rethrow_exception(how.error());
}

// --- the face ------------------------------------------------------------------------------------

actor_set::actor_set(tree::native_actor& owner, const nursery_options& options)
    : state_(std::make_unique<state>(owner, options)) {}

actor_set::~actor_set() {
  for (const auto& m : state_->members) state_->release(*m);
}

void actor_set::mind_in(nursery& minders) {
  state_->minders = &minders;
  if (state_->restarts.restarts_any())
    minders.start_soon("restarts", [](state* s) { return s->restarts.run(); }, state_.get());
}

task<call_target> actor_set::start(std::string_view name, const actor_options& options,
                                   init_call first) {
  member& m = state_->add(name, options);
  m.first = std::move(first);
  auto starting = [](state* s, member* of, child_slot* c) -> task<call_target> {
    co_await s->start_first(of, c);
    co_return of->target;
  };
  return starting(state_.get(), &m, state_->begin(m));
}

task<started_one_shot> actor_set::start_one_shot(nursery& tasks, std::string_view name,
                                                 const actor_options& options,
                                                 function_name function, payload arguments) {
  actor_options once = options;
  once.restart = restart_type::temporary;
  member& m = state_->add(name, once);
  auto starting = [](state* s, nursery* in, member* of, child_slot* c, std::string called,
                     payload with) -> task<started_one_shot> {
    co_await s->start_first(of, c);
    auto result = std::make_shared<one_shot_state>();
    s->results.push_back(result);
    if (s->body_over) result->claimed.set();
    auto collecting = [](state* by, state::use from, std::string what, payload kwargs,
                         std::shared_ptr<one_shot_state> to) {
      return by->collect(std::move(from), std::move(what), std::move(kwargs), std::move(to));
    };
    in->start_soon(fmt::format("result of actor {}", of->name), collecting, s, state::use(s, of),
                   std::move(called), std::move(with), result);
    started_one_shot started{of->target, std::move(result)};
    co_return started;
  };
  return starting(state_.get(), &tasks, &m, state_->begin(m), std::string(function.text()),
                  std::move(arguments));
}

task<call_target> actor_set::find(std::string_view name, duration within) {
  auto finding = [](state* s, std::string called, duration longest) -> task<call_target> {
    tree::place* p = co_await s->restarts.wait_up(std::move(called), longest);
    co_return static_cast<member*>(p)->target;
  };
  return finding(state_.get(), std::string(name), within);
}

std::size_t actor_set::restart_count(std::string_view name) const {
  const tree::place* p = state_->restarts.find(name);
  return p ? p->restarts : 0;
}

const std::vector<actor_exit>& actor_set::exits() const { return state_->exits; }

void actor_set::body_ended() {
  for (const auto& result : state_->results) result->claimed.set();
  state_->body_over = true;
}

void actor_set::stop_all() {
  state_->restarts.close();
  for (const auto& m : state_->members)
    if (child_slot* c = state_->owner.find(m->target); !c->ended) state_->owner.stop_child(*c);
}

task<payload> one_shot_result(std::shared_ptr<one_shot_state> state) {
  co_await state->done.wait();
  if (state->how.error()) {
    state->taken = true;
    state->claimed.set();
    std::rethrow_exception(state->how.error());
  }
  co_return state->how.value();
}

task<payload> raw_call(call_target t, std::string name, payload kwargs) {
  return t.caller->call(t, std::move(name), std::move(kwargs));
}
task<exit_report> cancel_target(call_target t) { return t.caller->cancel_child(t); }
uid target_id(call_target t) {
  const child_slot* c = t.caller->find(t);
  return c ? c->id : uid{};
}

}  // namespace coppice::detail
