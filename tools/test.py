#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the tests of a build that is there, and reports them as one.

    test.py                                    ctest, pytest, tests of the tools
    test.py --preset gcc --only ctest,pytest   of another build
    test.py --preset asan --only ctest --labels unit,conformance
    test.py --only ctest --match Nursery       by name (a regular expression)
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import build
import cpython
import report
from cpython import ROOT
from report import FAILED, SKIPPED, case

RUNNERS = ("ctest", "pytest", "tools")
PYTEST_PARTS = ("python", "system", "interop", "soak")  # of tests/
CTEST_SECONDS = 300  # for a test that names no TIMEOUT
RUNNER_SECONDS = 2400  # for a whole runner
HEARTBEAT_SECONDS = 15


def jobs(preset: str) -> str:
    """Tests wait more than they compute, but under a sanitizer: two at a time for a processor."""
    return build.jobs() if preset in ("asan", "tsan") else str(2 * int(build.jobs()))


class ended(Exception):
    """A runner passed its bound and was ended with all its processes."""


def run(command: list[str], env: dict, seconds: int = RUNNER_SECONDS, tell=None) -> tuple[int, str]:
    """Runs in a process group of its own and returns (status, output). Raises `ended`.

    `tell` is called with each line of output as it comes.
    """
    child = subprocess.Popen(command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, text=True,
                             errors="replace", stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             start_new_session=True)

    def alarm(_signal, _frame):
        os.killpg(child.pid, signal.SIGKILL)
        raise ended(f"given up after {seconds} s: {' '.join(command[:3])}")

    before = signal.signal(signal.SIGALRM, alarm)
    signal.alarm(seconds)
    output = []
    try:
        for line in child.stdout:
            output.append(line)
            if tell:
                tell(line)
        return child.wait(), "".join(output)
    except BaseException:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        raise
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        child.stdout.close()


class progress:
    """Says how far ctest is now and then, and at once what failed."""

    def __init__(self, preset: str) -> None:
        self.preset = preset
        self.next = time.monotonic() + HEARTBEAT_SECONDS

    def __call__(self, line: str) -> None:
        found = re.match(r"\s*(\d+)/(\d+) Test\s+#\d+: (\S+) \.*\s*(.*)", line)
        if not found:
            return
        at, total, name, ending = found.groups()
        if "***" in ending and "Skipped" not in ending and "Disabled" not in ending:
            print(f"  {name}: {ending.strip('* ')}", flush=True)
        if time.monotonic() > self.next:
            self.next = time.monotonic() + HEARTBEAT_SECONDS
            print(f"  {self.preset}: {at} of {total} tests", flush=True)


def environment(folder: Path, found: cpython.python | None) -> dict:
    """What every test may count on."""
    env = {key: value for key, value in os.environ.items()
           if not key.startswith(("PYTHON", "MAKE", "GTEST_", "PYTEST_", "COPPICE_SPAWN"))
           and key != "MFLAGS"}
    env["COPPICE_BUILD_DIR"] = str(folder)
    env["COPPICE_SOURCE_DIR"] = str(ROOT)
    env["PYTHONDONTWRITEBYTECODE"] = "1"
    if found:
        env["COPPICE_TEST_PYTHON"] = str(found.executable)
    # With fake stacks a local variable does not lie on its thread's stack, where the escape check
    # of nurseries looks for it.
    env["ASAN_OPTIONS"] = "detect_stack_use_after_return=0"
    env["UBSAN_OPTIONS"] = "print_stacktrace=1:halt_on_error=1"
    env["TSAN_OPTIONS"] = "halt_on_error=1"
    for name, option in (("leak", "LSAN_OPTIONS"), ("thread", "TSAN_OPTIONS")):
        suppressions = ROOT / "tools" / f"{name}.supp"
        if suppressions.exists():
            env[option] = ":".join(filter(None, (env.get(option), f"suppressions={suppressions}",
                                                 "print_suppressions=0")))
    for symbolizer in ("/usr/bin/llvm-symbolizer-19", "/usr/lib/llvm-19/bin/llvm-symbolizer"):
        if Path(symbolizer).exists():
            env["ASAN_SYMBOLIZER_PATH"] = symbolizer
    return env


def run_ctest(preset: str, folder: Path, env: dict, labels: str, match: str) -> list[case]:
    """`folder` may be one within a build, for the tests of that one."""
    junit = folder / "ctest.xml"
    junit.unlink(missing_ok=True)
    command = ["ctest", "--test-dir", str(folder), "--output-junit", str(junit), "-j", jobs(preset),
               "--timeout", str(CTEST_SECONDS), "--no-tests=error",
               "--test-output-size-passed", "100000", "--test-output-size-failed", "1000000"]
    if labels:
        command += ["-L", f"^({labels.replace(',', '|')})$"]
    if match:
        command += ["-R", match]
    try:
        status, output = run(command, env, tell=progress(preset))
    except ended as error:
        return [case(f"{preset}: ctest", FAILED, str(error))]
    endings = {report.plain_name(name): how for name, how in
               re.findall(r"^\s*\d+ - (.+) \(([^()]+)\)$", output, re.M)}
    cases = report.from_ctest(junit, endings) if junit.exists() else []
    if not cases or (status != 0 and not any(one.outcome == FAILED for one in cases)):
        cases.append(case(f"{preset}: ctest", FAILED, output[-2000:] or f"status {status}"))
    return cases


def python_path(folder: Path, found: cpython.python | None) -> str:
    """Where a build's package `coppice` lies; the sources come second, for what is not built."""
    path = [folder / "python", ROOT / "python"]
    pytest_folder = found and cpython.pytest_folder(found, ROOT / ".deps")
    return os.pathsep.join(str(one) for one in [*path, *([pytest_folder] if pytest_folder else [])])


def run_pytest(preset: str, folder: Path, env: dict, found: cpython.python | None,
               match: str, parts: tuple[str, ...] = PYTEST_PARTS) -> list[case]:
    tests = [str(ROOT / "tests" / part) for part in parts]
    name = f"{preset}: pytest"
    if found is None:
        return [case(name, SKIPPED, "built without Python (PYTHON=none)")]
    junit = folder / "pytest.xml"
    junit.unlink(missing_ok=True)
    command = [str(found.executable), "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider",
               "-o", "faulthandler_timeout=120", "-n", jobs(preset), f"--junitxml={junit}", *tests]
    command += ["-k", match] if match else []
    try:
        status, output = run(command, {**env, "PYTHONPATH": python_path(folder, found)})
    except ended as error:
        return [case(name, FAILED, str(error))]
    cases = report.from_junit(junit) if junit.exists() else []
    if not cases or (status != 0 and not any(one.outcome == FAILED for one in cases)):
        if not (status == 5 and match):  # 5: the pattern selects none
            cases.append(case(name, FAILED, output[-4000:] or f"status {status}"))
    return cases


def run_tools(folder: Path, env: dict) -> list[case]:
    junit = folder / "tools.xml"
    junit.unlink(missing_ok=True)
    try:
        status, output = run([sys.executable, str(ROOT / "tools/unit_tests.py"), str(junit)], env)
    except ended as error:
        return [case("tools", FAILED, str(error))]
    if status != 0 or not junit.exists():
        return [case("tools", FAILED, output)]
    return report.from_junit(junit)


def run_all(preset: str, only: tuple[str, ...] = RUNNERS, labels: str = "",
            match: str = "") -> list[case]:
    """Runs the chosen runners over the build of a preset. Raises cpython.setup_error."""
    folder = build.presets()[preset]
    found = build.python_of(preset)
    env = environment(folder, found)
    cases = []
    if "ctest" in only:
        print(f"{preset}: ctest", flush=True)
        cases += run_ctest(preset, folder, env, labels, match)
    if "pytest" in only:
        print(f"{preset}: pytest", flush=True)
        cases += run_pytest(preset, folder, env, found, match)
    if "tools" in only:
        print("tests of the tools", flush=True)
        cases += run_tools(folder, env)
    return cases


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="dev")
    parser.add_argument("--only", default=",".join(RUNNERS), help="ctest,pytest,tools")
    parser.add_argument("--labels", default="", help="of ctest: unit,conformance,system,example")
    parser.add_argument("--match", default="")
    options = parser.parse_args(arguments)
    try:
        cases = run_all(options.preset, tuple(options.only.split(",")), options.labels,
                        options.match)
    except (cpython.setup_error, KeyError) as error:
        print(f"test: {error}", file=sys.stderr)
        return 1
    return report.finish(cases)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
