# SPDX-License-Identifier: Apache-2.0
"""What peer.py offers when it is somebody's child: `app.py --uid … --parent_addr …`."""
import os
import sys
import tempfile
import threading

from peer import PATIENCE, Task, context, play_child


def add(x, y):
    return x + y


def fail(msg):
    raise ValueError(msg)


def gen(n):
    yield from range(n)


def forever():
    n = 0
    while True:
        yield n
        n += 1
        threading.Event().wait(0.005)


def slow_call():
    """Longer than its caller waits for it; a plain function cannot be told to end."""
    threading.Event().wait(PATIENCE / 40)


@context
def echo_ctx(ctx: Task, start):
    """Says one more than it was given, echoes until Stop, returns how many it echoed."""
    ctx.started(start + 1)
    count = 0
    for value in ctx:
        ctx.send({'echo': value})
        count += 1
    return count


@context
def block_ctx(ctx: Task):
    ctx.started('ready')
    ctx.wait_cancelled()


@context
def fail_ctx(ctx: Task, msg):
    ctx.started()
    raise KeyError(msg)


@context
def stop_first_ctx(ctx: Task, n):
    ctx.started()
    for value in range(n):
        ctx.send(value)
    ctx.stop()
    return 'stopped'


@context
def flood_ctx(ctx: Task, n):
    """Sends without looking whether anybody reads, then waits for what comes of it."""
    ctx.started()
    for value in range(n):
        ctx.send(value)
    ctx.wait_cancelled()


MODULES = {'appmod': {'add': add, 'fail': fail, 'gen': gen, 'forever': forever,
                      'slow_call': slow_call,
                      'echo_ctx': echo_ctx, 'block_ctx': block_ctx, 'fail_ctx': fail_ctx,
                      'flood_ctx': flood_ctx,
                      'stop_first_ctx': stop_first_ctx}}

if __name__ == '__main__':
    folder = os.environ.get('PEER_FOLDER') or tempfile.mkdtemp(prefix='cpc-')
    peer = play_child(sys.argv[1:], MODULES, folder)
    if 'PEER_JOURNAL' in os.environ:
        with open(os.environ['PEER_JOURNAL'], 'w', encoding='utf-8') as file:
            file.write(peer.journal.text())
