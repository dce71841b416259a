# SPDX-License-Identifier: Apache-2.0
"""What the guest of bench_stream runs."""
import coppice


@coppice.context
async def drain(ctx: coppice.Context, messages):
    await ctx.started(0)
    n = 0
    async with ctx.open_stream() as stream:
        async for _ in stream:
            n += 1
            if n == messages:
                break
    return n


def size(block):
    return len(block)
