// SPDX-License-Identifier: Apache-2.0
#include "ipc/out_queue.hpp"

#include <algorithm>
#include <string>
#include <utility>

#include "msg/yields.hpp"

namespace coppice::ipc {

namespace {

// A buffer of small frames that is as full is not added to, and one that is larger than that is not
// kept.
constexpr std::size_t buffer_bytes = 256 * 1024;

/// The payload with which the frame of such a message ends.
payload* last_payload(msg::message& m) {
  if (auto* y = std::get_if<msg::yield>(&m)) return &y->pld;
  if (auto* r = std::get_if<msg::returned>(&m)) return &r->pld;
  if (auto* s = std::get_if<msg::started>(&m)) return &s->pld;
  return nullptr;
}

}  // namespace

payload encode_frame_shared(msg::message&& m, msgpack::buffer& out, msg::dialect to) {
  payload* last = last_payload(m);
  if (!last || !is_worth_sharing(*last)) {
    msg::encode_frame(m, out, to);
    return {};
  }
  payload body = std::exchange(*last, payload());
  const std::size_t from = out.size();
  msg::encode_frame(m, out, to);
  out.truncate(out.size() - 1);  // The nil in its place.
  try {
    const std::size_t head = out.size() - from - msg::frame_header_bytes;
    std::ranges::copy(msg::frame_header(msg::type_name(m), head + body.size()), out.data() + from);
  } catch (...) {
    out.truncate(from);
    throw;
  }
  return body;
}

msgpack::buffer& out_queue::tail() {
  if (pieces_.empty() || !pieces_.back().shared.is_nil() ||
      pieces_.back().bytes.size() >= buffer_bytes)
    pieces_.emplace_back();
  return pieces_.back().bytes;
}

void out_queue::push_shared(payload body) {
  if (body.is_nil()) return;
  size_ += body.size();
  if (!body.has_blocks()) {
    pieces_.emplace_back().shared = std::move(body);
    return;
  }
  std::size_t from = 0;
  for (const block_apart& b : body.blocks()) {
    tail().append(body.bytes().subspan(from, b.at - from));
    pieces_.emplace_back().shared = payload(b.block.owner, b.block.bytes);
    from = b.at;
  }
  if (from < body.bytes().size()) tail().append(body.bytes().subspan(from));
}

void out_queue::push(msg::message&& m, msg::dialect to) {
  msgpack::buffer& at = tail();
  const std::size_t before = at.size();
  payload body = encode_frame_shared(std::move(m), at, to);
  size_ += at.size() - before;
  push_shared(std::move(body));
}

void out_queue::push(encoded&& frame) {
  tail().append(frame.head.bytes());
  size_ += frame.head.size();
  push_shared(std::move(frame.body));
}

void out_queue::push_values(const std::string& cid, std::vector<payload>&& values) {
  if (std::ranges::any_of(values, is_worth_sharing)) {
    for (auto& v : values) push(msg::yield{cid, std::move(v)}, msg::dialect::coppice);
    return;
  }
  msgpack::buffer& at = tail();
  const std::size_t before = at.size();
  msg::encode_yields(cid, values, at);
  size_ += at.size() - before;
}

std::size_t out_queue::gather(std::span<boost::asio::const_buffer> parts) const {
  std::size_t n = 0;
  for (const piece& p : pieces_) {
    const auto rest = p.rest();
    if (n == parts.size()) break;
    if (!rest.empty()) parts[n++] = {rest.data(), rest.size()};
  }
  return n;
}

void out_queue::pop(std::size_t n) {
  size_ -= n;
  while (n > 0) {
    piece& first = pieces_.front();
    const std::size_t taken = std::min(n, first.rest().size());
    first.begin += taken;
    n -= taken;
    if (!first.rest().empty()) return;
    // The last buffer is kept for what comes next, unless one large message made it so.
    if (pieces_.size() == 1 && first.shared.is_nil() && first.bytes.size() <= buffer_bytes) {
      first.bytes.clear();
      first.begin = 0;
      return;
    }
    pieces_.pop_front();
  }
}

void out_queue::clear() {
  pieces_.clear();
  size_ = 0;
}

}  // namespace coppice::ipc
