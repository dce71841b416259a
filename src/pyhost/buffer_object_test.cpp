// SPDX-License-Identifier: Apache-2.0
#include "pyhost/buffer_object.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "coppice/message.hpp"
#include "coppice/shared_buffer.hpp"
#include "pyhost/codec.hpp"
#include "pyhost/python_for_test.hpp"

namespace coppice::py {
namespace {

using testing::eval;
using testing::exec;
using testing::shown;
using testing::take_error;

constexpr std::size_t large = 100'000;

class Buffer : public ::testing::Test {
 protected:
  void SetUp() override {
    PyObject* globals = PyModule_GetDict(PyImport_AddModule("__main__"));
    PyDict_SetItemString(globals, "Buffer", reinterpret_cast<PyObject*>(buffer_type()));
  }
  static std::string said(const char* expression) { return shown(eval(expression)); }
  static std::string error(const char* expression) {
    PyObject* globals = PyModule_GetDict(PyImport_AddModule("__main__"));
    return shown(PyRun_String(expression, Py_eval_input, globals, globals));
  }
  /// Sends what an expression gives.
  static payload sent(const char* expression) {
    PyObject* value = eval(expression);
    const auto bytes = encode(value, "result");
    Py_XDECREF(value);
    EXPECT_TRUE(bytes) << take_error();
    return bytes.value_or(payload());
  }
  static shared_buffer block(const char* expression) {
    const payload bytes = sent(expression);
    return from_payload<shared_buffer>(bytes);
  }
  /// Makes what arrived `got`.
  static void receive(const payload& bytes) {
    PyObject* globals = PyModule_GetDict(PyImport_AddModule("__main__"));
    PyObject* value = decode(bytes, "result");
    ASSERT_TRUE(value) << take_error();
    PyDict_SetItemString(globals, "got", value);
    Py_DECREF(value);
  }
};

TEST_F(Buffer, IsImmutableBytesThatAreCopiedWhenItIsMade) {
  exec("source = bytearray(b'abc'); b = Buffer(source); source[0] = 0");
  EXPECT_EQ(said("bytes(b)"), "b'abc'");
  EXPECT_EQ(said("(len(b), bool(b), bool(Buffer(b'')), bytes(Buffer(b'')))"),
            "(3, True, False, b'')");
  EXPECT_EQ(said("(memoryview(b).readonly, memoryview(b)[1:].tobytes())"), "(True, b'bc')");
  EXPECT_EQ(error("memoryview(b).__setitem__(0, 1)"), "TypeError: cannot modify read-only memory");
  EXPECT_EQ(said("bytes(Buffer(memoryview(b'abcdef')[::2]))"), "b'ace'");
  EXPECT_EQ(said("Buffer(b) is b"), "True");
  EXPECT_EQ(said("repr(b).startswith('<coppice.Buffer of 3 bytes at 0x')"), "True");
  EXPECT_EQ(said("(Buffer.__module__, Buffer.__name__)"), "('coppice', 'Buffer')");
}

TEST_F(Buffer, EqualsWhateverHasTheSameBytesAndHashesLikeBytes) {
  EXPECT_EQ(said("[Buffer(b'ab') == o for o in (Buffer(b'ab'), b'ab', bytearray(b'ab'), "
                 "memoryview(b'ab'))]"),
            "[True, True, True, True]");
  EXPECT_EQ(said("[o == Buffer(b'ab') for o in (b'ab', bytearray(b'ab'), memoryview(b'ab'))]"),
            "[True, True, True]");
  EXPECT_EQ(said("[Buffer(b'ab') != o for o in (Buffer(b'ac'), b'abc', 'ab', None, 1)]"),
            "[True, True, True, True, True]");
  EXPECT_EQ(said("(Buffer(b'') == b'', hash(Buffer(b'')) == hash(b''))"), "(True, True)");
  EXPECT_EQ(said("hash(Buffer(b'ab')) == hash(b'ab') and Buffer(b'ab') in {b'ab'}"), "True");
  EXPECT_EQ(error("Buffer(b'a') < Buffer(b'b')"),
            "TypeError: '<' not supported between instances of 'coppice.Buffer' and "
            "'coppice.Buffer'");
}

TEST_F(Buffer, IsMadeOfBytesOnlyAndCannotBeDerivedFrom) {
  EXPECT_EQ(error("Buffer('text')"), "TypeError: a bytes-like object is required, not 'str'");
  EXPECT_EQ(error("Buffer(10)"), "TypeError: a bytes-like object is required, not 'int'");
  EXPECT_EQ(error("Buffer()"), "TypeError: Buffer() takes exactly 1 positional argument (0 given)");
  EXPECT_EQ(error("type('Mine', (Buffer,), {})"),
            "TypeError: type 'coppice.Buffer' is not an acceptable base type");
}

TEST_F(Buffer, ALargeOneArrivesAsTheSameMemoryASmallOneAsBytes) {
  exec("b = Buffer(bytes(100_000)); small = Buffer(b'small')");
  receive(sent("{'first': b, 'list': [b, small], 'n': 1}"));
  EXPECT_EQ(said("repr(got['first']) == repr(got['list'][0]) == repr(b)"), "True");
  EXPECT_EQ(said("(got['list'][1], got['n'])"), "(b'small', 1)");
  // Bytes are copied, as ever.
  receive(sent("bytes(100_000)"));
  EXPECT_EQ(said("(type(got), got == b)"), "(<class 'bytes'>, True)");
}

TEST_F(Buffer, AMemoryviewOfAPartSharesItToo) {
  exec("b = Buffer(bytes(range(200)) * 1000)");
  receive(sent("memoryview(b)[100:100_000]"));
  EXPECT_EQ(said("(type(got).__name__, bytes(got) == bytes(b)[100:100_000])"), "('Buffer', True)");
  EXPECT_EQ(said("int(repr(got)[:-1].split()[-1], 16) - int(repr(b)[:-1].split()[-1], 16)"), "100");
  receive(sent("memoryview(b)[::-1]"));
  EXPECT_EQ(said("(type(got).__name__, got == bytes(b)[::-1])"), "('bytes', True)");
}

TEST_F(Buffer, GoesToAndComesFromCppWithoutACopy) {
  const shared_buffer there(std::vector<std::byte>(large, std::byte{1}));
  receive(to_payload(there));
  EXPECT_EQ(said("(type(got) is Buffer, got == bytes([1]) * 100_000)"), "(True, True)");
  EXPECT_EQ(block("got").data(), there.data());
}

TEST_F(Buffer, ItsBytesOutliveItsInterpretersObjectAndGoWithTheLastHolder) {
  exec("b = Buffer(bytes([7]) * 100_000)");
  std::weak_ptr<const void> watched;
  {
    shared_buffer kept = block("b");
    watched = kept.owned().owner;
    exec("del b");
    EXPECT_EQ(kept, shared_buffer(std::vector<std::byte>(large, std::byte{7})));
  }
  EXPECT_TRUE(watched.expired());
}

TEST_F(Buffer, WhatIsTakenFromAllIsHeldForWhoStillLooks) {
  exec("b = Buffer(bytes([7]) * 100_000)");
  std::weak_ptr<const void> watched = block("b").owned().owner;
  auto owners = take_owners();
  EXPECT_EQ(said("b == bytes([7]) * 100_000"), "True");
  EXPECT_FALSE(sent("b").has_blocks()) << "nobody keeps it: it is copied";
  exec("del b");
  EXPECT_FALSE(watched.expired());
  owners.clear();
  EXPECT_TRUE(watched.expired());
}

}  // namespace
}  // namespace coppice::py
