#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Configures (when something changed) and builds one preset of CMakePresets.json.

    build.py dev                      everything, in build/
    build.py gcc --werror             warnings are errors
    build.py dev --target coppice     one target
    build.py py315                    for CPython 3.15, beside the others, in build/py315
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cpython
from cpython import ROOT


class build_error(Exception):
    """One sentence for the person at the terminal."""


def listed(root: Path = ROOT) -> list[dict]:
    return json.loads((root / "CMakePresets.json").read_text())["configurePresets"]


def presets(root: Path = ROOT) -> dict[str, Path]:
    """Preset name -> build folder."""
    return {one["name"]: Path(one["binaryDir"].replace("${sourceDir}", str(root)))
            for one in listed(root) if "binaryDir" in one}


def jobs() -> str:
    return os.environ.get("COPPICE_JOBS") or str(os.cpu_count() or 2)


def python_of(preset: str) -> cpython.python | None:
    """The CPython that a preset is built for and tested with; None: PYTHON=none, or there is none.

    A preset may ask for a version of its own (`environment`), whatever the others are built for.
    """
    env = dict(os.environ)
    if env.get("PYTHON") != "none":
        for one in listed():
            env |= one.get("environment", {}) if one["name"] == preset else {}
    return cpython.locate(env, ROOT / ".deps")


def python_prefix(preset: str) -> str:
    """The prefix of the CPython of a preset, empty for PYTHON=none.

    Thread sanitizer gets none: it does not see what orders threads inside CPython, nor that a
    parked thread never runs on.
    """
    if os.environ.get("PYTHON") == "none" or preset == "tsan":
        return ""
    found = python_of(preset)
    if found is None:
        raise build_error(f"there is no CPython to build {preset} for: run tools/setup first (with "
                          "PYTHON_VERSION=3.15 for py315), or build without Python actors with "
                          "PYTHON=none.")
    return str(found.prefix)


def is_of_another_place(folder: Path) -> bool:
    """Was this build folder configured for a checkout that lay elsewhere?"""
    cache = folder / "CMakeCache.txt"
    if not cache.exists():
        return False
    home = re.search(r"^CMAKE_HOME_DIRECTORY:INTERNAL=(.*)$", cache.read_text(), re.M)
    return home is None or Path(home.group(1)).resolve() != ROOT.resolve()


def configure(preset: str, folder: Path, werror: bool) -> None:
    """Runs cmake when its arguments or the presets changed; else ninja looks after itself."""
    arguments = [f"-DCOPPICE_PYTHON_PREFIX={python_prefix(preset)}",
                 f"-DCOPPICE_WERROR={'ON' if werror else 'OFF'}"]
    digest = hashlib.sha256((ROOT / "CMakePresets.json").read_bytes()).hexdigest()
    state = "\n".join([preset, *arguments, digest]) + "\n"
    stamp = folder / ".coppice-configured"
    if (folder / "build.ninja").exists() and stamp.exists() and stamp.read_text() == state:
        return
    command = ["cmake", "--preset", preset, "--log-level=STATUS", *arguments]
    # What cmake found for another checkout or another CPython must not be found again in its cache.
    other_python = stamp.exists() and arguments[0] not in stamp.read_text().splitlines()
    if is_of_another_place(folder) or other_python:
        command.append("--fresh")
    print(f"build: configuring {preset}", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "configure.log"
    with log.open("w") as out:
        done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    if done.returncode != 0:
        tail = "\n".join(log.read_text().splitlines()[-20:])
        raise build_error(f"cmake could not configure {preset}; the end of {log}:\n{tail}")
    for line in log.read_text().splitlines():
        if line.startswith("-- Coppice:"):
            print(f"build: {line.removeprefix('-- Coppice: ')}", flush=True)
    stamp.write_text(state)


def environment(preset: str) -> dict[str, str]:
    """Of ninja. A checkout that lies elsewhere has the same objects: ccache may give it those of
    this one, and find a precompiled header in them although its files bear other times."""
    return {"CCACHE_BASEDIR": str(ROOT), "CCACHE_NOHASHDIR": "1",
            "CCACHE_SLOPPINESS": "pch_defines,time_macros,include_file_mtime,include_file_ctime",
            **os.environ, "NINJA_STATUS": f"[{preset} %f/%t] "}


def build(preset: str, targets: list[str], werror: bool = False) -> Path:
    """Builds, and returns the build folder. Raises build_error."""
    try:
        folder = presets()[preset]
    except KeyError:
        raise build_error(f"there is no preset '{preset}': take one of "
                          f"{', '.join(presets())}.") from None
    configure(preset, folder, werror)
    done = subprocess.run(["ninja", "-C", str(folder), "-j", jobs(), *targets],
                          stdin=subprocess.DEVNULL, env=environment(preset))
    if done.returncode != 0:
        raise build_error(f"{preset} does not build: the first error is above.")
    return folder


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("preset")
    parser.add_argument("--target", action="append", default=[])
    parser.add_argument("--werror", action="store_true")
    options = parser.parse_args(arguments)
    try:
        build(options.preset, options.target, options.werror)
    except (build_error, cpython.setup_error) as error:
        print(f"build: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
