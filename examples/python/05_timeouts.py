# SPDX-License-Identifier: Apache-2.0
"""asyncio's own tools work on calls: a timeout cancels the call there, and the actor serves on."""
import asyncio

import coppice

log = []


async def slow(name):
    try:
        await asyncio.sleep(1000)
    finally:
        log.append(name)


def read_log():
    return log


async def main():
    async with coppice.open_nursery() as an:
        portal = await an.start_actor('worker', enable_modules=[__name__])
        try:
            async with asyncio.timeout(0.2):
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(portal.run(slow, 'first'))
                    tasks.create_task(portal.run(slow, 'second'))
        except TimeoutError:
            print('given up')
        print('unwound there:', sorted(await portal.run(read_log)))
        await portal.cancel_actor()


if __name__ == '__main__':
    coppice.run(main)
