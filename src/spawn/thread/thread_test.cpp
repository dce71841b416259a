// SPDX-License-Identifier: Apache-2.0
#include "spawn/thread/thread.hpp"  // First: proves the header stands alone.

#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <filesystem>
#include <future>

namespace coppice::spawn {
namespace {

using namespace std::chrono_literals;

bool lives(pid_t tid) { return std::filesystem::exists("/proc/self/task/" + std::to_string(tid)); }
/// Once the thread has begun.
pid_t tid_of(const child& c) {
  while (!c.describe().starts_with("thread ")) ::sched_yield();
  return std::stoi(c.describe().substr(std::strlen("thread ")));
}

struct promising_observer final : child_observer {
  void ended(exit_report r) override {
    ++ends;
    report.set_value(std::move(r));
  }
  void cannot_unwind() override { ADD_FAILURE(); }
  void in_native_code() override { ADD_FAILURE(); }
  exit_report wait() {
    auto f = report.get_future();
    EXPECT_EQ(f.wait_for(10s), std::future_status::ready);
    return f.get();
  }
  std::atomic<int> ends{0};
  std::promise<exit_report> report;
};

struct flag {
  std::atomic<bool> up{false};
  void raise() {
    up = true;
    up.notify_all();
  }
  void wait() { up.wait(false); }
};

child_spec spec_of(const std::string& name) {
  child_spec spec;
  spec.self.name = name;
  spec.native = true;
  return spec;
}

TEST(ThreadBackend, RunsItsEntryOnAThreadThatBearsTheActorsName) {
  flag go;
  char name[16] = {};
  auto backend = make_thread_backend([&](const child_spec&) {
    go.wait();
    ::pthread_getname_np(::pthread_self(), name, sizeof name);
    return exit_report{.detail = "done"};
  });
  auto seen = std::make_shared<promising_observer>();
  auto c = backend->start(spec_of("kid"), seen);
  EXPECT_TRUE(lives(tid_of(*c)));
  EXPECT_EQ(seen->ends, 0);
  go.raise();
  EXPECT_EQ(seen->wait().detail, "done");
  EXPECT_STREQ(name, "actor/kid");
  backend->shut_down();
}

TEST(ThreadBackend, TheThreadIsGoneWhenTheEndIsTold) {
  struct late {  // Ends after the entry has returned: the thread is still there then.
    ~late() { ::usleep(30'000); }  // tidy: allow sleep: a destructor that takes its time
  };
  auto backend = make_thread_backend([&](const child_spec&) {
    thread_local late one;
    static_cast<void>(&one);
    return exit_report{};
  });
  auto seen = std::make_shared<promising_observer>();
  auto c = backend->start(spec_of("kid"), seen);
  const pid_t tid = tid_of(*c);
  seen->wait();
  for (int i = 0; i < 1000 && lives(tid); ++i) ::sched_yield();  // /proc lags behind the join.
  EXPECT_FALSE(lives(tid));
  EXPECT_EQ(seen->ends, 1);
  backend->shut_down();
}

// It held up the control loop, which joined it: no actor of the process could be stopped meanwhile.
TEST(ThreadBackend, AThreadThatHangsInItsLastDestructorsHoldsUpNobodyElse) {
  static flag release;
  struct hanging {
    ~hanging() { release.wait(); }
  };
  auto backend = make_thread_backend([&](const child_spec& spec) {
    if (spec.self.name == "hangs") {
      thread_local hanging one;
      static_cast<void>(&one);
    }
    return exit_report{};
  });
  auto stuck = std::make_shared<promising_observer>(),
       fine = std::make_shared<promising_observer>();
  auto a = backend->start(spec_of("hangs"), stuck);
  auto b = backend->start(spec_of("ends"), fine);
  fine->wait();
  EXPECT_EQ(stuck->ends, 0);
  a->abandon();
  a.reset();  // At once, too.
  release.raise();
  stuck->wait();
  backend->shut_down();
}

TEST(ThreadBackend, AnEntryThatThrowsHasFailed) {
  auto backend = make_thread_backend(
      [](const child_spec&) -> exit_report { throw std::runtime_error("no way"); });
  auto seen = std::make_shared<promising_observer>();
  auto c = backend->start(spec_of("kid"), seen);
  const auto report = seen->wait();
  EXPECT_EQ(report.how, exit_report::cause::failed);
  EXPECT_EQ(report.detail, "std::runtime_error: no way");
  backend->shut_down();
}

TEST(ThreadBackend, NothingOfTheChildIsKeptWhenItsEndIsTold) {
  struct empty_sink final : ipc::link_sink {
    void on_connected(const ipc::link_ptr&) override {}
    void on_message(const ipc::link_ptr&, msg::message&&, ipc::urgency) override {}
    void on_closed(const ipc::link_ptr&, const std::string&) override {}
  };
  auto backend = make_thread_backend([](const child_spec&) { return exit_report{}; });
  auto seen = std::make_shared<promising_observer>();
  auto spec = spec_of("kid");
  spec.parent_sink = std::make_shared<empty_sink>();
  const std::weak_ptr<ipc::link_sink> parent = spec.parent_sink;
  auto c = backend->start(spec, seen);
  spec.parent_sink.reset();
  seen->wait();
  EXPECT_TRUE(parent.expired());
  backend->shut_down();
}

TEST(ThreadBackend, HasNoRungsAndSaysSo) {
  flag go;
  auto backend = make_thread_backend([&](const child_spec&) {
    go.wait();
    return exit_report{};
  });
  auto seen = std::make_shared<promising_observer>();
  auto c = backend->start(spec_of("kid"), seen);
  EXPECT_FALSE(c->interrupt());
  EXPECT_FALSE(c->force());
  EXPECT_TRUE(c->cancel_seen());
  c->abandon();
  c.reset();
  go.raise();
  seen->wait();  // An abandoned one that comes back tells its end.
  backend->shut_down();
  const auto can = backend->can();
  EXPECT_TRUE(can.native && can.in_process && !can.python && !can.can_be_killed);
}

// It was started, and in our folder.
TEST(ThreadBackend, AFolderOfItsOwnIsRefusedWithWhatToUseInstead) {
  auto backend = make_thread_backend([](const child_spec&) { return exit_report{}; });
  child_spec elsewhere = spec_of("kid");
  elsewhere.cwd = "/usr";
  const auto why = backend->refusal(elsewhere);
  ASSERT_TRUE(why);
  EXPECT_NE(why->find("use 'process'"), std::string::npos) << *why;
}

TEST(ThreadBackend, PythonIsRefusedWithWhatToUseInstead) {
  auto backend = make_thread_backend([](const child_spec&) { return exit_report{}; });
  child_spec python = spec_of("kid");
  python.native = false;
  EXPECT_EQ(backend->refusal(spec_of("kid")), std::nullopt);
  const auto why = backend->refusal(python);
  ASSERT_TRUE(why);
  EXPECT_NE(why->find("use 'subint' or 'process'"), std::string::npos) << *why;
}

}  // namespace
}  // namespace coppice::spawn
