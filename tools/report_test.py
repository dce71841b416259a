# SPDX-License-Identifier: Apache-2.0
"""Tests of report.py: no result of a test runner is lost or taken for a better one."""

import io
import tempfile
import unittest
from pathlib import Path

import report
from report import FAILED, PASSED, SKIPPED, case

CTEST = """<?xml version="1.0" encoding="UTF-8"?>
<testsuite name="(empty)" tests="8">
 <testcase name="A.Passes  # GetParam() = 8-byte object &lt;00-72&gt;" status="run"/>
 <testcase name="A.Fails" status="fail"><failure message=""/>
  <system-out>1 is not 2</system-out></testcase>
 <testcase name="A.Skips" status="notrun"><skipped message="SKIP_REGULAR_EXPRESSION_MATCHED"/>
  <system-out>[ RUN      ] A.Skips
/x/t.cpp:5: Skipped
no such backend: subint
second line
[  SKIPPED ] A.Skips (0 ms)</system-out></testcase>
 <testcase name="A.Disabled" status="disabled"><system-out>Disabled</system-out></testcase>
 <testcase name="A_NOT_BUILT" status="notrun"><skipped message="Unable to find executable"/>
  <system-out>Unable to find executable: /x/a</system-out></testcase>
 <testcase name="A.Unheard" status="of"/>
</testsuite>
"""

PYTEST = """<testsuites><testsuite>
 <testcase classname="python.test_a" name="test_ok"/>
 <testcase classname="python.test_a" name="test_bad">
  <failure message="assert 1 == 2">at 3</failure></testcase>
 <testcase classname="python.test_a" name="test_broken"><error message="a">x</error></testcase>
 <testcase classname="python.test_a" name="test_no"><skipped message="no subint"/></testcase>
 <testcase classname="python.test_a" name="test_after"><error message="teardown"/></testcase>
</testsuite></testsuites>
"""


def read(reader, text: str, *arguments) -> dict[str, case]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "out.xml")
        path.write_text(text)
        return {one.name: one for one in reader(path, *arguments)}


class ReadTest(unittest.TestCase):
    def test_ctest(self):
        got = read(report.from_ctest, CTEST, {"A.Fails": "Timeout"})
        self.assertEqual({name: one.outcome for name, one in got.items()}, {
            "A.Passes": PASSED, "A.Fails": FAILED, "A.Skips": SKIPPED, "A.Disabled": SKIPPED,
            "A_NOT_BUILT": FAILED, "A.Unheard": FAILED})
        self.assertEqual(got["A.Skips"].detail, "no such backend: subint second line")
        self.assertIn("1 is not 2", got["A.Fails"].detail)
        self.assertIn("Timeout", got["A.Fails"].detail)
        self.assertIn("Unable to find", got["A_NOT_BUILT"].detail)

    def test_pytest(self):
        got = read(report.from_junit, PYTEST)
        self.assertEqual([one.outcome for one in got.values()],
                         [PASSED, FAILED, FAILED, SKIPPED, FAILED])
        self.assertEqual(got["python.test_a.test_no"].detail, "no subint")
        self.assertIn("assert 1 == 2", got["python.test_a.test_bad"].detail)

    def test_characters_that_xml_forbids_do_not_hide_a_result(self):
        got = read(report.from_ctest, CTEST.replace("1 is not 2", "1 \x1b[31m\x00 2"), {})
        self.assertEqual(got["A.Fails"].outcome, FAILED)

    def test_a_command_passes_or_fails_with_its_output(self):
        self.assertEqual(report.from_command("x", ["true"]), case("x", PASSED))
        failed = report.from_command("x", ["sh", "-c", "echo why; echo too >&2; exit 3"])
        self.assertEqual(failed, case("x", FAILED, "why\ntoo"))
        self.assertEqual(report.from_command("x", ["/nonexistent"]).outcome, FAILED)


class FinishTest(unittest.TestCase):
    def finish(self, *cases: case) -> tuple[int, list[str]]:
        out = io.StringIO()
        status = report.finish(list(cases), out)
        return status, out.getvalue().splitlines()

    def test_the_totals_stand_alone_on_the_last_line(self):
        status, lines = self.finish(case("a", PASSED), case("b", PASSED), case("c", SKIPPED, "why"))
        self.assertEqual((status, lines[-1]), (0, "2 passed, 0 failed, 1 skipped"))
        self.assertIn("skipped c: why", lines)

    def test_a_failure_is_printed_whole_and_gives_a_status(self):
        status, lines = self.finish(case("a", PASSED), case("b", FAILED, "one\ntwo"))
        self.assertEqual((status, lines[-1]), (1, "1 passed, 1 failed, 0 skipped"))
        self.assertEqual(lines[1:4], ["FAILED b", "    one", "    two"])

    def test_of_much_output_the_end_is_printed(self):
        _, lines = self.finish(case("b", FAILED, "\n".join(map(str, range(1000)))))
        self.assertIn("    999", lines)
        self.assertNotIn("    0", lines)
        self.assertIn("lines before", " ".join(lines))

    def test_a_run_without_any_passed_test_is_a_failure(self):
        self.assertEqual(self.finish()[0], 1)
        self.assertEqual(self.finish(case("a", SKIPPED, "why"))[0], 1)


if __name__ == "__main__":
    unittest.main()
