// SPDX-License-Identifier: Apache-2.0
#include "pyext/guest_actor.hpp"

#include <functional>

#include "coppice/value.hpp"
#include "pyext/guest_actor_for_test.hpp"

namespace coppice::py::guest_tests {
namespace {

// --- coming up
// -------------------------------------------------------------------------------------

TEST_F(GuestActor, ImportsItsModulesAndIsReady) {
  ready_with("def f(): return 'here'");
  EXPECT_EQ(call("f"), "'here'");
}

TEST_F(GuestActor, SaysWholeWhyAModuleDoesNotImport) {
  write("broken.py", "import math\nraise ValueError('no such luck')");
  send_spec({"broken"});
  EXPECT_EQ(outcome("ready"), "ValueError: no such luck");
  EXPECT_NE(last_error.traceback.find("broken.py\", line 2"), std::string::npos)
      << last_error.traceback;
  EXPECT_EQ(last_error.source.name, "worker");
  EXPECT_EQ(call("f"), "ValueError: no such luck") << "calls get the same answer";
}

TEST_F(GuestActor, SaysWhichModuleIsMissing) {
  send_spec({"there_is_no_such_module"});
  EXPECT_EQ(outcome("ready"), "ModuleNotFoundError: No module named 'there_is_no_such_module'");
}

TEST_F(GuestActor, FindsAModuleByItsFileWhenSysPathDoesNotHaveIt) {
  const std::string file = write("elsewhere/pkg/deep.py", "def f(): return __name__");
  write("elsewhere/pkg/__init__.py", "");
  msg::spawn_spec spec;
  spec.enable_modules.list = {{"pkg.deep", file}};
  parent->link->send(std::move(spec));
  actor->drain();
  EXPECT_EQ(call("f", no_arguments(), "pkg.deep"), "'pkg.deep'");
}

TEST_F(GuestActor, RunsTheParentsMainScriptAsMpMainWithItsGuardRespected) {
  const std::string script = write("script.py",
                                   "import sys\nkey = 7\nguarded = __name__ == '__main__'\n"
                                   "def where(): return [__name__, __file__[-9:], guarded, key,\n"
                                   "  sys.modules['__main__'].__dict__ is globals(),\n"
                                   "  sys.modules['__mp_main__'].__dict__ is globals()]");
  send_spec({"__main__"}, script);
  EXPECT_EQ(call("where", no_arguments(), "__main__"),
            "['__mp_main__', 'script.py', False, 7, True, True]");
  EXPECT_EQ(call("where", no_arguments(), "__mp_main__").substr(0, 14), "['__mp_main__'");
}

TEST_F(GuestActor, AMainScriptThatFailsIsAFailedStartWithItsTraceback) {
  send_spec({"__main__"}, write("script.py", "\n\n1/0"));
  EXPECT_EQ(outcome("ready"), "ZeroDivisionError: division by zero");
  EXPECT_NE(last_error.traceback.find("script.py\", line 3"), std::string::npos);
}

TEST_F(GuestActor, AMainScriptCompiledAheadRunsAsItIsWhenTheActorStarts) {
  const std::string script = write("script.py", "def f(): return ['as compiled', __name__]");
  compile_ahead(script);
  send_spec({"__main__"}, script);
  EXPECT_EQ(call("f", no_arguments(), "__main__"), "['as compiled', '__mp_main__']");
}

TEST_F(GuestActor, AMainScriptThatChangedAfterItWasCompiledAheadRunsAsItIsNow) {
  const std::string script = write("script.py", "def f(): return 'as compiled'");
  compile_ahead(script);
  write("script.py", "def f(): return 'as it is now'");
  send_spec({"__main__"}, script);
  EXPECT_EQ(call("f", no_arguments(), "__main__"), "'as it is now'");
}

TEST_F(GuestActor, WhatCannotBeCompiledAheadIsToldWhenItRuns) {
  const std::string script = write("script.py", "def f(:");
  compile_ahead(script);
  compile_ahead((folder / "gone.py").string());
  EXPECT_FALSE(PyErr_Occurred());
  send_spec({"__main__"}, script);
  EXPECT_EQ(outcome("ready").substr(0, 11), "SyntaxError");
}

TEST_F(GuestActor, AMainScriptThatIsGoneIsAFailedStart) {
  send_spec({"__main__"}, (folder / "gone.py").string());
  EXPECT_EQ(outcome("ready").substr(0, 17), "FileNotFoundError");
}

TEST_F(GuestActor, RuntimeVarsAreWhatTheParentSent) {
  msg::spawn_spec spec;
  spec.runtime_vars = to_payload(std::map<std::string, int>{{"level", 3}});
  parent->link->send(std::move(spec));
  actor->drain();
  EXPECT_EQ(shown(eval("__import__('_coppice').runtime_vars()")), "{'level': 3}");
  EXPECT_EQ(shown(eval("__import__('_coppice').self_uid()")), "('worker', 'worker-uuid')");
  EXPECT_EQ(shown(eval("__import__('_coppice').parent_uid()")), "('parent', 'parent-uuid')");
  EXPECT_EQ(shown(eval("__import__('_coppice').parent_link().peer")), "('parent', 'parent-uuid')");
}

// --- plain calls
// -------------------------------------------------------------------------------------

TEST_F(GuestActor, CallsAFunctionWithItsArgumentsByName) {
  ready_with("def double(x): return 2 * x\ndef none(): pass");
  EXPECT_EQ(call("double", x_is(21)), "42");
  EXPECT_EQ(call("none"), "None");
}

TEST_F(GuestActor, OnlyEnabledModulesCanBeCalled) {
  ready_with("import os");
  EXPECT_EQ(call("getcwd", no_arguments(), "os"),
            "ModuleNotExposed: module 'os' is not exposed by actor 'worker': name it in "
            "enable_modules when you start the actor");
}

TEST_F(GuestActor, WhatIsNotThereIsAnAttributeError) {
  ready_with("");
  EXPECT_EQ(call("nope"), "AttributeError: module 'm' has no attribute 'nope'");
}

TEST_F(GuestActor, WhatCannotBeCalledIsATypeError) {
  ready_with("number = 5");
  EXPECT_EQ(call("number"), "TypeError: 'm:number' cannot be called: it is a 'int'");
}

TEST_F(GuestActor, WrongArgumentsAreTheTypeErrorThatPythonRaises) {
  ready_with("def double(x): return 2 * x");
  EXPECT_EQ(call("double"), "TypeError: double() missing 1 required positional argument: 'x'");
  EXPECT_EQ(call("double", to_payload(std::map<std::string, int>{{"y", 1}})),
            "TypeError: double() got an unexpected keyword argument 'y'");
}

TEST_F(GuestActor, ArgumentsThatAreNoMapOfNamesCostTheCallOnly) {
  ready_with("def f(): return 1");
  EXPECT_EQ(call("f", to_payload(std::vector<int>{1})).substr(0, 9), "TypeError");
  EXPECT_EQ(call("f", to_payload(std::map<int, int>{{1, 1}})).substr(0, 9), "TypeError");
  EXPECT_EQ(call("f"), "1");
}

TEST_F(GuestActor, AResultThatCannotTravelIsATypeErrorThatSaysWhere) {
  ready_with("def f(): return {'a': [1, 2j]}\ndef g(): yield 1");
  EXPECT_EQ(call("f").substr(0, 51), "TypeError: cannot send a 'complex' at result['a'][1");
  EXPECT_EQ(call("g").substr(0, 36), "TypeError: cannot send a 'generator'");
}

TEST_F(GuestActor, CallsAreFencedByTheirNumber) {
  ready_with("def f(): return 1");
  EXPECT_EQ(call("f"), "1");
  EXPECT_EQ(fence.running, 0u);
}

// --- errors
// ------------------------------------------------------------------------------------------

TEST_F(GuestActor, AnErrorTravelsWithTypeMessageTracebackAndPath) {
  ready_with("class Odd(ValueError): pass\ndef f():\n  raise Odd('boom')");
  EXPECT_EQ(call("f"), "Odd: boom");
  EXPECT_EQ(last_error.source_type, "Odd");
  EXPECT_NE(last_error.traceback.find("m.py\", line 3, in f"), std::string::npos);
  ASSERT_EQ(last_error.path.size(), 1u);
  EXPECT_EQ(last_error.path[0].name, "worker");
}

TEST_F(GuestActor, EveryMemberOfAnExceptionGroupTravels) {
  ready_with(
      "def f():\n  raise ExceptionGroup('two', [ValueError('a'),\n"
      "    ExceptionGroup('inner', [KeyError('b')])])");
  EXPECT_EQ(call("f"), "ExceptionGroup: two (2 sub-exceptions)");
  ASSERT_EQ(last_error.members.size(), 2u);
  EXPECT_EQ(last_error.members[0].type, "ValueError");
  ASSERT_EQ(last_error.members[1].members.size(), 1u);
  EXPECT_EQ(last_error.members[1].members[0].message, "'b'");
}

TEST_F(GuestActor, ARemoteErrorIsRelayedWholeWithOurUidAppended) {
  ready_with(
      "import _coppice\n"
      "class RemoteActorError(Exception):\n  def __init__(s, info): s.info = info\n"
      "_coppice.register_remote_error(RemoteActorError)\n"
      "def f(): raise RemoteActorError(dict(type='ValueError', source_type='ValueError',\n"
      "  message='far', traceback='tb', source=('leaf', 'u'), path=[('leaf', 'u')], members=[]))\n"
      "def g(): raise RemoteActorError({})");
  EXPECT_EQ(call("f"), "RemoteActorError: far");
  EXPECT_EQ(last_error.source_type, "ValueError");
  EXPECT_EQ(last_error.traceback, "tb");
  EXPECT_EQ(last_error.source.name, "leaf");
  ASSERT_EQ(last_error.path.size(), 2u);
  EXPECT_EQ(last_error.path[1].name, "worker");
  EXPECT_EQ(call("g").substr(0, 16), "RemoteActorError") << "a broken one is an error like others";
}

TEST_F(GuestActor, KeyboardInterruptAndSystemExitAreErrorsAndTheActorLives) {
  ready_with(
      "import sys\ndef k(): raise KeyboardInterrupt\ndef s(): sys.exit(3)\ndef f(): return 1");
  EXPECT_EQ(call("k"), "KeyboardInterrupt: ");
  EXPECT_EQ(call("s"), "SystemExit: 3");
  EXPECT_EQ(call("f"), "1");
}

TEST_F(GuestActor, ExceptionsThatCannotBePrintedStillTravel) {
  ready_with(
      "class E(Exception):\n  def __str__(s): raise ValueError\ndef f(): raise E\n"
      "class S(Exception): pass\ndef g(): raise S('\\ud800')\n"
      "def h(): raise S('x' * 1_000_000)");
  EXPECT_EQ(call("f"), "E: <unprintable E>");
  EXPECT_EQ(call("g"), "S: \\ud800");
  EXPECT_LT(call("h").size(), 100'000u);
}

// --- cancelled calls
// -----------------------------------------------------------------------------------

TEST_F(GuestActor, AnInterruptedCallIsContextCancelled) {
  ready_with("import _coppice\ndef f(): raise _coppice.Interrupted");
  EXPECT_EQ(call("f"), "ContextCancelled: interrupted");
}

TEST_F(GuestActor, ACallCancelledWhileItRunsStrikesThatCallAndNoOther) {
  write("m.py", "import _coppice\ndef f(): hook(); raise _coppice.Interrupted\ndef g(): return 1");
  send_spec({"m"});
  std::uint64_t struck = 0;
  port->on_running_call_cancelled([&](port::call_id id) {
    EXPECT_EQ(id, fence.running);
    struck = id;
  });
  // A Python function that cancels the call from inside, as another thread would.
  static std::function<void()> inside;
  inside = [&] { cancel_task("c"); };
  static PyMethodDef hook = {"hook",
                             [](PyObject*, PyObject*) -> PyObject* {
                               inside();
                               Py_RETURN_NONE;
                             },
                             METH_NOARGS, nullptr};
  PyObject* module = PyImport_ImportModule("m");
  PyObject* function = PyCFunction_New(&hook, nullptr);
  PyObject_SetAttrString(module, "hook", function);
  Py_DECREF(function);
  Py_DECREF(module);
  send_call("c", "f", no_arguments());
  actor->drain();
  EXPECT_NE(struck, 0u);
  EXPECT_EQ(outcome("c"), "ContextCancelled: cancelled by its caller");
  EXPECT_EQ(outcome("cancel c"), "acknowledged");
  EXPECT_EQ(call("g"), "1");
  inside = nullptr;
}

TEST_F(GuestActor, ACallCancelledBeforeItsTurnNeverRuns) {
  ready_with("ran = []\ndef f(): ran.append(1)\ndef count(): return len(ran)");
  send_call("c", "f", no_arguments());
  cancel_task("c");
  actor->drain();
  EXPECT_EQ(outcome("c"), "ContextCancelled: cancelled by its caller before it began");
  EXPECT_EQ(call("count"), "0");
}

// --- coroutines and their loop
// ---------------------------------------------------------------------------

TEST_F(GuestActorLoop, ThePlainFunctionsOfAnActorBringNoLoopUp) {
  ready_with("def f(): return 1");
  EXPECT_EQ(call("f"), "1");
  EXPECT_EQ(shown(eval("made")), "[]");
}

TEST_F(GuestActorLoop, TheFirstCoroutineBringsTheLoopUpAndRunsOnIt) {
  ready_with("async def f(x): return x + 1");
  send_call("c", "f", x_is(1));
  exec(
      "script += [Loop.all, lambda loop: _coppice.cancel_self('enough'), lambda l: "
      "_coppice.drain()]");
  actor->serve();
  EXPECT_EQ(outcome("c"), "2");
  EXPECT_EQ(shown(eval("made, log")),
            "(['asyncio'], ['run', 'spawn', 'cancel_all: enough', 'stop'])");
}

TEST_F(GuestActorLoop, PlainFunctionsRunWhileTheLoopIsUp) {
  ready_with("async def f(): return 1\ndef g(): return 2");
  send_call("c", "f", no_arguments());
  send_call("d", "g", no_arguments());
  exec(
      "script += [Loop.all, lambda loop: _coppice.cancel_self('enough'), lambda l: "
      "_coppice.drain()]");
  actor->serve();
  EXPECT_EQ(outcome("c"), "1");
  EXPECT_EQ(outcome("d"), "2");
}

TEST_F(GuestActorLoop, ACancelledCoroutineIsContextCancelledWhateverTheLoopRaisesForIt) {
  ready_with(
      "class Cancelled(BaseException): pass\nasync def f(): raise Cancelled\n"
      "async def g(): raise ValueError('in cleanup')");
  send_call("c", "f", no_arguments());
  send_call("d", "g", no_arguments());
  exec(
      "script += [lambda l: hook(), lambda l: _coppice.drain(), Loop.all,\n"
      "  lambda l: _coppice.cancel_self('enough'), lambda l: _coppice.drain()]");
  static std::function<void()> inside;
  inside = [&] { cancel_task("c"), cancel_task("d"); };
  static PyMethodDef hook = {"hook",
                             [](PyObject*, PyObject*) -> PyObject* {
                               inside();
                               Py_RETURN_NONE;
                             },
                             METH_NOARGS, nullptr};
  PyObject* function = PyCFunction_New(&hook, nullptr);
  PyDict_SetItemString(PyModule_GetDict(PyImport_AddModule("__main__")), "hook", function);
  Py_DECREF(function);
  actor->serve();
  EXPECT_EQ(outcome("c"), "ContextCancelled: cancelled by its caller 'parent'");
  EXPECT_EQ(outcome("d"), "ValueError: in cleanup") << "an error is worth more than the cancel";
  EXPECT_EQ(shown(eval("log.count('cancel_call')")), "2");
  inside = nullptr;
}

TEST_F(GuestActorLoop, WhatTheLoopLeavesUnfinishedIsAnswered) {
  ready_with("async def f(): return 1");
  send_call("c", "f", no_arguments());
  exec("script += [lambda l: _coppice.cancel_self('enough'), lambda l: _coppice.drain()]");
  actor->serve();
  EXPECT_EQ(outcome("c"), "ContextCancelled: 'f' did not end with its actor: enough");
  exec("for coro in loops[0].calls.values(): coro.close()");
}

TEST_F(GuestActorLoop, ALoopThatCannotBeBroughtUpCostsTheCall) {
  ready_with("async def f(): return 1\ndef g(): return 2");
  exec("del sys.modules['coppice._loop']");
  EXPECT_EQ(call("f"), "RuntimeError: actor 'worker' runs no event loop at present")
      << "outside of serve() the program's own loop is meant";
  send_call("c", "f", no_arguments());
  cancel_actor();
  actor->serve();
  EXPECT_EQ(outcome("c"), "ModuleNotFoundError: No module named 'coppice._loop'");
}

TEST_F(GuestActorLoop, ALoopThatFailsEndsTheActorWithAReason) {
  ready_with("async def f(): return 1");
  send_call("c", "f", no_arguments());
  exec(
      "def bad(loop): loop.all(); raise OSError('epoll is gone')\nscript += [bad]\n"
      "sys.unraisablehook = lambda *a: None");
  actor->serve();
  EXPECT_EQ(outcome("c"), "1");
  EXPECT_EQ(actor->failure(), "its event loop failed: OSError: epoll is gone");
  exec("sys.unraisablehook = sys.__unraisablehook__");
}

// --- calls and children of its own
// -------------------------------------------------------------------------

TEST_F(GuestActorLoop, ACallOfItsOwnIsSettledWithTheValueOrTheError) {
  ready_with("");
  exec(
      "_coppice.set_loop(Loop())\n"
      "_coppice.set_error_factory(lambda kind, fields: KeyError(kind, fields['message']))\n"
      "a = _coppice.call(_coppice.parent_link(), 'up', 'f', {'x': 1}, 'A')\n"
      "b = _coppice.call(_coppice.parent_link(), 'up', 'g', {}, 'B')");
  std::vector<msg::start> asked;
  for (auto& m : parent->received)
    if (auto* s = std::get_if<msg::start>(&m)) asked.push_back(*s);
  ASSERT_EQ(asked.size(), 2u);
  EXPECT_EQ(asked[0].ns + ":" + asked[0].func + value(asked[0].kwargs).text(), "up:f{'x': 1}");
  parent->link->send(msg::returned{asked[0].cid, to_payload(5)});
  remote_error_info info;
  info.type = info.source_type = "ValueError";
  info.message = "bad";
  parent->link->send(msg::to_message(info, asked[1].cid));
  actor->drain();
  EXPECT_EQ(shown(eval("log")), "[('A', 5, None), ('B', None, KeyError('remote', 'bad'))]");
}

TEST_F(GuestActorLoop, AClosedConnectionSettlesWhatWaitsOnIt) {
  ready_with("");
  exec(
      "_coppice.set_loop(Loop())\n"
      "_coppice.set_error_factory(lambda kind, fields: KeyError(kind))\n"
      "_coppice.call(_coppice.parent_link(), 'up', 'f', {}, 'A')\n"
      "_coppice.call(_coppice.parent_link(), 'up', 'f', {}, 'B')\n"
      "_coppice.forget_call(2)");
  parent->link->close("cable cut");
  actor->drain();
  EXPECT_EQ(shown(eval("log[0]")), "('A', None, KeyError('closed'))");
  EXPECT_EQ(shown(eval("_coppice.parent_link()")), "None");
}

TEST_F(GuestActorLoop, AnArgumentThatCannotTravelIsATypeErrorAtTheCaller) {
  ready_with("");
  exec(
      "_coppice.set_loop(Loop())\ntry: _coppice.call(_coppice.parent_link(), 'up', 'f', {'x': "
      "1j}, 0)\n"
      "except TypeError as e: text = str(e)");
  EXPECT_EQ(shown(eval("text[:40]")), "\"cannot send a 'complex' at kwargs['x']: \"");
}

TEST_F(GuestActorLoop, ChildrensNewsReachTheirCallback) {
  ready_with("");
  exec("heard = []\nhear = lambda kind, what: heard.append((kind, what))");
  PyObject* hear = eval("hear");
  actor->watch_child("kid", ref::take(hear));
  port::child_changed news;
  news.uuid = "kid";
  news.what = port::child_changed::kind::started;
  news.link = parent->link;
  port->child_changed(news);
  news.what = port::child_changed::kind::ended;
  news.report.how = exit_report::cause::exited;
  news.report.status = 3;
  news.requested = true;
  port->child_changed(news);
  port->child_changed(news);  // Twice: the second finds nobody.
  actor->drain();
  EXPECT_EQ(shown(eval("[k for k, _ in heard], heard[1][1][0][:3], heard[1][1][1]")),
            "(['started', 'ended'], ('none', 'exited', 3), True)");
}

// --- the end
// -----------------------------------------------------------------------------------------------

TEST_F(GuestActorLoop, AnIdleActorEndsWhenItIsToldTo) {
  ready_with("");
  cancel_actor();
  actor->serve();
  EXPECT_EQ(outcome("cancel"), "acknowledged");
  EXPECT_EQ(actor->failure(), "");
}

TEST_F(GuestActorLoop, AnActorEndsWhenItsParentIsGone) {
  ready_with("");
  parent->link->close("the parent has crashed");
  actor->serve();
  EXPECT_EQ(actor->failure(), "its parent's connection closed: the parent has crashed")
      << "nobody asked it to end";
}

TEST_F(GuestActorLoop, AStruckActorTakesNoMoreWork) {
  ready_with("ran = []\ndef f(): ran.append(1)");
  fence.stop = true;
  send_call("c", "f", no_arguments());
  actor->serve();
  EXPECT_EQ(outcome("c"), "");
  EXPECT_EQ(shown(eval("sys.modules['m'].ran")), "[]");
}

TEST_F(GuestActorLoop, AStruckLoopIsToldToEndOnce) {
  ready_with("async def f(): return 1");
  send_call("c", "f", no_arguments());
  static quiet_fence* struck;
  struck = &fence;
  static PyMethodDef strike = {"strike",
                               [](PyObject*, PyObject*) -> PyObject* {
                                 struck->stop = true;
                                 Py_RETURN_NONE;
                               },
                               METH_NOARGS, nullptr};
  PyObject* function = PyCFunction_New(&strike, nullptr);
  PyDict_SetItemString(PyModule_GetDict(PyImport_AddModule("__main__")), "strike", function);
  Py_DECREF(function);
  exec(
      "script += [lambda l: strike(), lambda l: _coppice.drain(), lambda l: _coppice.drain(), "
      "Loop.all]");
  actor->serve();
  EXPECT_EQ(shown(eval("log")), "['run', 'spawn', 'cancel_all: interrupted', 'stop']");
  EXPECT_EQ(outcome("c"), "1");
}

TEST_F(GuestActor, AReleasedActorIsNobodysAndItsFunctionsSaySo) {
  ready_with("");
  actor->release();
  EXPECT_EQ(shown(eval("__import__('_coppice').self_uid()")), "None");
  PyObject* globals = PyModule_GetDict(PyImport_AddModule("__main__"));
  PyObject* r = PyRun_String("__import__('_coppice').wake_fd()", Py_eval_input, globals, globals);
  EXPECT_EQ(r, nullptr);
  EXPECT_NE(take_error().find("no actor runs in this interpreter"), std::string::npos);
  ASSERT_TRUE(actor->install());
}

}  // namespace
}  // namespace coppice::py::guest_tests
