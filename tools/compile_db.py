# SPDX-License-Identifier: Apache-2.0
"""Runs a clang tool over C++ files with the flags they are built with; remembers what was clean.

A file is looked at again when it, something of ours that it includes, its flags or the tool's own
configuration changed. Used by coroutine_shapes.py and clang_tidy.py.
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
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sources import source_file, tree

SECONDS = 600  # for one file


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


def fingerprint(file: source_file, entry: dict, files: tree, configuration: bytes) -> str:
    """Changes when anything does that the answer depends on."""
    digest = hashlib.sha256(configuration)
    digest.update(entry["command"].encode())
    for path in sorted(closure(file.path, files)):
        digest.update(path.encode() + b"\0" + files.files[path].bytes)
    return digest.hexdigest()


def ask(command: list[str], path: Path, entry: dict) -> subprocess.CompletedProcess:
    """Runs `command -p <a database of this entry> <path>`."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "compile_commands.json").write_text(json.dumps([entry]))
        return subprocess.run([*command, "-p", folder, str(path)], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, errors="replace", timeout=SECONDS)


def check(files: tree, chosen: list[source_file], build: Path, configuration: Path,
          look: Callable[[source_file, dict], list[str]], jobs: int = 0) -> list[str]:
    """What `look(file, entry)` finds in the chosen files. Files found clean before are left out."""
    root = files.root.resolve()
    known = commands(build, root)
    cache = build / f".clean-{configuration.name.strip('.')}"
    cache.mkdir(exist_ok=True)

    def one(file: source_file) -> list[str]:
        entry = entry_for(file, known, root)
        if entry is None:
            return []
        clean = cache / fingerprint(file, entry, files, configuration.read_bytes())
        if clean.exists():
            return []
        try:
            found = look(file, entry)
        except subprocess.TimeoutExpired:
            return [f"{file.path}: no end after {SECONDS} s"]
        if not found:
            clean.touch()
        return found

    workers = jobs or int(os.environ.get("COPPICE_JOBS") or os.cpu_count() or 2)
    with ThreadPoolExecutor(workers) as pool:
        return [line for lines in pool.map(one, chosen) for line in lines]


def main(description: str, program: str, check_all: Callable[[Path, Path], list[str]],
         arguments: list[str]) -> int:
    """The command line of a check: prints what `check_all(root, build)` finds."""
    root = Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--build", type=Path, default=root / "build", help="of clang")
    build = parser.parse_args(arguments).build
    if shutil.which(program) is None:
        print(f"there is no {program}: run tools/setup", file=sys.stderr)
        return 1
    if not (build / "compile_commands.json").exists():
        print(f"there is no {build}/compile_commands.json: build first", file=sys.stderr)
        return 1
    found = check_all(root, build)
    for line in found:
        print(line)
    return 1 if found else 0
