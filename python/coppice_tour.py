# SPDX-License-Identifier: Apache-2.0
"""What the guests of `coppice tour` run. Imports nothing at the top: a start is measured, too."""


def ping(x):
    return x


async def async_ping(x):
    return x


def scan(paths):
    """Parses the files; how many definitions, calls and imports are in them."""
    import ast
    import warnings

    warnings.simplefilter('ignore')  # Invalid escapes in old files are not our news.
    totals = {'files': 0, 'failed': 0, 'bytes': 0, 'definitions': 0, 'calls': 0, 'imports': 0}
    for path in paths:
        try:
            with open(path, 'rb') as file:
                source = file.read()
            tree = ast.parse(source, path)
        except (OSError, SyntaxError, ValueError, RecursionError):
            totals['failed'] += 1
            continue
        totals['files'] += 1
        totals['bytes'] += len(source)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                totals['calls'] += 1
            elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                totals['definitions'] += 1
            elif isinstance(node, (ast.Import, ast.ImportFrom)):
                totals['imports'] += 1
    return totals


# --- four ways to get stuck ---------------------------------------------------------------------


def pure_loop():
    while True:
        pass


def sleep():
    import time

    time.sleep(1000)


def event_wait():
    import threading

    threading.Event().wait()


def lock_never_released():
    import threading

    lock = threading.Lock()
    lock.acquire()
    lock.acquire()
