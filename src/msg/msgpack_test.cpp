// SPDX-License-Identifier: Apache-2.0
#include "coppice/detail/msgpack.hpp"  // First: proves the header stands alone.

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "coppice/errors.hpp"
#include "msg/test_bytes.hpp"

namespace coppice::msgpack {
namespace {

using msg::hex;
using msg::text_of;
using msg::unhex;

template <class F>
std::string written(F f) {
  buffer out;
  writer w(out);
  f(w);
  return hex(out.bytes());
}

template <class T>
std::string integer(T v) {
  return written([&](writer& w) { w.integer(v); });
}

TEST(MsgpackWriter, IntegersTakeTheFewestBytes) {
  EXPECT_EQ(integer(0), "00");
  EXPECT_EQ(integer(127), "7f");
  EXPECT_EQ(integer(128), "cc80");
  EXPECT_EQ(integer(255), "ccff");
  EXPECT_EQ(integer(256), "cd0100");
  EXPECT_EQ(integer(65535), "cdffff");
  EXPECT_EQ(integer(65536), "ce00010000");
  EXPECT_EQ(integer(4294967295), "ceffffffff");
  EXPECT_EQ(integer(4294967296), "cf0000000100000000");
  EXPECT_EQ(integer(std::numeric_limits<std::uint64_t>::max()), "cfffffffffffffffff");
  EXPECT_EQ(integer(-1), "ff");
  EXPECT_EQ(integer(-32), "e0");
  EXPECT_EQ(integer(-33), "d0df");
  EXPECT_EQ(integer(-128), "d080");
  EXPECT_EQ(integer(-129), "d1ff7f");
  EXPECT_EQ(integer(-32768), "d18000");
  EXPECT_EQ(integer(-32769), "d2ffff7fff");
  EXPECT_EQ(integer(std::numeric_limits<std::int32_t>::min()), "d280000000");
  EXPECT_EQ(integer(std::int64_t{-2147483649}), "d3ffffffff7fffffff");
  EXPECT_EQ(integer(std::numeric_limits<std::int64_t>::min()), "d38000000000000000");
  EXPECT_EQ(integer(static_cast<std::int8_t>(-5)), "fb") << "narrow types are not different";
}

TEST(MsgpackWriter, AFloatStaysAFloatAndHas64Bits) {
  EXPECT_EQ(written([](writer& w) { w.number(1.0); }), "cb3ff0000000000000");
  EXPECT_EQ(written([](writer& w) { w.number(-3.0); }), "cbc008000000000000");
  EXPECT_EQ(written([](writer& w) { w.number(4.5); }), "cb4012000000000000");
}

TEST(MsgpackWriter, HeadersAreTheShortestThatHoldTheLength) {
  const auto head = [](std::size_t drop, auto f) {
    const std::string all = written(f);
    return all.substr(0, all.size() - 2 * drop);
  };
  const auto str = [&](std::size_t n) {
    return head(n, [&](writer& w) { w.str(std::string(n, 'x')); });
  };
  EXPECT_EQ(str(0), "a0");
  EXPECT_EQ(str(31), "bf");
  EXPECT_EQ(str(32), "d920");
  EXPECT_EQ(str(255), "d9ff");
  EXPECT_EQ(str(256), "da0100");
  EXPECT_EQ(str(65535), "daffff");
  EXPECT_EQ(str(65536), "db00010000");
  const auto bin = [&](std::size_t n) {
    return head(n, [&](writer& w) { w.bin(std::vector<std::byte>(n)); });
  };
  EXPECT_EQ(bin(0), "c400");
  EXPECT_EQ(bin(255), "c4ff");
  EXPECT_EQ(bin(256), "c50100");
  EXPECT_EQ(bin(65536), "c600010000");
  const auto array = [&](std::size_t n) { return written([&](writer& w) { w.array(n); }); };
  EXPECT_EQ(array(15), "9f");
  EXPECT_EQ(array(16), "dc0010");
  EXPECT_EQ(array(65535), "dcffff");
  EXPECT_EQ(array(65536), "dd00010000");
  const auto map = [&](std::size_t n) { return written([&](writer& w) { w.map(n); }); };
  EXPECT_EQ(map(15), "8f");
  EXPECT_EQ(map(16), "de0010");
  EXPECT_EQ(map(65536), "df00010000");
  const auto ext = [&](std::size_t n) {
    return head(n, [&](writer& w) { w.ext(-1, std::vector<std::byte>(n)); });
  };
  EXPECT_EQ(ext(0), "c700ff");
  EXPECT_EQ(ext(1), "d4ff");
  EXPECT_EQ(ext(2), "d5ff");
  EXPECT_EQ(ext(3), "c703ff");
  EXPECT_EQ(ext(4), "d6ff");
  EXPECT_EQ(ext(8), "d7ff");
  EXPECT_EQ(ext(16), "d8ff");
  EXPECT_EQ(ext(256), "c80100ff");
  EXPECT_EQ(ext(65536), "c900010000ff");
}

TEST(MsgpackWriter, ALengthBeyond32BitsIsRefused) {
  buffer out;
  writer w(out);
  EXPECT_THROW(w.array(std::size_t{1} << 32), limit_exceeded);
  EXPECT_THROW(w.str_room(std::size_t{1} << 32), limit_exceeded);
  EXPECT_TRUE(out.empty()) << "nothing of the refused value was written";
}

TEST(MsgpackWriter, RoomIsFilledInPlace) {
  buffer out;
  writer w(out);
  std::memcpy(w.str_room(3), "oak", 3);
  std::memcpy(w.bin_room(2), "\x01\x02", 2);
  std::memcpy(w.ext_room(5, 1), "\x07", 1);
  EXPECT_EQ(hex(out.bytes()),
            "a36f616b"
            "c4020102"
            "d40507");
}

TEST(MsgpackBuffer, KeepsItsMemoryWhenCleared) {
  buffer out;
  out.extend(1000);
  const std::byte* before = out.data();
  out.clear();
  EXPECT_TRUE(out.empty());
  out.extend(1000);
  EXPECT_EQ(out.data(), before);
}

TEST(MsgpackBuffer, KeepsItsBytesWhileItGrows) {
  buffer out;
  for (int i = 0; i < 5000; ++i) *out.extend(1) = static_cast<std::byte>(i);
  ASSERT_EQ(out.size(), 5000u);
  for (std::size_t i = 0; i < 5000; ++i) ASSERT_EQ(out.bytes()[i], static_cast<std::byte>(i));
}

TEST(MsgpackReader, TakesBackWhatTheWriterWrote) {
  buffer out;
  writer w(out);
  w.nil(), w.boolean(true), w.boolean(false), w.number(2.5), w.str("grün");
  w.bin(unhex("00ff")), w.array(2), w.integer(-7), w.integer(300), w.map(1), w.str("k"), w.nil();
  reader r(out.bytes());
  r.nil();
  EXPECT_TRUE(r.boolean());
  EXPECT_FALSE(r.boolean());
  EXPECT_EQ(r.number(), 2.5);
  EXPECT_EQ(r.str(), "grün");
  EXPECT_EQ(hex(r.bin()), "00ff");
  EXPECT_EQ(r.array(), 2u);
  EXPECT_EQ(r.integer<int>(), -7);
  EXPECT_EQ(r.integer<std::uint16_t>(), 300);
  EXPECT_EQ(r.map(), 1u);
  EXPECT_EQ(r.raw_str(), "k");
  EXPECT_TRUE(r.try_nil());
  EXPECT_TRUE(r.at_end());
  r.finish();
}

TEST(MsgpackReader, ReadsIntegersInEverySpelling) {
  for (const char* spelling : {"05", "cc05", "cd0005", "ce00000005", "cf0000000000000005", "d005",
                               "d10005", "d200000005", "d30000000000000005"}) {
    const auto bytes = unhex(spelling);
    EXPECT_EQ(reader(bytes).integer<std::int8_t>(), 5) << spelling;
    EXPECT_EQ(reader(bytes).integer<std::uint64_t>(), 5u) << spelling;
    EXPECT_EQ(reader(bytes).number(), 5.0) << spelling;
  }
  for (const char* spelling : {"fb", "d0fb", "d1fffb", "d2fffffffb", "d3fffffffffffffffb"}) {
    const auto bytes = unhex(spelling);
    EXPECT_EQ(reader(bytes).integer<std::int8_t>(), -5) << spelling;
    EXPECT_EQ(reader(bytes).number(), -5.0) << spelling;
  }
}

TEST(MsgpackReader, RefusesAnIntegerThatDoesNotFit) {
  const auto text = [](std::string_view bytes, auto zero) {
    const auto b = unhex(bytes);
    return text_of<message_type_error>([&] { reader(b).integer<decltype(zero)>(); });
  };
  EXPECT_EQ(text("cd0100", std::uint8_t{}),
            "expected an integer from 0 to 255, found 256 (byte 0)");
  EXPECT_EQ(text("ff", 0u), "expected an integer from 0 to 4294967295, found -1 (byte 0)");
  EXPECT_EQ(text("d1ff7f", std::int8_t{}),
            "expected an integer from -128 to 127, found -129 (byte 0)");
  EXPECT_EQ(text("cf8000000000000000", std::int64_t{}),
            "expected an integer from -9223372036854775808 to 9223372036854775807, found "
            "9223372036854775808 (byte 0)");
}

TEST(MsgpackReader, NamesWhatItExpectedWhatItFoundAndWhere) {
  const auto bytes = unhex("c0 a161 90 81c0c0 c2 ca3fc00000 c400 d40100 c1");
  reader r(bytes);
  const auto error = [&](auto f) { return text_of<message_type_error>(f); };
  EXPECT_EQ(error([&] { r.integer<int>(); }), "expected an integer, found nil (byte 0)");
  r.nil();
  EXPECT_EQ(error([&] { r.number(); }), "expected a number, found a str (byte 1)");
  r.skip();
  EXPECT_EQ(error([&] { r.str(); }), "expected a str, found an array (byte 3)");
  r.skip();
  EXPECT_EQ(error([&] { r.bin(); }), "expected bytes, found a map (byte 4)");
  r.skip();
  EXPECT_EQ(error([&] { r.number(); }), "expected a number, found a bool (byte 7)");
  r.skip();
  EXPECT_EQ(error([&] { r.integer<int>(); }), "expected an integer, found a float (byte 8)");
  EXPECT_EQ(r.number(), 1.5);
  EXPECT_EQ(error([&] { r.array(); }), "expected an array, found bytes (byte 13)");
  r.skip();
  EXPECT_EQ(error([&] { r.boolean(); }), "expected a bool, found an extension value (byte 15)");
  r.skip();
  EXPECT_EQ(text_of<protocol_error>([&] { r.map(); }),
            "expected a map, found the invalid byte 0xc1 (byte 18)");
}

TEST(MsgpackReader, AnErrorTakesNothing) {
  const auto bytes = unhex("93 01 a3 6f61");
  reader r(bytes);
  EXPECT_THROW(r.skip(), protocol_error);
  EXPECT_EQ(r.offset(), 0u);
  EXPECT_THROW(r.str(), message_type_error);
  EXPECT_EQ(r.offset(), 0u);
}

TEST(MsgpackReader, EndingInsideAValueIsAProtocolErrorAtEveryByte) {
  buffer out;
  writer w(out);
  w.array(9), w.integer(70000), w.number(1.5), w.str(std::string(40, 'x'));
  w.bin(std::vector<std::byte>(3)), w.ext(1, std::vector<std::byte>(5)), w.map(1), w.str("k");
  w.array(1), w.integer(-1000), w.str("abc"), w.integer(std::int64_t{1} << 40), w.nil();
  reader whole(out.bytes());
  whole.skip();
  EXPECT_TRUE(whole.at_end());
  for (std::size_t size = 0; size < out.size(); ++size) {
    EXPECT_THROW(reader(out.bytes().first(size)).skip(), protocol_error) << size;
  }
}

TEST(MsgpackReader, ACountBeyondTheBytesThatAreLeftIsALie) {
  for (const char* lie : {"dd00ffffff00", "df0000000200c0c0", "92c0", "81c0", "dc000200"}) {
    const auto bytes = unhex(lie);
    reader r(bytes);
    EXPECT_THROW(r.next(), protocol_error) << lie;
  }
}

std::vector<std::byte> nested(std::size_t depth) {
  std::vector<std::byte> bytes(depth, std::byte{0x91});
  bytes.push_back(std::byte{0xc0});
  return bytes;
}

TEST(MsgpackReader, IsEnteredToTheLimitAndNoDeeper) {
  const auto enter = [](reader& r, auto& self) -> void {
    r.array();
    reader::inside here(r);
    r.peek() == kind::array ? self(r, self) : r.nil();
  };
  const auto at_limit = nested(reader::depth_max_default);
  reader fits(at_limit);
  enter(fits, enter);
  EXPECT_TRUE(fits.at_end());
  const auto beyond = nested(reader::depth_max_default + 1);
  reader deeper(beyond);
  EXPECT_EQ(text_of<limit_exceeded>([&] { enter(deeper, enter); }),
            "nested more than 512 deep, which is depth_max (byte 513)");
  reader low(at_limit, 2);
  EXPECT_THROW(enter(low, enter), limit_exceeded);
}

// What is only passed on has no limit: a deep payload costs the call that decodes it, never the
// connection that carries it.
TEST(MsgpackReader, SkipsWhateverTheDepth) {
  const auto bytes = nested(1'000'000);
  reader r(bytes);
  r.skip();
  EXPECT_TRUE(r.at_end());
  reader truncated(std::span<const std::byte>(bytes).first(bytes.size() - 1));
  EXPECT_THROW(truncated.skip(), protocol_error);
}

TEST(MsgpackReader, NothingMayFollowTheValue) {
  const auto bytes = unhex("01 02 03");
  reader r(bytes);
  r.skip();
  EXPECT_EQ(text_of<protocol_error>([&] { r.finish(); }),
            "2 bytes too many: the value ends at byte 1");
}

TEST(MsgpackReader, AValueOfAPayloadIsASliceOfIt) {
  const payload frame = msg::unhex_payload("82 a161 9101 a162 02");
  reader r(frame);
  r.map();
  r.str();
  const payload part = r.value();
  EXPECT_EQ(hex(part), "9101");
  EXPECT_EQ(part.bytes().data(), frame.bytes().data() + 3);

  reader copying(frame.bytes());
  copying.map();
  copying.str();
  EXPECT_NE(copying.value().bytes().data(), frame.bytes().data() + 3);
}

TEST(MsgpackReader, NextDescribesEveryKindOfToken) {
  const auto bytes =
      unhex("c0 c3 2a fe cb3ff8000000000000 a26869 c40101 92 81 d6fb01020304 c70109aa");
  reader r(bytes);
  EXPECT_EQ(r.next().what, kind::nil);
  EXPECT_TRUE(r.next().boolean);
  EXPECT_EQ(r.next().integer, 42u);
  const token negative = r.next();
  EXPECT_TRUE(negative.negative);
  EXPECT_EQ(static_cast<std::int64_t>(negative.integer), -2);
  EXPECT_EQ(r.next().number, 1.5);
  EXPECT_EQ(hex(r.next().bytes), "6869");
  EXPECT_EQ(hex(r.next().bytes), "01");
  EXPECT_EQ(r.next().count, 2u);
  EXPECT_EQ(r.next().what, kind::map);
  const token fixed = r.next();
  EXPECT_EQ(fixed.ext_type, -5);
  EXPECT_EQ(hex(fixed.bytes), "01020304");
  const token sized = r.next();
  EXPECT_EQ(sized.ext_type, 9);
  EXPECT_EQ(hex(sized.bytes), "aa");
  EXPECT_THROW(r.next(), protocol_error);
}

TEST(MsgpackReader, TextMustBeUtf8AsPythonReadsIt) {
  for (const char* good : {"", "61", "c3bc", "e0a080", "ed9fbf", "ee8080", "f0908080", "f48fbfbf",
                           "6161616161616161c3bc6161616161616161"}) {
    const auto bytes = unhex(good);
    EXPECT_EQ(utf8_prefix({reinterpret_cast<const char*>(bytes.data()), bytes.size()}),
              bytes.size())
        << good;
  }
  for (const char* bad : {"80", "c080", "c1bf", "c3", "e08080", "eda080", "edbfbf", "e0a0",
                          "f0808080", "f4908080", "f5808080", "f09080", "ff", "c361", "e28261"}) {
    const auto bytes = unhex(std::string("6162") + bad);
    EXPECT_EQ(utf8_prefix({reinterpret_cast<const char*>(bytes.data()), bytes.size()}), 2u) << bad;
  }
  const auto bytes = unhex("a2c361");
  reader r(bytes);
  EXPECT_EQ(text_of<message_type_error>([&] { r.str(); }),
            "the str is not UTF-8: send bytes instead (byte 0)");
  EXPECT_EQ(r.raw_str().size(), 2u) << "raw_str() leaves the check to others";
}

}  // namespace
}  // namespace coppice::msgpack
