// SPDX-License-Identifier: Apache-2.0
#include "port/call_table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/assert.hpp"
#include "base/uuid.hpp"

namespace coppice::port {

struct cancel_task_arguments {  // Not in the anonymous namespace: its field names are read.
  std::string cid;
};

namespace {

remote_error_info error_of(const uid& self, std::string type, std::string message) {
  remote_error_info e;
  e.type = e.source_type = std::move(type);
  e.message = std::move(message);
  e.source = self;
  e.path = {self};
  return e;
}

reply closed_reply(const std::string& why) {
  reply r;
  r.how = reply::kind::closed;
  r.why = why;
  return r;
}

}  // namespace

remote_error_info call_table::error_of_ours(std::string type, std::string message) const {
  return error_of(self_, std::move(type), std::move(message));
}

std::exception_ptr reply::to_exception(const std::string& name) const {
  switch (how) {
    case kind::error:
      return coppice::to_exception(error);
    case kind::died:
      return std::make_exception_ptr(actor_died(name, report));
    case kind::closed:
      return std::make_exception_ptr(
          transport_closed(fmt::format("connection to actor '{}' closed: {}", name, why)));
    case kind::value:
      break;
  }
  COPPICE_ASSERT(false, "a reply that carries a value is not an exception");
}

bool reply::is_cancellation(const uid& us) const {
  return how == kind::error && error.type == "ContextCancelled" &&
         (error.path.size() <= 1 || error.canceller == us);
}

void effects::perform() {
  for (auto& s : sends) s.to->send(std::move(s.message), s.urgency);
  for (auto& n : notices) n();
  for (auto& c : closes) c.link->close(std::move(c.why));
}

// --- links ---------------------------------------------------------------------------------------

void call_table::connected(const ipc::link_ptr& l, effects& out) {
  if (auto [it, is_new] = links_.try_emplace(l.get()); is_new) {
    it->second.link = l;
    it->second.nth = ++links_so_far_;
  }
  if (!closed_.empty()) {
    out.closes.push_back({l, closed_});
    return;
  }
  const std::string& uuid = l->peer().uuid;
  if (!parent_link_ && !parent_uuid_.empty() && uuid == parent_uuid_) parent_link_ = l;
  if (auto it = children_.find(uuid); it != children_.end() && !it->second.link) {
    it->second.link = l;
    if (it->second.watch.on_connected)
      out.notices.push_back([f = std::move(it->second.watch.on_connected), l]() mutable { f(l); });
  }
}

void call_table::closed(const ipc::link_ptr& l, const std::string& why, effects& out) {
  auto node = links_.extract(l.get());
  if (node.empty()) return;
  last_used_ = {};
  for (auto* list : {&wait_ready_, &cancel_asked_})
    std::erase_if(*list, [&](const waiting_peer& peer) { return peer.link == l; });
  if (registrar_) registrar_->closed(l);
  for (auto& [cid, id] : node.mapped().served) {
    auto& call = served_.at(id);
    if (!std::exchange(call.cancelled, true))
      out.events.push_back(call_cancelled{id, "its caller's connection closed: " + why});
  }
  for (const auto& [cid, id] : node.mapped().dialogs) end_dialog(id, out);
  // A child's requests wait for its exit report: the supervisor always delivers one, and it says
  // more than "closed".
  if (auto it = children_.find(l->peer().uuid); it != children_.end() && it->second.link == l)
    lost(it->second, why, out);
  else
    fail_requests(l, closed_reply(why), out);
  // After the replies: whoever waited learns why before it is told to end.
  if (l == parent_link_) {
    parent_link_.reset();
    early_.clear();
    out.events.push_back(cancel_requested{"its parent's connection closed: " + why, true});
  }
}

void call_table::lost(child& c, const std::string& why, effects& out) {
  if (auto f = std::exchange(c.watch.on_lost, {}))
    out.notices.push_back([f = std::move(f), why]() mutable { f(why); });
}

void call_table::set_parent(const std::string& uuid) {
  parent_uuid_ = uuid;
  for (const auto& [raw, state] : links_)
    if (!parent_link_ && !uuid.empty() && state.link->peer().uuid == uuid)
      parent_link_ = state.link;
}

void call_table::adopt(const std::string& uuid, child_watch watch, effects& out) {
  child c{std::move(watch), {}};
  if (closed_.empty())
    children_[uuid] = std::move(c);
  else
    lost(c, closed_, out);
}

void call_table::fail_requests(const ipc::link_ptr& l, const reply& r, effects& out) {
  std::vector<request_id> failed;
  for (auto& [id, request] : requests_)
    if (request.link == l) failed.push_back(id);
  for (auto id : failed) complete(id, reply(r), out);
}

void call_table::child_ended(const std::string& uuid, const exit_report& report, effects& out) {
  auto node = children_.extract(uuid);
  if (node.empty() || !node.mapped().link) return;
  reply r;
  r.how = reply::kind::died;
  r.report = report;
  fail_requests(node.mapped().link, r, out);
  out.closes.push_back({node.mapped().link, "the actor has ended: " + report.text()});
}

void call_table::child_lost(const std::string& uuid, const std::string& why, effects& out) {
  auto it = children_.find(uuid);
  if (it == children_.end() || !it->second.link) return;
  it->second.given_up = true;
  fail_requests(it->second.link, closed_reply(why), out);
}

void call_table::close(const std::string& why, effects& out) {
  if (closed_.empty()) closed_ = why.empty() ? "the actor has ended" : why;
  std::vector<request_id> all;
  for (auto& [id, request] : requests_) all.push_back(id);
  // In the order of connecting, not of addresses: same seed, same run.
  std::vector<const link_state*> open;
  for (auto& [link, state] : links_) open.push_back(&state);
  std::ranges::sort(open, {}, &link_state::nth);
  for (const link_state* state : open) out.closes.push_back({state->link, why});
  for (auto id : all) complete(id, closed_reply(why), out);
  for (auto& [uuid, c] : children_) lost(c, why, out);
  children_.clear();
  wait_ready_.clear();
  cancel_asked_.clear();
}

void call_table::breach(const ipc::link_ptr& from, std::string what, effects& out) {
  out.closes.push_back({from, "protocol error: " + std::move(what)});
}

void call_table::message(const ipc::link_ptr& from, msg::message&& m, effects& out) {
  auto state = links_.find(from.get());
  if (state == links_.end()) return;  // Closed meanwhile: a racing thread's last words.
  struct visitor {
    call_table& table;
    const ipc::link_ptr& from;
    link_state& state;
    effects& out;

    void operator()(msg::start&& m) { table.on_start(from, std::move(m), out); }
    void operator()(msg::start_ack&& m) { table.on_start_ack(state, m, out); }
    void operator()(msg::returned&& m) {
      reply r;
      r.how = reply::kind::value;
      r.value = std::move(m.pld);
      table.answer(from, m.cid, std::move(r), out);
    }
    void operator()(msg::cancel_ack&& m) { table.on_cancel_ack(state, m, out); }
    void operator()(msg::boxed_error&& m) { table.on_error(from, std::move(m), out); }
    void operator()(msg::spawn_spec&& m) { table.on_spec(from, std::move(m), out); }
    void operator()(msg::aid&&) { table.breach(from, "a second Aid", out); }
    void operator()(msg::started&& m) { table.on_started(state, std::move(m), out); }
    void operator()(msg::yield&& m) { table.on_value(state, std::move(m), out); }
    void operator()(msg::stop&& m) { table.on_stop(state, m, out); }
    void operator()(msg::credit&& m) { table.on_credit(state, m, out); }
    // The link's own affair: it answers a ping itself.
    void operator()(msg::ping&&) {}
    void operator()(msg::pong&&) {}
  };
  std::visit(visitor{*this, from, state->second, out}, std::move(m));
}

void call_table::values(const ipc::link_ptr& from, const std::string& cid,
                        std::vector<payload>&& run, effects& out) {
  if (const auto state = links_.find(from.get()); state != links_.end())
    on_values(state->second, cid, std::move(run), out);
}

void call_table::on_spec(const ipc::link_ptr& from, msg::spawn_spec&& m, effects& out) {
  if (from != parent_link_)
    return breach(from, "SpawnSpec from an actor that is not the parent", out);
  if (std::exchange(has_spec_, true)) return breach(from, "a second SpawnSpec", out);
  out.events.push_back(spec_arrived{std::move(m)});
}

void call_table::on_start(const ipc::link_ptr& from, msg::start&& m, effects& out) {
  auto& state = links_.at(from.get());
  if (m.uid != from->peer_uid())
    return breach(
        from,
        fmt::format("Start from '{}' on the connection of '{}'", m.uid.name, from->peer().name),
        out);
  if (state.served.contains(m.cid) || state.waiting.contains(m.cid) ||
      state.dialogs.contains(m.cid) || state.requests.contains(m.cid))
    return breach(from, "call id '" + m.cid + "' twice", out);
  const bool to_us = m.ns == "self";
  const std::size_t open = to_us ? state.waiting.size() : state.served.size() + early_.size();
  if (open >= limits_.calls_per_peer_max) {
    auto text = fmt::format("actor '{}' serves {} calls of '{}' already (calls_per_peer_max)",
                            self_.name, open, from->peer().name);
    return send_error(from, m.cid, error_of(self_, "LimitExceeded", std::move(text)), out);
  }
  if (comes_too_early(from, m)) return early_.push_back(std::move(m));
  if (to_us) return on_self_call(from, std::move(m), out);
  if (readiness_ == readiness::failed) return send_error(from, m.cid, start_failure_, out);
  const call_id id = next_id_++;
  state.served.emplace(m.cid, id);
  served_call call;
  call.link = from;
  call.cid = std::move(m.cid);
  call.name = m.ns + ":" + m.func;
  if (msg::announces(from->peer(), "credit")) call.credit = m.credit;
  served_.emplace(id, std::move(call));
  out.events.push_back(
      call_started{id, std::move(m.ns), std::move(m.func), std::move(m.kwargs), std::move(m.uid)});
}

// A parent of tractor's calls without having asked whether we are ready. To cancel an early call is
// early, too; to end is not.
bool call_table::comes_too_early(const ipc::link_ptr& from, const msg::start& m) const {
  if (readiness_ != readiness::starting || from != parent_link_ || from->peer().extensions)
    return false;
  return m.ns != "self" || (m.func == "_cancel_task" && !early_.empty());
}

void call_table::on_self_call(const ipc::link_ptr& from, msg::start&& m, effects& out) {
  auto ack = [&] { out.sends.push_back({from, msg::start_ack{m.cid}, {}}); };
  if (m.func == "cancel") {
    ack();  // Seen: at once, whatever the actor's own code is doing.
    wait_for_us(from, cancel_asked_, m.cid);
    if (!ended_by_) ended_by_ = from->peer_uid();
    out.events.push_back(cancel_requested{fmt::format("cancelled by '{}'", from->peer().name)});
  } else if (m.func == "_cancel_task") {
    on_cancel_task(from, m, out);
  } else if (m.func == "wait_ready") {
    ack();
    wait_for_us(from, wait_ready_, m.cid);
    if (readiness_ == readiness::ready) set_ready(nullptr, out);
    if (readiness_ == readiness::failed) set_ready(&start_failure_, out);
  } else if (registrar_ && registrar::serves(m.func)) {
    on_registrar_call(from, m, out);
  } else {
    send_error(from, m.cid,
               error_of(self_, "AttributeError",
                        fmt::format("an actor's runtime has no method '{}'", m.func)),
               out);
  }
}

// --- the registrar's -----------------------------------------------------------------------------

void call_table::become_registrar(registry_limits limits, registrar::publish_function publish) {
  registrar_ = std::make_unique<port::registrar>(limits, std::move(publish));
}

void call_table::on_registrar_call(const ipc::link_ptr& from, const msg::start& m, effects& out) {
  registrar::outcome outcome;
  links_.at(from.get()).waiting.insert(m.cid);
  registrar_->call(from, m, outcome);
  // What is refused is refused instead of being acknowledged.
  const bool refused = outcome.answers.size() == 1 && outcome.answers[0].cid == m.cid &&
                       std::holds_alternative<registrar::refusal>(outcome.answers[0].what);
  if (!refused) out.sends.push_back({from, msg::start_ack{m.cid}, ipc::urgency::lazy});
  answer_registrar_calls(std::move(outcome), out);
}

void call_table::answer_registrar_calls(registrar::outcome&& outcome, effects& out) {
  for (auto& a : outcome.answers) {
    if (!no_longer_waits({a.to, a.cid})) continue;
    if (auto* value = std::get_if<payload>(&a.what)) {
      out.sends.push_back({a.to, msg::returned{a.cid, std::move(*value)}, ipc::urgency::now});
    } else {
      auto& why = std::get<registrar::refusal>(a.what);
      send_error(a.to, a.cid, error_of(self_, std::move(why.type), std::move(why.message)), out);
    }
  }
  for (auto& uuid : outcome.publish)
    out.notices.push_back([f = registrar_->publish(), uuid = std::move(uuid)] { f(uuid); });
}

void call_table::register_here(const uid& who, const msg::wire_address& at, effects& out) {
  if (!registrar_) return;
  registrar::outcome outcome;
  registrar_->register_here(who, at, outcome);
  answer_registrar_calls(std::move(outcome), out);
}

void call_table::unregister_here(const uid& who) {
  if (registrar_) registrar_->unregister_here(who);
}

void call_table::published(const std::string& uuid, const registry::addresses& at, effects& out) {
  if (!registrar_) return;
  registrar::outcome outcome;
  registrar_->published(uuid, at, outcome);
  answer_registrar_calls(std::move(outcome), out);
}

void call_table::wait_for_us(const ipc::link_ptr& from, std::vector<waiting_peer>& list,
                             std::string cid) {
  links_.at(from.get()).waiting.insert(cid);
  list.push_back({from, std::move(cid)});
}

bool call_table::no_longer_waits(const waiting_peer& peer) {
  const auto it = links_.find(peer.link.get());
  return it != links_.end() && it->second.waiting.erase(peer.cid) != 0;
}

void call_table::on_cancel_task(const ipc::link_ptr& from, const msg::start& m, effects& out) {
  const auto refuse = [&](const std::string& why) {
    send_error(from, m.cid, error_of(self_, "TypeError", "_cancel_task(): " + why), out);
  };
  std::string cid;
  try {
    cid = from_payload<cancel_task_arguments>(m.kwargs).cid;
  } catch (const error& e) {
    return refuse(e.what());
  }
  if (cid.empty()) return refuse("the argument 'cid' is missing");
  out.sends.push_back({from, msg::start_ack{m.cid}, {}});
  auto& state = links_.at(from.get());
  auto it = state.served.find(cid);
  if (it == state.served.end()) {
    if (registrar_ && registrar_->withdraw(from, cid)) {
      state.waiting.erase(cid);
      auto why = fmt::format("cancelled by its caller '{}'", from->peer().name);
      const uid canceller = from->peer_uid();
      send_error(from, cid, error_of(self_, "ContextCancelled", std::move(why)), out, &canceller);
    }
    // Or it has ended already: that is what was wanted.
    out.sends.push_back({from, msg::cancel_ack{m.cid, true}, {}});
    return;
  }
  auto& call = served_.at(it->second);
  call.cancel_cids.push_back(m.cid);
  state.waiting.insert(m.cid);
  if (std::exchange(call.cancelled, true)) return;
  call.canceller = from->peer_uid();
  out.events.push_back(call_cancelled{
      it->second, fmt::format("cancelled by its caller '{}'", from->peer().name), call.canceller});
}

void call_table::on_error(const ipc::link_ptr& from, msg::boxed_error&& m, effects& out) {
  reply r;
  r.how = reply::kind::error;
  const auto cid = std::move(m.cid);
  r.error = msg::to_error_info(std::move(m));
  if (cid) {
    auto& state = links_.at(from.get());
    dialog_id id = 0;
    dialog* d = find_dialog(state, *cid, id);
    if (d && d->is_callee)
      out.events.push_back(
          dialog_changed{id, dialog_changed::kind::failed, payload(), std::move(r.error)});
    // It may be one of ours to cancel a call: nobody waits for its answer.
    state.cancels.erase(*cid);
    return answer(from, *cid, std::move(r), out);
  }
  // Without a call id it is the peer's runtime that failed: nothing on this link can be trusted.
  out.closes.push_back({from, fmt::format("its runtime failed: {}{}{}", r.error.type,
                                          r.error.message.empty() ? "" : ": ", r.error.message)});
}

void call_table::answer(const ipc::link_ptr& from, const std::string& cid, reply&& r,
                        effects& out) {
  auto& requests = links_.at(from.get()).requests;
  if (auto it = requests.find(cid); it != requests.end()) complete(it->second, std::move(r), out);
}

void call_table::complete(request_id id, reply&& r, effects& out) {
  auto node = requests_.extract(id);
  if (node.empty()) return;
  auto& request = node.mapped();
  if (auto it = links_.find(request.link.get()); it != links_.end())
    it->second.requests.erase(request.cid);
  end_dialog(id, out);
  if (request.on_reply)
    out.notices.push_back(
        [f = std::move(request.on_reply), r = std::move(r)]() mutable { f(std::move(r)); });
  else
    out.events.push_back(reply_arrived{id, std::move(r)});
}

// --- calls that this actor makes -----------------------------------------------------------------

request_id call_table::request(const ipc::link_ptr& to, std::string_view ns, std::string_view func,
                               payload kwargs, reply_handler on_reply, effects& out) {
  open_request request;
  request.link = to;
  request.on_reply = std::move(on_reply);
  return start_request(std::move(request), ns, func, std::move(kwargs), std::nullopt, out);
}

request_id call_table::start_request(open_request request, std::string_view ns,
                                     std::string_view func, payload kwargs,
                                     std::optional<stream_window> window, effects& out) {
  if (kwargs.size() > limits_.payload_bytes_max)
    throw limit_exceeded(fmt::format("arguments of '{}:{}' take {} bytes; payload_bytes_max is {}",
                                     ns, func, kwargs.size(), limits_.payload_bytes_max));
  const request_id id = next_id_++;
  const ipc::link_ptr to = request.link;
  request.cid = base::new_uuid();
  request.name = fmt::format("{}:{}", ns, func);
  std::string cid = request.cid;
  requests_.emplace(id, std::move(request));
  auto it = links_.find(to.get());
  if (it == links_.end()) {
    // A child whose report is still to come answers through child_ended().
    auto found = children_.find(to->peer().uuid);
    if (found == children_.end() || found->second.link != to || found->second.given_up)
      complete(id, closed_reply("it had ended before the call"), out);
    return id;
  }
  it->second.requests.emplace(cid, id);
  msg::start m{cid, std::string(ns), std::string(func), std::move(kwargs), self_};
  if (window) {
    const dialog& d = add_dialog(id, to, cid, false, *window);
    if (msg::announces(to->peer(), "credit")) m.credit = d.first_credit();
  }
  out.sends.push_back({to, std::move(m), ipc::urgency::now});
  return id;
}

void call_table::cancel_request(request_id id, effects& out) {
  const auto request = requests_.find(id);
  const auto d = dialogs_.find(id);
  ipc::link_ptr to;
  std::string target;
  if (request != requests_.end()) {
    if (std::exchange(request->second.cancel_sent, true)) return;
    to = request->second.link;
    target = request->second.cid;
  } else if (d != dialogs_.end() && !d->second.is_callee) {
    to = d->second.link;
    target = d->second.cid;
  }
  const auto l = links_.find(to.get());
  if (l == links_.end()) return;
  std::string cid = base::new_uuid();
  l->second.cancels.emplace(cid, id);
  out.sends.push_back({to,
                       msg::start{std::move(cid), "self", "_cancel_task",
                                  to_payload(cancel_task_arguments{std::move(target)}), self_},
                       ipc::urgency::now});
}

void call_table::forget(request_id id) {
  effects dropped;
  auto it = requests_.find(id);
  if (it == requests_.end()) return;
  it->second.on_reply = [](reply&&) {};
  complete(id, closed_reply("forgotten"), dropped);
  drop_dialog(id);
}

// --- calls that this actor serves ----------------------------------------------------------------

void call_table::acknowledge(call_id id, msg::call_kind functype, effects& out) {
  auto it = served_.find(id);
  if (it == served_.end() || std::exchange(it->second.acknowledged, true)) return;
  if (!links_.contains(it->second.link.get())) return;
  out.sends.push_back(
      {it->second.link, msg::start_ack{it->second.cid, functype}, ipc::urgency::lazy});
}

bool call_table::was_cancelled(call_id id) const {
  const auto it = served_.find(id);
  return it != served_.end() && it->second.cancelled;
}

call_table::served_call call_table::take_served(call_id id) {
  auto node = served_.extract(id);
  COPPICE_ASSERT(!node.empty(), "a served call is finished once");
  if (auto it = links_.find(node.mapped().link.get()); it != links_.end())
    it->second.served.erase(node.mapped().cid);
  drop_dialog(id);
  return std::move(node.mapped());
}

void call_table::ack_cancels(const served_call& call, effects& out) {
  for (const auto& cid : call.cancel_cids)
    if (no_longer_waits({call.link, cid}))
      out.sends.push_back({call.link, msg::cancel_ack{cid, true}, ipc::urgency::now});
}

void call_table::finish(call_id id, payload value, effects& out) {
  if (value.size() > limits_.payload_bytes_max)
    return finish(id,
                  error_of(self_, "LimitExceeded",
                           fmt::format("the result takes {} bytes; payload_bytes_max is {}",
                                       value.size(), limits_.payload_bytes_max)),
                  out);
  acknowledge(id, msg::call_kind::asyncfunc, out);
  const auto call = take_served(id);
  if (!links_.contains(call.link.get())) return;
  out.sends.push_back({call.link, msg::returned{call.cid, std::move(value)}, ipc::urgency::now});
  ack_cancels(call, out);
}

void call_table::finish(call_id id, remote_error_info error, effects& out) {
  const auto call = take_served(id);
  if (!links_.contains(call.link.get())) return;
  send_error(call.link, call.cid, std::move(error), out,
             call.cancelled ? &call.canceller : nullptr);
  ack_cancels(call, out);
}

// Who is to blame, if it is a cancellation: whoever the error names already, being of another
// dialog; the caller who cancelled it; whoever ended this actor; else it was the actor itself.
void call_table::send_error(const ipc::link_ptr& to, const std::string& cid, remote_error_info e,
                            effects& out, const uid* canceller) {
  if (e.type == "ContextCancelled" && !e.canceller)
    e.canceller = canceller ? *canceller : ended_by_.value_or(self_);
  out.sends.push_back({to, msg::to_message(std::move(e), cid), ipc::urgency::now});
}

void call_table::set_ready(const remote_error_info* failure, effects& out) {
  if (failure && failure != &start_failure_) start_failure_ = *failure;
  readiness_ = failure ? readiness::failed : readiness::ready;
  for (auto& peer : std::exchange(wait_ready_, {})) {
    if (!no_longer_waits(peer)) continue;
    if (failure)
      send_error(peer.link, peer.cid, start_failure_, out);
    else
      out.sends.push_back({peer.link, msg::returned{peer.cid, payload()}, ipc::urgency::now});
  }
  for (auto& m : std::exchange(early_, {})) on_start(parent_link_, std::move(m), out);
  if (failure && parent_link_ && !parent_link_->peer().extensions) fail_unasked(out);
}

void call_table::fail_unasked(effects& out) {
  out.sends.push_back(
      {parent_link_, msg::to_message(start_failure_, std::nullopt), ipc::urgency::now});
  out.events.push_back(cancel_requested{"it cannot serve: " + start_failure_.message});
}

void call_table::acknowledge_cancel(effects& out) {
  for (auto& peer : std::exchange(cancel_asked_, {}))
    if (no_longer_waits(peer))
      out.sends.push_back({peer.link, msg::cancel_ack{peer.cid, true}, ipc::urgency::now});
}

void call_table::describe(base::tree_writer& w) const {
  if (registrar_) registrar_->describe(w);
  for (const auto& [id, call] : served_)
    w.line(fmt::format("serves {} for '{}'{}", call.name, call.link->peer().name,
                       call.cancelled ? " (cancelled)" : ""));
  for (const auto& [id, request] : requests_)
    w.line(fmt::format("waits for {} of '{}'{}", request.name, request.link->peer().name,
                       request.cancel_sent ? " (cancel sent)" : ""));
  for (const auto& [id, d] : dialogs_)
    w.line(fmt::format("dialog {} with '{}': {} bytes to take{}{}", id, d.link->peer().name,
                       d.kept_bytes(), d.is_stopped() ? ", stopped" : "",
                       d.is_over() ? ", over" : ""));
}

}  // namespace coppice::port
