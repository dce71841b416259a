// SPDX-License-Identifier: Apache-2.0
#include "actor/runtime_vars.hpp"  // First: proves the header stands alone.

#include <gtest/gtest.h>

#include <string>

#include "coppice/kw.hpp"
#include "coppice/message.hpp"

namespace coppice::tree {
namespace {

const msg::wire_address registrar = msg::tcp_address{"127.0.0.1", 1616};
const msg::wire_address root = msg::uds_address{"/run", "root.sock"};
const ipc::address parent = ipc::address::tcp("127.0.0.1", 1);

}  // namespace

struct known_runtime_vars {  // Not in the anonymous namespace: its field names are read.
  bool _is_root = true;
  msg::wire_address _root_mailbox;
  std::vector<msg::wire_address> _root_addrs;
  std::vector<std::string> _enable_tpts;
  std::vector<msg::wire_address> _registry_addrs;
  bool _debug_mode = true;
  bool repl_fixture = true;
  bool use_greenback = true;
  bool use_stackscope = true;
  bool _is_infected_aio = true;
};

TEST(RuntimeVars, OfWhoWasToldNothingAreTheTenThatTractorReads) {
  const auto made = runtime_vars_for_child(to_kwargs(kw("level", 3)), {root}, {registrar}, parent);
  msgpack::reader r(made);
  EXPECT_EQ(r.map(), 11u);
  EXPECT_EQ(r.str(), "level");
  const auto read = from_payload<known_runtime_vars>(made);
  EXPECT_FALSE(read._is_root || read._debug_mode || read.repl_fixture || read.use_greenback ||
               read.use_stackscope || read._is_infected_aio);
  EXPECT_EQ(read._root_mailbox, root);
  EXPECT_EQ(read._root_addrs, std::vector{root});
  EXPECT_EQ(read._registry_addrs, std::vector{registrar});
  EXPECT_EQ(read._enable_tpts, std::vector<std::string>{"tcp"});
}

TEST(RuntimeVars, ThatItsParentWasToldAreHandedOnAsTheyAre) {
  const auto own =
      runtime_vars_for_child(to_kwargs(kw("use_greenback", true)), {root}, {registrar}, parent);
  EXPECT_EQ(runtime_vars_for_child(own, {registrar}, {root}, ipc::address(root)), own);
  EXPECT_TRUE(from_payload<known_runtime_vars>(own).use_greenback);
}

}  // namespace coppice::tree
