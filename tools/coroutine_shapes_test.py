# SPDX-License-Identifier: Apache-2.0
"""Tests of coroutine_shapes.py: planted bad samples are found, good ones and exceptions pass."""

import json
import shutil
import tempfile
import unittest
from pathlib import Path

import coroutine_shapes

PRELUDE = """
#include <coroutine>
#include <initializer_list>
#include <string>
struct task {
  struct promise_type {
    task get_return_object() { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() {}
  };
};
struct ready {
  bool await_ready() { return true; }
  void await_suspend(std::coroutine_handle<>) {}
  bool await_resume() { return true; }
};
struct options { std::string name; };
ready with(options) { return {}; }
ready with_default(options = {}) { return {}; }
ready with_list(std::initializer_list<int>) { return {}; }
template <class F> ready call(F) { return {}; }
void use(bool) {}
"""


@unittest.skipUnless(shutil.which(coroutine_shapes.CLANG_QUERY), "clang-query-19 is not installed")
class CoroutineShapesTest(unittest.TestCase):
    def check(self, body: str, name: str = "src/core/sample.cpp", other: str = "") -> list[str]:
        """What is found in a repository whose only coroutines are `body` and `other`."""
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            for path, text in (("src/core/other.cpp", other), (name, PRELUDE + body)):
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_text(text)
            build = root / "build"
            build.mkdir()
            built = {"src/core/other.cpp"} | ({name} if name.endswith(".cpp") else set())
            (build / "compile_commands.json").write_text(json.dumps([{
                "directory": folder, "file": str(root / one),
                "command": f"clang++-19 -std=c++20 -c {root / one}"} for one in built]))
            return coroutine_shapes.check(root, build)

    def test_an_await_in_a_condition_is_found(self):
        found = self.check("task g() { if (co_await ready()) use(true); }\n")
        self.assertEqual(len(found), 1, found)
        self.assertIn("drops the body", found[0])
        line = PRELUDE.count("\n") + 1
        self.assertTrue(found[0].startswith(f"src/core/sample.cpp:{line}:"), found)

    def test_an_aggregate_in_the_arguments_is_found(self):
        found = self.check('task g() { co_await with({.name = "x"}); }\n')
        self.assertIn("destroys this temporary", " ".join(found))

    def test_an_aggregate_as_default_argument_is_found_although_nobody_wrote_it(self):
        self.assertIn("destroys", " ".join(self.check("task g() { co_await with_default(); }\n")))

    def test_a_lambda_that_owns_its_capture_is_found(self):
        found = self.check("task g(std::string s) { co_await call([s] { return s.size(); }); }\n")
        self.assertIn("destroys", " ".join(found))

    def test_an_initializer_list_is_found(self):
        found = self.check("task g() { co_await with_list({1, 2}); }\n")
        self.assertIn("initializer_list", " ".join(found))

    def test_a_header_is_read_too(self):
        found = self.check("inline task g() { if (co_await ready()) use(true); }\n",
                           "include/coppice/sample.hpp")
        self.assertEqual(len(found), 1, found)

    def test_each_of_several_files_that_are_read_as_one_is_named(self):
        bad = "task {}() {{ if (co_await ready()) use(true); }}\n"
        found = self.check(bad.format("g"), "src/core/a.cpp", bad.format("h"))
        self.assertEqual([line.split(":")[0] for line in found],
                         ["src/core/a.cpp", "src/core/other.cpp"], found)

    def test_named_values_and_declarations_pass(self):
        self.assertEqual(self.check(
            'task g() {\n  options o{.name = "x"};\n  co_await with(o);\n'
            "  if (auto yes = co_await ready()) use(yes);\n"
            "  co_await call([] { return 1; });\n}\n"), [])

    def test_an_exception_with_a_reason_passes(self):
        self.assertEqual(self.check(
            "task g() {\n  // tidy: allow coroutine-shape: this sample is about the bug itself\n"
            "  if (co_await ready()) use(true);\n}\n"), [])

    def test_a_file_that_cannot_be_parsed_is_a_finding(self):
        found = self.check("task g() { co_await nonsense(; }\n")
        self.assertIn("could not be read", " ".join(found))


if __name__ == "__main__":
    unittest.main()
