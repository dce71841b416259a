#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Finds the CPython that Coppice is built for, or builds one into .deps/.

    cpython.py locate            print the prefix of the CPython in use; never builds
    cpython.py ensure            build one if there is none (tools/setup calls this)
    cpython.py ensure --tests    and install what tests need for it: pytest, trio, msgspec
    cpython.py ensure --also 3.15    and that one beside it, if its source can be had

Which one: $PYTHON, an installed python3.14 or 3.15, the one in .deps/, else a build from source
(cpython_source.py). Usable means: CPython >= 3.14.1 with a GIL, headers and a shared libpython.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MINORS = ("3.14", "3.15")  # in order of preference
OLDEST = (3, 14, 1)
NEEDED_MODULES = ("ssl", "_ctypes", "sqlite3", "zlib", "bz2", "lzma", "readline", "pip")

# Run by the interpreter that is looked at: prints what decides whether it is usable.
PROBE = """
import importlib.util, json, sys, sysconfig
def broken(name):
    # To import readline may write to the terminal.
    if name == 'readline': return importlib.util.find_spec(name) is None
    try: importlib.import_module(name)
    except ImportError: return True
var = sysconfig.get_config_var
print(json.dumps({
    'implementation': sys.implementation.name, 'version': list(sys.version_info[:3]),
    'text': sys.version.split()[0], 'gil': not var('Py_GIL_DISABLED'),
    'prefix': sys.base_prefix, 'executable': sys.executable,
    'header': sysconfig.get_path('include', vars={'base': sys.base_prefix}) + '/Python.h',
    'shared': bool(var('Py_ENABLE_SHARED')),
    'library': '%s/%s' % (var('LIBDIR'), var('INSTSONAME')),
    'broken': [name for name in NEEDED if broken(name)],
}))
""".replace("NEEDED", repr(NEEDED_MODULES))


class setup_error(Exception):
    """One sentence for the person at the terminal; it names the next thing to try."""


class no_source(setup_error):
    """There is no archive to build the wanted version from."""


@dataclass(frozen=True)
class python:
    """A CPython that Coppice can be built for."""

    executable: Path
    prefix: Path
    version: str

    @property
    def minor(self) -> str:
        return ".".join(self.version.split(".")[:2])


def probe(executable: str | Path) -> dict | str:
    """What the interpreter says of itself, or the reason why it cannot be asked."""
    try:
        done = subprocess.run([str(executable), "-I", "-c", PROBE], capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=60)
    except OSError as error:
        return error.strerror or str(error)
    except subprocess.TimeoutExpired:
        return "it did not answer within 60 s"
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return f"it ended with status {done.returncode} ({last})"
    try:
        return json.loads(done.stdout)
    except ValueError:
        return "it is no Python"


def unusable(facts: dict | str) -> str | None:
    """Why a probed interpreter cannot serve, as the end of a sentence, or None."""
    if isinstance(facts, str):
        return facts
    if facts["implementation"] != "cpython":
        return f"it is {facts['implementation']}, not CPython"
    if tuple(facts["version"]) < OLDEST:
        return f"it is {facts['text']} and 3.14.1 is the oldest that can be used"
    if not facts["gil"]:
        return "it is a free-threaded build, which has no own-GIL sub-interpreters"
    if not facts["shared"] or not Path(facts["library"]).exists():
        return "it has no shared libpython (configure it with --enable-shared)"
    if not Path(facts["header"]).exists():
        return f"its headers are not installed ({facts['header']})"
    return None


def moved_or_incomplete(facts: dict, prefix: Path) -> str | None:
    """Why the CPython that we built into `prefix` has to be built again, or None.

    Its libpython is found by an absolute path, so a copied or moved tree would run on the libpython
    of the place it came from, or on none.
    """
    if Path(facts["library"]).resolve().parent != (prefix / "lib").resolve():
        return f"it was built for another place ({Path(facts['library']).parent.parent})"
    if Path(facts["prefix"]).resolve() != prefix.resolve():
        return f"it takes {facts['prefix']} for its home"
    if facts["broken"]:
        return f"it was built without {', '.join(facts['broken'])}"
    return None


def as_python(facts: dict) -> python:
    return python(Path(facts["executable"]), Path(facts["prefix"]), facts["text"])


def chosen(executable: str) -> python:
    """The interpreter named by $PYTHON."""
    path = shutil.which(executable)
    if path is None:
        raise setup_error(f"PYTHON={executable} is no program: name a CPython >= 3.14.1, or leave "
                          "PYTHON out and one is built.")
    facts = probe(path)
    reason = unusable(facts)
    if reason:
        raise setup_error(f"PYTHON={executable} cannot be used, {reason}: name another CPython, or "
                          "leave PYTHON out and one is built.")
    return as_python(facts)


def wanted_minors(env: dict) -> tuple[str, ...]:
    version = env.get("PYTHON_VERSION", "")
    if not version:
        return MINORS
    minor = ".".join(version.split(".")[:2])
    if minor not in MINORS:
        raise setup_error(f"PYTHON_VERSION={version} is not supported: use one of "
                          f"{', '.join(MINORS)}.")
    return (minor,)


def installed(minor: str, env: dict) -> python | None:
    """The first usable python<minor> of $PATH."""
    for folder in env.get("PATH", "").split(os.pathsep):
        candidate = Path(folder or ".") / f"python{minor}"
        if os.access(candidate, os.X_OK):
            facts = probe(candidate)
            if not unusable(facts) and ".".join(map(str, facts["version"][:2])) == minor:
                return as_python(facts)
    return None


def built(minor: str, deps: Path) -> python | str:
    """The CPython in .deps/, or the reason why it has to be built (again)."""
    prefix = deps / f"python{minor}"
    executable = prefix / "bin" / f"python{minor}"
    if not executable.exists():
        return "it is not there"
    facts = probe(executable)
    reason = unusable(facts) or moved_or_incomplete(facts, prefix)
    return reason or as_python(facts)


def locate(env: dict, deps: Path) -> python | None:
    """The CPython in use, or None if there is none yet or PYTHON=none. Builds nothing."""
    if env.get("PYTHON") == "none":
        return None
    if env.get("PYTHON"):
        return chosen(env["PYTHON"])
    minors = wanted_minors(env)
    for minor in minors:
        found = installed(minor, env)
        if found:
            return found
    for minor in minors:
        ours = built(minor, deps)
        if isinstance(ours, python):
            return ours
    return None


def ensure(env: dict, deps: Path) -> python | None:
    """Like locate(), but builds what is missing. None only for PYTHON=none."""
    if env.get("PYTHON") == "none":
        return None
    minor = wanted_minors(env)[0]
    recipe_moved_on = not cpython_source().is_current(deps / f"python{minor}")
    found = locate(env, deps)
    ours = found is not None and found.prefix.resolve().parent == deps.resolve()
    if found is not None and not (ours and found.minor == minor and recipe_moved_on):
        return found
    deps.mkdir(parents=True, exist_ok=True)
    with (deps / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # Two makes at once: the second finds it done.
        found = built(minor, deps)
        if isinstance(found, python) and cpython_source().is_current(found.prefix):
            return found
        if isinstance(found, str) and found != "it is not there":
            print(f"setup: .deps/python{minor} is built again, {found}", flush=True)
        cpython_source().build(minor, deps, env)
    found = built(minor, deps)
    if isinstance(found, str):
        raise setup_error(f"the CPython just built cannot be used, {found}: compare "
                          f"tools/packages.txt with what is installed, see .deps/log/.")
    return found


def ensure_also(minor: str, env: dict, deps: Path) -> python | None:
    """One of another version beside the one in use, or None if its source cannot be had."""
    try:
        return ensure({**env, "PYTHON": "", "PYTHON_VERSION": minor}, deps)
    except no_source as error:
        print(f"setup: without CPython {minor}, {error}", flush=True)
        return None


def cpython_source():
    """Building is another module, and not loaded when there is nothing to build."""
    import cpython_source as module
    return module


def pytest_folder(found: python, deps: Path) -> Path | None:
    """Where pytest, trio and the rest lie for this CPython if not in itself; None: they do."""
    if found.prefix.resolve().parent == deps.resolve():
        return None
    return deps / f"pytest-{found.minor}"


def has_pinned(found: python, target: Path | None, wanted: list[str]) -> bool:
    """Is exactly this installed for that CPython?"""
    code = ("import sys; from importlib.metadata import version; sys.path[:0] = sys.argv[1:2];"
            "sys.exit(any(version(n) != v for n, v in (a.split('==') for a in sys.argv[2:])))")
    return subprocess.run([str(found.executable), "-I", "-c", code, str(target or ""), *wanted],
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=60).returncode == 0


def ensure_pytest(found: python, deps: Path) -> None:
    """Installs tools/requirements.txt, unless exactly that is there."""
    requirements = ROOT / "tools" / "requirements.txt"
    wanted = [line for line in requirements.read_text().splitlines() if "==" in line]
    target = pytest_folder(found, deps)
    if has_pinned(found, target, wanted):
        return
    print(f"setup: installing {wanted[0]} for CPython {found.version}", flush=True)
    command = [str(found.executable), "-m", "pip", "install", "--quiet", "--no-input",
               "--disable-pip-version-check", "--no-warn-script-location", "--timeout", "20",
               "--retries", "2", "-r", str(requirements)]
    command += ["--target", str(target), "--upgrade"] if target else []
    log = deps / "log" / "pip.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as out:
        try:
            status = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                    timeout=600).returncode
        except subprocess.TimeoutExpired:
            status = 1
    if status != 0 or not has_pinned(found, target, wanted):
        raise setup_error(f"pip could not install {wanted[0]} (see .deps/log/pip.log): point pip "
                          "at an index it can reach and run again.")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("locate", "ensure"))
    parser.add_argument("--tests", action="store_true", help="install requirements.txt for it")
    parser.add_argument("--also", choices=MINORS, help="and this one, if its source can be had")
    options = parser.parse_args(arguments)
    deps = ROOT / ".deps"
    try:
        if options.what == "locate":
            found = locate(dict(os.environ), deps)
            print(found.prefix if found else "")
            return 0
        found = ensure(dict(os.environ), deps)
        if found is None:
            print("setup: ready (PYTHON=none: no Python actors)")
            return 0
        also = ensure_also(options.also, dict(os.environ), deps) if options.also else None
        for one in filter(None, (found, also)):
            if options.tests:
                ensure_pytest(one, deps)
            print(f"setup: ready (CPython {one.version} in {one.prefix})")
        return 0
    except setup_error as error:
        print(f"tools/setup: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    # cpython_source.py imports this module: one setup_error for both.
    sys.modules["cpython"] = sys.modules["__main__"]
    sys.exit(main(sys.argv[1:]))
