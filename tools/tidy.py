#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The rules of STYLE.md that a machine can check without compiling. Part of `make check`.

    tidy.py          checks the repository; one line per finding, exit status 1 if there is one
    tidy.py --rules  what each rule wants

An exception is a line beside the code, with a reason:

    // tidy: allow new: the C API takes ownership of it

On a line of code it speaks of that line, alone on its line of the code that follows, and for a rule
about a whole file of that file. In Python, CMake and shell it starts with `#`.
"""

from __future__ import annotations

import ast
import fnmatch
import functools
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import layers
from sources import closing, line_of, source_file, tree, without_directives

COLUMNS_MAX = 100
FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 700
PUBLIC_HEADER_LINES_MAX = 250
TODO_KINDS = ("soon", "someday", "perf", "security")
STUCK_SECONDS = 60  # a Python sleep this long is not waiting for anything: it plays a stuck guest
REASON_WORDS_MIN = 3
TIDY_ITSELF = ("tools/tidy.py", "tools/tidy_test.py", "tools/sources.py", "tools/sources_test.py")


@dataclass(frozen=True, order=True)
class finding:
    path: str
    line: int
    rule: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule}: {self.message}"


Findings = Iterator[tuple[int, str]]  # (line, message); line 0: about the file as a whole


def searched(pattern: str, text: str, message: str, flags: int = 0) -> Findings:
    for found in re.finditer(pattern, text, flags):
        yield line_of(text, found.start()), message


# ---- rules about text ----------------------------------------------------------------------------


def line_length(file: source_file, _: tree) -> Findings:
    """C++ and Python lines have at most 100 columns."""
    if file.is_cpp or file.is_python:
        for number, line in enumerate(file.lines, 1):
            if len(line) > COLUMNS_MAX:
                yield number, f"{len(line)} columns, {COLUMNS_MAX} is the most: break the line"


def control_character(file: source_file, _: tree) -> Findings:
    """Text is UTF-8 with Unix line ends, without tabs or other control characters."""
    if not file.is_source:
        return
    try:
        file.bytes.decode("utf-8")
    except UnicodeDecodeError as error:
        yield file.bytes.count(b"\n", 0, error.start) + 1, "not UTF-8: save the file as UTF-8"
    for found in re.finditer("[\x00-\x09\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", file.text):
        name = {"\t": "a tab", "\r": "a carriage return"}.get(found[0], f"U+{ord(found[0]):04X}")
        yield line_of(file.text, found.start()), f"{name} in the source: write spaces or an escape"
    if file.text and not file.text.endswith("\n"):
        yield len(file.lines), "the last line has no end: add one"


def todo(file: source_file, _: tree) -> Findings:
    """A TODO has a kind; FIXME means "do not merge"."""
    if file.path in TIDY_ITSELF or not file.is_source:
        return
    yield from searched(r"\bFIXME\b", file.text, "FIXME means do not merge: mend it, or write "
                        "TODO(soon)")
    kinds = "|".join(TODO_KINDS)
    yield from searched(rf"\bTODO\b(?!\(({kinds})\))", file.text,
                        f"say when: TODO({'), TODO('.join(TODO_KINDS)})")


def spdx(file: source_file, _: tree) -> Findings:
    """A source file starts with its licence; a header says its purpose on the next line."""
    if not (file.is_cpp or file.is_python or file.is_shell) or not file.text:
        return
    lines = file.lines[1:] if file.lines[0].startswith("#!") else file.lines
    mark = "//" if file.is_cpp else "#"
    if lines[0] != f"{mark} SPDX-License-Identifier: Apache-2.0":
        yield 0, f"start with the line: {mark} SPDX-License-Identifier: Apache-2.0"
    elif file.is_header and not re.match(r"// \S.*", lines[1]):
        yield 2, "say on the second line, in one sentence, what the header is for: // ..."
    if file.is_header and "\n#pragma once\n" not in file.text:
        yield 0, "no include guard: write #pragma once"


# ---- rules about size ----------------------------------------------------------------------------


def file_length(file: source_file, _: tree) -> Findings:
    """A file has at most 700 lines, a public header 250."""
    if not file.is_source:
        return
    public = file.is_public_header and not file.path.startswith("include/coppice/detail/")
    most = PUBLIC_HEADER_LINES_MAX if public else FILE_LINES_MAX
    count = file.text.count("\n")
    if count > most:
        hint = "move what users need not read to detail/" if public else "split it at the seam"
        yield 0, f"{count} lines, {most} is the most: {hint}"


def function_length(file: source_file, _: tree) -> Findings:
    """A function has at most 70 lines."""
    for one in file.functions:
        if one.lines > FUNCTION_LINES_MAX:
            yield one.first, (f"{one.lines} lines, {FUNCTION_LINES_MAX} is the most: give a part "
                              "of it a name")


# ---- rules about structure -----------------------------------------------------------------------


def owner_of(header: str, files: tree) -> str | None:
    """The layer that implements a public header: where its .cpp or its test lies."""
    stem = header.rsplit("/", 1)[-1].removesuffix(".hpp")
    if header.startswith("include/coppice/testkit/"):
        return "testkit"
    for layer in layers.LAYERS:
        if any(f"src/{layer}/{stem}{end}" in files.files for end in (".cpp", "_test.cpp")):
            return layer
    return None


@functools.cache
def declared_layers(files: tree) -> dict[str, tuple[str, ...]]:
    """Layer -> DEPS of its coppice_layer() call."""
    declared = {}
    for file in files.files.values():
        if file.path.endswith("CMakeLists.txt"):
            text = re.sub(r"#.*", "", file.text)
            for name, arguments in re.findall(r"\bcoppice_layer\(\s*(\w+)([^)]*)\)", text):
                deps = re.search(r"\bDEPS\b(.*?)(\b[A-Z]{3,}\b|$)", arguments, re.S)
                declared[name] = tuple(deps[1].split()) if deps else ()
    return declared


def layer(file: source_file, files: tree) -> Findings:
    """#include lines and coppice_layer() calls follow the dependency table (tools/layers.py)."""
    if file.path.endswith("CMakeLists.txt"):
        text = re.sub(r"#.*", "", file.text)
        for found in re.finditer(r"\bcoppice_layer\(\s*(\w+)", text):
            yield from layer_call(found[1], line_of(text, found.start()), files)
    if not file.is_cpp:
        return
    here = layers.layer_of(file.path)
    for line, what, quoted in file.includes:
        is_product = file.path.startswith(("src/", "include/", "cli/"))
        if quoted and is_product and ("/" not in what or ".." in what):
            yield line, f'"{what}" is found by luck: name it from the root, as in "base/fd.hpp"'
            continue
        there = layers.layer_of(f"src/{what}")
        target = files.resolve(what)
        if there is None and target and target.startswith("include/"):
            there = owner_of(target, files)
        elif there and (file.is_public_header or file.path.startswith("examples/")):
            yield line, f'"{what}" is internal: what users see includes "coppice/..." only'
            continue
        if here and there and not (file.is_test and there == "testkit"):
            yield from layer_use(here, there, what, line, files)


def layer_call(name: str, line: int, files: tree) -> Findings:
    if name not in layers.LAYERS:
        yield line, f"layer '{name}' has no place in the table: give it one in tools/layers.py"
        return
    for dep in declared_layers(files)[name]:
        if dep not in layers.reachable(name):
            yield line, f"'{name}' may not use '{dep}' (tools/layers.py): turn the dependency round"


def layer_use(here: str, there: str, what: str, line: int, files: tree) -> Findings:
    if there not in layers.reachable(here):
        yield line, (f"'{here}' may not use '{there}' (\"{what}\"): take what it needs as an "
                     "argument or an interface")
    declared = declared_layers(files)
    if {here, there} <= declared.keys() and there not in layers.reachable(here, declared):
        yield line, f"coppice_layer({here}) does not name '{there}': add it to its DEPS"


def library_home(file: source_file, files: tree) -> Findings:
    """Each third-party library, and each dangerous call, has one home."""
    if not file.is_cpp:
        return

    def is_home(pattern: str) -> bool:
        return bool(re.match(pattern, file.path)) or ("TEST" in pattern and file.is_test)

    for line, what, _quoted in file.includes:
        for pattern, home, instead in layers.LIBRARY_HOMES:
            if re.match(pattern, what) and not files.resolve(what):
                if not is_home(home):
                    yield line, f"<{what}>: {instead}"
                break
    for pattern, home, instead in layers.CALL_HOMES:
        if not is_home(home):
            yield from searched(pattern, file.code, instead)


def lock(file: source_file, _: tree) -> Findings:
    """Only base/ and a guest's port have a lock; everything else belongs to one thread."""
    is_ours = file.path.startswith(("src/", "include/")) and not file.is_test
    if file.is_cpp and is_ours and not re.match(layers.LOCK_HOMES, file.path):
        yield from searched(layers.LOCKS, file.code, "let one loop own the data and post to it; "
                            "only base/ and port/ have locks")


def dead_file(file: source_file, files: tree) -> Findings:
    """Every .cpp is built: a CMakeLists.txt of its folder or of one above names it."""
    if not file.path.endswith((".cpp", ".c")) or "/golden/" in file.path:
        return
    parts = file.path.split("/")
    for depth in range(len(parts) - 1, -1, -1):
        cmake = files.files.get("/".join([*parts[:depth], "CMakeLists.txt"]))
        name = "/".join(parts[depth:])
        stem = re.escape(name.rsplit(".", 1)[0])
        text = re.sub(r"#.*", "", cmake.text) if cmake else ""
        if re.search(rf"(?<![\w/]){stem}(?![\w/])", text):
            return
        if any(fnmatch.fnmatch(name, glob) for glob in re.findall(r"[\w./]*\*[\w.*]*", text)):
            return
    yield 0, "no CMakeLists.txt names it: add it to one or delete it"


def header_test(file: source_file, files: tree) -> Findings:
    """Every public header is included by a test."""
    if not file.is_public_header or re.search(r"/detail/|/(coppice|fwd)\.hpp$", file.path):
        return
    name = file.path.removeprefix("include/")
    if not any(what == name for test in files.cpp() if test.path.endswith("_test.cpp")
               for _, what, _quoted in test.includes):
        yield 0, f'no *_test.cpp includes "{name}": write a test for what it promises'


@functools.cache
def tests_by_name(files: tree) -> frozenset[str]:
    """Suite.Name of each test, and core_guard.case of each program that must not compile."""
    found = set()
    for file in files.files.values():
        found |= file.tests
        if file.is_cmake:
            text = re.sub(r"#.*", "", file.text)
            found |= {f"{kind}_guard.{case}" for kind, case in
                      re.findall(r"\b(\w+)_guard\((\w+) ", text)}
    return frozenset(found)


@functools.cache
def python_tests(files: tree) -> frozenset[str]:
    """file.py::test of each function of a pytest file."""
    return frozenset(
        f"{file.path.rsplit('/', 1)[-1]}::{name}" for file in files.files.values()
        if file.is_python and re.fullmatch(r"tests/.*/test_\w+\.py", file.path)
        for name in re.findall(r"^def (test_\w+)\(", file.text, re.M))


def named_test(file: source_file, files: tree) -> Findings:
    """A test that docs/internals, docs/hangs or a table of tests names exists."""
    if not re.fullmatch(r"docs/(internals|hangs)/.*\.md|tests/.*\.md", file.path):
        return
    for found in re.finditer(r"`(test_\w+\.py::\w+)`", file.text):
        if found[1] not in python_tests(files):
            yield line_of(file.text, found.start()), (
                f"there is no test {found[1]}: name the one that checks this, or write it")
    for found in re.finditer(r"`([A-Z]\w*\.[A-Z]\w*|\w+_guard\.\w+)`", file.text):
        if found[1] not in tests_by_name(files):
            yield line_of(file.text, found.start()), (
                f"there is no test {found[1]}: name the one that checks this, or write it")


# ---- rules about code ----------------------------------------------------------------------------


def awaits_in_condition(head: str, keyword: str) -> bool:
    """Is there an await in the condition itself? In a declaration or a lambda it is fine."""
    parts = head.split(";")
    condition = parts[-1] if keyword != "for" else "".join(parts[1:2])
    condition = re.sub(r"\{.*\}", "", condition, flags=re.S)
    declares = re.match(r"\s*(const\s+)?[\w:<>]+[\s&*]+[\w\[\], ]+=(?!=)", condition)
    return "co_await" in condition and not declares


def arms(code: str, at: int) -> str:
    """Both arms of a conditional expression, from behind its question mark."""
    end = at
    while end < len(code) and code[end] not in ",;{})]":
        end = closing(code, end) + 1 if code[end] in "([" else end + 1
    return code[at:end]


def gcc12_shape(file: source_file, _: tree) -> Findings:
    """No await where g++ 12 drops it or destroys twice (coroutine_shapes.py sees more)."""
    if not file.is_cpp:
        return
    code = file.code
    for found in re.finditer(r"\b(if|while|switch|for)\s*(?:constexpr\s*)?\(", code):
        head = code[found.end():closing(code, found.end() - 1)]
        if awaits_in_condition(head, found[1]):
            yield line_of(code, found.start()), (
                f"await in the condition of '{found[1]}', g++ 12 drops the body: name the value on "
                "the line before, or declare it: if (auto r = co_await ...)")
    ternary = ("'?:' and co_await in one expression, g++ 12 destroys its temporaries twice: use "
               "if, or name the value on the line before")
    for found in re.finditer(r"\?", code):
        if "co_await" in arms(code, found.end()):
            yield line_of(code, found.start()), ternary
    yield from searched(r"\bco_await\s*\([^;{}()]*\?", code, ternary)
    for found in re.finditer(r"[\w>=,(]\s*\{", code):
        inside = code[found.end():closing(code, found.end() - 1)]
        if "co_await" in inside and ";" not in inside:
            yield line_of(code, found.end() - 1), (
                "co_await inside braces that initialize, g++ 12 destroys what they make twice: "
                "name the awaited value on the line before")


def new(file: source_file, _: tree) -> Findings:
    """Ownership is said by a type: no new or delete expression."""
    if file.is_cpp:
        code = without_directives(file.code)  # There is a header <new>.
        yield from searched(r"(?<!operator )(?<!operator)\bnew\b(?!\s*\()(?!\w)", code,
                            "write std::make_unique, or hold it by value")
        yield from searched(r"(?<!= )(?<!=)(?<!operator )\bdelete\b(\s*\[\s*\])?\s*[\w(*:]",
                            code, "let a unique_ptr delete it")


def sleep(file: source_file, _: tree) -> Findings:
    """A test waits for what it tests, not for the wall clock."""
    if not file.is_test:
        return
    if file.is_cpp:  # coppice::sleep_for() is time on a clock that a test turns.
        yield from searched(r"\bthis_thread::sleep_(for|until)\b|"
                            r"(?<![\w.>])(::)?(sleep|usleep|nanosleep|clock_nanosleep)\s*\(",
                            file.code, "use testkit's fake_clock, wait_all_blocked() or a join "
                            "with a bound")
    elif file.is_python:
        for call in file.python_nodes:
            is_sleep = isinstance(call, ast.Call) and ast.unparse(call.func) == "time.sleep"
            if is_sleep and not is_stuck_on_purpose(call):
                yield call.lineno, "wait for the event with a bound instead (join, wait, a pipe)"


def is_stuck_on_purpose(sleep: ast.Call) -> bool:
    seconds = sleep.args[0] if sleep.args else None
    return isinstance(seconds, ast.Constant) and seconds.value >= STUCK_SECONDS


RULES = {function.__name__.replace("_", "-"): function for function in (
    line_length, control_character, todo, spdx, file_length, function_length, layer, library_home,
    lock, dead_file, header_test, named_test, gcc12_shape, new, sleep)}
CHECKED_ELSEWHERE = ("coroutine-shape",)  # by coroutine_shapes.py, with the same exception lines


def allowed(file: source_file, line: int, rule: str) -> bool:
    return any(one.rule == rule and (line in (0, one.covers)) for one in file.allowances)


def check_allowances(file: source_file, used: set[tuple[str, int]]) -> Iterator[finding]:
    """An exception names a rule, gives a reason, and is needed."""
    for one in file.allowances:
        if one.rule not in RULES and one.rule not in CHECKED_ELSEWHERE:
            text = f"there is no rule '{one.rule}': see tools/tidy.py --rules"
        elif len(one.reason.split()) < REASON_WORDS_MIN:
            text = "an exception needs a reason that a stranger understands"
        elif (one.rule, one.line) not in used and one.rule in RULES:
            text = f"nothing here breaks '{one.rule}' any more: delete the exception"
        else:
            continue
        yield finding(file.path, one.line, "exception", text)


def check(root: Path) -> list[finding]:
    """All findings in a repository."""
    files = tree(root)
    findings = []
    for file in files.files.values():
        used = set()
        for name, rule in RULES.items():
            for line, message in rule(file, files):
                if allowed(file, line, name):
                    used |= {(one.rule, one.line) for one in file.allowances
                             if one.rule == name and line in (0, one.covers)}
                else:
                    findings.append(finding(file.path, line or 1, name, message))
        if file.is_source and file.path not in TIDY_ITSELF:
            findings.extend(check_allowances(file, used))
    return sorted(set(findings))


def main(arguments: list[str]) -> int:
    if arguments == ["--rules"]:
        for name, rule in RULES.items():
            print(f"{name:18} {rule.__doc__}")
        return 0
    if arguments:
        print("usage: tidy.py [--rules]", file=sys.stderr)
        return 2
    findings = check(Path(__file__).resolve().parent.parent)
    for one in findings:
        print(one)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
