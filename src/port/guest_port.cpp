// SPDX-License-Identifier: Apache-2.0
#include "port/guest_port.hpp"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <utility>

namespace coppice::port {

guest_port::guest_port(msg::aid self, table_limits limits)
    : actor_port(self), table_({self.name, self.uuid}, limits) {}

template <class F>
void guest_port::locked(F&& f) {
  effects out;
  bool ring = false;
  call_id interrupted = 0;
  std::function<void(call_id)> interrupt;
  {
    std::lock_guard lock(mutex_);
    f(out);
    for (auto& e : out.events) {
      if (auto* c = std::get_if<call_cancelled>(&e); c && c->id == running_) {
        // The guest's thread cannot take this one: it is inside the call.
        running_cancelled_ = true;
        interrupted = running_;
        interrupt = interrupt_;
        continue;
      }
      const bool cancels = std::holds_alternative<cancel_requested>(e);
      inbox_.push_back(std::move(e));
      ++delivered_;
      if (cancels) cancel_mark_.store(delivered_, std::memory_order_release);
      ring = true;
    }
  }
  if (ring) wake();
  if (interrupt) interrupt(interrupted);
  out.perform();
}

void guest_port::wake() {
  spin_.called();
  if (waits_.exchange(waiting::no) == waiting::asleep) wake_.ring();
}

// --- any thread ----------------------------------------------------------------------------------

void guest_port::on_connected(const ipc::link_ptr& l) {
  locked([&](effects& out) { table_.connected(l, out); });
}

void guest_port::on_message(const ipc::link_ptr& from, msg::message&& m, ipc::urgency) {
  locked([&](effects& out) { table_.message(from, std::move(m), out); });
}

void guest_port::on_closed(const ipc::link_ptr& from, const std::string& why) {
  locked([&](effects& out) { table_.closed(from, why, out); });
}

void guest_port::adopt(const std::string& uuid, child_watch watch) {
  locked([&](effects& out) { table_.adopt(uuid, std::move(watch), out); });
}

void guest_port::request(ipc::link_ptr to, std::string ns, std::string func, payload kwargs,
                         reply_handler on_reply) {
  locked([&](effects& out) {
    table_.request(to, ns, func, std::move(kwargs), std::move(on_reply), out);
  });
}

void guest_port::child_changed(port::child_changed change) {
  locked([&](effects& out) {
    if (change.what == port::child_changed::kind::lost)
      table_.child_lost(change.uuid, change.report.detail, out);
    else if (change.what == port::child_changed::kind::ended ||
             change.what == port::child_changed::kind::start_failed)
      table_.child_ended(change.uuid, change.report, out);
    out.events.push_back(std::move(change));
  });
}

void guest_port::cancel(std::string why) {
  locked([&](effects& out) { out.events.push_back(cancel_requested{std::move(why)}); });
}

void guest_port::become_registrar(registry_limits limits, registrar::publish_function publish) {
  std::lock_guard lock(mutex_);
  table_.become_registrar(limits, std::move(publish));
}

void guest_port::published(const std::string& uuid, const registry::addresses& at) {
  locked([&](effects& out) { table_.published(uuid, at, out); });
}

void guest_port::register_here(const uid& who, const msg::wire_address& at, ipc::urgency) {
  locked([&](effects& out) { table_.register_here(who, at, out); });
}

void guest_port::unregister_here(const uid& who) {
  std::lock_guard lock(mutex_);
  table_.unregister_here(who);
}

void guest_port::deliver(event e) {
  locked([&](effects& out) { out.events.push_back(std::move(e)); });
}

void guest_port::close(std::string why) {
  locked([&](effects& out) { table_.close(why, out); });
}

void guest_port::set_parent(const std::string& uuid) {
  std::lock_guard lock(mutex_);
  table_.set_parent(uuid);
}

ipc::link_ptr guest_port::parent_link() const {
  std::lock_guard lock(mutex_);
  return table_.parent_link();
}

bool guest_port::cancel_seen() const noexcept {
  return taken_.load(std::memory_order_acquire) >= cancel_mark_.load(std::memory_order_acquire);
}

void guest_port::on_running_call_cancelled(std::function<void(call_id)> interrupt) {
  std::lock_guard lock(mutex_);
  interrupt_ = std::move(interrupt);
}

void guest_port::describe(base::tree_writer& w) {
  std::lock_guard lock(mutex_);
  w.line(fmt::format("guest '{}': {} events in its inbox{}", self().name, inbox_.size(),
                     running_ ? ", runs a call" : ""));
  auto level = w.deeper();
  table_.describe(w);
}

// --- the guest's own thread ----------------------------------------------------------------------

std::optional<event> guest_port::take() {
  spin_.wakes_up();
  std::lock_guard lock(mutex_);
  if (inbox_.empty()) return std::nullopt;
  std::optional<event> e(std::move(inbox_.front()));
  inbox_.pop_front();
  taken_.fetch_add(1, std::memory_order_release);
  return e;
}

void guest_port::nudge() noexcept {
  nudged_.store(true);
  wake_.ring();
}

bool guest_port::prepare_to_sleep() {
  wake_.clear();
  waits_.store(waiting::asleep);
  // Whoever delivered before the store above saw us awake and did not ring, and the ring of a nudge
  // may just have been cleared: look once more.
  const bool nudged = nudged_.exchange(false);
  std::lock_guard lock(mutex_);
  if (inbox_.empty() && !nudged) return true;
  waits_.store(waiting::no);
  return false;
}

bool guest_port::empty() const {
  std::lock_guard lock(mutex_);
  return inbox_.empty();
}

bool guest_port::pays_to_look() {
  // Not asleep as a look has found something that was not taken: look() says whether to sleep.
  if (spin_.pays() || waits_.load() != waiting::asleep) return true;
  spin_.falls_asleep();
  return false;
}

bool guest_port::look() { return look_within(base::spin_wait::look_max); }

// Nobody need ring for one that looks. It looks at what is written after the mutex is released: who
// sees the event sooner runs into that mutex, and sleeps.
bool guest_port::look_within(duration bound) {
  if (spin_.pays()) {
    waits_.store(waiting::looks);
    const auto called = [this] {
      return waits_.load(std::memory_order_acquire) == waiting::no ||
             nudged_.load(std::memory_order_relaxed);
    };
    const bool found = !empty() || spin_.look(called, bound);
    if (found) {
      waits_.store(waiting::no);
      return true;
    }
  }
  if (!prepare_to_sleep()) return true;
  spin_.falls_asleep();
  return false;
}

void guest_port::wait(duration bound) {
  if (look_within(bound)) return;
  pollfd p{wake_.fd(), POLLIN, 0};
  const auto ms = std::chrono::ceil<std::chrono::milliseconds>(bound).count();
  // One poll: EINTR is a kick, and the caller must attach to find out what it means. A bound that
  // has passed is not poll()'s negative one, which is for ever.
  ::poll(&p, 1, static_cast<int>(std::clamp<std::int64_t>(ms, 0, 1 << 30)));
  nudged_.store(false);  // If it was one, this was what it was for.
  waits_.store(waiting::no);
  spin_.wakes_up();
}

request_id guest_port::call(const ipc::link_ptr& to, std::string_view ns, std::string_view func,
                            payload kwargs) {
  request_id id = 0;
  locked([&](effects& out) { id = table_.request(to, ns, func, std::move(kwargs), {}, out); });
  return id;
}

void guest_port::cancel_request(request_id id) {
  locked([&](effects& out) { table_.cancel_request(id, out); });
}

void guest_port::forget(request_id id) {
  locked([&](effects&) { table_.forget(id); });
}

void guest_port::acknowledge(call_id id, msg::call_kind functype) {
  locked([&](effects& out) { table_.acknowledge(id, functype, out); });
}

request_id guest_port::open_dialog(const ipc::link_ptr& to, std::string_view ns,
                                   std::string_view func, payload kwargs, msg::call_kind expected,
                                   stream_window window) {
  request_id id = 0;
  locked([&](effects& out) {
    id = table_.open_dialog(to, ns, func, std::move(kwargs), expected, window, {}, out);
  });
  return id;
}

void guest_port::accept_dialog(call_id id, msg::call_kind functype, stream_window window) {
  locked([&](effects& out) { table_.accept_dialog(id, functype, window, out); });
}

void guest_port::start_dialog(call_id id, payload value) {
  locked([&](effects& out) { table_.start_dialog(id, std::move(value), out); });
}

void guest_port::finish_stream(call_id id) {
  locked([&](effects& out) { table_.finish_stream(id, out); });
}

send_outcome guest_port::send(dialog_id id, payload value) {
  send_outcome how{};
  locked([&](effects& out) { how = table_.send(id, std::move(value), out); });
  return how;
}

taken guest_port::take(dialog_id id) {
  taken t;
  locked([&](effects& out) { t = table_.take(id, out); });
  return t;
}

void guest_port::open_stream(dialog_id id, stream_window window, bool allow_overruns) {
  locked([&](effects& out) { table_.open_stream(id, window, allow_overruns, out); });
}

void guest_port::stop(dialog_id id) {
  locked([&](effects& out) { table_.stop(id, out); });
}

void guest_port::release(dialog_id id) {
  locked([&](effects&) { table_.release(id); });
}

void guest_port::fail_dialog(dialog_id id, remote_error_info error) {
  locked([&](effects& out) { table_.fail_dialog(id, std::move(error), out); });
}

bool guest_port::peer_opened(dialog_id id) const {
  std::lock_guard lock(mutex_);
  return table_.peer_opened(id);
}

std::optional<dialog_look> guest_port::look(dialog_id id) const {
  std::lock_guard lock(mutex_);
  return table_.look(id);
}

bool guest_port::begin_running(call_id id) {
  std::lock_guard lock(mutex_);
  if (table_.was_cancelled(id)) return false;
  running_ = id;
  running_cancelled_ = false;
  return true;
}

bool guest_port::end_running() {
  std::lock_guard lock(mutex_);
  running_ = 0;
  return std::exchange(running_cancelled_, false);
}

void guest_port::finish(call_id id, payload value) {
  locked([&](effects& out) { table_.finish(id, std::move(value), out); });
}

void guest_port::finish(call_id id, remote_error_info error) {
  locked([&](effects& out) { table_.finish(id, std::move(error), out); });
}

void guest_port::set_ready(const remote_error_info* failure) {
  locked([&](effects& out) { table_.set_ready(failure, out); });
}

void guest_port::acknowledge_cancel() {
  locked([&](effects& out) { table_.acknowledge_cancel(out); });
}

}  // namespace coppice::port
