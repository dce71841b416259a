# SPDX-License-Identifier: Apache-2.0
"""The independent actor alone, at both ends: it is right before it meets anybody else."""
import sys
from pathlib import Path

import pytest
import wire
from interop_kit import error_of, folder, transport  # noqa: F401: fixtures
from peer import Peer, PeerGone

APP = [sys.executable, str(Path(__file__).resolve().parent / 'app.py')]


@pytest.fixture
def root(transport, folder):
    with Peer('root', transport, folder, is_registrar=True) as peer:
        yield peer


@pytest.fixture
def child(root, folder):
    return root.spawn(APP, {'appmod': 'unused'}, environment={'PEER_FOLDER': folder})


def test_calls_return_or_fail_with_the_class_and_path_of_the_error(root, child):
    link = child.link
    assert link.call('appmod', 'add', x=1, y=2) == 3
    error = error_of(link.call, 'appmod', 'fail', msg='boom')
    assert (error.src_type_str, error.boxed_type_str) == ('ValueError', 'ValueError')
    assert error.relay_path == [link.aid.uid] and error.message == 'boom'
    assert error_of(link.call, 'appmod', 'add', x=1, nope=2).boxed_type_str == 'TypeError'
    assert error_of(link.call, 'no.such', 'f').boxed_type_str == 'ModuleNotExposed'
    assert child.cancel() == 0


def test_generators_stream_and_are_cancelled(root, child):
    assert list(child.link.stream('appmod', 'gen', n=3)) == [0, 1, 2]
    stream = child.link.stream('appmod', 'forever')
    assert [stream.receive(), stream.receive()] == [0, 1]
    assert stream.cancel() is True
    kinds = [one for one in root.journal.kinds(cid=stream.cid) if one != '<Yield']
    assert kinds == ['>Start', '<StartAck', '<Stop']


def test_contexts_stream_both_ways_and_tell_who_cancelled_them(root, child):
    ctx = child.link.open_context('appmod', 'echo_ctx', start=41)
    assert ctx.first == 42
    ctx.send('two')
    assert ctx.receive() == {'echo': 'two'}
    ctx.stop()
    assert ctx.result() == 1
    ctx = child.link.open_context('appmod', 'block_ctx')
    assert ctx.cancel() is True
    assert error_of(ctx.result).canceller == root.aid.uid


def test_a_child_registers_is_found_and_leaves_no_entry(root, child):
    found = root.dial(root.registry.find_actor('child')[0])
    assert found.call('appmod', 'add', x=5, y=6) == 11
    assert child.cancel() == 0
    assert root.registry.entries == []


def test_a_closed_connection_fails_what_waits_on_it(root, child):
    ctx = child.link.open_context('appmod', 'block_ctx')
    child.process.kill()
    with pytest.raises(PeerGone):
        ctx.result()


def test_frames_are_a_length_and_a_map_with_the_tag_first():
    raw = wire.encode(wire.Return('c', 3))
    assert wire.framed(raw) == b'\x1c\0\0\0\x83\xa8msg_type\xa6Return\xa3cid\xa1c\xa3pld\x03'
    assert wire.decode(raw) == wire.Return('c', 3)
    assert b'coppice' not in wire.encode(wire.Aid('a', 'b'))
