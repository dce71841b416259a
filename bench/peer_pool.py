# SPDX-License-Identifier: Apache-2.0
"""The peer: concurrent.futures.InterpreterPoolExecutor. `peer_pool.py one|cross` prints the median
call in us, `peer_pool.py start` the median first call in ms, `peer_pool.py many` the median ms
of a pool of 25 that is opened, makes a call in each interpreter and is closed, `peer_pool.py send`
the median call that takes 64 MiB, in us."""
import os
import statistics
import sys
import time
from concurrent.futures import InterpreterPoolExecutor

from coppice_tour import ping


def pin(cpu):
    import os

    os.sched_setaffinity(0, {cpu})


def calls(cross):
    times = []
    with InterpreterPoolExecutor(1) as pool:
        if cross:
            pool.submit(pin, 1).result()
        for i in range(4500):
            begun = time.perf_counter()
            pool.submit(ping, i).result()
            if i >= 500:
                times.append((time.perf_counter() - begun) * 1e6)
    return statistics.median(times)


def starts():
    times = []
    for i in range(13):
        begun = time.perf_counter()
        with InterpreterPoolExecutor(1) as pool:
            pool.submit(ping, 1).result()
            if i >= 3:
                times.append((time.perf_counter() - begun) * 1e3)
    return statistics.median(times)


def sends():
    block = bytes(64 << 20)
    times = []
    with InterpreterPoolExecutor(1) as pool:
        pool.submit(pin, 1).result()
        for i in range(12):
            begun = time.perf_counter()
            pool.submit(len, block).result()
            if i >= 2:
                times.append((time.perf_counter() - begun) * 1e6)
    return statistics.median(times)


def many():
    times = []
    held, go = os.pipe()
    for i in range(4):
        begun = time.perf_counter()
        with InterpreterPoolExecutor(25) as pool:
            # None answers before all have been asked for: an idle one would get the next call.
            calls = [pool.submit(os.read, held, 1) for _ in range(25)]
            os.write(go, bytes(25))
            for call in calls:
                call.result()
            threads = len(pool._threads)
        if threads != 25:
            sys.exit(f'{threads} interpreters, not 25')
        if i > 0:
            times.append((time.perf_counter() - begun) * 1e3)
    return statistics.median(times)


if __name__ == '__main__':
    what = sys.argv[1]
    if what != 'many':
        os.sched_setaffinity(0, {0})
    others = {'start': starts, 'send': sends, 'many': many}
    measured = others.get(what, lambda: calls(what == 'cross'))
    print(f'{measured():.3f}')
