# SPDX-License-Identifier: Apache-2.0
"""Starts guests from a Python root that keeps computing: the median from start_actor() to the first
reply, in ms, with everything on one processor."""
import asyncio
import os
import statistics
import time

import coppice
import coppice_tour


async def busy(until):
    while not until.is_set():
        for _ in range(20_000):  # About half a millisecond in which the root's GIL is not let go.
            pass
        await asyncio.sleep(0)


async def main():
    times = []
    for i in range(13):
        done = asyncio.Event()
        async with coppice.open_nursery() as an, asyncio.TaskGroup() as tasks:
            tasks.create_task(busy(done))
            begun = time.perf_counter()
            portal = await an.start_actor('guest', enable_modules=['coppice_tour'])
            await portal.run(coppice_tour.ping, x=1)
            if i >= 3:
                times.append((time.perf_counter() - begun) * 1e3)
            done.set()
            await portal.cancel_actor()
    print(f'{statistics.median(times):.3f}')


if __name__ == '__main__':
    os.sched_setaffinity(0, {0})
    coppice.run(main, start_method='subint')
