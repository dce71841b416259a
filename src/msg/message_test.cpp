// SPDX-License-Identifier: Apache-2.0
#include "coppice/message.hpp"  // First: proves the header stands alone.

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "coppice/errors.hpp"
#include "msg/celsius_for_test.hpp"
#include "msg/test_bytes.hpp"

namespace coppice {
namespace {

using msg::hex;
using msg::text_of;
using msg::unhex_payload;
using test::celsius;

enum class color : std::uint8_t { red = 1, green = 2 };
enum loose { loose_value };
struct leg {
  std::string symbol;
  double price = 0;
  friend bool operator==(const leg&, const leg&) = default;
};
struct basket {
  std::string owner;
  std::vector<leg> legs;
  std::optional<int> tag;
  friend bool operator==(const basket&, const basket&) = default;
};
struct node {  // Holds itself: a tree.
  int id = 0;
  std::vector<node> children = {};
  std::map<std::string, node> named = {};
};
struct defaults {
  int limit = 10;
  bool exact = true;
  std::string text = "all";
};
struct empty {};
struct views {
  std::string_view text;
  std::span<const std::byte> bytes;
};
struct many {
  int f01 = 1, f02 = 2, f03 = 3, f04 = 4, f05 = 5, f06 = 6, f07 = 7, f08 = 8, f09 = 9, f10 = 10,
      f11 = 11, f12 = 12, f13 = 13, f14 = 14, f15 = 15, f16 = 16, f17 = 17, f18 = 18, f19 = 19,
      f20 = 20, f21 = 21, f22 = 22, f23 = 23, f24 = 24, f25 = 25, f26 = 26, f27 = 27, f28 = 28,
      f29 = 29, f30 = 30, f31 = 31, f32 = 32;
};
struct sixteen {
  int a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0, h = 0, i = 0, j = 0, k = 0, l = 0, m = 0,
      n = 0, o = 0, p = 0;
};
struct seventeen {
  int a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0, h = 0, i = 0, j = 0, k = 0, l = 0, m = 0,
      n = 0, o = 0, p = 0, q = 0;
};
struct too_many {
  many m;
  int f01, f02, f03, f04, f05, f06, f07, f08, f09, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19,
      f20, f21, f22, f23, f24, f25, f26, f27, f28, f29, f30, f31, f32;
};
struct long_named {
  int a_field_whose_name_has_thirty_two_ = 1;
};
struct with_pointer {
  int* p;
};
struct with_c_array {
  int n;
  int values[3];
};
struct with_base : leg {
  int n;
};
struct with_const {
  const int n = 1;
};
struct deep_pointer {
  std::map<std::string, std::vector<with_pointer>> m;
};

struct weather {
  std::vector<std::optional<int>> readings;
  int n = 0;
};

static_assert(message<bool> && message<char> && message<color> && message<float>);
static_assert(message<basket> && message<node> && message<empty> && message<many>);
static_assert(message<celsius> && message<std::map<int, celsius>>);
static_assert(message<std::vector<bool>> && message<std::array<std::string, 3>>);
static_assert(message<payload> && message<std::tuple<>>);
static_assert(!message<int*> && !message<std::string*> && !message<const char*>);
static_assert(!message<int&> && !message<const int> && !message<void>);
static_assert(!message<wchar_t> && !message<char16_t> && !message<std::byte>);
static_assert(!message<loose>, "not every number is a value of it: give it an underlying type");
static_assert(!message<with_pointer> && !message<deep_pointer> && !message<with_const>);
static_assert(!message<with_c_array> && !message<with_base> && !message<too_many>);
static_assert(!message<std::unique_ptr<int>>);
static_assert(owned_message<basket> && owned_message<node> && owned_message<payload>);
static_assert(message<views> && !owned_message<views> && !owned_message<std::vector<views>>);
static_assert(!owned_message<std::optional<std::string_view>>);

template <class T>
std::string sent(const T& v) {
  return hex(to_payload(v));
}
template <class T>
T got(std::string_view bytes) {
  return from_payload<T>(unhex_payload(bytes));
}
template <class T>
std::string refusal(std::string_view bytes) {
  const payload p = unhex_payload(bytes);
  return text_of<message_type_error>([&] { (void)from_payload<T>(p); });
}

TEST(Message, ScalarsTravelAsTheirPythonCounterparts) {
  EXPECT_EQ(sent(true), "c3");
  EXPECT_EQ(sent(-1), "ff");
  EXPECT_EQ(sent(std::uint8_t{200}), "ccc8");
  EXPECT_EQ(sent(1.0), "cb3ff0000000000000");
  EXPECT_EQ(sent(1.0f), "cb3ff0000000000000") << "Python has one float type";
  EXPECT_EQ(sent('b'), "a162");
  EXPECT_EQ(sent(color::green), "02");
  EXPECT_EQ(got<bool>("c2"), false);
  EXPECT_EQ(got<double>("05"), 5.0) << "a Python caller may write 5 for 5.0";
  EXPECT_EQ(got<char>("a162"), 'b');
  EXPECT_EQ(got<color>("09"), static_cast<color>(9)) << "a newer peer may know more of them";
}

TEST(Message, ScalarsAreNotMistakenForEachOther) {
  EXPECT_EQ(refusal<int>("c3"), "expected an integer, found a bool (byte 0)");
  EXPECT_EQ(refusal<int>("cb3ff0000000000000"), "expected an integer, found a float (byte 0)");
  EXPECT_EQ(refusal<bool>("01"), "expected a bool, found an integer (byte 0)");
  EXPECT_EQ(refusal<std::string>("c40161"), "expected a str, found bytes (byte 0)");
  EXPECT_EQ(refusal<std::vector<std::byte>>("a161"), "expected bytes, found a str (byte 0)");
  EXPECT_EQ(refusal<char>("a26162"), "expected a str of one ASCII character (byte 0)");
  EXPECT_EQ(refusal<color>("cd0100"), "expected an integer from 0 to 255, found 256 (byte 0)");
  EXPECT_EQ(refusal<float>("cb7fefffffffffffff"),
            "the number does not fit a 32-bit float (byte 0)");
  EXPECT_TRUE(std::isinf(got<float>("cb7ff0000000000000")));
}

TEST(Message, BytesAreBinAndTextIsStr) {
  EXPECT_EQ(sent(std::vector<std::byte>{std::byte{1}, std::byte{255}}), "c40201ff");
  EXPECT_EQ(sent(std::array<std::byte, 2>{}), "c4020000");
  EXPECT_EQ(sent(std::string("oak")), "a36f616b");
  EXPECT_EQ((got<std::array<std::byte, 2>>("c4020102")[1]), std::byte{2});
  EXPECT_EQ((refusal<std::array<std::byte, 2>>("c40101")), "expected 2 bytes, found 1 (byte 0)");
}

TEST(Message, TextThatIsNotUtf8IsRefusedAtBothEnds) {
  EXPECT_EQ(text_of<message_type_error>([] { to_payload(std::string("ab\xff")); }),
            "a str must be UTF-8, and this one is not from its byte 2 on: send "
            "std::vector<std::byte> for bytes");
  EXPECT_EQ(refusal<std::string>("a1ff"), "the str is not UTF-8: send bytes instead (byte 0)");
}

TEST(Message, ContainersTravelAsListsAndDicts) {
  EXPECT_EQ(sent(std::vector<int>{1, 2}), "920102");
  EXPECT_EQ(sent(std::deque<int>{1}), "9101");
  EXPECT_EQ(sent(std::vector<bool>{true, false}), "92c3c2");
  EXPECT_EQ(sent(std::array<int, 2>{3, 4}), "920304");
  EXPECT_EQ(sent(std::set<int>{2, 1}), "920102");
  EXPECT_EQ(sent(std::pair<int, std::string>(1, "a")), "9201a161");
  EXPECT_EQ(sent(std::tuple<int, bool, double>(1, true, 0.5)), "9301c3cb3fe0000000000000");
  EXPECT_EQ(sent(std::tuple<>()), "90");
  EXPECT_EQ(sent(std::map<std::string, int>{{"a", 1}, {"b", 2}}), "82a16101a16202");
  EXPECT_EQ(sent(std::map<int, int>{{5, 6}}), "810506");

  EXPECT_EQ((got<std::vector<bool>>("92c3c2")), (std::vector<bool>{true, false}));
  EXPECT_EQ((got<std::deque<int>>("920102")), (std::deque<int>{1, 2}));
  EXPECT_EQ((got<std::unordered_set<int>>("920101")), (std::unordered_set<int>{1}));
  EXPECT_EQ((got<std::array<int, 2>>("920304")), (std::array<int, 2>{3, 4}));
  EXPECT_EQ((got<std::pair<int, std::string>>("9201a161")), (std::pair<int, std::string>(1, "a")));
  EXPECT_EQ((got<std::tuple<>>("90")), std::tuple<>());
  EXPECT_EQ((got<std::unordered_map<std::string, int>>("82a16101a16102")["a"]), 2)
      << "of a key that stands twice the last one counts, as in Python";
  EXPECT_EQ((refusal<std::pair<int, int>>("930102 03")),
            "expected an array of 2, found one of 3 (byte 0)");
}

TEST(Message, OptionalIsNoneOrTheValue) {
  EXPECT_EQ(sent(std::optional<int>()), "c0");
  EXPECT_EQ(sent(std::optional<int>(4)), "04");
  EXPECT_EQ(got<std::optional<int>>("c0"), std::nullopt);
  EXPECT_EQ(got<std::optional<int>>("04"), 4);
}

TEST(Message, AnAggregateIsAMapByFieldName) {
  EXPECT_EQ(sent(leg{"oak", 1.5}),
            "82"
            "a673796d626f6c"
            "a36f616b"
            "a57072696365"
            "cb3ff8000000000000");
  EXPECT_EQ(sent(empty{}), "80");
  const basket b{.owner = "ada", .legs = {{"oak", 1.0}, {"yew", 3.0}}, .tag = {}};
  EXPECT_EQ(from_payload<basket>(to_payload(b)), b);
}

TEST(Message, KeysMayComeInAnyOrderAndUnknownOnesAreIgnored) {
  const leg l = got<leg>(
      "83"
      "a57072696365"
      "02"
      "a374616782a16101a1629101"
      "a673796d626f6c"
      "a36f616b");
  EXPECT_EQ(l, (leg{"oak", 2.0}));
}

TEST(Message, AMissingFieldKeepsItsDefault) {
  const defaults d = got<defaults>(
      "81"
      "a56c696d6974"
      "03");
  EXPECT_EQ(d.limit, 3);
  EXPECT_TRUE(d.exact);
  EXPECT_EQ(d.text, "all");
}

TEST(Message, AStructMayHoldItself) {
  node n{.id = 1, .children = {{.id = 2}, {.id = 3}}, .named = {{"x", {.id = 4}}}};
  n.children[1].children.push_back({.id = 5});
  const node back = from_payload<node>(to_payload(n));
  EXPECT_EQ(back.children[1].children[0].id, 5);
  EXPECT_EQ(back.named.at("x").id, 4);
}

TEST(Message, AStructThatIsNestedTooDeeplyIsRefusedNotRecursedInto) {
  std::string text;
  for (int i = 0; i < 100'000; ++i) text += "81a86368696c6472656e91";  // {"children": [ …
  const payload p = unhex_payload(text + "80");
  EXPECT_THROW(from_payload<node>(p), limit_exceeded);
}

TEST(Message, ThirtyTwoFieldsAreNotTooMany) {
  many m;
  m.f32 = 99;
  const payload p = to_payload(m);
  EXPECT_EQ(hex(p).substr(0, 16),
            "de0020a3663031"
            "01");
  EXPECT_EQ(from_payload<many>(p).f32, 99);
  EXPECT_EQ(from_payload<sixteen>(to_payload(sixteen{.p = 7})).p, 7);
  EXPECT_EQ(from_payload<seventeen>(to_payload(seventeen{.q = 8})).q, 8);
  EXPECT_EQ(sent(long_named{}).substr(0, 8),
            "81d9"
            "22"
            "61")
      << "a name beyond a fixstr";
}

TEST(Message, AnErrorNamesThePathOfTheField) {
  // {"owner": "a", "legs": [{"symbol": "x"}, {"price": "y"}]}
  EXPECT_EQ(refusal<basket>("82"
                            "a56f776e6572a161"
                            "a46c656773"
                            "92"
                            "81a673796d626f6ca178"
                            "81a57072696365a179"),
            "legs[1].price: expected a number, found a str (byte 32)");
  EXPECT_EQ((refusal<std::map<std::string, std::vector<leg>>>("81a16191"
                                                              "81a673796d626f6c01")),
            "['a'][0].symbol: expected a str, found an integer (byte 12)");
  EXPECT_EQ((refusal<std::tuple<int, leg>>("920101")),
            "[1]: expected a map, found an integer (byte 2)");
  EXPECT_EQ((refusal<std::array<int, 2>>("9201c0")),
            "[1]: expected an integer, found nil (byte 2)");
  EXPECT_EQ(refusal<leg>("8101c0"), "expected a str, found an integer (byte 1)");
}

TEST(Message, ATypeWithAnInvariantHasACodecOfItsOwn) {
  EXPECT_EQ(sent(celsius(1.5)), "cb3ff8000000000000");
  EXPECT_EQ(got<std::vector<celsius>>("9105")[0].degrees(), 5.0);
  EXPECT_EQ((refusal<std::map<std::string, celsius>>("81a178d1fc18")),
            "['x']: colder than absolute zero (byte 6)");
}

TEST(Message, ViewsPointIntoThePayload) {
  const std::vector<std::byte> bytes(3, std::byte{7});
  const payload p = to_payload(views{.text = "oak", .bytes = bytes});
  const views v = from_payload<views>(p);
  EXPECT_EQ(v.text, "oak");
  EXPECT_GT(static_cast<const void*>(v.text.data()), p.bytes().data());
  EXPECT_EQ(v.bytes.data() + 3, p.bytes().data() + p.size());
  static_assert(std::is_trivially_destructible_v<views>, "what makes them safe on g++ 12");
}

TEST(Message, TrailingBytesAreRefused) { EXPECT_THROW(got<int>("0102"), protocol_error); }

TEST(Message, AShortLieAboutALengthReservesNothing) {
  EXPECT_THROW(got<std::vector<basket>>("ddffffffff00"), protocol_error);
}

}  // namespace
}  // namespace coppice
