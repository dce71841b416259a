# SPDX-License-Identifier: Apache-2.0
"""What the soaks share: their sizes, what the process holds meanwhile, and their report.

A soak is a program. It prints what it sees as it goes, writes its figures to `--out` as JSON, and
ends with a status other than 0 if a promise was broken: the texts of its `broken` list say which.
"""
import argparse
import asyncio
import json
import os
import time
from pathlib import Path

PAGE = os.sysconf('SC_PAGE_SIZE')
MB = 1 << 20


def rss():
    """Bytes of this process that are in memory."""
    return int(Path('/proc/self/statm').read_text().split()[1]) * PAGE


def counts():
    """Threads, descriptors, child processes and mappings of this process."""
    import support

    return {'threads': len(os.listdir('/proc/self/task')),
            'fds': len(os.listdir('/proc/self/fd')) - 1,  # The one that lists them.
            'processes': len(support.children()),
            'maps': Path('/proc/self/maps').read_bytes().count(b'\n')}


class Curve:
    """What the process holds, every so many steps."""

    def __init__(self, name, every):
        self.name = name
        self.every = max(1, every)
        self.began = time.monotonic()
        self.points = []
        self.look(0)

    def look(self, step):
        point = {'step': step, 'seconds': round(time.monotonic() - self.began, 1),
                 'rss_mb': round(rss() / MB, 2), **counts()}
        self.points.append(point)
        print(f'{self.name}: ' + ', '.join(f'{key} {value}' for key, value in point.items()),
              flush=True)

    def step(self, step):
        if step % self.every == 0:
            self.look(step)

    async def left(self):
        """What the process holds more of than at first, {} if nothing. Waits a moment for that."""
        first = self.points[0]
        until = time.monotonic() + 1
        while True:
            now = counts()
            grown = {kind: f'{first[kind]} to {now[kind]}'
                     for kind in ('threads', 'fds', 'processes') if now[kind] > first[kind]}
            if not grown or time.monotonic() > until:
                return grown
            await asyncio.sleep(0.01)

    def growth(self, warm_up):
        """Of the memory, in per cent, from the first point at or after that step to the last."""
        after = next(point for point in self.points if point['step'] >= warm_up)
        last = self.points[-1]
        return round(100 * (last['rss_mb'] / after['rss_mb'] - 1), 2)


def options(description, **sizes):
    """The command line: a number for each size, its default given here."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    for name, default in sizes.items():
        parser.add_argument('--' + name.replace('_', '-'), type=type(default), default=default)
    parser.add_argument('--out', help='where the figures go, as JSON')
    return parser.parse_args()


def run(main, chosen, **root):
    """Runs `await main(chosen)`, which returns its figures and a list of what was broken, as the
    root of a tree that leaves nothing behind."""
    import support

    figures = {}

    async def whole():
        began = time.monotonic()
        found, broken = await main(chosen)
        figures.update(found, seconds=round(time.monotonic() - began, 1))
        for text in broken:
            print('BROKEN ' + text, flush=True)
        if broken:
            raise SystemExit(1)

    try:
        support.run(whole, **root)
    finally:
        print(json.dumps({key: value for key, value in figures.items() if key != 'curve'}),
              flush=True)
        if chosen.out:
            Path(chosen.out).write_text(json.dumps(figures, indent=1) + '\n')
