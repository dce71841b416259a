#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs every benchmark beside its limit and its peer, alternating, and writes the medians.

`run.py --programs FOLDER --python EXECUTABLE --out FILE`: FOLDER holds the built bench_* programs
and the `coppice` command. What is measured, and on which processors, stands in docs/benchmarks.md.
"""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPEATS = 3
SECONDS_MAX = 300
# Where the programs' guests find the modules that lie here.
GUESTS = {**os.environ, 'PYTHONPATH': f'{HERE}:{os.environ.get("PYTHONPATH", "")}'}


def run(command, env=None):
    """The numbers that a program prints on its last line."""
    try:
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True,
                              timeout=SECONDS_MAX, env=env)
    except subprocess.TimeoutExpired:
        sys.exit(f'bench: {" ".join(map(str, command))} did not end within {SECONDS_MAX} s')
    if done.returncode != 0 or not done.stdout.strip():
        sys.exit(f'bench: {" ".join(map(str, command))} ended with status {done.returncode}\n'
                 f'{done.stderr.strip()}')
    return done.stdout.strip().splitlines()[-1]


def together(*commands):
    """Medians of several commands, in turn so that a slow spell of the machine hits them all."""
    times = [[] for _ in commands]
    for _ in range(REPEATS):
        for mine, command in zip(times, commands):
            if command is not None:
                mine.append(float(run(command)))
    return [statistics.median(mine) if mine else None for mine in times]


def latencies(programs, python, add):
    for mode, suffix in (('one', '_us'), ('cross', '_cross_us')):
        rows = [('native.call', 'native', 'eventfd', False),
                ('process.call', 'process', 'uds', False),
                ('guest.call', 'guest', 'def', True),
                ('guest.async_call', 'guest_async', 'async', True)]
        for name, kind, limit, pool in rows:
            value, allowed, peer = together(
                [programs / 'bench_latency', kind, mode],
                [programs / 'bench_python_limit', limit, mode, python] if pool
                else [programs / 'bench_limits', limit, mode],
                [python, HERE / 'peer_pool.py', mode] if pool else None)
            add(name + suffix, value, 'us', allowed, peer)


def threads(programs, add):
    for mode, suffix in (('one', '_us'), ('cross', '_cross_us')):
        value, limit, peer = together(
            *([programs / 'bench_threads', kind, mode] for kind in ('to_thread', 'cached', 'new')))
        add('thread.work' + suffix, value, 'us', limit, peer)


def core(programs, add):
    for name in ('spawn', 'handoff', 'cancel', 'timer'):
        value, peer = together([programs / 'bench_core', name],
                               [programs / 'bench_core_asio', name])
        add(f'core.{name}_ns', value, 'ns', None, peer)
    add('core.parked_bytes', float(run([programs / 'bench_core', 'parked'])), 'bytes', None, None)


def beside_zmq(programs, size, count):
    """Messages a second over uds: ours, the limit with as many bytes a system call, ZeroMQ."""
    rates = [], [], []
    for _ in range(REPEATS):
        ours, wire, per_call = run([programs / 'bench_stream', 'uds', size, count]).split()
        limit = run([programs / 'bench_stream_limit', wire, per_call, count]).split()[0]
        peer = run([programs / 'bench_stream_zmq', size, count]).split()[0]
        for mine, rate in zip(rates, (ours, limit, peer)):
            mine.append(float(rate))
    return [statistics.median(mine) for mine in rates]


def streams(programs, python, add):
    small, large = 64, 64 * 1024
    stream = programs / 'bench_stream'
    for kind, count in (('memory', 1_000_000), ('guest', 200_000)):
        rates = [float(run([stream, kind, small, count], GUESTS)) for _ in range(REPEATS)]
        add(f'stream.{kind}_msgs_per_s', statistics.median(rates), '1/s', None, None)
    ours, limit, peer = beside_zmq(programs, small, 1_000_000)
    add('stream.uds_msgs_per_s', ours, '1/s', limit, peer)
    ours, limit, peer = (rate * large / 1e9 for rate in beside_zmq(programs, large, 40_000))
    add('stream.uds_gb_per_s', ours, 'GB/s', limit, peer)
    times, limits, peers = [], [], []
    for _ in range(REPEATS):
        times.append(float(run([stream, 'send', 64], GUESTS)))
        limits.append(float(run([stream, 'send', 0], GUESTS)))
        peers.append(float(run([python, HERE / 'peer_pool.py', 'send'])))
    add('guest.send_64mb_us', statistics.median(times), 'us', statistics.median(limits),
        statistics.median(peers))


def starts(programs, python, add):
    start = programs / 'bench_start'
    value, limit, peer = together([start],
                                  [programs / 'bench_bare_interpreter', 'start', python],
                                  [python, HERE / 'peer_pool.py', 'start'])
    add('guest.start_ms', value, 'ms', limit, peer)
    busy, = together([python, HERE / 'busy_root.py'])
    add('guest.start_busy_root_ms', busy, 'ms', limit, None)
    for name in ('warm', 'warm_async'):
        warm, = together([start, name])
        add(f'guest.{name.replace("warm", "warm_start")}_us', warm, 'us', None, None)
    value, limit, peer = together([start, 'forkserver'], [python, HERE / 'limit_fork.py'],
                                  [python, HERE / 'peer_forkserver.py'])
    add('forkserver.start_ms', value, 'ms', limit, peer)
    value, limit = together([start, 'process'],
                            [programs / 'bench_limits', 'exec', start, '--nothing'])
    add('process.start_ms', value, 'ms', limit, None)
    value, peer = together([start, 'thread'], [programs / 'bench_caf_start'])
    add('thread.start_us', value, 'us', None, peer)


def many(programs, python, add):
    """25 guests, cold and warm, beside a pool of 25. The longest turns of the control loop."""
    cold, warm, peers = [], [], []
    for _ in range(REPEATS):
        for kind, mine in (('cold', cold), ('warm', warm)):
            mine.append([float(n) for n in run([programs / 'bench_many', kind], GUESTS).split()])
        peers.append(float(run([python, HERE / 'peer_pool.py', 'many'])))
    peer = statistics.median(peers)
    add('guests.up_down_25_ms', statistics.median(ms for ms, *_ in cold), 'ms', None, peer)
    add('guests.up_down_25_warm_ms', statistics.median(ms for ms, *_ in warm), 'ms', None, peer)
    ours, bare = [], []
    for _ in range(REPEATS):
        ours.append(float(run([programs / 'bench_many', 'memory'], GUESTS)))
        bare.append(float(run([programs / 'bench_bare_interpreter', 'memory', python])))
    add('guest.memory_mb', statistics.median(ours), 'MB', statistics.median(bare), None)
    return [turns for _, *turns in cold + warm]


def speed_up(programs, python, add):
    """Best of 5 of each, in turn, on every third file of the standard library."""
    library = run([python, '-c', 'import sysconfig; print(sysconfig.get_path("stdlib"))'])
    with tempfile.TemporaryDirectory() as folder:
        files = [p for p in sorted(Path(library).rglob('*.py')) if 'site-packages' not in p.parts]
        for number, file in enumerate(files[::3]):
            shutil.copyfile(file, Path(folder) / f'{number:05}.py')
        ours, theirs = [], []
        for _ in range(5):
            command = [programs / 'coppice', 'tour', '--json', '--guests', '2', folder]
            tour = json.loads(run(command))
            ours.append(tour['speedup'])
            theirs.append(float(run([python, HERE / 'peer_processes.py', folder])))
        add('guest.speedup_2', max(ours), 'x', None, max(theirs))


def stops(programs, add):
    times, left, turns = [], 0, []
    for _ in range(REPEATS):
        ms, threads, *longest = run([programs / 'bench_stop']).split()
        times.append(float(ms))
        left = max(left, int(threads))
        turns.append([float(n) for n in longest])
    add('stop.stuck_25_ms', statistics.median(times), 'ms', None, None)
    add('stop.leaked_threads', left, 'threads', None, None)
    return turns


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--only', default='', help='what to measure, like "starts,many"; else all')
    for name in ('programs', 'python', 'out'):
        parser.add_argument(f'--{name}', required=True, type=Path)
    options = parser.parse_args()
    rows = []

    def add(name, value, unit, limit, peer):
        rows.append({'name': name, 'value': value, 'unit': unit, 'limit': limit, 'peer': peer})
        print(f'{name} {value:.4g} {unit}'
              + (f', limit {limit:.4g}' if limit is not None else '')
              + (f', peer {peer:.4g}' if peer is not None else ''), flush=True)

    programs, python, turns = options.programs, options.python, []
    groups = {
        'core': lambda: core(programs, add),
        'threads': lambda: threads(programs, add),
        'latencies': lambda: latencies(programs, python, add),
        'streams': lambda: streams(programs, python, add),
        'starts': lambda: starts(programs, python, add),
        'speed_up': lambda: speed_up(programs, python, add),
        'many': lambda: turns.extend(many(programs, python, add)),
        'stops': lambda: turns.extend(stops(programs, add)),
    }
    for name in options.only.split(',') if options.only else groups:
        groups[name]()
    if turns:
        add('control.turn_max_us', max(wall for wall, _ in turns), 'us', None, None)
        add('control.turn_cpu_max_us', max(cpu for _, cpu in turns), 'us', None, None)
    options.out.write_text(json.dumps(rows, indent=1) + '\n')


if __name__ == '__main__':
    main()
