# SPDX-License-Identifier: Apache-2.0
"""coppice.Buffer between real actors: shared within a process, bytes beyond it."""
from conftest import both_loops, guests_only

SHARED = '''
    import coppice
    import either

    SIZE = 8 << 20

    def address(block):
        """Where its bytes are; 0 of what is no Buffer."""
        return int(repr(block)[:-1].split()[-1], 16) if type(block) is coppice.Buffer else 0
'''


@guests_only
@both_loops
def test_guests_and_their_root_share_one_block(script):
    script(SHARED + '''
    def look(block, size):
        assert len(block) == size and memoryview(block)[-1] == 7
        return address(block)

    async def relay(peer, block):
        """From this guest to the next."""
        async with coppice.find_actor(peer) as portal:
            there = await portal.run(look, block=block, size=len(block))
        return [address(block), there, block]

    @coppice.context
    async def hold(ctx: coppice.Context, block):
        await ctx.started({'block': block, 'at': address(block)})
        async with ctx.open_stream() as stream:
            async for one in stream:
                await stream.send([address(one), one])
        return block

    async def main():
        block = coppice.Buffer(b'\\7' * SIZE)
        at = address(block)
        async with coppice.open_nursery() as an:
            first, second = [await an.start_actor(name, enable_modules=[__name__])
                             for name in ('first', 'second')]
            assert await first.run(look, block=block, size=SIZE) == at
            here, there, back = await first.run(relay, peer='second', block=block)
            assert here == there == address(back) == at, (at, here, there, back)
            async with second.open_context(hold, block=block) as (ctx, started):
                assert started['at'] == address(started['block']) == at
                async with ctx.open_stream() as stream:
                    await stream.send(block)
                    there, back = await stream.receive()
                    assert there == address(back) == at
                assert address(await ctx.wait_for_result()) == at
            # A part of one; and bytes, which are copied as ever.
            part = memoryview(block)[SIZE // 2:]
            assert await first.run(look, block=part, size=SIZE // 2) == at + SIZE // 2
            assert await first.run(look, block=bytes(block), size=SIZE) == 0
            await an.cancel()
        assert block == b'\\7' * SIZE
    ''')


@both_loops
def test_in_another_process_it_arrives_as_bytes_and_a_type_makes_it_a_buffer(script, start_method):
    script('''
        import coppice
        import either

        SIZE = 1 << 20

        def same(block):
            return [type(block).__name__, len(coppice.Buffer(block)), block]

        @coppice.context(pld_spec=coppice.Buffer)
        async def typed(ctx: coppice.Context):
            await ctx.started(b'small')
            async with ctx.open_stream() as stream:
                got = await stream.receive()
                assert type(got) is coppice.Buffer, got
                await stream.send(got)
            return coppice.Buffer(b'')

        async def main():
            block = coppice.Buffer(bytes(SIZE))
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('a', enable_modules=[__name__])
                name, size, back = await portal.run(same, block=block)
                assert name == type(back).__name__ == 'EXPECTED', (name, type(back))
                assert size == SIZE
                assert back == block
                async with portal.open_context(typed) as (ctx, first):
                    assert (type(first), first) == (coppice.Buffer, b'small')
                    async with ctx.open_stream() as stream:
                        await stream.send(block)
                        assert (got := await stream.receive()) == block
                        assert type(got) is coppice.Buffer
                    assert await ctx.wait_for_result() == b''
                await an.cancel()
        '''.replace('EXPECTED', 'Buffer' if start_method == 'subint' else 'bytes'))


@guests_only
def test_a_block_outlives_whoever_made_or_held_it(script):
    script(SHARED + '''
    def make(size):
        return coppice.Buffer(bytes([5]) * size)

    kept = None

    def keep(block):
        global kept
        kept = block

    def stick(block, started):
        open(started, 'x').close()
        while True:
            try:
                while True: pass
            except BaseException:
                pass

    async def main():
        import asyncio
        import os

        async with coppice.open_nursery(
                stop=coppice.StopPolicy(ask=0.1, interrupt=0.1, force=2)) as an:
            async with coppice.open_nursery() as inner:
                maker = await inner.start_actor('maker', enable_modules=[__name__])
                block = await maker.run(make, size=SIZE)
                keeper = await an.start_actor('keeper', enable_modules=[__name__])
                await keeper.run(keep, block=block)
                await inner.cancel()
            # The one that made it has gone, and its interpreter with it.
            assert block == bytes([5]) * SIZE
            stuck = await an.start_actor('stuck', enable_modules=[__name__])
            call = asyncio.ensure_future(stuck.run(stick, block=block, started='begun'))
            while not os.path.exists('begun'):
                await asyncio.sleep(0.01)
            # One is forced while it works on it, the other ends with a global that holds it.
            report = await stuck.cancel_actor()
            assert report.rung == 'forced', report
            try:
                await call
            except coppice.ActorDied:
                pass
            await an.cancel()
        assert len(block) == SIZE and block == bytes([5]) * SIZE
    ''')
