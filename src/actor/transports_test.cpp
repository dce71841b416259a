// SPDX-License-Identifier: Apache-2.0
#include "coppice/transports.hpp"  // First: proves the header stands alone.

#include <gtest/gtest.h>

#include "actor/process_runtime.hpp"
#include "coppice/errors.hpp"

namespace coppice::tree {
namespace {

using namespace std::chrono_literals;

TEST(Transports, NothingSaidIsUnixSocketsForThisUserAndNothingBeyondLoopback) {
  process_options o;
  o.use({});
  EXPECT_EQ(o.transport, ipc::transport::uds);
  EXPECT_EQ(o.limits.peer_silence_max, 10s);
  EXPECT_EQ(o.transports.insecure_tcp, ipc::permission::refuse);
  EXPECT_EQ(o.transports.other_users, ipc::permission::refuse);
  EXPECT_EQ(o.transports.tls, nullptr);
}

TEST(Transports, WhatAProgramSaysReachesItsConnections) {
  process_options o;
  o.use({.enable = {"tcp"},
         .peer_silence_max = 2s,
         .insecure_tcp = permission::allow,
         .other_users = permission::allow});
  EXPECT_EQ(o.transport, ipc::transport::tcp);
  EXPECT_EQ(o.limits.peer_silence_max, 2s);
  EXPECT_EQ(o.transports.insecure_tcp, ipc::permission::allow);
  EXPECT_EQ(o.transports.other_users, ipc::permission::allow);
}

TEST(Transports, WhatCannotBeIsAnError) {
  process_options o;
  EXPECT_THROW(o.use({.enable = {"carrier pigeon"}}), error);
  EXPECT_THROW(o.use({.tls = {.ca_file = "/no/such/file.pem"}}), error);
}

}  // namespace
}  // namespace coppice::tree
