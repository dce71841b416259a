// SPDX-License-Identifier: Apache-2.0
// The half of call_table that knows dialogs: contexts, and one-way streams of async generators.
#include <fmt/format.h>

#include <utility>

#include "base/assert.hpp"
#include "port/call_table.hpp"

namespace coppice::port {

namespace {

std::string_view kind_text(msg::call_kind kind) {
  switch (kind) {
    case msg::call_kind::asyncfunc:
      return "a function that is called with run()";
    case msg::call_kind::asyncgen:
      return "an async generator: open a stream from it";
    case msg::call_kind::context:
      return "a context: open it with open_context()";
  }
  return "";
}

}  // namespace

// --- the list of them ----------------------------------------------------------------------------

dialog& call_table::add_dialog(dialog_id id, const ipc::link_ptr& l, const std::string& cid,
                               bool callee, stream_window window) {
  links_.at(l.get()).dialogs.emplace(cid, id);
  return dialogs_.try_emplace(id, l, cid, callee, window).first->second;
}

dialog* call_table::find_dialog(link_state& state, const std::string& cid, dialog_id& id) {
  if (state.last && state.last->cid == cid) {
    id = state.last_id;
    return state.last;
  }
  const auto it = state.dialogs.find(cid);
  if (it == state.dialogs.end()) return nullptr;
  id = state.last_id = it->second;
  return state.last = &dialogs_.at(id);
}

// Streams are used in runs: the same one many times in a row.
dialog* call_table::find_dialog(dialog_id id) {
  if (last_used_.dialog && last_used_.id == id) return last_used_.dialog;
  const auto it = dialogs_.find(id);
  if (it == dialogs_.end()) return nullptr;
  const auto of = links_.find(it->second.link.get());
  last_used_ = {id, &it->second, of == links_.end() ? nullptr : &of->second};
  return last_used_.dialog;
}

void call_table::drop_dialog(dialog_id id) {
  const auto it = dialogs_.find(id);
  if (it == dialogs_.end()) return;
  last_used_ = {};
  if (const auto l = links_.find(it->second.link.get()); l != links_.end()) {
    link_state& state = l->second;
    state.kept_bytes -= it->second.kept_bytes();
    state.dialogs.erase(it->second.cid);
    if (state.last == &it->second) state.last = nullptr;
  }
  dialogs_.erase(it);
}

void call_table::end_dialog(dialog_id id, effects& out) {
  dialog* const d = find_dialog(id);
  if (!d || d->is_over()) return;
  const bool said = d->has_peer_stopped();
  d->end();
  if (!said) out.events.push_back(dialog_changed{id, dialog_changed::kind::readable});
  out.events.push_back(dialog_changed{id, dialog_changed::kind::writable});
}

// --- what the peer says --------------------------------------------------------------------------

void call_table::on_start_ack(link_state& state, const msg::start_ack& m, effects& out) {
  const auto it = state.requests.find(m.cid);
  if (it == state.requests.end()) return;
  const request_id id = it->second;
  const open_request& request = requests_.at(id);
  if (request.expected == m.functype) {
    dialog_id found = 0;
    if (dialog* d = find_dialog(state, m.cid, found)) {
      if (d->peer_credits()) return breach(state.link, "a second StartAck", out);
      d->functype = m.functype;
      if (m.credit && msg::announces(state.link->peer(), "credit")) d->peer_gives(*m.credit);
    }
    return;
  }
  // The two sides would wait for each other: end the callee's, tell the caller.
  auto text = fmt::format("'{}' is {}", request.name, kind_text(m.functype));
  cancel_request(id, out);
  reply r;
  r.how = reply::kind::error;
  r.error = error_of_ours("TypeError", std::move(text));
  complete(id, std::move(r), out);
}

void call_table::on_started(link_state& state, msg::started&& m, effects& out) {
  dialog_id id = 0;
  dialog* d = find_dialog(state, m.cid, id);
  if (!d || d->is_callee || d->is_over()) return;  // Late, not wrong.
  if (std::exchange(d->has_started, true)) return breach(state.link, "a second Started", out);
  out.events.push_back(dialog_changed{id, dialog_changed::kind::started, std::move(m.pld)});
}

template <class Arrive>
void call_table::take_in(link_state& state, const std::string& cid, Arrive arrive, effects& out) {
  dialog_id id = 0;
  dialog* d = find_dialog(state, cid, id);
  if (!d) return;
  const bool was_readable = d->readable();
  const std::size_t others = state.kept_bytes - d->kept_bytes();
  arrive(*d);
  state.kept_bytes = others + d->kept_bytes();
  if (state.kept_bytes > limits_.stream_bytes_per_peer_max)
    out.closes.push_back({state.link, fmt::format("{} bytes of its streams wait to be taken "
                                                  "(stream_bytes_per_peer_max)",
                                                  state.kept_bytes)});
  if (!was_readable && d->readable())
    out.events.push_back(dialog_changed{id, dialog_changed::kind::readable});
}

void call_table::on_value(link_state& state, msg::yield&& m, effects& out) {
  const auto one = [&](dialog& d) {
    if (d.arrived(std::move(m.pld)) == dialog::arrival::overrun) overrun(state, d, out);
  };
  take_in(state, m.cid, one, out);
}

void call_table::on_values(link_state& state, const std::string& cid, std::vector<payload>&& run,
                           effects& out) {
  const auto all = [&](dialog& d) {
    if (d.all_arrived(run)) return;
    for (payload& v : run)
      if (d.arrived(std::move(v)) == dialog::arrival::overrun && !overrun(state, d, out)) return;
  };
  take_in(state, cid, all, out);
}

// False: the connection is to be closed.
bool call_table::overrun(const link_state& state, const dialog& d, effects& out) {
  if (msg::announces(state.link->peer(), "credit")) {
    breach(state.link, "a value beyond the credit of its stream", out);
    return false;
  }
  auto e = error_of_ours(
      "StreamOverrun",
      fmt::format("actor '{}' has no room for a value of '{}': its side of the stream is not read "
                  "fast enough, or was never opened",
                  self_.name, state.link->peer().name));
  e.sender = state.link->peer_uid();
  send_error(state.link, d.cid, std::move(e), out);
  return true;
}

void call_table::on_stop(link_state& state, const msg::stop& m, effects& out) {
  dialog_id id = 0;
  dialog* d = find_dialog(state, m.cid, id);
  if (!d || d->has_peer_stopped() || d->is_over()) return;
  const bool was_readable = d->readable();
  d->peer_stopped();
  if (!was_readable) out.events.push_back(dialog_changed{id, dialog_changed::kind::readable});
  out.events.push_back(dialog_changed{id, dialog_changed::kind::writable});
  // A generator's last word.
  if (!d->is_callee && d->functype == msg::call_kind::asyncgen) {
    reply r;
    r.how = reply::kind::value;
    complete(id, std::move(r), out);
  }
}

void call_table::on_credit(link_state& state, const msg::credit& m, effects& out) {
  if (!msg::announces(state.link->peer(), "credit"))
    return breach(state.link, "a Credit from a peer that did not announce it", out);
  dialog_id id = 0;
  dialog* d = find_dialog(state, m.cid, id);
  if (d && d->credited(m)) out.events.push_back(dialog_changed{id, dialog_changed::kind::writable});
}

void call_table::on_cancel_ack(link_state& state, const msg::cancel_ack& m, effects& out) {
  if (const auto node = state.cancels.extract(m.cid)) {
    // The end of what was cancelled came before this, if it had any: a tractor peer says nothing
    // more of a cancelled call, and a generator may not.
    reply r;
    r.how = reply::kind::error;
    r.error = error_of_ours("ContextCancelled", "cancelled by its caller");
    r.error.canceller = self_;
    return complete(node.mapped(), std::move(r), out);
  }
  reply r;
  r.how = reply::kind::value;
  answer(state.link, m.cid, std::move(r), out);
}

// --- what this actor's code does -----------------------------------------------------------------

request_id call_table::open_dialog(const ipc::link_ptr& to, std::string_view ns,
                                   std::string_view func, payload kwargs, msg::call_kind expected,
                                   stream_window window, reply_handler on_reply, effects& out) {
  open_request request;
  request.link = to;
  request.on_reply = std::move(on_reply);
  request.expected = expected;
  const request_id id = start_request(std::move(request), ns, func, std::move(kwargs), window, out);
  if (dialog* d = find_dialog(id)) d->functype = expected;
  return id;
}

void call_table::accept_dialog(call_id id, msg::call_kind functype, stream_window window,
                               effects& out) {
  served_call& call = served_.at(id);
  COPPICE_ASSERT(!std::exchange(call.acknowledged, true), "a call is acknowledged once");
  if (!links_.contains(call.link.get())) return;
  dialog& d = add_dialog(id, call.link, call.cid, true, window);
  d.functype = functype;
  msg::start_ack ack{call.cid, functype};
  if (call.credit) {
    d.peer_gives(*call.credit);
    ack.credit = d.first_credit();
  }
  out.sends.push_back({call.link, std::move(ack), ipc::urgency::lazy});
}

void call_table::start_dialog(call_id id, payload value, effects& out) {
  dialog* const d = find_dialog(id);
  if (!d || d->is_over()) return;
  COPPICE_ASSERT(!std::exchange(d->has_started, true), "a context is started once");
  out.sends.push_back({d->link, msg::started{d->cid, std::move(value)}, ipc::urgency::now});
}

void call_table::finish_stream(call_id id, effects& out) {
  if (const dialog* d = find_dialog(id); d && !d->is_over())
    out.sends.push_back({d->link, msg::stop{d->cid}, ipc::urgency::now});
  const auto call = take_served(id);
  if (links_.contains(call.link.get())) ack_cancels(call, out);
}

send_outcome call_table::admit(dialog_id id, std::size_t bytes, const dialog*& to) {
  to = nullptr;
  if (bytes > limits_.payload_bytes_max)
    throw limit_exceeded(fmt::format("a value of a stream takes {} bytes; payload_bytes_max is {}",
                                     bytes, limits_.payload_bytes_max));
  dialog* const d = find_dialog(id);
  if (!d || d->is_over()) return send_outcome::over;
  if (d->is_stopped()) return send_outcome::stopped;
  if (d->has_peer_stopped()) return send_outcome::sent;  // As if it had crossed the Stop.
  if (!d->may_send()) return send_outcome::full;
  d->sent(bytes);
  to = d;
  return send_outcome::sent;
}

send_outcome call_table::send(dialog_id id, payload&& value, effects& out) {
  const dialog* to = nullptr;
  const send_outcome how = admit(id, value.size(), to);
  if (to) out.sends.push_back({to->link, msg::yield{to->cid, std::move(value)}, ipc::urgency::now});
  return how;
}

taken call_table::take(dialog_id id, effects& out) {
  dialog* const d = find_dialog(id);
  if (!d) return {taken::kind::end, payload()};
  taken t = d->take();
  if (t.what != taken::kind::value) return t;
  if (link_state* of = last_used_.of) of->kept_bytes -= t.value.size();
  if (d->owes_credit()) [[unlikely]]
    out.sends.push_back({d->link, d->grant(), ipc::urgency::now});
  return t;
}

void call_table::open_stream(dialog_id id, stream_window window, bool allow_overruns,
                             effects& out) {
  dialog* const d = find_dialog(id);
  if (!d) return;
  if (auto more = d->open(window, allow_overruns))
    out.sends.push_back({d->link, std::move(*more), ipc::urgency::now});
}

void call_table::stop(dialog_id id, effects& out) {
  dialog* const d = find_dialog(id);
  if (!d) return;
  // A Stop that lies here unread does not count, nor does the callee's last word: tractor's rule.
  const bool tell = !d->is_stopped();
  d->stop();
  if (tell && links_.contains(d->link.get()))
    out.sends.push_back({d->link, msg::stop{d->cid}, ipc::urgency::now});
}

void call_table::release(dialog_id id) {
  COPPICE_ASSERT(!requests_.contains(id), "a dialog is released after its reply");
  if (!served_.contains(id)) drop_dialog(id);
}

void call_table::fail_dialog(dialog_id id, remote_error_info error, effects& out) {
  const dialog* d = find_dialog(id);
  if (d && !d->is_over()) send_error(d->link, d->cid, std::move(error), out);
}

std::optional<dialog_look> call_table::look(dialog_id id) const {
  const auto it = dialogs_.find(id);
  if (it == dialogs_.end()) return std::nullopt;
  return dialog_look{it->second.cid, it->second.is_over(), it->second.peer_credits()};
}

bool call_table::peer_opened(dialog_id id) const {
  const auto it = dialogs_.find(id);
  return it == dialogs_.end() || it->second.peer_opened();
}

}  // namespace coppice::port
