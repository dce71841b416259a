// SPDX-License-Identifier: Apache-2.0
#include "ipc/socket_link.hpp"

#include <fmt/format.h>

#include <boost/asio/buffer.hpp>
#include <cstring>
#include <utility>

#include "core/reactor.hpp"
#include "coppice/errors.hpp"

namespace coppice::ipc {

namespace asio = boost::asio;
using boost::system::error_code;

namespace {
constexpr std::size_t chunk_bytes = 64 * 1024;
constexpr std::size_t prefix_bytes = 4;

std::uint32_t read_length(const std::byte* p) {
  std::uint32_t n = 0;
  for (int i = 3; i >= 0; --i) n = n << 8 | std::to_integer<std::uint32_t>(p[i]);
  return n;
}
}  // namespace

struct socket_link::chunk {
  explicit chunk(std::size_t size) : bytes(std::make_unique_for_overwrite<std::byte[]>(size)), size(size) {}
  std::unique_ptr<std::byte[]> bytes;
  std::size_t size;
};

socket_link::socket_link(std::shared_ptr<core::loop> on, socket s, const msg::aid& self,
                         std::shared_ptr<link_sink> sink, limits l)
    : loop_(std::move(on)), self_aid_(self), limits_(l), sink_(std::move(sink)),
      socket_(std::move(s)), in_(std::make_shared<chunk>(chunk_bytes)) {
  socket_.non_blocking(true);
}

socket_link::~socket_link() = default;

std::string socket_link::describe() const {
  return fmt::format("uds to {}", peer_.name.empty() ? "(handshake)" : peer_.name);
}

// --- handshake ---------------------------------------------------------------------------------------

void socket_link::begin(handshake_done done) {
  done_ = std::move(done);
  loop_->arm(deadline_, loop_->now() + limits_.handshake_within);
  // We do not know yet who the peer is; a tractor peer ignores the key that it does not know.
  msg::encode_frame(self_aid_, out_, msg::dialect::coppice);
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
  if (auto done = std::exchange(done_, nullptr)) done(std::move(e), e ? nullptr : self());
}

// --- reading -------------------------------------------------------------------------------------------

void socket_link::read() {
  if (!open_) return;
  make_room();
  socket_.async_read_some(
      asio::buffer(in_->bytes.get() + in_end_, in_->size - in_end_),
      [me = self()](error_code ec, std::size_t n) {
        if (!me->open_) return;
        if (!ec) return me->on_bytes(n);
        me->shut(ec == asio::error::eof ? "closed by the peer" : ec.message());
      });
}

// Space for at least the frame that is arriving. Payloads that were cut from the chunk share it, so
// its bytes may be moved only while nobody else holds it.
void socket_link::make_room() {
  const std::size_t have = in_end_ - in_begin_;
  std::size_t want = chunk_bytes / 2;
  if (have >= prefix_bytes) want = prefix_bytes + read_length(in_->bytes.get() + in_begin_);
  if (in_.use_count() == 1 && have == 0) in_begin_ = in_end_ = 0;
  if (in_->size - in_begin_ >= want && in_end_ < in_->size) return;
  if (in_.use_count() == 1 && in_->size >= want) {
    std::memmove(in_->bytes.get(), in_->bytes.get() + in_begin_, have);
  } else {
    auto next = std::make_shared<chunk>(std::max(chunk_bytes, want));
    std::memcpy(next->bytes.get(), in_->bytes.get() + in_begin_, have);
    in_ = std::move(next);
  }
  in_begin_ = 0;
  in_end_ = have;
}

void socket_link::on_bytes(std::size_t n) {
  in_end_ += n;
  try {
    if (!take_frames()) return;
  } catch (const std::exception& e) {
    if (done_) finish_handshake(std::current_exception());
    return shut(std::string("protocol error: ") + e.what());
  }
  read();
}

bool socket_link::take_frames() {
  while (in_end_ - in_begin_ >= prefix_bytes) {
    const std::byte* at = in_->bytes.get() + in_begin_;
    const std::size_t length = read_length(at);
    if (length > limits_.frame_bytes_max)
      throw limit_exceeded(fmt::format("a frame of {} bytes; frame_bytes_max is {}", length,
                                       limits_.frame_bytes_max));
    if (in_end_ - in_begin_ < prefix_bytes + length) break;
    in_begin_ += prefix_bytes + length;
    if (!take_frame({at + prefix_bytes, length})) return false;
  }
  return true;
}

bool socket_link::take_frame(std::span<const std::byte> frame) {
  msg::message m = msg::decode(payload(in_, frame));
  if (connected_) {
    sink_->on_message(shared_from_this(), std::move(m), urgency::now);
    return open_;
  }
  auto* aid = std::get_if<msg::aid>(&m);
  if (!aid) throw protocol_error("the first message must be an Aid");
  peer_ = std::move(*aid);
  if (peer_.is_probe) {  // Answered by our own Aid, which left first; not a peer.
    finish_handshake(std::make_exception_ptr(transport_closed("it was a probe")));
    shut("a probe");
    return false;
  }
  connected_ = true;
  sink_->on_connected(shared_from_this());
  finish_handshake(nullptr);
  return open_;
}

// --- writing -------------------------------------------------------------------------------------------

void socket_link::send(msg::message m, urgency) {
  if (closed_.load(std::memory_order_relaxed)) return;
  const auto to = peer_.extensions ? msg::dialect::coppice : msg::dialect::tractor;
  msgpack::buffer frame;  // Off the loop, encoding is the sender's work: the loop copies and writes.
  const bool here = loop_->on_loop_thread();
  try {
    if (here && !open_) return;
    msg::encode_frame(m, here ? out_ : frame, to);
  } catch (const error& e) {  // A name that is no UTF-8, a frame beyond 4 GiB: not to be sent at all.
    return close(std::string("a message could not be encoded: ") + e.what());
  }
  if (here) return plan_flush();
  loop_->post([me = self(), frame = std::move(frame)] {
    if (!me->open_) return;
    me->out_.append(frame.bytes());
    me->plan_flush();
  });
}

void socket_link::plan_flush() {
  if (out_.size() - out_sent_ > limits_.queued_bytes_max)
    return shut(fmt::format("the peer does not read: {} bytes are queued (queued_bytes_max)",
                            out_.size() - out_sent_));
  if (writing_ || std::exchange(flush_planned_, true)) return;
  loop_->at_turn_end([me = self()] {
    me->flush_planned_ = false;
    me->flush();
  });
}

void socket_link::flush() {
  while (open_ && !writing_ && out_sent_ < out_.size()) {
    error_code ec;
    const std::size_t n =
        socket_.send(asio::buffer(out_.data() + out_sent_, out_.size() - out_sent_), 0, ec);
    if (ec == asio::error::would_block || ec == asio::error::try_again) return wait_writable();
    if (ec) return shut(ec.message());
    out_sent_ += n;
  }
  out_.clear();
  out_sent_ = 0;
}

void socket_link::wait_writable() {
  writing_ = true;
  socket_.async_wait(socket::wait_write, [me = self()](error_code) {
    me->writing_ = false;
    me->flush();
  });
}

// --- the end -------------------------------------------------------------------------------------------

void socket_link::close(std::string why) {
  if (closed_.exchange(true)) return;
  if (loop_->on_loop_thread()) {
    flush();  // What was sent before close() should arrive: a CancelAck, an Error.
    return shut(why);
  }
  loop_->post([me = self(), why = std::move(why)] {
    me->flush();
    me->shut(why);
  });
}

void socket_link::shut(const std::string& why) {
  if (!std::exchange(open_, false)) return;
  auto keep = self();
  closed_ = true;
  error_code ignored;
  socket_.close(ignored);
  if (done_)
    finish_handshake(std::make_exception_ptr(transport_closed("connection ended during the "
                                                              "handshake: " + why)));
  auto sink = std::move(sink_);
  if (connected_) sink->on_closed(keep, why);
}

}  // namespace coppice::ipc
