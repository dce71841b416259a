# SPDX-License-Identifier: Apache-2.0
"""coppice.CancelScope and its kin, and what adapters have for contexts, on both loops."""
import asyncio
import contextlib
import math

import coppice
import either
import pytest
import trio
from coppice import _loop


@pytest.fixture(params=['asyncio', 'trio'])
def loop(request):
    """Runs a coroutine function on a loop, within a bound."""
    async def bounded(main):
        with coppice.fail_after(10):
            return await main()
    if request.param == 'trio':
        return lambda main: trio.run(bounded, main)
    return lambda main: asyncio.run(bounded(main))


@pytest.fixture
def adapted(native, loop):
    """Runs `main(adapter)` in a root that is open."""
    def run(main):
        async def opened():
            async with coppice.open_nursery():
                return await main(_loop.require())
        return loop(opened)
    return run


def test_a_cancelled_scope_is_left_early_and_says_so(loop):
    async def main():
        with coppice.CancelScope() as scope:
            assert not scope.cancel_called
            scope.cancel()
            assert scope.cancel_called
            await either.sleep(10)
            raise AssertionError
        assert scope.cancelled_caught

    loop(main)


def test_a_scope_that_nobody_cancels_changes_nothing(loop):
    async def main():
        with coppice.CancelScope() as scope:
            await either.sleep(0)
        assert not scope.cancel_called and not scope.cancelled_caught
        with pytest.raises(ValueError), coppice.CancelScope():
            raise ValueError

    loop(main)


def test_a_scope_that_was_cancelled_before_it_is_entered_lets_nobody_wait(loop):
    async def main():
        scope = coppice.CancelScope()
        scope.cancel()
        with scope:
            await either.sleep(10)
            raise AssertionError
        assert scope.cancelled_caught

    loop(main)


def test_an_error_out_of_a_cancelled_scope_is_an_error(loop):
    async def main():
        with pytest.raises(ValueError):
            with coppice.CancelScope() as scope:
                scope.cancel()
                try:
                    await either.sleep(10)
                finally:
                    raise ValueError
        await either.sleep(0)

    loop(main)


def test_every_wait_in_a_cancelled_scope_raises(loop):
    async def main():
        times = 0
        with coppice.CancelScope() as scope:
            scope.cancel()
            for _ in range(3):
                try:
                    await either.sleep(10)
                except either.cancelled():
                    times += 1
            await either.sleep(10)
        assert times == 3 and scope.cancelled_caught

    loop(main)


def test_of_nested_scopes_the_soonest_deadline_counts(loop):
    async def main():
        with coppice.move_on_after(10) as outer, coppice.move_on_after(0.01) as inner:
            await either.sleep(5)
        assert inner.cancelled_caught and not outer.cancel_called
        with coppice.move_on_after(0.01) as outer, coppice.move_on_after(10) as inner:
            await either.sleep(5)
        assert outer.cancelled_caught and not inner.cancel_called

    loop(main)


def test_a_shield_keeps_out_the_deadline_around_it_until_it_ends(loop):
    async def main():
        log = []
        with coppice.move_on_after(0.01):
            with coppice.CancelScope(shield=True):
                await either.sleep(0.03)
                log.append('done')
            await either.sleep(5)
            log.append('not reached')
        assert log == ['done']

    loop(main)


def test_a_deadline_can_be_moved_both_ways(loop):
    async def main():
        with coppice.move_on_after(0.01) as scope:
            scope.deadline = math.inf
            await either.sleep(0.03)
            scope.deadline = coppice.current_time() - 1
            await either.sleep(5)
        assert scope.cancelled_caught

    loop(main)


def test_fail_after_raises_when_time_is_up_and_only_then(loop):
    async def main():
        with coppice.fail_after(5) as scope:
            await either.sleep(0)
        assert not scope.cancel_called
        late = trio.TooSlowError if either.on_trio() else TimeoutError
        with pytest.raises(late):
            with coppice.fail_after(0.01):
                await either.sleep(5)
        with pytest.raises(ValueError), coppice.fail_after(5):
            raise ValueError

    loop(main)


def test_the_effective_deadline_is_the_soonest_that_no_shield_keeps_out(loop):
    async def main():
        around = coppice.current_effective_deadline()
        assert around < math.inf  # The test's own bound.
        with coppice.move_on_after(1) as one:
            with coppice.move_on_after(2) as two:
                assert coppice.current_effective_deadline() == one.deadline
                two.shield = True
                assert coppice.current_effective_deadline() == two.deadline
            one.cancel()
            assert coppice.current_effective_deadline() == -math.inf
        assert coppice.current_effective_deadline() == around

    loop(main)


def test_on_trio_they_are_trios_own():
    async def main():
        assert isinstance(coppice.CancelScope(), trio.CancelScope)
        assert isinstance(coppice.move_on_after(1), trio.CancelScope)
        assert coppice.current_effective_deadline() == math.inf

    trio.run(main)


def test_where_no_loop_runs_a_scope_cannot_be_made():
    with pytest.raises(coppice.RuntimeFailure, match='trio.run'):
        coppice.CancelScope()


# --- what adapters have for contexts and streams ------------------------------------------------

def test_an_event_wakes_everybody_again_and_again(adapted):
    async def main(adapter):
        event, woken = adapter.new_event(), []

        async def reader(name):
            for _ in range(3):
                await event.wait()
                woken.append(name)
                event.clear()

        async def writer():
            for n in range(1, 4):
                await either.sleep(0.01)
                event.set()
                assert event.is_set()
                await either.sleep(0.01)
                assert len(woken) == 2 * n and not event.is_set()

        await either.together(lambda: reader('a'), lambda: reader('b'), writer)
        event.set()
        await event.wait()

    adapted(main)


def test_a_wait_for_an_event_can_be_cancelled_and_leaves_the_event_whole(adapted):
    async def main(adapter):
        event = adapter.new_event()
        with coppice.move_on_after(0.01) as scope:
            await event.wait()
        assert scope.cancelled_caught
        event.set()
        await event.wait()

    adapted(main)


def test_a_shielded_wait_ends_at_its_bound_and_raises_the_cancellation_at_its_end(adapted):
    async def main(adapter):
        token = adapter.new_wait()
        before = adapter.current_time()
        await token.wait_shielded(0.02)
        with coppice.CancelScope() as scope:
            scope.cancel()
            try:
                await token.wait_shielded(0.02)
            finally:
                assert adapter.current_time() - before > 0.035
            raise AssertionError
        assert scope.cancelled_caught and not token.settled
        token.settle(7, None)
        await token.wait_shielded()
        assert await token.wait() == 7

    adapted(main)


def test_a_scope_of_an_adapter_has_a_deadline_and_can_be_a_shield(adapted):
    async def main(adapter):
        scope = adapter.open_scope(deadline=adapter.current_time() + 0.01)
        try:
            await adapter.sleep(5)
        except adapter.cancelled as error:
            assert await scope.close(error) is None
        assert scope.cancel_called
        with coppice.CancelScope() as outer:
            outer.cancel()
            shield = adapter.open_scope(shield=True)
            await adapter.sleep(0)
            assert await shield.close(None) is None
            with pytest.raises(adapter.cancelled):
                await adapter.checkpoint()

    adapted(main)


def test_a_scope_of_an_adapter_gives_back_what_comes_from_outside_bare(adapted):
    async def main(adapter):
        with coppice.CancelScope() as outer:
            scope = adapter.open_scope()
            try:
                outer.cancel()
                await either.together(adapter.sleep_forever, adapter.sleep_forever)
            except BaseException as error:
                left = await scope.close(error)
            assert type(left) is adapter.cancelled
            raise left
        assert outer.cancelled_caught

    adapted(main)


def test_a_cancellation_can_be_raised_by_hand(adapted):
    async def main(adapter):
        error = await adapter.cancellation('enough')
        assert type(error) is adapter.cancelled
        await adapter.checkpoint()

    adapted(main)


def test_a_background_task_runs_beside_everything_and_can_be_cancelled(adapted):
    async def main(adapter):
        log = []

        async def relay():
            try:
                await adapter.sleep_forever()
            finally:
                log.append('ended')

        task = adapter.start_task(relay, 'a relay')
        await adapter.sleep(0.01)
        assert not log
        task.cancel()
        await adapter.sleep(0.01)
        assert log == ['ended']

    adapted(main)


def test_background_tasks_end_when_the_root_closes(adapted, loop):
    log = []

    async def main(adapter):
        async def relay():
            with contextlib.suppress(adapter.cancelled):
                await adapter.sleep_forever()
            log.append('ended')

        adapter.start_task(relay, 'a relay')
        await adapter.sleep(0.01)

    adapted(main)
    assert log == ['ended']


def test_a_background_task_that_fails_is_seen_and_ends_the_actor(adapted, native, capsys):
    async def main(adapter):
        async def relay():
            raise ValueError('ours')

        adapter.start_task(relay, 'a relay')
        with coppice.CancelScope():
            await adapter.sleep(0.05)

    with pytest.raises(BaseException) as left:
        adapted(main)
    assert type(left.value).__name__ in ('CancelledError', 'Cancelled')
    assert native.cancelled_self == ["its task 'a relay' failed: ValueError: ours"]
    assert 'ValueError: ours' in capsys.readouterr().err


def test_what_happens_to_a_dialog_is_handed_to_its_token(adapted):
    async def main(adapter):
        class Token:
            def on_dialog(self, what, value):
                seen.append((what, value))

        seen = []
        adapter.dialog(Token(), 'readable', 3)
        assert seen == [('readable', 3)]

    adapted(main)
