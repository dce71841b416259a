#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Builds the libFuzzer targets of tests/fuzz (preset asan) and runs them, one after the other.

    fuzz.py                               20,000 executions of each
    fuzz.py --runs 10000000 --only frame  of one, as many as that

What a run has found interesting is kept in build/asan/corpus and taken up by the next one. A
finding is saved in build/asan/findings, and the command that repeats it is printed.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import build
import cpython
import report
from cpython import ROOT
from report import FAILED, PASSED, case

SOURCES = ROOT / "tests" / "fuzz"
RUNS = 20_000
INPUT_BYTES_MAX = 512  # Longer ones are slower and find no more.
# An execution takes 20 to 400 us of an otherwise idle processor.
SECONDS_MIN, RUNS_PER_SECOND_MIN = 120, 100
# Freed memory is used again soon, or each execution would touch fresh pages; short stacks, since
# blocks are made more often than reported.
ASAN_OPTIONS = ("quarantine_size_mb=1:thread_local_quarantine_size_kb=32:malloc_context_size=4:"
                "detect_stack_use_after_return=0")


def targets(sources: Path = SOURCES) -> list[str]:
    return sorted(file.stem.removeprefix("fuzz_") for file in sources.glob("fuzz_*.cpp"))


def buildable() -> list[str]:
    """Without Python there is no codec of its to fuzz."""
    return [name for name in targets()
            if not name.startswith("python") or build.python_prefix("asan")]


def repeat_command(program: Path, output: str) -> str:
    """The command that runs a saved finding again, or nothing: it was not the input's fault."""
    saved = re.search(r"Test unit written to (\S+)", output)
    return f"ASAN_OPTIONS={ASAN_OPTIONS} {program} {saved[1]}" if saved else ""


def run_one(folder: Path, name: str, runs: int, corpus: Path, seed: int = 0) -> case:
    """One target. The seeds in tests/fuzz come first, each of them."""
    program = folder / "tests" / "fuzz" / f"fuzz_{name}"
    findings = folder / "findings"
    for one in (corpus, findings):
        one.mkdir(parents=True, exist_ok=True)
    command = [str(program), f"-runs={runs}", f"-seed={seed}", f"-max_len={INPUT_BYTES_MAX}",
               "-timeout=20", "-print_funcs=0", "-verbosity=0", f"-dict={SOURCES / 'wire.dict'}",
               f"-artifact_prefix={findings}/{name}-", str(corpus), str(SOURCES / "seeds" / name)]
    begun = time.monotonic()
    done = report.from_command(f"fuzz: {name}, {runs} executions", command,
                               timeout=SECONDS_MIN + runs / RUNS_PER_SECOND_MIN,
                               env={**os.environ, "ASAN_OPTIONS": ASAN_OPTIONS})
    seconds = time.monotonic() - begun
    print(f"fuzz: {name}: {runs / seconds:.0f} executions a second, {seconds:.0f} s", flush=True)
    if done.outcome == PASSED:
        return done
    repeat = repeat_command(program, done.detail)
    return case(done.name, FAILED, done.detail + (f"\nrepeat it with: {repeat}" if repeat else ""))


def build_targets() -> Path:
    """As `make check` builds them: with other flags everything would be built again."""
    return build.build("asan", [f"fuzz_{name}" for name in buildable()], werror=True)


def check(folder: Path, runs: int = RUNS) -> list[case]:
    """The same executions each time: one seed, and no corpus but the seeds in the repository."""
    cases = []
    for name in buildable():
        with tempfile.TemporaryDirectory() as corpus:
            cases.append(run_one(folder, name, runs, Path(corpus), seed=1))
    return cases


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--only", choices=targets())
    options = parser.parse_args(arguments)
    try:
        folder = build_targets()
    except (build.build_error, cpython.setup_error) as error:
        print(f"fuzz: {error}", file=sys.stderr)
        return 1
    chosen = [options.only] if options.only else buildable()
    return report.finish([run_one(folder, name, options.runs, folder / "corpus" / name)
                          for name in chosen])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
