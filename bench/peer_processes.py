# SPDX-License-Identifier: Apache-2.0
"""The peer of guest.speedup_2: `peer_processes.py FOLDER` parses it with one plain Python process,
then with two that take batches off a common list, and prints the ratio of the times."""
import multiprocessing
import sys
import time
from pathlib import Path

import coppice_tour


def scan(batch):
    return coppice_tour.scan(batch)['files']


def seconds(processes, batches):
    with multiprocessing.get_context('spawn').Pool(processes) as pool:
        pool.map(scan, [[] for _ in range(processes * 4)])  # Started, ast imported.
        begun = time.perf_counter()
        assert sum(pool.imap_unordered(scan, batches)) > 0
        return time.perf_counter() - begun


if __name__ == '__main__':
    files = sorted(str(p) for p in Path(sys.argv[1]).rglob('*.py'))
    batches = [files[i:i + 8] for i in range(0, len(files), 8)]
    print(f'{seconds(1, batches) / seconds(2, batches):.4f}')
