# SPDX-License-Identifier: Apache-2.0
"""The limit of a forked start: `limit_fork.py` prints the median ms from os.fork() in an
interpreter that has imported what the zygote has, to a byte from the child. On one processor."""
import os
import statistics
import sys
import time

import coppice  # noqa: F401
import coppice_tour  # noqa: F401


def fork_once():
    ours, theirs = os.pipe()
    begun = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        os.write(theirs, b'x')
        os._exit(0)
    os.read(ours, 1)
    took = (time.perf_counter() - begun) * 1e3
    os.waitpid(pid, 0)
    os.close(ours)
    os.close(theirs)
    return took


if __name__ == '__main__':
    os.sched_setaffinity(0, {0})
    sys.stdout.write(f'{statistics.median(fork_once() for _ in range(60)):.3f}\n')
