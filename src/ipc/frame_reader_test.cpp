// SPDX-License-Identifier: Apache-2.0
#include "ipc/frame_reader.hpp"  // First: proves the header stands alone.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <set>
#include <string>

#include "coppice/errors.hpp"
#include "ipc/link_test_kit.hpp"

namespace coppice::ipc {
namespace {

using test::frame_of;

std::string text_of(const payload& p) {
  return {reinterpret_cast<const char*>(p.bytes().data()), p.size()};
}

// Gives it at most `most` bytes, as a socket would; what was taken.
std::size_t feed(frame_reader& in, std::string_view bytes, std::size_t most = 1 << 30) {
  const auto room = in.room();
  EXPECT_FALSE(room.empty());
  const std::size_t n = std::min({room.size(), bytes.size(), most});
  std::memcpy(room.data(), bytes.data(), n);
  EXPECT_EQ(in.arrived(n), n == room.size());
  return n;
}

std::vector<std::string> cut(frame_reader& in, std::string_view bytes, std::size_t most) {
  std::vector<std::string> out;
  while (!bytes.empty()) {
    bytes.remove_prefix(feed(in, bytes, most));
    while (auto frame = in.next(false)) out.push_back(text_of(in.keep(*frame)));
  }
  return out;
}

TEST(FrameReader, CutsFramesOfAnySizeInPiecesOfAnySize) {
  std::mt19937 random(11);
  for (const std::size_t most : {1u, 7u, 1000u, 65536u, 1u << 20}) {
    std::vector<std::string> wanted;
    std::string bytes;
    const std::size_t enough = most == 1 ? 20'000 : 6'000'000;
    while (bytes.size() < enough) {
      const std::size_t sizes[] = {0, 1, random() % 300, random() % 70'000, random() % 900'000};
      const std::size_t n = sizes[random() % (most == 1 ? 3 : 5)];
      wanted.push_back(std::string(n, static_cast<char>('a' + wanted.size() % 26)));
      bytes += frame_of(wanted.back());
    }
    frame_reader in{limits{}};
    EXPECT_EQ(cut(in, bytes, most), wanted) << most;
    EXPECT_FALSE(in.partial());
  }
}

TEST(FrameReader, FramesThatAreKeptStayAsTheyCame) {
  std::mt19937 random(12);
  frame_reader in{limits{}};
  std::vector<std::pair<payload, std::string>> kept;
  for (int i = 0; i < 3000; ++i) {
    const std::string body(random() % 4000, static_cast<char>(i));
    const std::string bytes = frame_of(body);
    for (std::string_view rest = bytes; !rest.empty();) rest.remove_prefix(feed(in, rest));
    const auto frame = in.next(false);
    ASSERT_TRUE(frame);
    if (i % 3 != 0) kept.emplace_back(in.keep(*frame), body);
    if (i % 100 == 0) kept.clear();
  }
  for (const auto& [frame, body] : kept) EXPECT_EQ(text_of(frame), body);
}

TEST(FrameReader, ALengthThatIsOnlyClaimedCostsNoMemory) {
  frame_reader in{limits{}};
  EXPECT_EQ(feed(in, std::string("\0\0\0\x10", 4)), 4u);  // 256 MiB, it says.
  EXPECT_FALSE(in.next(false));
  EXPECT_TRUE(in.partial());
  EXPECT_EQ(in.partial_bytes(), 256u << 20);
  EXPECT_LE(in.room().size(), 1u << 20);
}

TEST(FrameReader, AFrameBeyondALimitIsSaid) {
  limits bounds;
  bounds.frame_bytes_max = 100;
  bounds.aid_bytes_max = 10;
  const auto refusal = [&](std::size_t size, bool first) -> std::string {
    frame_reader in{bounds};
    feed(in, frame_of(std::string(size, 'x')).substr(0, 4));
    try {
      EXPECT_FALSE(in.next(first));
      return "";
    } catch (const limit_exceeded& e) {
      return e.what();
    }
  };
  EXPECT_EQ(refusal(100, false), "");
  EXPECT_EQ(refusal(101, false), "a frame of 101 bytes; frame_bytes_max is 100");
  EXPECT_EQ(refusal(10, true), "");
  EXPECT_EQ(refusal(11, true), "a first frame of 11 bytes; aid_bytes_max is 10");
}

TEST(FrameReader, ABusyConnectionGetsLargerReadsAndAnIdleOneSmallOnesAgain) {
  frame_reader in{limits{}};
  const std::size_t small = in.room().size();
  const std::string frame = frame_of(std::string(small * 3, 'x'));
  cut(in, frame + frame + frame, 1 << 30);
  EXPECT_GT(in.room().size(), small);
  cut(in, frame_of("x"), 1 << 30);
  EXPECT_GT(in.room().size(), small) << "one small read is no idleness";
  for (int i = 0; i < 100; ++i) cut(in, frame_of("x"), 1 << 30);
  EXPECT_EQ(in.room().size(), small);
}

TEST(FrameReader, ABusyOneUsesItsChunksAgainOnceNobodyHoldsThem) {
  frame_reader in{limits{}};
  const std::string frame = frame_of(std::string(200'000, 'x'));
  std::set<const std::byte*> chunks;
  for (int i = 0; i < 200; ++i) {
    std::optional<payload> held;  // Until the next has come.
    for (std::string_view rest = frame; !rest.empty();) {
      chunks.insert(in.room().data());
      rest.remove_prefix(feed(in, rest));
      if (auto one = in.next(false)) held = in.keep(*one);
    }
    EXPECT_TRUE(held);
  }
  EXPECT_LT(chunks.size(), 120u) << "a new chunk for each frame would be 200 places and more";
}

}  // namespace
}  // namespace coppice::ipc
