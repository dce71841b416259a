# SPDX-License-Identifier: Apache-2.0
"""Tests of tidy.py: each rule catches a sample that breaks it and lets a good one pass."""

import tempfile
import unittest
from pathlib import Path

import tidy

HEAD = "// SPDX-License-Identifier: Apache-2.0\n"
HEADER = HEAD + "// What it is for, in a sentence.\n#pragma once\n"
PY_HEAD = "# SPDX-License-Identifier: Apache-2.0\n"


def found(files: dict[str, str | bytes]) -> list[tidy.finding]:
    """The findings in a repository of just these files; a CMakeLists.txt names the .cpp files."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        files = dict(files)
        sources = " ".join(path for path in files if path.endswith(".cpp"))
        files.setdefault("CMakeLists.txt", f"add_executable(x {sources})\n")
        for path, text in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(text if isinstance(text, bytes) else text.encode())
        return tidy.check(root)


class TidyTest(unittest.TestCase):
    def assert_breaks(self, rule: str, files: dict, says: str = "", line: int | None = None):
        got = found(files)
        self.assertEqual({one.rule for one in got}, {rule}, [str(one) for one in got])
        if says:
            self.assertIn(says, got[0].message)
        if line is not None:
            self.assertEqual(got[0].line, line, str(got[0]))

    def assert_clean(self, files: dict):
        self.assertEqual([str(one) for one in found(files)], [])

    def cpp(self, code: str, path: str = "src/core/sample.cpp") -> dict:
        return {path: (HEADER if path.endswith(".hpp") else HEAD) + code}

    def test_every_rule_says_what_it_wants_and_is_tested_here(self):
        tested = Path(__file__).read_text()
        for name, rule in tidy.RULES.items():
            self.assertTrue(rule.__doc__, name)
            self.assertIn(f'"{name}"', tested, f"no test for {name}")

    def test_line_length(self):
        self.assert_breaks("line-length", self.cpp("// " + "x" * 98 + "\n"), "break the line", 2)
        self.assert_clean(self.cpp("// " + "x" * 97 + "\n"))
        self.assert_clean(self.cpp("// " + "ü" * 97 + "\n"))  # columns, not bytes

    def test_control_character(self):
        self.assert_breaks("control-character", self.cpp("int\tx;\n"), "a tab", 2)
        self.assert_breaks("control-character", self.cpp("int x;\r\n"), "carriage return")
        self.assert_breaks("control-character", self.cpp("int x;"), "last line")
        self.assert_breaks("control-character", self.cpp("// a\u202eb\n"), "U+202E")
        self.assert_breaks("control-character", {"src/core/a.cpp": HEAD.encode() + b"// \xff\n"},
                           "UTF-8", 2)
        self.assert_clean(self.cpp("int x;  // …\n"))

    def test_todo(self):
        self.assert_breaks("todo", self.cpp("// FIXME: later\n"), "do not merge", 2)
        self.assert_breaks("todo", self.cpp("// TODO: later\n"), "TODO(soon)")
        self.assert_breaks("todo", {"cmake/x.cmake": "# TODO(now): it\n"}, "TODO(soon)", 1)
        self.assert_clean(self.cpp("// TODO(perf): measure it first.\n"))

    def test_spdx(self):
        self.assert_breaks("spdx", {"src/core/a.cpp": "int x;\n"}, "start with the line")
        self.assert_breaks("spdx", {"src/core/a.hpp": HEAD + "#pragma once\n"}, "second line")
        self.assert_breaks("spdx", {"src/core/a.hpp": HEAD + "// For x.\n"}, "#pragma once")
        self.assert_breaks("spdx", {"tools/a.py": "#!/usr/bin/env python3\nx = 1\n"}, "# SPDX")
        self.assert_clean({"src/core/a.hpp": HEADER, "tools/a": "#!/bin/sh\n" + PY_HEAD,
                           "python/coppice/empty.py": ""})

    def test_file_length(self):
        self.assert_breaks("file-length", self.cpp("int x;\n" * 700), "split it")
        self.assert_breaks("file-length", {
            "include/coppice/a.hpp": HEADER + "// x\n" * 248,
            "src/core/a_test.cpp": HEAD + '#include "coppice/a.hpp"\n'}, "detail/")
        self.assert_clean(self.cpp("int x;\n" * 699))

    def test_function_length(self):
        self.assert_breaks("function-length", self.cpp("void f() {\n" + "g();\n" * 69 + "}\n"),
                           "71 lines", 2)
        self.assert_breaks("function-length", {
            "tools/a.py": PY_HEAD + "def f():\n" + "    g()\n" * 70}, "71 lines", 2)
        self.assert_clean(self.cpp("void f() {\n" + "g();\n" * 68 + "}\n"))
        self.assert_clean(self.cpp("class c {\n" + "int x;\n" * 80 + "};\n"))

    def test_layer_by_includes(self):
        self.assert_breaks("layer", self.cpp('#include "actor/portal.hpp"\n'),
                           "'core' may not use 'actor'", 2)
        self.assert_breaks("layer", self.cpp('#include "core/task.hpp"\n', "src/base/a.cpp"))
        self.assert_breaks("layer", self.cpp('#include "fd.hpp"\n'), "from the root")
        self.assert_breaks("layer", self.cpp('#include "../base/fd.hpp"\n'), "from the root")
        self.assert_breaks("layer", self.cpp('#include "core/loop.hpp"\n', "examples/a.cpp"),
                           "internal")
        self.assert_clean(self.cpp('#include "base/fd.hpp"\n#include "core/loop.hpp"\n'))
        self.assert_clean(self.cpp('#include "testkit/fake.hpp"\n', "src/base/a_test.cpp"))
        self.assert_clean(self.cpp('// #include "actor/portal.hpp"\n'))
        self.assert_clean(self.cpp('#include "beside.hpp"\n', "tests/golden/a.cpp"))
        self.assert_clean(self.cpp('#include "coppice/task.hpp"\n', "examples/a.cpp"))

    def test_layer_of_a_public_header_is_where_its_source_lies(self):
        public = {"include/coppice/portal.hpp": HEADER,
                  "src/actor/portal_test.cpp": HEAD + '#include "coppice/portal.hpp"\n'}
        self.assert_breaks("layer", {**public, **self.cpp('#include "coppice/portal.hpp"\n')},
                           "'core' may not use 'actor'")
        self.assert_breaks("layer", {
            "include/coppice/a.hpp": HEADER + '#include "core/loop.hpp"\n',
            "src/core/a_test.cpp": HEAD + '#include "coppice/a.hpp"\n'}, "internal")
        self.assert_clean({**public, **self.cpp('#include "coppice/portal.hpp"\n', "cli/a.cpp")})

    def test_layer_by_cmake(self):
        def layer(name: str, deps: str) -> dict:
            return {f"src/{name}/CMakeLists.txt":
                    f"coppice_layer({name} DEPS {deps}\n  LIBS x SOURCES a.cpp)\n",
                    f"src/{name}/a.cpp": HEAD}

        self.assert_breaks("layer", layer("core", "base actor"), "'core' may not use 'actor'", 1)
        self.assert_breaks("layer", layer("manager", "base"), "has no place in the table")
        self.assert_breaks("layer", {
            **layer("ipc", "base"), **layer("msg", "core"), **layer("core", "base"),
            "src/ipc/a.cpp": HEAD + '#include "msg/codec.hpp"\n'},
            "add it to its DEPS", 2)
        self.assert_clean({**layer("core", "base"), **layer("msg", "core"), **layer("ipc", "msg"),
                           "src/ipc/a.cpp": HEAD + '#include "base/fd.hpp"\n'})

    def test_layer_in_a_folder_of_another_layer(self):
        self.assert_clean(self.cpp('#include "pyhost/guest.hpp"\n', "src/spawn/subint/a.cpp"))
        self.assert_breaks("layer", self.cpp('#include "pyhost/guest.hpp"\n', "src/spawn/a.cpp"))
        self.assert_breaks("layer", self.cpp('#include "spawn/subint/a.hpp"\n', "src/actor/a.cpp"))

    def test_library_home(self):
        for what, path in (("Python.h", "src/actor/a.cpp"), ("boost/asio.hpp", "src/core/loop.cpp"),
                           ("CLI/CLI.hpp", "src/lib/a.cpp"), ("spdlog/spdlog.h", "src/msg/a.cpp"),
                           ("msgpack.hpp", "src/msg/a.cpp"), ("benchmark/benchmark.h", "src/a.cpp"),
                           ("gtest/gtest.h", "src/a.cpp"), ("openssl/ssl.h", "src/core/a.cpp")):
            self.assert_breaks("library-home", self.cpp(f"#include <{what}>\n", path), line=2)
        self.assert_breaks("library-home", {
            "include/coppice/a.hpp": HEADER + "#include <fmt/format.h>\n",
            "src/core/a_test.cpp": HEAD + '#include "coppice/a.hpp"\n'}, "public header")
        for what, path in (("Python.h", "src/pyhost/a.cpp"), ("CLI/CLI.hpp", "cli/main.cpp"),
                           ("boost/asio.hpp", "src/core/reactor.cpp"), ("fmt/core.h", "src/a.cpp"),
                           ("boost/asio/ip/tcp.hpp", "src/ipc/tcp.cpp"),
                           ("gtest/gtest.h", "src/core/a_test.cpp"),
                           ("spdlog/spdlog.h", "src/base/log.cpp")):
            self.assert_clean(self.cpp(f"#include <{what}>\n", path))

    def test_library_home_is_about_libraries_not_about_our_files(self):
        self.assert_clean({"src/msg/msgpack.hpp": HEADER,
                           "src/msg/a.cpp": HEAD + '#include "msg/msgpack.hpp"\n'})

    def test_library_home_of_calls(self):
        for call in ("fork()", "::waitpid(p, &s, 0)", "waitid(P_PIDFD, fd, &i, WEXITED)",
                     "posix_spawn(&p, x, 0, 0, a, e)", "clone(f, s, 0, a)", "execvp(f, a)"):
            self.assert_breaks("library-home", self.cpp(f"void f() {{ {call}; }}\n"), "src/spawn/")
            self.assert_clean(self.cpp(f"void f() {{ {call}; }}\n", "src/spawn/process.cpp"))
            self.assert_clean(self.cpp(f"void f() {{ {call}; }}\n", "tests/system/a.cpp"))
        for name in ("std::thread t(f)", "std::jthread t(f)", "std::async(f)",
                     "pthread_create(&t, 0, f, 0)"):
            self.assert_breaks("library-home", self.cpp(f"void f() {{ {name}; }}\n"), "os_thread")
            self.assert_clean(self.cpp(f"void f() {{ {name}; }}\n", "src/base/thread.cpp"))
        self.assert_clean(self.cpp("struct end { end clone() const; };\n"))
        self.assert_clean(self.cpp("void f() { a.clone(); b->fork(); c::system(); t_fork(); }\n"
                                   "std::thread::id id;  // like fork(), std::thread\n"))

    def test_lock(self):
        for one in ("std::mutex m", "std::shared_mutex m", "std::condition_variable c"):
            self.assert_breaks("lock", self.cpp(f"{one};\n"), "post to it")
            self.assert_clean(self.cpp(f"{one};\n", "src/base/a.cpp"))
            self.assert_clean(self.cpp(f"{one};\n", "src/port/port.cpp"))
            self.assert_clean(self.cpp(f"{one};\n", "src/core/a_test.cpp"))
        self.assert_clean(self.cpp("void f() { std::lock_guard<std::mutex> held(m); }\n"))

    def test_dead_file(self):
        cmake = {"CMakeLists.txt": "",
                 "src/core/CMakeLists.txt": "coppice_layer(core SOURCES alive.cpp  # dead.cpp\n)\n"}
        self.assert_breaks("dead-file", {**cmake, "src/core/dead.cpp": HEAD}, "or delete it")
        self.assert_breaks("dead-file", {**cmake, "src/core/live.cpp": HEAD})
        self.assert_clean({**cmake, "src/core/alive.cpp": HEAD})
        self.assert_clean({"CMakeLists.txt": "", "src/core/a.cpp": HEAD,
                           "src/CMakeLists.txt": "add_library(x core/a.cpp)\n"})
        self.assert_clean({"CMakeLists.txt": "",
                           "examples/cpp/CMakeLists.txt": "foreach(one 01_hello)\n",
                           "examples/cpp/01_hello.cpp": HEAD})

    def test_header_test(self):
        header = {"include/coppice/a.hpp": HEADER}
        self.assert_breaks("header-test", header, "write a test")
        self.assert_breaks("header-test", {
            **header, "src/core/a.cpp": HEAD + '#include "coppice/a.hpp"\n'})
        self.assert_clean({**header, "src/core/a_test.cpp": HEAD + '#include "coppice/a.hpp"\n'})
        self.assert_clean({"include/coppice/detail/a.hpp": HEADER,
                           "include/coppice/fwd.hpp": HEADER})

    def test_named_test(self):
        tests = {"src/core/a_test.cpp": HEAD + "TEST(Lock, IsFair) {}\nTEST_F(\n    A, B) {}\n"
                 "COPPICE_TEST(Event, StaysSet) {}\n// TEST(Lock, IsGone) {}\n",
                 "src/core/CMakeLists.txt": 'core_guard(named_task "deleted")\n'}

        def table(row: str) -> dict:
            return {**tests, "docs/internals/promises.md": f"# Promises\n\n| it | {row} |\n"}

        for missing in ("`Lock.IsGone`", "`Lock.IsFair`, `Lock.IsUnfair`", "`core_guard.other`"):
            self.assert_breaks("named-test", table(missing), "there is no test", 3)
        self.assert_clean(table("`Lock.IsFair`, `Event.StaysSet`, `A.B`, `core_guard.named_task`"))
        self.assert_clean(table("`ToThread.*`, `lock.acquire`, Lock.IsGone without marks"))
        self.assert_clean({**tests, "docs/a.md": "`Lock.IsGone`\n"})
        tests["tests/python/test_a.py"] = HEAD.replace("//", "#") + "def test_b(): pass\n"
        for missing in ("`test_a.py::test_c`", "`test_c.py::test_b`", "`Lock.IsUnfair`"):
            self.assert_breaks("named-test", {**tests, "tests/SCENARIOS.md": missing},
                               "there is no test", 1)
        self.assert_clean({**tests, "tests/SCENARIOS.md": "`test_a.py::test_b`, `Lock.IsFair`\n"})

    def test_gcc12_shape_in_conditions(self):
        for code in ("if (co_await x()) f();", "while (!co_await x()) f();",
                     "for (; co_await x();) f();", "switch (co_await x()) {}",
                     "do f(); while (co_await x());", "if (int a = 1; co_await x(a)) f();"):
            self.assert_breaks("gcc12-shape", self.cpp(f"task<> g() {{ {code} }}\n"), "drops", 2)
        self.assert_clean(self.cpp("task<> g() {\n  if (auto v = co_await x()) f();\n"
                                   "  for (auto& e : co_await x()) f(e);\n"
                                   "  if (run([] { co_await x(); })) f();\n"
                                   "  bool more = co_await x();\n  while (more) f();\n}\n"))

    def test_gcc12_shape_in_conditional_expressions(self):
        for code in ("T t = c ? co_await x() : co_await y();", "use(c ? a : co_await y());",
                     "co_await (c ? a() : b());"):
            self.assert_breaks("gcc12-shape", self.cpp(f"task<> g() {{ {code} }}\n"), "'?:'", 2)
        self.assert_clean(self.cpp("task<> g() { f(c ? 1 : 2, co_await x()); int n = c ? 1 : 2;\n"
                                   "  co_await std::x(); }\n"))

    def test_gcc12_shape_in_braces(self):
        for code in ("opts o{.t = co_await x(), .n = 1};", "v.push_back(opts{a, co_await n()});",
                     "std::vector<int> v{co_await a(), co_await b()};",
                     "co_await f({co_await x()});"):
            self.assert_breaks("gcc12-shape", self.cpp(f"task<> g() {{ {code} }}\n"), "braces", 2)
        self.assert_clean(self.cpp("task<> g() { co_await f({.shield = true}); }\n"
                                   "auto l = [](int x) -> task<> { co_await f(x); };\n"
                                   "task<> h() { try { co_await f(); } catch (...) {} }\n"))

    def test_new(self):
        self.assert_breaks("new", self.cpp("auto* p = new int(3);\n"), "make_unique", 2)
        self.assert_breaks("new", self.cpp("void f() { delete p; }\n"), "unique_ptr")
        self.assert_breaks("new", self.cpp("void f() { delete[] p; }\n"), "unique_ptr")
        self.assert_clean(self.cpp("#include <new>\nstruct s { s(const s&) = delete; };\n"
                                   "// a new one\n"
                                   "void* operator new(std::size_t n);\n"
                                   "void operator delete(void* p);\n"
                                   'auto* p = ::new (place) int(3);\nauto renew = "new x";\n'))

    def test_sleep(self):
        for code in ("std::this_thread::sleep_for(1ms);", "usleep(10);", "::sleep(1);",
                     "nanosleep(&t, nullptr);"):
            self.assert_breaks("sleep", self.cpp(code + "\n", "src/core/a_test.cpp"),
                               "fake_clock", 2)
        self.assert_breaks("sleep", {"tests/python/test_a.py": PY_HEAD + "time.sleep(0.1)\n"},
                           "instead", 2)
        self.assert_breaks("sleep", {"tests/python/test_a.py": PY_HEAD + "time.sleep(x)\n"})
        self.assert_clean(self.cpp("task<> g() { co_await sleep_for(1h); f(sleep_for(1s)); }\n",
                                   "tests/sim/a.cpp"))
        self.assert_clean(self.cpp("void g() { usleep(10); }\n"))  # not a test
        self.assert_clean({"tests/python/test_a.py": PY_HEAD + "time.sleep(1000)  # stuck guest\n"
                           "GUEST = 'import time; time.sleep(1)'\n"})
        # Newer syntax than that of the Python at hand: not read, but no crash either.
        self.assert_clean({"tests/python/test_a.py": PY_HEAD + "def f[[T]](): pass\n"})

    def test_an_exception_speaks_of_its_line_or_the_next_and_has_a_reason(self):
        bad = "auto* p = new int(3);"
        reason = "// tidy: allow new: the C API takes ownership of it"
        self.assert_clean(self.cpp(f"{bad}  {reason}\n"))
        self.assert_clean(self.cpp(f"{reason}\n// and another comment\n{bad}\n"))
        self.assert_breaks("new", self.cpp(f"{reason}\n{bad}\n{bad}\n"), line=4)
        self.assert_breaks("exception", self.cpp(f"{bad}  // tidy: allow new: because\n"),
                           "reason")
        self.assert_breaks("exception", self.cpp("// tidy: allow no-such: for a good reason\n"),
                           "no rule")

    def test_an_exception_that_nothing_needs_is_a_finding(self):
        self.assert_breaks("exception", self.cpp(
            "// tidy: allow new: the C API takes ownership of it\nint x;\n"), "delete the")

    def test_an_exception_for_a_file_stands_anywhere_in_it(self):
        self.assert_clean({"include/coppice/a.hpp":
                           HEADER + "// tidy: allow header-test: macros, tested by their users\n"})

    def test_text_in_literals_and_comments_is_no_code(self):
        self.assert_clean(self.cpp('const char* s = "new int; fork()";\n/* new int */\n'
                                   'auto r = R"(delete p; std::thread t;)";\n'
                                   "int million = 1'000'000;  // it's new x\n"))


if __name__ == "__main__":
    unittest.main()
