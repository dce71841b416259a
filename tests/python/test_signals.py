# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C: the whole tree goes, stuck or not, and KeyboardInterrupt leaves."""
import os
import signal
import time

import pytest
from conftest import guests_only

TREE = '''
import threading, time
import coppice, either

def loop():
    while True: pass

def sleep():
    time.sleep(1000)

def lock():
    held = threading.Lock()
    held.acquire()
    held.acquire()

async def wait():
    await either.sleep(1000)

async def hold():
    async with coppice.open_nursery() as an:
        portal = await an.start_actor('grandchild', enable_modules=[__name__])
        await portal.run(loop)

async def main(*endpoints):
    async with coppice.open_nursery(start_method=METHOD) as an:
        async with TASKS() as tasks:
            for number, endpoint in enumerate(endpoints):
                portal = await an.start_actor(f'a{number}', enable_modules=[__name__])
                if LOOP == 'trio':
                    tasks.start_soon(portal.run, endpoint)
                else:
                    tasks.create_task(portal.run(endpoint))
            await either.sleep(1 if hold in endpoints else 0.3)
            print('ready', flush=True)

import os
METHOD = os.environ['COPPICE_TEST_START_METHOD']
LOOP = os.environ['COPPICE_TEST_LOOP']
if LOOP == 'trio':
    import trio
    TASKS = trio.open_nursery
else:
    import asyncio
    TASKS = asyncio.TaskGroup
'''
RUNS = {'asyncio.run': 'import asyncio; asyncio.run(main({endpoints}))',
        'coppice.run': 'coppice.run(main, *[{endpoints}])',
        'coppice.run on trio': "coppice.run(main, *[{endpoints}], loop='trio')",
        'trio.run': 'trio.run(main, *[{endpoints}])'}


def end(how, endpoints):
    return f'''

if __name__ == '__main__':
    import support
    before = support.resources()
    try:
        {RUNS[how].format(endpoints=endpoints)}
    finally:
        left = support.nothing_left(before)
        print('LEFT ' + repr(left) if left else 'CLEAN', flush=True)
'''


def left_by_interrupt(how, outcome):
    if how == 'trio.run' and outcome.status == 1:  # It struck inside a nursery, which wraps it.
        assert '| KeyboardInterrupt' in outcome.stderr, outcome
    else:  # As CPython leaves after KeyboardInterrupt.
        assert outcome.status == -signal.SIGINT, outcome
        assert outcome.stderr.rstrip().endswith('KeyboardInterrupt'), outcome


def loop_of(how):
    return {'COPPICE_TEST_LOOP': 'trio' if 'trio' in how else 'asyncio'}


def interrupted(script, send, times=1):
    """Sends SIGINT when the tree stands; returns how it ended and after how long."""
    assert script.line() == 'ready'
    began = time.monotonic()
    for _ in range(times):
        send(script.process.pid, signal.SIGINT)
        # tidy: allow sleep: a person pressing Ctrl-C again
        time.sleep(0.05 if times > 1 else 0)
    outcome = script.wait()
    return outcome, time.monotonic() - began


@pytest.mark.parametrize('how', RUNS)
@pytest.mark.parametrize('endpoints', ['wait, wait', 'loop, sleep, lock', 'hold'])
def test_ctrl_c_ends_the_tree_within_a_second(begin, how, endpoints):
    script = begin(TREE, end=end(how, endpoints), **loop_of(how))
    outcome, took = interrupted(script, os.kill)
    left_by_interrupt(how, outcome)
    assert outcome.is_clean, outcome
    assert took < 1.5, (took, outcome)  # 1 s, and the interpreter's own start and end.


@pytest.mark.parametrize('how', RUNS)
def test_ctrl_c_of_a_terminal_reaches_the_whole_process_group(begin, how):
    script = begin(TREE, end=end(how, 'wait, loop'), **loop_of(how))
    outcome, took = interrupted(script, os.killpg)
    left_by_interrupt(how, outcome)
    assert 'ActorDied' not in outcome.stderr, outcome
    assert outcome.is_clean, outcome
    assert took < 1.5, (took, outcome)


@pytest.mark.parametrize('how', ['asyncio.run', 'trio.run'])
def test_a_second_ctrl_c_does_not_wait_for_anybody(begin, how):
    patient = 'stop=coppice.StopPolicy(ask=20, unseen=20, total=25)'
    script = begin(TREE.replace('start_method=METHOD', f'start_method=METHOD, {patient}'),
                   end=end(how, 'loop'), **loop_of(how))
    outcome, took = interrupted(script, os.kill, times=2)
    assert outcome.status != 0, outcome
    assert took < 3, (took, outcome)


@pytest.mark.parametrize('how', ['coppice.run', 'coppice.run on trio'])
def test_ctrl_c_while_the_block_waits_for_its_actors(begin, how):
    script = begin('''
        import os
        import coppice

        async def main():
            async with coppice.open_nursery() as an:
                await an.start_actor('a', start_method=os.environ['COPPICE_TEST_START_METHOD'])
                print('ready', flush=True)
        ''', end=end(how, ''))
    outcome, took = interrupted(script, os.kill)
    assert outcome.status == -signal.SIGINT and outcome.is_clean, outcome
    assert took < 1.5


def test_a_program_with_a_handler_of_its_own_decides_itself(begin):
    script = begin('''
        import asyncio, os, signal
        import coppice

        def ping(): return 'pong'

        async def main():
            asked = asyncio.Event()
            asyncio.get_running_loop().add_signal_handler(signal.SIGINT, asked.set)
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('a', enable_modules=[__name__],
                    start_method=os.environ['COPPICE_TEST_START_METHOD'])
                print('ready', flush=True)
                await asked.wait()
                await asyncio.sleep(0.3)
                print(await portal.run(ping), flush=True)
                await an.cancel()
        ''', end=end('asyncio.run', ''))
    outcome, _ = interrupted(script, os.kill)
    assert outcome.status == 0 and outcome.is_clean, outcome
    assert 'pong' in outcome.said


@guests_only
def test_signal_handlers_of_the_program_are_as_they_were_afterwards(script):
    script('''
        import signal
        import coppice

        def handler(number, frame): pass

        async def main():
            async with coppice.open_nursery() as an:
                await (await an.start_actor('a')).cancel_actor()
        ''', end='''

if __name__ == '__main__':
    import os, support
    support.run(main)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    try:
        os.kill(os.getpid(), signal.SIGINT)
        import time
        time.sleep(1)
    except KeyboardInterrupt:
        print('interrupted as ever')
    signal.signal(signal.SIGUSR1, handler)
    support.run(main)
    assert signal.getsignal(signal.SIGUSR1) is handler
''')
