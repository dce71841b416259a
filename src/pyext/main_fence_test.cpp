// SPDX-License-Identifier: Apache-2.0
#include "pyext/main_fence.hpp"

#include <gtest/gtest.h>
#include <signal.h>

#include <string>
#include <thread>
#include <variant>

#include "actor/process_runtime.hpp"
#include "base/thread.hpp"
#include "pyhost/python_for_test.hpp"

namespace coppice::py {
namespace {

using namespace std::chrono_literals;
using testing::take_error;

class MainFence : public ::testing::Test {
 protected:
  void SetUp() override {
    msg::aid self;
    self.name = "worker";
    self.uuid = "worker-uuid";
    port = std::make_shared<port::guest_port>(self, port::table_limits{});
    fence = std::make_shared<main_fence>(port);
    ASSERT_TRUE(fence->install()) << take_error();
    testing::exec("import threading, time, _thread\nbusy = threading.Event()");
  }
  void TearDown() override {
    runtime.control()->post([f = fence] { f->forget_loop(); });
    runtime.stop();
    testing::exec(
        "import signal\nfor n in signal.valid_signals():\n"
        "  if callable(signal.getsignal(n)): signal.signal(n, signal.SIG_DFL)");
  }

  // Runs `source` as call `id` while another thread does `meanwhile` to it; what it raised.
  template <class F>
  std::string running(std::uint64_t id, const char* source, F&& meanwhile) {
    base::os_thread other("test-peer", meanwhile);
    fence->begin_call(id);
    PyObject* globals = PyModule_GetDict(PyImport_AddModule("__main__"));
    PyObject* r = PyRun_String(source, Py_file_input, globals, globals);
    fence->end_call(id);
    Py_XDECREF(r);
    PyObject* raised = PyErr_GetRaisedException();
    PyThreadState* mine = PyEval_SaveThread();
    other.join();
    PyEval_RestoreThread(mine);
    while (PyErr_CheckSignals() != 0) PyErr_Clear();  // Sent once too often.
    if (!raised) return "";
    PyErr_SetRaisedException(raised);
    return take_error();
  }

  tree::process_runtime runtime{{}};
  std::shared_ptr<port::guest_port> port;
  std::shared_ptr<main_fence> fence;
};

TEST_F(MainFence, AStrikeReachesLoopsSleepsAndLocks) {
  std::uint64_t id = 0;
  for (const char* stuck : {"while True: pass", "time.sleep(1000)", "threading.Event().wait()",
                            "l = _thread.allocate_lock(); l.acquire(); l.acquire()",
                            "import os; os.read(os.pipe()[0], 1)"}) {
    SCOPED_TRACE(stuck);
    ++id;
    const std::string raised = running(id, stuck, [&] {
      // Before the call has begun it would be nothing: as its caller, wait until it runs.
      while (!fence->runs(id)) std::this_thread::yield();
      fence->strike(runtime.control(), id);
    });
    EXPECT_EQ(raised, "Interrupted: ");
  }
}

TEST_F(MainFence, AStrikeAtACallThatIsOverIsNothing) {
  fence->begin_call(1);
  fence->end_call(1);
  fence->strike(runtime.control(), 1);
  EXPECT_EQ(running(2, "for _ in range(1000): pass", [] {}), "");
  EXPECT_EQ(running(3, "for _ in range(1000): pass", [&] { fence->strike(runtime.control(), 2); }),
            "");
}

TEST_F(MainFence, SigtermEndsTheActorAndWhatItRuns) {
  const pthread_t main = ::pthread_self();
  const std::string raised = running(1, "time.sleep(1000)", [&] {
    while (!fence->runs(1)) std::this_thread::yield();
    // Again and again: it may come in the moment before the sleep begins.
    while (port->cancel_seen()) {
      ::pthread_kill(main, SIGTERM);
      std::this_thread::yield();
    }
  });
  EXPECT_EQ(raised, "Interrupted: ");
  auto e = port->take();
  ASSERT_TRUE(e);
  EXPECT_EQ(std::get<port::cancel_requested>(*e).why, "SIGTERM");
}

TEST_F(MainFence, SigintIsTheRootsBusiness) {
  ::raise(SIGINT);
  EXPECT_EQ(PyErr_CheckSignals(), 0) << take_error();
  EXPECT_FALSE(port->take());
}

}  // namespace
}  // namespace coppice::py
