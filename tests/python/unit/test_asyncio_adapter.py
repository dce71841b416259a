# SPDX-License-Identifier: Apache-2.0
"""The asyncio adapter as the native half uses it in a guest: run(), spawn(), an actor's end."""
import asyncio

import coppice
import pytest
from coppice import _asyncio, _loop


class Guest:
    """Drives an adapter as a guest's native half does: events in, finish() out."""

    def __init__(self, native):
        self.native = native
        native.uid, native.parent = ('guest', 'u'), ('root', 'v')
        self.adapter = _loop.guest_loop('asyncio')

    def serve(self, call_id, coroutine):
        self.native.post(lambda: self.adapter.spawn(coroutine, call_id))

    def later(self, *events):
        """One event after the other, each in a turn of the loop of its own, with time between."""
        def next_one():
            if rest:
                asyncio.get_running_loop().call_later(0.01, next_one)
                rest.pop(0)()
        rest = list(events)
        self.native.post(next_one)

    def stop(self):
        self.adapter.stop()

    def cancel(self):
        self.adapter.cancel_all('its parent asked')

    def run(self):
        self.adapter.run()
        return {call: (value, error) for call, value, error in self.native.finished}


@pytest.fixture
def guest(native):
    return Guest(native)


async def answer(value):
    return value


async def sleeper(log=None):
    try:
        await asyncio.sleep(100)
    finally:
        if log is not None:
            log.append('unwound')


def test_the_loop_is_announced_and_drains_first(guest):
    assert guest.native.loop is guest.adapter
    guest.serve(1, answer(7))  # It was there before the loop ran.
    guest.native.post(guest.stop)
    assert guest.run() == {1: (7, None)}


def test_a_coroutine_that_does_not_suspend_is_finished_before_spawn_returns(guest):
    seen = []

    def event():
        guest.adapter.spawn(answer(7), 1)
        seen.extend(guest.native.finished)
        guest.stop()

    guest.native.post(event)
    guest.run()
    assert seen == [(1, 7, None)]


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


def test_an_error_is_finished_with_a_traceback_that_starts_in_the_endpoint(guest):
    async def fail():
        await asyncio.sleep(0)
        raise ValueError('boom')

    guest.serve(1, fail())
    guest.native.post(guest.stop)
    _, error = guest.run()[1]
    assert str(error) == 'boom'
    assert error.__traceback__.tb_frame.f_code.co_name == 'fail'


@pytest.mark.parametrize('kind', [SystemExit, KeyboardInterrupt, coppice.Interrupted])
def test_whatever_an_endpoint_raises_is_an_outcome_and_the_guest_goes_on(guest, kind):
    async def fail():
        await asyncio.sleep(0)
        raise kind

    guest.serve(1, fail())
    guest.later(lambda: guest.adapter.spawn(answer(2), 2), guest.stop)
    outcomes = guest.run()
    assert isinstance(outcomes[1][1], kind)
    assert outcomes[2] == (2, None)


def test_stop_waits_until_every_served_coroutine_has_ended(guest):
    async def slow():
        await asyncio.sleep(0.03)
        return 'done'

    guest.serve(1, slow())
    guest.native.post(guest.stop)
    assert guest.run() == {1: ('done', None)}


def test_one_call_is_cancelled_and_the_others_go_on(guest):
    log = []
    guest.serve(1, sleeper(log))
    guest.serve(2, answer(2))
    guest.later(lambda: guest.adapter.cancel_call(1), lambda: guest.adapter.cancel_call(99),
                guest.stop)
    outcomes = guest.run()
    assert isinstance(outcomes[1][1], asyncio.CancelledError)
    assert outcomes[2] == (2, None)
    assert log == ['unwound']


def test_the_end_of_the_actor_cancels_every_call_and_refuses_new_ones(guest):
    log = []
    guest.serve(1, sleeper(log))
    guest.serve(2, sleeper(log))
    guest.later(guest.cancel, lambda: guest.adapter.spawn(sleeper(log), 3), guest.stop)
    outcomes = guest.run()
    assert all(isinstance(outcomes[call][1], asyncio.CancelledError) for call in (1, 2, 3))
    assert log == ['unwound', 'unwound']


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


def test_async_generators_are_closed_when_the_loop_ends(guest):
    log = []
    keep = []

    async def numbers():
        try:
            yield 1
        finally:
            log.append('closed')

    async def use():
        keep.append(numbers())
        await anext(keep[0])

    guest.serve(1, use())
    guest.later(guest.stop)
    guest.run()
    assert log == ['closed']


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


def test_an_interruption_that_strikes_the_idle_loop_reaches_the_tasks_that_wait(guest):
    log = []

    async def stubborn():
        while True:
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                log.append('swallowed')

    def strike():
        raise coppice.Interrupted

    guest.serve(1, stubborn())
    guest.later(guest.cancel, guest.stop, strike)
    outcomes = guest.run()
    assert log
    assert isinstance(outcomes[1][1], coppice.Interrupted)


def test_run_ends_soon_after_an_interruption_whatever_tasks_do(guest, monkeypatch):
    monkeypatch.setattr(_loop, 'INTERRUPTED_END', 0.02)

    async def hopeless():
        while guest.native.loop is not None:  # For good, as far as the actor can tell.
            try:
                await asyncio.sleep(100)
            except BaseException:
                pass

    def strike():
        raise coppice.Interrupted

    guest.serve(1, hopeless())
    guest.later(guest.cancel, guest.stop, strike, strike, strike, strike)
    outcomes = guest.run()
    guest.native.loop = None
    assert isinstance(outcomes[1][1], coppice.Interrupted)


def test_an_interruption_for_a_call_that_has_just_ended_is_nothing(guest):
    def strike():
        raise coppice.Interrupted

    guest.later(strike, lambda: guest.adapter.spawn(answer(1), 1), guest.stop)
    assert guest.run() == {1: (1, None)}


def test_a_value_that_cannot_travel_is_an_error_of_the_call(guest):
    real = guest.native.finish
    guest.native.finish = lambda call, value, error: real(call, value, error) if (
        error is not None) else refuse()

    def refuse():
        raise TypeError('the result cannot travel')

    try:
        guest.serve(1, answer(object()))
        guest.later(guest.stop)
        assert isinstance(guest.run()[1][1], TypeError)
    finally:
        del guest.native.finish


def test_a_token_nobody_waits_on_is_tolerated(guest):
    async def wait_and_leave():
        token = guest.adapter.new_wait()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await token.wait()
        guest.adapter.settle(token, 1, None)
        guest.adapter.settle(token, 2, None)
        return await token.wait()

    guest.serve(1, wait_and_leave())
    guest.native.post(guest.stop)
    assert guest.run()[1] == (1, None)


def test_an_endpoint_may_open_a_nursery_without_opening_a_root(guest):
    async def endpoint():
        assert not coppice.current_actor().is_root
        async with coppice.open_nursery() as an:
            portal = await an.start_actor('grandchild')
            await portal.cancel_actor()
        return 'ok'

    guest.serve(1, endpoint())
    guest.native.post(guest.stop)
    assert guest.run()[1] == ('ok', None)
    assert guest.native.roots == []


def test_the_end_of_the_actor_reaches_all_its_nurseries_at_once(guest):
    log = []

    async def block(name):
        async with coppice.open_nursery() as an:
            await an.start_actor(name)
            try:
                await asyncio.sleep(100)
            finally:
                log.append(len(guest.native.actor(name).stops))  # Asked before the body unwound.

    async def endpoint():
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(block('a'))
            tasks.create_task(block('b'))

    guest.serve(1, endpoint())
    guest.later(lambda: None, guest.cancel, guest.stop)
    _, error = guest.run()[1]
    assert isinstance(error, asyncio.CancelledError)
    assert log == [1, 1]


def test_nothing_of_the_loop_is_left(guest):
    import os
    before = len(os.listdir('/proc/self/fd'))
    guest.serve(1, answer(1))
    guest.native.post(guest.stop)
    guest.run()
    assert len(os.listdir('/proc/self/fd')) == before
    assert _loop.current() is None


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


def test_other_loops_are_refused_with_one_sentence():
    with pytest.raises(ValueError, match="coppice knows 'asyncio' and 'trio'"):
        _loop.load('curio')
