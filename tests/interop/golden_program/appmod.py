# SPDX-License-Identifier: Apache-2.0
"""The module of the recorded dialogs, for Coppice: its name is on the wire."""
import asyncio
import os

import coppice


async def add(x, y):
    return x + y


async def fail(msg):
    raise ValueError(msg)


async def gen(n):
    for value in range(n):
        yield value


@coppice.context
async def echo_ctx(ctx: coppice.Context, start):
    await ctx.started(start + 1)
    async with ctx.open_stream() as stream:
        async for value in stream:
            await stream.send({'echo': value})
    return 'done'


@coppice.context
async def block_ctx(ctx: coppice.Context):
    await ctx.started('ready')
    await asyncio.sleep(1000)


@coppice.context
async def nested_fail(ctx: coppice.Context):
    await ctx.started()
    async with coppice.open_nursery() as an:
        leaf = await an.start_actor('leaf', enable_modules=['appmod'], start_method='process',
                                    proc_kwargs={'executable': os.environ['GOLDEN_STAND_IN']})
        await leaf.run(fail, msg='deep')
