# SPDX-License-Identifier: Apache-2.0
"""Contexts, with real actors, on both event loops. SCENARIOS.md lists what is tractor's."""
import textwrap

import pytest
from conftest import both_loops, guests_only, processes_only

pytestmark = both_loops

ENDPOINTS = textwrap.dedent('''
    import either
    import coppice
    from coppice import Context, ContextCancelled, RemoteActorError

    state = False

    def get_state(): return state

    @coppice.context
    async def setup_and_teardown(ctx: Context, data, block_forever=False):
        global state
        state = True
        assert coppice.current_ipc_ctx() is ctx
        await ctx.started(data + 1)
        try:
            if block_forever:
                await either.sleep(1000)
            return 'yo'
        finally:
            state = False

    @coppice.context
    async def echo(ctx: Context, send_before_receive=False):
        """Until it is cancelled."""
        global state
        state = True
        await ctx.started()
        try:
            async with ctx.open_stream() as stream:
                if send_before_receive:
                    await stream.send('yo')
                async for msg in stream:
                    await stream.send(msg)
                await either.sleep(1000)
        except either.cancelled() as reason:
            assert not ctx.has_outcome and not ctx.cancel_called
            state = f'cancelled: {type(reason).__name__}'
            raise
        else:
            state = 'it was not cancelled'

    @coppice.context
    async def sleep(ctx: Context, started=True):
        if started:
            await ctx.started()
        await either.sleep(1000)

    @coppice.context
    async def fail(ctx: Context, started=True):
        if started:
            await ctx.started()
        raise ValueError('no luck')

    def me():
        return coppice.current_actor().uid
''')


@pytest.fixture
def contexts(script):
    """Runs a script that begins with the endpoints above."""
    def run(text, **how):
        return script(ENDPOINTS + textwrap.dedent(text), **how)

    return run


# --- tractor's scenarios -------------------------------------------------------------------------

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

                        await either.together(send_then_cancel, read)
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


# --- what else is promised -----------------------------------------------------------------------

def test_an_error_of_the_callee_cancels_the_body_and_is_what_the_block_raises(contexts):
    contexts('''
        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('a', enable_modules=[__name__])
                for started in (True, False):
                    try:
                        async with portal.open_context(fail, started=started) as (ctx, sent):
                            assert started
                            try:
                                await either.sleep(1000)
                            except either.cancelled():
                                raise
                    except RemoteActorError as error:
                        assert error.boxed_type is ValueError and error.message == 'no luck'
                        assert error.src_uid == portal.uid
                        if started:
                            assert ctx.outcome is error and ctx.cancelled_caught
                            assert ctx.canceller == portal.uid and not ctx.cancel_called
                            try:
                                await ctx.wait_for_result()
                            except RemoteActorError as again:
                                assert again is error
                    else:
                        raise AssertionError
                await an.cancel()
        ''')


def test_an_error_of_the_callee_is_raised_where_the_body_waits_for_its_result(contexts):
    contexts('''
        @coppice.context
        async def fail_later(ctx: Context):
            await ctx.started()
            async with ctx.open_stream() as stream:
                await stream.receive()
                raise ValueError('no luck')

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('a', enable_modules=[__name__])
                try:
                    async with portal.open_context(fail_later) as (ctx, sent):
                        async with ctx.open_stream() as stream:
                            await stream.send(1)
                        try:
                            await ctx.wait_for_result()
                        except RemoteActorError as error:
                            assert error.boxed_type is ValueError
                            seen = error
                        await either.sleep(1000)  # The dialog is over, and so is the block.
                        raise AssertionError
                except RemoteActorError as error:
                    assert error is seen
                await an.cancel()
        ''')


def test_an_error_of_the_body_ends_the_callee_and_is_raised(contexts):
    contexts('''
        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('a', enable_modules=[__name__])
                mine = LookupError('mine')
                try:
                    async with portal.open_context(echo) as (ctx, sent):
                        raise mine
                except LookupError as error:
                    assert error is mine and not hasattr(error, '__notes__')
                assert ctx.cancel_called and ctx.cancel_acked
                assert await portal.run(get_state) == f'cancelled: {either.cancelled().__name__}'
                await an.cancel()
        ''')


def test_a_cancelled_block_ends_the_callee_and_goes_on_being_cancelled(contexts):
    contexts('''
        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('a', enable_modules=[__name__])
                with coppice.CancelScope() as scope:
                    async with portal.open_context(echo) as (ctx, sent):
                        scope.cancel()
                        await either.sleep(1000)
                    raise AssertionError
                assert scope.cancelled_caught and ctx.cancel_acked
                assert await portal.run(get_state) == f'cancelled: {either.cancelled().__name__}'
                with coppice.move_on_after(0.05) as scope:  # While it waits for started().
                    async with portal.open_context(sleep, started=False):
                        raise AssertionError
                assert scope.cancelled_caught
                with coppice.move_on_after(0.05) as scope:  # While it waits for the result.
                    async with portal.open_context(sleep) as (ctx, sent):
                        pass
                assert scope.cancelled_caught and ctx.cancel_acked
                await an.cancel()
        ''')


def test_a_callee_that_does_not_end_is_told_of_and_does_not_hold_the_block_up(contexts):
    contexts('''
        import time

        @coppice.context
        async def stubborn(ctx: Context):
            await ctx.started()
            with coppice.CancelScope(shield=True):
                await either.sleep(1.6)

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('a', enable_modules=[__name__])
                began = time.monotonic()
                try:
                    async with portal.open_context(stubborn) as (ctx, sent):
                        raise LookupError('mine')
                except LookupError as error:
                    note, = error.__notes__
                    assert 'did not end within 0.616 s' in note
                assert 0.6 < time.monotonic() - began < 1.4
                try:
                    with coppice.move_on_after(0.01):
                        async with portal.open_context(stubborn) as (ctx, sent):
                            await either.sleep(1000)
                except coppice.CallStuck as error:
                    assert error.uid == portal.uid
                else:
                    raise AssertionError
                began = time.monotonic()
                async with portal.open_context(stubborn) as (ctx, sent):
                    await ctx.cancel(timeout=0.05)
                    assert time.monotonic() - began < 0.5
                    assert ctx.cancel_called and not ctx.cancel_acked
                    await ctx.wait_for_result()
                await an.cancel()
        ''')


def test_a_callee_that_returns_without_started_is_an_error(contexts):
    contexts('''
        @coppice.context
        async def silent(ctx: Context): return 1

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('a', enable_modules=[__name__])
                try:
                    async with portal.open_context(silent):
                        raise AssertionError
                except RuntimeError as error:
                    assert 'without having called ctx.started()' in str(error)
                await an.cancel()
        ''')


def test_contexts_and_plain_functions_are_not_mistaken_for_each_other(contexts):
    contexts('''
        def plain(): return 1
        async def coroutine(): return 1
        async def generator(): yield 1

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('a', enable_modules=[__name__])
                for endpoint in (plain, coroutine, generator):
                    try:
                        async with portal.open_context(endpoint):
                            raise AssertionError
                    except RemoteActorError as error:
                        assert error.boxed_type is TypeError, error
                        print(error.message)
                try:
                    await portal.run(sleep)
                except RemoteActorError as error:
                    assert error.boxed_type is TypeError, error
                    print(error.message)
                for name in ('nowhere:f', '__main__:nothing'):
                    try:
                        async with portal.open_context(name):
                            raise AssertionError
                    except RemoteActorError as error:
                        print(error.src_type_str)
                try:
                    async with portal.open_context(setup_and_teardown, wrong=1):
                        raise AssertionError
                except RemoteActorError as error:
                    assert error.boxed_type is TypeError
                await an.cancel()
        ''').said == [
            "'__main__:plain' is a function that is called with run()",
            "'__main__:coroutine' is a function that is called with run()",
            "'__main__:generator' is an async generator: open a stream from it",
            "'__main__:sleep' is a context: open it with open_context()",
            'ModuleNotExposed', 'AttributeError']


def test_a_slow_end_of_one_context_does_not_delay_another(contexts):
    contexts('''
        import time

        @coppice.context
        async def slow_end(ctx: Context):
            await ctx.started()
            try:
                await either.sleep(1000)
            finally:
                with coppice.CancelScope(shield=True):
                    await either.sleep(0.4)

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('a', enable_modules=[__name__])

                async def cancel_slow():
                    async with portal.open_context(slow_end) as (ctx, sent):
                        await ctx.cancel()
                    assert ctx.cancel_acked

                async def call_meanwhile():
                    await either.sleep(0.1)
                    began = time.monotonic()
                    async with portal.open_context(setup_and_teardown, data=1) as (ctx, sent):
                        assert sent == 2
                        assert await ctx.wait_for_result() == 'yo'
                    assert time.monotonic() - began < 0.2

                await either.together(cancel_slow, call_meanwhile)
                await an.cancel()
        ''')


@processes_only
def test_the_death_of_the_actor_ends_the_block_at_once(contexts):
    contexts('''
        import os, signal, time

        def pid(): return os.getpid()

        async def one_case(an, wait):
            portal = await an.start_actor('a', enable_modules=[__name__])
            victim = await portal.run(pid)
            try:
                async with portal.open_context(sleep) as (ctx, sent):
                    began = time.monotonic()
                    os.kill(victim, signal.SIGKILL)
                    if wait == 'result':
                        await ctx.wait_for_result()
                    elif wait == 'receive':
                        async with ctx.open_stream() as stream:
                            await stream.receive()
                    elif wait == 'sleep':
                        await either.sleep(1000)
            finally:
                assert time.monotonic() - began < 5

        async def main():
            for wait in ('result', 'receive', 'sleep', 'exit'):
                try:
                    async with coppice.open_nursery() as an:
                        await one_case(an, wait)
                except coppice.ActorDied as error:
                    assert error.report.how == 'signalled', error
                else:
                    raise AssertionError
        ''')


def test_contexts_nest_through_actors_and_errors_say_which_way_they_came(contexts):
    contexts('''
        @coppice.context
        async def middle(ctx: Context):
            async with coppice.open_nursery() as an:
                leaf = await an.start_actor('leaf', enable_modules=[__name__])
                async with leaf.open_context(setup_and_teardown, data=1,
                                             block_forever=True) as (below, first):
                    await ctx.started(first)
                    async with ctx.open_stream() as stream:
                        assert await stream.receive() == 'fail'
                    async with leaf.open_context(fail) as (below, first):
                        await either.sleep(1000)

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('middle', enable_modules=[__name__])
                try:
                    async with portal.open_context(middle) as (ctx, first):
                        assert first == 2
                        async with ctx.open_stream() as stream:
                            await stream.send('fail')
                            await either.sleep(1000)
                except RemoteActorError as error:
                    assert error.boxed_type is RemoteActorError and error.src_type is ValueError
                    assert [name for name, _ in error.relay_path] == ['leaf', 'middle']
                else:
                    raise AssertionError
                with coppice.move_on_after(0.3) as scope:
                    async with portal.open_context(middle) as (ctx, first):
                        await either.sleep(1000)
                assert scope.cancelled_caught
                await an.cancel()
        ''')


@guests_only
def test_payloads_that_cannot_travel_are_errors_of_whoever_sends_them(contexts):
    contexts('''
        @coppice.context
        async def bad(ctx: Context, where):
            if where == 'started':
                await ctx.started({1, 2})
            await ctx.started()
            if where == 'value':
                async with ctx.open_stream() as stream:
                    await stream.send(object())
            return object()

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('a', enable_modules=[__name__])
                for where in ('started', 'value', 'result'):
                    try:
                        async with portal.open_context(bad, where=where) as (ctx, sent):
                            pass
                    except RemoteActorError as error:
                        assert error.boxed_type is TypeError and where in error.message, error
                    else:
                        raise AssertionError
                try:
                    async with portal.open_context(bad, where=object()):
                        raise AssertionError
                except TypeError:
                    pass
                await an.cancel()
        ''')
