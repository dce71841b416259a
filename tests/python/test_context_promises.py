# SPDX-License-Identifier: Apache-2.0
"""What contexts promise beyond tractor's scenarios, with real actors, on both event loops."""
from conftest import both_loops, guests_only, processes_only
from context_kit import contexts  # noqa: F401: a fixture

pytestmark = both_loops


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
                    with coppice.move_on_after(0.3):
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


def test_a_callee_that_reads_from_a_stream_nobody_opens_hears_so_when_the_block_ends(contexts):
    contexts('''
        @coppice.context
        async def read(ctx: Context):
            await ctx.started()
            async with ctx.open_stream() as stream:
                got = [msg async for msg in stream]
                for msg in range(2000):  # Dropped: nobody reads.
                    await stream.send(msg)
            return got

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('a', enable_modules=[__name__])
                async with either.timeout(10):
                    async with portal.open_context(read) as (ctx, sent):
                        pass
                    assert ctx.outcome == []
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


def test_a_cancellation_that_is_passed_on_still_says_who_cancelled(contexts):
    contexts('''
        @coppice.context
        async def cancel_self(ctx: Context):
            await ctx.started()
            await ctx.cancel()
            await either.sleep(1000)

        @coppice.context
        async def middle(ctx: Context):
            async with coppice.open_nursery() as an:
                leaf = await an.start_actor('leaf', enable_modules=[__name__])
                try:
                    async with leaf.open_context(cancel_self):
                        await ctx.started(leaf.uid)
                        await either.sleep(1000)
                finally:
                    await an.cancel()

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('middle', enable_modules=[__name__])
                try:
                    async with portal.open_context(middle) as (ctx, leaf):
                        await either.sleep(1000)
                except ContextCancelled as error:
                    assert error.canceller == tuple(leaf)
                    assert error.src_uid == portal.uid
                    assert error.relay_path == [tuple(leaf), portal.uid]
                else:
                    raise AssertionError
                await an.cancel()
        ''')


@guests_only
def test_payloads_that_cannot_travel_are_errors_of_whoever_sends_them(contexts):
    contexts('''
        @coppice.context
        async def bad(ctx: Context, where):
            if where == 'started':
                await ctx.started(object())
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
