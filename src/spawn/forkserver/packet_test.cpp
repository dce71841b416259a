// SPDX-License-Identifier: Apache-2.0
#include "spawn/forkserver/packet.hpp"  // First: proves the header stands alone.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace coppice::spawn {
namespace {

packet of(std::size_t size) { return {std::vector<std::byte>(size, std::byte{7}), {}}; }

TEST(Packet, ComesAsItWasSentWithItsDescriptor) {
  auto [a, b] = packet_pair();
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const base::unique_fd out(ends[0]);
  packet sent = of(3);
  sent.fd.reset(ends[1]);
  ASSERT_EQ(send_packet(a.get(), sent), packet_outcome::done);
  packet got;
  ASSERT_EQ(receive_packet(b.get(), got), packet_outcome::done);
  EXPECT_EQ(got.bytes, sent.bytes);
  ASSERT_TRUE(got.fd);
  EXPECT_EQ(::fcntl(got.fd.get(), F_GETFD), FD_CLOEXEC);
  ASSERT_EQ(::write(got.fd.get(), "x", 1), 1);
  char c = 0;
  EXPECT_EQ(::read(out.get(), &c, 1), 1);
}

TEST(Packet, TheirBoundsAreKept) {
  auto [a, b] = packet_pair();
  ASSERT_EQ(send_packet(a.get(), of(1)), packet_outcome::done);
  ASSERT_EQ(send_packet(a.get(), of(packet_bytes_max)), packet_outcome::done);
  packet got;
  ASSERT_EQ(receive_packet(b.get(), got), packet_outcome::done);
  EXPECT_EQ(got.bytes.size(), 1u);
  EXPECT_FALSE(got.fd);
  ASSERT_EQ(receive_packet(b.get(), got), packet_outcome::done);
  EXPECT_EQ(got.bytes.size(), packet_bytes_max);
}

TEST(Packet, NothingBlocks) {
  auto [a, b] = packet_pair();
  packet got;
  EXPECT_EQ(receive_packet(b.get(), got), packet_outcome::later);
  int sent = 0;
  while (send_packet(a.get(), of(1000)) == packet_outcome::done && sent < 100'000) ++sent;
  EXPECT_LT(sent, 100'000);
  EXPECT_EQ(send_packet(a.get(), of(1000)), packet_outcome::later);
}

TEST(Packet, TheOtherSidesEndIsSeenByBoth) {
  auto [a, b] = packet_pair();
  b.reset();
  packet got;
  EXPECT_EQ(receive_packet(a.get(), got), packet_outcome::closed);
  EXPECT_EQ(send_packet(a.get(), of(1)), packet_outcome::closed);
}

TEST(Packet, WhatWasSentLastIsReadThoughTheSenderLeftItsOwnUnread) {
  auto [a, b] = packet_pair();
  ASSERT_EQ(send_packet(a.get(), of(1)), packet_outcome::done);
  ASSERT_EQ(send_packet(b.get(), of(2)), packet_outcome::done);
  b.reset();
  packet got;
  ASSERT_EQ(receive_packet(a.get(), got), packet_outcome::done);
  EXPECT_EQ(got.bytes.size(), 2u);
  EXPECT_EQ(receive_packet(a.get(), got), packet_outcome::closed);
}

TEST(Packet, WhatIsTooLargeTravelsInMemory) {
  std::vector<std::byte> much(3 << 20, std::byte{9});
  const auto fd = in_memory(much);
  EXPECT_EQ(from_memory(fd.get()), much);
  EXPECT_EQ(from_memory(fd.get()), much);  // Whoever reads does not move the other's place.
  EXPECT_TRUE(from_memory(in_memory({}).get()).empty());
}

}  // namespace
}  // namespace coppice::spawn
