// SPDX-License-Identifier: Apache-2.0
#include "coppice/value.hpp"

#include <charconv>
#include <cmath>
#include <string_view>

#include "coppice/errors.hpp"

namespace coppice {

namespace {

// Prints one value after the other until the text is full; then only skips.
class printer {
 public:
  printer(msgpack::reader& r, std::size_t chars_max) : reader_(r), chars_max_(chars_max) {}

  void print() {
    const msgpack::token t = reader_.next();
    switch (t.what) {
      case msgpack::kind::nil:
        text_ += "None";
        break;
      case msgpack::kind::boolean:
        text_ += t.boolean ? "True" : "False";
        break;
      case msgpack::kind::integer:
        text_ += t.negative ? std::to_string(static_cast<std::int64_t>(t.integer))
                            : std::to_string(t.integer);
        break;
      case msgpack::kind::number:
        print(t.number);
        break;
      case msgpack::kind::str:
        print(t.bytes, false);
        break;
      case msgpack::kind::bin:
        text_ += 'b', print(t.bytes, true);
        break;
      case msgpack::kind::ext:
        text_.append("ext(").append(std::to_string(t.ext_type)).append(", b");
        print(t.bytes, true);
        text_ += ')';
        break;
      case msgpack::kind::array:
        print_entries('[', t.count, ']', false);
        break;
      case msgpack::kind::map:
        print_entries('{', t.count, '}', true);
        break;
      case msgpack::kind::reserved:
      case msgpack::kind::end:
        break;  // next() throws for both.
    }
  }
  std::string take() { return std::move(text_); }

 private:
  bool full() const { return text_.size() >= chars_max_; }

  void print_entries(char open, std::size_t count, char close, bool pairs) {
    msgpack::reader::inside here(reader_);
    text_ += open;
    for (std::size_t i = 0; i < count; ++i) {
      if (i != 0) text_ += ", ";
      if (full()) {
        text_ += "...";
        for (std::size_t rest = (count - i) * (pairs ? 2 : 1); rest > 0; --rest) reader_.skip();
        break;
      }
      print();
      if (pairs) text_ += ": ", print();
    }
    text_ += close;
  }
  void print(double v) {
    char digits[32];
    const auto end = std::to_chars(digits, digits + sizeof digits, v).ptr;
    const std::string_view shortest(digits, static_cast<std::size_t>(end - digits));
    text_ += shortest;
    // Python tells a float from an int: 1.0, not 1.
    if (std::isfinite(v) && shortest.find_first_of(".e") == shortest.npos) text_ += ".0";
  }
  void print(std::span<const std::byte> bytes, bool escape_all) {
    const std::string_view all(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    const std::size_t room = full() ? 0 : chars_max_ - text_.size();
    std::string_view shown = all.substr(0, room);
    if (!escape_all && shown.size() < all.size()) {  // Not in the middle of a character.
      shown = shown.substr(0, msgpack::utf8_prefix(shown));
    }
    const bool raw = !escape_all && msgpack::is_utf8(shown);
    text_ += '\'';
    for (const char c : shown) {
      const auto byte = static_cast<unsigned char>(c);
      if (c == '\n') {
        text_ += "\\n";
      } else if (c == '\\' || c == '\'') {
        text_.append(1, '\\').append(1, c);
      } else if (byte < 0x20 || byte == 0x7f || (byte >= 0x80 && !raw)) {
        constexpr char hex[] = "0123456789abcdef";
        text_.append("\\x").append(1, hex[byte >> 4]).append(1, hex[byte & 15]);
      } else {
        text_ += c;
      }
    }
    text_.append(shown.size() < all.size() ? "'..." : "'");
  }

  msgpack::reader& reader_;
  const std::size_t chars_max_;
  std::string text_;
};

}  // namespace

std::string value::text(std::size_t chars_max) const {
  msgpack::reader r(bytes_);
  printer p(r, chars_max);
  try {
    p.print();
    r.finish();
  } catch (const error& e) {  // A text for people must not fail: say what is wrong instead.
    return p.take() + " <not msgpack: " + e.what() + ">";
  }
  return p.take();
}

}  // namespace coppice
