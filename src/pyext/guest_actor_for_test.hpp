// SPDX-License-Identifier: Apache-2.0
// A guest_actor in the interpreter of a test program, its parent played by hand.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "coppice/message.hpp"
#include "coppice/value.hpp"
#include "ipc/memory_link.hpp"
#include "pyext/guest_actor.hpp"
#include "pyext/main_script.hpp"
#include "pyhost/python_for_test.hpp"

namespace coppice::py::guest_tests {

using testing::eval;
using testing::exec;
using testing::shown;
using testing::take_error;

inline msg::aid aid(std::string name) {
  msg::aid a;
  a.name = name;
  a.uuid = name + "-uuid";
  a.extensions.emplace();
  return a;
}

/// The actor's parent, by hand: what it is sent, and what it says.
class fake_parent final : public ipc::link_sink {
 public:
  void on_connected(const ipc::link_ptr& l) override { link = l; }
  void on_message(const ipc::link_ptr&, msg::message&& m, ipc::urgency) override {
    received.push_back(std::move(m));
  }
  void on_closed(const ipc::link_ptr&, const std::string& why) override { closed = why; }

  ipc::link_ptr link;
  std::vector<msg::message> received;
  std::string closed;
};

/// Nobody strikes; who is running is noted.
class quiet_fence final : public call_fence {
 public:
  void begin_call(std::uint64_t id) noexcept override { running = id; }
  void end_call(std::uint64_t) noexcept override { running = 0; }
  bool stopping() const noexcept override { return stop; }
  std::uint64_t running = 0;
  bool stop = false;
};

class GuestActor : public ::testing::Test {
 protected:
  void SetUp() override {
    folder = std::filesystem::temp_directory_path() /
             ("coppice-test-" + std::to_string(::getpid()) + "-" +
              ::testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::create_directories(folder);
    exec(
        "import sys\nbefore_modules, before_path = set(sys.modules), list(sys.path)\n"
        "sys.dont_write_bytecode = True");
    main = Py_NewRef(PyImport_AddModule("__main__"));
    port = std::make_shared<port::guest_port>(aid("worker"), port::table_limits{});
    guest_actor_options options;
    options.parent = uid{"parent", "parent-uuid"};
    actor = std::make_unique<guest_actor>(port, fence, options);
    ASSERT_TRUE(actor->install()) << take_error();
    port->set_parent("parent-uuid");
    parent = std::make_shared<fake_parent>();
    ipc::connect_memory(port->self(), port, aid("parent"), parent);
  }
  void TearDown() override {
    actor->release();
    port->close("the test has ended");
    PyDict_SetItemString(PyImport_GetModuleDict(), "__main__", main);  // exec() runs there.
    Py_DECREF(main);
    exec(
        "sys.path[:] = before_path\n"
        "for name in set(sys.modules) - before_modules: del sys.modules[name]");
    std::filesystem::remove_all(folder);
    EXPECT_EQ(take_error(), "");
  }

  std::string write(const std::string& name, const std::string& source) {
    const auto path = folder / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << source;
    return path.string();
  }

  // What a parent does first. `main`: the main script's path.
  void send_spec(std::vector<std::string> modules, const std::string& main_path = "") {
    msg::spawn_spec spec;
    parent_program program;
    program.main_path = main_path;
    program.sys_path = {folder.string()};
    PyObject* stdlib = eval("[p for p in sys.path]");
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(stdlib); ++i)
      program.sys_path.push_back(PyUnicode_AsUTF8(PyList_GET_ITEM(stdlib, i)));
    Py_DECREF(stdlib);
    spec.parent_main_data = program.to_payload();
    for (auto& m : modules) spec.enable_modules.list.emplace_back(m, "");
    parent->link->send(std::move(spec));
    parent->link->send(
        start("ready", "self", "wait_ready", to_payload(std::map<std::string, int>())));
    actor->drain();
  }
  // An actor that exposes the module `m` with this source, and is ready.
  void ready_with(const std::string& source) {
    write("m.py", source);
    send_spec({"m"});
    ASSERT_EQ(outcome("ready"), "None");
  }

  static msg::start start(std::string cid, std::string ns, std::string func, payload kwargs) {
    msg::start s;
    s.cid = std::move(cid);
    s.ns = std::move(ns);
    s.func = std::move(func);
    s.kwargs = std::move(kwargs);
    s.uid = {"parent", "parent-uuid"};
    return s;
  }
  void send_call(const std::string& cid, const std::string& func, payload kwargs,
                 const std::string& ns = "m") {
    parent->link->send(start(cid, ns, func, std::move(kwargs)));
  }
  std::string call(const std::string& func, payload kwargs = no_arguments(),
                   const std::string& ns = "m") {
    const std::string cid = "call " + std::to_string(++calls);
    send_call(cid, func, std::move(kwargs), ns);
    actor->drain();
    return outcome(cid);
  }
  static payload no_arguments() { return to_payload(std::map<std::string, int>()); }
  static payload x_is(int n) { return to_payload(std::map<std::string, int>{{"x", n}}); }

  void cancel_task(const std::string& cid) {
    parent->link->send(start("cancel " + cid, "self", "_cancel_task",
                             to_payload(std::map<std::string, std::string>{{"cid", cid}})));
  }

  // What has come for a call: "42", "ValueError: boom", or "" if nothing yet.
  std::string outcome(const std::string& cid) {
    for (const auto& m : parent->received) {
      if (const auto* r = std::get_if<msg::returned>(&m); r && r->cid == cid)
        return value(r->pld).text();
      if (const auto* e = std::get_if<msg::boxed_error>(&m); e && e->cid == cid) {
        last_error = msg::to_error_info(*e);
        return last_error.type + ": " + last_error.message;
      }
      if (const auto* a = std::get_if<msg::cancel_ack>(&m); a && a->cid == cid)
        return "acknowledged";
    }
    return "";
  }

  std::filesystem::path folder;
  quiet_fence fence;
  std::shared_ptr<port::guest_port> port;
  std::unique_ptr<guest_actor> actor;
  std::shared_ptr<fake_parent> parent;
  remote_error_info last_error;
  int calls = 0;
  PyObject* main = nullptr;
};

// A loop that is driven by hand: run() does what the list `script` says, in order.
inline constexpr const char* fake_loop = R"(
import sys, types, _coppice
made, loops, script, log = [], [], [], []
class Loop:
  def __init__(self): self.calls = {}
  def run(self):
    log.append('run')
    _coppice.drain()
    while script: script.pop(0)(self)
  def spawn(self, coro, call_id): self.calls[call_id] = coro; log.append('spawn')
  def step(self, call_id):
    try: self.calls[call_id].send(None)
    except StopIteration as stop: _coppice.finish(call_id, stop.value, None)
    except BaseException as e: _coppice.finish(call_id, None, e)
  def all(self):
    for call_id in list(self.calls): self.step(call_id)
  def cancel_call(self, call_id): log.append('cancel_call')
  def settle(self, token, value, error): log.append((token, value, error))
  def dialog(self, token, what, value): log.append((token, what, value))
  def cancel_all(self, why): log.append('cancel_all: ' + why)
  def stop(self): log.append('stop')
def guest_loop(name):
  loop = Loop()
  made.append(name)
  loops.append(loop)
  _coppice.set_loop(loop)
  return loop
package = types.ModuleType('coppice'); package.__path__ = []
module = types.ModuleType('coppice._loop'); module.guest_loop = guest_loop
sys.modules['coppice'] = package; sys.modules['coppice._loop'] = module
)";

class GuestActorLoop : public GuestActor {
 protected:
  void SetUp() override {
    GuestActor::SetUp();
    exec(fake_loop);
  }
  void TearDown() override {
    exec("made.clear(); loops.clear(); script.clear(); log.clear()");
    GuestActor::TearDown();
  }
  void cancel_actor() { parent->link->send(start("cancel", "self", "cancel", no_arguments())); }
};

}  // namespace coppice::py::guest_tests
