// SPDX-License-Identifier: Apache-2.0
// Any bytes on a connection that has shaken hands, cut into any pieces: what the sink hears is what
// cutting the whole at its length prefixes gives, and an end that fits the first broken frame.
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "leashed_link.hpp"

namespace coppice::fuzz {
namespace {

constexpr ipc::limits small{.frame_bytes_max = 100'000, .aid_bytes_max = 1'000};
constexpr std::size_t pieces_max = 12;

/// What a simple reader makes of the stream.
struct verdict {
  std::vector<std::string> messages;  // Encoded again.
  bool broken = false;                // At the frame after them.
  std::size_t left = 0;               // Bytes of a frame that has not ended.
};

std::string encoded(const msg::message& m) {
  msgpack::buffer out;
  msg::encode(m, out, msg::dialect::coppice);
  return string_of(out);
}

verdict read_simply(std::string_view stream) {
  verdict v;
  while (stream.size() >= msg::frame_header_bytes) {
    const auto bytes = std::as_bytes(std::span(stream));
    const std::size_t length = msg::frame_length(bytes.first<msg::frame_header_bytes>());
    if (length > small.frame_bytes_max) return v.broken = true, v;
    if (stream.size() < msg::frame_header_bytes + length) break;
    try {
      const auto body = bytes.subspan(msg::frame_header_bytes, length);
      v.messages.push_back(encoded(msg::decode(payload_of(body))));
    } catch (const error&) {
      return v.broken = true, v;
    }
    stream.remove_prefix(msg::frame_header_bytes + length);
  }
  v.left = stream.size();
  return v;
}

/// How a stream is cut, and what precedes it: frames that move its place in the link's buffer.
struct plan {
  explicit plan(input& in)
      : state(in.byte() * 2u + 1u),
        piece_max(std::size_t{1} << in.below(13)),
        frames_before(few(in.byte())),
        frame_bytes(frames_before != 0 ? in.two_bytes() : 0),
        keeps(in.below(2) != 0) {}
  static std::size_t few(std::size_t n) { return n < 250 ? 0 : (n - 248) / 2; }  // They are slow.
  std::size_t next_piece() {
    state = state * 1'664'525u + 1'013'904'223u;
    return 1 + (state >> 8) % piece_max;
  }
  std::uint32_t state;
  std::size_t piece_max;
  std::size_t frames_before;
  std::size_t frame_bytes;
  bool keeps;  // The sink keeps what it hears, and with it the link's buffers.
};

std::string stream_of(const plan& how, input& in) {
  std::string all;
  for (std::size_t i = 0; i < how.frames_before; ++i)
    all += frame_of(msg::yield{"cid", to_payload(std::vector<std::byte>(how.frame_bytes))});
  return all + in.text(100'000);
}

/// Messages that the sink has heard so far, those that it let go of included.
std::size_t heard(leashed_link& leash, const verdict& expected, std::size_t before, bool keeps) {
  auto& list = leash.sink->messages;
  for (std::size_t i = keeps ? before : 0; i < list.size(); ++i, ++before) {
    COPPICE_ASSERT(before < expected.messages.size(), "no message that nobody sent");
    COPPICE_ASSERT(encoded(list[i]) == expected.messages[before], "each message as it was sent");
  }
  if (!keeps) list.clear();
  return before;
}

task<> run(std::shared_ptr<core::loop> loop, input in) {
  std::optional<leashed_link> leash;
  leash.emplace(loop, small);
  leash->send(frame_of(aid_of("peer", true)));
  COPPICE_ASSERT(leash->sink->connected, "an Aid is all that it takes");
  co_await checkpoint();

  plan how(in);
  const std::string all = stream_of(how, in);
  const verdict expected = read_simply(all);
  std::string_view rest = all;
  std::size_t messages = 0;
  for (std::size_t i = 0; i < pieces_max && !rest.empty() && !leash->is_over(); ++i) {
    const std::size_t n = i + 1 == pieces_max ? rest.size() : how.next_piece();
    leash->send(rest.substr(0, n));
    rest.remove_prefix(std::min(n, rest.size()));
    messages = heard(*leash, expected, messages, how.keeps);
  }
  COPPICE_ASSERT(messages == expected.messages.size(), "every whole frame before a broken one");
  COPPICE_ASSERT(leash->sink->closed == expected.broken, "a broken frame is the end, nothing else");
  leash->shut_down();
  COPPICE_ASSERT(leash->sink->closed, "the peer's end is the end");
  if (!expected.broken) {
    const bool in_the_middle = leash->sink->why.find("in the middle") != std::string::npos;
    COPPICE_ASSERT(in_the_middle == (expected.left != 0),
                   "an end in the middle of a frame is told");
  }
  for (const auto& m : leash->sink->messages) (void)encoded(m);  // Payloads outlive their link.
  co_await expect_released(leash);
}

}  // namespace
}  // namespace coppice::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace coppice;
  static const auto loop = std::make_shared<core::loop>();
  loop->run(fuzz::run(loop, fuzz::input(data, size)));
  COPPICE_ASSERT(loop.use_count() == 1, "something kept the loop");
  return 0;
}
