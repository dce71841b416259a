// SPDX-License-Identifier: Apache-2.0
// A supervisor on virtual time, with children that do what the test says.
#pragma once

#include <gtest/gtest.h>

#include <cerrno>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "actor/supervisor.hpp"
#include "coppice/errors.hpp"
#include "coppice/testkit/fake_clock.hpp"
#include "coppice/time.hpp"
#include "ipc/memory_link.hpp"
#include "port/guest_port.hpp"

namespace coppice::tree::test {

using namespace std::chrono_literals;

inline msg::aid aid_of(const std::string& name) {
  msg::aid a;
  a.name = name;
  a.uuid = "uuid-of-" + name;
  a.extensions.emplace();
  return a;
}

// A child that does what the test says. Its port is real, and joined to its parent's by memory
// link.
struct fake_child {
  spawn::child_spec spec;
  std::shared_ptr<spawn::child_observer> observer;
  std::shared_ptr<port::guest_port> port;
  bool can_interrupt = true, can_force = true, seen = true;
  int interrupts = 0, forces = 0, abandons = 0, handles = 0;
  std::function<void(fake_child&)> on_interrupt, on_force;

  void connect() { ipc::connect_memory(spec.self, port, spec.parent, spec.parent_sink); }
  void ready() { port->set_ready(); }
  void end(exit_report how = {}) {
    port->close("the actor has ended");
    if (auto o = std::exchange(observer, nullptr)) o->ended(std::move(how));
  }
  /// Was it asked to end, by a message?
  bool asked() {
    for (auto e = port->take(); e; e = port->take())
      if (std::holds_alternative<port::cancel_requested>(*e)) was_asked = true;
    return was_asked;
  }
  bool was_asked = false;
};

class fake_handle final : public spawn::child {
 public:
  explicit fake_handle(std::shared_ptr<fake_child> of) : of_(std::move(of)) { ++of_->handles; }
  ~fake_handle() override { --of_->handles; }
  bool interrupt() override {
    if (!of_->can_interrupt) return false;
    ++of_->interrupts;
    if (of_->on_interrupt) of_->on_interrupt(*of_);
    return true;
  }
  bool force() override {
    if (!of_->can_force) return false;
    ++of_->forces;
    if (of_->on_force) of_->on_force(*of_);
    return true;
  }
  void abandon() override { ++of_->abandons; }
  bool cancel_seen() const override { return of_->seen; }
  std::string describe() const override { return "fake " + of_->spec.self.name; }

 private:
  const std::shared_ptr<fake_child> of_;
};

class fake_backend final : public spawn::backend {
 public:
  std::string_view key() const override { return "fake"; }
  spawn::capabilities can() const override {
    return {.in_process = true, .can_be_killed = killable};
  }
  std::optional<std::string> refusal(const spawn::child_spec&) override { return std::nullopt; }
  std::unique_ptr<spawn::child> start(const spawn::child_spec& spec,
                                      std::shared_ptr<spawn::child_observer> observer) override {
    if (refuse) throw actor_start_error("no room");
    if (at_limit) throw std::system_error(EMFILE, std::generic_category(), "eventfd");
    auto made = std::make_shared<fake_child>();
    made->spec = spec;
    made->observer = std::move(observer);
    made->port = std::make_shared<port::guest_port>(spec.self, port::table_limits{});
    made->port->set_parent(spec.parent.uuid);
    children[spec.self.name] = made;
    if (prepare) prepare(*made);
    return std::make_unique<fake_handle>(made);
  }
  bool refuse = false;
  bool killable = false;
  bool at_limit = false;  // Of descriptors.
  std::function<void(fake_child&)> prepare;
  std::map<std::string, std::shared_ptr<fake_child>> children;
};

// Everything on one thread and on virtual time: a deadlock aborts with the task tree.
class supervised : public testing::Test {
 protected:
  ~supervised() override {
    for (auto& [uuid, news] : heard_) {
      const bool once =
          news == "failed" || news == "started ended" || news == "started ended reclaimed";
      EXPECT_TRUE(once || news == "started") << uuid << ": " << news;
    }
    for (auto& [name, c] : backend.children) {
      EXPECT_EQ(c->handles, c->abandons && c->observer ? 1 : 0) << name << "'s handle";
      c->port->close("the test is over");
      c->observer.reset();  // One that was given up and never came back: it holds its record.
    }
    parent->close("the test is over");
  }

  template <class Body>
  void run(Body body) {
    auto whole = [&]() -> task<> {
      auto both = [&](nursery& n) -> task<> {
        n.start_soon("supervisor", [](supervisor* tested) { return tested->run(); }, &s);
        co_await settle();
        co_await body();
        s.close();
      };
      co_await open_nursery(both);
    };
    loop->run(whole());
    drain();
  }
  /// Until everything that follows at once has happened. Takes no virtual time.
  static task<> settle() {
    for (int i = 0; i < 20; ++i) co_await checkpoint();
  }

  start_request request(const std::string& name) {
    start_request r;
    r.parent = parent;
    r.backend = &backend;
    r.spec.self = aid_of(name);
    r.spec.parent = parent->self();
    r.spec.parent_sink = parent;
    r.stop = policy;
    r.start_within = 5s;
    return r;
  }
  task<fake_child*> start(std::string name) {
    s.start(request(name));
    co_await settle();
    co_return backend.children.at(name).get();
  }
  task<fake_child*> start_up(std::string name) {
    fake_child* c = co_await start(std::move(name));
    c->connect();
    c->ready();
    co_await settle();
    drain();
    EXPECT_EQ(last.what, port::child_changed::kind::started);
    co_return c;
  }
  void stop(const fake_child* c, std::optional<stop_policy> p = {}) {
    s.stop(c->spec.self.uuid, p);
  }
  void drain() {
    for (auto e = parent->take(); e; e = parent->take())
      if (auto* c = std::get_if<port::child_changed>(&*e)) {
        if (c->what == port::child_changed::kind::lost) continue;  // Its end is to come.
        static const char* names[] = {"started", "lost", "failed", "ended", "reclaimed"};
        auto& news = heard_[c->uuid];
        news += (news.empty() ? "" : " ") + std::string(names[static_cast<int>(c->what)]);
        order.push_back(c->uuid.substr(8) + " " + names[static_cast<int>(c->what)]);
        if (c->error) failure = describe_exception(c->error);
        last = std::move(*c);
      }
  }
  /// Waits, at most a minute of virtual time, until a child's news has come.
  task<bool> hears(std::string name, std::string news) {
    for (int i = 0; i < 60'000; ++i) {
      drain();
      if (heard_["uuid-of-" + name] == news) co_return true;
      co_await sleep_for(1ms);
    }
    co_return false;
  }
  time_point now() const { return clock.now(); }

  testkit::fake_clock clock{{.autojump = true}};
  std::shared_ptr<core::loop> loop =
      std::make_shared<core::loop>(core::loop_options{.name = "control", .time = &clock});
  supervisor s{loop};
  fake_backend backend;
  stop_policy policy;
  std::shared_ptr<port::guest_port> parent =
      std::make_shared<port::guest_port>(aid_of("parent"), port::table_limits{});
  port::child_changed last;
  std::string failure;
  std::vector<std::string> order;

 private:
  std::map<std::string, std::string> heard_;
};

}  // namespace coppice::tree::test
