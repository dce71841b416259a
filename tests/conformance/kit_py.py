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


def target_of(fd):
    try:
        return os.readlink(f'/proc/self/fd/{fd}')
    except OSError:
        return ''


def descriptors():
    """What all but the standard streams refer to, but for what the kernel does not tell apart."""
    targets = [target_of(fd) for fd in os.listdir('/proc/self/fd') if int(fd) > 2]
    return [text for text in targets if text and not text.startswith('anon_inode:')]


def standard_streams():
    return [target_of(fd) for fd in range(3)]


def folder():
    return os.getcwd()


def variable(name):
    return os.environ.get(name, '')


@coppice.context
async def grow(ctx: coppice.Context, depth, kind, method, transport):
    """Grows a tree of its own kind below itself, says how many that are, and keeps it."""
    import asyncio

    up = 1
    both = asyncio.Event()
    trees = 0

    async def limb(an):
        nonlocal up, trees
        transports = {'enable_transports': [transport]} if transport else {}
        portal = await an.start_actor('limb', enable_modules=['kit_py'], start_method=method,
                                      **transports)
        async with portal.open_context(grow, depth=depth - 1, kind=kind, method=method,
                                       transport=transport) as (_, below):
            up += below
            trees += 1
            if trees == 2:
                both.set()
            await asyncio.sleep(1000)

    async with coppice.open_nursery() as an, asyncio.TaskGroup() as tasks:
        if depth > 0:
            tasks.create_task(limb(an))
            tasks.create_task(limb(an))
            await both.wait()
        await ctx.started(up)
        await asyncio.sleep(1000)


def break_connection(how):
    getattr(breaks, how)()
