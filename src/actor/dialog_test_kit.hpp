// SPDX-License-Identifier: Apache-2.0
// Native actors on one loop and on virtual time, joined by memory links that are listened to.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "actor/native_actor.hpp"
#include "actor/process_runtime.hpp"
#include "coppice/coppice.hpp"
#include "coppice/testkit/fake_clock.hpp"
#include "ipc/memory_link.hpp"

namespace coppice::tree::test {

using namespace std::chrono_literals;
using lines = std::vector<std::string>;

/// Passes on what comes to an actor, and notes the types of the messages.
class tap final : public ipc::link_sink {
 public:
  tap(std::shared_ptr<native_actor> to, lines* heard) : to_(std::move(to)), heard_(heard) {}
  void on_connected(const ipc::link_ptr& l) override {
    link = l;
    to_->on_connected(l);
  }
  void on_message(const ipc::link_ptr& from, msg::message&& m, ipc::urgency u) override {
    const auto* start = std::get_if<msg::start>(&m);
    if (start && start->ns != "self") last_cid = start->cid;
    heard_->push_back(start && start->ns == "self" ? start->func : std::string(type_name(m)));
    if (swallow && *swallow == heard_->back()) return;
    to_->on_message(from, std::move(m), u);
  }
  void on_closed(const ipc::link_ptr& from, const std::string& why) override {
    link.reset();
    to_->on_closed(from, why);
  }
  ipc::link_ptr link;
  std::string last_cid;                // Of what was called.
  std::optional<std::string> swallow;  // Messages of this type are lost.

 private:
  const std::shared_ptr<native_actor> to_;
  lines* const heard_;
};

/// "caller" has the test's body; "callee" and whoever else is joined serve its endpoints.
class dialogs : public testing::Test {
 protected:
  static msg::aid aid_of(const std::string& name, bool tractor = false) {
    msg::aid a;
    a.name = name;
    a.uuid = "uuid-of-" + name;
    if (!tractor) a.extensions = msg::extensions{.ext = {"credit"}};
    return a;
  }
  std::shared_ptr<native_actor> make(const std::string& name) {
    return std::make_shared<native_actor>(*rt, loop, aid_of(name), endpoints);
  }
  /// A portal of `from` to a new actor, which serves until the end of the run.
  portal join(nursery& n, const std::shared_ptr<native_actor>& from, const std::string& name) {
    auto made = make(name);
    n.start_soon(name, [](std::shared_ptr<native_actor> a) { return a->serve("", [] {}); }, made);
    served.push_back(made);
    return portal(connect(from, made));
  }
  /// Joins two actors; what the first one names the second by. Either may look like a tractor.
  detail::call_target connect(const std::shared_ptr<native_actor>& a,
                              const std::shared_ptr<native_actor>& b) {
    auto at_a = std::make_shared<tap>(a, &heard), at_b = std::make_shared<tap>(b, &told);
    taps.push_back(at_a);
    taps.push_back(at_b);
    ipc::connect_memory(aid_of(a->id().name, tractor), at_a, aid_of(b->id().name, tractor), at_b);
    return a->name_peer(at_a->link);
  }

  /// Runs `body(portal)` in "caller".
  template <class Body>
  void run(Body body) {
    rt.emplace(options(loop));
    caller = make("caller");
    auto whole = [&]() -> task<> {
      auto inside = [&](nursery& n) -> task<> {
        all = &n;
        n.start_soon("control", [](process_runtime* of) { return of->run_control(); }, &*rt);
        portal p = join(n, caller, "callee");
        co_await settle();
        std::function<task<>(actor&)> program = [&](actor& self) -> task<> {
          me = &self;
          return body(p);
        };
        auto running = detail::take(caller->run_root(program));
        auto how = co_await detail::captured<void>(std::move(running));
        for (auto& a : served) a->cancel("the test is over");
        rt->supervision().close();
        if (how.error()) std::rethrow_exception(how.error());
      };
      co_await open_nursery(inside);
    };
    loop->run(whole());
    taps.clear();
    served.clear();
    caller.reset();
    EXPECT_TRUE(rt->stop());
  }
  /// Until everything that follows at once has happened. Takes no virtual time.
  static task<> settle() {
    for (int i = 0; i < 20; ++i) co_await checkpoint();
  }
  duration since(time_point t) const { return clock.now() - t; }
  time_point now() const { return clock.now(); }

  std::vector<exposed> endpoints;
  bool tractor = false;
  testkit::fake_clock clock{{.autojump = true}};
  std::shared_ptr<core::loop> loop =
      std::make_shared<core::loop>(core::loop_options{.name = "all", .time = &clock});
  static process_options options(std::shared_ptr<core::loop> on) {
    process_options o;
    o.control = std::move(on);
    return o;
  }
  std::optional<process_runtime> rt;  // One per run.
  std::shared_ptr<native_actor> caller;
  std::vector<std::shared_ptr<native_actor>> served;
  std::vector<std::shared_ptr<tap>> taps;
  nursery* all = nullptr;
  actor* me = nullptr;
  lines heard, told;  // By the first and by the second of each pair.
};

/// The error that a task ends with, as text; empty: none.
template <class E, class Work>
task<std::string> error_of(Work work) {
  auto r = co_await as_result(work());
  const E* e = r.template error<E>();
  if (!e && r.exception()) co_return "another: " + describe_exception(r.exception());
  co_return e ? std::string(e->what()) : std::string("none");
}

}  // namespace coppice::tree::test
