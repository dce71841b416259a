# SPDX-License-Identifier: Apache-2.0
"""Tests of cpython.py: which CPython is taken, and what is said of one that cannot be."""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import cpython
import cpython_source


def facts(prefix: Path) -> dict:
    """What probe() says of a good CPython at `prefix`; its header and library are made."""
    for file in ("include/python3.14/Python.h", "lib/libpython3.14.so.1.0", "bin/python3.14"):
        (prefix / file).parent.mkdir(parents=True, exist_ok=True)
        (prefix / file).touch()
    (prefix / "bin/python3.14").chmod(0o755)
    return {"implementation": "cpython", "version": [3, 14, 7], "text": "3.14.7", "gil": True,
            "prefix": str(prefix), "executable": str(prefix / "bin/python3.14"),
            "header": str(prefix / "include/python3.14/Python.h"), "shared": True,
            "library": str(prefix / "lib/libpython3.14.so.1.0"), "broken": []}


class CpythonTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name).resolve()
        self.deps = self.folder / "deps"
        self.known = {}  # executable -> what probe() says of it
        patch = mock.patch.object(cpython, "probe", lambda path: self.known.get(
            str(path), "it is not known to this test"))
        patch.start()
        self.addCleanup(patch.stop)

    def install(self, home: Path, **changes) -> dict:
        made = {**facts(home), **changes}
        self.known[made["executable"]] = made
        return made

    def reason(self, **changes) -> str:
        return cpython.unusable({**facts(self.folder / "p"), **changes}) or ""

    def test_a_good_one_is_usable(self):
        self.assertEqual(self.reason(), "")

    def test_each_flaw_is_named(self):
        self.assertIn("pypy", self.reason(implementation="pypy"))
        self.assertIn("3.14.1 is the oldest", self.reason(version=[3, 14, 0], text="3.14.0"))
        self.assertIn("free-threaded", self.reason(gil=False))
        self.assertIn("--enable-shared", self.reason(shared=False))
        self.assertIn("--enable-shared", self.reason(library="/nonexistent/libpython.so"))
        self.assertIn("headers", self.reason(header="/nonexistent/Python.h"))

    def test_a_moved_or_incomplete_build_is_not_taken(self):
        prefix = self.deps / "python3.14"
        for change in ({"broken": ["ssl"]}, {"prefix": "/elsewhere"},
                       {"library": facts(self.folder / "old")["library"]}):
            self.install(prefix, **change)
            self.assertIsNone(cpython.locate({}, self.deps), change)
        self.install(prefix)
        self.assertEqual(cpython.locate({}, self.deps).prefix, prefix)

    def test_order_is_chosen_then_installed_then_built(self):
        self.install(self.deps / "python3.14")
        self.install(self.folder / "usr", text="installed")
        self.install(self.folder / "mine", text="mine")
        path = {"PATH": str(self.folder / "usr/bin")}
        mine = {"PYTHON": str(self.folder / "mine/bin/python3.14")}
        self.assertEqual(cpython.locate({**path, **mine}, self.deps).version, "mine")
        self.assertEqual(cpython.locate(path, self.deps).version, "installed")
        self.assertEqual(cpython.locate({}, self.deps).version, "3.14.7")

    def test_an_installed_one_without_headers_is_passed_over(self):
        self.install(self.deps / "python3.14")
        self.install(self.folder / "usr", header="/nonexistent/Python.h")
        found = cpython.locate({"PATH": str(self.folder / "usr/bin")}, self.deps)
        self.assertEqual(found.prefix, self.deps / "python3.14")

    def test_a_chosen_one_that_cannot_serve_is_refused_in_one_sentence(self):
        made = self.install(self.folder / "mine", shared=False)
        for env in ({"PYTHON": made["executable"]}, {"PYTHON": "/nonexistent/python"},
                    {"PYTHON_VERSION": "3.9"}):
            with self.assertRaises(cpython.setup_error) as caught:
                cpython.locate(env, self.deps)
            self.assertNotIn("\n", str(caught.exception))

    def test_none_means_none(self):
        self.install(self.deps / "python3.14")
        self.assertIsNone(cpython.locate({"PYTHON": "none"}, self.deps))
        self.assertIsNone(cpython.ensure({"PYTHON": "none"}, self.deps))

    def test_nothing_is_built_when_one_is_there(self):
        self.install(self.deps / "python3.14")
        with mock.patch.object(cpython_source, "build", side_effect=AssertionError("built")):
            self.assertEqual(cpython.ensure({}, self.deps).version, "3.14.7")

    def test_what_is_missing_moved_or_of_an_old_recipe_is_built(self):
        prefix = self.deps / "python3.14"

        def build(minor, deps, env):
            self.install(deps / f"python{minor}", text="fresh")
            (prefix / ".coppice-recipe").write_text(cpython_source.recipe("3.14"))

        def break_it():
            self.install(prefix, prefix="/elsewhere")

        def age():
            self.install(prefix)
            (prefix / ".coppice-recipe").write_text("another recipe")

        with mock.patch.object(cpython_source, "build", side_effect=build), \
                mock.patch("builtins.print"):
            for prepare in (lambda: None, break_it, age):
                prepare()
                self.assertEqual(cpython.ensure({}, self.deps).version, "fresh")


    def test_another_one_comes_beside_it_whichever_was_chosen(self):
        mine = {"PYTHON": self.install(self.folder / "mine")["executable"]}
        asked = []

        def ensure(env, _deps):
            asked.append(cpython.wanted_minors(env))
            self.assertFalse(env["PYTHON"])

        with mock.patch.object(cpython, "ensure", ensure):
            cpython.ensure_also("3.15", mine, self.deps)
        self.assertEqual(asked, [("3.15",)])

    def test_the_other_one_is_left_out_if_its_source_cannot_be_had_and_for_no_other_reason(self):
        said = []
        for error, left_out in ((cpython.no_source("nobody has it"), True),
                                (cpython.setup_error("make failed"), False)):
            with mock.patch.object(cpython_source, "build", side_effect=error), \
                    mock.patch("builtins.print", lambda text, **_: said.append(text)):
                if left_out:
                    self.assertIsNone(cpython.ensure_also("3.15", {}, self.deps))
                    self.assertEqual(said, ["setup: without CPython 3.15, nobody has it"])
                else:
                    with self.assertRaises(cpython.setup_error):
                        cpython.ensure_also("3.15", {}, self.deps)


class ProbeTest(unittest.TestCase):
    def test_a_real_interpreter_answers(self):
        answer = cpython.probe(sys.executable)
        self.assertEqual(answer["version"], list(sys.version_info[:3]))
        self.assertNotIn("ssl", answer["broken"])

    def test_what_is_no_interpreter_gives_a_reason(self):
        self.assertEqual(cpython.probe("/nonexistent"), "No such file or directory")
        self.assertIn("no Python", cpython.probe("/bin/true"))
        self.assertIn("status 1", cpython.probe("/bin/false"))


class SetupTest(unittest.TestCase):
    """tools/setup itself, in a copy of tools/, with the programs that it calls replaced."""

    def run_setup(self, **programs: str) -> subprocess.CompletedProcess:
        with tempfile.TemporaryDirectory() as folder:
            shutil.copytree(cpython.ROOT / "tools", Path(folder, "copy/tools"))
            for name, text in programs.items():
                file = Path(folder, name.replace("_", "-"))
                file.write_text(f"#!/bin/bash\n{text}\n")
                file.chmod(file.stat().st_mode | stat.S_IXUSR)
            env = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "PYTHON": "none",
                   "COPPICE_TOOLS_PYTHON": sys.executable}
            return subprocess.run([f"{folder}/copy/tools/setup"], env=env, text=True,
                                  stdin=subprocess.DEVNULL, capture_output=True, timeout=60)

    def assert_one_sentence(self, done: subprocess.CompletedProcess, *words: str):
        self.assertNotEqual(done.returncode, 0)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)

    def test_without_root_and_sudo_it_names_the_command_for_root(self):
        done = self.run_setup(dpkg_query="exit 1", id="echo 1000", sudo="exit 1")
        self.assert_one_sentence(done, "run as root 'apt-get install", "clang-19")

    def test_a_failed_installation_names_the_log(self):
        done = self.run_setup(dpkg_query="exit 1", id="echo 0",
                              apt_get="echo E: no such mirror; exit 100")
        self.assert_one_sentence(done, ".deps/log/apt.log", "run again")
        self.assertIn("no such mirror", done.stdout)

    def test_a_package_that_was_silently_left_out_is_noticed(self):
        done = self.run_setup(dpkg_query="exit 1", id="echo 0", apt_get="exit 0")
        self.assert_one_sentence(done, "left these packages out")

    def test_when_all_is_there_no_package_tool_but_the_query_is_called(self):
        done = self.run_setup(
            dpkg_query='shift 2; for p in "$@"; do echo installed $p; done', id="echo 1000",
            apt_get="echo called >&2; exit 1", sudo="echo called >&2; exit 1")
        self.assertEqual((done.returncode, done.stderr), (0, ""))


if __name__ == "__main__":
    unittest.main()
