# SPDX-License-Identifier: Apache-2.0
"""Who may use whom: the dependency table of the layers, and the one home of each library.

STYLE.md explains it. tidy.py holds #include lines and coppice_layer() calls against it.
"""

from __future__ import annotations

import re

# A layer may use itself, those named here, and what they may use.
LAYERS: dict[str, tuple[str, ...]] = {
    "base": (),
    "core": ("base",),
    "testkit": ("core",),
    "msg": ("core",),
    "ipc": ("msg",),
    "port": ("ipc",),
    "spawn": ("port",),
    "actor": ("spawn",),
    "lib": ("actor",),
    "pyhost": ("msg",),
    "spawn_subint": ("spawn", "pyhost"),
    "pyext": ("actor", "spawn_subint", "lib"),
    "cli": ("lib",),
}

# Layers that lie in another one's folder.
FOLDERS = {"spawn/subint": "spawn_subint"}

# (the beginning of what is included, the files that may, what to do instead). The first that fits
# counts. TEST stands for all test code.
LIBRARY_HOMES: tuple[tuple[str, str, str], ...] = (
    (r"(Python|structmember|patchlevel|pyconfig)\.h$|pybind11/|internal/pycore_|cpython/",
     r"src/(pyhost|pyext)/|tests/|bench/",
     "Python's C API lives in src/pyhost/ and src/pyext/; ask them by an interface of theirs"),
    (r"boost/asio", r"src/core/reactor|src/ipc/|include/coppice/asio\.hpp$",
     "Asio lives in src/core/reactor* and src/ipc/; use the loop's own operations"),
    (r"CLI/", r"(src/)?cli/", "CLI11 lives in cli/; hand the parsed options down"),
    (r"spdlog/", r"src/base/log\.(cpp|hpp)$|src/base/log_test\.cpp$",
     'spdlog lives in src/base/log.cpp; include "base/log.hpp"'),
    (r"fmt/", r"src/|cli/|tests/|bench/|examples/",
     "no fmt type in a public header: format in the .cpp"),
    (r"openssl/", r"src/ipc/", "OpenSSL lives in src/ipc/"),
    (r"msgpack", r"$^", "we have a msgpack codec of our own: src/msg/"),
    (r"elfutils/|dwarf\.h$|libdw", r"src/hang/", "stacks and symbols live in src/hang/"),
    (r"zmq", r"bench/", "ZeroMQ is a peer to measure beside: bench/"),
    (r"caf/", r"bench/", "CAF is a peer to measure beside: bench/"),
    (r"benchmark/", r"bench/", "Google Benchmark lives in bench/"),
    (r"g(test|mock)/", r"TEST", "GoogleTest is for tests and src/testkit/"),
)

PROCESS_CALLS = ("fork", "vfork", "forkpty", "clone", "clone3", "waitpid", "waitid", "wait3",
                 "wait4", "posix_spawn", "posix_spawnp", "execv", "execve", "execvp", "execvpe",
                 "fexecve", "execl", "execlp", "execle", "system", "popen")

# (what is called or named, the files that may, what to use instead)
CALL_HOMES: tuple[tuple[str, str, str], ...] = (
    # clone() without arguments is a member of ours.
    (rf"(?<![\w.>:])(::)?(?!clone\s*\(\s*\))({'|'.join(PROCESS_CALLS)})\s*\(",
     r"src/spawn/|bench/|TEST",
     "processes are started and waited for in src/spawn/ only"),
    (r"\bstd::(thread|jthread|async)\b(?!::)|\b(pthread_create|thrd_create)\b",
     r"src/base/thread(_test)?\.(cpp|hpp)$|bench/",
     "use base::os_thread, which has a name and an owner"),
)

# One mutex guards a guest's port, and base/ has what threads meet at. Others own their data.
# What counts is where a lock is declared: there stands who meets at it, if anybody has to.
LOCKS = r"\bstd::(\w*mutex|condition_variable\w*)\s+\w"
LOCK_HOMES = r"src/base/|src/port/|TEST"


def reachable(layer: str, table: dict[str, tuple[str, ...]] | None = None) -> set[str]:
    """The layer itself and all that it may use, directly or not."""
    table = LAYERS if table is None else table
    seen, rest = set(), [layer]
    while rest:
        one = rest.pop()
        if one not in seen:
            seen.add(one)
            rest.extend(table.get(one, ()))
    return seen


def layer_of(path: str) -> str | None:
    """The layer whose folder a file lies in."""
    if path.startswith("cli/"):
        return "cli"
    inner = path.removeprefix("src/")
    for folder, layer in FOLDERS.items():
        if inner.startswith(f"{folder}/"):
            return layer
    outer = inner.split("/")[0]
    return outer if path.startswith("src/") and outer in LAYERS else None
