// SPDX-License-Identifier: Apache-2.0
#include "msg/yields.hpp"  // First: proves the header stands alone.

#include <gtest/gtest.h>

#include <vector>

#include "coppice/errors.hpp"
#include "coppice/message.hpp"

namespace coppice::msg {
namespace {

const std::string cid = "5f0c3f1e-8c5a-4b5e-9f57-0d6a3b0f9d11";

payload frame_of(const message& m) {
  msgpack::buffer out;
  encode(m, out);
  return payload::take(std::move(out));
}

TEST(Yields, EncodeToWhatOneAfterTheOtherWould) {
  const std::vector<payload> values = {to_payload(1), to_payload(std::string(300, 'x')),
                                       to_payload(std::vector<int>{1, 2, 3}), payload()};
  msgpack::buffer one_by_one, together;
  together.append(std::as_bytes(std::span("before", 6)));
  for (const auto& v : values) encode_frame(yield{cid, v}, one_by_one);
  encode_yields(cid, values, together);
  EXPECT_TRUE(std::ranges::equal(together.bytes().subspan(6), one_by_one.bytes()));
  const std::size_t size = together.size();
  encode_yields(cid, {}, together);
  EXPECT_EQ(together.size(), size);
}

TEST(Yields, ACidThatIsNoTextLeavesTheBufferAsItWas) {
  msgpack::buffer out;
  out.append(std::as_bytes(std::span("before", 6)));
  const std::vector<payload> values = {to_payload(1)};
  EXPECT_THROW(encode_yields("\xff", values, out), message_type_error);
  EXPECT_EQ(out.size(), 6u);
}

TEST(YieldCutter, GivesWhatDecodeDoesForFramesThatBeginAlike) {
  yield_cutter cutter;
  const payload first = frame_of(yield{cid, to_payload(1)});
  EXPECT_FALSE(cutter.cut(first.bytes())) << "it has not seen any";
  cutter.learn(first.bytes(), std::get<yield>(decode(first)));
  for (const auto& v : {to_payload(2), to_payload(std::string(300, 'x')), payload()}) {
    const payload frame = frame_of(yield{cid, v});
    const auto cut = cutter.cut(frame.bytes());
    ASSERT_TRUE(cut);
    EXPECT_EQ(frame.slice(*cut), v);
    EXPECT_EQ(cutter.cid(), cid);
  }
}

TEST(YieldCutter, LeavesEverythingElseToDecode) {
  yield_cutter cutter;
  const payload first = frame_of(yield{cid, to_payload(1)});
  cutter.learn(first.bytes(), std::get<yield>(decode(first)));
  EXPECT_FALSE(cutter.cut(frame_of(yield{"another", to_payload(1)}).bytes()));
  EXPECT_FALSE(cutter.cut(frame_of(stop{cid}).bytes()));
  const auto bytes = first.bytes();
  EXPECT_FALSE(cutter.cut(bytes.first(bytes.size() - 1))) << "no value";
  std::vector<std::byte> longer(bytes.begin(), bytes.end());
  longer.push_back(std::byte{1});
  EXPECT_FALSE(cutter.cut(longer)) << "something behind it";
  longer.back() = std::byte{0xa5};
  longer[bytes.size() - 1] = std::byte{0xc1};
  EXPECT_FALSE(cutter.cut(longer)) << "no msgpack";
}

TEST(YieldCutter, LearnsNothingIfTheValueIsNotTheLastKey) {
  msgpack::buffer out;
  msgpack::writer w(out);
  w.map(3);
  w.str("msg_type"), w.str("Yield"), w.str("pld"), w.integer(1), w.str("cid"), w.str(cid);
  const payload frame = payload::take(std::move(out));
  yield_cutter cutter;
  cutter.learn(frame.bytes(), std::get<yield>(decode(frame)));
  EXPECT_FALSE(cutter.cut(frame.bytes()));
}

}  // namespace
}  // namespace coppice::msg
