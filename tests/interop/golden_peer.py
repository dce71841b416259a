# SPDX-License-Identifier: Apache-2.0
"""The parts of the recorded dialogs, played by peer.py: what shows that the replay itself is right.

    golden_peer.py root FOLDER STAND_IN
    golden_peer.py FOLDER STAND_IN --uid … --parent_addr …
"""
import sys

from peer import Peer, RemoteError, Task, context, play_child

arguments = sys.argv[1:]
part = arguments.pop(0) if arguments[0] == 'root' else ''
folder, stand_in = arguments[0], arguments[1]
MODULE = {'appmod': f'{folder}/appmod.py'}


def add(x, y):
    return x + y


def fail(msg):
    raise ValueError(msg)


def gen(n):
    yield from range(n)


@context
def echo_ctx(ctx: Task, start):
    ctx.started(start + 1)
    for value in ctx:
        ctx.send({'echo': value})
    return 'done'


@context
def block_ctx(ctx: Task):
    ctx.started('ready')
    ctx.wait_cancelled()


@context
def nested_fail(ctx: Task):
    ctx.started()
    peer = ctx.link.peer
    leaf = peer.spawn([stand_in], MODULE, name='leaf', registers=False)
    try:
        leaf.link.call('appmod', 'fail', msg='deep')
    finally:
        leaf.cancel()


def play_root() -> None:
    with Peer('root', 'tcp', folder, is_registrar=True) as root:
        callee = root.spawn([stand_in], MODULE, name='callee',
                            main_data={'init_main_from_path': f'{folder}/scen.py'})
        link = callee.link
        assert link.call('appmod', 'add', x=1, y=2) == 3
        for ns, func, kwargs, error in (('appmod', 'fail', {'msg': 'boom'}, 'ValueError'),
                                        ('appmod', 'add', {'x': 1, 'nope': 2}, 'TypeError'),
                                        ('not.exposed', 'f', {}, 'ModuleNotExposed')):
            try:
                link.call(ns, func, **kwargs)
            except RemoteError as came:
                assert came.error.boxed_type_str == error
        stream = link.stream('appmod', 'gen', n=3)
        assert list(stream) == [0, 1, 2]
        stream.cancel()
        ctx = link.open_context('appmod', 'echo_ctx', start=41)
        for value in (1, 'two', [3, None, 4.5, b'\0']):
            ctx.send(value)
            assert ctx.receive() == {'echo': value}
        ctx.stop()
        assert ctx.result() == 'done'
        assert link.open_context('appmod', 'block_ctx').cancel() is True
        ctx = link.open_context('appmod', 'nested_fail')
        try:
            ctx.result()
        except RemoteError as came:
            assert came.error.boxed_type_str == 'RemoteActorError'
            ctx.cancel()
        found = root.dial(root.registry.find_actor('callee')[0])
        assert root.registry.find_actor('nobody') is None
        assert found.call('appmod', 'add', x=5, y=6) == 11
        assert callee.cancel() == 0


if part == 'root':
    play_root()
else:
    play_child(arguments[2:], {'appmod': {one.__name__: one for one in (
        add, fail, gen, echo_ctx, block_ctx, nested_fail)}}, folder)
