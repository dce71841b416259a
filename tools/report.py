# SPDX-License-Identifier: Apache-2.0
"""Test results from any runner, and the report that ends in `N passed, N failed, N skipped`."""

from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as xml
from dataclasses import dataclass
from pathlib import Path

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"
DETAIL_LINES_MAX = 60  # of a failed test's output: its end is where the reason is


@dataclass(frozen=True)
class case:
    """One test: `detail` is what a failed one printed, or why one was skipped."""

    name: str
    outcome: str
    detail: str = ""


def parse(path: Path) -> xml.Element:
    """Reads JUnit XML although tests print what XML does not allow."""
    text = path.read_text(encoding="utf-8", errors="replace")
    legal = "\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff"
    return xml.fromstring(re.sub(f"[^{legal}]", "?", text))


def gtest_skip_reason(output: str) -> str:
    """What was streamed into GTEST_SKIP()."""
    found = re.search(r": Skipped\n(.*?)\n?\[  SKIPPED \]", output, re.S)
    return " ".join(found.group(1).split()) if found else ""


def plain_name(name: str) -> str:
    """Without the bytes of a parameter, which GoogleTest lists behind the name."""
    return re.sub(r"\s+# GetParam\(\) = .*", "", name, flags=re.S)


def from_ctest(path: Path, endings: dict[str, str]) -> list[case]:
    """Reads `ctest --output-junit`. `endings`: what ctest says of failed ones, as in "Timeout"."""
    cases = []
    for test in parse(path).iter("testcase"):
        name = plain_name(test.get("name", "?"))
        output = test.findtext("system-out") or ""
        skipped = test.find("skipped")
        message = skipped.get("message", "") if skipped is not None else ""
        status = test.get("status")
        if status == "run":
            cases.append(case(name, PASSED))
        elif status == "disabled":
            cases.append(case(name, SKIPPED, "disabled in its source"))
        elif status == "notrun" and message.startswith("SKIP_"):
            reason = gtest_skip_reason(output) or output.strip().split("\n")[-1]
            cases.append(case(name, SKIPPED, reason))
        else:  # Also `notrun` for any other reason: a program that was not built has not passed.
            how = endings.get(name, "") or message
            cases.append(case(name, FAILED, f"{output}\n{how}".strip()))
    return cases


def from_junit(path: Path) -> list[case]:
    """Reads the JUnit XML of pytest and of unit_tests.py."""
    cases = []
    for test in parse(path).iter("testcase"):
        name = ".".join(filter(None, (test.get("classname"), test.get("name"))))
        broken = [one for kind in ("failure", "error") for one in test.findall(kind)]
        skipped = test.find("skipped")
        if broken:
            detail = "\n".join(f"{one.get('message') or ''}\n{one.text or ''}" for one in broken)
            cases.append(case(name, FAILED, detail.strip()))
        elif skipped is not None:
            reason = skipped.get("message") or (skipped.text or "").strip()
            cases.append(case(name, SKIPPED, reason))
        else:
            cases.append(case(name, PASSED))
    return cases


def from_command(name: str, command: list[str], **options) -> case:
    """Runs a check that only passes or fails."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              errors="replace", **options)
    except (OSError, subprocess.TimeoutExpired) as error:
        return case(name, FAILED, str(error))
    output = (done.stdout + done.stderr).strip()
    return case(name, PASSED) if done.returncode == 0 else case(name, FAILED, output or "no output")


def finish(cases: list[case], out=sys.stdout) -> int:
    """Prints failures whole, skips with their reason, and the totals alone on the last line.
    Returns the exit status."""
    for one in cases:
        if one.outcome == FAILED:
            lines = one.detail.splitlines()
            print(f"\nFAILED {one.name}", file=out)
            if len(lines) > DETAIL_LINES_MAX:
                print(f"    ... {len(lines) - DETAIL_LINES_MAX} lines before", file=out)
            for line in lines[-DETAIL_LINES_MAX:]:
                print(f"    {line}", file=out)
    for one in cases:
        if one.outcome == SKIPPED:
            print(f"skipped {one.name}: {one.detail or 'gives no reason'}", file=out)
    count = {kind: sum(one.outcome == kind for one in cases) for kind in (PASSED, FAILED, SKIPPED)}
    print(f"{count[PASSED]} passed, {count[FAILED]} failed, {count[SKIPPED]} skipped", file=out,
          flush=True)
    return 1 if count[FAILED] or not count[PASSED] else 0
