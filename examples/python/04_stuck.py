# SPDX-License-Identifier: Apache-2.0
"""Whatever an actor is stuck in, the nursery ends it, and says how far it had to go."""
import asyncio
import threading
import time

import coppice


def loop():
    while True:
        pass


def sleep():
    time.sleep(1000)


def wait():
    threading.Event().wait()


def deadlock():
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


async def main():
    async with coppice.open_nursery(start_method='subint') as an:
        calls = []
        for stuck in (loop, sleep, wait, deadlock):
            portal = await an.start_actor(stuck.__name__, enable_modules=[__name__])
            calls.append(asyncio.create_task(portal.run(stuck)))
        await asyncio.sleep(0.2)
        began = time.monotonic()
        await an.cancel()
        print('all ended within a second:', time.monotonic() - began < 1)
        for name, report in sorted((uid[0], report) for uid, report in an.exits.items()):
            print(f'{name}: {report.rung}')
        await asyncio.gather(*calls, return_exceptions=True)


if __name__ == '__main__':
    coppice.run(main)
