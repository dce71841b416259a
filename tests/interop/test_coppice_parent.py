# SPDX-License-Identifier: Apache-2.0
"""A Coppice tree that meets actors of another implementation: as their parent, their registrar and
their client. Over tcp and unix sockets, each side calls, streams, fails and cancels."""
import ast
import sys
from pathlib import Path

import app
import pytest
from interop_kit import (both_loops, error_of, folder, guests_only,  # noqa: F401: fixtures
                         transport)
from peer import Peer

APP = Path(__file__).resolve().parent / 'app.py'
DIALOGS = '''
    import coppice
    import either

    async def error_of(call):
        try:
            value = await call
        except coppice.RemoteActorError as error:
            return error
        raise AssertionError(f'it should have failed, and returned {value!r}')

    async def drive(portal):
        """Every dialog that there is, with a peer that offers app.py."""
        assert await portal.run('appmod:add', x=1, y=2) == 3
        error = await error_of(portal.run('appmod:fail', msg='boom'))
        assert error.boxed_type is ValueError and error.relay_path == [portal.uid], error
        assert (await error_of(portal.run('appmod:add', x=1, nope=2))).boxed_type is TypeError
        error = await error_of(portal.run('not.exposed:f'))
        assert error.boxed_type_str == 'ModuleNotExposed', error
        async with portal.open_stream_from('appmod:gen', n=3) as stream:
            assert [value async for value in stream] == [0, 1, 2]
        async with portal.open_stream_from('appmod:forever') as stream:
            assert [await stream.receive(), await stream.receive()] == [0, 1]
        async with portal.open_context('appmod:echo_ctx', start=41) as (ctx, first):
            assert first == 42
            async with ctx.open_stream() as stream:
                for value in (1, 'two', [3, None, 4.5, bytes(2)]):
                    await stream.send(value)
                    assert await stream.receive() == {'echo': value}
        assert ctx.outcome == 3
        async with portal.open_context('appmod:stop_first_ctx', n=2) as (ctx, first):
            async with ctx.open_stream() as stream:
                assert [value async for value in stream] == [0, 1]
        assert ctx.outcome == 'stopped'
        async with portal.open_context('appmod:block_ctx') as (ctx, first):
            await ctx.cancel()
        assert ctx.cancel_acked and ctx.outcome.canceller == coppice.current_actor().uid

        async def failing():
            async with portal.open_context('appmod:fail_ctx', msg='k') as (ctx, _):
                await ctx.wait_for_result()

        assert (await error_of(failing())).boxed_type is KeyError
        with coppice.move_on_after(0.1) as scope:
            await portal.run('appmod:slow_call')  # It will never say how that ended.
        assert scope.cancelled_caught
        assert await portal.run('appmod:add', x=3, y=4) == 7
'''


@pytest.fixture
def foreign(folder):
    """The program of an actor that has nothing of Coppice; what it is told is in its journal."""
    path = Path(folder) / 'foreign'
    path.write_text(f'#!/bin/sh\nexec {sys.executable} {APP} "$@"\n')
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def address(transport, folder):
    """Where a registrar is to listen."""
    return ('127.0.0.1', 0) if transport == 'tcp' else (folder, 'registry.sock')


@both_loops
@guests_only  # The root's default, which a program of its own does without.
def test_the_parent_of_a_foreign_actor_drives_it_and_ends_it(script, foreign, address, folder):
    script(DIALOGS + f'''
    async def main():
        async with coppice.open_nursery() as an:
            portal = await an.start_actor('child', enable_modules=['appmod'], proc_kwargs={{
                'executable': {foreign!r}, 'env': {{'PEER_FOLDER': {folder!r}}}}})
            assert portal.start_method == 'process'
            await drive(portal)
            async with coppice.wait_for_actor('child') as found:
                assert found.uid == portal.uid
                assert await found.run('appmod:add', x=5, y=6) == 11
            await portal.cancel_actor()
            assert [(one.how, one.status) for one in an.exits.values()] == [('exited', 0)]
            names = sorted(key.split('.')[0] for key in await coppice.get_registry())
            assert names == ['root'], names
    ''', options=f'registry_addrs=[{address!r}]', seconds=60)


@guests_only
def test_a_foreign_actor_that_dies_is_the_failure_of_its_nursery(script, foreign, folder):
    script(DIALOGS + f'''
    import os, signal

    async def main():
        import support

        try:
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('child', enable_modules=['appmod'], proc_kwargs={{
                    'executable': {foreign!r}, 'env': {{'PEER_FOLDER': {folder!r}}}}})
                async with portal.open_context('appmod:block_ctx') as (ctx, _):
                    for pid in support.children():
                        os.kill(int(pid), signal.SIGKILL)
                    await ctx.wait_for_result()
        except coppice.ActorDied as died:
            assert died.report.how == 'signalled', died.report
        else:
            raise AssertionError('nobody noticed')
    ''', seconds=60)


@pytest.fixture
def peer(native_half, transport, folder):
    with Peer('peer', transport, folder, is_registrar=True, modules=app.MODULES) as one:
        yield one


@both_loops
@guests_only
def test_a_client_joins_a_foreign_registrar_drives_it_and_leaves_no_entry(script, peer):
    script(DIALOGS + f'''
    async def main():
        assert not coppice.current_actor().is_registrar
        async with coppice.open_nursery() as an:
            await an.start_actor('guest')
            await an.start_actor('process', start_method='process')
            names = sorted(key.split('.')[0] for key in await coppice.get_registry())
            assert names == ['guest', 'process', 'root'], names
            async with coppice.find_actor('nobody') as found:
                assert found is None
            async with coppice.find_actor('process') as found:
                assert found is not None
            await an.cancel()
        async with coppice.open_nursery() as an:
            names = [key.split('.')[0] for key in await coppice.get_registry()]
            assert names == ['root'], names
    ''', options=f'registry_addrs=[{peer.addr!r}]', seconds=60)
    assert peer.registry.entries == []
    asked = [one.message['func'] for one in peer.journal.records if one.kind == 'Start']
    assert asked.count('register_actor') == asked.count('unregister_actor') == 3


@both_loops
@guests_only
def test_what_a_foreign_registrar_lists_is_driven(script, peer):
    peer.registry.register_actor(peer.aid.uid, peer.addr)
    script(DIALOGS + f'''
    async def main():
        async with coppice.find_actor('peer') as portal:
            await drive(portal)
        async with coppice.wait_for_actor('peer', registry_addrs=[{peer.addr!r}]) as portal:
            await portal.cancel_actor()
    ''', options=f'registry_addrs=[{peer.addr!r}]', seconds=60)
    assert peer.cancelled.is_set()


SERVER = '''
    import asyncio
    import coppice

    async def add(x, y):
        return x + y

    async def fail(msg):
        raise ValueError(msg)

    @coppice.context
    async def echo(ctx: coppice.Context, start):
        await ctx.started(start + 1)
        async with ctx.open_stream() as stream:
            async for value in stream:
                await stream.send({'echo': value})
        return 'done'

    @coppice.context
    async def block(ctx: coppice.Context):
        await ctx.started('ready')
        await asyncio.sleep(1000)

    async def main():
        async with coppice.open_nursery() as an:
            portal = await an.start_actor('server', enable_modules=[__name__])
            table = await coppice.get_registry()
            print([at for key, at in table.items() if key.startswith('root.')], flush=True)
            async with coppice.wait_for_actor('peer') as peer:
                assert await peer.run('appmod:add', x=20, y=3) == 23
                async with peer.open_context('appmod:echo_ctx', start=1) as (ctx, first):
                    async with ctx.open_stream() as stream:
                        await stream.send(5)
                        assert await stream.receive() == {'echo': 5}
            print('driven', flush=True)
            await asyncio.sleep(1000)
'''


@guests_only
def test_a_registrar_serves_a_foreign_client_and_is_its_client(begin, native_half, transport,
                                                               folder, address):
    running = begin(SERVER, options=f'registry_addrs=[{address!r}]', seconds=60)
    [addresses] = ast.literal_eval(running.line())
    at = next(one for one in addresses if isinstance(one[1], int) == (transport == 'tcp'))
    with Peer('peer', transport, folder, modules=app.MODULES) as peer:
        registrar = peer.dial(at)
        assert registrar.aid.is_registrar is True
        assert registrar.call('self', 'find_actor', name='nobody') is None
        registrar.call('self', 'register_actor', uid=peer.aid.uid, addr=peer.addr)
        [where, *_] = registrar.call('self', 'wait_for_actor', name='server')
        server = peer.dial(where)
        assert server.aid.name == 'server'
        module = '__main__'
        assert server.call(module, 'add', x=1, y=2) == 3
        error = error_of(server.call, module, 'fail', msg='boom')
        assert error.boxed_type_str == 'ValueError' and error.relay_path == [server.aid.uid]
        ctx = server.open_context(module, 'echo', start=41)
        assert ctx.first == 42
        ctx.send('two')
        assert ctx.receive() == {'echo': 'two'}
        ctx.stop()
        assert ctx.result() == 'done'
        ctx = server.open_context(module, 'block')
        assert ctx.cancel() is True
        assert error_of(ctx.result).canceller == peer.aid.uid
        uids = [tuple(key.rsplit('.', 1)) for key in registrar.call('self', 'get_registry')]
        assert {name for name, _ in uids} == {'root', 'server', 'peer'}
        registrar.call('self', 'unregister_actor', uid=peer.aid.uid)
        assert registrar.call('self', 'find_actor', name='peer') is None
        assert running.line() == 'driven'
        assert registrar.cancel_actor() is True
        outcome = running.wait()
        assert outcome.is_clean, outcome
