# SPDX-License-Identifier: Apache-2.0
"""Many calls of which half are cancelled at random moments: none gets another's interrupt.

Several callers at once, on several guests: calls that compute, that wait, and that are coroutines.
A call that is let be has to give its own token. One that is cancelled ends by that, or with its own
token; and in the actors nothing was interrupted but what was cancelled.
"""
import asyncio
import random

import coppice
import soak_kit
import soak_states

KINDS = (soak_states.spin, soak_states.block, soak_states.rest)
# Whether they end by being asked must not be a matter of how busy the machine is.
PATIENT = coppice.StopPolicy(ask=20, unseen=20, total=60)
STUCK_MAX = 0.001  # Of all calls: on a busy machine half a second may be too short.
LONG = 1000.0  # Seconds: ends only by being cancelled.


class Tally:
    def __init__(self, seed, calls):
        self.dice = random.Random(seed)
        self.calls = calls
        self.begun = 0
        self.cancelled = set()  # Tokens of calls that their caller cancelled.
        self.ended = {'result': 0, 'cancelled': 0, 'result of a cancelled one': 0, 'stuck': 0}
        self.broken = []

    def more(self):
        return self.begun < self.calls and len(self.broken) < 10

    async def one(self, portal):
        """A call, and what it came to."""
        token, self.begun = self.begun, self.begun + 1
        kind = self.dice.choice(KINDS)
        doomed = token % 2 == 0
        seconds = self.dice.choice((0.0, 0.0005, 0.002))
        if doomed and self.dice.random() < 0.8:
            seconds = LONG
        call = asyncio.create_task(portal.run(kind, token=token, seconds=seconds))
        if doomed:
            await pause(self.dice.random() * self.dice.choice((0.001, 0.005)))
            self.cancelled.add(token)
            call.cancel()
        try:
            result = await call
        except asyncio.CancelledError:
            self.count('cancelled', doomed, f'call {token} of {kind.__name__} was cancelled')
        except coppice.CallStuck as error:
            self.count('stuck', doomed, f'call {token} of {kind.__name__}: {error!r}')
        except Exception as error:
            self.broken.append(f'call {token} of {kind.__name__} ended with {error!r}')
        else:
            self.count('result of a cancelled one' if doomed else 'result', result == token,
                       f'call {token} of {kind.__name__} got {result!r}')

    def count(self, ending, good, text):
        self.ended[ending] += 1
        if not good:
            self.broken.append(text)


async def pause(seconds):
    """Shorter waits than a timer gives are turns of the loop."""
    if seconds > 0.001:
        await asyncio.sleep(seconds)
    else:
        for _ in range(int(seconds * 20_000)):
            await asyncio.sleep(0)


async def caller(tally, portal):
    while tally.more():
        await tally.one(portal)


async def look(tally, portals, curve):
    """Now and then: what was interrupted in the actors, and do they serve?"""
    done = 0
    while tally.more():
        await asyncio.sleep(0.2)
        if tally.begun - done >= curve.every:
            done = tally.begun // curve.every * curve.every
            curve.look(done)
            await check(tally, portals)


async def check(tally, portals):
    for portal in portals:
        taken = await portal.run(soak_states.take_interrupted)
        tally.interrupted += len(taken)
        foreign = set(taken) - tally.cancelled
        if foreign:
            tally.broken.append(f'calls {sorted(foreign)[:10]} were interrupted in '
                                f'{portal.uid[0]} and by no caller')


async def main(chosen):
    tally = Tally(chosen.seed, chosen.calls)
    tally.interrupted = 0
    print(f'seed {chosen.seed}', flush=True)
    curve = soak_kit.Curve('interrupts', chosen.calls // 20)
    async with coppice.open_nursery(start_method=chosen.start_method, stop=PATIENT) as an:
        portals = [await an.start_actor(f'guest{n}', enable_modules=['soak_states'], gil=chosen.gil,
                                        inherit_parent_main=False) for n in range(chosen.guests)]
        for portal in portals:
            await portal.run(soak_states.rest, token=-1, seconds=0)
        async with asyncio.TaskGroup() as tasks:
            for portal in portals:
                for _ in range(chosen.callers):
                    tasks.create_task(caller(tally, portal))
            tasks.create_task(look(tally, portals, curve))
        await check(tally, portals)
        for n, portal in enumerate(portals):
            if await portal.run(soak_states.ping, n=n) != n:
                tally.broken.append(f'{portal.uid[0]} does not serve any more')
        await an.cancel()
        rungs = [an.exits[portal.uid].rung for portal in portals]
    curve.look(tally.begun)
    if set(rungs) != {'asked'}:
        tally.broken.append(f'the actors did not end by being asked: {rungs}')
    if tally.ended['stuck'] > STUCK_MAX * tally.begun:
        tally.broken.append(f"{tally.ended['stuck']} calls did not end within 500 ms")
    return {'calls': tally.begun, **tally.ended, 'interrupted_in_the_actors': tally.interrupted,
            'seed': chosen.seed, 'curve': curve.points}, tally.broken


if __name__ == '__main__':
    soak_kit.run(main, soak_kit.options(
        __doc__, calls=100_000, guests=3, callers=4, gil='own', start_method='subint',
        seed=random.randrange(1 << 32)))
