# SPDX-License-Identifier: Apache-2.0
"""What a nursery of actors promises."""
import asyncio

import coppice
import pytest
from fake_coppice import GONE, HOLD

CRASHED = ('none', 'exited', 3, 0.0, 'exited with status 3')


def f(x=0): return x


async def sleep_forever():
    await asyncio.get_running_loop().create_future()


def test_the_first_nursery_opens_the_root_and_closes_it_again(run, native):
    async def main():
        assert native.uid is None
        async with coppice.open_nursery(name='oak', start_method='process', exit_linger=2):
            assert coppice.current_actor().uid == native.uid
            assert native.uid[0] == 'oak'
        assert native.uid is None

    run(main)
    assert native.closed == 1
    assert native.roots == [{'start_method': 'process', 'exit_linger': 2.0,
                             'stop': (0.5, 0.05, 1.0, 0.5, 3.0, True)}]


def test_an_inner_nursery_uses_the_root_that_is_open(run, native):
    async def main():
        async with coppice.open_nursery():
            async with coppice.open_nursery():
                pass
            assert native.uid is not None

    run(main)
    assert native.closed == 1


def test_the_root_stays_open_until_its_last_nursery_is_left(run, native):
    async def main():
        first_left = asyncio.Event()

        async def second(entered):
            async with coppice.open_nursery() as an:
                entered.set()
                await first_left.wait()
                await (await an.start_actor('late')).cancel_actor()

        async with asyncio.TaskGroup() as tasks:
            entered = asyncio.Event()
            async with coppice.open_nursery():
                tasks.create_task(second(entered))
                await entered.wait()
            assert native.uid is not None
            first_left.set()
        assert native.uid is None

    run(main)
    assert native.closed == 1


def test_roots_can_follow_one_another_in_one_loop_and_in_several(run, native):
    async def main():
        for _ in range(2):
            async with coppice.open_nursery() as an:
                await an.start_actor('a')
                await an.cancel()

    run(main)
    run(main)
    assert native.closed == 4


def test_a_block_left_normally_waits_until_its_actors_end(run, native):
    async def main():
        left = False

        async def leave():
            nonlocal left
            async with coppice.open_nursery() as an:
                await an.start_actor('a')
            left = True

        task = asyncio.create_task(leave())
        await asyncio.sleep(0.02)
        assert not left
        native.actor('a').end(*GONE)
        await task
        assert left

    run(main)
    assert native.actor('a').stops == []


def test_an_error_of_the_body_cancels_the_actors_and_comes_bare(run, native):
    async def main():
        async with coppice.open_nursery() as an:
            await an.start_actor('a')
            await an.start_actor('b')
            raise ValueError('body')

    with pytest.raises(ValueError, match='^body$'):
        run(main)
    assert [len(native.actor(name).stops) for name in 'ab'] == [1, 1]
    assert all(actor.ended for actor in native.actors.values())


def test_an_error_of_the_body_waits_for_the_actors_ends(run, native):
    native.plan('a', on_stop='ignore')

    async def main():
        async def fail():
            async with coppice.open_nursery() as an:
                await an.start_actor('a')
                raise ValueError('body')

        task = asyncio.create_task(fail())
        await asyncio.sleep(0.02)
        assert native.actor('a').stops == [None]
        assert not task.done()
        native.actor('a').end('forced', 'returned', 0, 0.1, '', requested=True)
        await task

    with pytest.raises(ValueError):
        run(main)


def test_an_actor_that_dies_unasked_cancels_the_body_and_its_siblings(run, native):
    caught = []

    async def main():
        async with coppice.open_nursery() as an:
            await an.start_actor('a')
            await an.start_actor('b')
            caught.append(an)
            native.actor('a').end()
            await sleep_forever()

    with pytest.raises(coppice.ActorDied, match="actor 'a' died: killed by SIGKILL") as error:
        run(main)
    assert error.value.report.how == 'signalled'
    assert error.value.report.status == 9
    assert error.value.uid == ('a', native.actor('a').uuid)
    assert native.actor('b').stops == [None]
    assert caught[0].cancelled_caught
    assert not caught[0].cancel_called


def test_an_actor_that_dies_while_the_block_waits_ends_the_block(run, native):
    async def main():
        async with coppice.open_nursery() as an:
            await an.start_actor('a')
            await an.start_actor('b')
            asyncio.get_running_loop().call_later(0.01, native.actor('a').end)

    with pytest.raises(coppice.ActorDied):
        run(main)
    assert native.actor('b').ended


def test_two_actors_that_die_are_a_group_in_the_order_of_their_deaths(run, native):
    async def main():
        async with coppice.open_nursery() as an:
            await an.start_actor('a')
            await an.start_actor('b')
            native.actor('b').end(*CRASHED)
            native.actor('a').end()
            await sleep_forever()

    with pytest.raises(ExceptionGroup) as error:
        run(main)
    assert [one.name for one in error.value.exceptions] == ['b', 'a']
    assert all(type(one) is coppice.ActorDied for one in error.value.exceptions)


def test_a_death_and_an_error_of_the_body_are_a_group(run, native):
    async def main():
        async with coppice.open_nursery() as an:
            await an.start_actor('a')
            native.actor('a').end()
            try:
                await sleep_forever()
            except asyncio.CancelledError:
                raise KeyError('while cleaning up') from None

    with pytest.raises(ExceptionGroup) as error:
        run(main)
    assert [type(one) for one in error.value.exceptions] == [coppice.ActorDied, KeyError]


def test_a_death_that_a_call_of_the_body_reported_is_told_once(run, native):
    native.plan('a', endpoints={f'{__name__}:f': HOLD})

    async def main():
        async with coppice.open_nursery() as an:
            portal = await an.start_actor('a')
            asyncio.get_running_loop().call_soon(native.actor('a').end)
            await portal.run(f)

    with pytest.raises(coppice.ActorDied) as error:
        run(main)
    assert error.value.uid[0] == 'a'


def test_a_death_that_a_group_of_the_body_reported_is_told_once(run, native):
    async def main():
        async with coppice.open_nursery() as an:
            portal = await an.start_actor('a')
            asyncio.get_running_loop().call_later(0.01, native.actor('a').end)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(portal.run(f))
                tasks.create_task(portal.run(f))

    with pytest.raises(ExceptionGroup) as error:
        run(main)
    assert {type(one) for one in error.value.exceptions} == {coppice.ActorDied}
    assert len(error.value.exceptions) == 2  # The two calls'; the nursery adds no third.


def test_a_body_that_handles_the_error_of_its_call_sees_it_before_it_is_cancelled(run, native):
    seen = []

    async def main():
        async with coppice.open_nursery() as an:
            portal = await an.start_actor('a')
            asyncio.get_running_loop().call_soon(native.actor('a').end)
            try:
                await portal.run(f)
            except coppice.ActorDied as error:
                seen.append(error)
            await sleep_forever()

    with pytest.raises(coppice.ActorDied):
        run(main)
    assert len(seen) == 1


def test_an_end_that_somebody_asked_for_is_no_failure(run, native):
    native.plan('a', on_stop=('interrupted', 'signalled', 15, 0.5, 'killed by SIGTERM'))
    native.plan('b', on_stop=('abandoned', 'abandoned', 0, 3.0, 'in native code'))
    native.plan('c', on_stop=('forced', 'signalled', 9, 1.5, 'killed by SIGKILL'))
    native.plan('d', on_stop=('interrupted', 'exited', 1, 0.6, 'exited with status 1'))
    native.plan('e', on_stop=('asked', 'signalled', 2, 0.1, 'killed by SIGINT'))
    native.plan('f', on_stop=('asked', 'lost', 0, 0.1, 'status lost'))

    async def main():
        async with coppice.open_nursery() as an:
            a = await an.start_actor('a')
            b = await an.start_actor('b')
            for name in 'cdef':
                await an.start_actor(name)
            await an.cancel()
            assert an.cancel_called
            assert an.exits[a.uid].rung == 'interrupted'
            assert an.exits[b.uid].rung == 'abandoned'

    run(main)


@pytest.mark.parametrize('report', [('none', 'returned', 0, 0.0, ''),
                                    ('none', 'exited', 0, 0.0, '')])
def test_an_actor_that_ends_well_by_itself_is_no_failure(run, native, report):
    async def main():
        async with coppice.open_nursery() as an:
            await an.start_actor('a')
            native.actor('a').end(*report)

    run(main)


@pytest.mark.parametrize('report', [
    ('asked', 'exited', 3, 0.1, 'exited with status 3'), ('none', 'signalled', 9, 0.0, 'killed'),
    ('asked', 'signalled', 15, 0.0, 'killed'), ('interrupted', 'signalled', 9, 0.0, 'killed')])
def test_an_actor_that_crashes_while_it_is_cancelled_is_a_failure(run, native, report):
    native.plan('a', on_stop=report)

    async def main():
        async with coppice.open_nursery() as an:
            await an.start_actor('a')
            await an.cancel()

    with pytest.raises(coppice.ActorDied, match=report[4]):
        run(main)


def test_a_cancelled_body_cancels_the_actors_and_stays_cancelled(run, native):
    async def main():
        async def body():
            async with coppice.open_nursery() as an:
                await an.start_actor('a')
                await sleep_forever()

        task = asyncio.create_task(body())
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()

    run(main)
    assert native.actor('a').stops == [None]


def test_a_block_that_waits_for_its_actors_can_be_cancelled(run, native):
    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                async with coppice.open_nursery() as an:
                    await an.start_actor('a')
        assert asyncio.current_task().cancelling() == 0

    run(main)
    assert native.actor('a').ended


def test_a_cancellation_during_the_end_of_the_block_is_not_lost(run, native):
    native.plan('a', on_stop='ignore')

    async def main():
        async def body():
            async with coppice.open_nursery() as an:
                await an.start_actor('a')
                raise ValueError('first')

        task = asyncio.create_task(body())
        await asyncio.sleep(0.02)
        for _ in range(2):
            task.cancel()
            await asyncio.sleep(0.02)
            assert not task.done()  # It waits for its actor, cancelled or not.
        native.actor('a').end(*GONE, requested=True)
        with pytest.raises(ValueError):
            await task
        assert task.cancelling() == 2

    run(main)


def test_an_error_wins_over_a_cancellation_which_comes_again_at_the_next_checkpoint(run, native):
    native.plan('a', on_stop='ignore')
    came_again = []

    async def main():
        async def body():
            try:
                async with coppice.open_nursery() as an:
                    await an.start_actor('a')
                    raise ValueError('body')
            except ValueError:
                try:
                    await asyncio.sleep(0)
                except asyncio.CancelledError:
                    came_again.append(True)
                    raise

        task = asyncio.create_task(body())
        await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.sleep(0.02)
        native.actor('a').end(*GONE, requested=True)
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main)
    assert came_again


def test_a_death_and_a_cancellation_from_outside_together_lose_neither(run, native):
    async def main():
        async def body():
            async with coppice.open_nursery() as an:
                await an.start_actor('a')
                await sleep_forever()

        task = asyncio.create_task(body())
        await asyncio.sleep(0.02)
        native.actor('a').end()
        task.cancel()
        with pytest.raises(coppice.ActorDied):
            await task
        assert task.cancelling() == 1

    run(main)


def test_a_nursery_in_a_task_that_is_being_cancelled_counts_right(run, native):
    # A nursery in a cleanup handler: the cancellation that was there before it is not its own.
    async def main():
        died = []

        async def body():
            try:
                await sleep_forever()
            finally:
                try:
                    async with coppice.open_nursery() as an:
                        await an.start_actor('a')
                        native.actor('a').end()
                        await sleep_forever()
                except coppice.ActorDied as error:
                    died.append(error)
                await asyncio.sleep(0)  # No stray cancellation may be left.

        task = asyncio.create_task(body())
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(died) == 1
        assert task.cancelling() == 1

    run(main)


def test_a_body_that_ends_before_its_cancellation_arrives_leaves_none_behind(run, native):
    async def main():
        with pytest.raises(coppice.ActorDied):
            async with coppice.open_nursery() as an:
                await an.start_actor('a')
                native.actor('a').end()
                native.drain()  # The nursery knows; the body has not been told.
                an._scope.cancel()
        await asyncio.sleep(0)
        assert asyncio.current_task().cancelling() == 0

    run(main)


def test_cancel_stops_all_actors_and_lets_the_body_go_on(run, native):
    async def main():
        async with coppice.open_nursery() as an:
            for name in 'abc':
                await an.start_actor(name)
            await an.cancel()
            assert all(actor.ended for actor in native.actors.values())
            assert [report.rung for report in an.exits.values()] == ['asked'] * 3
            with pytest.raises(coppice.RuntimeFailure, match='its nursery is ending'):
                await an.start_actor('d')

    run(main)


def test_cancel_waits_for_all_actors_at_once(run, native):
    native.plan('a', on_stop='ignore')
    native.plan('b', on_stop='ignore')

    async def main():
        async with coppice.open_nursery() as an:
            await an.start_actor('a')
            await an.start_actor('b')
            cancelling = asyncio.create_task(an.cancel())
            await asyncio.sleep(0.01)
            assert [len(native.actor(name).stops) for name in 'ab'] == [1, 1]
            native.actor('b').end(*GONE, requested=True)
            await asyncio.sleep(0.01)
            assert not cancelling.done()
            native.actor('a').end(*GONE, requested=True)
            await cancelling

    run(main)


def test_a_hard_kill_does_not_ask_first(run, native):
    async def main():
        async with coppice.open_nursery() as an:
            await an.start_actor('a')
            await an.cancel(hard_kill=True)

    run(main)
    (policy,) = native.actor('a').stops
    assert policy[:2] == (0, 0)


def test_a_hard_kill_hurries_a_stop_that_is_under_way(run, native):
    native.plan('a', on_stop='ignore')

    async def main():
        async with coppice.open_nursery() as an:
            await an.start_actor('a')
            first = asyncio.create_task(an.cancel())
            await asyncio.sleep(0.01)
            second = asyncio.create_task(an.cancel(hard_kill=True))
            await asyncio.sleep(0.01)
            assert [policy is None for policy in native.actor('a').stops] == [True, False]
            native.actor('a').end(*GONE, requested=True)
            await first
            await second

    run(main)


def test_an_actor_that_does_not_come_up_is_the_error_of_start_actor_alone(run, native):
    native.plan('a', start=coppice.ActorFailure('no such module'))

    async def main():
        async with coppice.open_nursery() as an:
            with pytest.raises(coppice.ActorFailure, match='no such module'):
                await an.start_actor('a')
            portal = await an.start_actor('b')
            await portal.cancel_actor()

    run(main)


def test_an_actor_that_ends_before_it_has_started_is_a_failed_start(run, native):
    native.plan('a', start=CRASHED)

    async def main():
        async with coppice.open_nursery() as an:
            with pytest.raises(coppice.ActorFailure, match='exited with status 3') as error:
                await an.start_actor('a')
            assert error.value.report.status == 3

    run(main)


def test_a_cancelled_start_stops_the_actor_and_the_block_waits_for_it(run, native):
    native.plan('a', start='never', on_stop='ignore')

    async def main():
        async def body():
            async with coppice.open_nursery() as an:
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.01):
                        await an.start_actor('a')
                assert native.actor('a').stops == [None]

        task = asyncio.create_task(body())
        await asyncio.sleep(0.05)
        assert not task.done()
        failed = coppice.ActorFailure('x'), None
        native.post(lambda: native.actor('a').on_event('start_failed', failed))
        await task

    run(main)


def test_an_actor_that_was_stopped_while_it_started_is_among_the_exits(run, native):
    native.plan('a', start='never')
    failed = coppice.ActorFailure('x'), ('forced', 'returned', 0, 0.1, 'done')

    async def main():
        async with coppice.open_nursery() as an:
            starting = asyncio.create_task(an.start_actor('a'))
            await asyncio.sleep(0)
            native.post(lambda: native.actor('a').on_event('start_failed', failed))
            with pytest.raises(coppice.ActorFailure) as caught:
                await starting
            assert caught.value.report.rung == 'forced'
        assert [report.rung for report in an.exits.values()] == ['forced']

    run(main)


def test_a_block_can_be_entered_once(run, native):
    async def main():
        block = coppice.open_nursery()
        async with block:
            with pytest.raises(coppice.RuntimeFailure, match='opened before'):
                async with block:
                    pass

    run(main)


def test_keyboard_interrupt_leaves_as_it_is(native):
    async def main():
        async with coppice.open_nursery() as an:
            await an.start_actor('a')
            native.actor('a').end()
            try:
                await sleep_forever()
            except asyncio.CancelledError:
                raise KeyboardInterrupt from None

    with pytest.raises(KeyboardInterrupt) as error:
        asyncio.run(main())
    assert isinstance(error.value.__context__, coppice.ActorDied)


def test_a_terminals_ctrl_c_that_reaches_children_first_is_no_fault_of_theirs(run, native):
    async def main():
        async def body():
            async with coppice.open_nursery() as an:
                await an.start_actor('a')
                await sleep_forever()

        task = asyncio.create_task(body())
        await asyncio.sleep(0.01)
        native.actor('a').end('none', 'signalled', 2, 0.0, 'killed by SIGINT')
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main)


def test_a_nursery_outside_any_event_loop_says_how_to_start(native):
    with pytest.raises(coppice.RuntimeFailure, match='coppice.run'):
        coppice.open_nursery().__aenter__().send(None)


def test_a_nursery_in_an_event_loop_beside_the_actors_own_is_refused(run, native):
    async def other():
        async with coppice.open_nursery():
            pass

    async def main():
        async with coppice.open_nursery():
            await asyncio.to_thread(asyncio.run, other())

    with pytest.raises(coppice.RuntimeFailure, match='another event loop'):
        run(main)


def test_a_nursery_below_a_def_endpoint_is_refused_with_a_way_out(native):
    native.uid, native.parent = ('guest', 'u'), ('root', 'v')

    async def main():
        async with coppice.open_nursery():
            pass

    with pytest.raises(coppice.RuntimeFailure, match='async def'):
        asyncio.run(main())


def test_a_coroutine_closed_outside_its_loop_still_closes_the_root(native):
    async def main():
        async with coppice.open_nursery() as an:
            await an.start_actor('a')
            await sleep_forever()

    loop = asyncio.new_event_loop()
    coroutine = main()
    task = loop.create_task(coroutine)
    loop.call_later(0.02, loop.stop)
    loop.run_forever()
    assert native.uid is not None
    task._log_destroy_pending = False
    coroutine.close()
    assert native.uid is None
    assert native.actor('a').stops == [None]
    loop.close()


def test_an_async_generator_that_holds_a_nursery_can_be_closed(run, native):
    async def main():
        async def actors():
            async with coppice.open_nursery() as an:
                yield await an.start_actor('a')

        generator = actors()
        portal = await anext(generator)
        assert portal.uid[0] == 'a'
        await generator.aclose()
        assert native.actor('a').ended

    run(main)


def test_of_many_actors_that_have_ended_the_latest_are_remembered(run, native):
    async def main():
        async with coppice.open_nursery() as an:
            for n in range(1030):
                portal = await an.start_actor(f'a{n}')
                await portal.cancel_actor()
            assert len(an.exits) == 1024
            assert portal.uid in an.exits
            assert [uid[0] for uid in an.exits][0] == 'a6'
            assert an._restarts._places == []
            with pytest.raises(coppice.ActorDied):
                await an.portal('a6')
            with pytest.raises(LookupError):
                await an.portal('a5')

    run(main)


def test_of_several_of_one_name_that_one_counts_that_was_started_last(run, native):
    async def main():
        async with coppice.open_nursery() as an:
            first = await an.start_actor('twin')
            second = await an.start_actor('twin')
            assert (await an.portal('twin')).uid == second.uid
            await first.cancel_actor()
            assert (await an.portal('twin')).uid == second.uid
            third = await an.start_actor('twin')
            await third.cancel_actor()
            with pytest.raises(coppice.ActorDied):
                await an.portal('twin')
            await second.cancel_actor()

    run(main)
