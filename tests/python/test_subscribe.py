# SPDX-License-Identifier: Apache-2.0
"""Streams that several tasks of one actor read, with real actors, on both event loops."""
from conftest import both_loops

pytestmark = both_loops

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
