#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the soaks (tests/soak), one after the other, and writes build/soak.json.

    soak.py                         all, in full size: half an hour
    soak.py --size 0.1              a tenth of each
    soak.py --only cycles,forced    some of them

Each is a program that anybody can run: `tests/soak/cycles.py --help`. `make test` runs small ones.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import build
import cpython
import report
import test
from cpython import ROOT
from report import FAILED, PASSED, case

# Script, sizes that are in proportion to --size, and other options.
SOAKS: dict[str, tuple[str, dict[str, int], list[str]]] = {
    "interrupts": ("interrupts", {"calls": 100_000}, []),
    "interrupts_shared_gil": ("interrupts", {"calls": 20_000}, ["--gil", "shared"]),
    "interrupts_process": ("interrupts", {"calls": 20_000}, ["--start-method", "process"]),
    "cycles": ("cycles", {"cycles": 10_000, "interrupted": 2_000}, []),
    "forced": ("forced", {"stops": 1_000}, []),
    "forced_placed": ("forced", {"stops": 16}, ["--then", "other_process", "--left-max", "0"]),
    "crowd": ("crowd", {"guests": 1_000}, []),
    "crowd_short_of_fds": ("crowd", {"guests": 200}, ["--at-most-fds", "100"]),
    "crowd_short_of_memory": ("crowd", {"guests": 60}, ["--at-most-mb", "1500"]),
}
SECONDS = 3600  # for one of them


def command(name: str, size: float) -> list[str]:
    """The script and its arguments; sizes that a tenth of would test nothing stay."""
    script, sizes, others = SOAKS[name]
    whole = name in ("forced_placed", "crowd_short_of_fds", "crowd_short_of_memory")
    words = [str(ROOT / "tests" / "soak" / f"{script}.py")]
    for option, number in sizes.items():
        words += [f"--{option}", str(number if whole else max(1, round(number * size)))]
    if size < 0.2:  # A warm-up alone shows nothing.
        words += {"cycles": ["--growth-max", "0"], "forced": ["--left-max", "0"]}.get(name, [])
    return words + others


def run(name: str, size: float, folder: Path, found: cpython.python) -> tuple[case, dict]:
    """One soak: how it ended, and its figures."""
    print(f"soak: {name}", flush=True)
    tail: list[str] = []

    def tell(line: str) -> None:
        tail.append(line)
        print("  " + line, end="", flush=True)

    env = test.environment(folder, found)
    path = [test.python_path(folder, found), str(ROOT / "tests"), str(ROOT / "tests" / "soak")]
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="cps-") as scratch:
        out = Path(scratch, "figures.json")
        env |= {"PYTHONPATH": os.pathsep.join(path), "XDG_RUNTIME_DIR": scratch,
                "COPPICE_TEST_SECONDS": str(SECONDS)}
        words = [str(found.executable), *command(name, size), "--out", str(out)]
        try:
            status, _ = test.run(words, env, SECONDS + 10, tell)
        except test.ended as error:
            status, tail = -1, [*tail, str(error)]
        figures = json.loads(out.read_text()) if out.exists() else {}
    figures["minutes"] = round((time.monotonic() - begun) / 60, 1)
    if status == 0 and "CLEAN\n" in tail:
        return case(f"soak: {name}", PASSED), figures
    return case(f"soak: {name}", FAILED, "".join(tail[-40:]) + f"\nstatus {status}"), figures


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=float, default=1.0, help="1: in full")
    parser.add_argument("--only", default=",".join(SOAKS), help=", ".join(SOAKS))
    options = parser.parse_args(arguments)
    names = options.only.split(",")
    if unknown := [name for name in names if name not in SOAKS]:
        print(f"soak: there is no {unknown[0]!r}: take of {', '.join(SOAKS)}", file=sys.stderr)
        return 1
    folder = build.presets()["dev"]
    found = cpython.locate(dict(os.environ), ROOT / ".deps")
    if found is None:
        print("soak: actors in Python are what is soaked: leave out PYTHON=none", file=sys.stderr)
        return 1
    out = folder / "soak.json"
    cases, figures = [], {}
    for name in names:
        one, figures[name] = run(name, options.size, folder, found)
        cases.append(one)
        out.write_text(json.dumps({"size": options.size, **figures}, indent=1) + "\n")
    print(f"soak: the figures are in {out}")
    return report.finish(cases)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
