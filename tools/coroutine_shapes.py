#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Finds coroutine shapes that g++ 12 compiles wrongly, by clang-query over the syntax tree.

    coroutine_shapes.py [--build build]    checks every C++ file of the repository that awaits

tidy.py's regular expressions see what is spelled out; this sees implicit braces, default arguments
and temporaries. It needs compile_commands.json of a clang build, not its objects. An exception is a
line beside the code: `// tidy: allow coroutine-shape: <reason>`. Files that did not change since
their last clean pass are not read again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sources import source_file, tree

CLANG_QUERY = "clang-query-19"
QUERY = Path(__file__).resolve().parent / "coroutine_shapes.query"
RULE = "coroutine-shape"
SECONDS = 300  # for one file

# What the query binds -> what is wrong and what to write instead.
MESSAGES = {
    "twice": "g++ 12 destroys this temporary of the co_await expression twice: give it a name on the "
             "line before",
    "list": "g++ 12 rejects an initializer_list in a co_await expression: give it a name on the line "
            "before",
    "dropped": "g++ 12 drops the body of a coroutine that awaits in a condition: declare the value, "
               "as in if (auto r = co_await ...)",
}
BINDS = re.compile(r'^(.+?):(\d+):(\d+): note: "(\w+)" binds here', re.M)


def awaiting(files: tree) -> list[source_file]:
    return [file for file in files.cpp() if re.search(r"\bco_(await|yield)\b", file.code) and
            not file.path.endswith(".c")]


def commands(build: Path, root: Path) -> dict[str, dict]:
    """Path -> its entry in compile_commands.json."""
    entries = json.loads((build / "compile_commands.json").read_text())
    found = {}
    for entry in entries:
        path = Path(entry["directory"], entry["file"]).resolve()
        if path.is_relative_to(root):
            found[path.relative_to(root).as_posix()] = entry
    return found


def entry_for(file: source_file, known: dict[str, dict], root: Path) -> dict | None:
    """How to parse a file: its own entry, or for a header that of a neighbour that includes it."""
    if file.path in known:
        return known[file.path]
    if not file.is_header:
        return None  # Not built by this configuration: dead files are tidy.py's business.
    folder = file.path.rsplit("/", 1)[0]
    near = [path for path in known if path.rsplit("/", 1)[0] == folder] or list(known)
    if not near:
        return None
    entry = known[sorted(near)[0]]
    command = re.sub(r"(\S*clang\+\+\S*)", r"\1 -x c++", entry["command"], count=1)
    return {**entry, "command": command.replace(entry["file"], str(root / file.path)),
            "file": str(root / file.path)}


def closure(path: str, files: tree, seen: set[str] | None = None) -> set[str]:
    """The file and all of ours that it includes, directly or not."""
    seen = set() if seen is None else seen
    if path not in seen:
        seen.add(path)
        for _, what, _quoted in files.files[path].includes:
            target = files.resolve(what)
            if target:
                closure(target, files, seen)
    return seen


def fingerprint(file: source_file, entry: dict, files: tree) -> str:
    """Changes when anything does that the answer depends on."""
    digest = hashlib.sha256(QUERY.read_bytes())
    digest.update(entry["command"].encode())
    for path in sorted(closure(file.path, files)):
        digest.update(path.encode() + b"\0" + files.files[path].bytes)
    return digest.hexdigest()


def ask(path: str, entry: dict, root: Path) -> str:
    """clang-query's answer for one file. Raises RuntimeError if it could not parse it."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "compile_commands.json").write_text(json.dumps([entry]))
        done = subprocess.run([CLANG_QUERY, "-p", folder, "-f", str(QUERY), str(root / path)],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=SECONDS)
    errors = re.findall(r"^.*\berror: .*$", done.stdout + done.stderr, re.M)
    if done.returncode != 0 or errors:
        raise RuntimeError(f"{path}: clang-query could not read it: "
                           f"{errors[0] if errors else done.stderr.strip()[-300:]}")
    return done.stdout


def findings(file: source_file, answer: str, root: Path) -> list[str]:
    """The matches that no exception covers, once each."""
    found = set()
    for path, line, _column, kind in BINDS.findall(answer):
        number = int(line)
        if kind in MESSAGES and Path(path).resolve() == (root / file.path).resolve():
            if not any(one.rule == RULE and one.covers == number for one in file.allowances):
                found.add((number, kind))
    return [f"{file.path}:{line}: {RULE}: {MESSAGES[kind]}" for line, kind in sorted(found)]


def check(root: Path, build: Path, jobs: int) -> list[str]:
    """All findings in the repository. A file that cannot be parsed is a finding too."""
    root = root.resolve()
    files = tree(root)
    known = commands(build, root)
    cache = build / ".coroutine-shapes"
    cache.mkdir(exist_ok=True)

    def one(file: source_file) -> list[str]:
        entry = entry_for(file, known, root)
        if entry is None:
            return []
        clean = cache / fingerprint(file, entry, files)
        if clean.exists():
            return []
        try:
            found = findings(file, ask(file.path, entry, root), root)
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            return [str(error)]
        if not found:
            clean.touch()
        return found

    with ThreadPoolExecutor(jobs) as pool:
        return [line for lines in pool.map(one, awaiting(files)) for line in lines]


def main(arguments: list[str]) -> int:
    root = Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, default=root / "build")
    options = parser.parse_args(arguments)
    if shutil.which(CLANG_QUERY) is None:
        print(f"coroutine_shapes: there is no {CLANG_QUERY}: run tools/setup", file=sys.stderr)
        return 1
    if not (options.build / "compile_commands.json").exists():
        print("coroutine_shapes: there is no compile_commands.json: build first (make test)",
              file=sys.stderr)
        return 1
    jobs = int(os.environ.get("COPPICE_JOBS") or os.cpu_count() or 2)
    found = check(root, options.build, jobs)
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
