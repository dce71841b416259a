// SPDX-License-Identifier: Apache-2.0
#include "actor/registrar_session.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "coppice/errors.hpp"

namespace coppice::tree {

namespace {
port::reply closed_reply(const std::string& why) {
  port::reply r;
  r.how = port::reply::kind::closed;
  r.why = why;
  return r;
}
}  // namespace

registrar_session::registrar_session(std::shared_ptr<core::loop> control, const uid& self,
                                     dial_function dial, duration idle_within)
    : control_(std::move(control)),
      self_(self),
      dial_(std::move(dial)),
      idle_within_(idle_within),
      table_(self, {}) {}

template <class F>
void registrar_session::on_control(F f) {
  if (control_->on_loop_thread()) return f(*this);
  control_->post([weak = weak_from_this(), f = std::move(f)]() mutable {
    if (const auto me = weak.lock()) f(*me);
  });
}

void registrar_session::on_connected(const ipc::link_ptr& l) {
  on_control([l](registrar_session& me) { me.opened(l); });
}

void registrar_session::on_message(const ipc::link_ptr& from, msg::message&& m, ipc::urgency) {
  on_control([from, m = std::move(m)](registrar_session& me) mutable {
    port::effects out;
    me.table_.message(from, std::move(m), out);
    me.apply(std::move(out));
  });
}

void registrar_session::on_closed(const ipc::link_ptr& from, const std::string& why) {
  on_control([from, why](registrar_session& me) { me.lost(from, why); });
}

void registrar_session::opened(const ipc::link_ptr& l) {
  dialing_ = false;
  if (!closed_.empty()) return l->close(closed_);
  link_ = l;
  is_coppice_ = l->peer().extensions.has_value();
  port::effects out;
  table_.connected(l, out);
  apply(std::move(out));
  if (when_connected_) when_connected_();
  std::vector<ticket> waiting;
  for (const auto& [t, q] : open_)
    if (q.sent_as == 0) waiting.push_back(t);
  for (const ticket t : waiting) send(t);
  look_if_idle();
}

void registrar_session::lost(const ipc::link_ptr& l, const std::string& why) {
  if (link_ == l) link_.reset();
  port::effects out;
  table_.closed(l, why, out);
  apply(std::move(out));
}

void registrar_session::dial() {
  if (std::exchange(dialing_, true)) return;
  dial_(shared_from_this(), [weak = weak_from_this()](const std::exception_ptr& e) {
    const auto me = weak.lock();
    if (!me) return;
    me->dialing_ = false;
    me->fail_all(describe_exception(e));
  });
}

void registrar_session::fail_all(const std::string& why) {
  std::vector<ticket> waiting;
  for (const auto& [t, q] : open_)
    if (q.sent_as == 0) waiting.push_back(t);
  for (const ticket t : waiting) answered(t, closed_reply(why));
}

registrar_session::ticket registrar_session::ask(std::string method, arguments kwargs,
                                                 port::reply_handler on_reply) {
  const ticket t = ++last_;
  idle_.clear();
  open_.emplace(t, question{std::move(method), std::move(kwargs), std::move(on_reply)});
  if (!closed_.empty())
    answered(t, closed_reply(closed_));
  else if (link_)
    send(t);
  else
    dial();
  return t;
}

void registrar_session::send(ticket t) {
  const auto it = open_.find(t);
  if (it == open_.end()) return;
  port::effects out;
  question& q = it->second;
  const auto reply = [this, t](port::reply&& r) { answered(t, std::move(r)); };
  q.sent_as = table_.request(link_, "self", q.method, q.kwargs(*link_), reply, out);
  apply(std::move(out));
}

void registrar_session::answered(ticket t, port::reply&& r) {
  const auto node = open_.extract(t);
  if (node.empty()) return;
  look_if_idle();
  if (node.mapped().on_reply) node.mapped().on_reply(std::move(r));
}

void registrar_session::withdraw(ticket t) {
  const auto node = open_.extract(t);
  if (node.empty()) return;
  if (const auto sent = node.mapped().sent_as; sent != 0) {
    port::effects out;
    table_.cancel_request(sent, out);
    apply(std::move(out));
    table_.forget(sent);
  }
  look_if_idle();
}

void registrar_session::release() {
  --holds_;
  look_if_idle();
}

void registrar_session::look_if_idle() {
  if (!link_ || !open_.empty()) return;
  if (!is_coppice_) return std::exchange(link_, nullptr)->close("the question was answered");
  if (holds_ != 0) return;
  idle_.set(idle_within_, [this] {
    if (link_ && holds_ == 0 && open_.empty()) link_->close("nobody asks the registrar any more");
  });
}

void registrar_session::apply(port::effects&& out) {
  for (auto& e : std::exchange(out.events, {})) {
    if (auto* call = std::get_if<port::call_started>(&e)) {
      remote_error_info error;
      error.type = error.source_type = "ModuleNotExposed";
      error.message = fmt::format("'{}' is not exposed on the connection to a registrar", call->ns);
      error.source = self_;
      error.path = {self_};
      table_.finish(call->id, std::move(error), out);
    } else if (auto* cancel = std::get_if<port::cancel_requested>(&e)) {
      if (when_cancelled_) when_cancelled_(cancel->why);
    }
  }
  out.perform();
}

void registrar_session::close(const std::string& why) {
  if (!closed_.empty()) return;
  closed_ = why;
  idle_.clear();
  fail_all(why);
  port::effects out;
  table_.close(why, out);
  link_.reset();
  apply(std::move(out));
}

}  // namespace coppice::tree
