#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the tests of the tools (tools/*_test.py) and writes JUnit XML: unit_tests.py OUT.xml"""

from __future__ import annotations

import sys
import unittest
import xml.etree.ElementTree as xml
from pathlib import Path


class junit_result(unittest.TestResult):
    """Collects one <testcase> per test."""

    def __init__(self) -> None:
        super().__init__()
        self.suite = xml.Element("testsuite")

    def add(self, test: unittest.TestCase, kind: str = "", text: str = "") -> None:
        module, _, name = test.id().rpartition(".")
        element = xml.SubElement(self.suite, "testcase", classname=module, name=name)
        if kind:
            plain = "".join(c if c.isprintable() or c == "\n" else "?" for c in text)
            xml.SubElement(element, kind, message=plain.strip().split("\n")[-1]).text = plain

    def addSuccess(self, test):  # noqa: N802 (unittest's names)
        self.add(test)

    def addFailure(self, test, err):  # noqa: N802
        self.add(test, "failure", self._exc_info_to_string(err, test))

    def addError(self, test, err):  # noqa: N802
        self.add(test, "error", self._exc_info_to_string(err, test))

    def addSubTest(self, test, subtest, err):  # noqa: N802
        if err is not None:
            self.add(subtest, "failure", self._exc_info_to_string(err, test))

    def addSkip(self, test, reason):  # noqa: N802
        self.add(test, "skipped", reason)


def main(arguments: list[str]) -> int:
    folder = Path(__file__).resolve().parent
    result = junit_result()
    unittest.defaultTestLoader.discover(str(folder), "*_test.py").run(result)
    xml.ElementTree(result.suite).write(arguments[0], encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
