# SPDX-License-Identifier: Apache-2.0
"""What scripts of tests want of an event loop, in one spelling for asyncio and trio.

Children import it too: an actor's loop is the one that its code runs on.
"""
import os
import sys

import coppice

# At the top, as programs do: an actor is up when its loop is imported. One loop alone: guests pay.
if os.environ.get('COPPICE_TEST_LOOP') == 'trio':
    import trio  # noqa: F401
else:
    import asyncio


def on_trio():
    trio = sys.modules.get('trio')
    return trio is not None and trio.lowlevel.in_trio_run()


async def sleep(seconds):
    if on_trio():
        await sys.modules['trio'].sleep(seconds)
    else:
        await asyncio.sleep(seconds)


def cancelled():
    """What a cancelled wait raises here."""
    return sys.modules['trio'].Cancelled if on_trio() else asyncio.CancelledError


class TrioTask:
    """A task beside everything else: like asyncio.Task, as far as tests use one."""

    def __init__(self, coro):
        trio = sys.modules['trio']
        self.ended = trio.Event()
        self.scope = trio.CancelScope()
        self.value = self.error = None
        trio.lowlevel.spawn_system_task(self.run, coro)

    async def run(self, coro):
        with self.scope:
            try:
                self.value = await coro
            except BaseException as error:
                self.error = error
        self.ended.set()

    def cancel(self):
        self.scope.cancel()

    def cancelled(self):
        return isinstance(self.error, sys.modules['trio'].Cancelled)

    def done(self):
        return self.ended.is_set()

    def __await__(self):
        yield from self.ended.wait().__await__()
        if self.error is not None:
            raise self.error
        return self.value


def start(coro):
    return TrioTask(coro) if on_trio() else asyncio.create_task(coro)


async def gather(*coros):
    """Runs them together; their values, or the error of the first one that failed."""
    return [await task for task in [start(coro) for coro in coros]]


async def outcomes(*tasks):
    """Waits for all of them: values, or errors."""
    found = []
    for task in [start(one) if hasattr(one, 'send') else one for one in tasks]:
        try:
            found.append(await task)
        except (Exception, cancelled()) as error:
            found.append(error)
    return found


async def together(*functions):
    """Runs them as children of the calling task."""
    if on_trio():
        async with sys.modules['trio'].open_nursery() as nursery:
            for function in functions:
                nursery.start_soon(function)
    else:
        async with asyncio.TaskGroup() as tasks:
            for function in functions:
                tasks.create_task(function())


class timeout:
    """asyncio.timeout(), with the same error on both loops."""

    def __init__(self, seconds):
        self.seconds = seconds

    async def __aenter__(self):
        if on_trio():
            self.scope = coppice.move_on_after(self.seconds)
            return self.scope.__enter__()
        self.block = asyncio.timeout(self.seconds)
        return await self.block.__aenter__()

    async def __aexit__(self, *error):
        if not on_trio():
            return await self.block.__aexit__(*error)
        left = self.scope.__exit__(*error)
        if self.scope.cancelled_caught:
            raise TimeoutError
        return left
