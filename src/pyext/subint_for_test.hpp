// SPDX-License-Identifier: Apache-2.0
// The subint backend over real interpreters, its supervisor and the parent played by hand.
#pragma once

#include <gtest/gtest.h>

#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "actor/backends.hpp"
#include "coppice/message.hpp"
#include "coppice/value.hpp"
#include "pyext/guest_entry.hpp"
#include "pyext/main_script.hpp"
#include "pyext/warm_up.hpp"
#include "pyhost/guest_test_kit.hpp"
#include "pyhost/host_core.hpp"

namespace coppice::py::subint_tests {

using namespace std::chrono_literals;
using testkit::PyHostTest;

/// The parent of one guest: sends, and waits for what comes back on the guest's thread.
class waiting_parent final : public ipc::link_sink {
 public:
  void on_connected(const ipc::link_ptr& l) override {
    note([&] { link_ = l; });
  }
  void on_message(const ipc::link_ptr&, msg::message&& m, ipc::urgency) override {
    note([&] { received_.push_back(std::move(m)); });
  }
  void on_closed(const ipc::link_ptr&, const std::string& why) override {
    note([&] { closed_ = why; });
  }

  ipc::link_ptr link() {
    wait([this] { return link_ != nullptr; });
    std::lock_guard lock(mutex_);
    return link_;
  }
  bool closed() {
    return wait([this] { return !closed_.empty(); });
  }
  std::string outcome(const std::string& cid) {
    std::string text;
    wait([&] { return !(text = look(cid)).empty(); });
    return text;
  }

 private:
  template <class F>
  void note(F&& f) {
    {
      std::lock_guard lock(mutex_);
      f();
    }
    changed_.notify_all();
  }
  template <class F>
  bool wait(F&& until) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, 20s, until);
  }
  std::string look(const std::string& cid) const {
    for (const auto& m : received_) {
      if (const auto* r = std::get_if<msg::returned>(&m); r && r->cid == cid)
        return value(r->pld).text();
      if (const auto* e = std::get_if<msg::boxed_error>(&m); e && e->cid == cid) {
        const auto info = msg::to_error_info(*e);
        return info.type + ": " + info.message;
      }
      if (const auto* a = std::get_if<msg::cancel_ack>(&m); a && a->cid == cid)
        return "acknowledged";
    }
    return "";
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  ipc::link_ptr link_;
  std::vector<msg::message> received_;
  std::string closed_;
};

class waiting_observer final : public spawn::child_observer {
 public:
  void ended(exit_report report) override {
    std::lock_guard lock(mutex_);
    EXPECT_FALSE(ended_) << "told twice";
    ended_ = true;
    report_ = std::move(report);
    changed_.notify_all();
  }
  void cannot_unwind() override { set(deaf_); }
  void in_native_code() override { set(native_); }

  bool wait_ended(std::chrono::milliseconds bound = 20s) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, bound, [this] { return ended_; });
  }
  bool wait_deaf() { return wait(deaf_); }
  bool wait_native() { return wait(native_); }
  exit_report report() const { return report_; }

 private:
  void set(bool& flag) {
    std::lock_guard lock(mutex_);
    flag = true;
    changed_.notify_all();
  }
  bool wait(const bool& flag) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, 20s, [&] { return flag; });
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  bool ended_ = false, deaf_ = false, native_ = false;
  exit_report report_;
};

inline constexpr const char* stuckable_source = R"(
import os, sys, threading, time
def begin(): open(os.path.join(os.path.dirname(__file__), 'began'), 'w').close()
def double(x): return 2 * x
def loop():
  begin()
  while True: pass
def sleep(): begin(); time.sleep(1000)
def wait(): begin(); threading.Event().wait()
def lock():
  l = threading.Lock(); l.acquire()
  try: begin()
  finally: l.acquire()  # Also if the interrupt was quicker.
def native(): begin(); return sum(range(6 * 10**7))
def modules(): return sorted(set(sys.modules) & {'asyncio', 'coppice', 'traceback', 'runpy'})
def uid():
  import _coppice
  return list(_coppice.self_uid())
)";

/// One backend, and the child that a test has it start: `stuckable` in the test's own folder.
class SubintBackend : public PyHostTest {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() /
              ("coppice-subint-" + std::to_string(::getpid()) + "-" +
               ::testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::create_directories(folder_);
    std::ofstream(folder_ / "stuckable.py") << stuckable_source;
    check_folders = false;
    PyHostTest::SetUp();
    shared_ = std::move(host);
    backend_ = spawn::make_subint_backend(shared_, "", make_guest_entry({}), make_warm_entry(""));
  }
  void TearDown() override {
    child_.reset();
    backend_.reset();
    shared_.reset();
    PyHostTest::TearDown();
    std::filesystem::remove_all(folder_);
  }

  spawn::child_spec spec() {
    spawn::child_spec s;
    s.self.name = "worker";
    s.self.uuid = "worker-uuid";
    s.parent = tree::aid_of({"parent", "parent-uuid"});
    s.parent_sink = parent_;
    return s;
  }
  // Starts a guest that exposes `module`; what its readiness came to.
  std::string start(const std::string& module = "stuckable", gil_mode gil = gil_mode::own) {
    auto s = spec();
    s.gil = gil;
    child_ = backend_->start(s, observer_);
    msg::spawn_spec wanted;
    parent_program program;
    program.sys_path = sys_path_;
    if (!sys_path_.empty()) wanted.parent_main_data = program.to_payload();
    wanted.enable_modules.list = {{module, (folder_ / (module + ".py")).string()}};
    parent_->link()->send(std::move(wanted));
    say("ready", "self", "wait_ready");
    return parent_->outcome("ready");
  }
  void say(const std::string& cid, const std::string& ns, const std::string& func,
           const std::map<std::string, std::string>& kwargs = {}) {
    msg::start m;
    m.cid = cid;
    m.ns = ns;
    m.func = func;
    m.kwargs = to_payload(kwargs);
    m.uid = {"parent", "parent-uuid"};
    parent_->link()->send(std::move(m));
  }
  std::string call(const std::string& func) {
    const std::string cid = "call " + std::to_string(++calls_);
    say(cid, "stuckable", func);
    return parent_->outcome(cid);
  }
  // A call that will not come back by itself: returns when the guest runs it.
  void get_stuck(const std::string& func) {
    std::filesystem::remove(folder_ / "began");
    say("stuck", "stuckable", func);
    EXPECT_TRUE(testkit::eventually([&] { return std::filesystem::exists(folder_ / "began"); }));
    EXPECT_TRUE(child_->cancel_seen());
    say("behind", "self", "cancel");  // Its port has it, the guest does not take it.
    EXPECT_FALSE(child_->cancel_seen());
  }
  void end() {
    say("end", "self", "cancel");
    EXPECT_TRUE(observer_->wait_ended());
  }

  std::filesystem::path folder_;
  std::vector<std::string> sys_path_;  // The parent's, if it is a Python program.
  std::shared_ptr<guest_host> shared_;
  std::shared_ptr<waiting_parent> parent_ = std::make_shared<waiting_parent>();
  std::shared_ptr<waiting_observer> observer_ = std::make_shared<waiting_observer>();
  std::unique_ptr<spawn::backend> backend_;
  std::unique_ptr<spawn::child> child_;
  int calls_ = 0;
};

}  // namespace coppice::py::subint_tests
