# SPDX-License-Identifier: Apache-2.0
"""One actor, one call. Functions of this very script are what it runs."""
import coppice


async def double(x):
    return 2 * x


async def main():
    async with coppice.open_nursery() as an:
        portal = await an.start_actor('doubler', enable_modules=[__name__])
        answer = await portal.run(double, x=21)
        print(f'the doubler says {answer}')
        await portal.cancel_actor()


if __name__ == '__main__':
    coppice.run(main, start_method='subint')
