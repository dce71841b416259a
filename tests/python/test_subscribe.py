# SPDX-License-Identifier: Apache-2.0
"""Streams that several tasks of one actor read, with real actors, on both event loops."""
from conftest import both_loops, every_transport

pytestmark = [both_loops, every_transport]

ENDPOINTS = '''
        import coppice
        import either

        @coppice.context
        async def count(ctx: coppice.Context, n):
            await ctx.started()
            async with ctx.open_stream() as stream:
                for i in range(n):
                    await stream.send(i)
'''


def test_local_task_fanout_from_stream(script):
    script(ENDPOINTS + '''
        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('source', enable_modules=[__name__])
                async with (portal.open_context(count, n=500) as (ctx, _),
                            ctx.open_stream() as stream):
                    subscriptions = [stream.subscribe() for _ in range(22)]
                    counts = []

                    async def consume(values):
                        async with values:
                            counts.append(sum([1 async for _ in values]))

                    tasks = [either.start(consume(values)) for values in subscriptions]
                    own = [value async for value in stream]
                    for task in tasks:
                        await task
                    assert own == list(range(500)) and counts == [500] * 22, counts
                await an.cancel()
        ''')


PUB_SUB = '''
        import itertools
        import coppice
        import either

        topics = {'even': set(), 'odd': set()}  # In the publisher: who wants what.
        seen = []                               # In a consumer.

        def get_seen(): return seen

        async def publish():
            for i in itertools.count():
                for stream in list(topics['odd' if i % 2 else 'even']):
                    await stream.send(i)
                await either.sleep(0.001)

        @coppice.context
        async def subscribe(ctx: coppice.Context):
            await ctx.started()
            async with ctx.open_stream() as stream:
                try:
                    async for wanted in stream:
                        for topic, streams in topics.items():
                            streams.discard(stream)
                            if topic in wanted:
                                streams.add(stream)
                        await stream.send('done')
                finally:
                    for streams in topics.values():
                        streams.discard(stream)

        async def consume(wanted, rounds_of=None):
            """For ever; with rounds_of, something else after as many values."""
            async with (coppice.wait_for_actor('publisher') as portal,
                        portal.open_context(subscribe) as (ctx, _), ctx.open_stream() as stream):
                while True:
                    await stream.send(wanted)
                    while await stream.receive() != 'done':
                        pass  # What was under way when we changed our mind.
                    for count in itertools.count(1):
                        value = await stream.receive()
                        assert ('odd' if value % 2 else 'even') in wanted, (value, wanted)
                        seen.append(value)
                        if count == rounds_of:
                            break
                    wanted = {'even': ['odd'], 'odd': ['even']}[wanted[0]]
'''


def test_dynamic_pub_sub(script):
    script(PUB_SUB + '''
        async def tree(user_leaves):
            async with coppice.open_nursery() as an:
                publisher = await an.start_actor('publisher', enable_modules=[__name__])
                consumers = [await an.start_actor(f'consumer_{i}', enable_modules=[__name__])
                             for i in range(3)]
                calls = [either.start(publisher.run(publish))]
                for portal, how in zip(consumers, (
                        {'wanted': ['even']}, {'wanted': ['even', 'odd']},
                        {'wanted': ['even'], 'rounds_of': 6}), strict=True):
                    calls.append(either.start(portal.run(consume, **how)))
                while True:
                    await either.sleep(0.02)
                    got = [await portal.run(get_seen) for portal in consumers]
                    assert not any(call.done() for call in calls)
                    if all(len(values) >= 30 for values in got):
                        assert {value % 2 for value in got[0]} == {0}
                        assert {value % 2 for value in got[1]} == {0, 1}
                        assert [value % 2 for value in got[2][:18]] == [0] * 6 + [1] * 6 + [0] * 6
                        if user_leaves:
                            raise KeyboardInterrupt
                        await either.sleep(1000)

        async def main():
            try:
                await tree(user_leaves=True)
            except KeyboardInterrupt:
                pass
            else:
                raise AssertionError
            with coppice.move_on_after(3) as scope:
                await tree(user_leaves=False)
            assert scope.cancelled_caught
        ''')


def test_a_subscription_begins_with_what_comes_next_and_ends_with_the_stream(script):
    script(ENDPOINTS + '''
        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('source', enable_modules=[__name__])
                async with portal.open_context(count, n=10) as (ctx, _):
                    async with ctx.open_stream() as stream:
                        assert [await stream.receive() for _ in range(3)] == [0, 1, 2]
                        async with stream.subscribe() as values:
                            assert await values.receive() == 3
                            assert await stream.receive() == 3
                            assert [value async for value in values] == list(range(4, 10))
                        assert await stream.receive() == 4
                    try:
                        stream.subscribe()
                    except coppice.ClosedResourceError:
                        pass
                    else:
                        raise AssertionError
                await an.cancel()
        ''')
