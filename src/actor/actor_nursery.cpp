// SPDX-License-Identifier: Apache-2.0
#include "coppice/actor_nursery.hpp"

#include <fmt/format.h>

#include <utility>

#include "actor/native_actor.hpp"

namespace coppice::detail {

using tree::child_slot;
using tree::native_actor;

namespace {

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

bool is_failure(const child_slot& c) {
  if (c.requested || c.start_error) return false;
  const auto& r = c.report;
  return !(r.how == exit_report::cause::returned ||
           (r.how == exit_report::cause::exited && r.status == 0));
}

/// One per actor, in the outer nursery of its block: the actor's life as a task.
task<> mind(native_actor* owner, child_slot* c) {
  auto waiting = take(until_gone(c));
  settled<void> how = co_await captured<void>(std::move(waiting));
  co_await end_child(owner, c);
  if (is_failure(*c)) throw actor_died(c->id.name, c->report);
  if (how.error()) std::rethrow_exception(how.error());
}

task<call_target> wait_up(native_actor* owner, call_target target) {
  child_slot* c = owner->find(target);
  auto waiting = take(until_settled(c));
  settled<void> how = co_await captured<void>(std::move(waiting));
  if (how.error()) {
    co_await end_child(owner, c);
    std::rethrow_exception(how.error());
  }
  if (c->start_error) std::rethrow_exception(c->start_error);
  co_return target;
}

}  // namespace

task<call_target> actor_set::start(std::string_view name, const actor_options& options) {
  child_slot& c = owner_.start_child(name, options);
  const call_target target = owner_.target_of(c);
  started_.push_back(target);
  minders_->start_soon(fmt::format("actor {}", name), mind, &owner_, &c);
  return wait_up(&owner_, target);
}

void actor_set::stop_all() {
  for (auto t : started_)
    if (child_slot* c = owner_.find(t); !c->ended) owner_.stop_child(*c);
}

actor_set::~actor_set() {
  for (auto t : started_) owner_.release(t);
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
