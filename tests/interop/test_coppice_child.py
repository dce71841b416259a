# SPDX-License-Identifier: Apache-2.0
"""A Coppice actor in a process of its own, whose parent speaks tractor's protocol, no more."""
import subprocess
import sys
import textwrap
import time
import uuid

import msgspec
import pytest
import wire
from interop_kit import CHILD, error_of, folder, path_with, transport  # noqa: F401: fixtures
from peer import Dialog, Peer
from wire import Error, StartAck, Stop

MODULE = '''
import asyncio
import coppice

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

async def gen(n):
    for value in range(n):
        yield value

async def forever():
    n = 0
    while True:
        yield n
        n += 1
        await asyncio.sleep(0.005)

@coppice.context
async def echo(ctx: coppice.Context, start):
    await ctx.started(start + 1)
    count = 0
    async with ctx.open_stream() as stream:
        async for value in stream:
            await stream.send({'echo': value})
            count += 1
    return count

@coppice.context
async def block(ctx: coppice.Context):
    await ctx.started('ready')
    await asyncio.sleep(1000)

@coppice.context
async def stop_first(ctx: coppice.Context, n):
    await ctx.started()
    async with ctx.open_stream() as stream:
        for value in range(n):
            await stream.send(value)
    return 'stopped'

@coppice.context
async def flood(ctx: coppice.Context, n):
    await ctx.started()
    async with ctx.open_stream() as stream:
        for value in range(n):
            await stream.send(value)
        await asyncio.sleep(1000)

@coppice.context
async def slow(ctx: coppice.Context, size, allow=False):
    await ctx.started()
    async with ctx.open_stream(msg_buffer_size=size, allow_overruns=allow) as stream:
        await asyncio.sleep(0.3)
        return [value async for value in stream]

@coppice.context
async def cancels_itself(ctx: coppice.Context):
    await ctx.started()
    await ctx.cancel()
    await asyncio.sleep(1000)

@coppice.context
async def fails(ctx: coppice.Context):
    await ctx.started()
    raise KeyError('k')

async def stubborn(seconds):
    try:
        await asyncio.sleep(1000)
    finally:
        with coppice.CancelScope(shield=True):
            await asyncio.sleep(seconds)
'''


@pytest.fixture
def root(native_half, folder, transport):
    with Peer('root', transport, folder, is_registrar=True) as peer:
        yield peer


@pytest.fixture
def crediting_root(native_half, folder, transport):
    ext = {'v': 1, 'ext': ['credit']}
    with Peer('root', transport, folder, is_registrar=True, ext=ext) as peer:
        yield peer


def start(root, folder, more=None, registers=False, **how):
    path = folder / 'interop_mod.py'
    path.write_text(textwrap.dedent(MODULE))
    return root.spawn([sys.executable, '-P', str(CHILD)],
                      {'interop_mod': str(path), **(more or {})}, registers=registers,
                      environment={'PYTHONPATH': path_with(folder)}, **how)


@pytest.fixture
def child(root, tmp_path):
    return start(root, tmp_path)


@pytest.fixture
def open_context(child):
    return lambda func, **kwargs: child.link.open_context('interop_mod', func, **kwargs)


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


def test_a_child_is_registered_until_its_end_and_keeps_no_connection_for_it(root, tmp_path):
    child = start(root, tmp_path, registers=True)
    where = root.registry.find_actor('child')
    assert root.dial(where[0]).call('interop_mod', 'add', x=5, y=6) == 11
    assert child.cancel() == 0
    assert root.registry.entries == []
    asked = [one for one in root.journal.records if one.kind == 'Start' and one.direction == 'got']
    assert [one.message['func'] for one in asked] == ['register_actor', 'unregister_actor']
    assert len({one.link for one in asked}) == 2


def test_a_registrar_that_is_gone_holds_no_child_up(native_half, folder, transport, tmp_path):
    with Peer('root', transport, folder, is_registrar=True) as root:
        child = start(root, tmp_path, registers=True)
        root.stop_listening()
        began = time.monotonic()
        assert child.cancel() == 0
        assert time.monotonic() - began < 2


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


# --- Streams and contexts: the frames are those of a real tractor child.


def test_a_generator_ends_with_stop(root, child):
    stream = child.link.stream('interop_mod', 'gen', n=3)
    assert list(stream) == [0, 1, 2]
    assert stream.cancel() is True  # As a consumer always does when it leaves.
    kinds = root.journal.kinds(cid=stream.cid)
    assert kinds == ['>Start', '<StartAck', '<Yield', '<Yield', '<Yield', '<Stop']


def test_a_cancelled_generator_ends_with_stop(root, child):
    stream = child.link.stream('interop_mod', 'forever')
    assert [stream.receive(), stream.receive()] == [0, 1]
    stream.stop()
    assert stream.cancel() is True
    kinds = [one for one in root.journal.kinds(cid=stream.cid) if one != '<Yield']
    assert kinds == ['>Start', '<StartAck', '>Stop', '<Stop']


def test_a_context_streams_both_ways_and_returns(root, open_context):
    ctx = open_context('echo', start=41)
    assert ctx.first == 42
    for value in (1, 'two', [3, None, 4.5, b'\0']):
        ctx.send(value)
        assert ctx.receive() == {'echo': value}
    ctx.stop()
    assert ctx.result() == 3
    assert root.journal.kinds(cid=ctx.cid) == [
        '>Start', '<StartAck', '<Started', *['>Yield', '<Yield'] * 3, '>Stop', '<Return']


def test_a_callee_that_leaves_its_stream_says_stop_before_it_returns(root, open_context):
    ctx = open_context('stop_first', n=2)
    assert list(ctx) == [0, 1]
    assert ctx.result() == 'stopped'
    assert root.journal.kinds(cid=ctx.cid) == [
        '>Start', '<StartAck', '<Started', '<Yield', '<Yield', '<Stop', '<Return']


def test_a_context_that_fails_ends_with_its_error(open_context):
    error = error_of(open_context('fails').result)
    assert (error.src_type_str, error.boxed_type_str) == ('KeyError', 'KeyError')


def test_a_cancelled_context_says_so_before_the_request_is_acknowledged(root, open_context):
    ctx = open_context('block')
    assert ctx.cancel() is True
    assert root.journal.kinds()[-3:] == ['<StartAck', '<Error', '<CancelAck']
    error = error_of(ctx.result)
    assert error.boxed_type_str == 'ContextCancelled' and error.canceller == root.aid.uid


def test_a_context_that_is_cancelled_inside_its_stream_says_stop_first(root, open_context):
    ctx = open_context('flood', n=1)
    assert ctx.receive() == 0
    assert ctx.cancel() is True
    assert root.journal.kinds()[-4:] == ['<StartAck', '<Stop', '<Error', '<CancelAck']


def test_a_callee_that_cancels_itself_names_itself(child, open_context):
    error = error_of(open_context('cancels_itself').result)
    assert error.boxed_type_str == 'ContextCancelled' and error.canceller == child.link.aid.uid


def test_an_error_of_the_callers_side_ends_the_callee_and_comes_back_relayed(
        root, child, open_context):
    me, ctx = root.aid.uid, open_context('block')
    child.link.wire.send(Error(me, 'ValueError', 'ValueError', [me], 'x', cid=ctx.cid))
    error = error_of(ctx.result)
    assert (error.src_type_str, error.boxed_type_str) == ('ValueError', 'RemoteActorError')
    assert error.src_uid == me and error.relay_path == [me, child.link.aid.uid]


def test_each_value_that_finds_no_room_is_answered_with_an_overrun(root, child, open_context):
    ctx = open_context('slow', size=2)
    time.sleep(0.1)  # tidy: allow sleep: nothing on the wire says that a stream was opened
    for value in range(4):
        ctx.send(value)
    for _ in range(2):
        error = ctx.take()
        assert error.boxed_type_str == error.src_type_str == 'StreamOverrun'
        assert error.sender == root.aid.uid and error.src_uid == child.link.aid.uid
    ctx.stop()
    assert ctx.result() == [0, 1]


def test_overruns_that_are_allowed_lose_nothing(open_context):
    ctx = open_context('slow', size=2, allow=True)
    time.sleep(0.1)  # tidy: allow sleep: nothing on the wire says that a stream was opened
    for value in range(50):
        ctx.send(value)
    ctx.stop()
    assert ctx.result() == list(range(50))


def test_a_callee_that_is_told_of_an_overrun_ends_with_it(root, child, open_context):
    me, ctx = root.aid.uid, open_context('flood', n=70)
    child.link.wire.send(Error(me, 'StreamOverrun', 'StreamOverrun', [me], 'too much',
                               sender=child.link.aid.uid, cid=ctx.cid))
    error = error_of(ctx.result)
    assert (error.src_type_str, error.boxed_type_str) == ('StreamOverrun', 'RemoteActorError')
    assert error.sender == child.link.aid.uid


def test_late_messages_are_dropped(call, child, open_context):
    ctx = open_context('stop_first', n=1)
    ctx.result()
    for late in (wire.Yield(ctx.cid, 1), Stop(ctx.cid), wire.Return(ctx.cid, 1), Stop('unknown')):
        child.link.wire.send(late)
    assert call('add', x=1, y=2) == 3


def test_credit_bounds_what_a_callee_sends(crediting_root, tmp_path):
    link = start(crediting_root, tmp_path).link
    dialog = Dialog(link, str(uuid.uuid4()))
    link.dialogs[dialog.cid] = dialog
    link.wire.send_raw(msgspec.msgpack.encode({
        'msg_type': 'Start', 'cid': dialog.cid, 'ns': 'interop_mod', 'func': 'flood',
        'kwargs': {'n': 5}, 'uid': crediting_root.aid.uid, 'pld_spec': 'typing.Any',
        'coppice_credit': [2, 1 << 20]}))
    dialog.expect(wire.StartAck)
    ack = next(one.message for one in crediting_root.journal.records if one.kind == 'StartAck')
    dialog.expect(wire.Started)
    assert len(ack['coppice_credit']) == 2 and min(ack['coppice_credit']) > 0
    values = [one for one in (dialog.take() for _ in range(3)) if isinstance(one, wire.Yield)]
    assert [one.pld for one in values] == [0, 1]  # And a Credit: its side of the stream is open.
    with pytest.raises(TimeoutError):
        dialog.take(within=0.1)
    link.wire.send(wire.Credit(dialog.cid, 2, 100))
    assert [dialog.receive(), dialog.receive()] == [2, 3]
    with pytest.raises(TimeoutError):
        dialog.take(within=0.1)


def test_what_only_a_tractor_program_can_import_does_not_keep_its_child_from_starting(
        root, tmp_path):
    main = tmp_path / 'tractor_main.py'
    main.write_text('import no_such_module_as_tractor')
    child = start(root, tmp_path, {'tractor.devx.debug._tty_lock': '/nowhere/_tty_lock.py'},
                  main_data={'init_main_from_path': str(main)})
    assert child.link.call('interop_mod', 'add', x=1, y=2) == 3


def test_a_module_that_does_not_import_ends_its_child_which_says_why(root, tmp_path):
    path = tmp_path / 'broken.py'
    path.write_text('import time\ntime.sleep(0.2)\nimport no_such_module')
    child = start(root, tmp_path, {'broken': str(path)})  # The call comes before it has failed.
    error = error_of(child.link.call, 'interop_mod', 'add', x=1, y=2)
    assert error.boxed_type_str == 'ModuleNotFoundError'
    assert child.process.wait(5) == 1
    errors = [one.message for one in root.journal.records if one.kind == 'Error']
    assert [one['boxed_type_str'] for one in errors if one['cid'] is None] == ['ModuleNotFoundError']
