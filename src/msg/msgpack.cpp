// SPDX-License-Identifier: Apache-2.0
#include "coppice/detail/msgpack.hpp"

#include <algorithm>
#include <array>

#include "base/assert.hpp"
#include "coppice/errors.hpp"

namespace coppice::msgpack {

// ---- buffer ----

void buffer::grow(std::size_t n) {
  constexpr std::size_t smallest = 64;  // Most results are a number or a short text.
  if (n > std::numeric_limits<std::size_t>::max() / 2 - size_) throw std::bad_alloc();
  const std::size_t capacity = std::max({size_ + n, 2 * capacity_, smallest});
  auto block = std::make_shared_for_overwrite<std::byte[]>(capacity);
  if (size_ != 0) std::memcpy(block.get(), data_, size_);
  data_ = block.get();
  block_ = std::move(block);
  capacity_ = capacity;
}

void buffer::append_block(const owned_bytes& block) {
  if (!apart_) apart_ = std::make_unique<std::vector<block_apart>>();
  apart_->push_back({size_, block});
}

void buffer::drop_blocks() noexcept {
  // One at size_ follows the last byte that is left: its header.
  while (!apart_->empty() && apart_->back().at > size_) apart_->pop_back();
  if (apart_->empty()) apart_ = nullptr;
}

// ---- writer ----

std::byte* writer::ext_room(std::int8_t type, std::size_t size) {
  if (size > std::numeric_limits<std::uint32_t>::max()) too_long(size);
  const bool fixed = size == 1 || size == 2 || size == 4 || size == 8 || size == 16;
  if (fixed) {
    head(static_cast<std::uint8_t>(0xd4 + std::countr_zero(size)));
  } else if (size <= 0xff) {
    head_and(0xc7, static_cast<std::uint8_t>(size));
  } else if (size <= 0xffff) {
    head_and(0xc8, static_cast<std::uint16_t>(size));
  } else {
    head_and(0xc9, static_cast<std::uint32_t>(size));
  }
  std::byte* to = out_->extend(1 + size);
  *to = static_cast<std::byte>(type);
  return to + 1;
}

void writer::bin(const owned_bytes& block) {
  const std::size_t size = block.bytes.size();
  if (size < block_bytes_min || block.owner == nullptr || !out_->keeps_blocks())
    return bin(block.bytes);
  if (size > std::numeric_limits<std::uint32_t>::max()) too_long(size);
  head_and(0xc6, static_cast<std::uint32_t>(size));
  out_->append_block(block);
}

void writer::raw_with_blocks(const payload& v) {
  std::size_t from = 0;
  for (const block_apart& b : v.blocks()) {
    out_->append(v.bytes().subspan(from, b.at - from));
    if (out_->keeps_blocks())
      out_->append_block(b.block);
    else
      out_->append(b.block.bytes);
    from = b.at;
  }
  out_->append(v.bytes().subspan(from));
}

void writer::too_long(std::size_t size) {
  throw limit_exceeded("a value of " + std::to_string(size) +
                       " bytes or entries cannot travel: msgpack counts them in 32 bits");
}

// ---- text ----

namespace {

// The length of the UTF-8 sequence at `p`, 0 if it is none.
std::size_t sequence(const std::uint8_t* p, std::size_t left) noexcept {
  const auto tail = [&](std::size_t i, std::uint8_t low = 0x80, std::uint8_t high = 0xbf) {
    return p[i] >= low && p[i] <= high;
  };
  const std::uint8_t first = p[0];
  if (first < 0x80) return 1;
  if (first >= 0xc2 && first <= 0xdf) return left >= 2 && tail(1) ? 2 : 0;
  if (first >= 0xe0 && first <= 0xef) {
    if (left < 3 || !tail(2)) return 0;
    if (first == 0xe0) return tail(1, 0xa0) ? 3 : 0;        // Overlong below.
    if (first == 0xed) return tail(1, 0x80, 0x9f) ? 3 : 0;  // Surrogates above.
    return tail(1) ? 3 : 0;
  }
  if (first >= 0xf0 && first <= 0xf4) {
    if (left < 4 || !tail(2) || !tail(3)) return 0;
    if (first == 0xf0) return tail(1, 0x90) ? 4 : 0;
    if (first == 0xf4) return tail(1, 0x80, 0x8f) ? 4 : 0;  // Beyond U+10FFFF above.
    return tail(1) ? 4 : 0;
  }
  return 0;
}

}  // namespace

std::size_t utf8_prefix(std::string_view text) noexcept {
  const auto* p = reinterpret_cast<const std::uint8_t*>(text.data());
  std::size_t left = text.size();
  while (left != 0) {
    if (left >= 8) {  // Nearly all text is ASCII.
      std::uint64_t eight;
      std::memcpy(&eight, p, 8);
      if ((eight & 0x8080'8080'8080'8080) == 0) {
        p += 8, left -= 8;
        continue;
      }
    }
    const std::size_t n = sequence(p, left);
    if (n == 0) break;
    p += n, left -= n;
  }
  return text.size() - left;
}

// ---- reader ----

std::string_view to_string(kind k) noexcept {
  constexpr std::string_view names[] = {"nil",
                                        "a bool",
                                        "an integer",
                                        "a float",
                                        "a str",
                                        "bytes",
                                        "an array",
                                        "a map",
                                        "an extension value",
                                        "the invalid byte 0xc1",
                                        "nothing"};
  return names[static_cast<std::size_t>(k)];
}

namespace {

constexpr std::array<kind, 256> kinds = [] {
  std::array<kind, 256> table{};
  for (std::size_t b = 0; b < 256; ++b) {
    table[b] = b < 0x80   ? kind::integer
               : b < 0x90 ? kind::map
               : b < 0xa0 ? kind::array
               : b < 0xc0 ? kind::str
                          : kind::integer;  // 0xe0 and above; the rest follows.
  }
  table[0xc0] = kind::nil;
  table[0xc1] = kind::reserved;
  table[0xc2] = table[0xc3] = kind::boolean;
  table[0xc4] = table[0xc5] = table[0xc6] = kind::bin;
  table[0xc7] = table[0xc8] = table[0xc9] = kind::ext;
  table[0xca] = table[0xcb] = kind::number;
  for (std::size_t b = 0xd4; b <= 0xd8; ++b) table[b] = kind::ext;
  table[0xd9] = table[0xda] = table[0xdb] = kind::str;
  table[0xdc] = table[0xdd] = kind::array;
  table[0xde] = table[0xdf] = kind::map;
  return table;
}();

}  // namespace

kind reader::peek() const noexcept { return at_ == end_ ? kind::end : kinds[byte_at(at_)]; }

void reader::nil() {
  if (!try_nil()) fail("nil");
}

bool reader::boolean() {
  if (at_ == end_ || (byte_at(at_) & 0xfe) != 0xc2) fail("a bool");
  return byte_at(at_++) == 0xc3;
}

double reader::number() {
  switch (peek()) {
    case kind::integer: {
      std::uint64_t bits = 0;
      return integer_bits(bits) ? static_cast<double>(static_cast<std::int64_t>(bits))
                                : static_cast<double>(bits);
    }
    case kind::number: {
      const bool wide = byte_at(at_) == 0xcb;
      need(wide ? 9 : 5, "a float");
      const std::byte* from = at_ + 1;
      at_ += wide ? 9 : 5;
      return wide ? std::bit_cast<double>(big_endian<std::uint64_t>(from))
                  : static_cast<double>(std::bit_cast<float>(big_endian<std::uint32_t>(from)));
    }
    default:
      fail("a number");
  }
}

bool reader::integer_bits(std::uint64_t& bits) {
  if (peek() != kind::integer) fail("an integer");
  const std::uint8_t head = byte_at(at_);
  if (head < 0x80) return bits = head, ++at_, false;
  if (head >= 0xe0) {
    bits = static_cast<std::uint64_t>(static_cast<std::int8_t>(head));
    return ++at_, true;
  }
  const std::size_t width = std::size_t{1} << (head & 3);  // 0xcc to 0xcf, 0xd0 to 0xd3.
  need(1 + width, "an integer");
  const std::byte* from = at_ + 1;
  at_ += 1 + width;
  std::int64_t wide = 0;
  switch (head) {
    case 0xcc:
      return bits = byte_at(from), false;
    case 0xcd:
      return bits = big_endian<std::uint16_t>(from), false;
    case 0xce:
      return bits = big_endian<std::uint32_t>(from), false;
    case 0xcf:
      return bits = big_endian<std::uint64_t>(from), false;
    case 0xd0:
      wide = static_cast<std::int8_t>(byte_at(from));
      break;
    case 0xd1:
      wide = static_cast<std::int16_t>(big_endian<std::uint16_t>(from));
      break;
    case 0xd2:
      wide = static_cast<std::int32_t>(big_endian<std::uint32_t>(from));
      break;
    default:
      wide = static_cast<std::int64_t>(big_endian<std::uint64_t>(from));
      break;
  }
  bits = static_cast<std::uint64_t>(wide);
  return wide < 0;
}

std::size_t reader::length(int bytes, std::string_view what) const {
  need(1 + static_cast<std::size_t>(bytes), what);
  switch (bytes) {
    case 1:
      return byte_at(at_ + 1);
    case 2:
      return big_endian<std::uint16_t>(at_ + 1);
    default:
      return big_endian<std::uint32_t>(at_ + 1);
  }
}

std::size_t reader::entries(std::size_t header, std::size_t count, std::size_t bytes_each) {
  // Each entry takes a byte at least: a count beyond that is a lie told to make us reserve memory.
  if ((remaining() - header) / bytes_each < count) [[unlikely]]
    truncated(header + count * bytes_each, bytes_each == 1 ? "an array" : "a map");
  at_ += header;
  return count;
}

std::string_view reader::raw_str_long() {
  if (peek() != kind::str) fail("a str");
  const int width = 1 << (byte_at(at_) - 0xd9);
  const auto text = sized(1 + static_cast<std::size_t>(width), length(width, "a str"), "a str");
  return {reinterpret_cast<const char*>(text.data()), text.size()};
}

std::string_view reader::str() {
  const std::byte* from = at_;
  const std::string_view text = raw_str();
  if (!is_utf8(text)) [[unlikely]] {
    at_ = from;
    fail_with("the str is not UTF-8: send bytes instead");
  }
  return text;
}

std::span<const std::byte> reader::bin() {
  if (peek() != kind::bin) fail("bytes");
  if (const owned_bytes* block = try_block()) return block->bytes;
  const int width = 1 << (byte_at(at_) - 0xc4);
  return sized(1 + static_cast<std::size_t>(width), length(width, "bytes"), "bytes");
}

std::size_t reader::array_long() {
  if (peek() != kind::array) fail("an array");
  const int width = byte_at(at_) == 0xdc ? 2 : 4;
  return entries(1 + static_cast<std::size_t>(width), length(width, "an array"), 1);
}

std::size_t reader::map_long() {
  if (peek() != kind::map) fail("a map");
  const int width = byte_at(at_) == 0xde ? 2 : 4;
  return entries(1 + static_cast<std::size_t>(width), length(width, "a map"), 2);
}

token reader::next() {
  token t{.what = peek()};
  switch (t.what) {
    case kind::nil:
      ++at_;
      break;
    case kind::boolean:
      t.boolean = boolean();
      break;
    case kind::integer:
      t.negative = integer_bits(t.integer);
      break;
    case kind::number:
      t.number = number();
      break;
    case kind::str:
      t.bytes = std::as_bytes(std::span(raw_str()));
      break;
    case kind::bin:
      t.bytes = bin();
      break;
    case kind::array:
      t.count = array();
      break;
    case kind::map:
      t.count = map();
      break;
    case kind::ext: {
      const std::uint8_t head = byte_at(at_);
      const bool fixed = head >= 0xd4;
      const int width = fixed ? 0 : 1 << (head - 0xc7);
      const std::size_t size =
          fixed ? std::size_t{1} << (head - 0xd4) : length(width, "an extension value");
      const std::size_t header = 2 + static_cast<std::size_t>(width);
      need(header, "an extension value");
      t.ext_type = static_cast<std::int8_t>(byte_at(at_ + header - 1));
      t.bytes = sized(header, size, "an extension value");
      break;
    }
    case kind::reserved:
    case kind::end:
      fail("a value");
  }
  return t;
}

std::size_t reader::skip_one() {
  const std::uint8_t head = at_ == end_ ? 0xc1 : byte_at(at_);
  if (head < 0x80 || head >= 0xe0) return ++at_, 0;
  if (head >= 0xa0 && head < 0xc0) return sized(1, head & 0x1f, "a str"), 0;
  if ((head == 0xc4 || head == 0xd9) && remaining() >= 2)  // Up to 255 bytes, or a str of as many.
    return sized(2, byte_at(at_ + 1), head == 0xc4 ? "bytes" : "a str"), 0;
  const token t = next();
  return t.what == kind::map ? 2 * t.count : t.count;
}

void reader::skip() {
  const std::byte* from = at_;
  // Nothing but how many values are still to come is needed to find the end: no recursion, hence no
  // limit to the depth of what is passed over.
  std::size_t to_come = 1;
  try {
    for (; to_come > 0; --to_come) {
      to_come += skip_one();
      if (to_come - 1 > remaining()) [[unlikely]]
        truncated(to_come - 1, "values");
    }
  } catch (...) {
    at_ = from;
    throw;
  }
}

const owned_bytes* reader::try_block() {
  constexpr std::size_t header = 5;
  if (owner_ == nullptr || !owner_->has_blocks() || at_ == end_ || byte_at(at_) != 0xc6)
    return nullptr;
  const auto blocks = owner_->blocks();
  const std::size_t at = offset() + header;
  const auto found = std::ranges::lower_bound(blocks, at, {}, &block_apart::at);
  if (found == blocks.end() || found->at != at) return nullptr;
  const owned_bytes& block = found->block;
  COPPICE_ASSERT(length(4, "bytes") == block.bytes.size(),
                 "a block has the length its header says");
  at_ += header;
  return &block;
}

payload reader::value() {
  const auto bytes = raw();
  return owner_ != nullptr ? owner_->slice(bytes) : payload::copy_of(bytes);
}

owned_bytes reader::owned_bin() {
  if (const owned_bytes* block = try_block()) return *block;
  const auto bytes = bin();
  if (owner_ != nullptr) return {owner_->owner(), bytes};
  const payload copy = payload::copy_of(bytes);
  return {copy.owner(), copy.bytes()};
}

void reader::finish() const {
  if (at_end()) return;
  throw protocol_error(std::to_string(remaining()) + " bytes too many: the value ends at byte " +
                       std::to_string(offset()));
}

// ---- errors ----

void reader::inside::print(std::string& to) const {
  if (up_ != nullptr) up_->print(to);
  switch (what_) {
    case part::none:
      break;
    case part::field:
      to.append(to.empty() ? "" : ".").append(name_);
      break;
    case part::key:
      to.append("['").append(name_).append("']");
      break;
    case part::index:
      to.append("[").append(std::to_string(index_)).append("]");
      break;
  }
}

std::string reader::where() const {
  std::string path;
  if (where_ != nullptr) where_->print(path);
  if (!path.empty()) path += ": ";
  return path;
}

void reader::fail(std::string_view expected) const {
  const std::string text = where() + "expected " + std::string(expected) + ", found " +
                           std::string(to_string(peek())) + " (byte " + std::to_string(offset()) +
                           ")";
  const kind found = peek();
  if (found == kind::end || found == kind::reserved) throw protocol_error(text);
  throw message_type_error(text);
}

void reader::fail_with(std::string_view sentence) const {
  throw message_type_error(where() + std::string(sentence) + " (byte " + std::to_string(offset()) +
                           ")");
}

void reader::truncated(std::size_t need, std::string_view what) const {
  throw protocol_error(where() + "expected " + std::string(what) + " of at least " +
                       std::to_string(need) + " bytes, found " + std::to_string(remaining()) +
                       " (byte " + std::to_string(offset()) + ")");
}

void reader::bad_integer(std::int64_t min, std::uint64_t max, bool negative,
                         std::uint64_t bits) const {
  throw message_type_error(
      where() + "expected an integer from " + std::to_string(min) + " to " + std::to_string(max) +
      ", found " +
      (negative ? std::to_string(static_cast<std::int64_t>(bits)) : std::to_string(bits)) +
      " (byte " + std::to_string(offset()) + ")");
}

void reader::too_deep() const {
  throw limit_exceeded(where() + "nested more than " + std::to_string(depth_max_) +
                       " deep, which is depth_max (byte " + std::to_string(offset()) + ")");
}

}  // namespace coppice::msgpack
