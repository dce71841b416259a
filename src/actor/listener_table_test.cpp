// SPDX-License-Identifier: Apache-2.0
#include "actor/listener_table.hpp"  // First: proves the header stands alone.

#include <gtest/gtest.h>

#include "base/thread.hpp"
#include "coppice/errors.hpp"
#include "ipc/link_test_kit.hpp"
#include "port/guest_port.hpp"

namespace coppice::tree {
namespace {

using namespace std::chrono_literals;
using ipc::address;
using ipc::transport;
using ipc::test::aid;

class ListenerTable : public testing::Test {
 protected:
  template <class Body>
  void run(Body body) {
    auto whole = [&]() -> task<> {
      co_await body();
      table.ended(port->self().uuid);
      table.close();
    };
    loop->run(whole());
    port->close("the test is over");
  }
  listener_table::bind_done note() {
    return [this](std::exception_ptr e, std::vector<address> at) {
      ++told;
      failure = e ? describe_exception(e) : "";
      got = std::move(at);
    };
  }
  std::vector<address> open_now() { return table.addresses_of(port->self().uuid); }

  ipc::test::own_runtime_directory own;
  std::shared_ptr<core::loop> loop = std::make_shared<core::loop>();
  listener_table table{loop, {}, {}};
  std::shared_ptr<port::guest_port> port =
      std::make_shared<port::guest_port>(aid("actor"), port::table_limits{});
  int told = 0;
  std::string failure;
  std::vector<address> got;
};

TEST_F(ListenerTable, AnActorListensOnSeveralTransportsAtOnce) {
  run([&]() -> task<> {
    EXPECT_TRUE(open_now().empty());
    const auto file = address::uds(ipc::runtime_directory(), "mine.sock");
    table.bind(port, {file, address::tcp("127.0.0.1", 0), address::tcp("::1", 0)}, note());
    EXPECT_EQ(told, 1);
    EXPECT_EQ(failure, "");
    EXPECT_EQ(got.size(), 3u);
    EXPECT_EQ(got[0], file);
    EXPECT_NE(got[1].as_tcp()->port, 0);
    EXPECT_NE(got[1], got[2]);
    EXPECT_EQ(open_now(), got);
    for (const auto& at : got) EXPECT_EQ(table.uuid_at(at.wire()), port->self().uuid);
    EXPECT_EQ(table.uuid_at(msg::tcp_address{"127.0.0.1", 0}), std::nullopt);
    for (const auto& at : got) EXPECT_GE(ipc::test::raw_peer::connect(at).fd(), 0) << at.describe();
    co_return;
  });
  EXPECT_TRUE(open_now().empty());
}

TEST_F(ListenerTable, ItListensAtAllOfThemOrAtNone) {
  run([&]() -> task<> {
    const auto file = address::uds(ipc::runtime_directory(), "mine.sock");
    table.bind(port, {file, address::tcp("192.0.2.1", 0)}, note());
    EXPECT_EQ(told, 1);
    EXPECT_NE(failure.find("cannot listen on 192.0.2.1:0"), std::string::npos) << failure;
    EXPECT_TRUE(got.empty());
    EXPECT_TRUE(open_now().empty());
    EXPECT_LT(ipc::test::raw_peer::connect(file).fd(), 0);
    co_return;
  });
}

TEST_F(ListenerTable, ChildrenGetAnAddressOfTheirTransportAndAllOfThemTheSame) {
  run([&]() -> task<> {
    table.bind(port, {address::tcp("127.0.0.1", 0)}, note());
    const auto bound = got[0];
    table.reach(port, transport::tcp, note());
    const auto tcp = got.at(0);
    EXPECT_EQ(tcp.kind(), transport::tcp);
    EXPECT_NE(tcp, bound) << "that one may want certificates";
    table.reach(port, transport::uds, note());
    EXPECT_EQ(got.at(0), ipc::socket_address("actor", "uuid-of-actor", false));
    const auto uds = got[0];
    table.reach(port, transport::uds, note());
    EXPECT_EQ(got, std::vector<address>{uds});
    table.reach(port, transport::tcp, note());
    EXPECT_EQ(got, std::vector<address>{tcp});
    EXPECT_EQ(open_now(), (std::vector<address>{bound, tcp, uds}));
    EXPECT_EQ(told, 5);
    co_return;
  });
}

// A port whose actor has a loop of its own, which the test does not run.
struct elsewhere final : port::actor_port {
  explicit elsewhere(std::shared_ptr<core::loop> on) : actor_port(aid("native")), loop(on) {}
  void adopt(const std::string&, port::child_watch) override {}
  void request(ipc::link_ptr, std::string, std::string, payload, port::reply_handler) override {}
  void child_changed(port::child_changed) override {}
  void cancel(std::string) override {}
  void close(std::string) override {}
  void describe(base::tree_writer&) override {}
  void on_connected(const ipc::link_ptr&) override {}
  void on_message(const ipc::link_ptr&, msg::message&&, ipc::urgency) override {}
  void on_closed(const ipc::link_ptr&, const std::string&) override {}
  std::shared_ptr<core::loop> own_loop() const override { return loop; }
  void listens(std::shared_ptr<ipc::listener> l) override { mine.push_back(std::move(l)); }
  std::shared_ptr<core::loop> loop;
  std::vector<std::shared_ptr<ipc::listener>> mine;
};

TEST_F(ListenerTable, AnActorThatEndsMeanwhileIsAnErrorForWhoWaits) {
  run([&]() -> task<> {
    auto other = std::make_shared<core::loop>();
    auto native = std::make_shared<elsewhere>(other);
    table.reach(native, transport::uds, note());
    table.reach(native, transport::uds, note());
    table.bind(native, {address::tcp("127.0.0.1", 0)}, note());
    EXPECT_EQ(told, 0) << "its loop does not run";
    table.ended(native->self().uuid);
    EXPECT_EQ(told, 3);
    EXPECT_NE(failure.find("has ended"), std::string::npos) << failure;
    // Nobody is left to close what its loop opens now but the actor.
    base::os_thread runs("other", [&] {
      other->run([](std::shared_ptr<elsewhere> a) -> task<> {
        const bool opened = co_await ipc::test::until([&] { return a->mine.size() == 2; });
        EXPECT_TRUE(opened);
        for (auto& l : a->mine) l->close();
        a->mine.clear();
      }(native));
    });
    runs.join();
    native->loop.reset();
    co_await checkpoint();
    EXPECT_EQ(told, 3);
  });
}

TEST_F(ListenerTable, AnActorWithALoopOfItsOwnIsToldOfItsListenersThere) {
  run([&]() -> task<> {
    auto other = std::make_shared<core::loop>();
    auto native = std::make_shared<elsewhere>(other);
    std::atomic<bool> enough{false};
    base::os_thread runs("other", [&] {
      other->run([](std::shared_ptr<elsewhere> a, std::atomic<bool>& end) -> task<> {
        const bool asked = co_await ipc::test::until([&] { return end.load(); });
        EXPECT_TRUE(asked);
        EXPECT_EQ(a->mine.size(), 1u);
        for (auto& l : a->mine) l->close();
      }(native, enough));
    });
    table.reach(native, transport::tcp, note());
    table.reach(native, transport::tcp, note());
    const bool done = co_await ipc::test::until([&] { return told == 2; });
    EXPECT_TRUE(done);
    EXPECT_EQ(failure, "");
    EXPECT_EQ(table.addresses_of(native->self().uuid), got) << "one, for both who asked";
    enough = true;
    runs.join();
    table.ended(native->self().uuid);
    native->loop.reset();
    native->mine.clear();
  });
}

}  // namespace
}  // namespace coppice::tree
