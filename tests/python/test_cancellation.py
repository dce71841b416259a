# SPDX-License-Identifier: Apache-2.0
"""Errors and cancellations in trees of actors, after tractor's test_cancellation.py and others."""
from conftest import PATIENT, every_home, every_home_and_loop


@every_home_and_loop
def test_cancel_single_subactor(script):
    """Scenario 18: a daemon is cancelled by its nursery, or because Ctrl-C struck in the block."""
    script('''
        import coppice

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('nothin', enable_modules=[__name__])
                assert await portal.run(say) == 'here'
                await an.cancel()
                assert an.cancel_called and not portal.is_alive()
            assert an.exits[portal.uid].rung == 'asked', an.exits

            try:
                async with coppice.open_nursery() as an:
                    portal = await an.start_actor('nothin', enable_modules=[__name__])
                    raise KeyboardInterrupt
            except KeyboardInterrupt:
                assert an.exits[portal.uid].rung == 'asked', an.exits
            else:
                raise AssertionError

        def say(): return 'here'
        ''', options=PATIENT)


@every_home_and_loop
def test_cancel_infinite_streamer(script):
    """Scenario 19: a deadline of the caller's ends a stream that has no end, and its actor."""
    script('''
        import itertools, time
        import coppice, either

        async def stream_forever():
            for i in itertools.count():
                yield i
                await either.sleep(0.01)

        async def main():
            with coppice.CancelScope() as scope:
                async with coppice.open_nursery() as an:
                    portal = await an.start_actor('donny', enable_modules=[__name__])
                    began = time.monotonic()
                    scope.deadline = coppice.current_time() + 1
                    async with portal.open_stream_from(stream_forever) as stream:
                        wanted = itertools.count()
                        async for value in stream:
                            assert value == next(wanted)
            assert scope.cancelled_caught
            assert time.monotonic() - began < 4
            assert an.exits[portal.uid].rung == 'asked', an.exits
        ''', options=PATIENT)


NESTED = '''
    import coppice

    async def assert_err():
        assert 0

    async def spawn_and_error(depth):
        async with coppice.open_nursery() as an:
            for n in range(2):
                if depth > 1:
                    await an.run_in_actor(spawn_and_error, depth=depth - 1,
                                          name=f'spawner_{n}_depth_{depth}')
                else:
                    await an.run_in_actor(assert_err, name=f'errorer_{n}')

    def leaves(error, depth):
        """Looks at every error of the tree; how many assertions there are."""
        if depth == 0:
            assert error.src_type is AssertionError, error
            return 1
        assert error.src_type is ExceptionGroup and len(error.members) == 2, error
        return sum(leaves(member, depth - 1) for member in error.members)

    async def main():
        for depth in DEPTHS:
            try:
                with coppice.fail_after(60):
                    async with coppice.open_nursery() as an:
                        for n in range(2):
                            await an.run_in_actor(spawn_and_error, depth=depth,
                                                  name=f'spawner_{n}')
            except BaseExceptionGroup as group:
                assert len(group.exceptions) == 2, group
                for error in group.exceptions:
                    assert isinstance(error, coppice.RemoteActorError), error
                    assert error.boxed_type is ExceptionGroup, error
                assert sum(leaves(error, depth) for error in group.exceptions) == 2 * 2**depth
            else:
                raise AssertionError
'''


@every_home
def test_nested_multierrors(script):
    """Scenario 21: every leaf of a tree asserts; all their errors come out, nested as it was."""
    script(NESTED.replace('DEPTHS', '(1, 3)'), seconds=180)


@every_home_and_loop
def test_cancel_while_childs_child_in_sync_sleep(script):
    """Scenario 24: the root's error does not wait for a grandchild that hears nothing."""
    script('''
        import time
        import coppice, either

        def sleep_for(seconds):
            time.sleep(seconds)

        async def spawn():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('sleeper', enable_modules=[__name__])
                print('up', flush=True)
                await portal.run(sleep_for, seconds=60)

        async def main():
            try:
                async with coppice.open_nursery() as an:
                    await an.run_in_actor(spawn)
                    await either.sleep(1)
                    began = time.monotonic()
                    assert 0
            except AssertionError:
                took = time.monotonic() - began
                assert took < 3, (took, an.exits)
            else:
                raise AssertionError
        ''')


@every_home_and_loop
def test_fast_graceful_cancel_when_spawn_task_in_soft_proc_wait_for_daemon(script):
    """Scenario 25: Ctrl-C while a daemon idles costs no more than asking it."""
    script('''
        import time
        import coppice, either

        async def main():
            try:
                async with coppice.open_nursery() as an:
                    portal = await an.start_actor('some_daemon', enable_modules=[__name__])
                    await either.sleep(0.5)
                    began = time.monotonic()
                    raise KeyboardInterrupt
            except KeyboardInterrupt:
                took = time.monotonic() - began
            else:
                raise AssertionError
            report = an.exits[portal.uid]
            assert report.rung == 'asked' and took < 2.4, (took, report)
        ''', options=PATIENT)


@every_home_and_loop
def test_actor_managed_trio_nursery_task_error_cancels_aio(script):
    """Scenario 28: one endpoint opens a nursery of tasks, another one spawns into it, and the error
    of such a task comes out of the first."""
    script('''
        import coppice, either

        tasks = None
        ended = []

        def task_nursery():
            if either.on_trio():
                import trio
                return trio.open_nursery()
            import asyncio
            return asyncio.TaskGroup()

        def spawn(function, *args):
            if either.on_trio():
                tasks.start_soon(function, *args)
            else:
                tasks.create_task(function(*args))

        async def consume(name):
            try:
                await either.sleep(1000)
            finally:
                ended.append(name)

        async def name_error():
            await either.sleep(0.5)
            doggy()  # noqa: F821: that is the error

        @coppice.context
        async def open_actor_local_nursery(ctx: coppice.Context):
            global tasks
            async with task_nursery() as tasks:
                await ctx.started('open')
                await either.sleep(1000)

        async def spawn_into_it():
            for name in 'ab':
                spawn(consume, name)
            spawn(name_error)

        def seen(): return sorted(ended)

        async def main():
            with coppice.fail_after(10):
                async with coppice.open_nursery() as an:
                    portal = await an.start_actor('nursery_mngr', enable_modules=[__name__])
                    try:
                        async with portal.open_context(open_actor_local_nursery) as (ctx, first):
                            assert first == 'open'
                            await portal.run(spawn_into_it)
                            await ctx.wait_for_result()
                    except coppice.RemoteActorError as error:
                        assert error.boxed_type is NameError, error
                    else:
                        raise AssertionError
                    assert await portal.run(seen) == ['a', 'b']
                    await an.cancel()
        ''')


@every_home_and_loop
def test_subint_non_checkpointing_child(script):
    """Scenario 30: a child that never looks up, waiting in short waits, does not hold its parent
    up."""
    script('''
        import threading, time
        import coppice, either

        def loop():
            never = threading.Event()
            print('in the loop', flush=True)
            while not never.wait(1.0):
                pass

        async def async_loop():
            loop()

        async def main():
            for endpoint in (loop, async_loop):
                try:
                    async with coppice.open_nursery() as an:
                        await an.run_in_actor(endpoint)
                        await either.sleep(0.5)
                        began = time.monotonic()
                        raise RuntimeError('of the parent')
                except RuntimeError as error:
                    assert str(error) == 'of the parent'
                    took = time.monotonic() - began
                    assert took < 2, (took, an.exits)
                    assert [one.rung for one in an.exits.values()] != ['abandoned'], an.exits
                else:
                    raise AssertionError
        ''')
