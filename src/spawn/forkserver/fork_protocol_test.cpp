// SPDX-License-Identifier: Apache-2.0
#include "spawn/forkserver/fork_protocol.hpp"  // First: proves the header stands alone.

#include <gtest/gtest.h>

namespace coppice::spawn {
namespace {

TEST(ForkProtocol, AnOrderArrivesWhole) {
  fork_order in;
  in.number = 0xffff'ffff'ffffull;
  in.uid = "('kid', 'u-1')";
  in.parent_address = "('/run', 'p.sock')";
  in.cwd = "/tmp/\xff";  // A path need not be UTF-8.
  in.environment = {"A=1",
                    "EMPTY=", "ODD=\xfe\n=", std::string("LONG=") + std::string(1 << 20, 'x')};
  in.in_guest = true;
  const auto out = order_in(pack(in));
  ASSERT_TRUE(out);
  EXPECT_EQ(out->number, in.number);
  EXPECT_EQ(out->uid, in.uid);
  EXPECT_EQ(out->parent_address, in.parent_address);
  EXPECT_EQ(out->cwd, in.cwd);
  EXPECT_EQ(out->environment, in.environment);
  EXPECT_TRUE(out->in_guest);
  EXPECT_FALSE(out->shared_gil);
}

TEST(ForkProtocol, WhatIsNoOrderIsNone) {
  EXPECT_FALSE(order_in(packet{}));
  packet no_body;
  no_body.bytes = {std::byte{'o'}};
  EXPECT_FALSE(order_in(no_body));
  for (const char* text : {"", "1", "x", "1\0a\0b\0"}) {
    packet p;
    p.bytes = {std::byte{'o'}};
    const std::string_view all(text);
    std::vector<std::byte> body;
    for (const char c : all) body.push_back(static_cast<std::byte>(c));
    p.fd = in_memory(body);
    EXPECT_FALSE(order_in(p)) << text;
  }
}

TEST(ForkProtocol, AnAnswerArrivesWhole) {
  zygote_answer in{.news = zygote_news::ended, .number = 7, .pid = 4711, .code = 2, .status = 9};
  in.text = "grün";
  const auto out = answer_in(pack(in));
  ASSERT_TRUE(out);
  EXPECT_EQ(out->news, zygote_news::ended);
  EXPECT_EQ(out->number, 7u);
  EXPECT_EQ(out->pid, 4711);
  EXPECT_EQ(out->code, 2);
  EXPECT_EQ(out->status, 9);
  EXPECT_EQ(out->text, "grün");
}

TEST(ForkProtocol, ALongTextIsCutBetweenCharacters) {
  zygote_answer in;
  for (int i = 0; i < 20'000; ++i) in.text += "ü";
  const packet p = pack(in);
  EXPECT_LT(p.bytes.size(), packet_bytes_max);
  const auto out = answer_in(p);
  ASSERT_TRUE(out);
  EXPECT_TRUE(in.text.starts_with(out->text));
  EXPECT_GT(out->text.size(), 1000u);
}

TEST(ForkProtocol, WhatIsNoAnswerIsNone) {
  EXPECT_FALSE(answer_in(packet{}));
  packet p;
  p.bytes = {std::byte{'o'}};
  EXPECT_FALSE(answer_in(p));
}

}  // namespace
}  // namespace coppice::spawn
