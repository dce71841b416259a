# SPDX-License-Identifier: Apache-2.0
"""Contexts between actors that are no parent and child, on both event loops."""
import textwrap

import pytest
from conftest import both_loops, every_transport

pytestmark = [both_loops, every_transport]

HEAD = textwrap.dedent('''
    import either
    import coppice
    from coppice import Context, ContextCancelled, RemoteActorError

    def me():
        return coppice.current_actor().uid

    @coppice.context
    async def open_stream_then_sleep(ctx: Context):
        await ctx.started()
        async with ctx.open_stream():
            await either.sleep(1000)
''')


@pytest.fixture
def peers(script):
    """Runs a script that begins with the endpoints above."""
    def run(text, **how):
        return script(HEAD + textwrap.dedent(text), **how)

    return run


def test_ctx_with_self_actor(peers):
    peers('''
        async def main():
            async with coppice.open_nursery() as an:
                async with coppice.find_actor('root') as portal:
                    assert portal.uid == me()
                    for block in (portal.open_context, portal.open_stream_from):
                        try:
                            async with block(open_stream_then_sleep):
                                raise AssertionError
                        except RuntimeError as error:
                            assert 'Invalid Operation' in str(error), error
        ''')


CANCELLER = '''
    @coppice.context
    async def cancel_sleeper(ctx: Context):
        async with coppice.wait_for_actor('sleeper') as peer:
            await ctx.started()
            await either.sleep(0.5)
            await peer.cancel_actor()
            await either.sleep(1000)

    @coppice.context
    async def stream_ints(ctx: Context):
        await ctx.started()
        async with ctx.open_stream() as stream:
            i = 0
            while True:
                await stream.send(i)
                i += 1
                await either.sleep(0.01)

    @coppice.context
    async def stream_from_sleeper(ctx: Context):
        try:
            async with (coppice.wait_for_actor('sleeper') as peer,
                        peer.open_context(stream_ints) as (peer_ctx, first),
                        peer_ctx.open_stream() as stream):
                await ctx.started()
                async for msg in stream:
                    pass
        except ContextCancelled as error:
            assert error is peer_ctx.maybe_error is peer_ctx.outcome
            assert peer_ctx.canceller[0] == 'sleeper' and error.canceller[0] == 'canceller'
            assert not (peer_ctx.cancel_called or peer_ctx.cancel_acked)
            assert not (ctx.cancel_called or ctx.cancel_acked or ctx.canceller)
            await either.sleep(0.5)  # The root is to hear of it from the sleeper first.
            raise
        raise RuntimeError('it was not cancelled')

    async def three_contexts(an, in_handler):
        actors = {name: await an.start_actor(name, enable_modules=[__name__])
                  for name in ('canceller', 'sleeper', 'just_caller')}
        ctxs = {}
        try:
            async with (
                    actors['sleeper'].open_context(open_stream_then_sleep) as (sleeper, _),
                    actors['just_caller'].open_context(stream_from_sleeper) as (caller, _),
                    actors['canceller'].open_context(cancel_sleeper) as (canceller, _)):
                ctxs |= {'sleeper': sleeper, 'just_caller': caller, 'canceller': canceller}
                try:
                    await sleeper.result()
                except ContextCancelled as error:
                    assert canceller.canceller is None and not sleeper.cancel_acked
                    assert error.canceller == actors['canceller'].uid
                    in_handler()
                    raise
            raise AssertionError('it should have raised')
        except (ContextCancelled, RuntimeError) as error:
            return error, ctxs, actors
'''


def test_peer_canceller(peers):
    peers(CANCELLER + '''
    async def main():
        async with coppice.open_nursery() as an:
            error, ctxs, actors = await three_contexts(an, lambda: None)
            assert isinstance(error, ContextCancelled)
            assert error.canceller == actors['canceller'].uid
            for name, ctx in ctxs.items():
                assert ctx.outcome is ctx.maybe_error is error, (name, ctx.outcome)
                assert not (ctx.cancel_called or ctx.cancel_acked or ctx.cancelled_caught), name
            assert ctxs['sleeper'].canceller[0] == 'sleeper'
            await an.cancel()
    ''')


def test_peer_canceller_with_an_error_in_the_handler_of_the_cancellation(peers):
    peers(CANCELLER + '''
    async def main():
        async with coppice.open_nursery() as an:
            mine = RuntimeError('in the handler')

            def fail():
                raise mine

            error, ctxs, actors = await three_contexts(an, fail)
            assert error is mine
            assert all(ctx.cancel_called for ctx in ctxs.values())
            sleeper, caller, canceller = ctxs.values()
            assert sleeper.outcome.canceller == actors['canceller'].uid
            assert sleeper.canceller[0] == 'sleeper' and not sleeper.cancel_acked
            assert canceller.outcome.canceller == me() and canceller.cancel_acked
            assert caller.outcome.canceller == me()
            await an.cancel()
    ''')


LITTLE_BRO = '''
    @coppice.context
    async def echo_server(ctx: Context, fail_after=None):
        await ctx.started(me())
        async with ctx.open_stream() as ipc:
            async for client, i in ipc:
                await ipc.send((me(), i))
                if fail_after is not None and i > fail_after:
                    raise RuntimeError('simulated')

    @coppice.context
    async def serve_subactors(ctx: Context):
        async with coppice.open_nursery() as an:
            await ctx.started('serving')
            async with ctx.open_stream() as requests:
                async for name in requests:
                    peer = await an.start_actor(name, enable_modules=[__name__])
                    await requests.send(peer.uid)
            await an.cancel()

    async def tell_little_bro(fail_after=None):
        async with (coppice.wait_for_actor('little_bro') as bro,
                    bro.open_context(echo_server, fail_after=fail_after) as (ctx, first),
                    ctx.open_stream() as ipc):
            for i in range(100):
                await ipc.send((me(), i))
                uid, echoed = await ipc.receive()
                assert tuple(uid) == tuple(first) != me() and echoed == i

    @coppice.context
    async def client_req_subactor(ctx: Context, reraise, fail_after=None):
        async with (coppice.find_actor('spawn_server', raise_on_none=True) as spawner,
                    spawner.open_context(serve_subactors) as (spawner_ctx, first)):
            assert first == 'serving'
            await ctx.started('yup')
            async with spawner_ctx.open_stream() as requests:
                await requests.send('little_bro')
                assert (await requests.receive())[0] == 'little_bro'
                await tell_little_bro(fail_after)
                try:
                    await either.sleep(1000)
                except either.cancelled():
                    if reraise:
                        KeyboardInterrupt()  # Made, as upstream's scenario does, and not raised.
                    raise

    async def one_case(reraise, fail_after):
        async with coppice.open_nursery() as an:
            server = await an.start_actor('spawn_server', enable_modules=[__name__])
            client = await an.start_actor('client', enable_modules=[__name__])
            async with (
                    server.open_context(serve_subactors) as (spawn_ctx, _),
                    client.open_context(client_req_subactor, reraise=reraise,
                                        fail_after=fail_after) as (client_ctx, says)):
                assert says == 'yup'
                async with coppice.wait_for_actor('little_bro') as bro:
                    bro_uid = bro.uid
                try:
                    await tell_little_bro()
                except (ContextCancelled, coppice.TransportClosed):
                    assert fail_after is not None  # Its nursery ended while we talked to it.
                if fail_after is None:
                    await client_ctx.cancel()
                    result = await client_ctx.wait_for_result()
                    assert isinstance(result, ContextCancelled) and client_ctx.cancel_acked
                    assert result.canceller == me()
                    await spawn_ctx.cancel()
                else:
                    try:
                        await client_ctx.wait_for_result()
                    except RemoteActorError as error:
                        assert error.boxed_type is RemoteActorError and error.src_uid == bro_uid
                        assert error.relay_uid == client.uid and not client_ctx.cancel_acked
                        assert client_ctx.maybe_error is client_ctx.outcome is error
                        raise
                    raise AssertionError
            assert fail_after is None and spawn_ctx.cancel_acked
            async with coppice.find_actor('little_bro') as bro:
                assert bro is None
            await an.cancel()
'''


def test_peer_spawns_and_cancels_service_subactor(peers):
    peers(LITTLE_BRO + '''
    async def main():
        for reraise in (False, True):
            async with either.timeout(20):
                await one_case(reraise, None)
    ''')


def test_peer_spawns_and_cancels_service_subactor_that_fails(peers):
    peers(LITTLE_BRO + '''
    async def main():
        for reraise in (False, True):
            async with either.timeout(20):
                try:
                    await one_case(reraise, 50)
                except RemoteActorError as error:
                    assert error.src_type is RuntimeError and error.src_uid[0] == 'little_bro'
                    assert error.relay_uid[0] == 'client'
                else:
                    raise AssertionError
    ''')
