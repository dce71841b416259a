# SPDX-License-Identifier: Apache-2.0
"""Tests of build.py, test.py and bench.py: what they decide before and after other programs run."""

import os
import select
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import bench
import build
import cpython
import test
from report import FAILED, SKIPPED


class BuildTest(unittest.TestCase):
    def test_presets_say_where_they_build(self):
        folders = build.presets()
        self.assertEqual(folders["dev"], cpython.ROOT / "build")
        self.assertLessEqual({"dev", "gcc", "asan", "bench"}, set(folders))

    def test_an_unknown_preset_is_refused_with_the_known_ones(self):
        with self.assertRaises(build.build_error) as caught:
            build.build("nonsense", [])
        self.assertIn("dev", str(caught.exception))

    def test_a_build_folder_of_another_checkout_is_noticed(self):
        with tempfile.TemporaryDirectory() as folder:
            cache = Path(folder, "CMakeCache.txt")
            self.assertFalse(build.is_of_another_place(Path(folder)))
            cache.write_text(f"CMAKE_HOME_DIRECTORY:INTERNAL={cpython.ROOT}\n")
            self.assertFalse(build.is_of_another_place(Path(folder)))
            cache.write_text("CMAKE_HOME_DIRECTORY:INTERNAL=/elsewhere\n")
            self.assertTrue(build.is_of_another_place(Path(folder)))

    def test_without_a_cpython_it_says_what_to_run(self):
        with mock.patch.object(cpython, "locate", lambda env, deps: None), \
                mock.patch.dict(os.environ, {"PYTHON": ""}):
            with self.assertRaises(build.build_error) as caught:
                build.python_prefix("dev")
        self.assertIn("tools/setup", str(caught.exception))


    def test_a_preset_may_have_a_cpython_of_its_own(self):
        asked = []
        with mock.patch.object(cpython, "locate", lambda env, deps: asked.append(env)):
            for python in ("/usr/bin/python3.14", "none"):
                with mock.patch.dict(os.environ, {"PYTHON": python, "PYTHON_VERSION": "3.14"}):
                    build.python_of("dev")
                    build.python_of("py315")
        self.assertEqual([(env["PYTHON"], env["PYTHON_VERSION"]) for env in asked],
                         [("/usr/bin/python3.14", "3.14"), (None, "3.15"),
                          ("none", "3.14"), ("none", "3.14")])


class RunTest(unittest.TestCase):
    def test_output_and_status_come_back(self):
        lines = []
        got = test.run(["sh", "-c", "echo one; echo two >&2; exit 3"], dict(os.environ),
                       tell=lines.append)
        self.assertEqual(got, (3, "one\ntwo\n"))
        self.assertEqual(lines, ["one\n", "two\n"])

    def test_what_does_not_end_is_ended_with_its_children(self):
        with tempfile.TemporaryDirectory() as folder:
            pid_file = Path(folder, "pid")
            with self.assertRaises(test.ended):
                test.run(["sh", "-c", f"sleep 60 & echo $! > {pid_file}; wait"], dict(os.environ),
                         seconds=1)
            try:
                grandchild = os.pidfd_open(int(pid_file.read_text()))
            except ProcessLookupError:
                return  # Gone already.
            self.addCleanup(os.close, grandchild)
            self.assertEqual(select.select([grandchild], [], [], 20)[0], [grandchild])

    def test_a_runner_that_dies_without_a_report_is_a_failure(self):
        with tempfile.TemporaryDirectory() as folder, \
                mock.patch.object(test, "run", lambda *a, **k: (139, "Segmentation fault")):
            cases = test.run_ctest("dev", Path(folder), {}, "", "")
        self.assertEqual([one.outcome for one in cases], [FAILED])
        self.assertIn("Segmentation", cases[0].detail)

    def test_without_python_its_tests_are_skipped_by_name(self):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            (root / "tests/python").mkdir(parents=True)
            (root / "tests/python/test_a.py").touch()
            with mock.patch.object(test, "ROOT", root):
                cases = test.run_pytest("dev", root, {}, None, "")
        self.assertEqual([(one.outcome, one.detail) for one in cases],
                         [(SKIPPED, "built without Python (PYTHON=none)")])

    def test_nothing_of_the_calling_make_or_python_reaches_a_test(self):
        with mock.patch.dict(os.environ, {"MAKEFLAGS": "-j", "PYTHONPATH": "/x", "HOME": "/h"}):
            env = test.environment(Path("/b"), None)
        self.assertFalse({"MAKEFLAGS", "PYTHONPATH"} & set(env))
        self.assertEqual((env["HOME"], env["COPPICE_BUILD_DIR"]), ("/h", "/b"))


class BenchTest(unittest.TestCase):
    ROW = {"name": "a", "value": 1.5, "unit": "us", "limit": 1, "peer": None}

    def test_a_good_list_has_no_flaws(self):
        self.assertEqual(bench.flaws([self.ROW, {**self.ROW, "name": "b"}]), [])

    def test_each_flaw_is_named(self):
        self.assertTrue(bench.flaws([]))
        self.assertTrue(bench.flaws({}))
        self.assertIn("twice", bench.flaws([self.ROW, self.ROW])[0])
        self.assertIn("keys", bench.flaws([{"name": "a"}])[0])
        for bad in (None, "1", float("nan"), True):
            self.assertIn("value", bench.flaws([{**self.ROW, "value": bad}])[0])

    def test_the_table_has_a_line_for_each(self):
        self.assertEqual(bench.table([self.ROW]).splitlines(),
                         ["name  value  unit  limit  peer", "a     1.5    us    1      -"])


if __name__ == "__main__":
    unittest.main()
