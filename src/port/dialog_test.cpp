// SPDX-License-Identifier: Apache-2.0
#include "port/dialog.hpp"  // First: proves the header stands alone.

#include <gtest/gtest.h>

#include "port/port_test_kit.hpp"

namespace coppice::port {
namespace {

using arrival = dialog::arrival;
using kind = taken::kind;

payload text(const std::string& s) { return to_payload(s); }

class DialogTest : public testing::Test {
 protected:
  static dialog make(stream_window window) { return {test::link_to("peer"), "c", false, window}; }
  static std::string value_of(taken t) {
    return t.what == kind::value ? from_payload<std::string>(t.value) : "";
  }
  static int fill(dialog& d) {  // How many are taken in.
    int n = 0;
    while (d.arrived(text(std::to_string(n))) == arrival::kept) ++n;
    return n;
  }
  /// Sends as long as it may.
  static int drain(dialog& d) {
    int n = 0;
    for (; n < 10'000 && d.may_send(); ++n) d.sent(10);
    return n;
  }
};

TEST_F(DialogTest, ValuesAreTakenInTheOrderInWhichTheyCameAndThenNothing) {
  dialog d = make({});
  EXPECT_FALSE(d.readable());
  EXPECT_EQ(d.arrived(text("a")), arrival::kept);
  EXPECT_EQ(d.arrived(text("b")), arrival::kept);
  EXPECT_TRUE(d.readable());
  EXPECT_EQ(value_of(d.take()), "a");
  EXPECT_EQ(value_of(d.take()), "b");
  EXPECT_EQ(d.take().what, kind::nothing);
  EXPECT_EQ(d.kept_bytes(), 0u);
}

TEST_F(DialogTest, WhatLiesHereCanBeTakenAfterTheEndWhichIsSticky) {
  for (int how : {0, 1}) {
    dialog d = make({});
    d.arrived(text("a"));
    how == 0 ? d.peer_stopped() : d.end();
    EXPECT_EQ(d.arrived(text("late")), arrival::late);
    EXPECT_EQ(value_of(d.take()), "a");
    EXPECT_EQ(d.take().what, kind::end);
    EXPECT_EQ(d.take().what, kind::end);
  }
}

TEST_F(DialogTest, WithoutCreditTheValueBeyondTheWindowIsAnOverrun) {
  dialog d = make({.messages = 3});
  EXPECT_EQ(fill(d), 3);
  EXPECT_EQ(value_of(d.take()), "0");
  EXPECT_EQ(d.arrived(text("x")), arrival::kept) << "one was taken";
  EXPECT_EQ(d.arrived(text("y")), arrival::overrun);
}

TEST_F(DialogTest, WithoutCreditBytesAreBoundedTooButOneValueFitsAlways) {
  dialog d = make({.messages = 64, .bytes = 100});
  EXPECT_EQ(d.arrived(text(std::string(1000, 'x'))), arrival::kept);
  EXPECT_EQ(d.arrived(text("y")), arrival::overrun);
}

TEST_F(DialogTest, WhereOverrunsAreAllowedTheOldestOfTheOverflowMakesRoom) {
  dialog d = make({.messages = 2});
  d.open({.messages = 2}, true);
  const int all = 2 + static_cast<int>(dialog::overflow_max) + 3;
  for (int i = 0; i < all; ++i) ASSERT_EQ(d.arrived(text(std::to_string(i))), arrival::kept);
  EXPECT_EQ(value_of(d.take()), "0");
  EXPECT_EQ(value_of(d.take()), "1");
  EXPECT_EQ(value_of(d.take()), "5") << "2, 3 and 4 made room";
}

TEST_F(DialogTest, WithCreditASenderSendsWhatItWasGivenAndGoesOnWithMore) {
  dialog d = make({});
  EXPECT_EQ(drain(d), 10'000) << "no credit is known: nothing holds it up";
  d.peer_gives({.messages = 5, .bytes = 1000});
  EXPECT_EQ(drain(d), 5);
  EXPECT_TRUE(d.credited({"c", 2, 20})) << "somebody waited";
  EXPECT_FALSE(d.credited({"c", 1, 10})) << "nobody waits any more";
  EXPECT_EQ(drain(d), 3);
}

TEST_F(DialogTest, CreditOfBytesHoldsUpASenderButLetsOneLargeValueThrough) {
  dialog d = make({});
  d.peer_gives({.messages = 100, .bytes = 25});
  EXPECT_EQ(drain(d), 3);
  EXPECT_FALSE(d.credited({"c", 3, 5})) << "as many bytes as were too many";
  EXPECT_TRUE(d.credited({"c", 0, 1}));
}

TEST_F(DialogTest, CreditComesBackWhenHalfOfTheWindowWasTaken) {
  dialog d = make({.messages = 8});
  d.peer_gives({64, 1 << 20});
  EXPECT_EQ(d.open({.messages = 8}, false)->n, 0u) << "it tells that the stream is read";
  EXPECT_EQ(fill(d), 8) << "not one more than was given";
  for (int i = 0; i < 3; ++i) {
    d.take();
    EXPECT_FALSE(d.owes_credit()) << i;
  }
  d.take();
  ASSERT_TRUE(d.owes_credit());
  const auto due = d.grant();
  EXPECT_EQ(due.n, 4u);
  EXPECT_EQ(due.bytes, 8u);
  EXPECT_FALSE(d.owes_credit());
  EXPECT_EQ(fill(d), 4);
}

TEST_F(DialogTest, OpeningAStreamGivesTheRestOfALargerWindowAndNothingOfASmallerOne) {
  dialog more = make({.messages = 4});
  more.peer_gives({64, 1 << 20});
  more.arrived(text("a"));
  EXPECT_EQ(more.open({.messages = 10}, false)->n, 6u);
  dialog less = make({.messages = 4});
  less.peer_gives({64, 1 << 20});
  EXPECT_EQ(fill(less), 4);
  EXPECT_EQ(less.open({.messages = 1}, false)->n, 0u);
  for (int i = 0; i < 3; ++i) {
    less.take();
    EXPECT_FALSE(less.owes_credit()) << "more than the window lay here";
  }
  less.take();
  EXPECT_TRUE(less.owes_credit());
  EXPECT_EQ(less.grant().n, 1u);
}

TEST_F(DialogTest, BeforeItIsOpenedNothingIsGivenAndThePeerIsKnownNotToRead) {
  dialog d = make({.messages = 2});
  EXPECT_TRUE(d.peer_opened()) << "one that knows no credit cannot tell";
  d.peer_gives({64, 1 << 20});
  EXPECT_FALSE(d.peer_opened());
  d.arrived(text("a"));
  d.take();
  EXPECT_FALSE(d.owes_credit());
  d.credited({"c", 0, 0});
  EXPECT_TRUE(d.peer_opened());
}

TEST_F(DialogTest, CreditThatNobodyCanHaveDoesNotOverflow) {
  dialog d = make({});
  d.peer_gives({~0u, ~0ull});
  for (int i = 0; i < 100; ++i) d.credited({"c", ~0u, ~0ull});
  EXPECT_TRUE(d.may_send());
}

}  // namespace
}  // namespace coppice::port
