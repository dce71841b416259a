# SPDX-License-Identifier: Apache-2.0
"""Contexts, with real actors, on both event loops: tractor's scenarios."""
from conftest import both_loops, every_transport
from context_kit import contexts  # noqa: F401: a fixture

pytestmark = [both_loops, every_transport]


def test_simple_context(contexts):
    contexts('''
        from itertools import product

        async def one_case(portal, error, block, open_stream):
            async with portal.open_context(setup_and_teardown, data=10,
                                           block_forever=block) as (ctx, sent):
                assert coppice.current_ipc_ctx() is ctx
                assert sent == 11
                if block:
                    assert await portal.run(get_state) is True
                else:
                    assert await ctx.result() == 'yo'
                if open_stream:
                    async with ctx.open_stream():
                        if error:
                            raise error
                        if block:
                            await ctx.cancel()
                else:
                    if error:
                        raise error
                    await ctx.cancel()

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('simple', enable_modules=[__name__])
                for error, block, stream in product((None, ValueError, KeyboardInterrupt),
                                                    (False, True), (False, True)):
                    async with either.timeout(10):
                        try:
                            await one_case(portal, error, block, stream)
                        except (ValueError, KeyboardInterrupt) as raised:
                            assert type(raised) is error
                        else:
                            assert error is None
                        assert coppice.current_ipc_ctx() is None
                        assert await portal.run(get_state) is False
                await portal.cancel_actor()
        ''')


def test_started_misuse(contexts):
    contexts('''
        @coppice.context
        async def started_twice(ctx: Context):
            await ctx.started()
            await ctx.started()

        @coppice.context
        async def stream_before_started(ctx: Context):
            async with ctx.open_stream():
                assert False

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('misuse', enable_modules=[__name__])
                for endpoint in (started_twice, stream_before_started):
                    try:
                        async with portal.open_context(endpoint) as (ctx, sent):
                            await either.sleep(1000)
                    except RemoteActorError as error:
                        assert error.boxed_type is RuntimeError, error
                        assert 'started()' in error.message
                    else:
                        raise AssertionError
                async with portal.open_context(sleep) as (ctx, sent):
                    try:
                        await ctx.started()
                    except RuntimeError:
                        await ctx.cancel()
                await an.cancel()
        ''')


def test_parent_cancels(contexts):
    contexts('''
        from itertools import product

        async def check(ctx, how, early):
            root = me()
            if how == 'portal' and not early:
                try:
                    await ctx.result()
                except ContextCancelled as error:
                    assert error.canceller == root and error is ctx.maybe_error
                else:
                    raise AssertionError
            else:
                result = await ctx.result()  # Never raises.
            if early:
                assert result == 'yo' and ctx.outcome is result and ctx.maybe_error is None
            else:
                assert isinstance(ctx.outcome, ContextCancelled)
                assert ctx.outcome.canceller == root
                assert ctx.outcome is ctx.maybe_error

        async def one_case(an, how, early, inside):
            portal = await an.start_actor('simple', enable_modules=[__name__])
            raises = how == 'portal' and not early
            try:
                async with portal.open_context(setup_and_teardown, data=10,
                                               block_forever=not early) as (ctx, sent):
                    if early:
                        await either.sleep(0.1)
                    if how == 'ctx':
                        await ctx.cancel()
                        assert ctx.cancel_called and ctx.cancel_acked is not early
                    else:
                        await portal.cancel_actor()
                    if inside:
                        await check(ctx, how, early)
            except ContextCancelled as error:
                assert raises and error.canceller == me()
                assert not ctx.cancel_acked
            else:
                assert not raises
            if not inside:
                await check(ctx, how, early)
            await portal.cancel_actor()

        async def main():
            async with coppice.open_nursery() as an:
                for case in product(('ctx', 'portal'), (True, False), (True, False)):
                    async with either.timeout(10):
                        await one_case(an, *case)
        ''')


def test_parent_exits_ctx_after_child_enters_stream(contexts):
    contexts('''
        from itertools import product

        async def one_case(portal, cancel, child_sends, parent_reads):
            parent_reads = parent_reads and child_sends
            async with portal.open_context(echo, send_before_receive=child_sends) as (ctx, sent):
                assert sent is None
                assert await portal.run(get_state) is True
                if cancel == 'before the stream':
                    await ctx.cancel()
                try:
                    async with ctx.open_stream() as stream:
                        if parent_reads:
                            assert await stream.receive() == 'yo'
                        if cancel == 'inside the stream':
                            await ctx.cancel()
                except ContextCancelled as error:
                    assert cancel == 'before the stream' and error.canceller == me()
                    raise  # It is absorbed by the block.
                assert cancel != 'before the stream'
                if cancel == 'never':
                    try:
                        async with either.timeout(0.1):
                            await ctx.wait_for_result()
                        raise AssertionError('it should have blocked')
                    except TimeoutError:
                        pass
                if cancel in ('after the stream', 'never'):
                    await ctx.cancel()
            assert ctx.cancel_acked
            assert ctx.outcome is ctx.maybe_error
            assert ctx.outcome.canceller == me()
            try:
                async with ctx.open_stream():
                    pass
            except ContextCancelled:
                pass
            else:
                raise AssertionError('opened again')
            assert await portal.run(get_state) == f'cancelled: {either.cancelled().__name__}'
            assert portal.channel.connected()

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('echo', enable_modules=[__name__])
                for case in product(
                        ('never', 'before the stream', 'inside the stream', 'after the stream'),
                        (False, True), (False, True)):
                    async with either.timeout(10):
                        await one_case(portal, *case)
                await portal.cancel_actor()
        ''')


def test_multitask_parent_cancels_from_nonroot_task(contexts):
    contexts('''
        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('echo', enable_modules=[__name__])
                async with portal.open_context(echo) as (ctx, sent):
                    assert await portal.run(get_state) is True
                    async with ctx.open_stream() as stream:

                        async def send_then_cancel():
                            await stream.send('yo')
                            assert await portal.run(get_state) is True
                            await ctx.cancel()

                        async def read():
                            async for msg in stream:
                                assert msg == 'yo'

                        # The reader hears of the end of the stream, or already of its reason.
                        await either.together(send_then_cancel, read)
                        await either.sleep(1000)
                    raise AssertionError('it should have been cancelled')
                assert ctx.cancel_acked and isinstance(ctx.outcome, ContextCancelled)
                assert portal.channel.connected()
                await portal.cancel_actor()
        ''')


def test_child_exits_ctx_after_stream_open(contexts):
    contexts('''
        @coppice.context
        async def close_at_once(ctx: Context):
            await ctx.started()
            async with ctx.open_stream():
                pass

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('closer', enable_modules=[__name__])
                for send_first in (False, True):
                    async with either.timeout(10):
                        async with portal.open_context(close_at_once) as (ctx, sent):
                            async with ctx.open_stream() as stream:
                                if send_first:
                                    await stream.send('yo')
                                async for msg in stream:
                                    raise AssertionError(msg)
                                try:
                                    await stream.receive()
                                except coppice.EndOfChannel:
                                    pass
                                else:
                                    raise AssertionError
                                assert stream.closed
                            try:
                                async with ctx.open_stream():
                                    raise AssertionError('opened again')
                            except coppice.ClosedResourceError:
                                pass
                await portal.cancel_actor()
        ''')


def test_child_cancels_before_started(contexts):
    contexts('''
        @coppice.context
        async def cancel_self(ctx: Context):
            await ctx.cancel()
            try:
                async with ctx.open_stream():
                    raise AssertionError
            except RuntimeError:
                pass
            await either.sleep(1000)  # Raises at once.

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('canceller', enable_modules=[__name__])
                try:
                    async with portal.open_context(cancel_self) as (ctx, sent):
                        raise AssertionError
                except ContextCancelled as error:
                    assert 'itself' in error.tb_str
                    assert error.canceller == portal.uid == error.src_uid
                else:
                    raise AssertionError
                await portal.cancel_actor()
        ''')


def test_one_end_stream_not_opened(contexts):
    contexts('''
        @coppice.context
        async def keep_sending(ctx: Context):
            await ctx.started()
            async with ctx.open_stream() as stream:
                n = 0
                while True:
                    await stream.send(n)
                    n += 1

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('a', enable_modules=[__name__])
                async with either.timeout(10):
                    try:
                        async with portal.open_context(sleep) as (ctx, sent):
                            async with ctx.open_stream() as stream:
                                for n in range(65):
                                    await stream.send(n)
                                await either.sleep(1000)
                    except RemoteActorError as error:
                        assert error.boxed_type is coppice.StreamOverrun, error
                        assert n == 64 and error.sender == me()
                    else:
                        raise AssertionError
                async with either.timeout(10):
                    try:
                        async with portal.open_context(keep_sending) as (ctx, sent):
                            await either.sleep(1000)
                    except RemoteActorError as error:
                        assert error.boxed_type is RemoteActorError, error
                        assert error.src_type is coppice.StreamOverrun
                        assert error.relay_path == [me(), portal.uid]
                    else:
                        raise AssertionError
                await portal.cancel_actor()
        ''')


def test_maybe_allow_overruns_stream(contexts):
    # Between actors of ours nobody overruns anybody, whoever allows it: the faster side waits.
    contexts('''
        from itertools import product

        SEQ = list(range(10))

        @coppice.context
        async def echo_batches(ctx: Context, batches, slow, allow):
            await ctx.started()
            async with ctx.open_stream(msg_buffer_size=1, allow_overruns=allow) as stream:
                for _ in range(batches):
                    batch = []
                    async for msg in stream:
                        batch.append(msg)
                        if batch == SEQ:
                            break
                        if slow:
                            await either.sleep(0.005)
                    for msg in batch:
                        await stream.send(msg)
            return 'yo'

        async def one_case(portal, allowed, slow, cancel):
            async with portal.open_context(
                    echo_batches, batches=1000 if cancel else 2, slow=slow == 'child',
                    allow=allowed in ('child', 'both')) as (ctx, sent):
                async with ctx.open_stream(
                        msg_buffer_size=1 if slow == 'parent' else None,
                        allow_overruns=allowed in ('parent', 'both')) as stream:
                    for _ in range(2):
                        for msg in SEQ:
                            await stream.send(msg)
                            if slow == 'parent':
                                await either.sleep(0.01)
                        batch = []
                        async for msg in stream:
                            batch.append(msg)
                            if batch == SEQ:
                                break
                    if cancel:
                        await ctx.cancel()
            result = await ctx.result()
            if cancel:
                assert isinstance(result, ContextCancelled) and result.canceller == me()
            else:
                assert result == 'yo'

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('a', enable_modules=[__name__])
                for case in product(('parent', 'child', 'both', 'none'), ('parent', 'child'),
                                    (True, False)):
                    async with either.timeout(10):
                        await one_case(portal, *case)
                await portal.cancel_actor()
        ''')


def test_cancel_ctx_with_parent_side_entered_in_bg_task(contexts):
    contexts('''
        async def one_case(cancel_ctx):
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('sub', enable_modules=[__name__])
                contexts = []

                async def open_it():
                    async with portal.open_context(sleep) as (ctx, sent):
                        contexts.append(ctx)
                        await either.sleep(1000)
                    return 'absorbed'

                task = either.start(open_it())
                while not contexts:
                    await either.sleep(0.005)
                ctx, = contexts
                if cancel_ctx:
                    await ctx.cancel()
                await portal.cancel_actor()
                try:
                    await ctx.wait_for_result()
                except ContextCancelled as error:
                    assert not cancel_ctx and error.canceller == me()
                return await task, ctx

        async def main():
            async with either.timeout(10):
                result, ctx = await one_case(True)
                assert result == 'absorbed' and ctx.cancelled_caught and ctx.cancel_acked
            async with either.timeout(10):
                try:
                    await one_case(False)
                except ContextCancelled as error:
                    assert error.canceller == me()
                else:
                    raise AssertionError
        ''')


def test_unmasked_remote_exc(contexts):
    contexts('''
        @coppice.context
        async def checkpoint_in_finally(ctx: Context, raises, raise_after, finally_takes):
            await ctx.started()
            try:
                if not raises:
                    await either.sleep(1000)
                await either.sleep(raise_after)
                raise RuntimeError('my app crashed')
            finally:
                with coppice.CancelScope(shield=True):
                    await either.sleep(finally_takes)
                await either.sleep(0)  # Cancelled: the error above is beneath it.

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('a', enable_modules=[__name__])
                async with portal.open_context(
                        checkpoint_in_finally, raises=False, raise_after=0,
                        finally_takes=0.05) as (ctx, sent):
                    await either.sleep(0.05)
                    await ctx.cancel()
                    error = await ctx.wait_for_result()
                    assert error is ctx.outcome and isinstance(error, ContextCancelled)
                try:
                    async with portal.open_context(
                            checkpoint_in_finally, raises=True, raise_after=0.01,
                            finally_takes=0.2) as (ctx, sent):
                        await either.sleep(0.05)
                        await ctx.cancel()
                        await ctx.wait_for_result()
                        raise AssertionError
                except RemoteActorError as error:
                    assert error.boxed_type is RuntimeError and error.message == 'my app crashed'
                else:
                    raise AssertionError
                await an.cancel()
        ''')


def test_do_not_swallow_error_before_started_by_remote_contextcancelled(contexts):
    contexts('''
        @coppice.context
        async def error_before_started(ctx: Context):
            async with coppice.open_nursery() as an:
                sleeper = await an.start_actor('sleeper', enable_modules=[__name__])
                async with (sleeper.open_context(echo) as (peer, first), peer.open_stream()):
                    try:
                        await ctx.started(object())
                    finally:
                        await peer.cancel()

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('errorer', enable_modules=[__name__])
                try:
                    async with portal.open_context(error_before_started) as (ctx, sent):
                        raise AssertionError
                except RemoteActorError as error:
                    assert error.boxed_type is TypeError, error
                else:
                    raise AssertionError
                await an.cancel()
        ''')
