# SPDX-License-Identifier: Apache-2.0
"""Whoever asks an actor for something and is gone before the answer disturbs nobody."""
import time

import pytest
from interop_kit import every_home, folder  # noqa: F401: a fixture
from peer import Peer

ACTOR = '''
import os, time
import coppice, either

def note(path, word):
    with open(path, 'a') as file:
        file.write(word + '\\n')

async def through(path):
    """Runs to its end, whoever hears of it."""
    note(path, 'begun')
    with coppice.CancelScope(shield=True):
        await either.sleep(0.5)
        note(path, 'done')

async def unwound(path):
    note(path, 'begun')
    try:
        await either.sleep(1000)
    finally:
        note(path, 'done')

async def fails(path):
    note(path, 'begun')
    try:
        with coppice.CancelScope(shield=True):
            await either.sleep(0.5)
        raise ValueError('nobody hears of it')
    except ValueError:
        note(path, 'done')
        raise

def fails_at_once(path):
    note(path, 'begun')
    try:
        time.sleep(1000)
    finally:
        note(path, 'done')
        raise ValueError('nobody hears of it')

def ping(): return 'pong'

async def main():
    async with coppice.open_nursery() as an:
        await an.start_actor('callee', enable_modules=[__name__])
        print('ready', flush=True)
    assert [one.rung for one in an.exits.values()] == ['none'], an.exits
'''


def wait_for(words, path):
    deadline = time.monotonic() + 10
    while not path.exists() or path.read_text().split() != words:
        assert time.monotonic() < deadline, path.exists() and path.read_text()
        # tidy: allow sleep: what another program writes has no event
        time.sleep(0.01)


@pytest.fixture
def callee(begin, folder, tmp_path):
    """An actor that anybody can dial, and one who does: gives how to ask and be gone."""
    registry = folder, 'r.sock'
    running = begin(ACTOR, options=f'registry_addrs=[{registry!r}]')
    assert running.line() == 'ready'
    with Peer('requester', 'uds', folder) as peer:
        registrar = peer.dial(registry)

        def dial():
            return peer.dial(registrar.call('self', 'find_actor', name='callee')[0])

        def ask_and_go(function, until):
            path = tmp_path / function
            link = dial()
            link.ask('__main__', function, path=str(path))
            if until:
                wait_for(until, path)
            link.close()
            return path

        yield dial, ask_and_go
        link = dial()
        assert link.call('__main__', 'ping') == 'pong'
        assert link.cancel_actor() is True
    outcome = running.wait()
    assert outcome.status == 0 and outcome.is_clean, outcome


@every_home
def test_rpc_runs_after_startack_disconnect(callee):
    """Scenario 8. What nobody waits for is cancelled here, but what has begun ends as it will, and
    nothing runs twice. Gone so soon that it may not have begun, it does once or never."""
    dial, ask_and_go = callee
    for function in ('through', 'unwound'):
        path = ask_and_go(function, until=['begun'])
        wait_for(['begun', 'done'], path)
    path.unlink()
    ask_and_go('unwound', until=None)
    assert dial().call('__main__', 'ping') == 'pong'
    if path.exists():
        wait_for(['begun', 'done'], path)


@every_home
def test_error_shipment_ignores_closed_response_channel(callee):
    """Scenario 9: an error that nobody is left for costs nothing but itself."""
    dial, ask_and_go = callee
    for function in ('fails', 'fails_at_once'):
        path = ask_and_go(function, until=['begun'])
        wait_for(['begun', 'done'], path)
        assert dial().call('__main__', 'ping') == 'pong'
