# SPDX-License-Identifier: Apache-2.0
"""A thousand guests alive in one process: all up, a call each, all down, nothing left.

With --at-most-... the process is short of something, and a start that fails for that has to say so
in a sentence, and to lose nothing: those that are up answer, and all of them end.
"""
import asyncio
import resource
import time

import coppice
import soak_kit
import soak_states
from cycles import start

# The end of an interpreter takes milliseconds of a processor, of which a thousand share two.
PATIENT = coppice.StopPolicy(ask=60, unseen=60, total=120)
REFUSALS = (coppice.ActorFailure, coppice.BackendUnavailable, coppice.RemoteActorError)


async def all_up(an, chosen, portals):
    """Starts them, a few at once, until all are up or one cannot be. What that one said."""
    todo = iter(range(chosen.guests))
    refusals = []

    async def worker():
        for n in todo:
            if refusals:
                return
            try:
                portals.append(await start(an, chosen, f'guest{n}'))
            except REFUSALS as error:
                refusals.append(f'{type(error).__name__}: {error}')

    async with asyncio.TaskGroup() as tasks:
        for _ in range(chosen.at_once):
            tasks.create_task(worker())
    return refusals


async def call_each(portals, broken):
    answers = await asyncio.gather(*(portal.run(soak_states.ping, n=n)
                                     for n, portal in enumerate(portals)))
    if answers != list(range(len(portals))):
        broken.append('an answer is not that of its call')


async def main(chosen):
    broken = []
    portals = []
    took = {}
    async with coppice.open_nursery(start_method=chosen.start_method, stop=PATIENT) as an:
        first = await start(an, chosen)
        await first.cancel_actor()
        curve = soak_kit.Curve('crowd', 1)
        limit(chosen)
        began = time.monotonic()

        def lap(name, step):
            nonlocal began
            took[name] = round(time.monotonic() - began, 2)
            curve.look(step)
            began = time.monotonic()

        refusals = await all_up(an, chosen, portals)
        lap('up_seconds', len(portals))
        await call_each(portals, broken)
        lap('calls_seconds', len(portals))
        await an.cancel()
        lap('down_seconds', 0)
        rungs = [an.exits[portal.uid].rung for portal in portals]
    if set(rungs) - {'asked'}:
        broken.append(f"not asked, but {sorted(set(rungs) - {'asked'})}")
    short = chosen.at_most_fds or chosen.at_most_mb
    if bool(refusals) != bool(short):
        broken.append(f'{len(refusals)} starts failed: {refusals[:3]}')
    before, up = curve.points[0], curve.points[1]
    each = (up['rss_mb'] - before['rss_mb']) / max(1, len(portals))
    return {'guests': len(portals), **took, 'mb_each': round(each, 2),
            'fds_each': round((up['fds'] - before['fds']) / max(1, len(portals)), 2),
            'maps_each': round((up['maps'] - before['maps']) / max(1, len(portals)), 2),
            'refusals': sorted(set(refusals)), 'curve': curve.points}, broken


def limit(chosen):
    """From here on."""
    if chosen.at_most_fds:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (chosen.at_most_fds, hard))
    if chosen.at_most_mb:
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (chosen.at_most_mb << 20, hard))


if __name__ == '__main__':
    soak_kit.run(main, soak_kit.options(__doc__, guests=1_000, at_once=4, gil='own',
                                        start_method='subint', at_most_fds=0, at_most_mb=0))
