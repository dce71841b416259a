// SPDX-License-Identifier: Apache-2.0
// The rungs: what each reaches, what it must not reach, and what happens when they meet.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "base/fd.hpp"
#include "base/thread.hpp"
#include "coppice/errors.hpp"
#include "pyhost/guest_test_kit.hpp"

namespace coppice::py {
namespace {

using namespace testkit;

// --- interrupt ---------------------------------------------------------------

struct interruptible {
  const char* name;
  const char* code;  // Calls ready(), then gets stuck.
  bool blocks = true;
};

std::ostream& operator<<(std::ostream& out, const interruptible& s) { return out << s.name; }

const interruptible interruptibles[] = {
    {"PureLoop", "ready()\nwhile True: pass", false},
    {"LoopOfCalls", "def f(): pass\nready()\nwhile True: f()", false},
    {"TimeSleep", "import time\nready()\ntime.sleep(1000)"},
    {"EventWait", "import threading\ne = threading.Event()\nready()\ne.wait()"},
    {"EventWaitWithTimeout", "import threading\ne = threading.Event()\nready()\ne.wait(1000)"},
    {"ConditionWait", "import threading\nc = threading.Condition()\nwith c:\n ready()\n c.wait()"},
    {"QueueGet", "import queue\nq = queue.Queue()\nready()\nq.get()"},
    {"QueuePutIntoFullQueue", "import queue\nq = queue.Queue(1)\nq.put(1)\nready()\nq.put(2)"},
    {"BarrierWait", "import threading\nb = threading.Barrier(2)\nready()\nb.wait()"},
    {"FutureResult", "import concurrent.futures as f\nready()\nf.Future().result()"},
#if PY_VERSION_HEX >= 0x030F0000
    {"SocketRecv", "import socket\na, b = socket.socketpair()\nready()\na.recv(1)"},
#endif
};

class Interrupt : public PyHostTest {};
class InterruptGetsOutOf : public PyHostTest, public testing::WithParamInterface<interruptible> {};

TEST_P(InterruptGetsOutOf, TheCallAndTheNextOneRuns) {
  guest g(*host, "say('start')", {},
          {std::string("try:\n") +
               [](std::string code) {
                 for (std::size_t at = 0; (at = code.find('\n', at)) != std::string::npos; ++at)
                   code.insert(at + 1, "  ");
                 return "  " + code;
               }(GetParam().code) +
               "\nfinally:\n  say('finally')",
           "say('next')"});
  g.wait_ready();
  if (GetParam().blocks) {
    ASSERT_TRUE(g.wait_blocked());
  }
  g.handle->interrupt(1);
  ASSERT_TRUE(g.ended()) << g.events->events();
  EXPECT_EQ(g.events->how, rung::none) << "interrupting a call is no stop of the guest";
  EXPECT_EQ(g.said(), (std::vector<std::string>{"start", "finally", "next"}));
  EXPECT_EQ(g.outcomes(), (std::vector<std::string>{"", "Interrupted: ", ""}));
}

INSTANTIATE_TEST_SUITE_P(, InterruptGetsOutOf, testing::ValuesIn(interruptibles),
                         testing::PrintToStringParamName());

TEST_F(Interrupt, OfTheWholeGuestUnwindsIt) {
  guest g(*host, "import time\ntry:\n ready(); time.sleep(1000)\nfinally: say('finally')");
  g.wait_ready();
  g.handle->interrupt();
  ASSERT_TRUE(g.ended());
  EXPECT_EQ(g.events->how, rung::interrupted);
  EXPECT_GT(g.events->took, duration{});
  EXPECT_EQ(g.said(), std::vector<std::string>{"finally"});
}

TEST_F(Interrupt, LeavesFinallyBlocksTheirTime) {
  guest g(*host,
          "import time\ntry:\n ready(); time.sleep(1000)\n"
          "finally:\n t = time.monotonic()\n while time.monotonic() < t + 0.05: pass\n "
          "say('cleaned up')");
  g.wait_ready();
  g.handle->interrupt();
  ASSERT_TRUE(g.ended());
  EXPECT_EQ(g.said(), std::vector<std::string>{"cleaned up"});
}

TEST_F(Interrupt, OfTheWholeGuestLeavesExitHooksTheirTime) {
  guest g(*host,
          "import atexit, time\natexit.register(lambda: say('bye'))\nready()\ntime.sleep(1000)");
  g.wait_ready();
  g.handle->interrupt();
  ASSERT_TRUE(g.ended());
  EXPECT_EQ(g.said(), std::vector<std::string>{"bye"});
}

TEST_F(Interrupt, IsRepeatedWhenSwallowedOnce) {
  guest g(*host,
          "import time\nready()\ntry: time.sleep(1000)\nexcept BaseException: "
          "say('swallowed')\ntime.sleep(1000)");
  g.wait_ready();
  g.handle->interrupt();
  ASSERT_TRUE(g.ended());
  EXPECT_EQ(g.events->how, rung::interrupted);
  EXPECT_EQ(g.said(), std::vector<std::string>{"swallowed"});
}

// Closing it never ends, whatever is raised in it.
constexpr const char* swallower =
    "def swallow():\n try: yield\n finally:\n  while True:\n"
    "   try:\n    while True: pass\n   except BaseException: pass\n";

TEST_F(Interrupt, AGeneratorThatCannotBeClosedDoesNotHoldUpTheEnd) {
  guest g(*host, std::string(swallower) + "g = swallow(); next(g)\nready()\nwhile True: pass");
  g.wait_ready();
  g.handle->interrupt();
  ASSERT_TRUE(g.ended());
  EXPECT_EQ(g.events->how, rung::interrupted);
  EXPECT_FALSE(g.events->has("stuck finalizer")) << g.events->events();
}

TEST_F(Interrupt, NorDoesOneThatNobodyHolds) {
  guest g(*host, std::string(swallower) +
                     "import gc\ngc.disable()\ng = swallow(); next(g)\nring = [g]\n"
                     "ring.append(ring)\ndel g, ring\nready()\nwhile True: pass");
  g.wait_ready();
  g.handle->interrupt();
  ASSERT_TRUE(g.ended());
  EXPECT_EQ(g.events->how, rung::interrupted);
  EXPECT_FALSE(g.events->has("stuck finalizer")) << g.events->events();
}

TEST_F(Interrupt, SwallowedForEverNeedsForce) {
  guest g(*host,
          "import time\nready()\nwhile True:\n try: time.sleep(1000)\n except BaseException: "
          "say('swallowed')");
  g.wait_ready();
  g.handle->interrupt();
  EXPECT_TRUE(eventually([&] { return g.said().size() >= 2; }));
  EXPECT_FALSE(g.events->has("ended"));
  g.handle->force();
  ASSERT_TRUE(g.ended());
  EXPECT_EQ(g.events->how, rung::forced);
}

TEST_F(Interrupt, NeverReleasesAPlainLock) {
  guest g(*host,
          "import _thread\nl = _thread.allocate_lock(); "
          "l.acquire()\nready()\nl.acquire()\nsay('torn')");
  g.wait_ready();
  ASSERT_TRUE(g.wait_blocked());
  g.handle->interrupt();
  EXPECT_TRUE(g.events->wait_for("stuck deaf")) << "so that the ladder climbs at once";
  EXPECT_FALSE(g.events->wait_for("returned", 100ms));
  g.handle->force();
  ASSERT_TRUE(g.ended());
  EXPECT_EQ(g.events->how, rung::forced);
  EXPECT_TRUE(g.said().empty());
}

TEST_F(Interrupt, InterruptedIsNeitherExceptionNorExitNorKeyboardInterrupt) {
  guest g(*host,
          "say(Interrupted.__mro__[1].__name__)\nsay(Interrupted.__name__)\n"
          "say(issubclass(Interrupted, (Exception, SystemExit, KeyboardInterrupt)))");
  ASSERT_TRUE(g.ended());
  EXPECT_EQ(g.said(), (std::vector<std::string>{"BaseException", "Interrupted", "False"}));
}

// The fence. Interrupts rain on calls that are over; whoever runs then must never feel one.
TEST_F(Interrupt, AimedAtAFinishedCallNeverStrikesAnother) {
  std::vector<std::string> calls(400, "for i in range(300): pass");
  guest g(*host, "", {.call_window = 5s}, calls);
  std::size_t strikes = 0;
  while (!g.events->has("returned")) {
    // Source, then calls 1, 2, …: `done - 1` are over.
    const std::size_t done = g.outcomes().size();
    if (done < 2) continue;
    g.handle->interrupt(done - 1);
    ++strikes;
    std::this_thread::yield();
  }
  ASSERT_TRUE(g.ended());
  EXPECT_GT(strikes, 0u);
  const auto outcomes = g.outcomes();
  for (std::size_t i = 0; i < outcomes.size(); ++i) EXPECT_EQ(outcomes[i], "") << "call " << i;
}

// The same with calls that are struck: exactly those, whatever the moment.
TEST_F(Interrupt, StrikesTheCallThatItNamesAndNoOther) {
  std::vector<std::string> calls;
  for (int i = 1; i <= 60; ++i) {
    calls.emplace_back(i % 2 ? "for i in range(2000): pass" : "ready()\nwhile True: pass");
  }
  guest g(*host, "", {}, calls);
  for (int i = 1; i <= 30; ++i) {
    g.wait_ready(i);
    g.handle->interrupt(static_cast<std::uint64_t>(2 * i));
  }
  ASSERT_TRUE(g.ended());
  const auto outcomes = g.outcomes();
  ASSERT_EQ(outcomes.size(), 61u);
  for (std::size_t i = 1; i <= 60; ++i)
    EXPECT_EQ(outcomes[i], i % 2 ? "" : "Interrupted: ") << "call " << i;
}

TEST_F(Interrupt, OfACallThatHasNotBegunStrikesWhenItBegins) {
  guest g(*host, "ready()\nlinger()", {.call_window = 10s}, {"while True: pass"});
  g.wait_ready();
  g.handle->interrupt(1);
  g.let_go();
  ASSERT_TRUE(g.ended());
  EXPECT_EQ(g.outcomes()[1], "Interrupted: ");
}

TEST_F(Interrupt, OfACallThatBeginsAfterTheWindowIsForgotten) {
  guest g(*host, "ready()\nlinger()", {.call_window = 1ms}, {"for i in range(100000): pass"});
  g.wait_ready();
  g.handle->interrupt(1);
  // tidy: allow sleep: the window is wall-clock time, of a thread without a loop
  std::this_thread::sleep_for(20ms);
  g.let_go();
  ASSERT_TRUE(g.ended());
  EXPECT_EQ(g.outcomes()[1], "");
}

TEST_F(Interrupt, LeavesTheConditionUsable) {
  guest g(*host, "import threading\nc = threading.Condition()\n", {},
          {"with c:\n ready()\n c.wait()",
           "import time\n"
           "def other():\n  with c: c.notify_all()\n"
           "say(len(c._waiters))\n"
           "with c:\n  threading.Thread(target=other).start(); say(c.wait(10))"});
  g.wait_ready();
  ASSERT_TRUE(g.wait_blocked());
  g.handle->interrupt(1);
  ASSERT_TRUE(g.ended());
  EXPECT_EQ(g.said(), (std::vector<std::string>{"0", "True"}));
}

// --- force, abandon ----------------------------------------------------------

class Ladder : public PyHostTest {};

TEST_F(Ladder, NativeCodeThatHoldsTheGilIsNamedAbandonedAndReclaimed) {
  guest g(*host, "ready()\nhold()", {.name = "stuck", .gil_bound = 50ms});
  g.wait_ready();
  g.handle->force();
  ASSERT_TRUE(g.events->wait_for("stuck native_code")) << g.events->events() << g.outcomes().back();
  EXPECT_TRUE(host->quarantined().empty());
  ASSERT_TRUE(g.handle->abandon());
  EXPECT_TRUE(g.handle->abandon()) << "idempotent";
  const auto patients = host->quarantined();
  ASSERT_EQ(patients.size(), 1u);
  EXPECT_EQ(patients[0].name, "stuck");
  EXPECT_EQ(patients[0].stuck_in, "native code that holds its GIL");
  EXPECT_GT(patients[0].age, 0ns);
  g.let_go();
  ASSERT_TRUE(g.events->wait_for("reclaimed"));
  EXPECT_FALSE(g.events->has("ended"));
  EXPECT_TRUE(host->quarantined().empty());
  EXPECT_EQ(host->counts().reclaimed, 1u);
}

TEST_F(Ladder, HandleMayGoBeforeTheGuestIsReclaimed) {
  auto events = std::make_shared<recorder>();
  std::shared_ptr<script_body::talk> talk;
  {
    guest g(*host, "ready()\nlinger()", {.park_bound = 50ms});
    g.wait_ready();
    g.handle->force();
    ASSERT_TRUE(g.events->wait_for("stuck native_wait"));
    ASSERT_TRUE(g.handle->abandon());
    events = g.events;
    talk = g.talk;
    g.handle.reset();
    {
      std::lock_guard lock(talk->mutex);
      talk->let_go = true;
      talk->changed.notify_all();
    }
    ASSERT_TRUE(events->wait_for("reclaimed"));
  }
  EXPECT_EQ(host->counts().quarantined, 0u);
}

TEST_F(Ladder, AbandonAfterTheEndSaysSo) {
  guest g(*host, "");
  ASSERT_TRUE(g.ended());
  EXPECT_FALSE(g.handle->abandon());
  g.handle->force();
  g.handle->interrupt();
  EXPECT_EQ(g.events->events(), "running, returned, ended");
}

class letting_go : public recorder {
 public:
  std::unique_ptr<guest_thread> handle;
  void on_ended(rung how_it_was, duration t) noexcept override {
    handle.reset();
    recorder::on_ended(how_it_was, t);
  }
};

TEST_F(Ladder, HandleMayGoInTheObserversLastCall) {
  auto events = std::make_shared<letting_go>();
  auto body = std::make_unique<script_body>("ready()\nlinger()");
  const auto talk = body->shared;
  events->handle = guest_thread::start(*host, {}, std::move(body), events);
  {
    std::lock_guard lock(talk->mutex);
    talk->let_go = true;
    talk->changed.notify_all();
  }
  ASSERT_TRUE(events->wait_for("ended"));
}

TEST_F(Ladder, ALongCallOfCInTheInterpretersOwnCodeIsReclaimedToo) {
  guest g(*host, "ready()\nsum(range(40_000_000))", {.gil_bound = 20ms});
  g.wait_ready();
  g.handle->force();
  ASSERT_TRUE(g.events->wait_for("stuck native_code"));
  ASSERT_TRUE(g.handle->abandon());
  EXPECT_TRUE(g.events->wait_for("reclaimed", 30s));
}

TEST_F(Ladder, AnObjectOfCWhoseEndDoesNotReturnIsNamed) {
  guest g(*host, "import sys\nsys.r = relic()\nready()\nwhile True: pass", {.end_bound = 50ms});
  g.wait_ready();
  g.handle->force();
  ASSERT_TRUE(g.events->wait_for("stuck finalizer"));
  g.let_go();
  ASSERT_TRUE(g.ended());
  EXPECT_EQ(g.events->how, rung::forced);
}

// --- finalizers that only the end of an interpreter runs ---------------------

class Finalizer : public PyHostTest {};

// Of an object whose __del__ is `code`, indented by one.
std::string ends_with(const std::string& code) {
  return "import gc, _thread, time\ngc.disable()\nl = _thread.allocate_lock(); l.acquire()\n"
         "class D:\n def __del__(self):\n  ready()\n" +
         code + "\nd = D()\nd.cycle = d\n";
}

TEST_F(Finalizer, ThatLoopsIsInterrupted) {
  guest g(*host, ends_with("  while True: pass"));
  g.wait_ready();
  EXPECT_TRUE(g.events->has("returned"));
  EXPECT_FALSE(g.events->wait_for("ended", 50ms));
  g.handle->interrupt();
  ASSERT_TRUE(g.ended());
  EXPECT_EQ(g.events->how, rung::interrupted);
}

TEST_F(Finalizer, ThatSleepsIsInterrupted) {
  guest g(*host, ends_with("  time.sleep(1000)"));
  g.wait_ready();
  g.handle->interrupt();
  ASSERT_TRUE(g.ended());
  EXPECT_EQ(g.events->how, rung::interrupted);
}

TEST_F(Finalizer, ThatSwallowsInterruptsIsForced) {
  guest g(*host, ends_with("  while True:\n   try:\n    while True: pass\n"
                           "   except BaseException: say('swallowed')"));
  g.wait_ready();
  g.handle->interrupt();
  EXPECT_TRUE(eventually([&] { return g.said().size() >= 2; }));
  EXPECT_FALSE(g.events->has("ended"));
  g.handle->force();
  ASSERT_TRUE(g.ended());
  EXPECT_EQ(g.events->how, rung::forced);
}

TEST_F(Finalizer, ThatWaitsForALockIsDeafAndForced) {
  guest g(*host, ends_with("  l.acquire()"));
  g.wait_ready();
  ASSERT_TRUE(g.wait_blocked());
  g.handle->interrupt();
  EXPECT_TRUE(g.events->wait_for("stuck deaf"));
  g.handle->force();
  ASSERT_TRUE(g.ended());
  EXPECT_EQ(g.events->how, rung::forced);
}

// The fixture looks for descriptors that are left.
TEST_F(Finalizer, ThatIsForcedOutOfACollectionLeavesNoDescriptorOpen) {
  guest g(*host, ends_with("  l.acquire()") +
                     "import os, select, selectors, socket\n"
                     "d.things = [selectors.DefaultSelector(), socket.socketpair(), "
                     "open('/dev/null', 'wb'), select.epoll(), os.fdopen(os.dup(0))]\n"
                     "d.things.append(d.things)\n");
  g.wait_ready();
  g.handle->force();
  ASSERT_TRUE(g.ended());
  EXPECT_EQ(g.events->how, rung::forced);
}

TEST_F(Finalizer, OfASharedGilGuestDoesNotHoldItUpEither) {
  guest g(*host, ends_with("  while True: pass"), {.gil = gil_kind::shared});
  g.wait_ready();
  g.handle->interrupt();
  ASSERT_TRUE(g.ended());
  EXPECT_EQ(g.events->how, rung::interrupted);
}

TEST_F(Finalizer, InCThatDoesNotComeBackIsNamed) {
  guest g(*host, "class D:\n def __del__(self, f=linger): ready(); f()\nd = D()\n",
          {.park_bound = 50ms});
  g.wait_ready();
  g.handle->force();
  ASSERT_TRUE(g.events->wait_for("stuck native_wait"));
  g.let_go();
  ASSERT_TRUE(g.ended());
  EXPECT_EQ(g.events->how, rung::forced);
}

// Wherever its object is, and with the globals of its module still there.
TEST_F(Finalizer, RunsAtAnOrdinaryEnd) {
  guest g(*host,
          "import builtins, gc, json, sys, types\ngc.disable()\n"
          "prefix = 'end of '\nsay_it = say\n"
          "class D:\n def __init__(self, name): self.name = name\n"
          " def __del__(self): say_it(prefix + self.name)\n"
          "d = D('a global')\nring = [D('a ring')]; ring.append(ring); del ring\n"
          "json.d = D('another module')\nsys.d = D('sys')\nbuiltins.d = D('builtins')\n"
          "sys.excepthook = D('a hook')\nsys.modules['odd'] = D('no module')\n"
          "sys.meta_path.append(D('a finder'))\n"
          "made = types.ModuleType('made'); made.d = D('a module made by hand')\n"
          "sys.modules['made'] = made\n"
          "def suspended(d=D('a generator')):\n try: yield\n finally: say_it('finally')\n"
          "s = suspended(); next(s)\n");
  ASSERT_TRUE(g.ended());
  EXPECT_EQ(g.events->how, rung::none);
  auto said = g.said();
  std::sort(said.begin(), said.end());
  EXPECT_EQ(said, (std::vector<std::string>{
                      "end of a finder", "end of a generator", "end of a global", "end of a hook",
                      "end of a module made by hand", "end of a ring", "end of another module",
                      "end of builtins", "end of no module", "end of sys", "finally"}));
}

TEST_F(Finalizer, FindsNoOtherThreadRunning) {
  guest g(*host,
          "import sys, threading, time\nbeats = []\n"
          "def beat():\n ready()\n while True: beats.append(0)\n"
          "threading.Thread(target=beat, daemon=True).start()\n"
          "class D:\n def __del__(self, beats=beats, say=say, sleep=time.sleep):\n"
          "  n = len(beats); sleep(0.05); say(len(beats) - n)\n"
          "sys.d = D()\nwhile not beats: time.sleep(0.001)\n");
  ASSERT_TRUE(g.ended());
  EXPECT_EQ(g.said(), std::vector<std::string>{"0"});
}

TEST_F(Finalizer, MayStartAThread) {
  guest g(*host,
          "import _thread, time\n"
          "def other():\n ready()\n while True: pass\n"
          "class D:\n def __del__(self, start=_thread.start_new_thread, other=other):\n"
          "  start(other, ())\n"
          "d = D()\n");
  ASSERT_TRUE(g.ended());
  EXPECT_EQ(g.events->how, rung::none);
}

// --- what only the frames of a forced stop hold ------------------------------

class ForcedFrame : public PyHostTest, public testing::WithParamInterface<interruptible> {};

const interruptible handle_holders[] = {
    {"EpollInALocal", "e = select.epoll()\n ready(); lock.acquire()"},
    {"EpollOnTheStack", "select.epoll().poll(-1 if ready() is None else 0)"},
    {"EpollOfAnotherDescriptor", "e = select.epoll.fromfd(os.dup(0))\n ready(); lock.acquire()"},
    {"SocketInALocal", "s = _socket.socket()\n ready(); lock.acquire()"},
    {"FileOnTheStack", "open('/dev/null', 'rb').readinto(Bytes())"},
    {"MapInALocal",
     "f = open('/proc/self/exe', 'rb'); m = mmap.mmap(f.fileno(), 1, access=mmap.ACCESS_READ)\n"
     " ready(); lock.acquire()"},
    {"Selector", "s = selectors.EpollSelector()\n ready(); s.select()"}};

// The fixture looks for descriptors that are left.
TEST_P(ForcedFrame, LeavesNoDescriptorOpen) {
  guest g(*host, std::string("import _socket, _thread, mmap, os, select, selectors\n"
                             "lock = _thread.allocate_lock(); lock.acquire()\n"
                             "class Bytes:\n def __buffer__(self, flags): ready(); lock.acquire()\n"
                             "def work():\n ") +
                     GetParam().code + "\nwork()");
  g.wait_ready();
  ASSERT_TRUE(g.wait_blocked());
  g.handle->force();
  ASSERT_TRUE(g.ended());
  EXPECT_EQ(g.events->how, rung::forced);
}

INSTANTIATE_TEST_SUITE_P(, ForcedFrame, testing::ValuesIn(handle_holders),
                         testing::PrintToStringParamName());

// By siglongjmp, not by an exception: neither is asked.
TEST_F(Ladder, FramesOfCxxThatNoExceptionLeavesAreForcedToo) {
  for (const char* code : {"def f():\n ready()\n while True: pass\ncatch_all(f)",
                           "import _thread\nl = _thread.allocate_lock(); l.acquire()\n"
                           "def f(): ready(); l.acquire()\ncatch_all(f)",
                           "import _thread\nl = _thread.allocate_lock(); l.acquire()\n"
                           "def f(): ready(); l.acquire()\nno_throw(f)",
                           "import _thread\nl = _thread.allocate_lock(); l.acquire()\n"
                           "def f(): ready(); l.acquire()\ncatch_all(lambda: no_throw(f))"}) {
    guest g(*host, code);
    g.wait_ready();
    g.handle->force();
    ASSERT_TRUE(g.ended()) << code;
    EXPECT_EQ(g.events->how, rung::forced) << code;
  }
}

TEST_F(Ladder, AnInterruptPassesANoexceptFrameButNotACatchAll) {
  guest passes(*host, "def f():\n ready()\n while True: pass\nno_throw(f)");
  passes.wait_ready();
  passes.handle->interrupt();
  ASSERT_TRUE(passes.ended());
  EXPECT_EQ(passes.events->how, rung::interrupted);
  guest swallows(*host, "def f():\n ready()\n while True: pass\ncatch_all(f)");
  swallows.wait_ready();
  swallows.handle->interrupt();
  swallows.wait_ready(3);
  swallows.handle->force();
  ASSERT_TRUE(swallows.ended());
  EXPECT_EQ(swallows.events->how, rung::forced);
}

TEST_F(Ladder, StartThatTakesTooLongIsNamedOnceAStopIsWanted) {
  // A shared-GIL guest cannot come up while another one holds that GIL in native code.
  guest holder(*host, "ready()\nhold()", {.gil = gil_kind::shared});
  holder.wait_ready();
  guest late(*host, "say('ran')", {.gil = gil_kind::shared, .start_bound = 50ms});
  late.handle->force();
  EXPECT_TRUE(late.events->wait_for("stuck start"));
  holder.let_go();
  ASSERT_TRUE(late.ended());
  EXPECT_TRUE(late.said().empty());
  ASSERT_TRUE(holder.ended());
}

TEST_F(Ladder, RungsThatRaceEndTheGuestExactlyOnce) {
  host->self_test();
  for (int i = 0; i < 30; ++i) {
    guest g(*host, i % 3 == 0   ? "ready()\nwhile True: pass"
                   : i % 3 == 1 ? "import time\nready()\ntime.sleep(0.003)"
                                : "ready()");
    g.wait_ready();
    bool quarantined = false;
    base::os_thread a("a", [&] {
      for (int n = 0; n < 5; ++n) g.handle->interrupt();
    });
    base::os_thread b("b", [&] {
      for (int n = 0; n < 5; ++n) g.handle->force();
    });
    base::os_thread c("c", [&] {
      if (i % 2) quarantined = g.handle->abandon();
    });
    a.join(), b.join(), c.join();
    ASSERT_TRUE(g.handle->join_for(10s)) << g.events->events();
    EXPECT_EQ(g.events->has("reclaimed"), quarantined);
    EXPECT_EQ(g.events->has("ended"), !quarantined);
  }
}

// Users would have lost a 64 MiB argument with every actor that was killed while it worked on it.
TEST_F(Ladder, BuffersThatTheFramesOfAForcedStopHeldAreLetGo) {
  guest g(*host, "linger()\ndef work(b):\n  ready()\n  while True: pass\nwork(block())");
  auto bytes = std::make_shared<std::vector<std::byte>>(100'000);
  g.talk->block = {bytes, *bytes};
  const std::weak_ptr<const void> held = std::exchange(bytes, nullptr);
  g.let_go();
  g.wait_ready();
  g.talk->block = {};
  EXPECT_FALSE(held.expired());
  g.handle->force();
  ASSERT_TRUE(g.ended());
  EXPECT_EQ(g.events->how, rung::forced);
  EXPECT_TRUE(held.expired());
}

TEST_F(Ladder, ManyAtOnceAreForcedInParallel) {
  host->self_test();
  std::vector<std::unique_ptr<guest>> all;
  for (int i = 0; i < 12; ++i) {
    all.push_back(std::make_unique<guest>(
        *host, i % 2 ? "ready()\nwhile True: pass" : "import time\nready()\ntime.sleep(1000)"));
  }
  for (auto& g : all) g->wait_ready();
  const auto start = std::chrono::steady_clock::now();
  for (auto& g : all) g->handle->force();
  for (auto& g : all) ASSERT_TRUE(g->ended());
  EXPECT_LT(std::chrono::steady_clock::now() - start, 5s);
}

// The counter-proof of prototypes/rejected/cancel_corrupts_parking_lot.cpp: CPython's process-wide
// lock table must be sane after guests were forced out of lock waits.
TEST_F(Ladder, TwoHundredForcedStopsInLockWaitsLeaveOtherGuestsLocksSane) {
  host->self_test();
  const char* waits[] = {
      "import threading\ne = threading.Event()\nready()\ne.wait()",
      "import _thread\nl = _thread.allocate_lock(); l.acquire()\nready()\nl.acquire()",
      "import queue\nq = queue.SimpleQueue()\nready()\nq.get()",
      "import _thread\nl = _thread.allocate_lock(); l.acquire()\nready()\nl.acquire(timeout=1000)"};
  for (int i = 0; i < 200; i += 4) {
    std::vector<std::unique_ptr<guest>> four;
    for (const char* code : waits) four.push_back(std::make_unique<guest>(*host, code));
    for (auto& g : four) g->wait_ready();
    for (auto& g : four) g->handle->force();
    for (auto& g : four) ASSERT_TRUE(g->ended());
  }
  EXPECT_EQ(host->counts().forced, 200u);
  guest healthy(*host,
                "import threading\n"
                "locks = [threading.Lock() for _ in range(3000)]\n"
                "for l in locks: l.acquire()\n"
                "for i in range(0, 3000, 100):\n"
                "  ts = [threading.Thread(target=lambda l=l: l.acquire(timeout=0.02)) for l in "
                "locks[i:i+100]]\n"
                "  [t.start() for t in ts]; [t.join() for t in ts]\n"
                "say('healthy')");
  ASSERT_TRUE(healthy.ended(40s)) << healthy.events->events();
  EXPECT_EQ(healthy.said(), std::vector<std::string>{"healthy"});
}

// CPython's fatal "could not acquire lock … at interpreter shutdown" is what this is about.
TEST_F(Ladder, OrdinaryEndBesideADaemonThreadInABufferedReadIsJustAnEnd) {
  char path[] = "/tmp/coppice-test-XXXXXX";
  const base::unique_fd file(::mkstemp(path));
  guest g(
      *host,
      "import io, os, sys, threading, time\nr, w = os.pipe()\nf = open(r, 'rb'); t = open(w, 'w')\n"
      "def read():\n  ready(); f.read(1)\n"
      "threading.Thread(target=read, daemon=True).start()\n"
      "time.sleep(0.05)\nsys.t = io.TextIOWrapper(f)\n"
      "g = open('" +
          std::string(path) + "', 'w'); g.write('in the buffer')\n");
  ASSERT_TRUE(g.ended());
  EXPECT_EQ(g.events->how, rung::none);
  char text[32] = {};
  EXPECT_EQ(::pread(file.get(), text, sizeof text, 0), 13)
      << "what stood in a buffer must be flushed";
  ::unlink(path);
}

}  // namespace
}  // namespace coppice::py
