# SPDX-License-Identifier: Apache-2.0
"""Actors start actors: a process with guests of its own. Each one ends what it began."""
import asyncio

import coppice


def leaf(word):
    return f'{word} from {coppice.current_actor().name}'


async def branch(words):
    async with coppice.open_nursery(start_method='subint') as an:
        portals = [await an.start_actor(f'leaf {n}', enable_modules=[__name__])
                   for n, _ in enumerate(words)]
        answers = await asyncio.gather(*(portal.run(leaf, word)
                                         for portal, word in zip(portals, words)))
        await an.cancel()
        return answers


async def main():
    async with coppice.open_nursery() as an:
        portal = await an.start_actor('branch', enable_modules=[__name__], start_method='process')
        for answer in await portal.run(branch, ['oak', 'ash']):
            print(answer)
        await portal.cancel_actor()


if __name__ == '__main__':
    coppice.run(main)
