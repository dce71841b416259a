# SPDX-License-Identifier: Apache-2.0
"""The endpoints of tests/conformance/main.cpp once more, in Python."""
import os

import breaks
import coppice


def add(x, y):
    return x + y


def fail(message):
    raise ValueError(message)


def echo(value):
    return value


def pass_on(block, size):
    return block if len(block) == size else b''


async def sleep_ms(ms):
    import asyncio

    await asyncio.sleep(ms / 1000)
    return ms


def pid():
    return os.getpid()


def leave_with(status):
    os._exit(status)


def kill_self(signal):
    os.kill(os.getpid(), signal)


def group(n):
    raise ExceptionGroup('group()', [ValueError(f'member {i}') for i in range(n)])


@coppice.context
async def echo_ctx(ctx: coppice.Context, first):
    await ctx.started(first)
    count = 0
    async with ctx.open_stream() as stream:
        async for value in stream:
            count += 1
            await stream.send(value)
    return count


@coppice.context
async def block_ctx(ctx: coppice.Context):
    import asyncio

    await ctx.started(0)
    await asyncio.sleep(1000)


@coppice.context
async def silent_ctx(ctx: coppice.Context):
    """Its stream is open, and nothing comes or is taken."""
    import asyncio

    await ctx.started(0)
    async with ctx.open_stream():
        await asyncio.sleep(1000)


def break_connection(how):
    getattr(breaks, how)()
