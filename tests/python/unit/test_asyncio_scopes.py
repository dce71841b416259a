# SPDX-License-Identifier: Apache-2.0
"""Scopes on asyncio: a level over Task.cancel(), whose count stays right for all who count."""
import asyncio
import os
import signal
import time

import pytest
from coppice import _asyncio, _loop
from test_adapters import Guest, sleeper


@pytest.fixture
def guest(native):
    return Guest(native, 'asyncio')


def test_tasks_that_serve_no_call_are_cancelled_when_the_loop_ends(guest):
    log = []
    keep = []

    async def background():
        keep.append(asyncio.create_task(sleeper(log)))
        await asyncio.sleep(0)

    guest.serve(1, background())
    guest.later(guest.stop)
    guest.run()
    assert log == ['unwound']


def test_a_background_task_that_exits_ends_the_actor_and_not_the_process(guest):
    async def exits():
        raise SystemExit(3)

    tasks = []

    async def background():
        tasks.append(asyncio.get_running_loop().create_task(exits()))

    guest.serve(1, background())
    guest.later(lambda: None, guest.stop)
    guest.run()
    assert isinstance(tasks[0].exception(), SystemExit)
    assert guest.native.cancelled_self == ['a task of it raised SystemExit']


def test_a_coroutine_that_suspends_finishes_without_an_extra_turn_of_the_loop(guest):
    turns = []

    async def suspends():
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_soon(lambda: turns.append(list(guest.native.finished)))
        return 7

    guest.serve(1, suspends())
    guest.native.post(guest.stop)
    guest.run()
    assert turns == [[(1, 7, None)]]


# --- scopes: what of a cancellation is the scope's own -------------------------------------------

def in_scope(body):
    """Runs `await body(scope, task)` in a scope of an adapter, in a task of its own."""
    async def main():
        async def opened():
            scope = _asyncio.AsyncioScope().open()
            return await body(scope, asyncio.current_task())
        return await asyncio.create_task(opened())
    return asyncio.run(main())


async def caught():
    try:
        await asyncio.sleep(10)
    except asyncio.CancelledError as error:
        return error


def test_a_scope_absorbs_its_own_cancellation():
    async def body(scope, task):
        scope.cancel()
        scope.cancel()
        assert await scope.close(await caught()) is None
        assert task.cancelling() == 0

    in_scope(body)


def test_a_scope_lets_a_cancellation_from_outside_through():
    async def body(scope, task):
        task.cancel()
        error = await caught()
        assert await scope.close(error) is error
        assert task.cancelling() == 1

    in_scope(body)


def test_a_scope_lets_a_cancellation_from_outside_through_its_own():
    async def body(scope, task):
        scope.cancel()
        task.cancel()
        error = await caught()
        assert await scope.close(error) is error
        assert task.cancelling() == 1

    in_scope(body)


def test_a_scope_in_a_task_that_was_cancelled_before_absorbs_only_its_own():
    async def body(outer, task):
        task.cancel()
        await caught()
        scope = _asyncio.AsyncioScope().open()
        scope.cancel()
        assert await scope.close(await caught()) is None
        assert task.cancelling() == 1

    in_scope(body)


def test_a_scope_takes_delivery_of_a_cancellation_that_its_body_did_not_wait_for():
    async def body(outer, task):
        task.cancel()
        await caught()
        scope = _asyncio.AsyncioScope().open()
        scope.cancel()
        assert await scope.close(None) is None
        await asyncio.sleep(0)  # Nothing is left to be delivered here.
        error = ValueError()
        scope = _asyncio.AsyncioScope().open()
        scope.cancel()
        assert await scope.close(error) is error
        await asyncio.sleep(0)

    in_scope(body)


def test_a_closed_scope_cancels_nobody():
    async def body(scope, task):
        await scope.close(None)
        scope.cancel()
        scope.cancel_unless_cancelled()
        await asyncio.sleep(0)
        assert task.cancelling() == 0

    in_scope(body)


def test_a_scope_can_leave_alone_a_task_that_is_being_cancelled():
    async def body(scope, task):
        task.cancel()
        error = await caught()
        scope.cancel_unless_cancelled()
        await asyncio.sleep(0)  # A second cancellation would strike the cleanup here.
        assert await scope.close(error) is error
        scope = _asyncio.AsyncioScope().open()
        scope.cancel_unless_cancelled()  # Cancelled long ago is not being cancelled now.
        assert await scope.close(await caught()) is None

    in_scope(body)


# --- cancelled is a level ------------------------------------------------------------------------

async def waits():
    """Did the wait raise?"""
    return await caught() is not None


def count_turns():
    """An iterator that says how often the loop has gone round since."""
    loop = asyncio.get_running_loop()
    run_once, turns = loop._run_once, 0

    def count():
        nonlocal turns
        turns += 1
        run_once()

    loop._run_once = count
    while True:
        yield turns


def run(main):
    return asyncio.run(asyncio.wait_for(main(), 10))


def test_every_wait_raises_until_control_leaves_the_scope():
    async def main():
        with _asyncio.AsyncioScope() as scope:
            scope.cancel()
            began = time.monotonic()
            assert [await waits() for _ in range(5)] == [True] * 5
            assert time.monotonic() - began < 0.5
            with pytest.raises(asyncio.CancelledError):
                await asyncio.sleep(0)
            with pytest.raises(asyncio.CancelledError):
                await asyncio.get_running_loop().create_future()
        assert not scope.cancelled_caught  # Everything was swallowed.
        await asyncio.sleep(0)
        assert asyncio.current_task().cancelling() == 0

    run(main)


def test_a_loop_that_ignores_its_cancellation_does_not_take_the_processor():
    async def main():
        times = 0
        with _asyncio.AsyncioScope() as scope:
            scope.cancel()
            until = time.monotonic() + 0.3
            while time.monotonic() < until:
                try:
                    await asyncio.sleep(10)
                except asyncio.CancelledError:
                    times += 1
        assert 10 < times < 40, times

    run(main)


def test_a_task_group_that_waits_for_its_tasks_does_not_take_the_processor():
    async def slow():
        try:
            await asyncio.sleep(10)
        finally:
            await asyncio.sleep(0.2)

    async def main():
        with _asyncio.AsyncioScope() as scope:
            asyncio.get_running_loop().call_later(0.02, scope.cancel)
            turns = count_turns()
            next(turns)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(slow())
        assert scope.cancelled_caught
        assert next(turns) < 60

    run(main)


def test_a_shielded_wait_does_not_take_the_processor(guest):
    async def endpoint():
        token = guest.adapter.new_wait()
        with _asyncio.AsyncioScope() as scope:
            scope.cancel()
            turns = count_turns()
            next(turns)
            await token.wait_shielded(0.2)
        return next(turns)

    guest.serve(1, endpoint())
    guest.native.post(guest.stop)
    turns, error = guest.run()[1]
    assert error is None and turns < 6, (turns, error)


def test_a_task_that_is_waited_for_is_told_once():
    told = 0

    async def inner():
        nonlocal told
        for _ in range(5):
            try:
                await asyncio.sleep(0.02)
            except asyncio.CancelledError:
                told += 1
        return 'done'

    async def main():
        with _asyncio.AsyncioScope() as scope:
            task = asyncio.create_task(inner())
            asyncio.get_running_loop().call_later(0.01, scope.cancel)
            assert await task == 'done'
            assert await waits()  # And here it is found waiting again.
        assert told == 1

    run(main)


def test_a_shield_keeps_out_the_scopes_around_it_and_not_its_own_cancellation():
    async def main():
        with _asyncio.AsyncioScope() as outer:
            with _asyncio.AsyncioScope(shield=True) as shield:
                outer.cancel()
                await asyncio.sleep(0.01)
                assert asyncio.current_task().cancelling() == 0
                shield.cancel()
                await asyncio.sleep(10)
            assert shield.cancelled_caught
            await asyncio.sleep(10)
        assert outer.cancelled_caught

    run(main)


def test_a_shield_can_be_lifted():
    async def main():
        with _asyncio.AsyncioScope() as outer:
            outer.cancel()
            with _asyncio.AsyncioScope(shield=True) as shield:
                await asyncio.sleep(0)
                shield.shield = False
                await asyncio.sleep(10)
            raise AssertionError
        assert outer.cancelled_caught and not shield.cancelled_caught

    run(main)


def test_an_inner_scope_does_not_absorb_what_an_outer_one_is_cancelled_for():
    async def main():
        with _asyncio.AsyncioScope() as outer:
            with _asyncio.AsyncioScope() as inner:
                outer.cancel()
                inner.cancel()
                await asyncio.sleep(10)
            raise AssertionError
        assert outer.cancelled_caught and not inner.cancelled_caught
        assert asyncio.current_task().cancelling() == 0

    run(main)


def test_scopes_may_be_left_in_another_order():
    async def main():
        one, two = _asyncio.AsyncioScope(), _asyncio.AsyncioScope()
        one.open()
        two.open()
        one.__exit__(None, None, None)
        two.cancel()
        assert two.__exit__(asyncio.CancelledError, await caught(), None)
        await asyncio.sleep(0)

    run(main)


@pytest.mark.parametrize('first', ['group', 'scope'])
def test_a_scope_around_a_task_group_leaves_the_groups_errors_to_it(first):
    async def fail():
        raise ValueError

    async def main():
        with _asyncio.AsyncioScope() as scope:
            with pytest.raises(ExceptionGroup):
                async with asyncio.TaskGroup() as tasks:
                    if first == 'scope':
                        scope.cancel()
                    tasks.create_task(fail())
                    await asyncio.sleep(10)
            assert asyncio.current_task().cancelling() == (first == 'scope')
            if first == 'group':
                await asyncio.sleep(0.01)
            else:
                assert await waits()
        assert asyncio.current_task().cancelling() == 0

    run(main)


def test_a_scope_inside_a_task_group_lets_the_groups_cancellation_through():
    async def fail():
        raise ValueError

    async def main():
        with pytest.raises(ExceptionGroup) as caught_group:
            async with asyncio.TaskGroup() as tasks:
                with _asyncio.AsyncioScope() as scope:
                    tasks.create_task(fail())
                    await asyncio.sleep(10)
                raise AssertionError
        assert isinstance(caught_group.value.exceptions[0], ValueError)
        assert not scope.cancelled_caught
        assert asyncio.current_task().cancelling() == 0

    run(main)


def test_a_task_group_in_a_shield_of_a_cancelled_scope_works_as_ever():
    async def fail():
        raise ValueError

    async def main():
        with _asyncio.AsyncioScope() as scope:
            scope.cancel()
            with _asyncio.AsyncioScope(shield=True):
                with pytest.raises(ExceptionGroup):
                    async with asyncio.TaskGroup() as tasks:
                        tasks.create_task(fail())
                        await asyncio.sleep(10)
                await asyncio.sleep(0.01)
            assert await waits()

    run(main)


def test_a_timeout_inside_a_scope_is_a_timeout():
    async def main():
        with _asyncio.AsyncioScope() as scope:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await asyncio.sleep(10)
            await asyncio.sleep(0)
        assert not scope.cancelled_caught

    run(main)


def test_a_scope_that_is_cancelled_inside_a_timeout_is_no_timeout():
    async def main():
        async with asyncio.timeout(1) as timeout:
            with _asyncio.AsyncioScope() as scope:
                scope.cancel()
                await asyncio.sleep(10)
            assert scope.cancelled_caught
            await asyncio.sleep(0.01)
        assert not timeout.expired()

    run(main)


def test_a_timeout_around_a_scope_goes_through_it_even_when_both_are_cancelled():
    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(None) as timeout:
                with _asyncio.AsyncioScope() as scope:
                    timeout.reschedule(0)
                    asyncio.get_running_loop().call_soon(scope.cancel)
                    await asyncio.sleep(10)
                raise AssertionError
        assert asyncio.current_task().cancelling() == 0

    run(main)


def test_the_scope_around_an_expired_timeout_has_the_last_word():
    async def main():
        with _asyncio.AsyncioScope() as scope:
            async with asyncio.timeout(None) as timeout:
                scope.cancel()
                await asyncio.sleep(0.01)
                timeout.reschedule(0)
            raise AssertionError
        assert scope.cancelled_caught
        assert asyncio.current_task().cancelling() == 0

    run(main)


def test_ctrl_c_leaves_asyncio_run_through_a_cancelled_scope_as_keyboard_interrupt():
    async def main():
        with _asyncio.AsyncioScope() as scope:
            scope.cancel()
            with _asyncio.AsyncioScope(shield=True):
                os.kill(os.getpid(), signal.SIGINT)
                await asyncio.sleep(10)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())


def test_ctrl_c_that_a_scope_must_not_absorb():
    async def main():
        with _asyncio.AsyncioScope() as scope:
            os.kill(os.getpid(), signal.SIGINT)
            scope.cancel()
            await asyncio.sleep(10)
        raise AssertionError

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())


def test_a_cancelled_call_stays_cancelled_and_a_shielded_wait_in_it_is_left_alone(guest):
    async def endpoint():
        assert await waits() and await waits()
        token = guest.adapter.new_wait()
        asyncio.get_running_loop().call_later(0.05, token.settle, 1, None)
        before = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await token.wait_shielded()
        assert token.settled and time.monotonic() - before > 0.04
        assert await waits()
        with _asyncio.AsyncioScope(shield=True):
            await asyncio.sleep(0.01)
        return await asyncio.sleep(10)

    guest.serve(1, endpoint())
    guest.later(lambda: guest.adapter.cancel_call(1), lambda: guest.adapter.cancel_call(1),
                guest.stop)
    assert isinstance(guest.run()[1][1], asyncio.CancelledError)
