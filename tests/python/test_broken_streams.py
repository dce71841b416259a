# SPDX-License-Identifier: Apache-2.0
"""Streams whose connection breaks under them: scenarios 58 and 59, see tests/SCENARIOS.md."""
import textwrap

import pytest
from conftest import both_loops, every_socket

pytestmark = [both_loops, every_socket]

HEAD = textwrap.dedent('''
    import time
    import breaks
    import either
    import coppice
    from coppice import Context

    @coppice.context
    async def echo(ctx: Context, break_after, close_first, stay):
        await ctx.started()
        async with ctx.open_stream() as stream:
            async for i in stream:
                await stream.send(i)
                if i == break_after:
                    if close_first:
                        await stream.aclose()
                    breaks.cut()
        if stay:
            await either.sleep(1000)
''')


@pytest.mark.parametrize('close_first', [False, True], ids=['stream open', 'stream closed first'])
def test_ipc_channel_break_during_stream(script, close_first):
    script(HEAD + textwrap.dedent(f'''
        CLOSE_FIRST = {close_first}

        async def talk(portal, parent_after, child_after):
            """How far it came before the connection was gone, or this side had closed."""
            async with portal.open_context(echo, break_after=child_after,
                                           close_first=CLOSE_FIRST,
                                           stay=parent_after is not None) as (ctx, _):
                async with ctx.open_stream() as stream:
                    for i in range(300):
                        await stream.send(i)
                        try:
                            assert await stream.receive() == i
                        except coppice.EndOfChannel:
                            assert CLOSE_FIRST and i >= child_after
                            break
                        reached.append(i)
                        if i == parent_after:
                            if CLOSE_FIRST:
                                await stream.aclose()
                            breaks.cut()
                            if CLOSE_FIRST:
                                break

        async def main():
            global reached
            for parent_after, child_after in ((150, None), (None, 150), (150, 240), (240, 150),
                                              (None, None)):
                reached = []
                began = time.monotonic()
                try:
                    async with coppice.open_nursery() as an:
                        portal = await an.start_actor('echo', enable_modules=[__name__])
                        await talk(portal, parent_after, child_after)
                        await portal.cancel_actor()
                except coppice.TransportClosed as error:
                    assert error.uid[0] == 'echo', error
                    first = min(filter(None, (parent_after, child_after)))
                    assert first - 1 <= reached[-1] <= first, (reached[-1], first)
                else:
                    assert parent_after is child_after is None and reached[-1] == 299
                assert time.monotonic() - began < 10
        '''))


def test_stream_closed_right_after_ipc_break_and_zombie_lord_engages(script):
    script(HEAD + textwrap.dedent('''
        @coppice.context
        async def break_and_stay(ctx: Context):
            await ctx.started()
            async with ctx.open_stream() as stream:
                assert await stream.receive() == 'now'
                await stream.aclose()
                breaks.cut()
                time.sleep(1000)

        async def main():
            began = time.monotonic()
            try:
                async with coppice.open_nursery() as an:
                    portal = await an.start_actor('zombie', enable_modules=[__name__])
                    async with portal.open_context(break_and_stay) as (ctx, _):
                        async with ctx.open_stream() as stream:
                            await stream.send('now')
                            with coppice.CancelScope(shield=True):
                                await either.sleep(0.2)
                            raise KeyboardInterrupt
            except KeyboardInterrupt:
                pass
            else:
                raise AssertionError
            # Nobody could ask it, and it did not look: its parent's nursery had it ended, or its
            # own runtime, which misses its parent, was faster.
            assert time.monotonic() - began < 8
            report, = an.exits.values()
            assert report.rung in ('none', 'asked', 'interrupted'), report
        '''))
