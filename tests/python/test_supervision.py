# SPDX-License-Identifier: Apache-2.0
"""Who ends when, and what a nursery raises, with real actors."""
from conftest import both_loops, guests_only, processes_only

KILL = '''
import os, signal
import coppice

def pid(): return os.getpid()
def exit_with(status): os._exit(status)

async def sleep():
    import either
    await either.sleep(1000)
'''


def test_one_actor_is_cancelled_and_the_others_go_on(script):
    script('''
        import coppice

        def f(): return coppice.current_actor().name

        async def main():
            async with coppice.open_nursery() as an:
                a = await an.start_actor('a', enable_modules=[__name__])
                b = await an.start_actor('b', enable_modules=[__name__])
                report = await a.cancel_actor()
                assert report and report.rung == 'asked', report
                assert an.exits == {a.uid: report}
                assert not a.is_alive()
                try:
                    await a.run(f)
                except coppice.ActorDied as error:
                    assert error.report == report
                    assert error.uid == a.uid
                else:
                    raise AssertionError
                assert await b.run(f) == 'b'
                await b.cancel_actor()
        ''')


@both_loops
def test_a_nursery_is_cancelled_in_the_time_of_its_slowest_actor(script):
    script('''
        import either, time
        import coppice

        async def slow_end():
            try:
                await either.sleep(1000)
            finally:
                with coppice.CancelScope(shield=True):
                    await either.sleep(0.5)

        async def main():
            async with coppice.open_nursery(stop=coppice.StopPolicy(ask=4, total=5)) as an:
                portals = [await an.start_actor(f'a{n}', enable_modules=[__name__])
                           for n in range(4)]
                calls = [either.start(one.run(slow_end)) for one in portals]
                await either.sleep(0.3)
                began = time.monotonic()
                await an.cancel()
                took = time.monotonic() - began
                assert 0.5 < took < 1.6, took  # One after the other takes 2 s.
                assert {report.rung for report in an.exits.values()} == {'asked'}, an.exits
                for call in calls:
                    try:
                        await call
                    except (coppice.ContextCancelled, coppice.ActorDied):
                        pass
        ''')


def test_an_error_of_the_body_ends_everything_and_comes_bare(script):
    script('''
        import coppice

        async def main():
            try:
                async with coppice.open_nursery() as an:
                    await an.start_actor('a')
                    await an.start_actor('b')
                    raise ValueError('body')
            except ValueError as error:
                assert str(error) == 'body'
                assert len(an.exits) == 2
            else:
                raise AssertionError
        ''')


@both_loops
def test_an_error_of_a_call_ends_everything_and_comes_bare(script):
    script('''
        import either
        import coppice

        def fail(): raise ValueError('remote')

        async def main():
            try:
                async with coppice.open_nursery() as an:
                    a = await an.start_actor('a', enable_modules=[__name__])
                    b = await an.start_actor('b', enable_modules=[__name__])
                    await a.run(fail)
            except coppice.RemoteActorError as error:
                assert error.boxed_type is ValueError
                assert len(an.exits) == 2
            else:
                raise AssertionError
        ''')


@both_loops
def test_two_failing_calls_are_a_group(script):
    script('''
        import either
        import coppice

        async def fail(seconds, word):
            await either.sleep(seconds)
            raise ValueError(word)

        async def main():
            try:
                async with coppice.open_nursery() as an:
                    a = await an.start_actor('a', enable_modules=[__name__])
                    b = await an.start_actor('b', enable_modules=[__name__])
                    results = await either.outcomes(a.run(fail, 0, 'one'),
                                                     b.run(fail, 0, 'two'))
                    raise ExceptionGroup('both', results)
            except* coppice.RemoteActorError as group:
                assert {error.message for error in group.exceptions} == {'one', 'two'}
                assert {error.src_uid[0] for error in group.exceptions} == {'a', 'b'}
        ''')


@both_loops
@processes_only
def test_a_child_that_dies_idle_cancels_body_and_siblings(script):
    script(KILL + '''
async def main():
    import either, time
    try:
        async with coppice.open_nursery() as an:
            a = await an.start_actor('a', enable_modules=[__name__])
            b = await an.start_actor('b', enable_modules=[__name__])
            os.kill(await a.run(pid), signal.SIGKILL)
            began = time.monotonic()
            await either.sleep(100)
    except coppice.ActorDied as error:
        assert time.monotonic() - began < 1
        assert error.uid == a.uid, error.uid
        assert error.report.how == 'signalled' and error.report.status == 9
        assert an.exits[b.uid].rung == 'asked', an.exits
        assert an.cancelled_caught
    else:
        raise AssertionError
''')


@both_loops
@processes_only
def test_two_children_that_die_are_a_group(script):
    script(KILL + '''
async def main():
    import either
    try:
        async with coppice.open_nursery() as an:
            portals = [await an.start_actor(name, enable_modules=[__name__]) for name in 'ab']
            pids = [await portal.run(pid) for portal in portals]
            for one in pids:
                os.kill(one, signal.SIGKILL)
            await either.sleep(100)
    except* coppice.ActorDied as group:
        assert {error.name for error in group.exceptions} == {'a', 'b'}, group.exceptions
        assert len(group.exceptions) == 2
''')


@both_loops
@processes_only
def test_a_process_killed_during_a_call_raises_within_100_ms(script):
    script(KILL + '''
async def main():
    import either, time
    for endpoint in (sleep, block):
        try:
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('a', enable_modules=[__name__])
                victim = await portal.run(pid)
                call = either.start(portal.run(endpoint))
                await either.sleep(0.2)
                began = time.monotonic()
                os.kill(victim, signal.SIGKILL)
                try:
                    await call
                except coppice.ActorDied as error:
                    took = time.monotonic() - began
                    assert error.report.status == 9
                    assert error.uid == portal.uid
                    assert took < 0.1, took
                    raise
        except coppice.ActorDied:
            pass
        else:
            raise AssertionError

def block():
    import threading
    threading.Event().wait()
''')


@processes_only
def test_a_process_that_exits_during_a_call_is_dead_with_its_status(script):
    script(KILL + '''
async def main():
    try:
        async with coppice.open_nursery() as an:
            portal = await an.start_actor('a', enable_modules=[__name__])
            await portal.run(exit_with, 3)
    except coppice.ActorDied as error:
        assert error.report.how == 'exited' and error.report.status == 3, error.report
        assert 'exited with status 3' in str(error), str(error)
    else:
        raise AssertionError
''')


@both_loops
def test_a_block_left_normally_waits_for_its_actors(script):
    script('''
        import either, time
        import coppice

        async def main():
            began = time.monotonic()

            async def end_it(portal):
                await either.sleep(0.3)
                await portal.cancel_actor()

            async with coppice.open_nursery() as an:
                task = either.start(end_it(await an.start_actor('a')))
            assert time.monotonic() - began > 0.3
            await task
        ''')


@both_loops
def test_actors_may_end_themselves(script):
    script('''
        import coppice

        def end(): coppice.current_actor().cancel_soon()

        async def async_end():
            import either
            coppice.current_actor().cancel_soon()
            await either.sleep(100)

        async def main():
            async with coppice.open_nursery() as an:
                a = await an.start_actor('a', enable_modules=[__name__])
                b = await an.start_actor('b', enable_modules=[__name__])
                await a.run(end)
                try:
                    await b.run(async_end)
                except (coppice.ContextCancelled, coppice.TransportClosed):
                    pass
            assert len(an.exits) == 2  # And no failure: they ended well.
        ''')


def test_trees_are_nested_and_end_from_the_leaves(script):
    script('''
        import coppice

        def name(): return coppice.current_actor().name

        async def grow(depth):
            if depth == 0:
                return [name()]
            async with coppice.open_nursery() as an:
                names = [name()]
                for side in 'lr':
                    portal = await an.start_actor(f'{name()}{side}', enable_modules=[__name__])
                    names += await portal.run(grow, depth=depth - 1)
                    await portal.cancel_actor()
                return names

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('t', enable_modules=[__name__])
                assert await portal.run(grow, depth=2) == ['t', 'tl', 'tll', 'tlr', 'tr', 'trl',
                                                           'trr']
                await an.cancel()
        ''', seconds=60)


@both_loops
def test_cancelling_a_parent_ends_its_whole_tree(script):
    script('''
        import either, time
        import coppice

        async def hold(depth):
            async with coppice.open_nursery() as an:
                if depth:
                    portal = await an.start_actor(f'depth{depth}', enable_modules=[__name__])
                    await portal.run(hold, depth=depth - 1)
                await either.sleep(1000)

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('top', enable_modules=[__name__])
                call = either.start(portal.run(hold, depth=2))
                await either.sleep(1.5)
                began = time.monotonic()
                await an.cancel()
                assert time.monotonic() - began < 2
                try:
                    await call
                except (coppice.ContextCancelled, coppice.TransportClosed):
                    pass
        ''', seconds=60)


@both_loops
@processes_only
def test_a_dead_parent_takes_its_children_with_it(script):
    script(KILL + '''
async def start_and_hold():
    import either
    async with coppice.open_nursery() as an:
        portal = await an.start_actor('grandchild', enable_modules=[__name__])
        print(await portal.run(pid), flush=True)
        await either.sleep(1000)

async def main():
    import either
    try:
        async with coppice.open_nursery() as an:
            portal = await an.start_actor('child', enable_modules=[__name__])
            victim = await portal.run(pid)
            call = either.start(portal.run(start_and_hold))
            await either.sleep(1.0)
            os.kill(victim, signal.SIGKILL)
            await call
    except coppice.ActorDied:
        pass
    else:
        raise AssertionError
''')  # That no marked process is left is checked by the fixture.


@both_loops
def test_a_start_can_be_cancelled(script):
    script('''
        import either, time
        import coppice

        async def main():
            async with coppice.open_nursery() as an:
                began = time.monotonic()
                try:
                    async with either.timeout(0.3):
                        await an.start_actor('a', enable_modules=['slow'])
                except TimeoutError:
                    pass
                else:
                    raise AssertionError
                assert time.monotonic() - began < 0.8
                portal = await an.start_actor('b', enable_modules=['json'])
                assert await portal.run('json:loads', s='1') == 1
                await portal.cancel_actor()
            assert time.monotonic() - began < 3
        ''', modules={'slow': 'import time; time.sleep(100)'})


def test_three_roots_follow_one_another_in_one_process(script):
    script('''
        import coppice

        def f(): return 1

        async def use():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('a', enable_modules=[__name__])
                assert await portal.run(f) == 1
                await portal.cancel_actor()

        async def main():
            for _ in range(3):
                assert coppice.get_runtime_vars() == {}
                await use()
        ''', options="how='asyncio'", end='''

if __name__ == '__main__':
    import support
    support.run(main{options})  # Three roots in one event loop,
    support.run(use{options})   # and one more in each of two others.
    support.run(use)
''')


def test_nurseries_work_inside_asyncio_run_beside_other_tasks(script):
    script('''
        import asyncio
        import coppice

        def f(x): return x

        async def main():
            ticks = 0

            async def tick():
                nonlocal ticks
                while True:
                    await asyncio.sleep(0.01)
                    ticks += 1

            async with asyncio.TaskGroup() as tasks:
                ticker = tasks.create_task(tick())
                async with coppice.open_nursery() as an:
                    portal = await an.start_actor('a', enable_modules=[__name__])
                    for x in range(50):
                        assert await portal.run(f, x) == x
                    await asyncio.sleep(0.1)
                    await an.cancel()
                ticker.cancel()
            assert ticks > 3
        ''', options="how='asyncio'")


@guests_only
def test_a_second_root_is_refused_everywhere(script):
    script('''
        import asyncio
        import coppice

        async def nothing(): pass

        def run_in_endpoint():
            coppice.run(nothing)

        def nursery_in_endpoint():
            async def main():
                async with coppice.open_nursery(): pass
            asyncio.run(main())

        async def main():
            async with coppice.open_nursery() as an:
                try:
                    coppice.run(nothing)
                except coppice.RuntimeFailure as error:
                    assert "'root' is running here" in str(error)
                portal = await an.start_actor('a', enable_modules=[__name__])
                for endpoint in (run_in_endpoint, nursery_in_endpoint):
                    try:
                        await portal.run(endpoint)
                    except coppice.RemoteActorError as error:
                        assert error.src_type is coppice.RuntimeFailure, error
                        assert 'async def' in error.message
                    else:
                        raise AssertionError
                await an.cancel()
        ''')
