# SPDX-License-Identifier: Apache-2.0
"""Bare guests that only force can stop, many of them: what each leaves, and the budget that acts.

The process bears `--stops` of them by its GuestBudget. The next start is treated by the budget's
policy: refused, or placed in a process of its own (--then other_process).
"""
import os

import coppice
import soak_kit
import soak_states
from cycles import Bell, start, stopped_in

LEFT_MAX_MB = 2.5  # By a bare guest with its own GIL.


async def budget_acts(an, chosen, broken):
    """At the bound: what the next start comes to."""
    try:
        portal = await start(an, chosen, 'late')
    except coppice.BackendUnavailable as error:
        text = str(error)
        if chosen.then != 'refuse' or f'{chosen.stops} actors of this process' not in text:
            broken.append(f'the next start was refused: {text}')
        return text
    if chosen.then != 'other_process' or await portal.run(soak_states.pid) == os.getpid():
        broken.append(f'the budget did not act: {portal!r}')
    return f'{portal.start_method}: {portal.start_reason}'


async def main(chosen):
    broken = []
    async with coppice.open_nursery(start_method='subint') as an:
        bell = Bell()
        curve = None
        for n in range(chosen.stops):
            report = await stopped_in(an, chosen, soak_states.tell_and_lock, bell)
            if report.rung != 'forced' and len(broken) < 10:
                broken.append(f'stop {n} ended by {report.rung}: {report}')
            if curve is None:  # The first one paid for what all need.
                curve = soak_kit.Curve('forced', max(1, chosen.stops // 10))
            curve.step(n)
        curve.look(chosen.stops - 1)
        bell.close()
        grown = await curve.left()
        said = await budget_acts(an, chosen, broken)
        await an.cancel()
    first, last = curve.points[0], curve.points[-1]
    left = round((last['rss_mb'] - first['rss_mb']) / last['step'], 3)
    if chosen.left_max and left > chosen.left_max:
        broken.append(f'each forced stop left {left} MB')
    broken += [f'{kind} grew from {text}' for kind, text in grown.items()]
    return {'stops': chosen.stops, 'left_mb_each': left,
            'ms_per_stop': round(1000 * last['seconds'] / last['step'], 1), 'then': chosen.then,
            'budget_said': said, 'curve': curve.points}, broken


if __name__ == '__main__':
    sizes = soak_kit.options(__doc__, stops=1_000, gil='own', then='refuse',
                             left_max=LEFT_MAX_MB)
    soak_kit.run(main, sizes,
                 guests=coppice.GuestBudget(forced_max=sizes.stops, then=sizes.then))
