# SPDX-License-Identifier: Apache-2.0
"""The peer of a forked start: `peer_forkserver.py` prints the median ms from Process.start() of
multiprocessing's forkserver to the first reply through a Pipe. On one processor."""
import multiprocessing
import os
import statistics
import time

import coppice_tour


def serve(pipe):
    pipe.send(coppice_tour.ping(pipe.recv()))


def start_once(context):
    ours, theirs = context.Pipe()
    begun = time.perf_counter()
    process = context.Process(target=serve, args=(theirs,))
    process.start()
    ours.send(1)
    ours.recv()
    took = (time.perf_counter() - begun) * 1e3
    process.join()
    return took


if __name__ == '__main__':
    os.sched_setaffinity(0, {0})
    forks = multiprocessing.get_context('forkserver')
    forks.set_forkserver_preload(['coppice_tour'])
    start_once(forks)
    print(f'{statistics.median(start_once(forks) for _ in range(30)):.3f}')
