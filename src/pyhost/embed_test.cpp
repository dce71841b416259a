// SPDX-License-Identifier: Apache-2.0
#include "pyhost/embed.hpp"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>

#include "pyhost/guest_test_kit.hpp"
#include "pyhost/host_core.hpp"
#include "pyhost/python.hpp"

namespace coppice::py {
namespace {

using namespace testkit;

// CPython comes up once per process, so every test here has a process of its own. Text on stderr
// tells why one failed.
int in_child(const std::function<bool()>& body) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::alarm(30);
    ::_exit(body() ? 0 : 1);
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  return status;
}

std::string evaluate(const char* expression) {
  PyObject* dict = PyModule_GetDict(PyImport_AddModule("__main__"));
  PyObject* result = PyRun_String(expression, Py_eval_input, dict, dict);
  PyObject* text = result ? PyObject_Str(result) : nullptr;
  std::string s = text ? PyUnicode_AsUTF8(text) : "error";
  PyErr_Clear();
  Py_XDECREF(text);
  Py_XDECREF(result);
  return s;
}

// Evaluates in the main interpreter, on a thread that is not attached.
std::string in_main(const char* expression) {
  const PyGILState_STATE s = PyGILState_Ensure();
  std::string text = evaluate(expression);
  PyGILState_Release(s);
  return text;
}

#define SAY_IF_NOT(condition) \
  ((condition) ? true : (std::fprintf(stderr, "not: %s\n", #condition), false))

TEST(Embedding, ComesUpIdleAndDetachedWithoutSignalHandlersAndGoes) {
  EXPECT_EQ(in_child([] {
              struct sigaction before{}, after{};
              ::sigaction(SIGINT, nullptr, &before);
              auto python = embedding::up({.executable = COPPICE_TEST_PYTHON});
              ::sigaction(SIGINT, nullptr, &after);
              return SAY_IF_NOT(python->coppice_is_host()) && SAY_IF_NOT(!PyGILState_Check()) &&
                     SAY_IF_NOT(before.sa_handler == after.sa_handler) &&
                     SAY_IF_NOT(python->finalize()) && SAY_IF_NOT(!Py_IsInitialized());
            }),
            0);
}

TEST(Embedding, IsLikeTheInterpreterRunByHand) {
  EXPECT_EQ(in_child([] {
              auto python = embedding::up({.executable = COPPICE_TEST_PYTHON});
              std::string by_hand;
              FILE* p =
                  ::popen(COPPICE_TEST_PYTHON
                          " -c 'import sys; print((sys.executable, sys.prefix, sys.exec_prefix, "
                          "sys.base_prefix, sys.path[1:]), end=\"\")'",
                          "r");
              char buffer[4096];
              while (std::fgets(buffer, sizeof buffer, p)) by_hand += buffer;
              ::pclose(p);
              in_main("__import__('sys').path");
              const std::string here = in_main(
                  "(lambda s: (s.executable, s.prefix, s.exec_prefix, s.base_prefix, "
                  "s.path))(__import__('sys'))");
              if (here != by_hand) std::fprintf(stderr, "%s\n%s\n", here.c_str(), by_hand.c_str());
              return here == by_hand;
            }),
            0);
}

TEST(Embedding, IsLikeTheVenvThatItWasNamed) {
  char name[] = "/tmp/coppice-venv-XXXXXX";
  const std::filesystem::path folder = ::mkdtemp(name);
  ASSERT_EQ(std::system((COPPICE_TEST_PYTHON " -m venv --without-pip " + folder.string()).c_str()),
            0);
  EXPECT_EQ(in_child([&] {
              auto python = embedding::up({.executable = (folder / "bin/python").string()});
              return SAY_IF_NOT(in_main("__import__('sys').prefix") == folder.string()) &&
                     SAY_IF_NOT(in_main("__import__('sys').executable") ==
                                (folder / "bin/python").string()) &&
                     SAY_IF_NOT(in_main("any(p.startswith(__import__('sys').prefix) for p in "
                                        "__import__('sys').path)") == "True");
            }),
            0);
  std::filesystem::remove_all(folder);
}

PyModuleDef answer_module = {
    PyModuleDef_HEAD_INIT, "_answer", nullptr, 0, nullptr, nullptr, nullptr, nullptr, nullptr};

TEST(Embedding, BringsItsOwnModulesAlong) {
  EXPECT_EQ(in_child([] {
              auto python = embedding::up(
                  {.executable = COPPICE_TEST_PYTHON,
                   .modules = {{"_answer", [] { return PyModuleDef_Init(&answer_module); }}}});
              return SAY_IF_NOT(in_main("__import__('_answer').__name__") == "_answer");
            }),
            0);
}

TEST(Embedding, FindsARunningPythonAndLeavesItToItsOwner) {
  EXPECT_EQ(in_child([] {
              Py_InitializeEx(0);
              auto python = embedding::attach();
              return SAY_IF_NOT(!python->coppice_is_host()) && SAY_IF_NOT(PyGILState_Check()) &&
                     SAY_IF_NOT(python->finalize()) && SAY_IF_NOT(Py_IsInitialized());
            }),
            0);
}

TEST(Embedding, IsNotFinalisedWhileAGuestIsInQuarantine) {
  EXPECT_EQ(in_child([] {
              auto python = embedding::up({.executable = COPPICE_TEST_PYTHON});
              auto host = std::make_unique<guest_host>(*python);
              guest g(*host, "ready()\nhold()");
              g.wait_ready();
              if (!g.handle->abandon()) return false;
              g.handle.reset();
              host.reset();  // The signals stay, for a guest that may still come back.
              if (!SAY_IF_NOT(!python->finalize())) return false;
              g.let_go();
              return SAY_IF_NOT(g.events->wait_for("reclaimed")) &&
                     SAY_IF_NOT(eventually([&] { return python->finalize(); }));
            }),
            0);
}

TEST(Embedding, CanFinaliseAfterForcedStopsOfEveryKind) {
  EXPECT_EQ(in_child([] {
              auto python = embedding::up({.executable = COPPICE_TEST_PYTHON});
              {
                guest_host host(*python);
                for (const char* code :
                     {"ready()\nwhile True: pass", "import time\nready()\ntime.sleep(1000)",
                      "import asyncio\nready()\nasyncio.run(asyncio.sleep(1000))"}) {
                  for (const gil_kind gil : {gil_kind::own, gil_kind::shared}) {
                    guest g(host, code, {.gil = gil});
                    g.wait_ready();
                    g.handle->force();
                    if (!SAY_IF_NOT(g.ended())) return false;
                  }
                }
              }
              return SAY_IF_NOT(python->finalize());
            }),
            0);
}

TEST(Embedding, ComesUpAgainAfterItWasFinalised) {
  EXPECT_EQ(in_child([] {
              for (int i = 0; i < 2; ++i) {
                auto python = embedding::up({.executable = COPPICE_TEST_PYTHON});
                {
                  guest_host host(*python);
                  guest g(host, "ready()\nwhile True: pass");
                  g.wait_ready();
                  if (!SAY_IF_NOT(in_main("__import__('os').fork()") == "error")) return false;
                  g.handle->force();
                  if (!SAY_IF_NOT(g.ended())) return false;
                }
                if (!SAY_IF_NOT(python->finalize())) return false;
              }
              return true;
            }),
            0);
}

// A kernel or a CPython where kicks do not work, made here by ignoring the signal.
TEST(SelfTest, ThatFailsTurnsRungThreeOff) {
  EXPECT_EQ(in_child([] {
              auto python = embedding::up({.executable = COPPICE_TEST_PYTHON});
              guest_host host(*python);
              const int kick = host.core()->signals.kick();
              struct sigaction old{}, ignore{};
              ignore.sa_handler = SIG_IGN;
              ::sigaction(kick, &ignore, &old);
              guest g(host, "import time\nready()\ntime.sleep(1000)");
              g.wait_ready();
              g.handle->force();
              if (!SAY_IF_NOT(g.events->wait_for("stuck force_off"))) return false;
              if (!SAY_IF_NOT(host.verdict().is == force_verdict::state::broken)) return false;
              std::fprintf(stderr, "%s\n", host.verdict().text.c_str());
              if (!SAY_IF_NOT(!g.events->has("ended"))) return false;
              g.handle->interrupt();  // The other rungs are still there.
              if (!SAY_IF_NOT(g.ended()) || !SAY_IF_NOT(g.events->how == rung::interrupted))
                return false;
              ::sigaction(kick, &old, nullptr);
              return SAY_IF_NOT(
                  eventually([&] { return host.counts().reclaimed == 1; }));  // Of the test itself.
            }),
            0);
}

TEST(SelfTest, SaysHowLongItTookAndRunsOnce) {
  EXPECT_EQ(in_child([] {
              auto python = embedding::up({.executable = COPPICE_TEST_PYTHON});
              guest_host host(*python);
              if (!SAY_IF_NOT(host.verdict().is == force_verdict::state::untested)) return false;
              const force_verdict v = host.self_test();
              const auto started = host.counts().started;
              return SAY_IF_NOT(v.is == force_verdict::state::works) &&
                     SAY_IF_NOT(v.took > duration{}) &&
                     SAY_IF_NOT(host.self_test().took == v.took) &&
                     SAY_IF_NOT(host.counts().started == started);
            }),
            0);
}

TEST(Embedding, ForkIsRefusedWhileGuestsLiveAndAllowedAfterwards) {
  EXPECT_EQ(in_child([] {
              auto python = embedding::up({.executable = COPPICE_TEST_PYTHON});
              const char* attempt =
                  "(lambda o: o.waitpid(o.fork() or o._exit(0), 0)[1])(__import__('os'))";
              {
                guest_host host(*python);
                guest g(host, "ready()\nlinger()");
                g.wait_ready();
                if (!SAY_IF_NOT(in_main(attempt) == "error")) return false;
                g.let_go();
                if (!SAY_IF_NOT(g.ended())) return false;
              }
              return SAY_IF_NOT(in_main(attempt) == "0");
            }),
            0);
}

TEST(Embedding, CurrentFramesOfTheMainInterpreterAreSafeBesideGuests) {
  EXPECT_EQ(in_child([] {
              auto python = embedding::up({.executable = COPPICE_TEST_PYTHON});
              guest_host host(*python);
              guest g(host, "ready()\nwhile True: pass");
              g.wait_ready();
              bool ok = true;
              for (int i = 0; i < 300 && ok; ++i)
                ok = in_main("len(__import__('sys')._current_frames())") == "1";
              g.handle->force();
              return SAY_IF_NOT(ok) && SAY_IF_NOT(g.ended());
            }),
            0);
}

}  // namespace
}  // namespace coppice::py
