// SPDX-License-Identifier: Apache-2.0
// Any bytes as msgpack: the reader takes values or throws what it says it throws, passing over a
// value and reading it agree, and what was read and written is read again as the same.
#include <array>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "coppice/errors.hpp"
#include "coppice/message.hpp"
#include "coppice/value.hpp"
#include "fuzz.hpp"

namespace coppice::fuzz {

enum class colour : std::uint8_t { red, green };
struct leg {
  std::string symbol;
  double price = 0;
  std::optional<float> weight;
};
struct basket {  // Not in the anonymous namespace: its field names are read.
  std::string owner;
  std::vector<leg> legs;
  std::map<std::string, std::vector<std::byte>> blobs;
  std::tuple<int, bool, std::array<std::int8_t, 3>> fixed;
  std::pair<colour, char> small;
  std::optional<value> anything;
};

namespace {

constexpr std::size_t tokens_max = 100'000;

// Reads one value token by token and writes each again.
void rewrite(msgpack::reader& r, msgpack::writer& w) {
  std::size_t to_come = 1;
  for (std::size_t n = 0; to_come > 0; --to_come) {
    COPPICE_ASSERT(++n < tokens_max, "a value has no more tokens than bytes");
    const msgpack::token t = r.next();
    switch (t.what) {
      case msgpack::kind::nil:
        w.nil();
        break;
      case msgpack::kind::boolean:
        w.boolean(t.boolean);
        break;
      case msgpack::kind::integer:
        t.negative ? w.integer(static_cast<std::int64_t>(t.integer)) : w.integer(t.integer);
        break;
      case msgpack::kind::number:
        w.number(t.number);
        break;
      case msgpack::kind::str:
        w.str({reinterpret_cast<const char*>(t.bytes.data()), t.bytes.size()});
        break;
      case msgpack::kind::bin:
        w.bin(t.bytes);
        break;
      case msgpack::kind::ext:
        w.ext(t.ext_type, t.bytes);
        break;
      case msgpack::kind::array:
        COPPICE_ASSERT(t.count <= r.remaining(), "a count is bounded by the bytes that are left");
        w.array(t.count), to_come += t.count;
        break;
      case msgpack::kind::map:
        COPPICE_ASSERT(t.count <= r.remaining(), "a count is bounded by the bytes that are left");
        w.map(t.count), to_come += 2 * t.count;
        break;
      case msgpack::kind::reserved:
      case msgpack::kind::end:
        COPPICE_ASSERT(false, "these are thrown, not returned");
    }
  }
}

std::optional<std::string> rewritten(const payload& p) try {
  msgpack::reader r(p);
  msgpack::buffer out;
  msgpack::writer w(out);
  rewrite(r, w);
  r.finish();
  return string_of(out);
} catch (const protocol_error&) {
  return std::nullopt;
}

void tokens(const payload& p) {
  const auto once = rewritten(p);
  bool is_one_value = true;
  try {
    msgpack::reader r(p);
    r.skip();
    r.finish();
  } catch (const protocol_error&) {
    is_one_value = false;
  }
  COPPICE_ASSERT(is_one_value == once.has_value(), "passing over a value is reading it");
  if (!once) return;
  COPPICE_ASSERT(once->size() <= 2 * p.size(), "the smallest form, but a float 32, which grows");
  const auto twice = rewritten(payload_of(std::as_bytes(std::span(*once))));
  COPPICE_ASSERT(once == twice, "what was written is read as the same");
}

template <class T>
void as(const payload& p) try {
  const payload once = to_payload(from_payload<T>(p));
  COPPICE_ASSERT(to_payload(from_payload<T>(once)) == once, "a value survives the way");
} catch (const error&) {  // It does not fit. Anything else that is thrown is a finding.
}

void text(const payload& p) {
  const std::string shown = value(p).text(200);
  COPPICE_ASSERT(msgpack::is_utf8(shown), "text for people is text");
}

// Text to one verdict, however it is cut: the prefix is UTF-8 and nothing longer is.
void utf8(const payload& p) {
  const std::string_view all(reinterpret_cast<const char*>(p.bytes().data()), p.size());
  const std::size_t good = msgpack::utf8_prefix(all);
  COPPICE_ASSERT(good <= all.size(), "a prefix");
  COPPICE_ASSERT(msgpack::is_utf8(all.substr(0, good)), "the prefix is UTF-8");
  for (std::size_t n = 1; n <= 4 && good + n <= all.size(); ++n)
    COPPICE_ASSERT(!msgpack::is_utf8(all.substr(0, good + n)), "and it is the longest");
}

using check = void (*)(const payload&);
constexpr check checks[] = {
    tokens,
    text,
    utf8,
    as<basket>,
    as<value>,
    as<std::vector<std::int64_t>>,
    as<std::vector<std::uint16_t>>,
    as<std::deque<double>>,
    as<std::map<std::string, value>>,
    as<std::map<std::int32_t, std::set<std::string>>>,
    as<std::vector<std::vector<std::vector<bool>>>>,
    as<std::tuple<float, char, colour, std::optional<std::string>>>,
    as<uid>,
};

}  // namespace
}  // namespace coppice::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace coppice::fuzz;
  input in(data, size);
  const check chosen = checks[in.below(std::size(checks))];
  chosen(payload_of(in.rest()));
  return 0;
}
