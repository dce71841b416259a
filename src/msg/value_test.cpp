// SPDX-License-Identifier: Apache-2.0
#include "coppice/value.hpp"  // First: proves the header stands alone.

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "coppice/errors.hpp"
#include "msg/test_bytes.hpp"

namespace coppice {
namespace {

struct tree {
  std::string name;
  value anything;
};

value of_hex(std::string_view text) { return value(msg::unhex_payload(text)); }

TEST(Value, IsNilUntilAssigned) {
  EXPECT_TRUE(value().is_nil());
  EXPECT_EQ(value().text(), "None");
  EXPECT_FALSE(value::of(0).is_nil());
}

TEST(Value, DecodesIntoWhateverItIsAskedFor) {
  const value v = value::of(std::vector<int>{1, 2});
  EXPECT_EQ(v.as<std::vector<int>>(), (std::vector<int>{1, 2}));
  EXPECT_EQ((v.as<std::pair<double, int>>()), (std::pair<double, int>{1.0, 2}));
  EXPECT_THROW(v.as<std::string>(), message_type_error);
  EXPECT_EQ(value::of(std::string("oak")).as<std::string>(), "oak");
  EXPECT_EQ(v.kind(), msgpack::kind::array);
}

TEST(Value, AViewOfItLivesAsLongAsItself) {
  const value v = value::of(std::string("oak"));
  EXPECT_EQ(v.as<std::string_view>(), "oak");
}

TEST(Value, AsAFieldItKeepsTheFramesBytesWithoutCopying) {
  const payload frame = to_payload(tree{"oak", value::of(std::vector<int>{7, 8})});
  const tree t = from_payload<tree>(frame);
  EXPECT_EQ(t.anything.as<std::vector<int>>(), (std::vector<int>{7, 8}));
  EXPECT_GE(t.anything.bytes().bytes().data(), frame.bytes().data());
  EXPECT_LT(t.anything.bytes().bytes().data(), frame.bytes().data() + frame.size());
}

TEST(Value, PrintsAsPythonWould) {
  EXPECT_EQ(of_hex("93 c3 c2 c0").text(), "[True, False, None]");
  EXPECT_EQ(of_hex("93 01 fe cfffffffffffffffff").text(), "[1, -2, 18446744073709551615]");
  EXPECT_EQ(of_hex("82 a161 01 05 90").text(), "{'a': 1, 5: []}");
  EXPECT_EQ(value::of(1.0).text(), "1.0");
  EXPECT_EQ(value::of(0.1).text(), "0.1");
  EXPECT_EQ(value::of(1e300).text(), "1e+300");
  EXPECT_EQ(value::of(std::string("it's\na\\b\x01 grün")).text(), "'it\\'s\\na\\\\b\\x01 grün'");
  EXPECT_EQ(of_hex("c402 00ff").text(), "b'\\x00\\xff'");
  EXPECT_EQ(of_hex("d4ff07").text(), "ext(-1, b'\\x07')");
}

TEST(Value, PrintsNoMoreThanAskedFor) {
  const value v = value::of(std::vector<int>(1000, 7));
  EXPECT_EQ(v.text(10), "[7, 7, 7, ...]");
  EXPECT_EQ(value::of(std::string(1000, 'x')).text(5), "'xxxxx'...");
  EXPECT_EQ(value::of(std::string("ab\xc3\xbc")).text(3), "'ab'...") << "no half characters";
}

TEST(Value, PrintsWhatIsWrongInsteadOfFailing) {
  EXPECT_EQ(of_hex("9201c1").text(),
            "[1,  <not msgpack: expected a value, found the invalid byte 0xc1 (byte 2)>");
}

}  // namespace
}  // namespace coppice
