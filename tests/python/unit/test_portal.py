# SPDX-License-Identifier: Apache-2.0
"""What a portal promises: how calls are named, what they raise, and how they are cancelled."""
import asyncio
import functools

import coppice
import pytest
from coppice import _portal
from fake_coppice import GONE, HOLD


def double(x, factor=2, *, note=''): return x * factor


async def adouble(x): return 2 * x


def only_positional(x, /, y): return x


def any_number(*numbers): return numbers


@functools.wraps(double)
def wrapped(*args, **kwargs): return double(*args, **kwargs)


@pytest.fixture
def portal_test(run, native):
    """Runs a test body with a portal to an actor 'a' that has these endpoints."""
    def start(body, **plan):
        native.plan('a', **plan)

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('a')
                await body(portal)
                await an.cancel()
        run(main)
        return native.actor('a')
    return start


def name(function):
    return f'{__name__}:{function}'


def test_a_function_is_called_by_reference_by_name_and_by_two_strings(portal_test):
    async def body(portal):
        assert await portal.run(double, x=21) == 42
        assert await portal.run(adouble, x=4) == 8
        assert await portal.run('there:double', x=1) == 2
        assert await portal.run('there', 'double', x=2) == 4
        assert await portal.run_from_ns('there', 'double', x=3) == 6

    portal_test(body, endpoints={name('double'): double, name('adouble'): lambda x: 2 * x,
                                 'there:double': double})


def test_arguments_may_be_called_func_self_ns_and_args(portal_test):
    async def body(portal):
        await portal.run('m:f', func=1, self=2, ns=3, args=4, fn_name=5, function_name=6)
        await portal.run_from_ns('m', 'f', func=1, self=2, ns=3, function_name=4)

    actor = portal_test(body, endpoints={'m:f': lambda **kwargs: None})
    assert actor.served[0].kwargs == dict(func=1, self=2, ns=3, args=4, fn_name=5, function_name=6)


def test_positional_arguments_get_the_names_of_the_parameters(portal_test):
    async def body(portal):
        assert await portal.run(double, 4) == 8
        assert await portal.run(double, 4, 3, note='x') == 12
        assert await portal.run(wrapped, 4, 5) == 20

    actor = portal_test(body, endpoints={name('double'): double, name('wrapped'): double})
    assert actor.served[1].kwargs == dict(x=4, factor=3, note='x')
    assert actor.served[2].kwargs == dict(x=4, factor=5)


@pytest.mark.parametrize('arguments, error', [
    ((double, 1, 2, 3), r'2 parameters with a name, and 3 arguments'),
    ((any_number, 1), r'only named ones travel'),
    ((only_positional, 1), r'take no name, before the /'),
    (('m:f', 1), 'named arguments only'),
    (('m', 'f', 1), 'a function\'s name is written'),
    (('no_colon',), "a function's name is written 'module:function'"),
    (('a:b:c',), "'module:function'"),
    ((lambda: 1,), 'at the top level of a module'),
    ((str.upper,), 'takes a function|top level'),
    ((7,), "takes a function or 'module:function'"),
])
def test_a_call_that_cannot_be_named_is_refused_here(portal_test, arguments, error):
    async def body(portal):
        with pytest.raises((TypeError, ValueError), match=error):
            await portal.run(*arguments)

    actor = portal_test(body)
    assert not actor.served


def test_an_argument_given_twice_is_refused_here(portal_test):
    async def body(portal):
        with pytest.raises(TypeError, match='got x twice'):
            await portal.run(double, 1, x=2)

    portal_test(body)


def test_a_function_of_the_main_script_is_named_main_in_every_actor(portal_test, monkeypatch):
    def in_child(): pass
    in_child.__module__ = '__mp_main__'
    in_child.__qualname__ = 'in_child'

    async def body(portal):
        assert await portal.run(in_child) == 'ok'
        assert await portal.run('__mp_main__:in_child') == 'ok'

    portal_test(body, endpoints={'__main__:in_child': lambda: 'ok'})


def test_an_argument_that_cannot_travel_is_a_type_error_here(portal_test):
    async def body(portal):
        with pytest.raises(TypeError, match='x cannot travel'):
            await portal.run(double, x=object())

    portal_test(body)


def test_a_remote_error_arrives_whole(portal_test):
    def fail(): raise ValueError('boom')

    async def body(portal):
        with pytest.raises(coppice.RemoteActorError) as error:
            await portal.run('m:fail')
        assert error.value.boxed_type is ValueError
        assert error.value.message == 'boom'
        assert error.value.src_uid == portal.uid
        assert error.value.relay_path == [portal.uid]

    portal_test(body, endpoints={'m:fail': fail})


def test_a_dead_actor_raises_at_once(portal_test, native):
    async def body(portal):
        await portal.cancel_actor()
        before = len(native.actor('a').served)
        with pytest.raises(coppice.ActorDied, match="actor 'a' was stopped: returned") as error:
            await portal.run(double, x=1)
        assert error.value.report.rung == 'asked'
        assert error.value.uid == portal.uid
        assert len(native.actor('a').served) == before
        assert not portal.is_alive()
        assert not portal.chan.connected()

    portal_test(body)


def test_cancel_actor_returns_how_it_ended_and_is_true(portal_test):
    async def body(portal):
        assert portal.is_alive()
        report = await portal.cancel_actor()
        assert report
        assert report == coppice.ExitReport('asked', 'returned', 0, 0.001, 'returned')
        assert await portal.cancel_actor() is report  # Once more is no error.

    portal_test(body)


def test_a_timeout_of_cancel_actor_bounds_the_whole_ladder(portal_test):
    async def body(portal):
        await portal.cancel_actor(timeout=0.25)

    actor = portal_test(body)
    assert actor.stops[0] == pytest.approx((0.125 / 3, 0.0125 / 3, 0.25 / 3, 0.125, 0.25, True))


def test_a_portal_says_whom_it_leads_to(portal_test, native):
    async def body(portal):
        assert portal.uid == portal.chan.uid == portal.channel.uid == ('a', native.actor('a').uuid)
        assert portal.start_method == 'subint'
        assert 'auto' in portal.start_reason
        assert "'a'" in repr(portal)

    portal_test(body)


def test_a_cancelled_call_is_cancelled_there_and_waited_for(portal_test, native):
    async def body(portal):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await portal.run('m:f')
        (call,) = native.actor('a').served
        assert call.cancelled
        assert not native.requests
        assert asyncio.current_task().cancelling() == 0

    portal_test(body)


def test_a_cancelled_call_that_does_not_end_is_stuck(portal_test, native, monkeypatch):
    monkeypatch.setattr(_portal, 'CANCEL_WITHIN', 0.05)

    async def body(portal):
        task = asyncio.create_task(portal.run('m:f'))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.sleep(0.01)
        task.cancel()  # Once more does not shorten the wait, nor does it prolong it.
        with pytest.raises(coppice.CallStuck, match="m:f in actor 'a' was cancelled") as error:
            await task
        assert error.value.uid == portal.uid
        assert isinstance(error.value.cancelled, asyncio.CancelledError)
        assert native.forgotten == [1]
        assert portal.is_alive()

    portal_test(body, on_cancel='ignore')


def test_a_stuck_call_of_an_actor_that_ends_with_the_block_is_the_cancellation_again(
        run, native, monkeypatch):
    monkeypatch.setattr(_portal, 'CANCEL_WITHIN', 0.05)
    native.plan('a', on_cancel='ignore')

    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                async with coppice.open_nursery() as an:
                    await (await an.start_actor('a')).run('m:f')

    run(main)
    assert native.actor('a').ended


def test_an_error_raised_while_a_call_is_cancelled_is_not_swallowed(portal_test, native):
    async def body(portal):
        task = asyncio.create_task(portal.run('m:f'))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.sleep(0.01)
        (call,) = native.actor('a').served
        call.reply(error=native.remote(OSError('while cleaning up'), call.actor))
        with pytest.raises(coppice.RemoteActorError, match='while cleaning up'):
            await task

    portal_test(body, on_cancel='ignore')


@pytest.mark.parametrize('kind', ['CancelledError', 'Interrupted', 'Cancelled'])
def test_what_unwinding_raises_there_is_the_cancellation_here(portal_test, native, kind):
    async def body(portal):
        task = asyncio.create_task(portal.run('m:f'))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.sleep(0.01)
        (call,) = native.actor('a').served
        call.reply(error=native.make('remote', {'type': kind, 'source_type': kind}))
        with pytest.raises(asyncio.CancelledError):
            await task

    portal_test(body, on_cancel='ignore')


def test_an_end_of_the_actor_while_a_call_is_cancelled_is_the_cancellation(portal_test, native):
    async def body(portal):
        task = asyncio.create_task(portal.run('m:f'))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.sleep(0.01)
        native.actor('a').end(*GONE)
        with pytest.raises(asyncio.CancelledError):
            await task

    portal_test(body, on_cancel='ignore')


def test_a_value_that_comes_after_the_cancellation_does_not_undo_it(portal_test, native):
    async def body(portal):
        task = asyncio.create_task(portal.run('m:f'))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.sleep(0.01)
        native.actor('a').served[0].reply(7)
        with pytest.raises(asyncio.CancelledError):
            await task

    portal_test(body, on_cancel='ignore')


def test_an_error_that_had_arrived_before_the_cancellation_is_raised(portal_test, native):
    async def body(portal):
        task = asyncio.create_task(portal.run('m:f'))
        await asyncio.sleep(0.01)
        call = native.actor('a').served[0]
        call.reply(error=native.remote(ValueError('first'), call.actor))
        native.drain()
        task.cancel()
        with pytest.raises(coppice.RemoteActorError, match='first'):
            await task

    portal_test(body)


def test_a_call_to_an_actor_that_is_being_stopped_is_left_at_once(run, native):
    # Its nursery waits for the whole actor: waiting for one call of it first would only add up.
    native.plan('a', on_cancel='ignore', on_stop='ignore')

    async def main():
        async with coppice.open_nursery() as an:
            portal = await an.start_actor('a')
            other = await an.start_actor('b')
            loop = asyncio.get_running_loop()
            loop.call_later(0.01, native.actor('b').end)
            started = None
            try:
                await portal.run('m:f')
            except asyncio.CancelledError:
                started = loop.time()
                assert not native.actor('a').served[0].cancelled
                assert native.forgotten == [1]
                native.actor('a').end(*GONE, requested=True)
                raise
            finally:
                assert started is not None
            assert other

    with pytest.raises(coppice.ActorDied):
        run(main)


def test_calls_in_flight_are_independent(portal_test, native):
    async def body(portal):
        calls = [asyncio.create_task(portal.run('m:f', n=n)) for n in range(5)]
        await asyncio.sleep(0.01)
        for call in reversed(native.actor('a').served):
            call.reply(call.kwargs['n'])
        assert await asyncio.gather(*calls) == list(range(5))

    portal_test(body, endpoints={'m:f': lambda n: HOLD})


def test_a_portal_used_without_an_actor_says_so(run, native):
    kept = []

    async def main():
        async with coppice.open_nursery() as an:
            kept.append(await an.start_actor('a'))
            await an.cancel()
        with pytest.raises(coppice.NoRuntime):
            await kept[0].run(double, x=1)

    run(main)


def test_an_actor_that_is_no_child_is_asked_to_end(run, native):
    async def main():
        async with coppice.open_nursery() as an:
            child = await an.start_actor('a')
            peer = coppice.Portal(child._live_link())
            assert peer.start_method == ''
            assert (await peer.cancel_actor()).rung == 'asked'
            (call,) = native.actor('a').served
            assert (call.ns, call.func) == ('self', 'cancel')
            native.actor('a').endpoints['self:cancel'] = lambda: HOLD
            with pytest.raises(TimeoutError, match="'a' was asked to end.* 0.01 s"):
                await peer.cancel_actor(timeout=0.01)
            await an.cancel()

    native.plan('a', endpoints={'self:cancel': lambda: True})
    run(main)
