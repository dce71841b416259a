# SPDX-License-Identifier: Apache-2.0
"""Actors that start, answer a call and stop, again and again in one process: nothing grows.

Then once more with actors that compute or sleep when they are stopped, and have to be interrupted.
All are of one nursery, as in a program that serves for months.
"""
import asyncio
import os

import coppice
import soak_kit
import soak_states

GROWTH_MAX = 2.0  # Per cent of the memory, after the first tenth.
STUCK = (soak_states.tell_and_spin, soak_states.tell_and_sleep)


class Bell:
    """A pipe that actors of this process ring: their call is under way."""

    def __init__(self):
        self.out, self.into = os.pipe()
        os.set_blocking(self.out, False)
        self.rung = asyncio.Event()
        asyncio.get_running_loop().add_reader(self.out, self.on_ring)

    def on_ring(self):
        os.read(self.out, 64)
        self.rung.set()

    async def wait(self):
        async with asyncio.timeout(30):
            await self.rung.wait()
        self.rung.clear()

    def close(self):
        asyncio.get_running_loop().remove_reader(self.out)
        os.close(self.out)
        os.close(self.into)


async def start(an, chosen, name='guest'):
    return await an.start_actor(name, enable_modules=['soak_states'], gil=chosen.gil,
                                inherit_parent_main=False)


async def answered(an, chosen, n, bell):
    portal = await start(an, chosen)
    if await portal.run(soak_states.ping, n=n) != n:
        raise AssertionError(f'cycle {n}: a wrong answer')
    return await portal.cancel_actor()


async def stopped_in(an, chosen, function, bell):
    """An actor that is stopped while it runs `function`, which rings: how it ended."""
    portal = await start(an, chosen)
    call = asyncio.create_task(portal.run(function, fd=bell.into))
    await bell.wait()
    report = await portal.cancel_actor()
    await asyncio.wait([call])
    call.exception()  # Taken: it says that its actor was stopped.
    return report


async def interrupted(an, chosen, n, bell):
    return await stopped_in(an, chosen, STUCK[n % len(STUCK)], bell)


async def phase(an, chosen, name, cycle, count, wanted, broken):
    """So many cycles, several at once; their curve."""
    curve = soak_kit.Curve(name, min(500, max(1, count // 10)))
    todo = iter(range(1, count + 1))

    async def worker(last):
        bell = Bell()
        try:
            for n in todo:
                report = await cycle(an, chosen, n, bell)
                if report.rung != wanted and len(broken) < 10:
                    broken.append(f'{name}: cycle {n} ended by {report.rung}: {report}')
                if n >= last:
                    break
        finally:
            bell.close()

    # Looked at while none of them lives: one has 3 MB.
    for last in [*range(curve.every, count, curve.every), count]:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(chosen.at_once):
                tasks.create_task(worker(last))
        curve.look(last)
    return curve


async def verdict(curve, count, chosen, broken):
    """What a phase has left."""
    last = curve.points[-1]
    broken += [f'{curve.name}: {kind} grew from {text}'
               for kind, text in (await curve.left()).items()]
    growth = curve.growth(count // 10)
    if chosen.growth_max and growth > chosen.growth_max:
        broken.append(f'{curve.name}: the memory grew by {growth} % after the warm-up')
    return {'cycles': count, 'growth_percent': growth,
            'ms_per_cycle': round(1000 * last['seconds'] / max(1, count), 2)}


async def main(chosen):
    broken = []
    found = {'curve': {}}
    async with coppice.open_nursery(start_method=chosen.start_method) as an:
        # What the first start opens stays; and a heap keeps what so many at once have needed, which
        # chance would bring about some time later.
        portals = await asyncio.gather(*(start(an, chosen) for _ in range(4 * chosen.at_once)))
        await asyncio.gather(*(portal.cancel_actor() for portal in portals))
        for name, cycle, count, wanted in (
                ('cycles', answered, chosen.cycles, 'asked'),
                ('interrupted', interrupted, chosen.interrupted, 'interrupted')):
            if count:
                curve = await phase(an, chosen, name, cycle, count, wanted, broken)
                found[name] = await verdict(curve, count, chosen, broken)
                found['curve'][name] = curve.points
    return found, broken


if __name__ == '__main__':
    soak_kit.run(main, soak_kit.options(
        __doc__, cycles=10_000, interrupted=2_000, at_once=2, gil='own', start_method='subint',
        growth_max=GROWTH_MAX))
