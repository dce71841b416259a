#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the benchmarks of the release build and writes build/bench.json. Build the preset first.

bench/run.py does the measuring and writes a list of objects {"name", "value", "unit", "limit",
"peer"}: medians; `limit` is what the machine allows and `peer` what others need, both measured in
the same run, null where there is none. Here that list is checked and printed.
"""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path

import build
import cpython
import test
from cpython import ROOT

KEYS = {"name", "value", "unit", "limit", "peer"}
SECONDS = 1800


def flaws(rows: object) -> list[str]:
    """What is wrong with a list of results."""
    if not isinstance(rows, list) or not rows:
        return ["the benchmarks wrote no list of results"]
    found = []
    names = [row.get("name") for row in rows if isinstance(row, dict)]
    for row in rows:
        if not isinstance(row, dict) or set(row) != KEYS:
            found.append(f"{row} has not exactly the keys {', '.join(sorted(KEYS))}")
            continue
        for key in ("value", "limit", "peer"):
            number = row[key]
            is_number = isinstance(number, (int, float)) and not isinstance(number, bool)
            if not (is_number and math.isfinite(number)) and (key == "value" or number is not None):
                found.append(f"{row['name']}: {key} is {number!r}, no number")
    found += [f"{name} is there twice" for name in sorted({n for n in names if names.count(n) > 1})]
    return found


def table(rows: list[dict]) -> str:
    def cell(value: object) -> str:
        return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)

    order = ("name", "value", "unit", "limit", "peer")
    cells = [list(order), *([cell(row[key]) for key in order] for row in rows)]
    widths = [max(len(line[at]) for line in cells) for at in range(len(order))]
    return "\n".join("  ".join(text.ljust(width) for text, width in zip(line, widths)).rstrip()
                     for line in cells)


def measure(out: Path) -> str:
    """Runs the benchmarks. Why there are no results, or nothing."""
    folder = build.presets()["bench"]
    found = cpython.locate(dict(os.environ), ROOT / ".deps")
    if found is None:
        return "the figures stand beside those of Python: leave out PYTHON=none"
    out.unlink(missing_ok=True)
    env = test.environment(folder, found)
    env["PYTHONPATH"] = test.python_path(folder, found)
    command = [str(found.executable), str(ROOT / "bench" / "run.py"), "--programs", str(folder),
               "--python", str(found.executable), "--out", str(out)]
    status, _ = test.run(command, env, SECONDS, tell=lambda line: print(line, end="", flush=True))
    if status != 0 or not out.exists():
        return f"bench/run.py ended with status {status}: what it says is above"
    return ""


def main() -> int:
    out = ROOT / "build" / "bench.json"
    try:
        failure = measure(out)
    except (cpython.setup_error, test.ended) as error:
        failure = str(error)
    if failure:
        print(f"bench: {failure}", file=sys.stderr)
        return 1
    rows = json.loads(out.read_text())
    wrong = flaws(rows)
    if wrong:
        print(f"bench: {'; '.join(wrong)}", file=sys.stderr)
        return 1
    print(table(rows))
    print(f"written to {out.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
