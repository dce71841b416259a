// SPDX-License-Identifier: Apache-2.0
// For tests of this layer: a guest that runs a piece of source, and a look at what is left
// afterwards.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "coppice/detail/owned_bytes.hpp"
#include "pyhost/embed.hpp"
#include "pyhost/guest_host.hpp"
#include "pyhost/guest_side.hpp"
#include "pyhost/guest_thread.hpp"

namespace coppice::py::testkit {

using namespace std::chrono_literals;

/// Polls until `condition` holds; false at the bound. For facts that nobody announces (/proc).
bool eventually(const std::function<bool()>& condition, std::chrono::milliseconds bound = 10s);

/// What a process has that must not grow.
struct possessions {
  std::set<std::string> threads;  // "tid name"
  std::set<std::string> fds;      // "number target"
  std::size_t children = 0;
  static possessions now();
  std::string more_than(const possessions& before) const;  // Empty: nothing more.
  void forget_folders();
};

/// Collects what the observer hears.
class recorder : public guest_observer {
 public:
  void on_running() noexcept override { note("running"); }
  void on_returned() noexcept override { note("returned"); }
  void on_stuck(stuck_in where, duration) noexcept override;
  void on_start_failed(std::string_view text) noexcept override;
  void on_ended(rung how, duration took) noexcept override;
  void on_reclaimed(duration) noexcept override { note("reclaimed"); }

  bool wait_for(const std::string& event, std::chrono::milliseconds bound = 10s);
  bool has(const std::string& event) const;
  std::string events() const;  // "running, returned, ended none"

  rung how = rung::none;  // After "ended".
  duration took{};
  std::string failure;

 private:
  void note(const std::string& event);
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> events_;
};

/// Runs `source` in __main__, with functions: ready() tells the test that the guest got there
/// (and who is the calling thread), say(text) appends to what said() returns; block() makes a
/// Buffer of talk::block; catch_all(f) and no_throw(f) call f() from a frame of C++ that no C++
/// exception leaves; relic() makes an object whose end waits for let_go(). Every piece of `calls`
/// is run after it as call 1, 2, …
class script_body : public guest_body {
 public:
  explicit script_body(std::string source, std::vector<std::string> calls = {})
      : source_(std::move(source)), calls_(std::move(calls)) {}
  void run(guest_side& guest) noexcept override;

  // Shared with the test: the body itself is gone when the guest is.
  struct talk {
    owned_bytes block;  // What the guest's block() gives.
    std::mutex mutex;
    std::condition_variable changed;
    int ready = 0;
    int tid = 0;
    bool let_go = false;
    std::vector<std::string> said;
    std::vector<std::string>
        outcomes;  // Of source and calls: "", or the exception's type and text.
  };
  const std::shared_ptr<talk> shared = std::make_shared<talk>();

 private:
  std::string source_;
  std::vector<std::string> calls_;
};

/// A guest under test, and the ladder as a test climbs it.
class guest {
 public:
  guest(guest_host& host, std::string source, guest_options options = {},
        std::vector<std::string> calls = {});
  ~guest();  // Stops whatever is left.

  void wait_ready(int times = 1);  // The guest called ready(); aborts the test after 20 s.
  bool wait_blocked();             // Its thread that called ready() sits in a system call.
  void let_go();                   // hold() and linger() return.
  bool ended(std::chrono::milliseconds bound = 10s) { return events->wait_for("ended", bound); }
  std::vector<std::string> said() const;
  std::vector<std::string> outcomes() const;

  std::shared_ptr<recorder> events = std::make_shared<recorder>();
  std::shared_ptr<script_body::talk> talk;
  std::unique_ptr<guest_thread> handle;
};

/// One CPython for the test program, one host per test; afterwards everything is back to the start.
class PyHostTest : public testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;

  static embedding& python();
  std::unique_ptr<guest_host> host;
  bool check_folders = true;

 private:
  possessions before_;
};

}  // namespace coppice::py::testkit
