# SPDX-License-Identifier: Apache-2.0
"""coppice.run(), Ctrl-C, and the end of the root from above."""
import asyncio
import os
import signal

import coppice
import pytest
from coppice import _portal, _spawn


async def sleep_forever():
    await asyncio.get_running_loop().create_future()


def interrupt_soon(seconds=0.02):
    asyncio.get_running_loop().call_later(seconds, os.kill, os.getpid(), signal.SIGINT)


def test_run_opens_the_root_and_returns_what_main_returns(native):
    async def main(a, b):
        assert coppice.current_actor().name == 'oak'
        assert coppice.current_actor().is_root
        assert coppice.current_actor().parent is None
        return a + b

    stop = coppice.StopPolicy(ask=0.1, total=2)
    assert coppice.run(main, 1, 2, name='oak', start_method='process', stop=stop) == 3
    assert native.roots == [{'start_method': 'process', 'stop': (0.1, 0.05, 1.0, 0.5, 2.0, True)}]
    assert native.closed == 1


@pytest.mark.parametrize('warm', [3, coppice.WarmPool(3)])
def test_the_root_is_told_what_to_keep_warm(native, warm):
    async def main():
        pass

    coppice.run(main, warm=warm)
    coppice.run(main, warm=0)
    told, nothing = native.roots
    assert 'warm' not in nothing
    for name, value in _spawn.program_to_warm().items():
        assert told['warm'].pop(name) == value
    assert told['warm'] == {
        'size': 3, 'preload': ['coppice'], 'loop': None, 'refill': 'background', 'at_once': 2,
        'fill_within': 2.0, 'preload_within': 10.0}


def test_actors_inherit_start_method_and_stop_policy_of_the_root(native):
    async def main():
        async with coppice.open_nursery() as an:
            await an.start_actor('a')
            await an.start_actor('b', start_method='subint')
            await an.cancel()
        async with coppice.open_nursery(start_method='subint') as an:
            await an.start_actor('c')
            await an.cancel()

    coppice.run(main, start_method='trio', stop=coppice.StopPolicy(total=1))
    assert [native.actor(name).options['start_method'] for name in 'abc'] == [
        'process', 'subint', 'subint']
    assert native.actor('a').options['stop'][4] == 1.0


def test_an_error_of_main_closes_the_root_and_leaves(native):
    async def main():
        async with coppice.open_nursery() as an:
            await an.start_actor('a')
            raise ValueError('boom')

    with pytest.raises(ValueError, match='boom'):
        coppice.run(main)
    assert native.closed == 1


def test_the_environment_overrides_run_and_nurseries_but_not_start_actor(native, monkeypatch):
    monkeypatch.setenv('COPPICE_SPAWN_METHOD', 'mp_spawn')

    async def main():
        async with coppice.open_nursery() as an:
            assert (await an.start_actor('a')).start_method == 'process'
            b = await an.start_actor('b', start_method='subint')
            assert (b.start_method, b.start_reason) == ('subint', 'asked for')
            await an.cancel()
        async with coppice.open_nursery(start_method='subint') as an:
            c = await an.start_actor('c')
            assert c.start_reason == "COPPICE_SPAWN_METHOD says 'mp_spawn'"
            await an.cancel()

    coppice.run(main, start_method='subint')
    assert [native.actor(name).options['start_method'] for name in 'abc'] == [
        'process', 'subint', 'process']


@pytest.mark.parametrize('said, error', [('bogus', ValueError), ('thread', RuntimeError)])
def test_what_the_environment_asks_for_in_vain_is_refused_before_anything_starts(
        native, monkeypatch, said, error):
    monkeypatch.setenv('COPPICE_SPAWN_METHOD', said)

    async def main(): raise AssertionError('it ran')

    with pytest.raises(error, match='from COPPICE_SPAWN_METHOD'):
        coppice.run(main)
    with pytest.raises(error, match='from COPPICE_SPAWN_METHOD'):
        coppice.run_daemon([])
    assert not native.roots


@pytest.mark.parametrize('wrong, error', [
    (dict(start_method='bogus'), ValueError), (dict(start_method='forkserver'), RuntimeError),
    (dict(loop='curio'), ValueError)])
def test_wrong_options_are_refused_before_anything_starts(native, wrong, error):
    async def main(): raise AssertionError('it ran')

    with pytest.raises(error):
        coppice.run(main, **wrong)
    assert not native.roots


def test_run_says_what_it_wants_to_be_given(native):
    async def main(): pass

    with pytest.raises(TypeError, match=r'write run\(main, 1\)'):
        coppice.run(main())
    with pytest.raises(TypeError, match='async def'):
        coppice.run(lambda: 7)


def test_a_second_root_is_refused(native):
    async def main():
        async def inner(): pass
        with pytest.raises(coppice.RuntimeFailure, match="'root' is running here already"):
            coppice.run(inner)

    coppice.run(main)


def test_without_an_actor_there_is_no_current_one(native):
    with pytest.raises(coppice.NoRuntime, match='coppice.run'):
        coppice.current_actor()


def test_runtime_vars_are_a_copy(native):
    native.vars = {'a': 1}
    coppice.get_runtime_vars()['a'] = 2
    assert coppice.get_runtime_vars() == {'a': 1}


@pytest.mark.parametrize('start', [coppice.run, lambda main: asyncio.run(main())])
@pytest.mark.parametrize('told', [True, False])
def test_ctrl_c_cancels_the_tree_and_leaves_as_keyboard_interrupt(native, start, told):
    """`told`: the native half passes the signal on as well, as it does where actors are stuck."""
    async def main():
        async with coppice.open_nursery() as an:
            portal = await an.start_actor('a')
            interrupt_soon()
            if told:
                asyncio.get_running_loop().call_later(0.02, native.cancel_self, 'SIGINT')
            await portal.run('m:f')

    with pytest.raises(KeyboardInterrupt):
        start(main)
    assert native.actor('a').ended
    assert native.closed == 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_stops_actors_before_stuck_calls_have_been_waited_for(native):
    native.plan('a', on_cancel='ignore')

    async def main():
        async with coppice.open_nursery() as an:
            portal = await an.start_actor('a')
            loop = asyncio.get_running_loop()
            main.started = loop.time()
            interrupt_soon(0.01)
            loop.call_later(0.01, native.cancel_self, 'SIGINT')
            try:
                await portal.run('m:f')
            finally:
                main.took = loop.time() - main.started

    with pytest.raises(KeyboardInterrupt):
        coppice.run(main)
    assert main.took < _portal.CANCEL_WITHIN / 2


def test_ctrl_c_with_a_nursery_in_another_task(native):
    async def main():
        async def body():
            async with coppice.open_nursery() as an:
                await an.start_actor('a')
                await sleep_forever()

        task = asyncio.create_task(body())
        await asyncio.sleep(0.01)
        interrupt_soon(0.01)
        await task

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
    assert native.actor('a').ended
    assert native.closed == 1


def test_ctrl_c_is_the_programs_own_if_it_has_a_handler(native):
    async def main():
        asked = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, asked.set)
        async with coppice.open_nursery() as an:
            await an.start_actor('a')
            interrupt_soon(0.01)
            asyncio.get_running_loop().call_later(0.01, native.cancel_self, 'SIGINT')
            await asked.wait()
            await asyncio.sleep(0.02)
            assert not native.actor('a').ended  # Nobody but the program decides.
            await an.cancel()
        return 'graceful'

    assert coppice.run(main) == 'graceful'


def test_ctrl_c_leaves_as_keyboard_interrupt_even_if_something_else_was_raised(native):
    native.plan('a', on_stop=('asked', 'exited', 3, 0.0, 'exited with status 3'))

    async def main():
        async with coppice.open_nursery() as an:
            await an.start_actor('a')
            interrupt_soon()
            await sleep_forever()

    with pytest.raises(KeyboardInterrupt) as error:
        coppice.run(main)
    assert isinstance(error.value.__cause__, coppice.ActorDied)


def test_where_python_hears_no_signals_the_native_half_interrupts_the_root(native, monkeypatch):
    # Under `coppice run` the root is a guest on a thread of its own.
    import threading
    result = []

    def root(start):
        async def main():
            async with coppice.open_nursery() as an:
                await an.start_actor('a')
                asyncio.get_running_loop().call_later(0.01, native.cancel_self, 'SIGINT')
                await sleep_forever()
        try:
            start(main)
        except BaseException as error:
            result.append(type(error))

    for start in (coppice.run, lambda main: asyncio.run(main())):
        thread = threading.Thread(target=root, args=(start,))
        thread.start()
        thread.join()
    assert result == [KeyboardInterrupt, KeyboardInterrupt]


def test_an_actor_that_cancels_itself_ends_its_blocks_and_stays_cancelled(native):
    async def main():
        async with coppice.open_nursery() as an:
            await an.start_actor('a')
            coppice.current_actor().cancel_soon()
            await sleep_forever()

    with pytest.raises(asyncio.CancelledError, match="'root' cancelled itself"):
        asyncio.run(main())
    assert native.actor('a').ended


def test_an_event_loop_dropped_with_the_root_open_is_closed_at_exit(native):
    from coppice import _root

    async def main():
        async with coppice.open_nursery() as an:
            await an.start_actor('a')
            await sleep_forever()

    loop = asyncio.new_event_loop()
    task = loop.create_task(main())
    loop.call_later(0.02, loop.stop)
    loop.run_forever()
    assert native.uid is not None
    _root._at_exit()
    assert native.uid is None
    _root._at_exit()
    # The dropped task is picked up again: its block finds everything ended, and does not wait.
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    loop.close()
