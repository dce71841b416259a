// SPDX-License-Identifier: Apache-2.0
// Ordinary lives, and forced ends from every state that a guest can be in.
#include "pyhost/guest_thread.hpp"

#include <gtest/gtest.h>

#include "coppice/errors.hpp"
#include "pyhost/guest_test_kit.hpp"

namespace coppice::py {
namespace {

using namespace testkit;

class GuestThread : public PyHostTest {};

TEST_F(GuestThread, RunsItsBodyAndEndsByItselfWithoutAnyRung) {
  guest g(*host, "say(6 * 7)");
  ASSERT_TRUE(g.ended());
  EXPECT_EQ(g.events->events(), "running, returned, ended");
  EXPECT_EQ(g.events->how, rung::none);
  EXPECT_EQ(g.events->took, duration{});
  EXPECT_EQ(g.said(), std::vector<std::string>{"42"});
}

TEST_F(GuestThread, ThreadsCarryTheGuestsName) {
  guest g(*host, "ready()\nimport time; time.sleep(100)", {.name = "worker"});
  g.wait_ready();
  g.handle->interrupt(1);  // Brings the reaper up; there is no such call.
  EXPECT_TRUE(eventually([] {
    std::string all;
    for (const auto& t : possessions::now().threads) all += t + "\n";
    return all.find(" guest/worker\n") != std::string::npos &&
           all.find(" reap/worker\n") != std::string::npos;
  }));
  g.handle->rename("other");
  std::string all;
  for (const auto& t : possessions::now().threads) all += t + "\n";
  EXPECT_NE(all.find(" guest/other\n"), std::string::npos) << all;
  g.handle->force();
  EXPECT_TRUE(g.ended());
}

TEST_F(GuestThread, RefusesAnOwnGilWithTheMainAllocator) {
  auto body = std::make_unique<script_body>("");
  EXPECT_THROW(guest_thread::start(*host, {.use_main_obmalloc = true}, std::move(body),
                                   std::make_shared<recorder>()),
               backend_unavailable);
}

TEST_F(GuestThread, IsNotStartedInATracedProcessWhereItWouldWaitForEver) {
  const auto run_in_main = [](const char* source) {
    const auto held = PyGILState_Ensure();
    PyRun_SimpleString(source);
    PyGILState_Release(held);
  };
  run_in_main("import tracemalloc; tracemalloc.start()");
  {
    guest g(*host, "say(1)");
    EXPECT_TRUE(g.events->wait_for("start_failed"));
    EXPECT_NE(g.events->failure.find("tracemalloc traces this process"), std::string::npos)
        << g.events->failure;
  }
  run_in_main("tracemalloc.stop()");
  guest g(*host, "say(2)");
  ASSERT_TRUE(g.ended());
  EXPECT_EQ(g.said(), std::vector<std::string>{"2"});
}

TEST_F(GuestThread, LooksLikeTheInterpreterItWasToldToBeLike) {
  guest g(*host,
          "import sys\nsay(sys.executable)\nsay(any('site-packages' in p for p in sys.path))");
  ASSERT_TRUE(g.ended());
  EXPECT_EQ(g.said(), (std::vector<std::string>{COPPICE_TEST_PYTHON, "True"}));
}

TEST_F(GuestThread, SystemExitEndsTheGuestNotTheProcess) {
  guest g(*host, "import sys\nsys.exit(7)");
  ASSERT_TRUE(g.ended());
  EXPECT_EQ(g.outcomes(), std::vector<std::string>{"SystemExit: 7"});
}

TEST_F(GuestThread, ExitHooksRunOnTheGuestsOwnThreadInCPythonsOrder) {
  guest g(*host,
          "import atexit, threading, _thread\n"
          "me = _thread.get_ident()\n"
          "atexit.register(lambda: say(('atexit', _thread.get_ident() == me)))\n"
          "threading._register_atexit(lambda: say(('threading', _thread.get_ident() == me)))\n");
  ASSERT_TRUE(g.ended());
  EXPECT_EQ(g.said(), (std::vector<std::string>{"('threading', True)", "('atexit', True)"}));
}

TEST_F(GuestThread, ThreadsThatItStartedAreJoinedAsInAScript) {
  guest g(*host,
          "import threading, time\n"
          "say(threading.main_thread() is threading.current_thread())\n"
          "def late():\n    time.sleep(0.05); say('late')\n"
          "t = threading.Thread(target=late); t.start(); say(t.daemon)\n");
  ASSERT_TRUE(g.ended());
  EXPECT_EQ(g.said(), (std::vector<std::string>{"True", "False", "late"}));
}

TEST_F(GuestThread, SharedGilGuestRunsAndIsForced) {
  guest g(*host, "ready()\nwhile True: pass", {.gil = gil_kind::shared});
  g.wait_ready();
  g.handle->force();
  ASSERT_TRUE(g.ended());
  EXPECT_EQ(g.events->how, rung::forced);
}

TEST_F(GuestThread, StoppedWhileItStartsItsCodeNeverRuns) {
  for (int i = 0; i < 10; ++i) {
    guest g(*host, "say('ran')");
    if (i % 2) g.handle->interrupt();
    g.handle->force();
    ASSERT_TRUE(g.ended());
    EXPECT_TRUE(g.said().empty() || g.events->has("running"));
    if (!g.events->has("running")) {
      EXPECT_EQ(g.events->events(), "ended");
    }
  }
}

TEST_F(GuestThread, CountsWhatHappened) {
  {
    guest g(*host, "");
    ASSERT_TRUE(g.ended());
    guest f(*host, "ready()\nwhile True: pass");
    f.wait_ready();
    EXPECT_EQ(host->counts().live, 1u);
    f.handle->force();
    ASSERT_TRUE(f.ended());
  }
  EXPECT_EQ(host->counts().forced, 1u) << "the self-test is not counted";
  EXPECT_EQ(host->counts().live, 0u);
}

TEST_F(GuestThread, DestroyingTheHandleOfALiveGuestAborts) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        auto g = guest_thread::start(*host, {}, std::make_unique<script_body>("while True: pass"),
                                     std::make_shared<recorder>());
        g.reset();
      },
      "destroyed while its guest is alive");
}

// --- every state -------------------------------------------------------------

struct state {
  const char* name;
  const char* code;
  bool blocks = true;  // Its thread comes to rest in a system call.
};

std::ostream& operator<<(std::ostream& out, const state& s) { return out << s.name; }

const state states[] = {
    {"PureLoop", "ready()\nwhile True: pass", false},
    {"SwallowingLoop",
     "ready()\nwhile True:\n try:\n  while True: pass\n except BaseException: pass", false},
    {"TimeSleep", "import time\nready()\ntime.sleep(1000)"},
    {"EventWait", "import threading\ne = threading.Event()\nready()\ne.wait()"},
    {"PlainLock", "import _thread\nl = _thread.allocate_lock(); l.acquire()\nready()\nl.acquire()"},
    {"LockWithTimeout",
     "import _thread\nl = _thread.allocate_lock(); l.acquire()\nready()\nl.acquire(timeout=1000)"},
    {"QueueGet", "import queue\nq = queue.Queue()\nready()\nq.get()"},
    {"SimpleQueueGet", "import queue\nq = queue.SimpleQueue()\nready()\nq.get()"},
    {"ThreadJoin",
     "import threading\nt = "
     "threading.Thread(target=threading.Event().wait)\nt.start()\nready()\nt.join()"},
    {"SocketRecv", "import socket\na, b = socket.socketpair()\nready()\na.recv(1)"},
    {"SocketAccept",
     "import socket\ns = socket.socket(); s.bind(('127.0.0.1', 0)); "
     "s.listen()\nready()\ns.accept()"},
    {"Select",
     "import select, os\nr, w = os.pipe()\nimport io\nk = io.FileIO(r), io.FileIO(w, 'w')\n"
     "ready()\nselect.select([r], [], [])"},
    {"EpollWait", "import select\ne = select.epoll()\nready()\ne.poll()"},
    {"FileRead",
     "import os, io\nr, w = os.pipe()\nf = open(r, 'rb'); k = io.FileIO(w, "
     "'w')\nready()\nf.read(1)"},
    {"AsyncioIdle",
     "import asyncio\nasync def main():\n ready()\n await "
     "asyncio.sleep(1000)\nasyncio.run(main())"},
    {"SignalPause", "import signal\nready()\nsignal.pause()"},
    {"ThreeThreadsOneSpinning",
     "import threading, time\nthreading.Thread(target=lambda: time.sleep(1000)).start()\n"
     "threading.Thread(target=threading.Event().wait).start()\nready()\nwhile True: pass",
     false},
    {"AtexitCallbackThatBlocks",
     "import atexit, time\natexit.register(lambda: (ready(), time.sleep(1000)))"},
    {"ThreadingShutdownThatBlocks",
     "import threading, time\nthreading.Thread(target=lambda: (ready(), "
     "time.sleep(1000))).start()"},
    {"DuringItsImports", "ready()\nimport asyncio, ssl, sqlite3, decimal\nwhile True: pass", false},
    {"InsideImportThreading",
     "import sys, types, _thread, importlib._bootstrap as b, time\nm = "
     "types.ModuleType('threading')\n"
     "class S: _initializing = True; name = 'threading'\nm.__spec__ = S(); "
     "sys.modules['threading'] = m\n"
     "b._ModuleLockManager('threading').__enter__()\nready()\ntime.sleep(1000)"},
    {"AllSignalsBlocked",
     "import signal, time\nsignal.pthread_sigmask(signal.SIG_BLOCK, "
     "signal.valid_signals())\nready()\ntime.sleep(1000)"},
    {"NestedInterpreterSleeping",
     "import _interpreters\ni = _interpreters.create('isolated')\nready()\n"
     "_interpreters.exec(i, 'import time; time.sleep(1000)')"},
    {"NestedInterpreterSpinning",
     "import _interpreters\ni = _interpreters.create('isolated')\nready()\n_interpreters.exec(i, "
     "'while True: pass')",
     false},
    {"NestedTwiceWithThreads",
     "import _interpreters\ni = _interpreters.create('isolated')\nready()\n"
     "_interpreters.exec(i, '''\nimport _interpreters\nj = _interpreters.create('legacy')\n"
     "_interpreters.exec(j, \"import time; time.sleep(1000)\")''')"},
    {"SharedNestedInterpreter",
     "import _interpreters\ni = _interpreters.create('legacy')\nready()\n_interpreters.exec(i, "
     "'while True: pass')",
     false},
    // Parked threads that hold the lock of a buffered file. What `sys` refers to is torn down with
    // the interpreter, what the parked frames refer to is not.
    {"WriteIntoAFullPipe",
     "import os, sys\nr, w = os.pipe()\nsys.k = open(r, 'rb'); sys.f = open(w, 'wb')\nready()\n"
     "sys.f.write(b'x' * 10_000_000)"},
    {"WriteIntoAFullPipeUnderAText",
     "import os, sys\nr, w = os.pipe()\nsys.k = open(r, 'rb'); sys.f = open(w, 'w')\nready()\n"
     "sys.f.buffer.write(b'x' * 10_000_000)"},
    {"FinalizersThatWouldNeverReturn",
     "import sys, time\nclass D:\n def __del__(self):\n  while True: pass\n"
     "sys.d = D()\nready()\ntime.sleep(1000)"},
    {"GeneratorWithFinally",
     "import sys, time\ndef g():\n try: yield\n finally:\n  while True: pass\n"
     "sys.g = g(); next(sys.g)\nready()\ntime.sleep(1000)"},
    {"WeakrefCallbackAndCoroutine",
     "import sys, time, weakref\nclass D: pass\nsys.d = D()\ndef spin(*a):\n while True: pass\n"
     "sys.w = weakref.ref(sys.d, spin)\nasync def c():\n try: await x\n finally: spin()\n"
     "class X:\n def __await__(self): yield\nx = X(); sys.c = c(); "
     "sys.c.send(None)\nready()\ntime.sleep(1000)"},
    {"ThreadsStartedWithoutEnd",
     "import _thread\nready()\ndef f():\n pass\nwhile True:\n try: _thread.start_new_thread(f, "
     "())\n except RuntimeError: pass",
     false},
};

// What C code on a parked stack has open for itself stays open (guest_thread.hpp): here a folder.
bool may_leave_a_folder(const state& s) { return std::string_view(s.name) == "DuringItsImports"; }

class ForcedFrom : public PyHostTest, public testing::WithParamInterface<state> {};

TEST_P(ForcedFrom, EndsInTimeAndLeavesNothing) {
  const state& s = GetParam();
  ASSERT_EQ(host->self_test().is, force_verdict::state::works) << host->verdict().text;
  {
    guest g(*host, s.code);
    g.wait_ready();
    if (s.blocks) {
      ASSERT_TRUE(g.wait_blocked());
    }
    g.handle->force();
    ASSERT_TRUE(g.ended()) << g.events->events();
    EXPECT_EQ(g.events->how, rung::forced);
    EXPECT_LT(g.events->took, 2s);
    RecordProperty("milliseconds", std::to_string(g.events->took / 1ms));
  }
  check_folders = !may_leave_a_folder(s);
}

INSTANTIATE_TEST_SUITE_P(, ForcedFrom, testing::ValuesIn(states),
                         testing::PrintToStringParamName());

}  // namespace
}  // namespace coppice::py
