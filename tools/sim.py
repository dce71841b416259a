#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs seeds of the simulation (tests/sim) on all cores.

    sim.py                           seeds 0 to 999
    sim.py --seeds 100000 --first 5000
    sim.py --faults kill,cut         see `build/tests/sim/sim --help`

`build/tests/sim/sim --seed 1234 --trace` runs one and prints what happens.
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import build
import report
from report import case

SEEDS = 1000
# A seed takes a millisecond or two, also where others build.
SECONDS_MIN, SEEDS_PER_SECOND_MIN = 60, 20


def shares(first: int, seeds: int, parts: int) -> list[tuple[int, int]]:
    """(first seed, how many) for each part; none is empty."""
    parts = max(1, min(parts, seeds))
    ends = [first + seeds * part // parts for part in range(parts + 1)]
    return [(here, there - here) for here, there in zip(ends, ends[1:])]


def run(folder: Path, seeds: int, first: int = 0, faults: str = "") -> list[case]:
    """Runs them in as many processes as there are jobs; a case for each."""
    program = folder / "tests" / "sim" / "sim"

    def share(part: tuple[int, int]) -> case:
        here, count = part
        command = [str(program), "--first", str(here), "--seeds", str(count)]
        command += ["--faults", faults] if faults else []
        return report.from_command(f"sim: seeds {here} to {here + count - 1}", command,
                                   timeout=SECONDS_MIN + count / SEEDS_PER_SECOND_MIN)

    begun = time.monotonic()
    parts = shares(first, seeds, int(build.jobs()))
    with ThreadPoolExecutor(len(parts)) as pool:
        cases = list(pool.map(share, parts))
    print(f"sim: {seeds} seeds from {first} on in {time.monotonic() - begun:.0f} s", flush=True)
    return cases


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="dev")
    parser.add_argument("--seeds", type=positive, default=SEEDS)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--faults", default="")
    options = parser.parse_args(arguments)
    folder = build.presets()[options.preset]
    return report.finish(run(folder, options.seeds, options.first, options.faults))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
