# SPDX-License-Identifier: Apache-2.0
"""Tests of fuzz.py: a finding fails, is saved, and comes with the command that repeats it."""

import tempfile
import unittest
from pathlib import Path

import fuzz
from report import FAILED, PASSED


class FuzzTest(unittest.TestCase):
    def run_script(self, folder: str, script: str):
        program = Path(folder, "tests", "fuzz", "fuzz_frame")
        program.parent.mkdir(parents=True)
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        return fuzz.run_one(Path(folder), "frame", 10, Path(folder, "corpus"))

    def test_no_finding_passes(self):
        with tempfile.TemporaryDirectory() as folder:
            self.assertEqual(self.run_script(folder, "exit 0").outcome, PASSED)

    def test_a_finding_comes_with_the_command_that_repeats_it(self):
        with tempfile.TemporaryDirectory() as folder:
            done = self.run_script(folder, "echo 'Test unit written to /x/frame-crash-1'; exit 77")
        self.assertEqual(done.outcome, FAILED)
        self.assertTrue(done.detail.endswith(f"{folder}/tests/fuzz/fuzz_frame /x/frame-crash-1"),
                        done.detail)

    def test_a_finding_is_saved_where_a_person_looks(self):
        with tempfile.TemporaryDirectory() as folder:
            done = self.run_script(folder, 'echo "$@"; exit 1')
            self.assertIn(f"-artifact_prefix={folder}/findings/frame-", done.detail)
            self.assertTrue(Path(folder, "findings").is_dir())

    def test_what_is_kept_goes_to_the_corpus_and_not_to_the_seeds(self):
        with tempfile.TemporaryDirectory() as folder:
            done = self.run_script(folder, 'echo "$@"; exit 1')
        # libFuzzer writes to the first folder that it is given.
        first, second = done.detail.splitlines()[0].split()[-2:]
        self.assertEqual(first, f"{folder}/corpus")
        self.assertTrue(second.endswith("tests/fuzz/seeds/frame"), second)

    def test_every_target_has_seeds(self):
        self.assertIn("handshake", fuzz.targets())
        for name in fuzz.targets():
            self.assertTrue(any((fuzz.SOURCES / "seeds" / name).iterdir()), name)


if __name__ == "__main__":
    unittest.main()
