// SPDX-License-Identifier: Apache-2.0
// Any order of anything: what a call table promises whatever happens.
#include <gtest/gtest.h>

#include <deque>
#include <random>

#include "port/call_table.hpp"
#include "port/port_test_kit.hpp"

namespace coppice::port {
namespace {

using test::error_info;
using test::link_to;
using test::me;
using test::no_arguments;
using test::start_of;
using test::uid_of;
using link = std::shared_ptr<test::fake_link>;

// Three peers, of which one is a child and one the parent, and this actor itself do things at
// random.
class chaos {
 public:
  explicit chaos(unsigned seed) : random_(seed) {
    table.set_parent(uid_of("parent").uuid);
    table.adopt(uid_of("child").uuid, {}, out_);
    settle();
  }

  void step() {
    const std::size_t who = pick(3);
    if (!links_[who] || pick(3) == 0)
      of_ours(who);
    else
      of_a_peer(links_[who], names_[who]);
    settle();
  }
  void end() {
    table.close("over", out_);
    settle();
    for (auto& l : links_)
      if (l) table.closed(l, "over", out_);
    settle();
    while (!serving_.empty()) finish_one();
  }

  struct own_call {
    request_id id = 0;
    int heard = 0;  // Replies.
    bool forgotten = false;
  };
  std::deque<own_call> calls;  // Handlers point into it.
  call_table table{me, {.calls_per_peer_max = 5, .payload_bytes_max = 1000}};

 private:
  std::size_t pick(std::size_t n) { return static_cast<std::size_t>(random_() % n); }
  std::string any_cid() {
    if (!cids_.empty() && pick(3)) return cids_[pick(cids_.size())];
    return "c" + std::to_string(pick(8));
  }

  void of_ours(std::size_t who) {
    link& l = links_[who];
    switch (pick(7)) {
      case 0:
        if (l) break;
        l = link_to(names_[who]);
        table.connected(l, out_);
        break;
      case 1:
      case 2:
        if (l) call(l);
        break;
      case 3:
        if (!serving_.empty()) finish_one();
        break;
      case 4:
        if (!calls.empty()) give_up_one();
        break;
      case 5:
        if (!l || pick(3)) break;
        table.closed(l, "gone", out_);
        if (pick(2)) l.reset();  // Else calls go on over a closed link.
        break;
      default:
        if (pick(10) == 0 && !std::exchange(child_ended_, true))
          table.child_ended(uid_of("child").uuid, {}, out_);
        table.set_ready(nullptr, out_);
    }
  }

  void of_a_peer(const link& l, const std::string& name) {
    const std::string cid = any_cid(), fresh = "k" + std::to_string(number_++);
    switch (pick(7)) {
      case 0:
        return table.message(l, msg::returned{cid, payload()}, out_);
      case 1:
        return table.message(l, msg::to_message(error_info("E", "e"), cid), out_);
      case 2:
        return table.message(l, msg::start_ack{cid, static_cast<msg::call_kind>(pick(3))}, out_);
      case 3:
        return table.message(
            l, start_of(name, fresh, "self", "_cancel_task", test::arguments("cid", cid)), out_);
      case 4:
        return table.message(l, start_of(name, cid, "self", "wait_ready"), out_);
      default:
        return table.message(l, start_of(name, cid, "mod", "g"), out_);
    }
  }

  void call(const link& l) {
    own_call& c = calls.emplace_back();
    c.id = table.request(l, "mod", "f", no_arguments(), [&c](reply&&) { ++c.heard; }, out_);
  }
  void give_up_one() {
    own_call& c = calls[pick(calls.size())];
    if (pick(4)) return table.cancel_request(c.id, out_);
    table.forget(c.id);
    c.forgotten = true;
  }
  void finish_one() {
    std::swap(serving_[pick(serving_.size())], serving_.back());
    const call_id id = serving_.back();
    serving_.pop_back();
    if (pick(2))
      table.finish(id, payload(), out_);
    else
      table.finish(id, error_info("E", "e"), out_);
    settle();
  }

  void settle() {
    for (auto& e : out_.events)
      if (auto* s = std::get_if<call_started>(&e)) serving_.push_back(s->id);
    for (auto& s : out_.sends)
      if (auto* m = std::get_if<msg::start>(&s.message)) cids_.push_back(m->cid);
    for (auto& n : out_.notices) n();
    out_ = {};
  }

  std::mt19937 random_;
  const std::string names_[3] = {"child", "parent", "peer"};
  link links_[3];
  std::vector<call_id> serving_;
  std::vector<std::string> cids_;  // Of our calls, answered or not.
  int number_ = 0;
  bool child_ended_ = false;
  effects out_;
};

class AnyOrder : public testing::TestWithParam<unsigned> {};
INSTANTIATE_TEST_SUITE_P(, AnyOrder, testing::Range(0u, 40u));

TEST_P(AnyOrder, EveryCallGetsExactlyOneReplyWhateverHappens) {
  chaos world(GetParam());  // The seed is in the test's name.
  for (int i = 0; i < 2000; ++i) {
    world.step();
    for (const auto& c : world.calls) ASSERT_LE(c.heard, 1);
  }
  world.end();
  ASSERT_FALSE(world.calls.empty());
  for (const auto& c : world.calls) EXPECT_TRUE(c.heard == 1 || c.forgotten) << c.heard;
  EXPECT_EQ(world.table.served(), 0u);
}

}  // namespace
}  // namespace coppice::port
