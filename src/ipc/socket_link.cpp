// SPDX-License-Identifier: Apache-2.0
#include "ipc/socket_link.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <boost/asio/error.hpp>
#include <cstring>
#include <utility>

#include "coppice/errors.hpp"

namespace coppice::ipc {

namespace asio = boost::asio;
using boost::system::error_code;

namespace {
constexpr std::size_t chunk_bytes = 64 * 1024;
constexpr std::size_t prefix_bytes = 4;
// A queue that is never quite empty sheds what has left whenever that much has.
constexpr std::size_t shed_bytes = 256 * 1024;

std::uint32_t read_length(const std::byte* p) {
  std::uint32_t n = 0;
  for (int i = 3; i >= 0; --i) n = n << 8 | std::to_integer<std::uint32_t>(p[i]);
  return n;
}
}  // namespace

struct socket_link::chunk {
  explicit chunk(std::size_t n) : bytes(std::make_unique_for_overwrite<std::byte[]>(n)), size(n) {}
  const std::unique_ptr<std::byte[]> bytes;
  const std::size_t size;
};

socket_link::socket_link(std::shared_ptr<core::loop> on, stream_ptr s, const msg::aid& self,
                         std::shared_ptr<link_sink> sink, limits l)
    : loop_(std::move(on)),
      self_aid_(self),
      limits_(l),
      sink_(std::move(sink)),
      stream_(std::move(s)),
      in_(std::make_shared<chunk>(chunk_bytes)) {}

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
    msg::encode_frame(self_aid_, out_, msg::dialect::coppice);
    loop_->arm(deadline_, loop_->now() + limits_.handshake_within);
  } catch (...) {  // A name that is no UTF-8: ours, so no peer will ever understand it.
    const std::string why = describe_exception(std::current_exception());
    finish_handshake(std::current_exception());
    return shut(why);
  }
  plan_flush();
  read();
}

void socket_link::handshake_late() noexcept {
  auto keep = self();
  const auto bound = std::chrono::duration<double>(limits_.handshake_within).count();
  finish_handshake(std::make_exception_ptr(
      timeout_error(fmt::format("the peer did not introduce itself within {} s", bound))));
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
    make_room();
  } catch (const std::exception& e) {
    return shut(fmt::format("no memory for a frame: {}", e.what()));
  }
  stream_->read({in_->bytes.get() + in_end_, in_->size - in_end_}, user());
}

// Space for at least the frame that is arriving. Payloads that were cut from the chunk share it, so
// its bytes may be moved only while nobody else holds it.
void socket_link::make_room() {
  const std::size_t have = in_end_ - in_begin_;
  std::size_t want = chunk_bytes / 2;
  if (have >= prefix_bytes) want = prefix_bytes + read_length(in_->bytes.get() + in_begin_);
  const bool alone = in_.use_count() == 1;
  // Pairs with the release of the last payload, on whatever thread that was.
  if (alone) std::atomic_thread_fence(std::memory_order_acquire);
  // One large frame must not cost its size for the rest of the connection.
  const bool outsized = in_->size > chunk_bytes && want <= chunk_bytes;
  if (!outsized) {
    if (alone && have == 0) in_begin_ = in_end_ = 0;
    if (in_->size - in_begin_ >= want && in_end_ < in_->size) return;
  }
  if (alone && !outsized && in_->size >= want) {
    std::memmove(in_->bytes.get(), in_->bytes.get() + in_begin_, have);
  } else {
    auto next = std::make_shared<chunk>(std::max(chunk_bytes, want));
    std::memcpy(next->bytes.get(), in_->bytes.get() + in_begin_, have);
    in_ = std::move(next);
  }
  in_begin_ = 0;
  in_end_ = have;
}

void socket_link::on_read(const error_code& ec, std::size_t n) {
  if (!open_) return;
  if (ec == asio::error::eof) {
    const bool whole = in_begin_ == in_end_;
    return shut(whole ? "closed by the peer" : "closed by the peer in the middle of a frame");
  }
  if (ec) return shut(stream_->explain(ec));
  in_end_ += n;
  try {
    if (!take_frames()) return;
  } catch (const std::exception& e) {
    if (done_) finish_handshake(std::current_exception());
    pass_values();  // What came before it counts.
    return shut(std::string("protocol error: ") + e.what());
  }
  read();
}

bool socket_link::take_frames() {
  const auto sink = sink_;  // It may close us, and then nobody else may have it any more.
  while (in_end_ - in_begin_ >= prefix_bytes) {
    const std::byte* at = in_->bytes.get() + in_begin_;
    const std::size_t length = read_length(at);
    if (!connected_ && length > limits_.aid_bytes_max)
      throw limit_exceeded(fmt::format("a first frame of {} bytes; aid_bytes_max is {}", length,
                                       limits_.aid_bytes_max));
    if (length > limits_.frame_bytes_max)
      throw limit_exceeded(fmt::format("a frame of {} bytes; frame_bytes_max is {}", length,
                                       limits_.frame_bytes_max));
    if (in_end_ - in_begin_ < prefix_bytes + length) break;
    in_begin_ += prefix_bytes + length;
    if (!take_frame({at + prefix_bytes, length})) return false;
  }
  return pass_values();
}

bool socket_link::take_frame(std::span<const std::byte> frame) {
  if (const auto value = yields_.cut(frame)) {
    values_.push_back(payload(in_, *value));
    return true;
  }
  if (!pass_values()) return false;
  msg::message m = msg::decode(payload(in_, frame));
  if (connected_) {
    if (const auto* yield = std::get_if<msg::yield>(&m)) yields_.learn(frame, *yield);
    sink_->on_message(shared_from_this(), std::move(m), urgency::now);
    return open_;
  }
  if (const auto* refusal = std::get_if<msg::boxed_error>(&m))
    throw transport_closed("the peer refused: " + refusal->message.value_or(""));
  auto* aid = std::get_if<msg::aid>(&m);
  if (!aid) throw protocol_error("the first message must be an Aid");
  peer_ = std::move(*aid);
  if (peer_.is_probe) {  // Answered by our own Aid; not a peer.
    flush();
    if (!open_) return false;
    finish_handshake(std::make_exception_ptr(transport_closed("it was a probe")));
    shut("a probe");
    return false;
  }
  connected_ = true;
  sink_->on_connected(shared_from_this());
  finish_handshake(nullptr);
  return open_;
}

// Values of one stream come many in a row: they are passed on together.
bool socket_link::pass_values() {
  if (values_.empty()) return true;
  sink_->on_values(shared_from_this(), yields_.cid(), std::exchange(values_, {}));
  return open_;
}

// --- writing -------------------------------------------------------------------------------------

void socket_link::send(msg::message m, urgency) {
  if (closed_.load(std::memory_order_relaxed)) return;
  const auto to = peer_.extensions ? msg::dialect::coppice : msg::dialect::tractor;
  // Off the loop, encoding is the sender's work: the loop copies and writes.
  msgpack::buffer frame;
  const bool here = loop_->on_loop_thread();
  try {
    if (here && !open_) return;
    msg::encode_frame(m, here ? out_ : frame, to);
  } catch (const error& e) {
    // A name that is no UTF-8, a frame beyond 4 GiB: not to be sent at all.
    return close(std::string("a message could not be encoded: ") + e.what());
  }
  if (here) return plan_flush();
  append_later(std::move(frame));
}

void socket_link::send_values(const std::string& cid, std::vector<payload>&& values) {
  if (closed_.load(std::memory_order_relaxed)) return;
  msgpack::buffer frames;
  const bool here = loop_->on_loop_thread();
  try {
    if (here && !open_) return;
    msg::encode_yields(cid, values, here ? out_ : frames);
  } catch (const error& e) {
    return close(std::string("a message could not be encoded: ") + e.what());
  }
  if (!here) return append_later(std::move(frames));
  if (!writing_) flush();  // The turn is at its end.
  if (open_) plan_flush();
}

void socket_link::append_later(msgpack::buffer frames) {
  // Weak, here and in close(): an item in the inbox of a loop that runs no more must not keep us,
  // who keep the loop. While we are open our pending read keeps us.
  loop_->post([weak = weak_from_this(), frames = std::move(frames)] {
    const auto me = std::static_pointer_cast<socket_link>(weak.lock());
    if (!me || !me->open_) return;
    me->out_.append(frames.bytes());
    me->plan_flush();
  });
}

void socket_link::plan_flush() {
  if (out_.size() - out_sent_ > limits_.queued_bytes_max)
    return shut(fmt::format("the peer does not read: {} bytes are queued (queued_bytes_max)",
                            out_.size() - out_sent_));
  if (writing_ || out_sent_ == out_.size() || std::exchange(flush_planned_, true)) return;
  loop_->at_turn_end([me = self()] {
    me->flush_planned_ = false;
    me->flush();
  });
}

void socket_link::flush() {
  while (open_ && !writing_ && out_sent_ < out_.size()) {
    error_code ec;
    const asio::const_buffer rest(out_.data() + out_sent_, out_.size() - out_sent_);
    const std::size_t n = stream_->write_some({&rest, 1}, ec);
    if (ec == asio::error::would_block) return wait_writable();
    if (ec) return shut(stream_->explain(ec));
    out_sent_ += n;
  }
  drop_sent();
}

// Called when everything has left, or the peer is slow: then bytes are moved, but never more than
// have left since the last time.
void socket_link::drop_sent() {
  const std::size_t left = out_.size() - out_sent_;
  if (out_sent_ == 0) return;
  if (left != 0 && (out_sent_ < shed_bytes || out_sent_ < left)) return;
  if (left == 0 && out_sent_ > shed_bytes) {
    out_ = msgpack::buffer();  // Nor must one large message keep its memory.
  } else {
    std::memmove(out_.data(), out_.data() + out_sent_, left);
    out_.truncate(left);
  }
  out_sent_ = 0;
}

void socket_link::wait_writable() {
  drop_sent();
  writing_ = true;
  stream_->wait_writable(user());
}

void socket_link::on_writable() {
  writing_ = false;
  flush();
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
  out_ = msgpack::buffer();  // Ports may keep us for as long as they know of the peer.
  out_sent_ = 0;
  auto sink = std::move(sink_);
  if (connected_) sink->on_closed(keep, why);
}

}  // namespace coppice::ipc
