// SPDX-License-Identifier: Apache-2.0
// The values of a stream as frames: they differ in nothing but the value, and there are many.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>

#include "coppice/payload.hpp"
#include "msg/messages.hpp"

namespace coppice::msg {

/// Appends what encode_frame() of one yield after the other would. Throws limit_exceeded beyond
/// 4 GiB, message_type_error for a cid that is not UTF-8; `out` is then as before.
void encode_yields(const std::string& cid, std::span<const payload> values, msgpack::buffer& out);

/// Takes the value out of a frame that begins as the last Yield did, without decoding it: the same
/// as decode() gives, several times as fast.
///
/// Owner: whoever decodes the frames of one connection. Thread: one at a time.
class yield_cutter {
 public:
  /// Empty: it is something else, or not well-formed. decode() says what.
  std::optional<std::span<const std::byte>> cut(std::span<const std::byte> frame) const;
  /// After decode(): how the next one may begin. Not if the value was not the last of its keys.
  void learn(std::span<const std::byte> frame, const yield& m);
  /// Of what cut() gives.
  const std::string& cid() const noexcept { return cid_; }

 private:
  std::string head_;  // Empty: none was seen yet.
  std::string cid_;
};

}  // namespace coppice::msg
