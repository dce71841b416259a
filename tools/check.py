#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""All that has to hold before a change is merged, besides `make test`: `make check`. Goes on after
a failure and reports everything in one list; each check counts like a test.

    check.py                   all
    check.py --only static     format, tidy, tests of the tools: seconds, needs no build
    check.py --only dev,mutants,sim,gcc,asan,fuzz,tsan
    check.py --only py315      `make check-py315`, not among all: it takes a second CPython
    check.py --fix-format      lays out the C++ sources
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import build
import cpython
import fuzz
import mutants
import report
import sim
import test
from cpython import ROOT
from report import FAILED, PASSED, SKIPPED, case
from sources import tree

CLANG_FORMAT = "clang-format-19"
STAGES = ("static", "dev", "mutants", "sim", "gcc", "asan", "fuzz", "tsan")
APART = ("py315",)
SIM_SEEDS = 10_000
PYTHON_LAYERS = ("pyhost", "pyext")
# Of the Python tests, with g++: those that reach all that Python calls in the native half. The
# Python half is the same in every build.
PYTHON_OF_GCC = "test_calls or test_errors or test_streams or test_discovery or interop or system"


def tool(name: str, *arguments: str) -> list[str]:
    """The command line of one of our tools, on a Python that knows the syntax of python/."""
    found = cpython.locate(dict(os.environ), ROOT / ".deps")
    python = str(found.executable) if found else sys.executable
    return [python, str(ROOT / "tools" / name), *arguments]


def format_command(*options: str) -> list[str]:
    return [CLANG_FORMAT, *options, *(str(ROOT / file.path) for file in tree(ROOT).cpp())]


def begin(what: str) -> None:
    print(f"check: {what}", flush=True)


def built(preset: str, werror: bool, targets: tuple[str, ...] = ()) -> case:
    """Building, as a check. Its output goes to the terminal."""
    name = f"{preset}: builds{' without a warning' if werror else ''}"
    begun = time.monotonic()
    try:
        build.build(preset, list(targets), werror)
    except build.build_error as error:
        return case(name, FAILED, str(error))
    print(f"check: {preset} built in {time.monotonic() - begun:.0f} s", flush=True)
    return case(name, PASSED)


def static() -> list[case]:
    begin("format, tidy, tests of the tools")
    return [report.from_command(f"format ({CLANG_FORMAT}; `make format` mends it)",
                                format_command("--dry-run", "--Werror")),
            report.from_command("tidy", tool("tidy.py")),
            *test.run_all("dev", ("tools",))]


def dev() -> list[case]:
    """clang: the build that `make test` uses and tests, and what needs its compile commands."""
    begin("clang")
    cases = [built("dev", werror=False)]
    if cases[0].outcome == FAILED:
        return cases
    cases.append(built("dev", werror=False, targets=("check_headers",)))
    begin("coroutine shapes, clang-tidy")
    return cases + [report.from_command("coroutine shapes", tool("coroutine_shapes.py")),
                    report.from_command("clang-tidy", tool("clang_tidy.py"))]


def broken_on_purpose() -> list[case]:
    begin(f"one of {mutants.SHARES} shares of the mutants")
    try:
        return mutants.run_all(one_share=True)
    except (build.build_error, mutants.mutant_error) as error:
        return [case("mutants", FAILED, str(error))]


def simulation() -> list[case]:
    """Seeds of tests/sim, in the build of the stage `dev`."""
    begin(f"{SIM_SEEDS} seeds of the simulation")
    cases = [built("dev", werror=False, targets=("tests/sim/sim",))]
    if cases[0].outcome == FAILED:
        return cases
    return cases + sim.run(build.presets()["dev"], SIM_SEEDS)


def gcc() -> list[case]:
    begin("g++ 12")
    cases = [built("gcc", werror=True)]
    if cases[0].outcome == FAILED:
        return cases
    return cases + test.run_all("gcc", ("ctest",)) + test.run_all("gcc", ("pytest",),
                                                                  match=PYTHON_OF_GCC)


def asan() -> list[case]:
    begin("clang, address and undefined-behaviour sanitizers")
    cases = [built("asan", werror=True, targets=("unit_tests", "conformance_tests"))]
    return cases + (test.run_all("asan", ("ctest",), labels="unit,conformance")
                    if cases[0].outcome == PASSED else [])


def fuzzing() -> list[case]:
    """In the build of the stage `asan`."""
    begin(f"{fuzz.RUNS} executions of each fuzz target")
    try:
        return fuzz.check(fuzz.build_targets())
    except build.build_error as error:
        return [case("fuzz", FAILED, str(error))]


def tsan() -> list[case]:
    """What it can follow: no interpreters (see build.py), no processes. It has a thread of its own,
    too, which the conformance tests would find left behind."""
    begin("clang, thread sanitizer")
    cases = [built("tsan", werror=True, targets=("unit_tests",))]
    return cases + (test.run_all("tsan", ("ctest",), labels="unit")
                    if cases[0].outcome == PASSED else [])


def other_python() -> list[case]:
    """What depends on CPython's inside, with another CPython than that of the other stages."""
    begin("CPython 3.15: guests, the stuck-state matrix")
    found = build.python_of("py315")
    if found is None:
        return [case("py315", SKIPPED, "PYTHON=none, or no CPython 3.15: `PYTHON_VERSION=3.15 "
                     "tools/setup --tests` builds one, or says why it cannot")]
    cases = [built("py315", werror=True, targets=(
        "stuck_frames", *(f"src/{one}/all" for one in PYTHON_LAYERS)))]
    if cases[0].outcome == FAILED:
        return cases
    folder = build.presets()["py315"]
    env = test.environment(folder, found)
    for layer in PYTHON_LAYERS:
        cases += test.run_ctest("py315", folder / "src" / layer, env, "", "")
    matrix = ("python/test_stuck_matrix.py",)
    return cases + test.run_pytest("py315", folder, env, found, "", matrix)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(STAGES))
    parser.add_argument("--fix-format", action="store_true")
    options = parser.parse_args(arguments)
    if options.fix_format:
        return subprocess.run(format_command("-i")).returncode
    chosen = options.only.split(",")
    unknown = [name for name in chosen if name not in STAGES + APART]
    if unknown:
        print(f"check: there is no stage '{unknown[0]}': take some of "
              f"{', '.join(STAGES + APART)}", file=sys.stderr)
        return 2
    cases: list[case] = []
    try:
        for name, stage in zip(STAGES + APART, (static, dev, broken_on_purpose, simulation, gcc,
                                                asan, fuzzing, tsan, other_python), strict=True):
            if name in chosen:
                begun = time.monotonic()
                cases += stage()
                print(f"check: {name} took {time.monotonic() - begun:.0f} s", flush=True)
    except cpython.setup_error as error:
        print(f"check: {error}", file=sys.stderr)
        return 1
    return report.finish(cases)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
