# SPDX-License-Identifier: Apache-2.0
"""Tests of sim.py: how seeds are shared out, and that a failure shows what the program said."""

import tempfile
import unittest
from pathlib import Path

import sim
from report import FAILED, PASSED


class SharesTest(unittest.TestCase):
    def test_every_seed_is_run_once(self):
        for seeds, parts in ((10, 2), (10, 3), (1, 4), (7, 7)):
            run = [seed for first, count in sim.shares(100, seeds, parts)
                   for seed in range(first, first + count)]
            self.assertEqual(run, list(range(100, 100 + seeds)))

    def test_no_share_is_empty(self):
        self.assertEqual(sim.shares(0, 2, 8), [(0, 1), (1, 1)])


class RunTest(unittest.TestCase):
    def program(self, folder: str, script: str) -> Path:
        path = Path(folder, "tests", "sim", "sim")
        path.parent.mkdir(parents=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return Path(folder)

    def test_clean_seeds_pass(self):
        with tempfile.TemporaryDirectory() as folder:
            cases = sim.run(self.program(folder, "exit 0"), 10)
        self.assertEqual({one.outcome for one in cases}, {PASSED})

    def test_a_failure_shows_what_the_program_said(self):
        with tempfile.TemporaryDirectory() as folder:
            cases = sim.run(self.program(folder, "echo seed 3: broke; exit 1"), 1)
        self.assertEqual([(one.outcome, one.detail) for one in cases],
                         [(FAILED, "seed 3: broke")])


if __name__ == "__main__":
    unittest.main()
