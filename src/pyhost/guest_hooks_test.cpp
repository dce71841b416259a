// SPDX-License-Identifier: Apache-2.0
// What is different in a guest, and what must not be.
#include "pyhost/guest_hooks.hpp"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <thread>

#include "base/file_text.hpp"
#include "pyhost/guest_test_kit.hpp"

namespace coppice::py {
namespace {

using namespace testkit;
using strings = std::vector<std::string>;

class GuestHooks : public PyHostTest {
 protected:
  // Runs the source to its end and returns what it said; its error if it had one.
  strings run(const std::string& source, guest_options options = {}) {
    guest g(*host, source, std::move(options));
    EXPECT_TRUE(g.ended(30s)) << g.events->events();
    strings said = g.said();
    if (const auto outcomes = g.outcomes(); outcomes.size() != 1 || !outcomes[0].empty()) {
      said.push_back(outcomes.empty() ? "did not run" : outcomes[0]);
    }
    return said;
  }
};

// --- processes ---------------------------------------------------------------

TEST_F(GuestHooks, SubprocessSimplyWorks) {
  EXPECT_EQ(run("import subprocess\n"
                "p = subprocess.Popen(['sleep', '9']); p.terminate(); say(p.wait())\n"
                "say(subprocess.run(['cat'], input=b'x', capture_output=True).stdout)\n"
                "say(subprocess.call('exit 3', shell=True))"),
            (strings{"-15", "b'x'", "3"}));
}

TEST_F(GuestHooks, ProcessesLeftBehindByAReturningGuestEndWithIt) {
  guest g(*host, "import subprocess\nsay(subprocess.Popen(['sleep', '900']).pid)");
  ASSERT_TRUE(g.ended());
  ASSERT_EQ(g.said().size(), 1u);
  EXPECT_EQ(::kill(std::stoi(g.said()[0]), 0), -1);
}

TEST_F(GuestHooks, ProcessesOfAForcedGuestEndWithItHoweverTheyWereStarted) {
  guest g(*host,
          "import os, subprocess\n"
          "say(subprocess.Popen(['sleep', '900']).pid)\n"
          "say(os.posix_spawn('/bin/sleep', ['sleep', '901'], os.environ))\n"
          "say(os.posix_spawnp('sleep', ['sleep', '902'], os.environ))\n"
          "ready()\nwhile True: pass");
  g.wait_ready();
  for (const auto& pid : g.said()) EXPECT_EQ(::kill(std::stoi(pid), 0), 0);
  g.handle->force();
  ASSERT_TRUE(g.ended());
  ASSERT_EQ(g.said().size(), 3u);
  for (const auto& pid : g.said()) EXPECT_EQ(::kill(std::stoi(pid), 0), -1) << "and reaped";
}

TEST_F(GuestHooks, ManyShortProcessesDoNotPileUp) {
  EXPECT_EQ(run("import os, subprocess\n"
                "n = len(os.listdir('/proc/self/fd'))\n"
                "for i in range(40): subprocess.call(['true'])\n"
                "say(len(os.listdir('/proc/self/fd')) - n < 16)"),
            strings{"True"});
}

TEST_F(GuestHooks, OsSystemReturnsTheStatusAndCanBeForced) {
  EXPECT_EQ(run("import os\nsay(os.system('exit 3') >> 8)\nsay(os.system(b'true'))\n"
                "try: os.system()\nexcept TypeError: say('TypeError')"),
            (strings{"3", "0", "TypeError"}));
  guest g(*host, "import os\nready()\nos.system('sleep 900')");
  g.wait_ready();
  ASSERT_TRUE(g.wait_blocked());
  g.handle->force();
  ASSERT_TRUE(g.ended());
}

TEST_F(GuestHooks, WhatAShellLeftBehindEndsWithTheGuestToo) {
  guest g(*host,
          "import subprocess\n"
          "p = subprocess.Popen('sleep 900 & echo $!; wait', shell=True, stdout=subprocess.PIPE)\n"
          "say(p.stdout.readline().decode())");
  ASSERT_TRUE(g.ended());
  ASSERT_EQ(g.said().size(), 1u);
  EXPECT_TRUE(eventually([pid = std::stoi(g.said()[0])] {  // Reaped by init, not by us.
    const std::string stat = "/proc/" + std::to_string(pid) + "/stat";
    const std::string text = base::file_text(stat);
    return text.empty() || text.find(") Z ") != std::string::npos;
  }));
}

TEST_F(GuestHooks, AsyncioSubprocessWorks) {
  EXPECT_EQ(run("import asyncio\n"
                "async def main():\n"
                " p = await asyncio.create_subprocess_exec('sleep', '900'); p.kill(); say(await "
                "p.wait())\n"
                "asyncio.run(main())"),
            strings{"-9"});
}

TEST_F(GuestHooks, ForkIsRefusedInASentenceThatNamesForkserver) {
  for (const char* call : {"os.fork()", "os.forkpty()"}) {
    const strings said =
        run(std::string("import os\ntry: ") + call + "\nexcept RuntimeError as e: say(e)");
    ASSERT_EQ(said.size(), 1u) << call;
    EXPECT_NE(said[0].find("forkserver"), std::string::npos) << said[0];
  }
}

TEST_F(GuestHooks, ExecIsRefused) {
  EXPECT_EQ(
      run("import os\ntry: os.execv('/bin/true', ['true'])\nexcept RuntimeError: say('refused')"),
      strings{"refused"});
}

// --- sleep -------------------------------------------------------------------

TEST_F(GuestHooks, SleepSleepsAndAnswersOddArgumentsLikeCPython) {
  EXPECT_EQ(run("import time\n"
                "t = time.monotonic(); time.sleep(0.02); say(time.monotonic() - t >= 0.02)\n"
                "t = time.monotonic(); time.sleep(0); say(time.monotonic() - t < 1)\n"
                "for odd in (-1, float('nan'), 1e30, 'x', None, 10**40):\n"
                "  try: time.sleep(odd)\n"
                "  except Exception as e: say(type(e).__name__)\n"),
            (strings{"True", "True", "ValueError", "ValueError", "OverflowError", "TypeError",
                     "TypeError", "OverflowError"}));
}

TEST_F(GuestHooks, WrappedFunctionsLookLikeTheOnesTheyStandFor) {
  EXPECT_EQ(run("import pickle, time, os, inspect\n"
                "say(pickle.loads(pickle.dumps(time.sleep)) is time.sleep)\n"
                "say(pickle.loads(pickle.dumps(os.posix_spawn)) is os.posix_spawn)\n"
                "say((time.sleep.__name__, time.sleep.__module__, 'Delay' in time.sleep.__doc__))\n"
                "say(inspect.signature(time.sleep))"),
            (strings{"True", "True", "('sleep', 'time', True)", "(object, /)"}));
}

TEST_F(GuestHooks, SleepOfAnotherThreadOfTheGuestIsNotWokenByAnInterrupt) {
  guest g(
      *host, "", {},
      {"import threading, time\n"
       "def other():\n  t = time.monotonic(); time.sleep(0.15); say(time.monotonic() - t >= 0.15)\n"
       "threading.Thread(target=other).start()\n"
       "ready()\ntime.sleep(100)"});
  g.wait_ready();
  g.handle->interrupt(1);
  ASSERT_TRUE(g.ended());
  EXPECT_EQ(g.said(), strings{"True"});
}

// --- signals, frames, imports ------------------------------------------------

TEST_F(GuestHooks, MaskingAllSignalsLeavesTheStopSignalsOpen) {
  EXPECT_EQ(run("import signal\n"
                "old = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())\n"
                "now = signal.pthread_sigmask(signal.SIG_BLOCK, [])\n"
                "say(signal.SIGUSR1 in now)\n"
                "say(len(signal.valid_signals()) - len(now) - 2)\n"  // SIGKILL and SIGSTOP cannot
                                                                     // be blocked.
                "signal.pthread_sigmask(signal.SIG_SETMASK, old)"),
            (strings{"True", "2"}));
}

TEST_F(GuestHooks, CurrentFramesAreTheGuestsOwnAndOthersMayRun) {
  guest spinning(*host, "ready()\nwhile True: pass");
  spinning.wait_ready();
  EXPECT_EQ(run("import sys, threading\n"
                "e = threading.Event(); t = threading.Thread(target=e.wait); t.start()\n"
                "for i in range(300): frames = sys._current_frames(); errors = "
                "sys._current_exceptions()\n"
                "say(sorted(frames) == sorted([threading.get_ident(), t.ident]))\n"
                "say(frames[threading.get_ident()] is sys._getframe())\n"
                "say(sorted(errors) >= sorted(frames))\n"
                "e.set()"),
            (strings{"True", "True", "True"}));
}

TEST_F(GuestHooks, AnExtensionThatRefusesAnOwnGilIsNamedWithTheWaysOut) {
  for (const char* module : {"readline", "_curses", "faulthandler", "_tracemalloc"}) {
    const strings said =
        run(std::string("try: import ") + module +
                "\nexcept ImportError as e: say(e.name); say(e); say(type(e.__cause__).__name__)",
            {.name = "worker"});
    ASSERT_EQ(said.size(), 3u) << module;
    EXPECT_EQ(said[0], module);
    for (const char* part : {"start_method='process'", "gil='shared'", "worker"}) {
      EXPECT_NE(said[1].find(part), std::string::npos) << said[1];
    }
    EXPECT_EQ(said[2], "ImportError");
  }
}

TEST_F(GuestHooks, ASharedGilGuestImportsSuchAnExtension) {
  EXPECT_EQ(run("import faulthandler\nsay('imported')", {.gil = gil_kind::shared}),
            strings{"imported"});
}

TEST_F(GuestHooks, OtherImportErrorsPassUnchanged) {
  EXPECT_EQ(run("try: import nosuchmodule\nexcept ImportError as e: say(e)"),
            strings{"No module named 'nosuchmodule'"});
}

TEST_F(GuestHooks, GuestStartsWithNothingImportedThatABareInterpreterLacks) {
  EXPECT_EQ(run("import sys\n"
                "say([m for m in ('threading', 'subprocess', 'asyncio', 'signal', '_signal', "
                "'_posixsubprocess',"
                " '_interpreters', 'atexit') if m in sys.modules])"),
            strings{"[]"});
}

// Callbacks from C find their thread state through the GILState API.
TEST_F(GuestHooks, CallbacksFromCReachTheGuestsInterpreter) {
  EXPECT_EQ(run("import ctypes\n"
                "f = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(lambda x: x + 1)\nsay(f(41))"),
            strings{"42"});
}

// --- nested interpreters -----------------------------------------------------

TEST_F(GuestHooks, NestedInterpretersWorkAndEndWithTheirGuest) {
  EXPECT_EQ(run("from concurrent import interpreters as i\n"
                "a = i.create(); say(a.call(abs, -3)); a.close()\n"
                "b = i.create(); b.exec('x = 1')\n"),
            strings{"3"});
}

TEST_F(GuestHooks, InterpretersThatAReturningGuestForgotEndToo) {
  EXPECT_EQ(run("import _interpreters\nfor n in range(3): i = _interpreters.create('isolated')\n"
                "_interpreters.exec(i, 'import _interpreters; _interpreters.create()')\n"
                "say(len(_interpreters.list_all()) >= 5)"),
            strings{"True"});
  EXPECT_EQ(run("import _interpreters\nsay(len(_interpreters.list_all()))"), strings{"2"})
      << "the main interpreter and this one";
}

TEST_F(GuestHooks, ProcessesOfNestedInterpretersAreTheGuestsToo) {
  guest g(*host,
          "import _interpreters, os\nr, w = os.pipe()\ni = _interpreters.create('isolated')\n"
          "_interpreters.exec(i, f'import subprocess, os\\nos.write({w}, "
          "str(subprocess.Popen([\"sleep\", "
          "\"900\"]).pid).encode())')\n"
          "say(os.read(r, 100).decode()); os.close(r); os.close(w)");
  ASSERT_TRUE(g.ended());
  ASSERT_EQ(g.said().size(), 1u);
  EXPECT_EQ(::kill(std::stoi(g.said()[0]), 0), -1);
}

}  // namespace
}  // namespace coppice::py
