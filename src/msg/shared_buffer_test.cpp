// SPDX-License-Identifier: Apache-2.0
#include "coppice/shared_buffer.hpp"  // First: proves the header stands alone.

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "coppice/kw.hpp"
#include "coppice/message.hpp"
#include "coppice/value.hpp"
#include "msg/messages.hpp"
#include "msg/test_bytes.hpp"
#include "msg/yields.hpp"

namespace coppice {

struct two {
  shared_buffer first;
  int number = 0;
  shared_buffer second;
  std::string name;
};

namespace {

constexpr std::size_t large = 100'000;

shared_buffer a_block(std::size_t size = large, std::byte fill = std::byte{7}) {
  return shared_buffer(std::vector<std::byte>(size, fill));
}

TEST(SharedBuffer, TakesAVectorWithoutACopy) {
  std::vector<std::byte> bytes(large);
  const std::byte* const there = bytes.data();
  const shared_buffer b(std::move(bytes));
  const shared_buffer same = b;
  EXPECT_EQ(b.data(), there);
  EXPECT_EQ(same.data(), there);
  EXPECT_EQ(b.size(), large);
  EXPECT_EQ(b, same);
  EXPECT_TRUE(shared_buffer().empty());
}

TEST(SharedBuffer, ALargeOneIsNotCopiedOnItsWayWhereverItStands) {
  const shared_buffer b = a_block();
  const payload whole = to_payload(b);
  EXPECT_EQ(whole.bytes().size(), 5u);
  EXPECT_EQ(whole.size(), large + 5);
  EXPECT_EQ(from_payload<shared_buffer>(whole).data(), b.data());
  const shared_buffer other = a_block(large + 1);
  const auto got = from_payload<two>(to_payload(two{b, 7, other, "oak"}));
  EXPECT_EQ(got.first.data(), b.data());
  EXPECT_EQ(got.second.data(), other.data());
  EXPECT_EQ(got.number, 7);
  EXPECT_EQ(got.name, "oak");
}

TEST(SharedBuffer, ItStaysApartInAPayloadThatIsCutFromABuffer) {
  const shared_buffer b = a_block();
  msgpack::buffer out(64);
  out.keep_blocks();
  msgpack::writer w(out);
  codec<shared_buffer>::encode(w, b);
  const payload cut = payload::cut(out);
  EXPECT_FALSE(out.has_blocks());
  EXPECT_TRUE(out.empty());
  EXPECT_EQ(from_payload<shared_buffer>(cut).data(), b.data());
}

TEST(SharedBuffer, WhoPassesAValueOnUndecodedDoesNotCopyItEither) {
  const shared_buffer first = a_block(), second = a_block(large + 1);
  const payload three =
      to_payload(std::vector<payload>{to_payload(first), to_payload(1), to_payload(second)});
  const auto parts = from_payload<std::vector<payload>>(three);
  ASSERT_EQ(parts.size(), 3u);
  EXPECT_EQ(from_payload<shared_buffer>(parts[0]).data(), first.data());
  EXPECT_FALSE(parts[1].has_blocks());
  EXPECT_EQ(from_payload<int>(parts[1]), 1);
  EXPECT_EQ(from_payload<shared_buffer>(parts[2]).data(), second.data());
  const payload again = to_payload(std::vector<payload>{payload(), three});
  EXPECT_EQ(from_payload<std::vector<payload>>(again)[1], three);
}

TEST(SharedBuffer, ItLivesAsLongAsWhoeverReceivedItKeepsIt) {
  shared_buffer got;
  {
    const payload sent = to_payload(a_block());
    got = from_payload<shared_buffer>(sent);
  }
  EXPECT_EQ(got, a_block());
}

TEST(SharedBuffer, ASmallOneIsCopiedAndArrivesAllTheSame) {
  constexpr std::size_t smallest = msgpack::writer::block_bytes_min;
  EXPECT_TRUE(to_payload(a_block(smallest)).has_blocks());
  const payload small = to_payload(a_block(smallest - 1));
  EXPECT_FALSE(small.has_blocks());
  EXPECT_EQ(from_payload<shared_buffer>(small), a_block(smallest - 1));
  msgpack::reader r(small.bytes());  // Bytes that nobody keeps: a copy.
  const shared_buffer copy = codec<shared_buffer>::decode(r);
  EXPECT_EQ(copy, a_block(smallest - 1));
  EXPECT_NE(copy.data(), from_payload<shared_buffer>(small).data());
}

TEST(SharedBuffer, BytesOfAnyKindAreKeptByTheirOwner) {
  auto owner = std::make_shared<std::vector<std::byte>>(large);
  const std::weak_ptr<const void> watched = owner;
  const std::span<const std::byte> part = std::span(*owner).subspan(10);
  shared_buffer b(std::exchange(owner, nullptr), part);
  const payload sent = to_payload(std::exchange(b, {}));
  EXPECT_EQ(from_payload<shared_buffer>(sent).data(), part.data());
  EXPECT_FALSE(watched.expired());
  // Those that nobody owns may be copied.
  EXPECT_FALSE(to_payload(shared_buffer(nullptr, part)).has_blocks());
}

TEST(SharedBuffer, BeyondWhatMsgpackCountsItCannotTravel) {
  const std::byte one{};
  const std::span<const std::byte> claimed(&one, std::size_t{1} << 32);  // Never looked at.
  const shared_buffer b(std::make_shared<int>(), claimed);
  EXPECT_THROW(to_payload(b), limit_exceeded);
}

TEST(SharedBuffer, OthersMayViewAndSkipIt) {
  const shared_buffer b = a_block();
  const payload sent = to_payload(two{b, 7, b, "oak"});
  struct some {
    std::string name;
  };
  EXPECT_EQ(from_payload<some>(sent).name, "oak");
  const payload alone = to_payload(b);
  EXPECT_EQ(from_payload<std::span<const std::byte>>(alone).data(), b.data());
  EXPECT_EQ(msgpack::reader(alone).peek(), msgpack::kind::bin);
}

TEST(SharedBuffer, TravelsAsBinLikeAVectorOfBytes) {
  const payload b = to_payload(a_block());
  EXPECT_EQ(b, to_payload(std::vector<std::byte>(large, std::byte{7})));
  EXPECT_FALSE(b == to_payload(a_block(large, std::byte{8})));
  EXPECT_FALSE(b.flat().has_blocks());
  EXPECT_EQ(msg::hex(b.flat().bytes().first(6)), "c6000186a007");
  EXPECT_EQ(from_payload<std::vector<std::byte>>(b), std::vector<std::byte>(large, std::byte{7}));
  EXPECT_EQ(from_payload<shared_buffer>(to_payload(std::vector<std::byte>(3))).size(), 3u);
}

TEST(SharedBuffer, OnASocketItIsOneRunOfBytes) {
  const msg::returned m{"c", to_payload(two{a_block(), 7, a_block(), "oak"})};
  msgpack::buffer out;
  msg::encode(m, out);
  EXPECT_FALSE(out.has_blocks());
  const auto back = std::get<msg::returned>(msg::decode(payload::copy_of(out.bytes())));
  EXPECT_EQ(back.pld, m.pld);
  EXPECT_EQ(from_payload<two>(back.pld).second, a_block());
}

TEST(SharedBuffer, ManyValuesOfAStreamOnASocketAreRunsOfBytesToo) {
  const payload values[] = {to_payload(1), to_payload(a_block()), to_payload(2),
                            to_payload(a_block())};
  msgpack::buffer together, apart;
  msg::encode_yields("c", values, together);
  for (const payload& v : values) msg::encode_frame(msg::yield{"c", v}, apart);
  EXPECT_TRUE(std::ranges::equal(together.bytes(), apart.bytes()));
}

TEST(SharedBuffer, BytesWithoutTheirBlocksAreCutShort) {
  const payload good = to_payload(a_block());
  EXPECT_THROW(from_payload<shared_buffer>(payload::copy_of(good.bytes())), protocol_error);
}

TEST(SharedBuffer, AnUndecodedValueSaysAsMuchAsItsBeginning) {
  EXPECT_EQ(value(to_payload(a_block())).text(20).substr(0, 2), "b'");
}

TEST(SharedBuffer, AnEncodersBufferDropsABlockWithItsHeader) {
  msgpack::buffer out;
  out.keep_blocks();
  msgpack::writer w(out);
  w.nil();
  w.bin(a_block().owned());
  const std::size_t first = out.size();
  w.bin(a_block().owned());
  out.truncate(first);
  EXPECT_EQ(payload::take(std::move(out)).blocks().size(), 1u);

  msgpack::buffer none;
  none.keep_blocks();
  msgpack::writer(none).bin(a_block().owned());
  none.clear();
  EXPECT_FALSE(none.has_blocks());
}

}  // namespace
}  // namespace coppice
