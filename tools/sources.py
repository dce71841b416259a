# SPDX-License-Identifier: Apache-2.0
"""The repository's files as the checks see them: text, code without comments, includes, functions,
and the lines that allow an exception."""

from __future__ import annotations

import ast
import re
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

CPP = (".cpp", ".hpp", ".h", ".c")
SKIPPED_FOLDERS = ("build", ".deps", ".git", ".cache", "__pycache__")

# One token of C++ as far as comments and literals need telling apart. Numbers and names are tokens
# so that the quote in 1'000 and the prefix in u8"x" are not taken for something else.
TOKEN = re.compile(
    r"""(?P<comment> //(?:[^\n\\]|\\.)* | /\*.*?\*/ )
      | (?P<raw> (?:u8|[uUL])?R"(?P<mark>[^()\\\s]{0,16})\(.*?\)(?P=mark)" )
      | (?P<text> (?:u8|[uUL])?(?:"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])+') )
      | \.?\d(?:'?\w|[eEpP][+-]|\.)* | \w+ """,
    re.S | re.X,
)

ALLOW = re.compile(r"(?://|#)\s*tidy: allow ([\w-]+):[ \t]*(.*)$")


def hollow(text: str) -> str:
    """Spaces in place of everything but line ends: offsets and line numbers stay."""
    return re.sub(r"[^\n]", " ", text)


def without_comments(text: str, literals: bool = False) -> str:
    """C++ with comments (and, by default, the contents of literals) blanked out."""

    def replace(found: re.Match) -> str:
        if found["comment"]:
            return hollow(found[0])
        if literals or not (found["text"] or found["raw"]):
            return found[0]
        return found[0][0] + hollow(found[0][1:-1]) + found[0][-1]

    return TOKEN.sub(replace, text)


def comments_only(text: str) -> str:
    """The opposite: everything but comments blanked out."""
    parts, at = [], 0
    for found in TOKEN.finditer(text):
        if found["comment"]:
            parts += [hollow(text[at:found.start()]), found[0]]
            at = found.end()
    return "".join([*parts, hollow(text[at:])])


@dataclass(frozen=True)
class function:
    """A function body: `first` and `last` are the lines of its first word and its closing brace."""

    first: int
    last: int

    @property
    def lines(self) -> int:
        return self.last - self.first + 1


@dataclass(frozen=True)
class allowance:
    """A line `// tidy: allow <rule>: <reason>`. `covers` is the line of code it speaks of."""

    line: int
    covers: int
    rule: str
    reason: str


class source_file:
    """One file, read once; `path` is relative to the root, with slashes."""

    def __init__(self, root: Path, path: str) -> None:
        self.path = path
        self.bytes = (root / path).read_bytes()
        self.text = self.bytes.decode("utf-8", errors="replace")

    @cached_property
    def lines(self) -> list[str]:
        return self.text.split("\n")

    @property
    def is_cpp(self) -> bool:
        return self.path.endswith(CPP)

    @property
    def is_header(self) -> bool:
        return self.path.endswith((".hpp", ".h"))

    @cached_property
    def is_python(self) -> bool:
        return self.path.endswith(".py") or bool(re.match(r"#!.*\bpython", self.text))

    @cached_property
    def is_shell(self) -> bool:
        return self.path.endswith(".sh") or bool(re.match(r"#!.*\b(ba)?sh\b", self.text))

    @property
    def is_cmake(self) -> bool:
        return self.path.endswith((".cmake", "CMakeLists.txt"))

    @property
    def is_source(self) -> bool:
        return self.is_cpp or self.is_python or self.is_cmake or self.is_shell

    @property
    def is_public_header(self) -> bool:
        return self.path.startswith("include/coppice/") and self.is_header

    @property
    def is_test(self) -> bool:
        """Test code: also the kit that tests are written with."""
        return (self.path.startswith(("tests/", "src/testkit/", "include/coppice/testkit/")) or
                bool(re.search(r"(_test|_test_kit|_for_test)\.(cpp|hpp|py)$", self.path)))

    @cached_property
    def code(self) -> str:
        """C++ without comments and literals."""
        return without_comments(self.text)

    @cached_property
    def tests(self) -> frozenset[str]:
        """Suite.Name of each GoogleTest test in it."""
        if not (self.is_cpp and self.is_test):
            return frozenset()
        return frozenset(f"{suite}.{name}" for suite, name in re.findall(
            r"^[ \t]*(?:COPPICE_)?TEST(?:_F|_P)?\(\s*(\w+),\s*(\w+)\s*\)", self.code, re.M))

    @cached_property
    def includes(self) -> list[tuple[int, str, bool]]:
        """(line, what, in quotes?) of each #include."""
        text = without_comments(self.text, literals=True)
        return [(line_of(text, found.start(1)), found[2], found[1] == '"') for found in
                re.finditer(r"^[ \t]*#[ \t]*include[ \t]*([<\"])([^>\"\n]+)[>\"]", text, re.M)]

    @cached_property
    def allowances(self) -> list[allowance]:
        found = []
        lines = comments_only(self.text).split("\n") if self.is_cpp else self.lines
        for at, line in enumerate(lines):
            if match := ALLOW.search(line):
                covers = at
                # Alone on its line it speaks of the code that comes next.
                if not self.lines[at][: match.start()].strip():
                    covers += 1
                    while covers < len(self.lines) and re.match(r"\s*(//|#(?!\s*include))",
                                                                self.lines[covers]):
                        covers += 1
                found.append(allowance(at + 1, covers + 1, match[1], match[2].strip()))
        return found

    @cached_property
    def python_nodes(self) -> list[ast.AST]:
        """The syntax tree of a Python file, flat; empty if it is newer than this Python's syntax
        (`make check` runs the checks on the CPython that the project is built for)."""
        try:
            return list(ast.walk(ast.parse(self.text)))
        except SyntaxError:
            return []

    @cached_property
    def functions(self) -> list[function]:
        if self.is_python:
            return python_functions(self.python_nodes)
        return cpp_functions(self.code) if self.is_cpp else []


def line_of(text: str, offset: int) -> int:
    return text.count("\n", 0, offset) + 1


def python_functions(nodes: list[ast.AST]) -> list[function]:
    return [function(min([node.lineno, *(one.lineno for one in node.decorator_list)]),
                     node.end_lineno or node.lineno)
            for node in nodes if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]


def closing(code: str, at: int) -> int:
    """The offset of the bracket that closes the one at `at`, or the end of the text."""
    pairs = {"(": ")", "{": "}", "[": "]"}
    wanted = [pairs[code[at]]]
    for found in re.compile(r"[(){}\[\]]").finditer(code, at + 1):
        if found[0] in pairs:
            wanted.append(pairs[found[0]])
        elif found[0] == wanted[-1]:
            wanted.pop()
            if not wanted:
                return found.start()
    return len(code)


def without_directives(code: str) -> str:
    return re.sub(r"^[ \t]*#(?:[^\n\\]|\\.)*", lambda found: hollow(found[0]), code,
                  flags=re.M | re.S)


def opens_members(head: str) -> bool:
    """Does the brace after `head` open a namespace or a class, whose members follow?"""
    head = re.sub(r"^(\s|template\s*<.*>(?=\s*(class|struct|union)\b)|\[\[[^]]*\]\])*", "", head,
                  flags=re.S)
    if re.match(r'(inline\s+)?namespace\b|extern\s*"', head):
        return True
    is_type = re.match(r"(typedef\s+)?(class|struct|union)\b", head)
    return bool(is_type) and not re.search(r"\)\s*(const|noexcept|override|final|&|\s)*$", head)


def is_member_initializer(head: str) -> bool:
    """Is the brace after `head` the one in `name() : member_{`?"""
    return bool(re.search(r"\)[^;]*?(?<!:):(?!:)[^;]*$", head, re.S) and
                re.search(r"((?<!:):(?!:)|,)\s*[\w:]+(\s*<[^{}()]*>)?\s*$", head, re.S))


CATCH = re.compile(r"\s*catch\s*\([^()]*\)\s*(?=\{)")


def cpp_functions(code: str) -> list[function]:
    """The function bodies at namespace and class level. A lambda is part of what it stands in."""
    code = without_directives(code)
    found = []
    begin = at = 0  # `begin`: where the declaration that we are in starts
    bracket = re.compile(r"[(){};]|\b(?:public|private|protected)\s*:")
    while match := bracket.search(code, at):
        at = match.end()
        if match[0] == "(":
            at = closing(code, match.start()) + 1
        elif match[0] == "{":
            head = code[begin:match.start()]
            if opens_members(head):
                begin = at
                continue
            at = closing(code, match.start()) + 1
            if "(" in head and not is_member_initializer(head):
                while more := CATCH.match(code, at):  # a function try block
                    at = closing(code, more.end()) + 1
                first = begin + len(head) - len(head.lstrip())
                found.append(function(line_of(code, first), line_of(code, at - 1)))
                begin = at
        else:  # ; } or an access label: a declaration starts after it
            begin = at
    return found


def listed(root: Path) -> list[str]:
    """Every file of the repository that git knows or would know, or all if there is no git."""
    done = subprocess.run(["git", "-C", str(root), "ls-files", "-z", "--cached", "--others",
                           "--exclude-standard"], capture_output=True, stdin=subprocess.DEVNULL)
    if done.returncode == 0:
        names = [name for name in done.stdout.decode().split("\0") if name]
    else:
        names = [file.relative_to(root).as_posix() for file in root.rglob("*")]
    return sorted({name for name in names if (root / name).is_file() and
                   not (root / name).is_symlink() and
                   not name.startswith(tuple(f"{folder}/" for folder in SKIPPED_FOLDERS))})


class tree:
    """All files of a repository."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files = {path: source_file(root, path) for path in listed(root)}

    def cpp(self) -> list[source_file]:
        return [file for file in self.files.values() if file.is_cpp]

    def resolve(self, include: str) -> str | None:
        """The file of ours that an #include names."""
        for folder in ("include/", "src/", ""):
            if folder + include in self.files:
                return folder + include
        return None
