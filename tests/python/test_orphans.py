# SPDX-License-Identifier: Apache-2.0
"""Whatever ends the root, all that it started ends with it, within a second: its actors on every
backend, whatever they are stuck in, their own children, and the zygotes. What is left are socket
files, which nobody could remove any more; the next start does."""
import os
import signal
import time
from pathlib import Path

import pytest
from conftest import marked

pytestmark = pytest.mark.parametrize('start_method', ['subint'], indirect=True)
BOUND = 5  # The promise is a second; the machine may be busy. The figure is recorded.

MODULE = {'orphan_states': '''
    import ctypes, os, signal, time
    import coppice

    METHODS = ['process', 'forkserver', 'subint_fork', 'subint_forkserver', 'subint']
    held = ctypes.PyDLL(None)  # Keeps the GIL in its calls.

    def pid():
        return os.getpid()

    def spin():
        while True:
            pass

    def deaf():
        signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
        while True:
            try:
                time.sleep(1000)
            except BaseException:
                pass

    def native():
        held.sleep(1000)

    async def branch(methods, state='pid'):
        import asyncio
        async with coppice.open_nursery() as an:
            working = []
            for name, method in enumerate(methods):
                portal = await an.start_actor(f'leaf{name}', start_method=method,
                                              enable_modules=['orphan_states'],
                                              inherit_parent_main=False)
                await portal.run('orphan_states:pid')
                working.append(asyncio.ensure_future(portal.run(f'orphan_states:{state}')))
            open('branch_up', 'w').close()
            await asyncio.sleep(1000)
'''}

TREE = '''
import asyncio
import coppice
from orphan_states import METHODS

STATES = ['spin', 'deaf', 'native', 'branch']

async def main():
    async with coppice.open_nursery() as an:
        working = []
        for method in METHODS:
            for state in STATES:
                portal = await an.start_actor(f'{{method}}_{{state}}', start_method=method,
                                              enable_modules=['orphan_states'],
                                              inherit_parent_main=False)
                await portal.run('orphan_states:pid')
                how = {{'methods': METHODS}} if state == 'branch' else {{}}
                working.append(asyncio.ensure_future(
                    portal.run(f'orphan_states:{{state}}', **how)))
        await asyncio.sleep({settle})
        assert not any(one.done() for one in working), working
        print('up', flush=True)
        await asyncio.sleep(1000)

if __name__ == '__main__':
    coppice.run(main)
'''


def ends_with_its_root(running, record_property, expected, began):
    left = running.survivors(within=BOUND)
    took = time.monotonic() - began
    assert not left, left
    record_property('orphans were gone after', f'{took * 1000:.0f} ms')
    print(f'{expected}: orphans were gone after {took * 1000:.0f} ms')


def test_all_that_a_killed_root_started_ends_whatever_it_is_stuck_in(begin, record_property):
    running = begin(TREE.format(settle=2), end='', modules=MODULE, seconds=60)
    assert running.line() == 'up', running.process.stderr.read()
    there = len(marked(running.mark))
    assert there >= 1 + 16 + 5 * 4 + 1, 'the root, its children, those of five branches, a zygote'
    began = time.monotonic()
    running.process.kill()
    ends_with_its_root(running, record_property, f'SIGKILL, {there} processes', began)
    assert running.socket_files(), 'nobody was there to remove them'


@pytest.mark.parametrize('how', ['os._exit(3)', 'os.abort()', 'ctypes.string_at(0)'])
def test_all_that_a_root_started_ends_when_it_leaves_or_crashes(begin, record_property, how):
    running = begin(f"""
        import ctypes, os, resource
        import coppice
        from orphan_states import METHODS

        async def main():
            async with coppice.open_nursery() as an:
                for method in METHODS:
                    portal = await an.start_actor(method, start_method=method,
                                                  enable_modules=['orphan_states'],
                                                  inherit_parent_main=False)
                    await portal.run('orphan_states:pid')
                print('up', flush=True)
                resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
                {how}

        if __name__ == '__main__':
            coppice.run(main)
        """, end='', modules=MODULE)
    assert running.line() == 'up', running.process.stderr.read()
    began = time.monotonic()
    ends_with_its_root(running, record_property, how, began)


def test_the_next_start_removes_the_socket_files_of_a_killed_root(begin):
    text = """
        import coppice

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('a', start_method='process',
                                              enable_modules=['orphan_states'],
                                              inherit_parent_main=False)
                await portal.run('orphan_states:pid')
                {then}

        if __name__ == '__main__':
            coppice.run(main)
        """
    running = begin(text.format(then="print('up', flush=True); import time; time.sleep(1000)"),
                    end='', modules=MODULE)
    assert running.line() == 'up', running.process.stderr.read()
    running.process.kill()
    running.process.wait()
    assert not running.survivors(within=BOUND)
    assert running.socket_files()
    again = begin(text.format(then='await an.cancel()'), end='', modules=MODULE,
                  XDG_RUNTIME_DIR=running.sockets)
    outcome = again.wait()
    assert outcome.status == 0, outcome
    assert not running.socket_files(), running.socket_files()


@pytest.mark.parametrize('method', ['process', 'forkserver', 'subint_fork', 'subint_forkserver'])
def test_the_stuck_children_of_an_actor_that_was_killed_end_and_its_root_goes_on(
        begin, record_property, method):
    running = begin(f"""
        import asyncio
        import coppice
        from orphan_states import METHODS

        async def grow():
            async with coppice.open_nursery() as an:
                branch = await an.start_actor('branch', start_method={method!r},
                                              enable_modules=['orphan_states'],
                                              inherit_parent_main=False)
                print(await branch.run('orphan_states:pid'), flush=True)
                await branch.run('orphan_states:branch', methods=METHODS, state='native')

        async def main():
            async with coppice.open_nursery() as an:
                # So that the zygote outlives the branch.
                await an.start_actor('other', start_method='forkserver', inherit_parent_main=False)
                try:
                    await grow()
                except coppice.ActorDied:
                    await asyncio.sleep(1000)

        if __name__ == '__main__':
            coppice.run(main)
        """, end='', modules=MODULE)
    branch = int(running.line())
    deadline = time.monotonic() + 20
    file = Path(running.process.args[1]).parent / 'branch_up'
    while not file.exists() and time.monotonic() < deadline:
        time.sleep(0.02)  # tidy: allow sleep: a file says nothing
    time.sleep(0.5)  # tidy: allow sleep: so that they are in their calls
    before = set(marked(running.mark))
    began = time.monotonic()
    os.kill(branch, signal.SIGKILL)
    while len(marked(running.mark)) > len(before) - 5 and time.monotonic() - began < BOUND:
        time.sleep(0.02)  # tidy: allow sleep: the end of a process that is not ours has no event
    took = time.monotonic() - began
    after = marked(running.mark)
    print(f'{method}: {len(before)} -> {len(after)} in {took * 1000:.0f} ms')
    record_property('orphans were gone after', f'{took * 1000:.0f} ms')
    assert 3 <= len(after) <= len(before) - 5, after  # The root, its zygote and the other are left.
    running.process.kill()
