# SPDX-License-Identifier: Apache-2.0
"""One source, several tasks that each get every value: on both loops, over a source of the test's.
"""
import asyncio
from collections import deque

import coppice
import either
import pytest
import trio
from coppice import _loop


@pytest.fixture(params=['asyncio', 'trio'])
def adapted(request, native):
    """Runs `main(adapter)` in a root that is open, within a bound."""
    def run(main):
        async def opened():
            with coppice.fail_after(10):
                async with coppice.open_nursery():
                    return await main(_loop.require())
        return trio.run(opened) if request.param == 'trio' else asyncio.run(opened())
    return run


class Source:
    """Values that the test puts; an exception among them is raised."""

    def __init__(self, adapter, *values):
        self.values = deque(values)
        self.news = adapter.new_event()
        self.readers = 0

    def put(self, *values):
        self.values.extend(values)
        self.news.set()

    async def receive(self):
        self.readers += 1
        assert self.readers == 1, 'two tasks read the source'
        try:
            while not self.values:
                self.news.clear()
                await self.news.wait()
            value = self.values[0]
            if isinstance(value, Exception):
                raise value
            return self.values.popleft()
        finally:
            self.readers -= 1

    def receive_nowait(self):
        if not self.values:
            raise coppice.WouldBlock
        return self.values.popleft()


async def together(adapter, *functions):
    """Runs them as tasks, to their ends; returns their results."""
    results = [adapter.new_wait() for _ in functions]

    def task(function, result):
        async def main():
            try:
                value = await function()
            except BaseException as error:
                result.settle(None, error)
                if isinstance(error, adapter.cancelled):
                    raise
            else:
                result.settle(value, None)
        return main

    for function, result in zip(functions, results):
        adapter.start_task(task(function, result), 'test')
    return [await one.wait() for one in results]


def test_ten_consumers_get_every_value_in_order(adapted):
    async def main(adapter):
        source = Source(adapter)
        first = coppice.broadcast_receiver(source)
        subscriptions = [first, *(first.subscribe() for _ in range(9))]

        async def consume(values):
            return [await values.receive() for _ in range(1000)]

        async def produce():
            for n in range(1000):
                source.put(n)
                if n % 7 == 0:
                    await adapter.checkpoint()

        _, *got = await together(adapter, produce, *(
            lambda values=values: consume(values) for values in subscriptions))
        assert all(one == list(range(1000)) for one in got)
        assert not first._shared.kept, 'what everybody has taken is not kept'
        for one in subscriptions:
            await one.aclose()

    adapted(main)


def test_the_slow_one_is_told_how_much_it_missed_and_the_fast_one_misses_nothing(adapted):
    async def main(adapter):
        source = Source(adapter, *range(10))
        async with coppice.broadcast_receiver(source, max_buffer_size=4) as fast:
            async with fast.subscribe() as slow:
                assert [await fast.receive() for _ in range(10)] == list(range(10))
                with pytest.raises(coppice.Lagged, match='6 values were dropped') as raised:
                    await slow.receive()
                assert raised.value.missed == 6
                assert [await slow.receive() for _ in range(4)] == [6, 7, 8, 9]
                source.put(10)
                assert await slow.receive() == await fast.receive() == 10

    adapted(main)


def test_of_three_only_those_that_fall_behind_lag(adapted):
    async def main(adapter):
        source = Source(adapter, *range(600))
        first = coppice.broadcast_receiver(source, max_buffer_size=100)
        paces = {first: 1, first.subscribe(): 2, first.subscribe(): 3}
        lags = dict.fromkeys(paces, 0)
        for turn in range(600):
            for values, pace in paces.items():
                if turn % pace == 0:
                    try:
                        await values.receive()
                    except coppice.Lagged:
                        lags[values] += 1
        fast, *others = lags.values()
        assert fast == 0 and all(one >= 1 for one in others), lags

    adapted(main)


def test_without_raise_on_lag_it_is_a_warning(adapted):
    async def main(adapter):
        source = Source(adapter, *range(5))
        first = coppice.broadcast_receiver(source, max_buffer_size=2)
        async with first.subscribe(raise_on_lag=False) as slow:
            for _ in range(5):
                await first.receive()
            with pytest.warns(RuntimeWarning, match='3 values were dropped'):
                assert await slow.receive() == 3

    adapted(main)


def test_cancelling_the_task_that_reads_hands_the_source_over(adapted):
    async def main(adapter):
        source = Source(adapter)
        first = coppice.broadcast_receiver(source)
        second = first.subscribe()
        scopes = []

        async def reads():
            with coppice.CancelScope() as scope:
                scopes.append(scope)
                await first.receive()
                raise AssertionError
            return scope.cancelled_caught

        async def waits():
            return await second.receive()

        async def cancels():
            while source.readers == 0:
                await adapter.checkpoint()
            for _ in range(5):
                await adapter.checkpoint()
            scopes[0].cancel()
            while first._shared.reader is not second:
                await adapter.checkpoint()
            source.put(1)

        caught, value, _ = await together(adapter, reads, waits, cancels)
        assert caught and value == 1
        assert await first.receive() == 1, 'nor is the value lost to the one that was cancelled'

    adapted(main)


def test_a_fast_task_that_is_cancelled_does_not_stop_the_slow_one(adapted):
    async def main(adapter):
        source = Source(adapter, *range(1000))
        first = coppice.broadcast_receiver(source, max_buffer_size=1000)
        second = first.subscribe()

        async def fast():
            with coppice.CancelScope() as scope:
                async for value in first:
                    if value == 500:
                        scope.cancel()

        async def slow():
            async for value in second:
                await adapter.checkpoint()
                if value == 999:
                    return value

        assert await together(adapter, fast, slow) == [None, 999]

    adapted(main)


def test_the_end_and_the_errors_of_the_source_come_to_everybody(adapted):
    async def main(adapter):
        for end in (coppice.EndOfChannel('over'), ValueError('broken')):
            source = Source(adapter, 1, end)
            first = coppice.broadcast_receiver(source)
            second = first.subscribe()
            for one in (first, second):
                assert await one.receive() == 1
                with pytest.raises(type(end)):
                    await one.receive()
                if isinstance(end, coppice.EndOfChannel):
                    assert [value async for value in one] == []

    adapted(main)


def test_one_that_is_closed_takes_nothing_and_makes_no_other(adapted):
    async def main(adapter):
        source = Source(adapter, 1)
        first = coppice.broadcast_receiver(source)
        second = first.subscribe()
        async with first:
            assert await first.receive() == 1
        await first.aclose()
        for use in (first.receive, first.subscribe, first.receive_nowait):
            with pytest.raises(coppice.ClosedResourceError):
                made = use()
                await made
        assert [value async for value in first] == []
        assert await second.receive() == 1, 'the others go on'
        assert second._shared.receivers == {second}

    adapted(main)


def test_closing_wakes_who_waits_in_it(adapted):
    async def main(adapter):
        source = Source(adapter)
        first = coppice.broadcast_receiver(source)
        second = first.subscribe()

        async def reads(values):
            with pytest.raises(coppice.ClosedResourceError):
                await values.receive()

        async def closes():
            while source.readers == 0:
                await adapter.checkpoint()
            await first.aclose()
            await second.aclose()

        await together(adapter, lambda: reads(first), lambda: reads(second), closes)
        assert source.readers == 0

    adapted(main)


def test_what_is_there_is_taken_without_waiting(adapted):
    async def main(adapter):
        source = Source(adapter, 1)
        first = coppice.broadcast_receiver(source)
        second = first.subscribe()
        assert first.receive_nowait() == 1
        assert second.receive_nowait() == 1
        with pytest.raises(coppice.WouldBlock):
            first.receive_nowait()

    adapted(main)


def test_a_task_that_always_has_something_to_take_lets_others_run(adapted):
    async def main(adapter):
        source = Source(adapter, *range(1000))
        first = coppice.broadcast_receiver(source)
        second = first.subscribe()
        for _ in range(1000):
            second.receive_nowait()
        ran = []

        async def other():
            ran.append(1)

        async def takes():
            for _ in range(1000):
                await first.receive()
            return bool(ran)

        assert (await together(adapter, takes, other))[0]

    adapted(main)


def test_a_buffer_keeps_one_value_at_least_and_a_source_can_be_read(adapted):
    async def main(adapter):
        with pytest.raises(ValueError, match='max_buffer_size=0'):
            coppice.broadcast_receiver(Source(adapter), max_buffer_size=0)
        with pytest.raises(TypeError, match='has no receive'):
            coppice.broadcast_receiver(3)

        async def one():
            return 7

        async with coppice.broadcast_receiver(one) as values:
            assert await values.receive() == 7

    adapted(main)
