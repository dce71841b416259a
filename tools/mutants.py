#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Breaks the code on purpose, one line at a time, and sees that the tests notice.

    mutants.py                  every mutant of tests/mutants/*.toml
    mutants.py --match shield   those whose name contains it
    mutants.py --readme         writes the table of tests/mutants/README.md

A mutant is a file with some text replaced, laid over the tree while one test program is compiled:
the tree itself is not touched. The one test that is to catch it must pass without and fail with it.
Needs the dev build; uses its compile commands, without optimisation.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import build
import compile_db
import report
from cpython import ROOT
from report import FAILED, PASSED, case
from sources import tree

FOLDER = "tests/mutants"
KEYS = {"name", "breaks", "file", "find", "replace", "caught_by"}
SECONDS = 60  # for one test: a mutant may well hang
SHARES = 3  # `make check` tries one of so many shares of the mutants, each commit the next
BEGIN, END = "<!-- mutants.py --readme -->\n", "<!-- end -->\n"


class mutant_error(Exception):
    """One sentence for the person at the terminal."""


@dataclass(frozen=True)
class mutant:
    """One text to be replaced, and the test (`Suite.Name`) that is to notice."""

    list: str  # The file that names it: what kind of thing it breaks.
    name: str
    breaks: str
    file: str
    find: str
    replace: str
    caught_by: str

    def text(self, root: Path) -> str:
        """The file with the mutation."""
        original = (root / self.file).read_text()
        if original.count(self.find) != 1:
            raise mutant_error(f"mutant '{self.name}': its text is {original.count(self.find)} "
                               f"times in {self.file} and has to be there once: mend `find`")
        return original.replace(self.find, self.replace)


def read(root: Path) -> list[mutant]:
    found: list[mutant] = []
    for path in sorted((root / FOLDER).glob("*.toml")):
        for entry in tomllib.loads(path.read_text())["mutant"]:
            if set(entry) != KEYS:
                raise mutant_error(f"{path.name}: a mutant has exactly the keys {sorted(KEYS)}; "
                                   f"'{entry.get('name', '?')}' has {sorted(entry)}")
            if any(one.name == entry["name"] for one in found):
                raise mutant_error(f"{path.name}: there are two mutants '{entry['name']}'")
            found.append(mutant(list=path.stem, **entry))
    return found


def table(mutants: list[mutant]) -> str:
    rows = ["| mutant | what it breaks | caught by |", "|---|---|---|"]
    rows += [f"| `{one.list}` {one.name} | {one.breaks} | {one.caught_by} |" for one in mutants]
    return "\n".join(rows) + "\n"


def readme(root: Path) -> tuple[str, str, str]:
    """What stands before, in and behind the table."""
    text = (root / FOLDER / "README.md").read_text()
    before, _, rest = text.partition(BEGIN)
    inside, end, after = rest.partition(END)
    if not end:
        raise mutant_error(f"{FOLDER}/README.md has lost the lines {BEGIN.strip()} and "
                           f"{END.strip()} around its table")
    return before + BEGIN, inside, END + after


def file_of(test: str, files: tree) -> str:
    """The source that defines `Suite.Name`."""
    for file in files.cpp():
        if test in file.tests:
            return file.path
    raise mutant_error(f"there is no test {test}")


class workshop:
    """Compiles one test file, with or without a mutant, against the libraries of the dev build."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.root = root
        self.build = folder
        self.files = tree(root)
        self.commands = compile_db.commands(folder, root)
        lines = subprocess.run(["ninja", "-C", str(folder), "-t", "commands", "core_test"],
                               capture_output=True, text=True, check=True).stdout.splitlines()
        link = shlex.split(lines[-1])
        libraries = link[link.index("-o") + 2:]  # Up to what discovers the tests: `&& cd ...`
        self.libraries = libraries[:libraries.index("&&")]

    def compile(self, path: str, source: Path, overlay: Path, out: Path) -> str:
        """Why it does not compile, or nothing."""
        entry = self.commands[path]
        words = shlex.split(entry["command"])
        out.parent.mkdir(parents=True, exist_ok=True)
        words[words.index("-o") + 1] = str(out)
        words[words.index("-c") + 1] = str(source)
        first_include = next(i for i, word in enumerate(words) if word.startswith("-I"))
        words[first_include:first_include] = [f"-I{overlay / 'include'}", f"-I{overlay / 'src'}"]
        words += ["-O0", "-g0", "-w"]
        done = subprocess.run(words, cwd=entry["directory"], capture_output=True, text=True)
        return "" if done.returncode == 0 else done.stderr[-2000:]

    def program(self, name: str, test_file: str, changed: str | None, text: str) -> Path:
        """Throws mutant_error if it does not compile."""
        here = self.build / "mutants" / name
        overlay = here / "overlay"
        todo = [test_file]
        if changed is not None:
            over = overlay / changed
            over.parent.mkdir(parents=True, exist_ok=True)
            if not over.exists() or over.read_text() != text:
                over.write_text(text)
            todo += [path for path in self.commands
                     if path.startswith("src/core/") and not path.endswith("_test.cpp")
                     and changed in compile_db.closure(path, self.files)]
        objects = []
        for path in todo:
            source = overlay / path if path == changed else self.root / path
            objects.append(here / (path.replace("/", "_") + ".o"))
            why = self.compile(path, source, overlay, objects[-1])
            if why:
                raise mutant_error(f"'{name}' does not compile: {path}\n{why}")
        made = here / "test"
        link = ["clang++-19", *map(str, objects), "-o", str(made), *self.libraries]
        done = subprocess.run(link, cwd=self.build, capture_output=True, text=True)
        if done.returncode != 0:
            raise mutant_error(f"'{name}' does not link\n{done.stderr[-2000:]}")
        return made

    def passes(self, program: Path, test: str) -> bool:
        """Does the test run and pass? A hang is a failure."""
        try:
            done = subprocess.run([str(program), f"--gtest_filter={test}"], capture_output=True,
                                  text=True, errors="replace", timeout=SECONDS,
                                  stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0 and "[  PASSED  ] 1 test." in done.stdout


def original(shop: workshop, path: str, tests: list[str]) -> case:
    """A test that fails anyway would catch everything."""
    name = f"without a mutant: {path}"
    try:
        program = shop.program("original/" + Path(path).stem, path, None, "")
    except mutant_error as error:
        return case(name, FAILED, str(error))
    failing = [test for test in tests if not shop.passes(program, test)]
    return case(name, FAILED if failing else PASSED, " ".join(failing))


def catch(shop: workshop, one: mutant) -> case:
    name = f"mutant {one.name} is caught by {one.caught_by}"
    try:
        program = shop.program(one.name, file_of(one.caught_by, shop.files), one.file,
                               one.text(shop.root))
    except mutant_error as error:
        return case(name, FAILED, str(error))
    if shop.passes(program, one.caught_by):
        return case(name, FAILED, f"{one.caught_by} passes although {one.breaks}")
    return case(name, PASSED)


def share(mutants: list[mutant], number: int) -> list[mutant]:
    """The mutants whose turn it is."""
    return mutants[number % SHARES::SHARES]


def commits() -> int:
    """How many led to this one; 0 outside of a git checkout."""
    done = subprocess.run(["git", "-C", str(ROOT), "rev-list", "--count", "HEAD"],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return int(done.stdout) if done.returncode == 0 else 0


def run_all(match: str = "", one_share: bool = False) -> list[case]:
    """Builds the dev preset's core_test first: its libraries and compile commands are used."""
    mutants = read(ROOT)
    _, inside, _ = readme(ROOT)
    cases = [case("mutants are listed in their README", PASSED if inside == table(mutants)
                  else FAILED, "run tools/mutants.py --readme")]
    mutants = [one for one in mutants if match in one.name]
    if one_share:
        mutants = share(mutants, commits())
    build.build("dev", ["core_test"], False)
    shop = workshop(ROOT, build.presets()["dev"])
    tests: dict[str, list[str]] = {}
    for test in sorted({one.caught_by for one in mutants}):
        tests.setdefault(file_of(test, shop.files), []).append(test)
    with ThreadPoolExecutor(int(build.jobs())) as pool:
        cases += pool.map(lambda item: original(shop, *item), tests.items())
        cases += pool.map(lambda one: catch(shop, one), mutants)
    return cases


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--match", default="")
    parser.add_argument("--readme", action="store_true")
    options = parser.parse_args(arguments)
    try:
        if options.readme:
            before, _, after = readme(ROOT)
            (ROOT / FOLDER / "README.md").write_text(before + table(read(ROOT)) + after)
            return 0
        return report.finish(run_all(options.match))
    except mutant_error as error:
        print(f"mutants: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
