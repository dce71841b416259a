# SPDX-License-Identifier: Apache-2.0
"""Runs a clang tool over C++ files with the flags they are built with; remembers what was clean.

A file is looked at again when it, something of ours that it includes, its flags or the tool's own
configuration changed. Several files with the same flags are read as one: most of the time goes into
the headers that they share. Used by coroutine_shapes.py and clang_tidy.py.
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

SECONDS = 600  # for one batch
BATCH = 8  # files
# (files, what to read them by, its entry) -> what was found, and why it could not be read, or "".
look_function = Callable[[list[source_file], Path, dict], tuple[list[str], str]]


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


def batches(wanted: list[tuple[source_file, dict]]) -> list[list[tuple[source_file, dict]]]:
    """Files with the same flags, at most BATCH of them together."""
    groups: dict[tuple, list] = {}
    for file, entry in wanted:
        flags = re.sub(r" -(o|MF|MT) \S+| -x c\+\+", "", entry["command"])
        key = (entry["directory"], flags.replace(entry["file"], ""))
        groups.setdefault(key, []).append((file, entry))
    return [group[at:at + BATCH] for group in groups.values()
            for at in range(0, len(group), BATCH)]


def look_at(batch: list[tuple[source_file, dict]], root: Path, look: look_function) -> list[str]:
    """Reads the files of a batch as one, or each alone if they cannot be."""
    names = [file for file, _ in batch]
    entry = batch[0][1]
    try:
        if len(batch) == 1:
            found, failure = look(names, root / names[0].path, entry)
        else:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, "batch.cpp")
                path.write_text("".join(f'#include "{root / file.path}"\n' for file in names))
                command = entry["command"].replace(entry["file"], str(path))
                found, failure = look(names, path, {**entry, "command": command,
                                                    "file": str(path)})
    except subprocess.TimeoutExpired:
        found, failure = [], f"no end after {SECONDS} s"
    if not failure:
        return found
    if len(batch) > 1:
        return [line for one in batch for line in look_at([one], root, look)]
    return [f"{names[0].path}: it could not be read: {failure}"]


def check(files: tree, chosen: list[source_file], build: Path, configuration: Path,
          look: look_function, jobs: int = 0) -> list[str]:
    """What `look` finds in the chosen files. Files found clean before are left out."""
    root = files.root.resolve()
    known = commands(build, root)
    cache = build / f".clean-{configuration.name.strip('.')}"
    cache.mkdir(exist_ok=True)
    rules = configuration.read_bytes()

    def clean(file: source_file, entry: dict) -> Path:
        return cache / fingerprint(file, entry, files, rules)

    def one(batch: list[tuple[source_file, dict]]) -> list[str]:
        found = look_at(batch, root, look)
        if not found:
            for file, entry in batch:
                clean(file, entry).touch()
        return found

    entries = [(file, entry_for(file, known, root)) for file in chosen]
    wanted = [(file, entry) for file, entry in entries if entry and not clean(file, entry).exists()]
    workers = jobs or int(os.environ.get("COPPICE_JOBS") or os.cpu_count() or 2)
    with ThreadPoolExecutor(workers) as pool:
        return sorted({line for lines in pool.map(one, batches(wanted)) for line in lines})


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
