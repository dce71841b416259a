# SPDX-License-Identifier: Apache-2.0
"""Two guests count primes at the same time: each has a GIL of its own."""
import asyncio

import coppice


def count_primes(start, stop):
    return sum(n > 1 and all(n % d for d in range(2, int(n**0.5) + 1)) for n in range(start, stop))


async def main():
    async with coppice.open_nursery(start_method='subint') as an:
        low, high = await asyncio.gather(
            an.start_actor('low', enable_modules=[__name__]),
            an.start_actor('high', enable_modules=[__name__]))
        halves = await asyncio.gather(low.run(count_primes, 0, 10_000),
                                      high.run(count_primes, 10_000, 20_000))
        print(f'{halves[0]} + {halves[1]} = {sum(halves)} primes below 20000')
        await an.cancel()


if __name__ == '__main__':
    asyncio.run(main())  # The first nursery opens the root.
