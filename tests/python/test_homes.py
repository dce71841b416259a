# SPDX-License-Identifier: Apache-2.0
"""What every home of an actor can, after tractor's tests of its spawn backends and of RPC."""
import os
import signal

import pytest
from conftest import HOMES, PATIENT, every_home, every_home_and_loop


@every_home
def test_movie_theatre_convo(script):
    """Scenario 2: a daemon answers one call after another until it is cancelled."""
    script('''
        import coppice

        async def hi():
            return 'Hi there, I am ' + coppice.current_actor().name

        def add(x, y):
            return x + y

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('frank', enable_modules=[__name__])
                assert await portal.run(hi) == 'Hi there, I am frank'
                assert await portal.run(add, x=1, y=2) == 3
                assert portal.is_alive()
                report = await portal.cancel_actor()
                assert report.rung == 'asked', report
            assert an.exits == {portal.uid: report}
        ''', options=PATIENT)


@every_home
def test_rpc_errors(script):
    """Scenario 6: what is wrong with a module or a function is said by its own class."""
    script('''
        import coppice

        async def error_of(an, modules, name):
            try:
                portal = await an.start_actor('subactor', enable_modules=modules)
            except coppice.RemoteActorError as error:
                return error
            try:
                return await portal.run(name)
            except coppice.RemoteActorError as error:
                return error
            finally:
                await portal.cancel_actor()

        CASES = [
            ([], '__main__:fine', coppice.ModuleNotExposed),
            (['__main__'], '__main__:fine', None),
            (['__main__'], '__main__:doggypants', AttributeError),
            (['tmp_mod_that_is_not_there'], 'x:y', ModuleNotFoundError),
            (['tmp_mod'], 'tmp_mod:doggypants', SyntaxError),
        ]

        def fine(): return 'fine'

        async def main():
            async with coppice.open_nursery() as an:
                for modules, name, kind in CASES:
                    found = await error_of(an, modules, name)
                    if kind is None:
                        assert found == 'fine', found
                    else:
                        assert found.boxed_type is kind, (modules, name, found)
        ''', modules={'tmp_mod': 'import doggypants(\n'})


@every_home
def test_subint_happy_teardown(script, start_method):
    """Scenario 29: one actor, one call, and everything is gone."""
    outcome = script('''
        import coppice

        async def portal_is_here():
            return coppice.current_actor().name

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.run_in_actor(portal_is_here, name='child')
                assert await portal.wait_for_result() == 'child'
        ''')
    assert outcome.seconds < 10


@every_home_and_loop
def test_spawn_method_spawns_where_it_says(script, start_method):
    """Scenario 31, the basics: an actor lives in a process or an interpreter of its own, or both,
    and forking there, from a thread that is not the main one, gives a child that can be reaped. Of
    several interpreters a fork would be none, and is refused."""
    script(f'IN_PROCESS = {start_method != "subint"!r}\n'
           f'IS_GUEST = {start_method.startswith("subint")!r}\n' + '''
import os, sys, threading
import coppice, either

def home():
    import _interpreters
    return os.getpid(), _interpreters.get_current()[0]

def fork_in_a_thread():
    said = []

    def fork():
        try:
            pid = os.fork()
        except RuntimeError as error:
            said.append(str(error))
            return
        if pid == 0:
            os._exit(42)
        said.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

    thread = threading.Thread(target=fork)
    thread.start()
    thread.join()
    return said

async def async_home():
    await either.sleep(0)
    return home()

async def main():
    async with coppice.open_nursery() as an:
        portal = await an.start_actor('child', enable_modules=[__name__])
        pid, interpreter = await portal.run(async_home)
        assert (pid != os.getpid()) == IN_PROCESS, pid
        assert (interpreter != 0) == IS_GUEST, interpreter
        said = await portal.run(fork_in_a_thread)
        if IS_GUEST:
            assert len(said) == 1 and 'forkserver' in said[0], said
        else:
            assert said == [42], said
        assert await portal.run(home) == [pid, interpreter]
        await an.cancel()
''')


@every_home
def test_orphaned_subactor_sigint_cleanup(begin):
    """Scenario 31, the orphan: its root is killed, it gets SIGINT, and it is gone."""
    running = begin('''
        import os
        import coppice, either

        def pid(): return os.getpid()

        async def rest():
            await either.sleep(1000)

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('orphan', enable_modules=[__name__])
                print(await portal.run(pid), flush=True)
                await portal.run(rest)
        ''')
    child = int(running.line())
    running.process.kill()
    running.process.wait()
    try:
        os.kill(child, signal.SIGINT)
    except ProcessLookupError:
        pass  # So soon.
    assert not running.survivors(within=10)


@pytest.mark.parametrize('start_method', HOMES[:1], indirect=True)
def test_subint_forkserver_key_errors_cleanly(script):
    """Scenario 31, the keys: those that are reserved there are backends here, and one that is none
    is refused while the tree goes on."""
    script('''
        import coppice

        def ping(): return 'pong'

        async def main():
            async with coppice.open_nursery() as an:
                for key in ('subint_fork', 'subint_forkserver', 'main_thread_forkserver'):
                    portal = await an.start_actor('child', enable_modules=[__name__],
                                                  start_method=key)
                    assert await portal.run(ping) == 'pong', key
                    await portal.cancel_actor()
                try:
                    await an.start_actor('child', start_method='subint_spoon')
                except ValueError as error:
                    assert 'subint_spoon' in str(error) and 'forkserver' in str(error), error
                else:
                    raise AssertionError
        ''')
