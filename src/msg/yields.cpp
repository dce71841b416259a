// SPDX-License-Identifier: Apache-2.0
#include "msg/yields.hpp"

#include <algorithm>
#include <cstring>

#include "coppice/errors.hpp"

namespace coppice::msg {

void encode_yields(const std::string& cid, std::span<const payload> values, msgpack::buffer& out) {
  if (values.empty()) return;
  const std::size_t before = out.size();
  encode_frame(yield{cid, values.front()}, out);
  // What all of them begin with: the frame up to its value.
  const std::size_t head = out.size() - before - values.front().size();
  const std::size_t body = head - frame_header_bytes;
  std::size_t total = 0;
  for (const payload& v : values) total += head + v.size();
  out.reserve(before + total);
  try {
    for (const payload& v : values.subspan(1)) {
      const auto header = frame_header("Yield", body + v.size());
      std::byte* to = std::ranges::copy(header, out.extend(head)).out;
      std::memcpy(to, out.data() + before + frame_header_bytes, body);
      msgpack::writer(out).raw(v);
    }
  } catch (...) {
    out.truncate(before);
    throw;
  }
}

std::optional<std::span<const std::byte>> yield_cutter::cut(
    std::span<const std::byte> bytes) const {
  if (head_.empty() || bytes.size() <= head_.size()) return std::nullopt;
  if (std::memcmp(bytes.data(), head_.data(), head_.size()) != 0) return std::nullopt;
  const auto value = bytes.subspan(head_.size());
  try {
    msgpack::reader r(value);
    r.skip();
    if (!r.at_end()) return std::nullopt;
  } catch (const error&) {
    return std::nullopt;
  }
  return value;
}

void yield_cutter::learn(std::span<const std::byte> all, const yield& m) {
  const auto value = m.pld.bytes();
  if (value.data() + value.size() != all.data() + all.size()) return;
  head_.assign(reinterpret_cast<const char*>(all.data()), all.size() - value.size());
  cid_ = m.cid;
}

}  // namespace coppice::msg
