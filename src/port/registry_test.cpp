// SPDX-License-Identifier: Apache-2.0
#include "port/registry.hpp"  // First: proves the header stands alone.

#include "port/port_test_kit.hpp"

namespace coppice::port {
namespace {

using test::link_to;
using test::uid_of;

msg::wire_address tcp(std::uint16_t port) { return msg::tcp_address{"127.0.0.1", port}; }
msg::wire_address uds(const std::string& file) { return msg::uds_address{"/run/x", file}; }
using list = registry::addresses;

struct Registry : testing::Test {
  registry_limits limits{.actors_max = 3,
                         .addresses_per_actor_max = 2,
                         .waiters_per_peer_max = 2,
                         .text_bytes_max = 40};
  registry table{limits};
  std::shared_ptr<test::fake_link> peer = link_to("peer"), other = link_to("other");

  static std::vector<std::string> cids(const std::vector<registry::waiter>& woken) {
    std::vector<std::string> out;
    for (const auto& w : woken) out.push_back(w.cid);
    return out;
  }
};

TEST_F(Registry, AnActorIsFoundByItsNameAndByItsUuidWithAllItsAddresses) {
  EXPECT_EQ(table.find_actor("a"), std::nullopt);
  table.register_actor(uid_of("a"), tcp(1));
  table.register_actor(uid_of("a"), uds("a.sock"));
  EXPECT_EQ(table.find_actor("a"), (list{tcp(1), uds("a.sock")}));
  EXPECT_EQ(table.find_actor("uuid-of-a"), (list{tcp(1), uds("a.sock")}));
  EXPECT_EQ(table.find_actor("uuid-of"), std::nullopt);
  table.register_actor(uid_of("a"), tcp(1));
  EXPECT_EQ(table.find_actor("a")->size(), 2u) << "twice the same is once";
}

TEST_F(Registry, OfSeveralWithOneNameTheLastIsFoundAndThenTheOneBefore) {
  table.register_actor({"a", "1"}, tcp(1));
  table.register_actor({"a", "2"}, tcp(2));
  EXPECT_EQ(table.find_actor("a"), list{tcp(2)});
  EXPECT_EQ(table.find_actor("1"), list{tcp(1)});
  table.unregister_actor({"a", "2"});
  EXPECT_EQ(table.find_actor("a"), list{tcp(1)});
  table.unregister_actor({"a", "2"});
  EXPECT_EQ(table.size(), 1u);
}

TEST_F(Registry, AnAddressIsTakenFromWhoeverHadIt) {
  table.register_actor(uid_of("a"), tcp(1));
  table.register_actor(uid_of("a"), tcp(2));
  table.register_actor(uid_of("b"), tcp(1));
  EXPECT_EQ(table.find_actor("a"), list{tcp(2)});
  table.register_actor(uid_of("b"), tcp(2));
  EXPECT_EQ(table.find_actor("a"), std::nullopt) << "who has no address is nobody";
  EXPECT_EQ(table.find_actor("b"), (list{tcp(1), tcp(2)}));
}

TEST_F(Registry, AllListsEverybodyInTheOrderOfRegistration) {
  table.register_actor({"z", "1"}, tcp(1));
  table.register_actor({"a", "2"}, uds("a.sock"));
  const auto all = table.all();
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0], std::pair(std::string("z.1"), list{tcp(1)}));
  EXPECT_EQ(all[1], std::pair(std::string("a.2"), list{uds("a.sock")}));
}

TEST_F(Registry, ADeletedAddressIsNamedWithItsOwnerAndTheLastOneTakesItAlong) {
  table.register_actor(uid_of("a"), tcp(1));
  table.register_actor(uid_of("a"), tcp(2));
  EXPECT_EQ(table.delete_addr(tcp(3)), std::nullopt);
  EXPECT_EQ(table.delete_addr(tcp(1)), uid_of("a"));
  EXPECT_EQ(table.delete_addr(tcp(1)), std::nullopt);
  EXPECT_EQ(table.find_actor("a"), list{tcp(2)});
  EXPECT_EQ(table.delete_addr(tcp(2)), uid_of("a"));
  EXPECT_EQ(table.find_actor("a"), std::nullopt);
  EXPECT_EQ(table.size(), 0u);
}

TEST_F(Registry, AddressesThatDifferOnlyInWhereTheyAreCutAreTwo) {
  table.register_actor(uid_of("a"), msg::uds_address{"/run/x", "y/z"});
  table.register_actor(uid_of("b"), msg::uds_address{"/run/x/y", "z"});
  table.register_actor(uid_of("c"), msg::tcp_address{"/run/x", 1});
  EXPECT_EQ(table.size(), 3u);
}

TEST_F(Registry, ARegistrationTellsThoseWhoWaitForItOnceAndNobodyElse) {
  table.wait_for({peer, "c1", "a"});
  table.wait_for({other, "c1", "b"});
  table.wait_for({peer, "c2", "uuid-of-a"});
  EXPECT_EQ(table.waiting(), 3u);
  EXPECT_EQ(cids(table.register_actor(uid_of("a"), tcp(1))),
            (std::vector<std::string>{"c1", "c2"}));
  EXPECT_EQ(table.waiting(), 1u);
  EXPECT_TRUE(table.register_actor(uid_of("a"), tcp(2)).empty());
}

TEST_F(Registry, AWithdrawnWaitIsNotTold) {
  table.wait_for({peer, "c1", "a"});
  EXPECT_FALSE(table.withdraw(peer.get(), "c2"));
  EXPECT_FALSE(table.withdraw(other.get(), "c1"));
  EXPECT_TRUE(table.withdraw(peer.get(), "c1"));
  EXPECT_FALSE(table.withdraw(peer.get(), "c1"));
  EXPECT_TRUE(table.register_actor(uid_of("a"), tcp(1)).empty());
}

TEST_F(Registry, ALinkThatClosesTakesItsWaitsAndWhatItHeld) {
  table.wait_for({peer, "c1", "late"});
  table.wait_for({peer, "c2", "late"});
  table.wait_for({other, "c1", "late"});
  table.register_actor(uid_of("held"), tcp(1), peer.get());
  table.register_actor(uid_of("free"), tcp(2));
  table.closed(peer.get());
  EXPECT_EQ(table.find_actor("held"), std::nullopt);
  EXPECT_EQ(table.find_actor("free"), list{tcp(2)});
  EXPECT_EQ(table.waiting(), 1u);
  table.closed(peer.get());
}

TEST_F(Registry, TheLastRegistrationDecidesWhoHoldsAnActor) {
  table.register_actor(uid_of("a"), tcp(1), peer.get());
  table.register_actor(uid_of("a"), tcp(1), other.get());
  table.closed(peer.get());
  EXPECT_TRUE(table.find_actor("a"));
  table.closed(other.get());
  EXPECT_FALSE(table.find_actor("a"));
}

TEST_F(Registry, AnActorListensAtMoreAddressesWithoutChangingWhoHoldsIt) {
  table.register_actor(uid_of("a"), in_process_address("u"), peer.get());
  table.add_address(in_process_address("u"), tcp(1));
  table.add_address(in_process_address("nobody"), tcp(2));
  EXPECT_EQ(table.find_actor("a"), (list{in_process_address("u"), tcp(1)}));
  EXPECT_EQ(table.size(), 1u);
  table.closed(peer.get());
  EXPECT_EQ(table.size(), 0u);
  EXPECT_EQ(table.delete_addr(tcp(1)), std::nullopt);
}

TEST_F(Registry, ActorsBeyondTheLimitAreRefusedAndThoseKnownAreNot) {
  for (const char* name : {"a", "b", "c"})
    table.register_actor(uid_of(name), uds(std::string(name) + ".sock"));
  EXPECT_THROW(table.register_actor(uid_of("d"), tcp(1)), limit_exceeded);
  table.register_actor(uid_of("a"), tcp(1));
  table.unregister_actor(uid_of("b"));
  table.register_actor(uid_of("d"), tcp(2));
  EXPECT_EQ(table.size(), 3u);
}

TEST_F(Registry, AddressesBeyondTheLimitOfAnActorAreRefused) {
  table.register_actor(uid_of("a"), tcp(1));
  table.register_actor(uid_of("a"), tcp(2));
  EXPECT_THROW(table.register_actor(uid_of("a"), tcp(3)), limit_exceeded);
  EXPECT_EQ(table.find_actor("a"), (list{tcp(1), tcp(2)}));
  EXPECT_EQ(table.delete_addr(tcp(3)), std::nullopt);
}

TEST_F(Registry, WaitersBeyondTheLimitOfAPeerAreRefused) {
  table.wait_for({peer, "c1", "a"});
  table.wait_for({peer, "c2", "b"});
  EXPECT_THROW(table.wait_for({peer, "c3", "c"}), limit_exceeded);
  table.wait_for({other, "c1", "a"});
  table.register_actor(uid_of("a"), tcp(1));
  table.wait_for({peer, "c3", "c"});
  EXPECT_EQ(table.waiting(), 2u);
}

TEST_F(Registry, TextsBeyondTheLimitAreRefused) {
  const std::string fits(40, 'x'), longer(41, 'x');
  table.register_actor({fits, "u"}, tcp(1));
  EXPECT_THROW(table.register_actor({longer, "u"}, tcp(1)), limit_exceeded);
  EXPECT_THROW(table.register_actor({"a", longer}, tcp(1)), limit_exceeded);
  EXPECT_THROW(table.register_actor({"a", "u"}, msg::tcp_address{longer, 1}), limit_exceeded);
  EXPECT_THROW(table.register_actor({"a", "u"}, uds(longer)), limit_exceeded);
  EXPECT_THROW(table.wait_for({peer, "c1", longer}), limit_exceeded);
  EXPECT_EQ(table.size(), 1u);
}

TEST_F(Registry, DescribesWhoWaitsForWhom) {
  table.register_actor(uid_of("a"), tcp(1));
  table.wait_for({peer, "c1", "b"});
  base::tree_writer w;
  table.describe(w);
  EXPECT_NE(w.text().find("registrar of 1 actors"), std::string::npos) << w.text();
  EXPECT_NE(w.text().find("'peer' waits for actor 'b'"), std::string::npos) << w.text();
}

}  // namespace
}  // namespace coppice::port
