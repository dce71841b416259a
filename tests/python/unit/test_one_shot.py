# SPDX-License-Identifier: Apache-2.0
"""Actors that are started for one call."""
import asyncio

import coppice
import pytest
from fake_coppice import HOLD

FIB = f'{__name__}:fib'


async def fib(n=0, name='x'): return n


async def settle():
    for _ in range(30):
        await asyncio.sleep(0)


def boom():
    raise ValueError('boom')


def test_the_result_is_given_and_the_actor_ends(run, native):
    native.plan('fib', endpoints={FIB: lambda n: n * 2})

    async def main():
        async with coppice.open_nursery() as an:
            portal = await an.run_in_actor(fib, n=21)
            assert await portal.wait_for_result() == 42
            assert await portal.wait_for_result() == 42
        return portal

    portal = run(main)
    assert portal.uid[0] == 'fib'
    assert native.actor('fib').stops == [None]
    assert native.actor('fib').options['enable_modules'].keys() == {__name__}


def test_options_and_positional_arguments_are_told_apart(run, native):
    native.plan('worker', endpoints={FIB: lambda n: n})

    async def main():
        async with coppice.open_nursery() as an:
            portal = await an.run_in_actor(fib, 7, name='worker', enable_modules=['other'],
                                           inherit_parent_main=False, start_method='process')
            assert await portal.wait_for_result() == 7

    run(main)
    options = native.actor('worker').options
    assert options['enable_modules'].keys() == {'other', __name__}
    assert options['main'] == {}
    assert options['start_method'] == 'process'


def test_the_block_waits_for_the_result(run, native):
    native.plan('fib', endpoints={FIB: HOLD})

    async def main():
        async def whole():
            async with coppice.open_nursery() as an:
                await an.run_in_actor(fib)

        task = asyncio.create_task(whole())
        await settle()
        assert not task.done()
        native.actor('fib').served[0].reply(1)
        await task

    run(main)


def test_an_error_that_nobody_took_is_the_blocks_when_the_body_ends(run, native):
    native.plan('fib', endpoints={FIB: boom})
    reached = []

    async def main():
        async with coppice.open_nursery() as an:
            await an.run_in_actor(fib)
            await asyncio.sleep(0.02)
            reached.append('the end of the body')

    with pytest.raises(coppice.RemoteActorError, match='boom'):
        run(main)
    assert reached


def test_an_error_that_comes_after_the_body_ends_the_others(run, native):
    native.plan('fib', endpoints={FIB: HOLD})

    async def main():
        async with coppice.open_nursery() as an:
            await an.run_in_actor(fib)
            await an.start_actor('daemon')
            asyncio.get_running_loop().call_later(0.01, lambda: native.actor('fib').served[0].reply(
                error=native.remote(ValueError('late'), native.actor('fib'))))

    with pytest.raises(coppice.RemoteActorError, match='late'):
        run(main)
    assert native.actor('daemon').stops == [None]


def test_one_that_fails_does_not_cut_the_others_short(run, native):
    native.plan('a', endpoints={FIB: boom})
    native.plan('b', endpoints={FIB: HOLD})

    async def main():
        async def whole():
            async with coppice.open_nursery() as an:
                await an.start_actor('daemon')
                await an.run_in_actor(fib, name='a')
                await an.run_in_actor(fib, name='b')

        task = asyncio.create_task(whole())
        await settle()
        assert native.actor('b').stops == native.actor('daemon').stops == []
        native.actor('b').served[0].reply(error=native.remote(KeyError('b'), native.actor('b')))
        await task

    with pytest.raises(ExceptionGroup) as error:
        run(main)
    assert [one.boxed_type for one in error.value.exceptions] == [ValueError, KeyError]
    assert native.actor('daemon').stops == [None]


def test_an_error_that_was_taken_is_not_raised_again(run, native):
    native.plan('fib', endpoints={FIB: boom})

    async def main():
        async with coppice.open_nursery() as an:
            portal = await an.run_in_actor(fib)
            with pytest.raises(coppice.RemoteActorError):
                await portal.wait_for_result()

    run(main)


def test_errors_of_two_are_a_group_though_the_body_raised_one(run, native):
    native.plan('fib', endpoints={FIB: boom})

    async def main():
        async with coppice.open_nursery() as an:
            first = await an.run_in_actor(fib)
            await an.run_in_actor(fib)
            await settle()
            await first.wait_for_result()

    with pytest.raises(ExceptionGroup) as error:
        run(main)
    assert [str(one).split(' [')[0] for one in error.value.exceptions] == ['ValueError: boom'] * 2


def test_a_call_that_the_blocks_end_cancels_is_no_failure(run, native):
    native.plan('fib', endpoints={FIB: HOLD})

    async def main():
        async with coppice.open_nursery() as an:
            await an.run_in_actor(fib)
            raise KeyError('body')

    with pytest.raises(KeyError):
        run(main)
    assert native.actor('fib').ended


def test_its_death_is_told_once(run, native):
    native.plan('fib', endpoints={FIB: HOLD})

    async def main():
        async with coppice.open_nursery() as an:
            portal = await an.run_in_actor(fib)
            native.actor('fib').end()
            await portal.wait_for_result()

    with pytest.raises(coppice.ActorDied):
        run(main)


def test_where_others_are_restarted_it_is_not_and_its_death_is_its_result(run, native):
    native.plan('fib', endpoints={FIB: HOLD})

    async def main():
        policy = coppice.RestartPolicy('one_for_one', pause=0)
        async with coppice.open_nursery(restart=policy) as an:
            await an.run_in_actor(fib)
            native.actor('fib').end()
            await settle()

    with pytest.raises(coppice.ActorDied):
        run(main)
    assert len(native.actors) == 1


def test_a_start_that_fails_is_raised_there(run, native):
    native.plan('fib', start=coppice.ActorFailure('no'))

    async def main():
        async with coppice.open_nursery() as an:
            with pytest.raises(coppice.ActorFailure):
                await an.run_in_actor(fib)

    run(main)


def test_a_function_that_cannot_be_named_there_is_refused(run, native):
    async def main():
        async with coppice.open_nursery() as an:
            with pytest.raises(TypeError, match=r'run_in_actor\(\) cannot name'):
                await an.run_in_actor(lambda: 0)

    run(main)
    assert not native.actors


def test_arguments_that_cannot_travel_leave_no_actor(run, native):
    async def main():
        async with coppice.open_nursery() as an:
            with pytest.raises(TypeError, match='cannot travel'):
                await an.run_in_actor(fib, n=object())
            await settle()
            assert native.actor('fib').ended

    run(main)


def test_the_nursery_keeps_no_result_that_it_need_not_look_at(run, native):
    native.plan('fib', endpoints={FIB: lambda n: n * 2})

    async def main():
        async with coppice.open_nursery() as an:
            for _ in range(3):
                portal = await an.run_in_actor(fib, n=7)
                await portal.wait_for_result()
            assert an._results == []

    run(main)
