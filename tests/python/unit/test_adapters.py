# SPDX-License-Identifier: Apache-2.0
"""The adapters as the native half uses them in a guest: run(), spawn(), an actor's end."""
import ctypes
import os
import threading
import time

import coppice
import either
import pytest
import trio
from coppice import _loop


class Guest:
    """Drives an adapter as a guest's native half does: events in, finish() out."""

    def __init__(self, native, loop):
        self.native = native
        self.loop = loop
        native.uid, native.parent = ('guest', 'u'), ('root', 'v')
        self.adapter = _loop.guest_loop(loop)

    def serve(self, call_id, coroutine):
        self.native.post(lambda: self.adapter.spawn(coroutine, call_id))

    def later(self, *events):
        """One event after the other, with time between."""
        async def go():
            for event in events:
                self.native.post(event)
                await self.adapter.sleep(0.01)
        self.native.post(lambda: self.adapter.start_task(go, 'later'))

    def run_struck(self, gap=5):
        """Runs in a thread, which is interrupted wherever it is; again if it goes on after
        `gap`: what is struck while it unwinds may be left undone."""
        def run():
            try:
                self.adapter.run()
            except coppice.Interrupted:
                pass  # On its way out.

        began = threading.Event()
        self.native.post(lambda: self.later(began.set))
        guest = threading.Thread(target=run)
        guest.start()
        assert began.wait(10)
        guest.join(0.1)
        while guest.is_alive() and _loop.current() is not None:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(guest.ident), ctypes.py_object(coppice.Interrupted))
            os.eventfd_write(self.native.wake_fd(), 1)
            guest.join(gap)
        guest.join(10)
        assert not guest.is_alive()
        return self.outcomes()

    def stop(self):
        self.adapter.stop()

    def cancel(self):
        self.adapter.cancel_all('its parent asked')

    def run(self):
        self.adapter.run()
        return self.outcomes()

    def outcomes(self):
        outcomes = {}
        for call, value, error in self.native.finished:
            outcomes.setdefault(call, (value, error))  # The first one counts.
        return outcomes


@pytest.fixture(params=['asyncio', 'trio'])
def guest(request, native):
    return Guest(native, request.param)


def is_cancelled(error):
    return type(error).__name__ in ('CancelledError', 'Cancelled', 'Interrupted')


async def answer(value):
    return value


async def sleeper(log=None):
    try:
        await either.sleep(100)
    finally:
        if log is not None:
            log.append('unwound')


def test_the_loop_is_announced_and_drains_first(guest):
    assert guest.native.loop is guest.adapter
    guest.serve(1, answer(7))  # It was there before the loop ran.
    guest.native.post(guest.stop)
    assert guest.run() == {1: (7, None)}


def test_what_a_loop_finds_while_it_looks_is_taken_though_nothing_rings(native):
    guest = Guest(native, 'asyncio')
    native.unrung.append(guest.stop)
    guest.serve(1, answer(7))
    assert guest.run() == {1: (7, None)}


def test_a_coroutine_that_does_not_suspend_is_finished_before_spawn_returns_on_asyncio(native):
    guest, seen = Guest(native, 'asyncio'), []

    def event():
        guest.adapter.spawn(answer(7), 1)
        seen.extend(guest.native.finished)
        guest.stop()

    guest.native.post(event)
    guest.run()
    assert seen == [(1, 7, None)]


def test_an_error_is_finished_with_a_traceback_that_starts_in_the_endpoint(guest):
    async def fail():
        await either.sleep(0)
        raise ValueError('boom')

    guest.serve(1, fail())
    guest.native.post(guest.stop)
    _, error = guest.run()[1]
    assert str(error) == 'boom'
    assert error.__traceback__.tb_frame.f_code.co_name == 'fail'


@pytest.mark.parametrize('kind', [SystemExit, KeyboardInterrupt, coppice.Interrupted])
def test_whatever_an_endpoint_raises_is_an_outcome_and_the_guest_goes_on(guest, kind):
    async def fail():
        await either.sleep(0)
        raise kind

    guest.serve(1, fail())
    guest.later(lambda: guest.adapter.spawn(answer(2), 2), guest.stop)
    outcomes = guest.run()
    assert isinstance(outcomes[1][1], kind)
    assert outcomes[2] == (2, None)


def test_stop_waits_until_every_served_coroutine_has_ended(guest):
    async def slow():
        await either.sleep(0.03)
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
    assert is_cancelled(outcomes[1][1])
    assert outcomes[2] == (2, None)
    assert log == ['unwound']


def test_the_end_of_the_actor_cancels_every_call_and_refuses_new_ones(guest):
    log = []
    guest.serve(1, sleeper(log))
    guest.serve(2, sleeper(log))
    guest.later(guest.cancel, lambda: guest.adapter.spawn(sleeper(log), 3), guest.stop)
    outcomes = guest.run()
    assert all(is_cancelled(outcomes[call][1]) for call in (1, 2, 3))
    assert log == ['unwound', 'unwound']


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


def test_an_interruption_that_strikes_the_idle_loop_reaches_the_tasks_that_wait(guest):
    log = []

    async def stubborn():
        with coppice.CancelScope(shield=True):
            while True:
                try:
                    await either.sleep(100)
                except either.cancelled():
                    log.append('swallowed')
                except coppice.Interrupted:
                    log.append('interrupted')
                    raise

    guest.serve(1, stubborn())
    guest.later(guest.cancel, guest.stop)
    outcomes = guest.run_struck()
    assert log == ['interrupted']
    assert isinstance(outcomes[1][1], coppice.Interrupted)


def test_an_interruption_of_trio_reaches_the_tasks_of_a_call_innermost_first(native):
    guest, log = Guest(native, 'trio'), []

    async def wait(name):
        try:
            with coppice.CancelScope(shield=True):
                await either.sleep(100)
        except BaseException:
            log.append(name)
            raise

    async def endpoint():
        try:
            await either.together(lambda: wait('inner'), lambda: wait('inner'))
        finally:
            log.append('outer')

    guest.serve(1, endpoint())
    guest.later(guest.cancel, guest.stop)
    guest.run_struck()
    assert log == ['inner', 'inner', 'outer']


def test_what_trio_makes_of_an_interruption_is_an_interruption_of_the_call(native):
    async def endpoint():
        try:
            await either.sleep(100)
        except either.cancelled():
            try:
                raise coppice.Interrupted
            finally:
                raise RuntimeError('Cancel scope stack corrupted')

    guest = Guest(native, 'trio')
    guest.serve(1, endpoint())
    guest.later(guest.cancel, guest.stop)
    assert isinstance(guest.run()[1][1], coppice.Interrupted)


def test_run_ends_soon_after_an_interruption_whatever_tasks_do(guest, monkeypatch):
    monkeypatch.setattr(_loop, 'INTERRUPTED_END', 0.1)

    async def hopeless():
        while guest.native.loop is not None:  # For good, as far as the actor can tell.
            try:
                with coppice.CancelScope(shield=True):
                    await either.sleep(100)
            except BaseException:
                pass

    guest.serve(1, hopeless())
    guest.later(guest.cancel, guest.stop)
    outcomes = guest.run_struck()
    guest.native.loop = None
    assert isinstance(outcomes[1][1], coppice.Interrupted)


def test_an_interruption_ends_a_task_that_swallows_all_of_them(guest):
    async def swallow():
        while guest.native.loop is not None:
            try:
                await either.sleep(100)
            except BaseException:
                pass

    guest.serve(1, swallow())
    guest.later(guest.cancel, guest.stop)
    outcomes = guest.run_struck(gap=0.3)
    guest.native.loop = None
    assert isinstance(outcomes[1][1], coppice.Interrupted)


def test_a_task_of_trio_that_swallows_its_cancellations_does_not_take_the_processor(native):
    async def swallow():
        until = time.monotonic() + 1
        while time.monotonic() < until:
            try:
                await either.sleep(100)
            except either.cancelled():
                pass

    guest = Guest(native, 'trio')
    guest.serve(1, swallow())
    guest.later(guest.cancel, guest.stop)
    before = time.process_time()
    guest.run()
    assert time.process_time() - before < 0.7


def test_a_new_loop_runs_where_one_was_interrupted(guest):
    guest.serve(1, sleeper())
    guest.later(guest.cancel, guest.stop)
    guest.run_struck()
    again = Guest(guest.native, guest.loop)
    again.serve(2, answer(2))
    again.native.post(again.stop)
    assert again.run()[2] == (2, None)


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
            async with either.timeout(0.01):
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
    log, waiting = [], []

    async def block(name):
        async with coppice.open_nursery() as an:
            await an.start_actor(name)
            waiting.append(name)
            if len(waiting) == 2:
                guest.later(guest.cancel, guest.stop)
            try:
                await either.sleep(100)
            finally:
                log.append(len(guest.native.actor(name).stops))  # Asked before the body unwound.

    async def endpoint():
        await either.together(lambda: block('a'), lambda: block('b'))

    guest.serve(1, endpoint())
    _, error = guest.run()[1]
    assert is_cancelled(error)
    assert log == [1, 1]


def test_nothing_of_the_loop_is_left(guest):
    before = len(os.listdir('/proc/self/fd'))
    guest.serve(1, answer(1))
    guest.native.post(guest.stop)
    guest.run()
    assert len(os.listdir('/proc/self/fd')) == before
    assert _loop.current() is None
