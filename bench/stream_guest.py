# SPDX-License-Identifier: Apache-2.0
"""The guest of `bench_stream guest`: takes everything, and says how many after each `of`."""
import coppice


@coppice.context
async def pull(ctx: coppice.Context, of: int) -> int:
    await ctx.started()
    count = 0
    async with ctx.open_stream() as stream:
        async for _ in stream:
            count += 1
            if count % of == 0:
                await stream.send(count)
    return count
