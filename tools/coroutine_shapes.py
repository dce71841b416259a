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

import re
import sys
from pathlib import Path

import compile_db
from sources import source_file, tree

CLANG_QUERY = "clang-query-19"
QUERY = Path(__file__).resolve().parent / "coroutine_shapes.query"
RULE = "coroutine-shape"

# What the query binds -> what is wrong and what to write instead.
MESSAGES = {
    "twice": "g++ 12 destroys this temporary of the co_await expression twice: give it a name on "
             "the line before",
    "list": "g++ 12 rejects an initializer_list in a co_await expression: give it a name on the "
            "line before",
    "dropped": "g++ 12 drops the body of a coroutine that awaits in a condition: declare the "
               "value, as in if (auto r = co_await ...)",
}
BINDS = re.compile(r'^(.+?):(\d+):\d+: note: "(\w+)" binds here', re.M)


def awaiting(files: tree) -> list[source_file]:
    return [file for file in files.cpp() if re.search(r"\bco_(await|yield)\b", file.code) and
            not file.path.endswith(".c")]


def findings(files: list[source_file], answer: str, root: Path) -> list[str]:
    """The matches that no exception covers, once each."""
    by_path = {(root / file.path).resolve(): file for file in files}
    found = set()
    for path, line, kind in BINDS.findall(answer):
        file = by_path.get(Path(path).resolve())
        if file and kind in MESSAGES and not any(
                one.rule == RULE and one.covers == int(line) for one in file.allowances):
            found.add((file.path, int(line), kind))
    return [f"{path}:{line}: {RULE}: {MESSAGES[kind]}" for path, line, kind in sorted(found)]


def check(root: Path, build: Path) -> list[str]:
    """All findings in the repository. A file that cannot be parsed is a finding too."""
    root = root.resolve()

    def look(files: list[source_file], path: Path, entry: dict) -> tuple[list[str], str]:
        done = compile_db.ask([CLANG_QUERY, "-f", str(QUERY)], path, entry)
        errors = re.findall(r"^.*\berror: .*$", done.stdout + done.stderr, re.M)
        if done.returncode != 0 or errors:
            return [], (errors[0] if errors else done.stderr.strip()[-300:]) or "no reason given"
        return findings(files, done.stdout, root), ""

    files = tree(root)
    return compile_db.check(files, awaiting(files), build, QUERY, look)


if __name__ == "__main__":
    sys.exit(compile_db.main(__doc__, CLANG_QUERY, check, sys.argv[1:]))
