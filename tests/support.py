# SPDX-License-Identifier: Apache-2.0
"""The root's side of an integration test: runs `main`, then proves that nothing is left.

Imported by the scripts that tests run, below their main guard: children never import it.
"""
import asyncio
import faulthandler
import os
import time
from pathlib import Path

import coppice

METHOD = os.environ.get('COPPICE_TEST_START_METHOD', 'auto')
LOOP = os.environ.get('COPPICE_TEST_LOOP', 'asyncio')
TRANSPORT = os.environ.get('COPPICE_TEST_TRANSPORT')
SETTLE = 0.5  # Seconds. A joined thread is in /proc for a moment longer.


def resources():
    """What this process has, by kind: threads, fds, child processes, interpreters, socket files."""
    import _interpreters  # CPython's own list: names every interpreter of the process.

    tasks = {}
    for task in Path('/proc/self/task').iterdir():
        try:
            tasks[task.name] = (task / 'comm').read_text().strip()
        except OSError:
            pass  # It ended while we looked.
    fds = {}
    for fd in os.listdir('/proc/self/fd'):
        try:
            fds[fd] = os.readlink(f'/proc/self/fd/{fd}')
        except OSError:
            pass  # The one that listed the folder.
    runtime = os.environ['XDG_RUNTIME_DIR']
    return {
        'threads': tasks, 'fds': fds, 'processes': children(),
        'interpreters': {str(item[0]): str(item[1]) for item in _interpreters.list_all()},
        'files': {str(path): '' for path in Path(runtime).rglob('*') if not path.is_dir()},
    }


def children():
    """Child processes, zombies too, by pid."""
    found = {}
    for stat in Path('/proc').glob('[0-9]*/stat'):
        try:
            text = stat.read_text()
        except OSError:
            continue
        name, _, rest = text.partition('(')[2].rpartition(')')
        if int(rest.split()[1]) == os.getpid():
            found[stat.parent.name] = name
    return found


def left_since(before):
    after = resources()
    return {kind: {key: text for key, text in after[kind].items() if key not in before[kind]}
            for kind in after}


def nothing_left(before):
    """Waits a moment at most; returns what is left all the same, {} if nothing is."""
    deadline = time.monotonic() + SETTLE
    while True:
        left = {kind: items for kind, items in left_since(before).items() if items}
        if not left or time.monotonic() > deadline:
            return left
        # tidy: allow sleep: what the kernel removes has no event
        time.sleep(0.01)


def run(main, *args, how='coppice', **options):
    """Runs main as the root and ends with the line CLEAN, or says what it left behind."""
    faulthandler.dump_traceback_later(float(os.environ['COPPICE_TEST_SECONDS']), exit=True)
    asyncio.new_event_loop().close()  # What the first loop of a process opens is not the test's.
    if LOOP == 'trio':
        import trio
        trio.run(trio.sleep, 0)
    before = resources()
    try:
        if how == 'asyncio':
            result = asyncio.run(main(*args))
        else:
            transports = {'enable_transports': [TRANSPORT]} if TRANSPORT else {}
            result = coppice.run(main, *args, **{'start_method': METHOD, 'loop': LOOP,
                                                 **transports, **options})
        print('RESULT', result, flush=True)
    finally:
        left = nothing_left(before)
        faulthandler.cancel_dump_traceback_later()
        print('LEFT ' + repr(left) if left else 'CLEAN', flush=True)
    return result
