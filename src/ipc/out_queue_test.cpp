// SPDX-License-Identifier: Apache-2.0
#include "ipc/out_queue.hpp"  // First: proves the header stands alone.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <random>
#include <string>

#include "coppice/errors.hpp"
#include "coppice/message.hpp"
#include "coppice/shared_buffer.hpp"
#include "ipc/link_test_kit.hpp"

namespace coppice::ipc {
namespace {

using test::bytes_of;

msg::message sized(std::size_t n) {
  return msg::returned{"cid", to_payload(std::string(n, static_cast<char>('a' + n % 26)))};
}

std::string parts_of(const out_queue& q, std::size_t most = 64) {
  std::vector<boost::asio::const_buffer> parts(most);
  const std::size_t n = q.gather(parts);
  std::string out;
  for (std::size_t i = 0; i < n; ++i)
    out.append(static_cast<const char*>(parts[i].data()), parts[i].size());
  return out;
}

TEST(OutQueue, BytesLeaveInTheOrderInWhichTheyCameHoweverTheyAreTaken) {
  std::mt19937 random(5);
  out_queue q;
  std::string wanted, got;
  const auto take = [&] {
    const std::string head = parts_of(q, 1 + random() % 4);
    const std::size_t n = head.empty() ? 0 : random() % (head.size() + 1);
    got += head.substr(0, n);
    q.pop(n);
  };
  for (int i = 0; i < 3000; ++i) {
    const std::size_t sizes[] = {0, random() % 100, random() % 3000,
                                 shared_payload_bytes_min + random() % 2000};
    const msg::message m = sized(sizes[random() % 4]);
    wanted += bytes_of(m);
    if (random() % 2) {
      q.push(msg::message(m), msg::dialect::coppice);
    } else {
      encoded frame;
      frame.body = encode_frame_shared(msg::message(m), frame.head, msg::dialect::coppice);
      q.push(std::move(frame));
    }
    EXPECT_EQ(q.size(), wanted.size() - got.size());
    if (random() % 3 != 0) take();
  }
  while (q.size() > 0) take();
  EXPECT_EQ(got, wanted);
  EXPECT_EQ(parts_of(q), "");
}

TEST(OutQueue, ValuesOfAStreamAreAYieldEachAndLargeOnesAreShared) {
  out_queue q;
  std::string wanted;
  const auto push = [&](std::vector<payload> values) {
    for (const auto& v : values) wanted += bytes_of(msg::yield{"cid", v});
    q.push_values("cid", std::move(values));
    EXPECT_EQ(q.size(), wanted.size());
  };
  push({});
  push({to_payload(1), to_payload(std::string("two")), to_payload(3)});
  const payload large = to_payload(std::string(shared_payload_bytes_min, 'x'));
  push({to_payload(4), large, to_payload(5)});
  EXPECT_EQ(parts_of(q), wanted);
  std::array<boost::asio::const_buffer, 8> parts;
  ASSERT_EQ(q.gather(parts), 3u);
  EXPECT_EQ(parts[1].data(), static_cast<const void*>(large.bytes().data()));
}

TEST(OutQueue, ALargePayloadThatEndsItsFrameIsNotCopied) {
  const payload large = to_payload(std::string(shared_payload_bytes_min, 'x'));
  for (msg::message m :
       {msg::message(msg::returned{"c", large}), msg::message(msg::yield{"c", large}),
        msg::message(msg::started{"c", large})}) {
    out_queue q;
    const std::string wanted = bytes_of(m);
    q.push(std::move(m), msg::dialect::coppice);
    std::array<boost::asio::const_buffer, 8> parts;
    ASSERT_EQ(q.gather(parts), 2u);
    EXPECT_EQ(parts[1].data(), large.bytes().data());
    EXPECT_EQ(parts_of(q), wanted);
  }
  out_queue q;
  q.push(msg::returned{"c", to_payload(std::string(100, 'x'))}, msg::dialect::coppice);
  std::array<boost::asio::const_buffer, 8> parts;
  EXPECT_EQ(q.gather(parts), 1u) << "a small one is not worth a buffer of its own";
}

TEST(OutQueue, BlocksOfAPayloadAreSharedWhereTheyBelong) {
  const shared_buffer block(std::vector<std::byte>(100'000));
  const msg::message m =
      msg::returned{"c", to_payload(std::vector<payload>{to_payload(block), to_payload(1)})};
  out_queue q;
  q.push(msg::message(m), msg::dialect::coppice);
  std::array<boost::asio::const_buffer, 8> parts;
  ASSERT_EQ(q.gather(parts), 3u);
  EXPECT_EQ(parts[1].data(), block.data());
  EXPECT_EQ(parts_of(q), bytes_of(m));
  EXPECT_EQ(q.size(), bytes_of(m).size());
  q.pop(q.size());
  EXPECT_EQ(parts_of(q), "");
}

TEST(OutQueue, WhatCannotBeEncodedLeavesItAsItWas) {
  out_queue q;
  q.push(sized(3), msg::dialect::coppice);
  const std::string before = parts_of(q);
  EXPECT_THROW(q.push(msg::stop{"\xff"}, msg::dialect::coppice), message_type_error);
  EXPECT_THROW(
      q.push(msg::returned{"\xff", to_payload(std::string(1 << 16, 'x'))}, msg::dialect::coppice),
      message_type_error);
  EXPECT_EQ(q.size(), before.size());
  EXPECT_EQ(parts_of(q), before);
  q.clear();
  EXPECT_EQ(q.size(), 0u);
}

}  // namespace
}  // namespace coppice::ipc
