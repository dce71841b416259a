// SPDX-License-Identifier: Apache-2.0
#include "pyhost/codec.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "coppice/detail/msgpack.hpp"
#include "pyhost/python_for_test.hpp"

namespace coppice::py {
namespace {

using testing::eval;
using testing::exec;
using testing::shown;
using testing::take_error;

std::optional<payload> packed(const char* expression, const char* what = "result") {
  PyObject* value = eval(expression);
  if (!value) return std::nullopt;
  auto bytes = encode(value, what);
  Py_DECREF(value);
  return bytes;
}

std::string hex(const char* expression) {
  auto bytes = packed(expression);
  if (!bytes) return take_error();
  std::string text;
  for (std::byte b : bytes->bytes()) {
    constexpr char digits[] = "0123456789abcdef";
    text += {digits[static_cast<int>(b) >> 4], digits[static_cast<int>(b) & 15]};
  }
  return text;
}

std::string there_and_back(const char* expression) {
  auto bytes = packed(expression);
  return bytes ? shown(decode(*bytes, "result")) : take_error();
}

std::string refusal(const char* expression, const char* what = "kwargs") {
  EXPECT_FALSE(packed(expression, what)) << expression;
  return take_error();
}

payload bytes_of(std::initializer_list<int> bytes) {
  std::vector<std::byte> v;
  for (int b : bytes) v.push_back(static_cast<std::byte>(b));
  return payload::copy_of(v);
}

std::string decoded(std::initializer_list<int> bytes) {
  return shown(decode(bytes_of(bytes), "kwargs"));
}

TEST(PythonCodec, PlainValuesArriveAsTheyWereSent) {
  for (const char* value : {"None",
                            "True",
                            "False",
                            "0",
                            "127",
                            "128",
                            "-1",
                            "-32",
                            "-33",
                            "255",
                            "65536",
                            "4294967296",
                            "-9223372036854775808",
                            "9223372036854775807",
                            "18446744073709551615",
                            "1.5",
                            "-0.0",
                            "inf",
                            "''",
                            "'oak'",
                            "'Bäume 🌳'",
                            "b''",
                            "b'\\x00\\xff'",
                            "[]",
                            "[1, [2, []]]",
                            "{}",
                            "{'a': {'b': [None]}}",
                            "{1: 'x', None: 2, 2.5: 3, b'k': 4, True: 5}"})
    EXPECT_EQ(there_and_back(std::string_view(value) == "inf" ? "float('inf')" : value),
              std::string_view(value) == "{1: 'x', None: 2, 2.5: 3, b'k': 4, True: 5}"
                  ? "{1: 5, None: 2, 2.5: 3, b'k': 4}"
                  : value);
}

TEST(PythonCodec, BytesAreThoseOfOtherMsgpackLibraries) {
  EXPECT_EQ(hex("{'a': [1, -1, 1.0, None, True, 'x', b'y']}"),
            "81a1619701ffcb3ff0000000000000c0c3a178c40179");
  EXPECT_EQ(hex("2**64-1"), "cfffffffffffffffff");
  EXPECT_EQ(hex("-2**63"), "d38000000000000000");
  EXPECT_EQ(hex("'é' * 20").substr(0, 4), "d928");
}

TEST(PythonCodec, ByteLikeObjectsArriveAsBytes) {
  EXPECT_EQ(there_and_back("bytearray(b'ab')"), "b'ab'");
  EXPECT_EQ(there_and_back("memoryview(b'abcdef')[1:3]"), "b'bc'");
  EXPECT_EQ(there_and_back("memoryview(b'abcdef')[::2]"), "b'ace'") << "not contiguous";
  exec("released = memoryview(b'x'); released.release()");
  EXPECT_NE(refusal("released").find("released memoryview"), std::string::npos);
}

TEST(PythonCodec, TuplesArriveAsListsButInKeysAsTuples) {
  EXPECT_EQ(there_and_back("(1, (2, 3))"), "[1, [2, 3]]");
  EXPECT_EQ(there_and_back("{(1, (2, 'x')): 'v'}"), "{(1, (2, 'x')): 'v'}");
}

TEST(PythonCodec, SubclassesOfContainersTravelAsTheirBase) {
  exec(
      "import collections\nP = collections.namedtuple('P', 'x y')\n"
      "class L(list): pass\nclass D(dict): pass");
  EXPECT_EQ(there_and_back("P(1, 2)"), "[1, 2]");
  EXPECT_EQ(there_and_back("L([1])"), "[1]");
  EXPECT_EQ(there_and_back("D(a=1)"), "{'a': 1}");
  EXPECT_EQ(there_and_back("collections.OrderedDict(b=1, a=2)"), "{'b': 1, 'a': 2}");
}

TEST(PythonCodec, EnumMembersTravelAsTheirValues) {
  exec(
      "import enum\nclass C(enum.Enum):\n R = 'red'\n G = 2\nclass N(enum.IntEnum):\n A = 7\n"
      "class S(enum.StrEnum):\n X = 'x'\nclass F(enum.Flag):\n A = 1\n B = 2\n"
      "class I(enum.Enum):\n pass\nclass W(enum.Enum):\n Q = [1]");
  EXPECT_EQ(there_and_back("[C.R, C.G, N.A, S.X, F.A | F.B, W.Q]"), "['red', 2, 7, 'x', 3, [1]]");
  EXPECT_EQ(there_and_back("{C.R: 1}"), "{'red': 1}");
}

TEST(PythonCodec, AMemberThatIsItsOwnValueIsADepthErrorAndNoCrash) {
  exec("import enum\nclass Own(enum.Enum):\n A = 1\nOwn.A._value_ = Own.A");
  EXPECT_NE(refusal("Own.A").find("RecursionError"), std::string::npos);
  exec("Own.A._value_ = 1");
}

TEST(PythonCodec, SetsArriveAsListsButInKeysAsTuples) {
  EXPECT_EQ(there_and_back("[{7}, frozenset(), {frozenset({1}): 2}]"), "[[7], [], {(1,): 2}]");
}

TEST(PythonCodec, DataclassInstancesTravelAsMapsOfTheirFields) {
  exec(
      "import dataclasses, typing\n"
      "@dataclasses.dataclass\nclass Leg:\n symbol: str\n price: float = 0.0\n"
      " count: typing.ClassVar[int] = 3\n start: dataclasses.InitVar[int] = 1\n"
      "@dataclasses.dataclass(slots=True, frozen=True)\nclass Basket:\n legs: list\n"
      "@dataclasses.dataclass\nclass Named(Leg):\n name: str = 'n'");
  EXPECT_EQ(
      there_and_back("Basket([Leg('A', 1.5), Named('B')])"),
      "{'legs': [{'symbol': 'A', 'price': 1.5}, {'symbol': 'B', 'price': 0.0, 'name': 'n'}]}");
  EXPECT_NE(refusal("Basket([Leg(1j)])").find("'complex' at kwargs['legs'][0]['symbol']"),
            std::string::npos);
  EXPECT_NE(refusal("Leg").find("cannot send a 'type'"), std::string::npos)
      << "the class itself is no instance";
  exec("own = Basket([])\nown.legs.append(own)");
  EXPECT_NE(refusal("own").find("does one contain itself?"), std::string::npos);
  exec("own.legs.clear()\ngone = Leg('x'); del gone.symbol");
  EXPECT_EQ(refusal("gone").find("AttributeError"), 0u);
}

TEST(PythonCodec, TimesWithAZoneAreMsgpackTimestampsAndComeBackInUtc) {
  exec(
      "import datetime as d\n"
      "def at(*a, **k): return d.datetime(*a, tzinfo=d.timezone(d.timedelta(**k)))");
  EXPECT_EQ(hex("at(1970, 1, 1, 1, 0, 1, hours=1)"), "d6ff00000001");
  EXPECT_EQ(hex("at(1970, 1, 1, 0, 0, 1, 500000)"), "d7ff7735940000000001");
  EXPECT_EQ(hex("at(1969, 12, 31, 23, 59, 59)"), "c70cff00000000ffffffffffffffff");
  for (const char* when : {"at(2026, 8, 1, 12, 30, 15, 123457)", "at(1, 1, 1)", "at(2300, 1, 1)",
                           "at(9999, 12, 31, 23, 59, 59, 999999)", "at(1969, 7, 20, 0, 0, 0, 1)"})
    EXPECT_EQ(there_and_back(when), shown(eval(when)));
  EXPECT_NE(decoded({0xc7, 12, 0xff, 0, 0, 0, 0, 0x7f, 0, 0, 0, 0, 0, 0, 0}).find("a time beyond"),
            std::string::npos);
  EXPECT_NE(decoded({0xd4, 0x05, 0}).find("a type that Python has"), std::string::npos);
  EXPECT_NE(decoded({0xd4, 0xff, 0}).find("a type that Python has"), std::string::npos);
}

TEST(PythonCodec, OtherTimesDecimalsAndUuidsTravelAsText) {
  exec("import datetime as d, decimal, uuid");
  EXPECT_EQ(there_and_back("[d.datetime(2026, 8, 1, 12, 30), d.date(2026, 8, 1), d.time(9, 5)]"),
            "['2026-08-01T12:30:00', '2026-08-01', '09:05:00']");
  EXPECT_EQ(there_and_back("[d.timedelta(seconds=3), d.timedelta(days=1, seconds=2.5), "
                           "d.timedelta(0), d.timedelta(seconds=-0.25), d.timedelta(days=-2)]"),
            "['PT3S', 'P1DT2.500000S', 'PT0S', '-PT0.250000S', '-P2D']");
  EXPECT_EQ(there_and_back("decimal.Decimal('1.10')"), "'1.10'");
  EXPECT_EQ(there_and_back("uuid.UUID(int=1)"), "'00000000-0000-0000-0000-000000000001'");
}

// CPython's cache of attributes holds the names that it was asked for.
TEST(PythonCodec, WhatItAsksObjectsForDoesNotFillTheCacheOfAttributes) {
  exec(
      "import sys, dataclasses, datetime as d, enum\n"
      "@dataclasses.dataclass\n"
      "class Trade: at: object; side: object\n"
      "class Side(enum.Enum): BUY = 'buy'\n"
      "trade = Trade(d.datetime(2026, 8, 1, tzinfo=d.UTC), Side.BUY)");
  PyObject* trade = eval("trade");
  const auto blocks = [] { return std::stoll(shown(eval("sys.getallocatedblocks()"))); };
  const auto travels = [&](int times) {
    for (int i = 0; i < times; ++i) {
      const auto bytes = encode(trade, "result");
      ASSERT_TRUE(bytes) << take_error();
      Py_XDECREF(decode(*bytes, "result"));
    }
  };
  travels(10);
  const auto before = blocks();
  travels(300);
  EXPECT_LT(blocks() - before, 500) << "lists of freed objects grow a little";
  Py_DECREF(trade);
}

TEST(PythonCodec, OtherSubclassesOfScalarsAreRefusedWithTheWayOut) {
  exec("class S(str): pass\nclass I(int): pass\nclass F(float): pass\nclass B(bytes): pass");
  EXPECT_NE(refusal("S('x')").find("send str(value)"), std::string::npos);
  EXPECT_NE(refusal("I(1)").find("send int(value)"), std::string::npos);
  EXPECT_NE(refusal("F(1)").find("send float(value)"), std::string::npos);
  EXPECT_NE(refusal("B(b'')").find("send bytes(value)"), std::string::npos);
}

TEST(PythonCodec, WhatCannotTravelIsNamedWithItsPlace) {
  EXPECT_EQ(refusal("{'x': [0, 1, 2, 1j]}"),
            "TypeError: cannot send a 'complex' at kwargs['x'][3]: None, bool, int, float, str, "
            "bytes, list, tuple, set, dict, dataclasses, enums, dates and times can travel");
  EXPECT_EQ(refusal("object()", "result").substr(0, 44),
            "TypeError: cannot send a 'object' at result:");
  exec("class Point: pass");
  EXPECT_NE(refusal("{1: (Point(),)}").find("a 'Point' at kwargs[1][0]:"), std::string::npos);
  EXPECT_NE(refusal("{1j: 1}").find("'complex' at kwargs[…]"), std::string::npos);
  EXPECT_NE(refusal("[{1j}]").find("'complex' at kwargs[0][0]"), std::string::npos);
  EXPECT_NE(refusal("lambda: 0").find("'function'"), std::string::npos);
}

TEST(PythonCodec, IntsBeyond64BitsAreOverflowErrorsWithTheirPlace) {
  for (const char* value : {"{'n': 2**64}", "{'n': -2**63 - 1}", "{'n': 10**400}"}) {
    const std::string text = refusal(value);
    EXPECT_EQ(text.find("OverflowError: cannot send the int at kwargs['n']"), 0u) << text;
  }
}

TEST(PythonCodec, LoneSurrogatesAreAValueErrorThatSaysWhatToDo) {
  const std::string text = refusal("{'s': 'a\\ud800'}");
  EXPECT_EQ(text.find("ValueError: cannot send the str at kwargs['s']: it holds a lone surrogate"),
            0u)
      << text;
}

TEST(PythonCodec, ARefusedValueLeavesNothingInTheBuffer) {
  msgpack::buffer out;
  msgpack::writer(out).nil();
  PyObject* value = eval("[1, 2, {3j}]");
  EXPECT_FALSE(encode(value, "result", out));
  Py_DECREF(value);
  PyErr_Clear();
  EXPECT_EQ(out.size(), 1u);
}

TEST(PythonCodec, ContainersNest512DeepOnBothSides) {
  exec("def nested(n):\n v = None\n for _ in range(n): v = [v]\n return v");
  EXPECT_EQ(there_and_back("nested(512)").size(), 512u * 2 + 4);
  EXPECT_NE(refusal("nested(513)").find("nested deeper than 512"), std::string::npos);
  std::vector<std::byte> bytes(100'000, std::byte{0x91});
  EXPECT_NE(shown(decode(payload::copy_of(bytes), "kwargs")).find("RecursionError"),
            std::string::npos);
}

TEST(PythonCodec, AContainerThatContainsItselfIsADepthErrorAndNoCrash) {
  exec("loop = []\nloop.append(loop)\nring = {}\nring['r'] = (ring,)");
  EXPECT_EQ(refusal("loop").find("RecursionError: cannot send kwargs[0][0]"), 0u);
  EXPECT_NE(refusal("ring").find("does one contain itself?"), std::string::npos);
  exec("loop.clear(); ring.clear()");
}

TEST(PythonCodec, AListThatChangesWhileItIsSentIsAnErrorAndNoCrash) {
  exec(
      "import enum\nvictim = []\n"
      "class Sly(enum.Enum):\n A = 1\n"
      " def __getattribute__(self, n):\n"
      "  if n == '_value_': victim.clear()\n"
      "  return super().__getattribute__(n)\n"
      "victim.extend([Sly.A, [], []])");
  EXPECT_EQ(refusal("victim"),
            "RuntimeError: the list at kwargs changed its size while it was sent");
  exec("victim = {}");
  exec("victim.update(a=Sly.A, b=2)");
  EXPECT_EQ(refusal("victim"),
            "RuntimeError: the dict at kwargs changed its size while it was sent");
}

TEST(PythonCodec, BytesThatAreNotOneValueAreAValueErrorWithTheirPlace) {
  EXPECT_EQ(decoded({}).find("ValueError: cannot read kwargs: "), 0u) << decoded({});
  EXPECT_NE(decoded({0xc1}).find("ValueError"), std::string::npos);
  EXPECT_NE(decoded({0xc0, 0xc0}).find("1 bytes too many"), std::string::npos);
  EXPECT_NE(decoded({0x81, 0xa1, 'x', 0x92, 0x01}).find("['x']"), std::string::npos);
  EXPECT_NE(decoded({0xdd, 0xff, 0xff, 0xff, 0xff}).find("ValueError"), std::string::npos);
  EXPECT_NE(decoded({0xa2, 0xc3, 0x28}).find("not UTF-8"), std::string::npos);
  EXPECT_NE(decoded({0x81, 0xa2, 0xc3, 0x28, 0xc0}).find("not UTF-8"), std::string::npos);
  EXPECT_NE(decoded({0xd4, 0x05, 0x00}).find("an extension value"), std::string::npos);
  EXPECT_NE(decoded({0x81, 0x80, 0xc0}).find("a key that has a hash"), std::string::npos);
}

TEST(PythonCodec, TheLastOfEqualKeysWins) {
  EXPECT_EQ(decoded({0x82, 0xa1, 'k', 0x01, 0xa1, 'k', 0x02}), "{'k': 2}");
}

TEST(PythonCodec, NestedCountsCannotClaimMoreMemoryThanTheMessageIsWorth) {
  // 500 arrays, each of which claims all bytes that follow.
  constexpr std::uint32_t size = 4'000'000;
  std::vector<std::byte> bytes(size, std::byte{0xc0});
  for (std::uint32_t at = 0; at < 500 * 5; at += 5) {
    const std::uint32_t claim = size - at - 5;
    bytes[at] = std::byte{0xdd};
    for (int i = 0; i < 4; ++i)
      bytes[at + 1 + static_cast<unsigned>(i)] = static_cast<std::byte>(claim >> (24 - 8 * i));
  }
  exec("import tracemalloc\ntracemalloc.start()");
  EXPECT_NE(shown(decode(payload::copy_of(bytes), "kwargs")).find("ValueError"), std::string::npos);
  EXPECT_EQ(shown(eval("tracemalloc.get_traced_memory()[1] < 200_000_000")), "True");
  exec("tracemalloc.stop()");
}

TEST(PythonCodec, RandomAndDamagedBytesNeverCrash) {
  std::mt19937 random(20240611);
  const auto good =
      packed("{'a': [1, 2.5, None, 'text', b'bytes', {'k': (True, -7)}], 'n': 2**63}");
  ASSERT_TRUE(good);
  int decoded_well = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::vector<std::byte> bytes(good->bytes().begin(), good->bytes().end());
    if (round % 2) {
      bytes[random() % bytes.size()] = static_cast<std::byte>(random());
      bytes.resize(1 + random() % bytes.size());
    } else {
      bytes.resize(random() % 64);
      for (auto& b : bytes) b = static_cast<std::byte>(random());
    }
    PyObject* value = decode(payload::copy_of(bytes), "kwargs");
    decoded_well += value != nullptr;
    EXPECT_EQ(value == nullptr, PyErr_Occurred() != nullptr);
    PyErr_Clear();
    Py_XDECREF(value);
  }
  EXPECT_GT(decoded_well, 0);
}

TEST(PythonCodec, LongListsAndTextsKeepEveryElement) {
  EXPECT_EQ(shown(eval("0")), "0");
  exec("big = {'l': list(range(70_000)), 's': 'ä' * 70_000, 'b': bytes(70_000)}");
  const auto bytes = packed("big");
  ASSERT_TRUE(bytes);
  PyObject* back = decode(*bytes, "result");
  ASSERT_NE(back, nullptr);
  PyObject* big = eval("big");
  EXPECT_EQ(PyObject_RichCompareBool(back, big, Py_EQ), 1);
  Py_DECREF(big);
  Py_DECREF(back);
  exec("del big");
}

}  // namespace
}  // namespace coppice::py
