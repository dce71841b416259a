# SPDX-License-Identifier: Apache-2.0
"""Tests of soak.py: what is run in which size."""

import unittest
from pathlib import Path

import soak
from cpython import ROOT


class CommandTest(unittest.TestCase):
    def test_every_soak_is_a_program_that_is_there(self):
        for name in soak.SOAKS:
            self.assertTrue(Path(soak.command(name, 1)[0]).is_file(), name)

    def test_sizes_are_in_proportion_and_never_none(self):
        self.assertEqual(soak.command("crowd", 0.1)[1:], ["--guests", "100"])
        self.assertEqual(soak.command("crowd", 0.0001)[1:], ["--guests", "1"])

    def test_what_shows_the_budget_is_run_whole(self):
        self.assertEqual(soak.command("forced_placed", 0.1)[1:],
                         ["--stops", "16", "--then", "other_process", "--left-max", "0"])

    def test_growth_of_a_short_run_is_no_verdict(self):
        self.assertIn("--growth-max", soak.command("cycles", 0.1))
        self.assertNotIn("--growth-max", soak.command("cycles", 1))

    def test_the_front_door_names_it(self):
        self.assertIn("tools/soak.py", (ROOT / "Makefile").read_text())
