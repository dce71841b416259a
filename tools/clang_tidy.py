#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs clang-tidy-19 with the checks of .clang-tidy over the C++ files of src/ and cli/.

    clang_tidy.py [--build build]    needs compile_commands.json of a clang build

Files that did not change since their last clean pass are not read again.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import compile_db
from sources import source_file, tree

CLANG_TIDY = "clang-tidy-19"
FINDING = re.compile(r"^(.+?:\d+):\d+: (?:error|warning): (.*)$", re.M)


def check(root: Path, build: Path) -> list[str]:
    """All findings, each once: headers are seen by many files."""
    root = root.resolve()
    files = tree(root)
    chosen = [file for file in files.cpp() if file.path.startswith(("src/", "cli/")) and
              file.path.endswith(".cpp") and not file.is_test]

    def look(_files: list[source_file], path: Path, entry: dict) -> tuple[list[str], str]:
        done = compile_db.ask([CLANG_TIDY, "--quiet", f"--config-file={root / '.clang-tidy'}"],
                              path, entry)
        if re.search(r"\berror: .*\[clang-diagnostic-error\]$", done.stdout, re.M):
            return [], done.stdout.strip()[-300:]
        lines = [f"{where.removeprefix(f'{root}/')}: {what.replace(',-warnings-as-errors', '')}"
                 for where, what in FINDING.findall(done.stdout)]
        failure = done.stderr.strip()[-300:] if done.returncode != 0 and not lines else ""
        return lines, failure

    return compile_db.check(files, chosen, build, root / ".clang-tidy", look)


if __name__ == "__main__":
    sys.exit(compile_db.main(__doc__, CLANG_TIDY, check, sys.argv[1:]))
