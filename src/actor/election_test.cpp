// SPDX-License-Identifier: Apache-2.0
#include "actor/election.hpp"  // First: proves the header stands alone.

#include <gtest/gtest.h>

#include <deque>
#include <map>

#include "coppice/errors.hpp"
#include "coppice/testkit/fake_clock.hpp"
#include "coppice/time.hpp"
#include "core/alarm.hpp"
#include "core/loop.hpp"

namespace coppice::tree {
namespace {

using namespace std::chrono_literals;

msg::wire_address at(std::uint16_t port) { return msg::tcp_address{"127.0.0.1", port}; }

class known_link final : public ipc::link {
 public:
  explicit known_link(std::optional<bool> is_registrar) {
    peer_.name = "there";
    peer_.uuid = "u";
    peer_.is_registrar = is_registrar;
  }
  void send(msg::message, ipc::urgency) override {}
  void close(std::string) override {}
  bool is_local() const noexcept override { return false; }
  std::string describe() const override { return "known"; }
};

enum class answer : std::uint8_t { refused, silent, garbage, no_registrar, registrar, old_peer };

/// Each probe of a port gets the next answer of its list; the last one stays.
class scripted final : public network {
 public:
  explicit scripted(core::loop& l) : loop_(l) {}
  std::map<std::uint16_t, std::deque<answer>> answers;
  int probes = 0, at_once = 0, most_at_once = 0;
  bool all_were_probes = true;

  void listen(port::actor_port_ptr, std::function<void(msg::wire_address)>,
              std::function<void(std::exception_ptr)>) override {}
  void listen_at(port::actor_port_ptr, std::vector<msg::wire_address>,
                 std::function<void(std::exception_ptr, std::vector<msg::wire_address>)>) override {
  }
  std::optional<std::string> uuid_at(const msg::wire_address&) const override { return {}; }
  void connect(const msg::wire_address& to, const msg::aid& self, std::shared_ptr<ipc::link_sink>,
               duration within,
               std::function<void(std::exception_ptr, ipc::link_ptr)> done) override {
    ++probes;
    most_at_once = std::max(most_at_once, ++at_once);
    all_were_probes = all_were_probes && self.is_probe && self.is_registrar == false;
    auto& list = answers[std::get<msg::tcp_address>(to).port];
    const answer how = list.empty() ? answer::refused : list.front();
    if (list.size() > 1) list.pop_front();
    timers_.push_back(std::make_unique<core::alarm>(loop_));
    timers_.back()->set(how == answer::silent ? within : 1ms, [this, how, done] {
      --at_once;
      done(error_of(how), link_of(how));
    });
  }

 private:
  static std::exception_ptr error_of(answer how) {
    if (how == answer::refused) return std::make_exception_ptr(transport_closed("refused"));
    if (how == answer::silent) return std::make_exception_ptr(timeout_error("silent"));
    if (how == answer::garbage) return std::make_exception_ptr(protocol_error("garbage"));
    return nullptr;
  }
  static ipc::link_ptr link_of(answer how) {
    if (how == answer::no_registrar) return std::make_shared<known_link>(false);
    if (how == answer::registrar) return std::make_shared<known_link>(true);
    if (how == answer::old_peer) return std::make_shared<known_link>(std::nullopt);
    return nullptr;
  }
  core::loop& loop_;
  std::vector<std::unique_ptr<core::alarm>> timers_;
};

struct Election : testing::Test {
  testkit::fake_clock clock{{.autojump = true}};
  core::loop loop{{.name = "control", .time = &clock}};
  scripted net{loop};
  std::string refused;

  std::vector<msg::wire_address> hold(std::vector<msg::wire_address> where) {
    msg::aid self;
    self.name = "probe";
    self.is_registrar = false;
    try {
      return loop.run(elect(&net, self, std::move(where), {})).registrars;
    } catch (const error& e) {
      refused = e.what();
      return {};
    }
  }
  duration took() const { return clock.now() - began; }
  const time_point began = clock.now();
};
using list = std::vector<msg::wire_address>;

TEST_F(Election, NobodyAnywhereMeansThatTheRootBecomesTheRegistrar) {
  EXPECT_EQ(hold({at(1), at(2)}), list{});
  EXPECT_EQ(refused, "");
  EXPECT_EQ(net.probes, 2) << "one that is absent is not asked again";
  EXPECT_TRUE(net.all_were_probes);
}

TEST_F(Election, EveryRegistrarIsJoinedWhateverElseIsThere) {
  net.answers = {{1, {answer::registrar}}, {2, {answer::no_registrar}}, {3, {answer::registrar}}};
  EXPECT_EQ(hold({at(1), at(2), at(3), at(4)}), (list{at(1), at(3)}));
}

TEST_F(Election, APeerThatDoesNotSayIsARegistrar) {
  net.answers = {{1, {answer::old_peer}}};
  EXPECT_EQ(hold({at(1)}), list{at(1)});
}

TEST_F(Election, SomebodyElseAtAnAddressIsAnErrorThatNamesIt) {
  net.answers = {{7, {answer::no_registrar}}};
  hold({at(6), at(7)});
  EXPECT_EQ(refused,
            "no registrar at 127.0.0.1:7, and none can be opened there: actor 'there' listens "
            "there, which is no registrar");
}

TEST_F(Election, GarbageIsSomebodyElse) {
  net.answers = {{7, {answer::garbage}}};
  hold({at(7)});
  EXPECT_NE(refused.find("127.0.0.1:7"), std::string::npos) << refused;
  EXPECT_NE(refused.find("garbage"), std::string::npos) << refused;
}

TEST_F(Election, OneTimeoutIsTriedAgain) {
  net.answers = {{1, {answer::silent, answer::registrar}}};
  EXPECT_EQ(hold({at(1)}), list{at(1)});
  EXPECT_EQ(net.probes, 2);
}

TEST_F(Election, OneWhoOnlyAcceptsIsOccupiedAfterThreeAttemptsWithinThreeSeconds) {
  net.answers = {{1, {answer::silent}}};
  hold({at(1)});
  EXPECT_NE(refused.find("it did not answer in time"), std::string::npos) << refused;
  EXPECT_EQ(net.probes, 3);
  EXPECT_LE(took(), 3s);
}

TEST_F(Election, AllAddressesAreAskedAtOnce) {
  for (std::uint16_t port = 1; port <= 5; ++port) net.answers[port] = {answer::silent};
  hold({at(1), at(2), at(3), at(4), at(5)});
  EXPECT_EQ(net.most_at_once, 5);
  EXPECT_LE(took(), 3s);
}

}  // namespace
}  // namespace coppice::tree
