# SPDX-License-Identifier: Apache-2.0
"""A Coppice actor in a process of its own, whose parent speaks tractor's protocol, no more."""
import subprocess
import sys
import textwrap
import uuid

import msgspec
import pytest
import wire
from interop_kit import CHILD, error_of, folder, path_with  # noqa: F401: fixtures
from peer import Dialog, Peer
from wire import StartAck

MODULE = '''
import asyncio

import coppice

async def add(x, y):
    return x + y

def plain(x):
    return x

async def fail(msg):
    raise ValueError(msg)

async def group():
    raise ExceptionGroup('two', [ValueError('a'), KeyError('b')])

async def sleepy():
    await asyncio.sleep(1000)

async def stubborn(seconds):
    try:
        await asyncio.sleep(1000)
    finally:
        with coppice.CancelScope(shield=True):
            await asyncio.sleep(seconds)
'''


@pytest.fixture
def root(native_half, folder):
    with Peer('root', 'uds', folder, is_registrar=True) as peer:
        yield peer


@pytest.fixture
def child(root, tmp_path):
    path = tmp_path / 'interop_mod.py'
    path.write_text(textwrap.dedent(MODULE))
    return root.spawn([sys.executable, '-P', str(CHILD)],
                      {'interop_mod': str(path)}, registers=False,
                      environment={'PYTHONPATH': path_with(tmp_path)})


@pytest.fixture
def call(child):
    return lambda func, **kwargs: child.link.call('interop_mod', func, **kwargs)


@pytest.mark.parametrize('value', [
    None, True, -2**63, 2**64 - 1, 1.5, 'é', b'\0\xff', [1, [2]], {'a': {'b': None}},
    'x' * 100_000])
def test_values_come_back_as_they_went(call, value):
    assert call('plain', x=value) == value


def test_a_call_is_start_ack_and_return(root, child, call):
    assert call('add', x=1, y=2) == 3
    cid = root.journal.records[-1].message['cid']
    assert root.journal.kinds(cid=cid) == ['>Start', '<StartAck', '<Return']


def test_errors_have_class_path_and_traceback(child, call):
    error = error_of(call, 'fail', msg='boom')
    me = child.link.aid.uid
    assert (error.src_type_str, error.boxed_type_str) == ('ValueError', 'ValueError')
    assert error.src_uid == me and error.relay_path == [me] and error.canceller is None
    assert 'boom' in error.message and 'interop_mod.py' in error.tb_str


def test_a_group_goes_to_tractor_as_a_class_name(root, call):
    error = error_of(call, 'group')
    assert error.boxed_type_str == 'ExceptionGroup'
    assert 'coppice_members' not in root.journal.records[-1].message


@pytest.mark.parametrize('ns, func, kwargs, kind', [
    ('interop_mod', 'add', {'x': 1, 'nope': 2}, 'TypeError'),
    ('interop_mod', 'nope', {}, 'AttributeError'),
    ('not.exposed', 'f', {}, 'ModuleNotExposed')])
def test_what_cannot_be_called_is_an_error_instead_of_an_ack(root, child, ns, func, kwargs, kind):
    error = error_of(child.link.call, ns, func, **kwargs)
    assert error.boxed_type_str == kind
    assert root.journal.kinds(cid=error.cid) == ['>Start', '<Error']


def test_a_cancelled_call_is_acknowledged_once_it_has_ended(root, child):
    dialog = child.link.ask('interop_mod', 'stubborn', seconds=0.1)
    dialog.expect(StartAck)
    assert dialog.cancel() is True
    kinds = [(one.direction, one.kind) for one in root.journal.records][-2:]
    assert kinds == [('got', 'Error'), ('got', 'CancelAck')]
    error = error_of(dialog.result)
    assert error.boxed_type_str == 'ContextCancelled' and error.canceller == root.aid.uid


def test_cancelling_what_is_unknown_is_acknowledged(child):
    assert child.link.call('self', '_cancel_task', cid=str(uuid.uuid4())) is True


def test_cancelling_one_call_delays_no_other(child, call):
    slow = child.link.ask('interop_mod', 'stubborn', seconds=0.4)
    slow.expect(StartAck)
    request = child.link.ask('self', '_cancel_task', cid=slow.cid)
    request.expect(StartAck)
    assert call('add', x=1, y=2) == 3
    assert request.inbox.empty()  # While the first is not done yet.
    assert request.result() is True


def test_a_cancelled_actor_answers_and_exits_cleanly(root, child):
    sleeper = child.link.ask('interop_mod', 'sleepy')
    sleeper.expect(StartAck)
    assert child.cancel() == 0
    assert error_of(sleeper.result).boxed_type_str == 'ContextCancelled'


def test_a_lost_parent_ends_its_child(child):
    child.link.close()
    assert child.process.wait(5) is not None


def test_keys_in_any_order_and_unknown_ones_are_taken(root, child):
    cid = str(uuid.uuid4())
    dialog = child.link.dialogs[cid] = Dialog(child.link, cid)
    child.link.wire.send_raw(msgspec.msgpack.encode(
        {'new_key': [1], 'kwargs': {'y': 2, 'x': 1}, 'uid': root.aid.uid, 'func': 'add',
         'ns': 'interop_mod', 'cid': cid, 'msg_type': 'Start'}))
    dialog.expect(StartAck)
    assert dialog.result() == 3


def test_nothing_is_sent_that_tractor_would_not_know(root, child, call):
    call('add', x=1, y=2)
    error_of(call, 'fail', msg='boom')
    child.cancel()
    known = {'Aid', 'Start', 'StartAck', 'Return', 'Error', 'CancelAck'}
    assert {one.kind for one in root.journal.records if one.direction == 'got'} <= known
    for one in root.journal.records:
        if one.direction == 'got' and one.kind != 'Aid':
            assert not [key for key in one.message if key.startswith('coppice')], one


@pytest.mark.parametrize('raw', [
    b'\xc1', b'\x80', b'not msgpack', msgspec.msgpack.encode({'msg_type': 'Nonsense'}),
    msgspec.msgpack.encode({'msg_type': 'Start', 'cid': 'c'}),
    msgspec.msgpack.encode({'msg_type': 'Start', 'cid': 'c', 'ns': 'interop_mod', 'func': 'add',
                            'kwargs': {}, 'uid': ['somebody', 'else']})])
def test_a_frame_that_breaks_the_protocol_costs_the_connection(child, raw):
    child.link.wire.send_raw(raw)
    assert child.link.closed.wait(5)


def test_a_child_refuses_a_parent_that_says_no_aid(native_half, folder):
    sock, addr = wire.listen('uds', folder, 'p.sock')
    with sock, subprocess.Popen(
            [sys.executable, '-P', str(CHILD), '--uid', "('c', 'u')",
             '--parent_addr', str(addr)], stderr=subprocess.DEVNULL) as process:
        line = wire.Wire(sock.accept()[0], wire.Journal(), 'in')
        line.send(wire.Stop('x'))
        assert process.wait(5) != 0
        line.close()
