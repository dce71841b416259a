// SPDX-License-Identifier: Apache-2.0
#include "actor/native_dialog.hpp"

#include <fmt/format.h>

#include <exception>
#include <utility>
#include <vector>

#include "base/assert.hpp"
#include "coppice/errors.hpp"
#include "coppice/stream.hpp"

namespace coppice::tree {

namespace {
// Empty if it has ended.
std::string cid_of(const port::call_table& table, port::dialog_id id) {
  const auto look = table.look(id);
  return look ? look->cid : std::string();
}

port::stream_window window_of(const stream_options& o) {
  return {.messages = o.messages_max, .bytes = o.bytes_max};
}

template <class E>
const E* as(const std::exception_ptr& e, auto&& use) {
  try {
    std::rethrow_exception(e);
  } catch (const E& x) {
    use(x);
    return &x;
  } catch (...) {
    return nullptr;
  }
}
template <class E>
bool is(const std::exception_ptr& e) {
  return e && as<E>(e, [](const E&) {}) != nullptr;
}
bool is_cancellation(const std::exception_ptr& e) {
  return detail::is_cancelled(e) || is<context_cancelled>(e);
}

}  // namespace

// --- both ends -----------------------------------------------------------------------------------

native_dialog::native_dialog(native_actor& actor, std::string function, uid peer, bool generator)
    : actor_(actor),
      function_(std::move(function)),
      peer_(std::move(peer)),
      generator_(generator) {}

void native_dialog::bind(port::dialog_id id) {
  id_ = id;
  actor_.dialog_begins(id, *this);
}

native_dialog::~native_dialog() {
  if (id_ != 0) actor_.dialog_ends(id_);
}

void native_dialog::changed(port::dialog_changed&& e) {
  switch (e.what) {
    case port::dialog_changed::kind::started:
      return on_started(std::move(e.value));
    case port::dialog_changed::kind::readable:
      if (ends_unsaid()) return;
      return drops_ ? drop_what_comes() : serve_receivers();
    case port::dialog_changed::kind::writable:
      if (ends_unsaid()) return;
      return serve_senders();
    case port::dialog_changed::kind::failed:
      return on_failed(std::move(e.error));
  }
}

void native_dialog::fail(std::exception_ptr e) {
  if (!failure_) failure_ = std::move(e);
  serve_senders();
  serve_receivers();
}

void native_dialog::serve_senders() {
  while (auto* op = senders_.first())
    if (!op->retry()) break;
}

void native_dialog::serve_receivers() {
  if (reader_) reader_->readable();
  while (auto* op = receivers_.first())
    if (!op->retry()) break;
}

void native_dialog::drop_what_comes() {
  drops_ = true;
  port::effects out;
  if (std::exchange(stream_, stream_state::closed) == stream_state::unopened) {
    // It will never be opened: who waits for a value of it is told so. A tractor peer is not, as by
    // its own kind; it gets room until it ends.
    const auto look = actor_.table().look(id_);
    if (look && look->knows_credit)
      actor_.table().stop(id_, out);
    else
      actor_.table().open_stream(id_, {}, true, out);
  }
  while (actor_.table().take(id_, out).what == port::taken::kind::value) {
  }
  actor_.apply(std::move(out));
}

void native_dialog::open_stream(const stream_options& options) {
  if (failure_) std::rethrow_exception(failure_);
  const auto refuse = [&](std::string_view why) {
    throw out_of_order(fmt::format("open_stream() of '{}': {}", function_, why));
  };
  if (!may_open()) refuse("say `co_await ctx.started(...)` before it");
  if (stream_ != stream_state::unopened) refuse("a dialog has one stream, and it was opened once");
  if (cancel_called_) refuse("cancel() was called");
  detail::check(options.messages_max > 0 && options.bytes_max > 0,
                "a stream needs room for at least one value");
  stream_ = stream_state::open;
  open_within_ = options.open_within;
  port::effects out;
  actor_.table().open_stream(id_, window_of(options), options.allow_overruns, out);
  actor_.apply(std::move(out));
}

void native_dialog::close_stream() noexcept {
  if (stream_ != stream_state::open) return;
  stream_ = stream_state::closed;
  port::effects out;
  if (says_stop()) actor_.table().stop(id_, out);
  actor_.apply(std::move(out));
  serve_senders();
  serve_receivers();
}

detail::dialog_end::sent native_dialog::try_send(payload& value) {
  if (stream_ != stream_state::open || failure_) return sent::refused;
  const port::dialog* to = nullptr;
  const auto how = actor_.table().admit(id_, value.size(), to);
  if (to) actor_.send_value(id_, *to, std::move(value));
  if (how == port::send_outcome::sent) return sent::yes;
  const bool waits =
      how == port::send_outcome::full || (how == port::send_outcome::over && ends_unsaid());
  return waits ? sent::full : sent::refused;
}

detail::dialog_end::got native_dialog::try_take(payload& to) {
  if (stream_ != stream_state::open) return got::end;
  port::taken t = actor_.table().take(id_, actor_.stream_effects());
  switch (t.what) {
    case port::taken::kind::value:
      actor_.deliver_streams();
      to = std::move(t.value);
      return got::value;
    case port::taken::kind::nothing:
      return failure_ ? got::end : got::nothing;
    case port::taken::kind::end:
      break;
  }
  return ends_unsaid() ? got::nothing : got::end;
}

bool native_dialog::peer_opened() const noexcept {
  return generator_ || actor_.table().peer_opened(id_);
}

void native_dialog::throw_refused() const {
  if (stream_ != stream_state::open)
    throw channel_closed(fmt::format("the stream of '{}' was closed by this side", function_));
  if (failure_) std::rethrow_exception(failure_);
  throw channel_closed(
      fmt::format("actor '{}' has closed its side of the stream of '{}', or has "
                  "ended the dialog",
                  peer_.name, function_));
}

std::exception_ptr native_dialog::overrun() const {
  remote_error_info e;
  e.type = e.source_type = wire_name<stream_overrun>::value;
  e.message = fmt::format(
      "actor '{}' has not opened its stream of '{}' within {} ms and its window is full: open it "
      "there, or allow more by stream_options::open_within",
      peer_.name, function_, open_within_.count() / 1'000'000);
  e.source = actor_.id();
  e.path = {actor_.id()};
  e.sender = actor_.id();
  return to_exception(std::move(e));
}

std::string native_dialog::describe_stream() const {
  static constexpr std::string_view states[] = {"not opened", "open", "closed"};
  return fmt::format("stream of '{}' with actor '{}', {}", function_, peer_.name,
                     states[static_cast<int>(stream_)]);
}

// --- the caller's --------------------------------------------------------------------------------

opened_dialog::opened_dialog(native_actor& actor, const child_slot& callee, const std::string& name,
                             payload kwargs, kind k, const stream_options& options)
    : native_dialog(actor, name, callee.id, k == kind::generator),
      first_("the first word of " + name),
      replied_("the last word of " + name),
      tractor_(!callee.link->peer().extensions) {
  if (callee.id.uuid == actor.id().uuid)
    throw out_of_order(
        fmt::format("Invalid Operation: actor '{}' opens '{}' in itself; call the function there, "
                    "or start another actor for it",
                    callee.id.name, name));
  const std::string_view full = name;
  const auto colon = full.find(':');
  port::effects out;
  const auto id = actor.table().open_dialog(
      callee.link, full.substr(0, colon), full.substr(colon + 1), std::move(kwargs),
      generator_ ? msg::call_kind::asyncgen : msg::call_kind::context,
      generator_ ? window_of(options) : port::stream_window(),
      [this](port::reply&& r) { on_reply(std::move(r)); }, out);
  cid_ = cid_of(actor.table(), id);
  bind(id);
  actor.apply(std::move(out));
}

opened_dialog::~opened_dialog() {
  actor_.scheduler().disarm(late_);
  if (reply_) {
    // As tractor's consumers do; a Coppice peer's Stop says that nothing is left to cancel.
    if (generator_ && tractor_) ask_to_stop();
    actor_.table().release(id_);
  } else {
    actor_.table().forget(id_);
  }
}

void opened_dialog::say_started(payload) {
  COPPICE_ASSERT(false, "a remote_context has no started()");
}

void opened_dialog::on_started(payload&& word) {
  started_ = std::move(word);
  first_.set();
}

bool opened_dialog::ends_unsaid() const {
  const auto look = actor_.table().look(id_);
  return !reply_ && look && look->is_over;
}

void opened_dialog::on_reply(port::reply&& r) {
  reply_ = std::move(r);
  actor_.scheduler().disarm(late_);
  if (reply_->how != port::reply::kind::value) {
    if (reply_->how == port::reply::kind::error) canceller_ = reply_->error.canceller;
    cancel_acked_ = cancel_called_ && canceller_ == actor_.id();
    fail(reply_->to_exception(peer_.name));
    if (body_) body_->cancel(fmt::format("the dialog with actor '{}' has ended", peer_.name));
  }
  for (auto what : {port::dialog_changed::kind::readable, port::dialog_changed::kind::writable})
    changed({id_, what});
  first_.set();
  replied_.set();
}

task<payload> opened_dialog::first_word() {
  co_await first_.wait();
  if (started_) co_return std::move(*started_);
  if (failure_) std::rethrow_exception(failure_);
  throw out_of_order(
      fmt::format("'{}' of actor '{}' returned without a first word: `co_await ctx.started(...)`",
                  function_, peer_.name));
}

void opened_dialog::body_begins(cancel_scope& around) {
  body_ = &around;
  if (failure_) around.cancel(fmt::format("the dialog with actor '{}' has ended", peer_.name));
}

void opened_dialog::body_ends() noexcept { body_ = nullptr; }

void opened_dialog::cancel(std::string_view) {
  if (std::exchange(cancel_called_, true) || reply_) return;
  cancelled_at_ = actor_.scheduler().now();
  ask_to_stop();
  const time_point until = cancelled_at_ + native_actor::call_cancel_within;
  if (waiting_) waiting_->set_deadline(until);
  if (!reply_) actor_.scheduler().arm(late_, until);
}

void opened_dialog::ask_to_stop() {
  port::effects out;
  actor_.table().cancel_request(id_, out);
  actor_.apply(std::move(out));
}

void opened_dialog::is_late() noexcept {
  if (body_) body_->cancel(fmt::format("'{}' did not end when it was cancelled", function_));
}

task<> opened_dialog::until_replied() { co_await replied_.wait(); }

task<std::optional<payload>> opened_dialog::last_word(std::exception_ptr ours) {
  close_stream();
  drop_what_comes();
  if (!reply_ && !ours && !generator_) ours = co_await wait_for_result();
  if (!reply_ && !stuck_) co_await wait_for_end();
  if (ours == failure_) ours = nullptr;  // It came out of the stream: it is told once.
  co_return outcome(std::move(ours));
}

// Null, or the cancellation that came first.
task<std::exception_ptr> opened_dialog::wait_for_result() {
  detail::task_node& node = co_await detail::this_task{};
  cancel_scope scope(node, {.name = "result of " + function_});
  waiting_ = &scope;
  if (cancel_called_) scope.set_deadline(cancelled_at_ + native_actor::call_cancel_within);
  auto waiting = detail::take(until_replied());
  auto how = co_await detail::captured<void>(std::move(waiting));
  waiting_ = nullptr;
  stuck_ = scope.absorbs(how.error());
  co_return stuck_ ? nullptr : how.error();
}

// The callee is told to stop and waited for, shielded and bounded.
task<> opened_dialog::wait_for_end() {
  ask_to_stop();
  detail::task_node& node = co_await detail::this_task{};
  const time_point since = cancel_called_ ? cancelled_at_ : node.loop.now();
  cancel_scope shield(node, {.name = "end of " + function_,
                             .deadline = since + native_actor::call_cancel_within,
                             .shield = true});
  auto waiting = detail::take(until_replied());
  auto how = co_await detail::captured<void>(std::move(waiting));
  stuck_ = shield.absorbs(how.error());
}

std::optional<payload> opened_dialog::outcome(std::exception_ptr ours) const {
  throw_failures(ours);
  if (ours) std::rethrow_exception(ours);  // A cancellation, and nothing failed.
  if (!failure_) return reply_->value;
  if (cancel_acked_ || (generator_ && canceller_ == actor_.id())) return std::nullopt;
  std::rethrow_exception(failure_);
}

bool opened_dialog::is_cancelled_here() const {
  return reply_ ? reply_->is_cancellation(actor_.id()) : is_cancellation(failure_);
}

// Every failure comes out, and no cancellation with it.
void opened_dialog::throw_failures(const std::exception_ptr& ours) const {
  std::vector<std::exception_ptr> failures;
  if (ours && !is_cancellation(ours)) failures.push_back(ours);
  const bool told = !failures.empty() && is<transport_closed>(failure_);
  if (failure_ && !is_cancelled_here() && !told) failures.push_back(failure_);
  if (stuck_)
    failures.push_back(std::make_exception_ptr(call_stuck(
        fmt::format("'{}' of actor '{}' was cancelled and did not end within {} ms", function_,
                    peer_.name, native_actor::call_cancel_within.count() / 1'000'000))));
  if (failures.size() == 1) std::rethrow_exception(failures.front());
  if (!failures.empty()) throw error_group("context " + function_, std::move(failures));
}

// --- the callee's --------------------------------------------------------------------------------

served_dialog::served_dialog(native_actor& actor, const port::call_started& call, bool generator,
                             cancel_scope& scope)
    : native_dialog(actor, call.ns + ":" + call.func, call.caller, generator),
      scope_(scope),
      started_(generator) {
  bind(call.id);
  port::effects out;
  actor.table().accept_dialog(
      call.id, generator ? msg::call_kind::asyncgen : msg::call_kind::context, {}, out);
  cid_ = cid_of(actor.table(), call.id);
  actor.apply(std::move(out));
}

void served_dialog::say_started(payload value) {
  if (std::exchange(started_, true))
    throw out_of_order(fmt::format("started() of '{}': it was said already", function_));
  port::effects out;
  actor_.table().start_dialog(id_, std::move(value), out);
  actor_.apply(std::move(out));
}

void served_dialog::cancel(std::string_view reason) {
  if (std::exchange(cancel_called_, true)) return;
  canceller_ = actor_.id();
  cancel_acked_ = true;
  scope_.cancel(reason.empty() ? "cancelled by itself" : reason);
}

void served_dialog::on_failed(remote_error_info&& e) {
  fail(to_exception(std::move(e)));
  scope_.cancel(fmt::format("its caller's side failed: {}", describe_exception(failure_)));
}

namespace {

/// How the function of a dialog ended, and what of that its caller hears.
void finish_dialog(native_actor& actor, port::call_id id, const exposed& endpoint,
                   detail::settled<payload>& how, const std::exception_ptr& callers,
                   bool by_itself) {
  port::effects out;
  if (!how.error() && endpoint.kind() == endpoint_kind::context) {
    actor.table().finish(id, std::move(how.value()), out);
  } else if (!how.error()) {
    actor.table().finish_stream(id, out);
  } else if (!detail::is_cancelled(how.error())) {
    return actor.finish_with(id, how.error());
  } else if (callers) {
    return actor.finish_with(id, callers);
  } else if (endpoint.kind() == endpoint_kind::generator) {
    actor.table().finish_stream(id, out);  // A cancelled generator says Stop, as tractor's do.
  } else {
    return actor.finish_cancelled(id, how.error(), by_itself);
  }
  actor.apply(std::move(out));
}

task<payload> invoke(exposed endpoint, actor* self, payload kwargs, detail::dialog_end* end) {
  co_return co_await endpoint.invoke(*self, std::move(kwargs), end);
}

}  // namespace

task<> serve_dialog(native_actor* actor, port::call_started call, exposed endpoint) {
  detail::task_node& node = co_await detail::this_task{};
  const port::call_id id = call.id;
  detail::settled<payload> how;
  std::exception_ptr callers;
  bool by_itself = false;
  {
    cancel_scope scope(node, {.name = std::string(endpoint.name().text())});
    served_dialog end(*actor, call, endpoint.kind() == endpoint_kind::generator, scope);
    actor->call_runs(id, scope);
    auto frame = detail::take(invoke(endpoint, &actor->face(), std::move(call.kwargs), &end));
    how = co_await detail::captured<payload>(std::move(frame));
    actor->call_ran(id);
    callers = end.failure();
    by_itself = end.cancel_called();
    if (how.error()) scope.absorbs(how.error());
  }
  finish_dialog(*actor, id, endpoint, how, callers, by_itself);
}

}  // namespace coppice::tree

// --- what the public headers call ----------------------------------------------------------------

namespace coppice::detail {

dialog_handle::dialog_handle(call_target t, std::string name, payload kwargs, kind k,
                             const stream_options& options)
    : dialog_(std::make_unique<tree::opened_dialog>(*t.caller, t.caller->reach(t), name,
                                                    std::move(kwargs), k, options)) {}
dialog_handle::~dialog_handle() = default;

task<payload> dialog_handle::first_word() { return dialog_->first_word(); }
void dialog_handle::body_begins(cancel_scope& around) { dialog_->body_begins(around); }
void dialog_handle::body_ends() noexcept { dialog_->body_ends(); }
task<std::optional<payload>> dialog_handle::last_word(std::exception_ptr body) {
  return dialog_->last_word(std::move(body));
}
dialog_end& dialog_handle::end() noexcept { return *dialog_; }
payload_context dialog_handle::about(std::string_view message) const noexcept {
  return {message, dialog_->function(), dialog_->cid()};
}

bool stream_send_op::abort() noexcept {
  unlink();
  leave();
  return true;
}

std::string stream_send_op::describe() const { return "room in the " + end_.describe_stream(); }

void stream_send_op::wait() {
  end_.senders_.push_back(*this);
  task_node& node = waiter();
  if (!end_.peer_opened()) node.loop.arm(*this, node.loop.now() + end_.open_within());
}

bool stream_send_op::retry() {
  how_ = end_.try_send(value_);
  if (how_ == dialog_end::sent::full) return false;
  unlink();
  leave();
  wake();
  return true;
}

void stream_send_op::leave() noexcept {
  if (armed()) waiter().loop.disarm(*this);
}

void stream_send_op::fire() noexcept {
  if (end_.peer_opened()) return;  // It takes its time, but it is there.
  unlink();
  overrun_ = true;
  wake();
}

void stream_send_op::throw_failure() const {
  if (overrun_) std::rethrow_exception(end_.overrun());
  end_.throw_refused();
  std::terminate();  // Never: g++ 12 does not see that a virtual function does not return.
}

bool stream_receive_base::abort() noexcept {
  unlink();
  return true;
}

std::string stream_receive_base::describe() const { return "a value: " + end_.describe_stream(); }

bool stream_receive_base::retry() {
  how_ = end_.try_take(value_);
  if (how_ == dialog_end::got::nothing) return false;
  unlink();
  wake();
  return true;
}

void throw_shared_stream() {
  throw out_of_order("receive() of a stream that has subscriptions: subscribe(), too");
}

namespace {
std::string_view python_name(msgpack::kind k) {
  switch (k) {
    case msgpack::kind::nil:
      return "None";
    case msgpack::kind::boolean:
      return "bool";
    case msgpack::kind::integer:
      return "int";
    case msgpack::kind::number:
      return "float";
    case msgpack::kind::str:
      return "str";
    case msgpack::kind::bin:
      return "bytes";
    case msgpack::kind::array:
      return "list";
    case msgpack::kind::map:
      return "dict";
    default:
      return "Ext";
  }
}
}  // namespace

void throw_misfit(const payload_context& where, std::string expected, const payload& got,
                  const message_type_error& why) {
  msgpack::buffer bytes;
  if (got.size() + where.cid.size() + 64 <= bad_message_bytes_max) {
    msgpack::writer w(bytes);
    w.map(3);
    w.str("msg_type");
    w.str(where.message);
    w.str("cid");
    w.str(where.cid);
    w.str("pld");
    w.raw(got);
  }
  bad_message bad;
  bad.type = where.message;
  bad.expected = std::move(expected);
  bad.got = python_name(msgpack::reader(got).peek());
  bad.cid = where.cid;
  bad.bytes.assign(bytes.bytes().begin(), bytes.bytes().end());
  const std::string sentence = fmt::format("{} of '{}': expected {}, got {}: {}", bad.type,
                                           where.function, bad.expected, bad.got, why.what());
  throw message_type_error(sentence, std::move(bad));
}

}  // namespace coppice::detail
