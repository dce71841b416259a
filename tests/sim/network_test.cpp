// SPDX-License-Identifier: Apache-2.0
#include "network.hpp"

#include <gtest/gtest.h>

#include <optional>

#include "coppice/testkit/fake_clock.hpp"
#include "coppice/time.hpp"

namespace coppice::sim {
namespace {

using namespace std::chrono_literals;

msg::aid aid(const std::string& name) {
  msg::aid a;
  a.name = a.uuid = name;
  a.extensions.emplace();
  return a;
}
msg::message numbered(std::int64_t n) { return msg::returned{"cid", to_payload(n)}; }

/// Writes down what a link tells it, all of a test in one list.
struct recorder final : ipc::link_sink {
  recorder(std::string n, std::vector<std::string>& h) : name(std::move(n)), heard(h) {}
  void on_connected(const ipc::link_ptr& l) override {
    heard.push_back(name + " connected");
    link = l;
  }
  void on_message(const ipc::link_ptr&, msg::message&& m, ipc::urgency) override {
    const auto n = from_payload<std::int64_t>(std::get<msg::returned>(m).pld);
    heard.push_back(name + " " + std::to_string(n));
    numbers.push_back(n);
  }
  void on_closed(const ipc::link_ptr&, const std::string&) override {
    heard.push_back(name + " closed");
    link.reset();
  }
  const std::string name;
  std::vector<std::string>& heard;
  std::vector<std::int64_t> numbers;
  ipc::link_ptr link;
};

class Network : public testing::Test {
 protected:
  struct pair {
    std::shared_ptr<recorder> child, parent;
  };
  pair connect(const std::string& name) {
    pair p{std::make_shared<recorder>(name, heard),
           std::make_shared<recorder>("of " + name, heard)};
    net->connect(aid(name), p.child, aid("parent"), p.parent, nullptr);
    return p;
  }
  template <class Body>
  void run(std::uint64_t seed, Body body) {
    journal trace(seed, "", *loop, false);
    weather w;
    w.delay_max = 10ms;
    network::observer watch;
    watch.on_ending = [this](const std::string& uuid) { ending.push_back(uuid); };
    net.emplace(*loop, trace, dice(seed), w, std::move(watch));
    loop->run(body());
    EXPECT_EQ(net->left(), 0u);
    net.reset();
  }
  /// How often something was heard.
  std::ptrdiff_t count(const std::string& what) const { return std::ranges::count(heard, what); }

  testkit::fake_clock clock{{.autojump = true}};
  std::shared_ptr<core::loop> loop =
      std::make_shared<core::loop>(core::loop_options{.name = "net", .time = &clock});
  std::vector<std::string> heard, ending;
  std::optional<network> net;
};

TEST_F(Network, KeepsOrderWithinAConnectionButNotAcross) {
  int overtaken = 0;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    heard.clear();
    run(seed, [&]() -> task<> {
      const pair a = connect("a"), b = connect("b");
      co_await sleep_for(100ms);
      for (std::int64_t i = 0; i < 10; ++i) {
        a.child->link->send(numbered(i));
        b.child->link->send(numbered(i));
      }
      co_await sleep_for(1s);
      EXPECT_EQ(a.parent->numbers, (std::vector<std::int64_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
      EXPECT_EQ(b.parent->numbers, a.parent->numbers);
      a.child->link->close("over");
      b.parent->link->close("over");
      co_await sleep_for(1s);
    });
    const auto at = [&](const char* what) { return std::ranges::find(heard, what); };
    overtaken += at("of b 0") < at("of a 0") ? 1 : 0;
    EXPECT_LT(at("of a connected"), at("a connected")) << "the listener knows of it first";
  }
  EXPECT_GT(overtaken, 0);
}

TEST_F(Network, WhatWasSentBeforeACloseArrivesBeforeIt) {
  run(1, [&]() -> task<> {
    const pair a = connect("a");
    co_await sleep_for(100ms);
    a.child->link->send(numbered(1), ipc::urgency::lazy);
    a.child->link->close("over");
    EXPECT_EQ(heard.back(), "a closed") << "who closes is told at once";
    co_await sleep_for(1s);
    EXPECT_EQ(heard.back(), "of a closed");
    EXPECT_EQ(a.parent->numbers, std::vector<std::int64_t>{1});
  });
}

TEST_F(Network, ACutConnectionLosesWhatIsOnItsWayAndTellsBothInTime) {
  run(2, [&]() -> task<> {
    const pair a = connect("a");
    co_await sleep_for(100ms);
    a.child->link->send(numbered(1));
    net->cut("a");
    EXPECT_EQ(count("a closed") + count("of a closed"), 0);
    co_await sleep_for(network::notice_max + 10ms);
    EXPECT_EQ(count("a closed"), 1);
    EXPECT_EQ(count("of a closed"), 1);
    EXPECT_TRUE(a.parent->numbers.empty());
    EXPECT_TRUE(net->was_hurt("a"));
    EXPECT_EQ(ending, std::vector<std::string>{"a"});
  });
}

TEST_F(Network, AHalfOpenConnectionSwallowsOneDirectionUntilThatIsNoticed) {
  run(3, [&]() -> task<> {
    const pair a = connect("a");
    co_await sleep_for(100ms);
    net->make_half_open("a");
    a.child->link->send(numbered(1));
    a.parent->link->send(numbered(2));
    co_await sleep_for(20ms);
    EXPECT_EQ(a.child->numbers.size() + a.parent->numbers.size(), 1u);
    EXPECT_EQ(count("a closed") + count("of a closed"), 0);
    co_await sleep_for(network::half_open_max + network::notice_max);
    EXPECT_EQ(count("a closed"), 1);
    EXPECT_EQ(count("of a closed"), 1);
  });
}

TEST_F(Network, AKilledActorIsToldNothingAndWhatItSentArrives) {
  run(4, [&]() -> task<> {
    const pair a = connect("a");
    co_await sleep_for(100ms);
    a.child->link->send(numbered(1));
    a.parent->link->send(numbered(2));
    net->kill("a");
    a.child->link->send(numbered(3));
    co_await sleep_for(1s);
    EXPECT_EQ(a.parent->numbers, std::vector<std::int64_t>{1});
    EXPECT_EQ(count("of a closed"), 1);
    EXPECT_TRUE(a.child->numbers.empty());
    EXPECT_EQ(count("a closed"), 0);
    a.child->link.reset();
  });
}

TEST_F(Network, AChildWhoseHandshakeBreaksIsToldSo) {
  for (const bool killed : {false, true}) {
    std::string why;
    run(6, [&]() -> task<> {
      const auto child = std::make_shared<recorder>("a", heard);
      const auto parent = std::make_shared<recorder>("of a", heard);
      net->connect(aid("a"), child, aid("parent"), parent, [&](std::string w) { why = w; });
      net->cut("a");
      if (killed) net->kill("parent");
      co_await sleep_for(network::notice_max + 1s);
    });
    EXPECT_EQ(why, "connection reset by peer");
    EXPECT_TRUE(heard.empty()) << heard.front();
  }
}

TEST_F(Network, ASlowReaderGetsEverythingLater) {
  run(5, [&]() -> task<> {
    const pair a = connect("a");
    co_await sleep_for(100ms);
    net->stall("a");
    a.child->link->send(numbered(1));
    a.parent->link->send(numbered(2));
    co_await sleep_for(20ms);
    EXPECT_EQ(a.child->numbers.size() + a.parent->numbers.size(), 1u);
    co_await sleep_for(network::stall_max);
    EXPECT_EQ(a.child->numbers.size() + a.parent->numbers.size(), 2u);
    a.child->link->close("over");
    co_await sleep_for(1s);
  });
}

}  // namespace
}  // namespace coppice::sim
