# SPDX-License-Identifier: Apache-2.0
"""What a nursery does about deaths: restarts, their limit, and who finds the new one."""
import asyncio
import copy
import functools

import coppice
import pytest
from fake_coppice import GONE, HOLD

NOW = {'pause': 0}
ONE = coppice.RestartPolicy('one_for_one', **NOW)
REST = coppice.RestartPolicy('rest_for_one', **NOW)


def opened(symbol='', depth=1): return symbol


def incarnations(native, name):
    return [actor for actor in native.actors.values() if actor.name == name]


async def alive(native, name, number):
    """The incarnation of that number, once it is the present one and up."""
    async with asyncio.timeout(5):
        while len(incarnations(native, name)) < number:
            await asyncio.sleep(0)
    return incarnations(native, name)[number - 1]


async def settle():
    for _ in range(30):
        await asyncio.sleep(0)


# --- which are started again ---------------------------------------------------------------------

def test_one_for_one_starts_the_dead_one_alone_with_what_it_was_started_with(run, native):
    async def main():
        async with coppice.open_nursery(restart=ONE) as an:
            first = await an.start_actor('a', enable_modules=['m'], gil='shared')
            await an.start_actor('b')
            native.actor('a').end()
            await alive(native, 'a', 2)
            second = await an.portal('a')
            assert second.uid != first.uid and second.uid[0] == 'a'
            assert not first.is_alive() and second.is_alive()
            old, new = incarnations(native, 'a')
            assert old.options == new.options
            assert len(incarnations(native, 'b')) == 1
            assert [an.restart_count(name) for name in 'abc'] == [1, 0, 0]
            assert an.exits[first.uid].how == 'signalled'
            await an.cancel()

    run(main)


def test_a_portal_belongs_to_one_incarnation(run, native):
    async def main():
        async with coppice.open_nursery(restart=ONE) as an:
            portal = await an.start_actor('a')
            native.actor('a').end()
            await alive(native, 'a', 2)
            await an.portal('a')
            with pytest.raises(coppice.ActorDied) as error:
                await portal.run('m:f')
            assert error.value.report.how == 'signalled'
            await an.cancel()

    run(main)


def test_one_whose_connection_is_lost_is_not_given(run, native):
    async def main():
        async with coppice.open_nursery(restart=ONE) as an:
            first = await an.start_actor('a')
            actor = native.actor('a')
            native.post(lambda: actor.on_event('lost', 'reset'))  # Calls have heard of it by now.
            await settle()
            asyncio.get_running_loop().call_later(0.02, actor.end)
            assert (await an.portal('a')).uid != first.uid
            await an.cancel()

    run(main)


def test_rest_for_one_stops_the_later_ones_in_reverse_and_starts_all_in_order(run, native):
    async def main():
        async with coppice.open_nursery(restart=REST) as an:
            for name in 'abcd':
                await an.start_actor(name)
            native.actor('b').end()
            await alive(native, 'd', 2)
            await settle()
            assert [list(native.actors.values())[n].name for n in range(4, 7)] == ['b', 'c', 'd']
            assert [an.restart_count(name) for name in 'abcd'] == [0, 1, 1, 1]
            assert [len(native.actor(name).stops) for name in 'abcd'] == [0, 0, 1, 1]
            ended = [name for name, _ in an.exits]
            assert ended == ['b', 'd', 'c']
            await an.cancel()

    run(main)


def test_without_a_policy_a_death_that_nobody_waits_for_fails_the_block(run, native):
    async def main():
        async with coppice.open_nursery() as an:
            await an.start_actor('a')
            native.actor('a').end()
            await asyncio.sleep(1000)

    with pytest.raises(coppice.ActorDied):
        run(main)
    assert len(native.actors) == 1


@pytest.mark.parametrize(('kind', 'report', 'restarted'), [
    ('transient', None, True), ('transient', GONE, False), ('permanent', None, True),
    ('permanent', GONE, True), ('temporary', None, False), ('temporary', GONE, False)])
def test_which_ends_lead_to_a_restart(run, native, kind, report, restarted):
    async def main():
        async with coppice.open_nursery(restart=ONE) as an:
            await an.start_actor('a', restart=kind)
            native.actor('a').end(*(report or ()))
            await settle()
            assert an.restart_count('a') == restarted
            await an.cancel()

    run(main)


def test_one_that_was_stopped_is_not_started_again(run, native):
    async def main():
        async with coppice.open_nursery(restart=ONE) as an:
            portal = await an.start_actor('a', restart='permanent')
            await portal.cancel_actor()
            await settle()
            with pytest.raises(coppice.ActorDied):
                await an.portal('a', within=5)

    run(main)
    assert len(native.actors) == 1


# --- the limit -----------------------------------------------------------------------------------

def test_at_the_limit_the_nursery_lives_one_more_is_too_much(run, native):
    policy = coppice.RestartPolicy('one_for_one', restarts_max=2, within=1000, **NOW)

    async def main():
        async with coppice.open_nursery(restart=policy) as an:
            await an.start_actor('a')
            await an.start_actor('b')
            for number in (1, 2):
                (await alive(native, 'a', number)).end()
                await settle()
            assert an.restart_count('a') == 2
            native.actor('b').end()  # It is the nursery's limit, not the actor's.
            await asyncio.sleep(1000)

    text = "more than 2 restarts within 1000 s; the last death: actor 'b' died: killed by SIGKILL"
    with pytest.raises(coppice.RestartLimitExceeded, match=text) as error:
        run(main)
    assert (error.value.name, error.value.restarts_max, error.value.within) == ('b', 2, 1000)
    assert isinstance(error.value.last_death, coppice.ActorDied)
    assert error.value.report.how == 'signalled'
    assert isinstance(error.value, coppice.ActorFailure)
    assert all(actor.ended for actor in native.actors.values())


def test_what_is_older_than_the_period_counts_no_more(run, native):
    policy = coppice.RestartPolicy('one_for_one', restarts_max=1, within=0.02, **NOW)

    async def main():
        async with coppice.open_nursery(restart=policy) as an:
            await an.start_actor('a')
            for number in range(1, 5):
                (await alive(native, 'a', number)).end()
                await asyncio.sleep(0.03)
            assert an.restart_count('a') == 4
            await an.cancel()

    run(main)


def test_two_deaths_at_once_are_two_restarts(run, native):
    async def main():
        async with coppice.open_nursery(restart=ONE) as an:
            await an.start_actor('a')
            await an.start_actor('b')
            native.actor('b').end()
            native.actor('a').end()
            await settle()
            assert (an.restart_count('a'), an.restart_count('b')) == (1, 1)
            await an.cancel()

    run(main)


def test_one_that_died_while_it_had_to_go_with_another_is_started_once(run, native):
    policy = coppice.RestartPolicy('rest_for_one', restarts_max=1, **NOW)

    async def main():
        async with coppice.open_nursery(restart=policy) as an:
            await an.start_actor('a')
            await an.start_actor('b')
            native.actor('a').end()
            native.actor('b').end()
            await settle()
            assert (an.restart_count('a'), an.restart_count('b')) == (1, 1)
            await an.cancel()

    run(main)


def test_the_pause_grows_up_to_its_longest():
    policy = coppice.RestartPolicy('one_for_one', pause=1, pause_factor=3, pause_longest=5)
    assert [policy.pause_before(n) for n in range(5)] == [1, 3, 5, 5, 5]
    assert coppice.RestartPolicy().pause_before(1_000_000) == 5


# --- init ----------------------------------------------------------------------------------------

def test_init_is_answered_by_every_incarnation_before_it_is_up(run, native):
    native.plan('a', endpoints={f'{__name__}:opened': HOLD})

    async def main():
        async with coppice.open_nursery(restart=ONE) as an:
            init = functools.partial(opened, 'EURUSD', depth=3)
            start = asyncio.create_task(an.start_actor('a', enable_modules=[__name__], init=init))
            await settle()
            assert not start.done()
            call, = native.actor('a').served
            assert call.kwargs == {'symbol': 'EURUSD', 'depth': 3}
            call.reply('ready')
            await start
            native.actor('a').end()
            second = await alive(native, 'a', 2)
            await settle()
            with pytest.raises(TimeoutError, match='was not up within 0.01 s: it is being restart'):
                await an.portal('a', within=0.01)
            second.served[0].reply('ready')
            assert (await an.portal('a')).uid[1] == second.uuid
            await an.cancel()

    run(main)


def test_an_init_that_fails_fails_the_first_start_and_nothing_is_left(run, native):
    def refuse():
        raise ValueError('no such symbol')

    native.plan('a', endpoints={'m:opened': refuse})

    async def main():
        async with coppice.open_nursery(restart=ONE) as an:
            with pytest.raises(coppice.RemoteActorError, match='no such symbol'):
                await an.start_actor('a', init='m:opened')
            assert native.actor('a').ended
            with pytest.raises(LookupError, match="no actor 'a' was started in this nursery"):
                await an.portal('a')

    run(main)
    assert len(native.actors) == 1


def test_an_actor_that_dies_in_its_init_has_failed_to_start(run, native):
    native.plan('a', endpoints={'m:opened': HOLD})

    async def main():
        async with coppice.open_nursery() as an:
            start = asyncio.create_task(an.start_actor('a', init='m:opened'))
            await settle()
            native.actor('a').end()
            with pytest.raises(coppice.ActorDied):
                await start
        return 'the nursery is none the worse'

    assert run(main)


def test_later_an_init_that_fails_is_a_death(run, native):
    policy = coppice.RestartPolicy('one_for_one', restarts_max=3, **NOW)

    async def main():
        async with coppice.open_nursery(restart=policy) as an:
            await an.start_actor('a', init='m:opened')

            def refuse():
                raise ValueError('no such symbol')

            native.plan('a', endpoints={'m:opened': refuse})
            native.actor('a').end()
            await asyncio.sleep(1000)

    native.plan('a', endpoints={'m:opened': lambda: 0})
    with pytest.raises(coppice.RestartLimitExceeded, match='no such symbol') as error:
        run(main)
    assert isinstance(error.value.last_death, coppice.RemoteActorError)
    assert len(native.actors) == 4


def test_an_init_that_does_not_end_fails_at_start_within(run, native):
    native.plan('a', endpoints={'m:opened': HOLD})

    async def main():
        async with coppice.open_nursery() as an:
            with pytest.raises(TimeoutError, match='its init m:opened did not end within 0.02 s'):
                await an.start_actor('a', init='m:opened', start_within=0.02)
            assert native.actor('a').ended

    run(main)


def test_an_init_that_cannot_be_named_is_refused_before_anything_is_started(run, native):
    async def main():
        async with coppice.open_nursery() as an:
            with pytest.raises(TypeError, match='at the top level of a module'):
                await an.start_actor('a', init=lambda: 0)
            with pytest.raises(ValueError, match="there is 'transient', 'permanent', 'temporary'"):
                await an.start_actor('a', restart='sometimes')

    run(main)
    assert not native.actors


# --- the end -------------------------------------------------------------------------------------

SLOW = coppice.RestartPolicy('one_for_one', pause=1000, pause_longest=1000)


def test_cancel_during_a_pause_ends_it(run, native):
    async def main():
        async with coppice.open_nursery(restart=SLOW) as an:
            await an.start_actor('a')
            native.actor('a').end()
            await settle()
            await an.cancel()

    run(main)
    assert len(native.actors) == 1


def test_an_error_of_the_body_during_a_pause_ends_it(run, native):
    async def main():
        async with coppice.open_nursery(restart=SLOW) as an:
            await an.start_actor('a')
            native.actor('a').end()
            await settle()
            raise KeyError('body')

    with pytest.raises(KeyError):
        run(main)
    assert len(native.actors) == 1


def test_a_block_left_normally_waits_for_a_restart_like_for_an_actor(run, native):
    policy = coppice.RestartPolicy('one_for_one', pause=0.02)

    async def main():
        async def leave():
            async with coppice.open_nursery(restart=policy) as an:
                await an.start_actor('a')
                native.actor('a').end()

        leaving = asyncio.create_task(leave())
        second = await alive(native, 'a', 2)
        await settle()
        assert not leaving.done()
        second.end(*GONE)
        await leaving

    run(main)


def test_a_cancellation_during_a_restart_stops_what_was_being_started(run, native):
    async def main():
        async def hold():
            async with coppice.open_nursery(restart=ONE) as an:
                await an.start_actor('a')
                native.plan('a', start='never')
                native.actor('a').end()
                await asyncio.sleep(1000)

        holding = asyncio.create_task(hold())
        second = await alive(native, 'a', 2)
        await settle()
        holding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await holding
        assert second.stops and second.ended

    run(main)


def test_a_death_while_the_nursery_ends_is_neither_restarted_nor_told(run, native):
    native.plan('a', on_stop='ignore')

    async def main():
        async with coppice.open_nursery(restart=ONE) as an:
            await an.start_actor('a')
            await an.start_actor('b')
            cancelling = asyncio.create_task(an.cancel())
            await settle()
            native.actor('a').end()
            await cancelling

    run(main)
    assert len(native.actors) == 2


def test_a_name_that_two_have_finds_the_one_started_last(run, native):
    async def main():
        async with coppice.open_nursery(restart=ONE) as an:
            first = await an.start_actor('a')
            second = await an.start_actor('a')
            assert (await an.portal('a')).uid == second.uid != first.uid
            await an.cancel()

    run(main)


# --- the policy ----------------------------------------------------------------------------------

@pytest.mark.parametrize(('options', 'what'), [
    ({'strategy': 'one_for_all'}, "'one_cancels_all', 'one_for_one', 'rest_for_one'"),
    ({'restarts_max': -1}, 'restarts_max=-1'), ({'restarts_max': 1.5}, 'restarts_max=1.5'),
    ({'within': 0}, 'within=0'), ({'pause': -1}, 'pause=-1'), ({'pause_factor': 0.5}, 'factor=0.5'),
    ({'pause_longest': float('inf')}, 'longest=inf')])
def test_a_policy_that_cannot_be_is_refused(options, what):
    with pytest.raises(ValueError, match=what):
        coppice.RestartPolicy(**options)


def test_a_policy_is_a_value():
    policy = coppice.RestartPolicy('rest_for_one', restarts_max=5)
    assert policy == coppice.RestartPolicy('rest_for_one', restarts_max=5) != ONE
    assert copy.replace(policy, within=60) == coppice.RestartPolicy('rest_for_one', restarts_max=5,
                                                                    within=60)
    assert "strategy='rest_for_one', restarts_max=5" in repr(policy)
