// SPDX-License-Identifier: Apache-2.0
#include "ipc/socket_link.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/asio/error.hpp>
#include <utility>

#include "coppice/errors.hpp"

namespace coppice::ipc {

namespace asio = boost::asio;
using boost::system::error_code;

namespace {

// Of one turn of the loop: who talks without a pause must not keep the others from it.
constexpr std::size_t read_bytes_per_turn = 4 << 20;
constexpr std::size_t parts_per_call = 64;  // Asio's own limit.

double seconds(duration d) { return std::chrono::duration<double>(d).count(); }

}  // namespace

socket_link::socket_link(std::shared_ptr<core::loop> on, stream_ptr s, const msg::aid& self,
                         std::shared_ptr<link_sink> sink, limits l)
    : loop_(std::move(on)),
      self_aid_(self),
      limits_(l),
      sink_(std::move(sink)),
      stream_(std::move(s)),
      in_(limits_) {}

socket_link::~socket_link() = default;

std::string socket_link::describe() const {
  return fmt::format("{} to {} fd {}", stream_->kind(),
                     peer_.name.empty() ? "(handshake)" : peer_.name, stream_->fd());
}

// --- handshake -----------------------------------------------------------------------------------

void socket_link::begin(handshake_done done) {
  done_ = std::move(done);
  try {
    // We do not know yet who the peer is; a tractor peer ignores the key that it does not know.
    out_.push(self_aid_, msg::dialect::coppice);
    loop_->arm(deadline_, loop_->now() + limits_.handshake_within);
  } catch (...) {  // A name that is no UTF-8: ours, so no peer will ever understand it.
    const std::string why = describe_exception(std::current_exception());
    finish_handshake(std::current_exception());
    return shut(why);
  }
  plan_flush();
  read();
}

void socket_link::handshake_late() {
  auto keep = self();
  finish_handshake(std::make_exception_ptr(timeout_error(fmt::format(
      "the peer did not introduce itself within {} s", seconds(limits_.handshake_within)))));
  shut("handshake timed out");
}

void socket_link::finish_handshake(std::exception_ptr e) {
  loop_->disarm(deadline_);
  auto done = std::exchange(done_, nullptr);
  if (!done) return;
  // Not among the arguments: `e` may have been moved by then.
  link_ptr made = e ? nullptr : self();
  done(std::move(e), std::move(made));
}

// --- reading -------------------------------------------------------------------------------------

void socket_link::read() {
  if (!open_) return;
  try {
    stream_->read(in_.room(), user());
  } catch (const std::exception& e) {
    shut(fmt::format("no memory for a frame: {}", e.what()));
  }
}

void socket_link::on_read(const error_code& failed, std::size_t n) {
  if (!open_) return;
  if (failed) return stream_ended(failed);
  const auto keep = self();  // A sink may close us, and then nobody else may have us any more.
  heard_ = loop_->now();
  pinged_ = false;
  try {
    error_code ec;
    std::size_t budget = read_bytes_per_turn;
    bool full = in_.arrived(n);
    for (;;) {
      if (!take_frames()) return;
      budget -= std::min(budget, n);
      if (!full || budget == 0) break;
      n = stream_->read_some(in_.room(), ec);
      if (ec == asio::error::would_block) break;
      if (ec) return stream_ended(ec);
      full = in_.arrived(n);
    }
  } catch (const std::exception& e) {
    if (done_) finish_handshake(std::current_exception());
    pass_values();  // What came before it counts.
    return shut(std::string("protocol error: ") + e.what());
  }
  if (in_.partial()) watch();
  read();
}

void socket_link::stream_ended(const error_code& ec) {
  if (ec == asio::error::eof)
    return shut(in_.partial() ? "closed by the peer in the middle of a frame"
                              : "closed by the peer");
  if (ec == asio::error::timed_out)
    return shut(fmt::format("no answer from the peer's host for {} s (peer_silence_max)",
                            seconds(limits_.peer_silence_max)));
  shut(stream_->explain(ec));
}

bool socket_link::take_frames() {
  const auto sink = sink_;  // It may close us, and then nobody else may have it any more.
  bool any = false;
  while (const auto frame = in_.next(!connected_)) {
    any = true;
    if (!take_frame(*frame)) return false;
  }
  // The one that is here in part began to come with these bytes, or before them.
  if (any || in_.began()) frame_began_ = heard_;
  return pass_values();
}

bool socket_link::take_frame(std::span<const std::byte> bytes) {
  if (const auto value = yields_.cut(bytes)) {
    if (values_.empty()) values_.reserve(usual_values_);
    values_.push_back(in_.keep(*value));
    return true;
  }
  if (!pass_values()) return false;
  msg::message m = msg::decode(in_.keep(bytes), limits_.depth_max);
  if (connected_) {
    if (const auto* yield = std::get_if<msg::yield>(&m)) yields_.learn(bytes, *yield);
    if (const auto* asked = std::get_if<msg::ping>(&m)) {
      send(msg::pong{asked->n}, urgency::now);
    } else if (!std::holds_alternative<msg::pong>(m)) {
      sink_->on_message(shared_from_this(), std::move(m), urgency::now);
    }
    return open_;
  }
  if (const auto* refusal = std::get_if<msg::boxed_error>(&m))
    throw transport_closed("the peer refused: " + refusal->message.value_or(""));
  auto* theirs = std::get_if<msg::aid>(&m);
  if (!theirs) throw protocol_error("the first message must be an Aid");
  take_aid(std::move(*theirs));
  return open_;
}

// Values of one stream come many in a row: they are passed on together.
bool socket_link::pass_values() {
  if (values_.empty()) return true;
  usual_values_ = values_.size();
  const auto sink = sink_;  // As above.
  sink->on_values(shared_from_this(), yields_.cid(), std::exchange(values_, {}));
  return open_;
}

void socket_link::take_aid(msg::aid&& theirs) {
  peer_ = std::move(theirs);
  if (peer_.is_probe) {  // Answered by our own Aid; not a peer.
    flush();
    if (!open_) return;
    finish_handshake(std::make_exception_ptr(transport_closed("it was a probe")));
    return shut("a probe");
  }
  connected_ = true;
  pings_ = msg::announces(peer_, "ping");
  sink_->on_connected(shared_from_this());
  finish_handshake(nullptr);
  if (open_ && pings_) watch();
}

// --- writing -------------------------------------------------------------------------------------

// Off the loop, encoding is the sender's work: the loop copies what is small, and writes.
void socket_link::send(msg::message m, urgency) {
  if (closed_.load(std::memory_order_relaxed)) return;
  const bool here = loop_->on_loop_thread();
  if (here && !open_) return;
  encoded frame;
  try {
    if (here)
      out_.push(std::move(m), dialect());
    else
      frame.body = encode_frame_shared(std::move(m), frame.head, dialect());
  } catch (const error& e) {
    return cannot_encode(e);
  }
  if (here) return plan_flush();
  append_later(std::move(frame));
}

void socket_link::send_values(const std::string& cid, std::vector<payload>&& values) {
  if (closed_.load(std::memory_order_relaxed)) return;
  const bool here = loop_->on_loop_thread();
  if (!here && std::ranges::any_of(values, is_worth_sharing))
    return link::send_values(cid, std::move(values));
  if (here && !open_) return;
  encoded frames;
  try {
    if (here)
      out_.push_values(cid, std::move(values));
    else
      msg::encode_yields(cid, values, frames.head);
  } catch (const error& e) {
    return cannot_encode(e);
  }
  if (!here) return append_later(std::move(frames));
  flush();  // The turn is at its end.
  if (open_) plan_flush();
}

// A name that is no UTF-8, a frame beyond 4 GiB: not to be sent at all.
void socket_link::cannot_encode(const error& e) {
  close(std::string("a message could not be encoded: ") + e.what());
}

// Weak, here and in close(): an item in the inbox of a loop that runs no more must not keep us, who
// keep the loop. While we are open our pending read keeps us.
void socket_link::append_later(encoded&& frames) {
  loop_->post([weak = weak_from_this(), frames = std::move(frames)]() mutable {
    const auto me = std::static_pointer_cast<socket_link>(weak.lock());
    if (!me || !me->open_) return;
    me->out_.push(std::move(frames));
    me->plan_flush();
  });
}

void socket_link::plan_flush() {
  if (out_.size() > limits_.queued_bytes_max)
    return shut(
        fmt::format("the peer does not read: {} bytes are queued (queued_bytes_max)", out_.size()));
  if (writing_ || out_.size() == 0 || std::exchange(flush_planned_, true)) return;
  loop_->at_turn_end([me = self()] {
    me->flush_planned_ = false;
    me->flush();
  });
}

// False: the stream takes no more now, or it is over.
bool socket_link::write_some() {
  std::array<asio::const_buffer, parts_per_call> parts;
  error_code ec;
  const std::size_t n = stream_->write_some({parts.data(), out_.gather(parts)}, ec);
  if (ec && ec != asio::error::would_block) stream_ended(ec);
  if (ec) return false;
  out_.pop(n);
  return true;
}

void socket_link::flush() {
  while (open_ && !writing_ && (out_.size() > 0 || stream_->holds_back())) {
    if (write_some() || !open_) continue;
    progress_ = loop_->now();
    writing_ = true;
    stream_->wait_writable(user());
    watch();
  }
}

void socket_link::on_writable() {
  writing_ = false;
  flush();
}

// --- silence -------------------------------------------------------------------------------------

void socket_link::watch() {
  if (std::exchange(watching_, true)) return;
  loop_->arm(look_, loop_->now() + limits_.peer_silence_max / 3);
}

// Nobody is given up at the first look: if we come late, because this process was stopped or its
// loop was busy, then what the peer has sent or taken meanwhile is still to be seen.
void socket_link::look() {
  const auto keep = self();
  const time_point now = loop_->now();
  time_point next = time_point::max();
  // The kernel tells of room only once there is much of it: a slow reader is seen by trying.
  if (writing_ && progress_ + limits_.peer_silence_max <= now && write_some()) progress_ = now;
  if (!open_) return;
  const std::string why = overdue(now, next);
  if (!why.empty() && suspected_) return shut(why);
  suspected_ = !why.empty();
  if (suspected_) return loop_->arm(look_, now + limits_.peer_silence_max / 10);
  watching_ = next != time_point::max();
  // What begins to wait in between is seen in time, too.
  if (watching_) loop_->arm(look_, std::min(next, now + limits_.peer_silence_max / 3));
}

// Why the peer is to be given up, or nothing and when to look again.
std::string socket_link::overdue(time_point now, time_point& next) {
  const duration bound = limits_.peer_silence_max;
  const auto is_due = [&](time_point at) {
    next = std::min(next, at);
    return at <= now;
  };
  if (writing_ && is_due(progress_ + bound))
    return fmt::format(
        "the peer does not read: it has taken nothing of {} bytes for {} s "
        "(peer_silence_max)",
        out_.size(), seconds(bound));
  if (in_.partial()) {
    const auto within = limits_.frame_within + std::chrono::seconds(in_.partial_bytes() >> 20);
    if (is_due(frame_began_ + within))
      return fmt::format("a frame was not complete within {} s (frame_within)", seconds(within));
  }
  if (!pings_) return {};
  if (pinged_)
    return is_due(pinged_at_ + bound * 2 / 3)
               ? fmt::format("the peer has been silent for {} s (peer_silence_max)", seconds(bound))
               : std::string();
  if (is_due(heard_ + bound / 3)) {
    pinged_ = true;
    pinged_at_ = now;
    next = now + bound * 2 / 3;
    send(msg::ping{++pings_sent_}, urgency::now);
  }
  return {};
}

// --- the end -------------------------------------------------------------------------------------

void socket_link::close(std::string why) {
  if (closed_.exchange(true)) return;
  if (loop_->on_loop_thread()) {
    flush();  // What was sent before close() should arrive: a CancelAck, an Error.
    return shut(why);
  }
  loop_->post([weak = weak_from_this(), why = std::move(why)] {
    const auto me = std::static_pointer_cast<socket_link>(weak.lock());
    if (!me) return;
    me->flush();
    me->shut(why);
  });
}

void socket_link::shut(const std::string& why) {
  if (!std::exchange(open_, false)) return;
  auto keep = self();
  closed_ = true;
  stream_->close();
  if (done_)
    finish_handshake(
        std::make_exception_ptr(transport_closed("connection ended during the "
                                                 "handshake: " +
                                                 why)));
  loop_->disarm(look_);
  out_.clear();  // Ports may keep us for as long as they know of the peer.
  auto sink = std::move(sink_);
  if (connected_) sink->on_closed(keep, why);
}

}  // namespace coppice::ipc
