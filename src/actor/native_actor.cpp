// SPDX-License-Identifier: Apache-2.0
#include "actor/native_actor.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "actor/backends.hpp"
#include "actor/native_dialog.hpp"
#include "base/assert.hpp"
#include "base/uuid.hpp"
#include "coppice/kw.hpp"
#include "coppice/time.hpp"

namespace coppice {

std::string_view actor::name() const noexcept { return runtime_.self().name; }
const uid& actor::id() const noexcept { return runtime_.id(); }

namespace tree {

namespace {
remote_error_info simple_error(const uid& self, std::string type, std::string message) {
  remote_error_info e;
  e.type = e.source_type = std::move(type);
  e.message = std::move(message);
  e.source = self;
  e.path = {self};
  return e;
}

// Wrong arguments throw before anything runs: inside a task that is an error of the call like any.
task<payload> invoke(exposed endpoint, actor* self, payload kwargs) {
  co_return co_await endpoint.invoke(*self, std::move(kwargs));
}
}  // namespace

native_actor::native_actor(process_runtime& runtime, std::shared_ptr<core::loop> loop,
                           msg::aid self, std::vector<exposed> endpoints)
    : actor_port(self),
      runtime_(runtime),
      loop_(std::move(loop)),
      id_{self.name, self.uuid},
      table_(id_, runtime.options().calls),
      endpoints_(std::move(endpoints)),
      face_(*this) {}

native_actor::~native_actor() = default;

// --- actor_port ----------------------------------------------------------------------------------

template <class F>
void native_actor::on_loop(F&& f, bool quiet) {
  if (loop_->on_loop_thread()) {
    f(*this);
    return;
  }
  // Weak: an item in the inbox of a loop that runs no more must not keep us, who keep the loop.
  // Whoever runs the loop keeps us until its run ends.
  auto run = [weak = weak_from_this(), f = std::forward<F>(f)]() mutable {
    if (const auto me = weak.lock()) f(*me);
  };
  quiet ? loop_->post_quiet(std::move(run)) : loop_->post(std::move(run));
}

// Who watches a child hears of its link from here, whatever our loop does at the moment. What that
// leads to wakes the loop, if anything has to.
void native_actor::on_connected(const ipc::link_ptr& l) {
  auto watcher = take_watcher(l->peer().uuid);
  const bool is_child{watcher};
  on_loop(
      [l](native_actor& me) {
        port::effects out;
        me.table_.connected(l, out);
        me.apply(std::move(out));
      },
      is_child);
  if (is_child) watcher(l);
}

native_actor::link_watcher native_actor::take_watcher(const std::string& uuid) {
  std::lock_guard lock(watchers_mutex_);
  const auto node = watchers_.extract(uuid);
  return node ? std::move(node.mapped()) : link_watcher();
}

void native_actor::on_message(const ipc::link_ptr& from, msg::message&& m, ipc::urgency u) {
  on_loop(
      [from, m = std::move(m)](native_actor& me) mutable {
        port::effects out;
        me.table_.message(from, std::move(m), out);
        me.apply(std::move(out));
      },
      u == ipc::urgency::lazy);
}

void native_actor::on_values(const ipc::link_ptr& from, const std::string& cid,
                             std::vector<payload>&& values) {
  on_loop([from, cid, values = std::move(values)](native_actor& me) mutable {
    port::effects out;
    me.table_.values(from, cid, std::move(values), out);
    me.apply(std::move(out));
  });
}

void native_actor::on_closed(const ipc::link_ptr& from, const std::string& why) {
  on_loop([from, why](native_actor& me) {
    for (auto& slot : me.slots_) {
      child_slot* c = slot.child.get();
      if (!c || c->is_child || c->link != from) continue;
      c->closed_why = why;
      c->ended = true;
      c->link.reset();
      c->gone.set();
    }
    port::effects out;
    me.table_.closed(from, why, out);
    me.apply(std::move(out));
  });
}

void native_actor::adopt(const std::string& uuid, port::child_watch watch) {
  {
    std::lock_guard lock(watchers_mutex_);
    watchers_.insert_or_assign(uuid, std::exchange(watch.on_connected, nullptr));
  }
  on_loop([uuid, watch = std::move(watch)](native_actor& me) mutable {
    if (me.left_) me.take_watcher(uuid);
    port::effects out;
    me.table_.adopt(uuid, std::move(watch), out);
    me.apply(std::move(out));
  });
}

void native_actor::request(ipc::link_ptr to, std::string ns, std::string func, payload kwargs,
                           port::reply_handler on_reply) {
  const std::size_t largest = runtime_.options().calls.payload_bytes_max;
  if (kwargs.size() > largest)  // Here, where there is somebody to hear it.
    throw limit_exceeded(fmt::format("arguments of '{}:{}' take {} bytes; payload_bytes_max is {}",
                                     ns, func, kwargs.size(), largest));
  on_loop([to = std::move(to), ns = std::move(ns), func = std::move(func),
           kwargs = std::move(kwargs), on_reply = std::move(on_reply)](native_actor& me) mutable {
    port::effects out;
    me.table_.request(to, ns, func, std::move(kwargs), std::move(on_reply), out);
    me.apply(std::move(out));
  });
}

void native_actor::child_changed(port::child_changed change) {
  if (change.what != port::child_changed::kind::started) take_watcher(change.uuid);
  on_loop([change = std::move(change)](native_actor& me) mutable {
    port::effects out;
    if (change.what == port::child_changed::kind::lost)
      me.table_.child_lost(change.uuid, change.report.detail, out);
    else if (change.what == port::child_changed::kind::ended ||
             change.what == port::child_changed::kind::start_failed)
      me.table_.child_ended(change.uuid, change.report, out);
    out.events.push_back(std::move(change));
    me.apply(std::move(out));
  });
}

void native_actor::cancel(std::string why) {
  on_loop([why = std::move(why)](native_actor& me) mutable {
    me.act(port::cancel_requested{std::move(why)});
  });
}

void native_actor::become_registrar(port::registry_limits limits,
                                    port::registrar::publish_function publish) {
  on_loop([limits, publish = std::move(publish)](native_actor& me) {
    me.table_.become_registrar(limits, publish);
  });
}

void native_actor::published(const std::string& uuid, const port::registry::addresses& at) {
  on_loop([uuid, at](native_actor& me) {
    port::effects out;
    me.table_.published(uuid, at, out);
    me.apply(std::move(out));
  });
}

void native_actor::register_here(const uid& who, const msg::wire_address& at, ipc::urgency u) {
  on_loop(
      [who, at](native_actor& me) {
        port::effects out;
        me.table_.register_here(who, at, out);
        me.apply(std::move(out));
      },
      u == ipc::urgency::lazy);
}

void native_actor::unregister_here(const uid& who) {
  on_loop([who](native_actor& me) { me.table_.unregister_here(who); });
}

void native_actor::set_parent(const std::string& uuid) { table_.set_parent(uuid); }

void native_actor::listens(std::shared_ptr<ipc::listener> listener) {
  if (left_) return listener->close();
  listeners_.push_back(std::move(listener));
}

void native_actor::close(std::string why) {
  on_loop([why = std::move(why)](native_actor& me) { me.leave(why); });
}

void native_actor::describe(base::tree_writer& w) {
  w.line(fmt::format("actor '{}'", id_.name));
  auto level = w.deeper();
  table_.describe(w);
  loop_->describe(w);
}

void native_actor::apply(port::effects&& out) {
  auto events = std::exchange(out.events, {});
  for (auto& e : events) std::visit([this](auto& one) { act(std::move(one)); }, e);
  for (auto& s : out.sends) deliver(std::move(s));
  out.sends.clear();
  for (const auto& c : out.closes) flush(c.link.get());
  out.perform();
}

void native_actor::deliver_streams() {
  auto& sends = stream_effects_.sends;
  while (!sends.empty()) {  // Off the list first: what is sent may come back to us at once.
    auto one = std::move(sends.back());
    sends.pop_back();
    deliver(std::move(one));
  }
}

void native_actor::deliver(port::effects::sending&& s) {
  flush(s.to.get());
  s.to->send(std::move(s.message), s.urgency);
}

void native_actor::send_value(port::dialog_id id, const port::dialog& of, payload&& value) {
  auto& batches = outbox_.batches;
  auto it = std::ranges::find(batches, id, &outbox::batch::id);
  if (it == batches.end()) {
    it = batches.insert(it, {id, of.link, of.cid, {}});
    it->values.reserve(outbox_.usual);
    loop_->at_turn_end(outbox_);
  }
  it->values.push_back(std::move(value));
}

void native_actor::flush(const ipc::link* only) {
  auto& batches = outbox_.batches;
  for (std::size_t i = 0; i < batches.size();) {
    if (only && batches[i].to.get() != only) {
      ++i;
      continue;
    }
    // Off the list first: what is sent may come back to us at once.
    outbox::batch one = std::move(batches[i]);
    batches.erase(batches.begin() + static_cast<std::ptrdiff_t>(i));
    outbox_.usual = one.values.size();
    one.to->send_values(one.cid, std::move(one.values));
  }
}

// --- events --------------------------------------------------------------------------------------

void native_actor::act(port::call_started&& e) {
  const std::string name = e.ns + ":" + e.func;
  const auto visible = [&](const exposed& x) {
    return enabled_.empty() || std::ranges::find(enabled_, x.name().module()) != enabled_.end();
  };
  bool module_known = false;
  for (const exposed& x : endpoints_) {
    if (!visible(x)) continue;
    if (x.name().text() == name && calls_ && x.kind() != endpoint_kind::call) {
      return calls_->start_soon(name, serve_dialog, this, std::move(e), x);
    }
    if (x.name().text() == name && calls_) {
      calls_->start_soon(
          name,
          [](native_actor* me, port::call_id id, exposed endpoint, payload kwargs) {
            return me->run_call(id, endpoint, std::move(kwargs));
          },
          this, e.id, x, std::move(e.kwargs));
      return;
    }
    module_known |= x.name().module() == e.ns;
  }
  port::effects out;
  remote_error_info error;
  if (!calls_)
    error = simple_error(id_, "TransportClosed", fmt::format("actor '{}' is ending", id_.name));
  else if (module_known)
    error = simple_error(id_, "AttributeError",
                         fmt::format("module '{}' has no function '{}'", e.ns, e.func));
  else
    error = simple_error(
        id_, "ModuleNotExposed",
        fmt::format("'{}' is not exposed by actor '{}': list its endpoints in main(), or name the "
                    "module in enable_modules",
                    e.ns, id_.name));
  table_.finish(e.id, std::move(error), out);
  apply(std::move(out));
}

task<> native_actor::run_call(port::call_id id, exposed endpoint, payload kwargs) {
  detail::task_node& node = co_await detail::this_task{};
  std::exception_ptr failure;
  std::optional<payload> value;
  {
    cancel_scope scope(node, {.name = std::string(endpoint.name().text())});
    call_runs(id, scope);
    port::effects out;
    table_.acknowledge(id, msg::call_kind::asyncfunc, out);
    apply(std::move(out));
    auto frame = detail::take(invoke(endpoint, &face_, std::move(kwargs)));
    detail::settled<payload> how = co_await detail::captured<payload>(std::move(frame));
    call_ran(id);
    failure = how.error();
    if (!failure) value.emplace(std::move(how.value()));
    if (failure) scope.absorbs(failure);
  }
  if (value) {
    port::effects out;
    table_.finish(id, std::move(*value), out);
    apply(std::move(out));
    co_return;
  }
  finish_with(id, failure);
}

void native_actor::call_runs(port::call_id id, cancel_scope& scope) {
  running_.emplace(id, &scope);
  if (auto early = cancelled_early_.extract(id)) scope.cancel(early.mapped());
}

void native_actor::finish_with(port::call_id id, const std::exception_ptr& e) {
  if (detail::is_cancelled(e)) return finish_cancelled(id, e, false);
  port::effects out;
  table_.finish(id, to_remote(e, id_, runtime_.options().errors), out);
  apply(std::move(out));
}

void native_actor::finish_cancelled(port::call_id id, const std::exception_ptr& e, bool by_itself) {
  auto error = simple_error(id_, "ContextCancelled",
                            fmt::format("actor '{}': {}", id_.name, describe_exception(e)));
  if (by_itself) error.canceller = id_;
  port::effects out;
  table_.finish(id, std::move(error), out);
  apply(std::move(out));
}

void native_actor::act(port::call_cancelled&& e) {
  if (auto d = dialogs_.find(e.id); d != dialogs_.end() && !e.canceller.uuid.empty())
    d->second->cancelled_by(e.canceller);
  if (auto it = running_.find(e.id); it != running_.end()) return it->second->cancel(e.why);
  // Its task has not begun: it will find its scope cancelled as soon as it opens it.
  cancelled_early_.insert_or_assign(e.id, std::move(e.why));
}

void native_actor::act(port::dialog_changed&& e) {
  if (auto it = dialogs_.find(e.id); it != dialogs_.end()) it->second->changed(std::move(e));
}

void native_actor::act(port::reply_arrived&&) {}  // Every request of ours has a handler.

void native_actor::act(port::cancel_requested&& e) {
  if (cancel_why_) return;
  cancel_why_ = std::move(e.why);
  lost_parent_ = e.by_parent_loss;
  if (calls_) calls_->cancel(*cancel_why_);
}

void native_actor::act(port::spec_arrived&& e) {
  runtime_vars_ = std::move(e.spec.runtime_vars);
  for (const auto& [name, path] : e.spec.enable_modules.list) enabled_.push_back(name);
  if (!alone_) return ready(nullptr);
  // The only one who can register a process is itself.
  const auto me = shared_from_this();
  runtime_.join_registrars(me, std::move(e.spec.reg_addrs), [me](std::exception_ptr failure) {
    me->on_loop([failure = std::move(failure)](native_actor& self) { self.ready(failure); });
  });
}

void native_actor::ready(const std::exception_ptr& failure) {
  port::effects out;
  if (failure) {
    const auto info = to_remote(failure, id_);
    table_.set_ready(&info, out);
  } else {
    table_.set_ready(nullptr, out);
  }
  apply(std::move(out));
}

void native_actor::act(port::child_changed&& e) {
  auto it = slot_of_.find(e.uuid);
  if (e.what == port::child_changed::kind::reclaimed) {
    if (it != slot_of_.end()) slots_[it->second].child->came_back(e.report);
    return runtime_.tell_if_hard({{e.name, e.uuid}, e.report});
  }
  if (it == slot_of_.end()) return;
  child_slot& c = *slots_[it->second].child;
  switch (e.what) {
    case port::child_changed::kind::started:
      c.link = std::move(e.link);
      c.up = true;
      c.settled.set();
      break;
    case port::child_changed::kind::lost:
      c.lost = true;
      break;
    case port::child_changed::kind::start_failed:
      c.start_error = e.error;
      c.began = e.began;
      c.report = std::move(e.report);
      c.ended = true;
      c.settled.set();
      c.gone.set();
      break;
    case port::child_changed::kind::ended:
      c.report = std::move(e.report);
      c.requested = e.requested;
      c.ended = true;
      c.link.reset();
      c.gone.set();
      break;
    case port::child_changed::kind::reclaimed:
      break;
  }
  if (c.ended) runtime_.tell_if_hard({c.id, c.report});
}

// --- its life ------------------------------------------------------------------------------------

task<> native_actor::serving(std::function<task<>()> body) {
  co_await open_nursery(id_.name, [&](nursery& n) -> task<> {
    calls_ = &n;
    if (cancel_why_) n.cancel(*cancel_why_);
    auto inner = detail::take(body());
    auto how = co_await detail::captured<void>(std::move(inner));
    calls_ = nullptr;  // From here on its block ends: nothing may be started in it any more.
    n.cancel("the actor has ended");
    if (how.error()) std::rethrow_exception(how.error());
  });
}

task<> native_actor::serve(std::string parent_uuid, std::function<void()> connect) {
  if (!parent_uuid.empty()) set_parent(parent_uuid);
  // Joined only when it can serve: a call may come right behind the handshake.
  auto join = [&connect]() -> task<> {
    connect();
    co_await sleep_forever();
  };
  std::function<task<>()> body = join;
  auto frame = detail::take(serving(std::move(body)));
  auto how = co_await detail::captured<void>(std::move(frame));
  port::effects out;
  table_.acknowledge_cancel(out);
  apply(std::move(out));
  leave("the actor has ended");
  co_await checkpoint();  // What was queued leaves at the end of this turn.
  if (how.error() && !detail::is_cancelled(how.error())) std::rethrow_exception(how.error());
}

task<> native_actor::run_root(std::function<task<>(actor&)> body) {
  port::effects out;
  table_.set_ready(nullptr, out);
  apply(std::move(out));
  std::function<task<>()> run = [this, &body] { return body(face_); };
  auto frame = detail::take(serving(std::move(run)));
  auto how = co_await detail::captured<void>(std::move(frame));
  port::effects last;
  table_.acknowledge_cancel(last);
  apply(std::move(last));
  leave("the root has ended");
  if (how.error()) std::rethrow_exception(how.error());
}

task<> native_actor::enter_registry(std::vector<msg::wire_address> at,
                                    std::vector<msg::wire_address> joined) {
  // Shared: it is told on the control loop, perhaps when nobody waits any more.
  const auto entered = std::make_shared<core::one_shot<std::exception_ptr>>("the registrar");
  auto told = [to = loop_->ref(), entered](std::exception_ptr e) {
    to.post([entered, e = std::move(e)] { entered->set(e); });
  };
  if (joined.empty())
    runtime_.open_as_registrar(shared_from_this(), std::move(at), std::move(told));
  else
    runtime_.join_registrars(shared_from_this(), std::move(joined), std::move(told));
  const std::exception_ptr failure = co_await entered->wait();
  if (failure) std::rethrow_exception(failure);
}

void native_actor::leave(const std::string& why) {
  if (std::exchange(left_, true)) return;
  for (const auto& l : std::exchange(listeners_, {})) l->close();
  runtime_.actor_ended(*this);
  decltype(watchers_) unheard;  // They end without the lock.
  {
    std::lock_guard lock(watchers_mutex_);
    unheard.swap(watchers_);
  }
  port::effects out;
  table_.close(why, out);
  apply(std::move(out));
}

// --- children ------------------------------------------------------------------------------------

child_plan native_actor::plan_child(std::string_view name, const actor_options& options) {
  spawn::child_spec spec;
  spec.self.name = name;
  spec.gil = options.gil;
  spec.cwd = options.cwd.view();
  if (!options.enable_transports.empty())
    spec.transport = ipc::parse_transport(*options.enable_transports.begin());
  if (!options.executable.empty())
    spec.program = tractor_child_program(std::string(options.executable.view()));
  spec.spec.parent_main_data = to_payload(std::map<std::string, std::string>());
  spec.spec.runtime_vars = runtime_vars_;
  spec.native = spec.program.empty();
  for (std::string_view module : options.enable_modules) {
    spec.spec.enable_modules.list.emplace_back(std::string(module), std::string());
    const bool ours = std::ranges::any_of(
        endpoints_, [&](const exposed& x) { return x.name().module() == module; });
    spec.native = spec.native && ours;
  }
  const spawn::method* chosen = spawn::find_method(options.backend.text());
  if (chosen && !chosen->native) spec.native = false;
  const bool is_open = options.backend == spawn::automatic;
  const std::string key(is_open ? runtime_.key_for(spec) : options.backend.text());
  auto& backend = runtime_.backend_for(key, spec);
  return {&backend, std::move(spec), options.stop, options.start_within, is_open};
}

bool native_actor::plan_elsewhere(child_plan& plan, const std::exception_ptr& why) {
  if (!plan.is_open || !runtime_.needs_main_interpreter(plan.spec, why)) return false;
  plan.backend = &runtime_.backend_for(std::string(runtime_.key_for(plan.spec)), plan.spec);
  return true;
}

child_slot& native_actor::start_child(const child_plan& plan) {
  spawn::child_spec spec = plan.spec;
  spec.self = aid_of({plan.spec.self.name, base::new_uuid()});
  auto made = std::make_unique<child_slot>(uid{spec.self.name, spec.self.uuid});
  child_slot& c = *made;
  slot_of_.emplace(spec.self.uuid, add_slot(std::move(made)).slot);
  runtime_.start_child(shared_from_this(), *plan.backend, std::move(spec), plan.stop,
                       plan.start_within);
  return c;
}

detail::call_target native_actor::add_slot(std::unique_ptr<child_slot> made) {
  std::uint32_t index = 0;
  while (index < slots_.size() && slots_[index].child) ++index;
  if (index == slots_.size()) slots_.emplace_back();
  slots_[index].child = std::move(made);
  return {this, index, slots_[index].generation};
}

detail::call_target native_actor::name_peer(const ipc::link_ptr& l) {
  auto made = std::make_unique<child_slot>(l->peer_uid(), false);
  made->link = l;
  made->up = true;
  made->settled.set();
  return add_slot(std::move(made));
}

detail::call_target native_actor::target_of(const child_slot& c) const {
  const auto index = slot_of_.at(c.id.uuid);
  return {const_cast<native_actor*>(this), index, slots_[index].generation};
}

child_slot* native_actor::find(detail::call_target t) {
  const bool there = t.slot < slots_.size() && slots_[t.slot].generation == t.generation;
  return there ? slots_[t.slot].child.get() : nullptr;
}

child_slot& native_actor::reach(detail::call_target t) {
  child_slot* c = find(t);
  if (!c) throw actor_died("(ended)", {});
  if (c->ended && c->is_child) throw actor_died(c->id.name, c->report);
  if (c->ended)
    throw transport_closed(
        fmt::format("connection to actor '{}' closed: {}", c->id.name, c->closed_why));
  COPPICE_ASSERT(c->link, "a portal names a started actor");
  return *c;
}

void native_actor::release(detail::call_target t) {
  auto& entry = slots_.at(t.slot);
  if (entry.child->is_child) slot_of_.erase(entry.child->id.uuid);
  entry.child.reset();
  ++entry.generation;
}

void native_actor::stop_child(child_slot& c, std::optional<stop_policy> policy) {
  c.requested = true;
  runtime_.supervision().stop(c.id.uuid, policy);
}

task<exit_report> native_actor::cancel_child(detail::call_target t) {
  child_slot* c = find(t);
  if (!c) co_return exit_report{};
  if (!c->is_child) co_return co_await cancel_peer(*c);
  if (!c->ended) stop_child(*c);
  co_await c->gone.wait();
  c = find(t);  // Its block may have forgotten it since.
  co_return c ? c->report : exit_report{};
}

// Asked by a message, and given as long as a call: its own parent has the ladder.
task<exit_report> native_actor::cancel_peer(child_slot& c) {
  if (c.ended) co_return exit_report{};
  core::one_shot<port::reply> answer("the end of actor " + c.id.name);
  const std::string who = c.id.name;
  port::effects out;
  const auto id = table_.request(
      c.link, "self", "cancel", to_kwargs(),
      [&answer](port::reply&& r) { answer.set(std::move(r)); }, out);
  apply(std::move(out));
  auto waiting = detail::take(move_on_after(call_cancel_within, wait_for(&answer)));
  auto how = co_await detail::captured<std::optional<port::reply>>(std::move(waiting));
  if (!answer.delivered()) table_.forget(id);
  if (how.error()) std::rethrow_exception(how.error());
  const std::optional<port::reply> r = std::move(how.value());
  if (!r)
    throw timeout_error(fmt::format("actor '{}' did not end within {} ms of being asked", who,
                                    call_cancel_within.count() / 1'000'000));
  if (r->how == port::reply::kind::error) std::rethrow_exception(r->to_exception(who));
  exit_report report;
  report.rung = rung::asked;
  co_return report;
}

task<payload> native_actor::call(detail::call_target t, std::string name, payload kwargs) {
  const child_slot& c = reach(t);
  const std::string who = c.id.name;
  const auto colon = name.find(':');
  core::one_shot<port::reply> answer("reply to " + name);
  port::effects out;
  const auto id = table_.request(
      c.link, std::string_view(name).substr(0, colon), std::string_view(name).substr(colon + 1),
      std::move(kwargs), [&answer](port::reply&& r) { answer.set(std::move(r)); }, out);
  apply(std::move(out));

  auto waiting = detail::take(wait_for(&answer));
  auto how = co_await detail::captured<port::reply>(std::move(waiting));
  if (how.error()) {
    const std::string what = fmt::format("'{}' of actor '{}'", name, who);
    const port::reply late = co_await end_cancelled_call(id, &answer, what);
    // An error is never lost to a cancellation: the callee had failed before it was told.
    if (late.how == port::reply::kind::error && !late.is_cancellation(id_))
      std::rethrow_exception(late.to_exception(who));
    std::rethrow_exception(how.error());
  }
  port::reply r = std::move(how.value());
  if (r.how == port::reply::kind::value) co_return std::move(r.value);
  std::rethrow_exception(r.to_exception(who));
}

// Our side was cancelled: so is the callee's, and its end is waited for, shielded and bounded.
task<port::reply> native_actor::end_cancelled_call(port::request_id id,
                                                   core::one_shot<port::reply>* answer,
                                                   std::string what) {
  port::effects out;
  table_.cancel_request(id, out);
  apply(std::move(out));
  detail::task_node& node = co_await detail::this_task{};
  cancel_scope shield(node, {.name = "end of a cancelled call", .shield = true});
  shield.set_deadline(loop_->now() + call_cancel_within);
  auto waiting = detail::take(wait_for(answer));
  auto late = co_await detail::captured<port::reply>(std::move(waiting));
  if (!late.error()) co_return std::move(late.value());
  shield.absorbs(late.error());
  table_.forget(id);
  throw call_stuck(fmt::format("{} was cancelled and did not end within {} ms", what,
                               call_cancel_within.count() / 1'000'000));
}

}  // namespace tree
}  // namespace coppice
