# SPDX-License-Identifier: Apache-2.0
"""Actors that are forked from the zygote: what they have of it, and what ends them."""
import os
import signal

import pytest
from conftest import both_loops, forked_only, marked

pytestmark = forked_only

HOME = '''
import either, os, sys, threading, time
import coppice

def home():
    import _interpreters
    return {'pid': os.getpid(), 'ppid': os.getppid(), 'interpreter': _interpreters.get_current()[0],
            'cwd': os.getcwd(), 'env': os.environ.get('COPPICE_TEST_LATE'),
            'real_env': os.popen('printf %s "$COPPICE_TEST_LATE"').read(),
            'argv0': os.path.basename(sys.argv[0]), 'name': coppice.current_actor().name,
            'threads': threading.active_count()}

async def add(x, y):
    return x + y
'''


def test_actors_answer_from_processes_of_their_own_and_share_a_zygote(script, start_method):
    script(HOME + f'''
async def main():
    async with coppice.open_nursery() as an:
        a = await an.start_actor('a', enable_modules=[__name__])
        b = await an.start_actor('b', enable_modules=[__name__])
        one, two = await a.run(home), await b.run(home)
        assert one['pid'] != two['pid'] and os.getpid() not in (one['pid'], two['pid'])
        assert one['ppid'] == two['ppid'] != os.getpid(), (one, two)
        assert (one['interpreter'] != 0) == ({start_method!r} == 'subint_forkserver'), one
        assert one['name'] == 'a' and two['name'] == 'b'
        assert one['threads'] == 1, one
        assert await b.run(add, x=40, y=2) == 42
        await an.cancel()
''')


def test_a_child_sees_the_environment_and_folder_of_the_moment_of_its_start(script, tmp_path):
    script(HOME + f'''
async def main():
    async with coppice.open_nursery() as an:
        early = await an.start_actor('early', enable_modules=[__name__])
        os.environ['COPPICE_TEST_LATE'] = 'yes'
        os.chdir({str(tmp_path)!r})
        late = await an.start_actor('late', enable_modules=[__name__])
        one, two = await early.run(home), await late.run(home)
        assert one['env'] is None and one['real_env'] == '', one
        assert two['env'] == two['real_env'] == 'yes', two
        assert two['cwd'] == {os.path.realpath(tmp_path)!r}, two
        await an.cancel()
''')


def test_what_is_preloaded_is_imported_once_in_the_zygote(script):
    script(HOME + '''
def preloaded():
    import costly
    return costly.pid, os.getppid()

async def main():
    for name in 'ab':
        async with coppice.open_nursery() as an:
            portal = await an.start_actor(name, enable_modules=[__name__])
            pid, zygote = await portal.run(preloaded)
            inside = await portal.run(home)
            assert inside['interpreter'] != 0 or pid == zygote, (pid, zygote)
            await an.cancel()
''', modules={'costly': 'import os\npid = os.getpid()\n'}, options="forkserver_preload=['costly']")


@pytest.mark.parametrize('content, words', [
    ('raise ValueError("broken on purpose")', ['costly', 'ValueError', 'broken on purpose']),
    ('import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()',
     ['costly', '1 thread']),
])
def test_a_preload_that_cannot_be_forked_is_said_to_whoever_starts(script, content, words):
    script(HOME + f'''
async def main():
    try:
        async with coppice.open_nursery() as an:
            await an.start_actor('a', enable_modules=[__name__])
    except coppice.ActorFailure as error:
        assert all(word in str(error) for word in {words!r}), error
    else:
        raise AssertionError
''', modules={'costly': content}, options="forkserver_preload=['costly']")


def test_what_preloading_prints_is_printed_once(script):
    outcome = script(HOME + '''
async def main():
    async with coppice.open_nursery() as an:
        for name in 'abc':
            portal = await an.start_actor(name, enable_modules=[__name__])
            await portal.run(home)
        await an.cancel()
''', modules={'costly': 'print("imported", end=" ")'}, options="forkserver_preload=['costly']")
    assert outcome.stdout.count('imported') == 1


@both_loops
def test_a_tree_shares_one_zygote_and_ends_with_its_root(script):
    script(HOME + '''
async def spawn(depth):
    async with coppice.open_nursery() as an:
        found = [home()['ppid']]
        if depth:
            for name in 'ab':
                portal = await an.start_actor(name, enable_modules=[__name__])
                found += await portal.run(spawn, depth=depth - 1)
        await an.cancel()
        return found

async def main():
    async with coppice.open_nursery() as an:
        portal = await an.start_actor('top', enable_modules=[__name__])
        found = await portal.run(spawn, depth=2)
        assert len(found) == 7 and len(set(found)) == 1, found
        await an.cancel()
''')


def test_stuck_actors_are_stopped(script, start_method):
    last = 'forced' if start_method == 'subint_forkserver' else 'killed'
    script(HOME + f'LAST = {last!r}\n' + '''
def loop():
    while True: pass

def sleep():
    time.sleep(1000)

def swallow():
    while True:
        try:
            while True: pass
        except BaseException:
            pass

async def main():
    async with coppice.open_nursery(stop=coppice.StopPolicy(ask=0.3, interrupt=0.4)) as an:
        calls = []
        for stuck in (loop, sleep, swallow):
            portal = await an.start_actor(stuck.__name__, enable_modules=[__name__])
            calls.append(either.start(portal.run(stuck)))
        await either.sleep(0.3)
        began = time.monotonic()
        await an.cancel()
        took = time.monotonic() - began
        assert took < 3, (took, an.exits)
        rungs = {uid[0]: report.rung for uid, report in an.exits.items()}
        assert rungs == {'loop': 'interrupted', 'sleep': 'interrupted', 'swallow': LAST}, rungs
        await either.outcomes(*calls)
''')


def test_a_cancelled_call_is_interrupted_and_the_actor_goes_on(script):
    script(HOME + '''
def loop():
    while True: pass

async def main():
    async with coppice.open_nursery() as an:
        portal = await an.start_actor('a', enable_modules=[__name__])
        call = either.start(portal.run(loop))
        await either.sleep(0.2)
        call.cancel()
        await either.outcomes(call)
        assert await portal.run(add, x=1, y=2) == 3
        await an.cancel()
''')


def test_the_death_of_the_zygote_ends_its_actors_and_the_next_start_brings_up_another(script):
    script(HOME + '''
import signal

def loop():
    while True: pass

async def main():
    try:
        async with coppice.open_nursery() as an:
            portal = await an.start_actor('a', enable_modules=[__name__])
            zygote = (await portal.run(home))['ppid']
            os.kill(zygote, signal.SIGKILL)
            await portal.run(loop)
    except coppice.ActorDied as error:
        assert "'a'" in str(error), error
    else:
        raise AssertionError
    async with coppice.open_nursery() as an:
        portal = await an.start_actor('b', enable_modules=[__name__])
        assert (await portal.run(home))['ppid'] != zygote
        await an.cancel()
''')


STUCK_TREE = HOME + '''
def loop():
    print('stuck', flush=True)
    while True: pass

async def stuck_below():
    async with coppice.open_nursery() as an:
        portal = await an.start_actor('below', enable_modules=[__name__])
        await portal.run(loop)

async def main():
    async with coppice.open_nursery() as an:
        portal = await an.start_actor('middle', enable_modules=[__name__])
        print(os.getpid(), (await portal.run(home))['pid'], flush=True)
        await portal.run(stuck_below)
'''


def test_kill_of_the_root_leaves_nothing(begin):
    running = begin(STUCK_TREE)
    running.line()
    assert running.line() == 'stuck'
    running.process.kill()
    assert not running.survivors(), 'within a second'


def test_kill_of_an_actor_in_the_middle_ends_what_is_below(begin):
    running = begin(STUCK_TREE)
    _, middle = map(int, running.line().split())
    assert running.line() == 'stuck'
    os.kill(middle, signal.SIGKILL)
    outcome = running.wait()
    assert outcome.status == 1 and 'ActorDied' in outcome.stderr, outcome
    assert not running.survivors()


def test_ctrl_c_in_a_terminal_ends_the_tree_and_status_is_that_of_sigint(begin):
    running = begin(STUCK_TREE)
    running.line()
    assert running.line() == 'stuck'
    os.killpg(running.process.pid, signal.SIGINT)  # As a terminal does: to all of them.
    outcome = running.wait()
    assert 'KeyboardInterrupt' in outcome.stderr, outcome
    assert outcome.is_clean, outcome
    assert not marked(running.mark)


def test_another_program_cannot_be_forked(script, start_method):
    script(HOME + f'''
async def main():
    async with coppice.open_nursery() as an:
        try:
            await an.start_actor('a', start_method={start_method!r},
                                 proc_kwargs={{'executable': sys.executable}})
        except coppice.BackendUnavailable as error:
            assert {start_method!r} in str(error) and "use 'process'" in str(error), error
        else:
            raise AssertionError
''')
