// SPDX-License-Identifier: Apache-2.0
// Any bytes as a message, any message of the protocol chosen by the first byte: it decodes or
// throws what decode() says, and what was decoded encodes to bytes that decode to the same.
#include <algorithm>
#include <string>
#include <vector>

#include "coppice/errors.hpp"
#include "fuzz.hpp"
#include "msg/messages.hpp"
#include "msg/yields.hpp"

namespace coppice::msg {
namespace {

std::string encoded(const message& m, dialect to) {
  msgpack::buffer out;
  encode(m, out, to);
  return fuzz::string_of(out);
}

message decoded(const std::string& bytes) {
  return decode(fuzz::payload_of(std::as_bytes(std::span(bytes))));
}

void there_and_back(const message& m, dialect to) {
  const std::string once = encoded(m, to);
  const message back = decoded(once);
  COPPICE_ASSERT(back.index() == m.index(), "a message stays what it is");
  COPPICE_ASSERT(encoded(back, to) == once, "what was encoded decodes to the same");
  const std::string* a = cid_of(m);
  const std::string* b = cid_of(back);
  COPPICE_ASSERT((a == nullptr) == (b == nullptr), "a cid stays");
  COPPICE_ASSERT(!a || *a == *b, "and stays the same");
}

// An error as the callers see it, and on from there.
void relayed(boxed_error m) {
  const auto cid = m.cid;
  there_and_back(to_message(to_error_info(std::move(m)), cid), dialect::coppice);
}

// The fields of a message whose tag is given: half of what a fuzzer would otherwise look for.
payload with_tag(std::string_view tag, std::size_t fields, std::span<const std::byte> rest) {
  msgpack::buffer out;
  msgpack::writer w(out);
  w.map(1 + fields);
  w.str("msg_type"), w.str(tag);
  w.raw(rest);
  return fuzz::payload_of(out.bytes());  // Copied: a block of exactly this size.
}

template <std::size_t... I>
std::string_view tag_of(std::size_t n, std::index_sequence<I...>) {
  std::string_view tag;
  ((I == n ? void(tag = type_name(message(std::in_place_index<I>))) : void()), ...);
  return tag;
}

// The same message with a key more, which nobody knows: frames of the usual form are read in a
// shorter way, and this one is not of that form.
void read_in_full(const payload& frame, const message& m) {
  const auto bytes = frame.bytes();
  const auto head = static_cast<std::uint8_t>(bytes.front());
  if (head < 0x80 || head >= 0x8f) return;  // Not up to 14 keys.
  msgpack::buffer out;
  msgpack::writer w(out);
  w.map((head & 0x0fu) + 1), w.raw(bytes.subspan(1)), w.str("zz"), w.nil();
  const message other = decode(fuzz::payload_of(out.bytes()));
  COPPICE_ASSERT(other.index() == m.index(), "both ways read the same message");
  COPPICE_ASSERT(encoded(other, dialect::coppice) == encoded(m, dialect::coppice), "all of it");
}

// A stream's frames are cut where the one before had its value.
void cut(const payload& frame, const yield& m) {
  yield_cutter cutter;
  cutter.learn(frame.bytes(), m);
  const auto value = cutter.cut(frame.bytes());
  COPPICE_ASSERT(!value || (std::ranges::equal(*value, m.pld.bytes()) && cutter.cid() == m.cid),
                 "cutting is decoding");
  msgpack::buffer one, both;
  encode_frame(m, one, dialect::coppice);
  encode_yields(m.cid, std::vector<payload>{m.pld, m.pld}, both);
  COPPICE_ASSERT(fuzz::string_of(one) + fuzz::string_of(one) == fuzz::string_of(both),
                 "many at once are one after the other");
}

void one(fuzz::input& in) {
  constexpr std::size_t kinds = std::variant_size_v<message>;
  const std::size_t chosen = in.below(kinds + 1);
  payload frame;
  if (chosen != 0) {
    const std::size_t fields = in.below(16);
    const auto tag = tag_of(chosen - 1, std::make_index_sequence<kinds>());
    frame = with_tag(tag, fields, in.rest());
  } else {
    frame = fuzz::payload_of(in.rest());
  }
  message m;
  try {
    m = decode(frame);
  } catch (const protocol_error&) {
    return;
  } catch (const limit_exceeded&) {
    return;
  }
  COPPICE_ASSERT(chosen == 0 || m.index() == chosen - 1, "the tag decides");
  read_in_full(frame, m);
  there_and_back(m, dialect::coppice);
  const bool is_ours = type_name(m).starts_with("coppice.");
  if (!is_ours) there_and_back(m, dialect::tractor);
  if (const auto* y = std::get_if<yield>(&m)) cut(frame, *y);
  if (auto* e = std::get_if<boxed_error>(&m)) relayed(std::move(*e));
}

}  // namespace
}  // namespace coppice::msg

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  coppice::fuzz::input in(data, size);
  coppice::msg::one(in);
  return 0;
}
