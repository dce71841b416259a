// SPDX-License-Identifier: Apache-2.0
#include "coppice/payload.hpp"  // First: proves the header stands alone.

#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "coppice/detail/msgpack.hpp"
#include "coppice/message.hpp"
#include "msg/test_bytes.hpp"

namespace coppice {
namespace {

TEST(Payload, IsNilUntilAssigned) {
  const payload p;
  EXPECT_TRUE(p.is_nil());
  EXPECT_EQ(msg::hex(p), "c0");
  EXPECT_FALSE(msg::unhex_payload("01").is_nil());
  EXPECT_FALSE(msg::unhex_payload("c0c0").is_nil());
}

TEST(Payload, TakesABuffersBytesWithoutCopyingThem) {
  msgpack::buffer out;
  msgpack::writer(out).str("oak");
  const std::byte* written = out.data();
  const payload p = payload::take(std::move(out));
  EXPECT_EQ(p.bytes().data(), written);
  EXPECT_EQ(msg::hex(p), "a36f616b");
  EXPECT_TRUE(out.empty());  // NOLINT: promised by take().
  msgpack::writer(out).nil();
  EXPECT_EQ(msg::hex(p), "a36f616b") << "the buffer has memory of its own again";
}

TEST(Payload, SeveralCanBeCutFromOneBuffer) {
  std::optional<msgpack::buffer> out(std::in_place, 64);
  msgpack::writer(*out).str("oak");
  const payload first = payload::cut(*out);
  EXPECT_TRUE(out->empty());
  EXPECT_EQ(out->left(), 60u);
  msgpack::writer(*out).str("elm");
  const payload second = payload::cut(*out);
  EXPECT_EQ(second.bytes().data(), first.bytes().data() + 4) << "behind the first";
  const std::string large(100, 'x');
  msgpack::writer(*out).str(large);
  const payload third = payload::cut(*out);
  msgpack::writer(*out).nil();
  out.reset();
  EXPECT_EQ(msg::hex(first), "a36f616b");
  EXPECT_EQ(msg::hex(second), "a3656c6d");
  EXPECT_EQ(from_payload<std::string>(third), large);
}

TEST(Payload, ASliceKeepsTheWholeAlive) {
  std::optional<payload> frame = msg::unhex_payload("92 a36f616b a3796577");
  const payload part = frame->slice(frame->bytes().subspan(5, 4));
  const std::byte* where = frame->bytes().data() + 5;
  frame.reset();
  EXPECT_EQ(part.bytes().data(), where);
  EXPECT_EQ(msg::hex(part), "a3796577");
}

TEST(Payload, ASliceOfOneThatGoesTakesOverItsOwner) {
  auto owner = std::make_shared<std::vector<std::byte>>(8);
  payload whole(owner, *owner);
  const payload part = std::move(whole).slice(std::span<const std::byte>(*owner).subspan(2, 3));
  EXPECT_EQ(owner.use_count(), 2);
  EXPECT_EQ(part.size(), 3u);
  EXPECT_TRUE(whole.is_nil());  // NOLINT(bugprone-use-after-move): that is what is promised.
}

TEST(Payload, LeavesNilBehindWhenItIsMovedFrom) {
  payload from = msg::unhex_payload("01");
  const payload to = std::move(from);
  EXPECT_EQ(msg::hex(to), "01");
  EXPECT_TRUE(from.is_nil());  // NOLINT: promised.
  payload assigned;
  from = to;
  assigned = std::move(from);
  EXPECT_EQ(msg::hex(assigned), "01");
  EXPECT_TRUE(from.is_nil());  // NOLINT
  auto& self = assigned;
  assigned = std::move(self);
  EXPECT_TRUE(assigned.is_nil() || msg::hex(assigned) == "01") << "never bytes without an owner";
}

TEST(Payload, AnyOwnerWillDo) {
  auto text = std::make_shared<std::string>("\x01");
  const payload p(text, std::as_bytes(std::span(*text)));
  EXPECT_EQ(text.use_count(), 2);
  EXPECT_EQ(msg::hex(p), "01");
}

TEST(PayloadDeathTest, ASliceMustLieInside) {
  const payload frame = msg::unhex_payload("0102");
  const payload other = msg::unhex_payload("0304");
  EXPECT_DEATH((void)frame.slice(other.bytes()), "a slice must lie inside its payload");
}

}  // namespace
}  // namespace coppice
