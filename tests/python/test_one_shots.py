# SPDX-License-Identifier: Apache-2.0
"""run_in_actor() with real actors, after tractor's test_spawning.py and test_cancellation.py."""
from conftest import both_loops, every_place, every_place_and_loop, processes_only


@every_place
@both_loops
def test_run_in_actor_same_func_in_child(script):
    """Scenario 1: the root is its tree's registrar, its child is not, and returns a value."""
    script('''
        import coppice

        async def spawn(is_root):
            actor = coppice.current_actor()
            assert actor.is_registrar == is_root, actor
            if not is_root:
                return 10
            async with coppice.open_nursery() as an:
                portal = await an.run_in_actor(spawn, is_root=False, name='sub-actor')
                assert portal.uid[0] == 'sub-actor'
                result = await portal.wait_for_result()
                assert result == 10
                return result

        async def main():
            assert await spawn(True) == 10
        ''')


def test_the_block_collects_results_that_nobody_asked_for(script):
    script('''
        import coppice

        def slow(n):
            import time
            time.sleep(0.2)
            return n

        async def main():
            async with coppice.open_nursery() as an:
                portals = [await an.run_in_actor(slow, n, name=f'a{n}') for n in range(3)]
            assert [await one.wait_for_result() for one in portals] == [0, 1, 2]
            assert len(an.exits) == 3
        ''')


@every_place
@both_loops
def test_multierror(script):
    """Scenario 16: two fail; the body raises the one that it took."""
    script('''
        import coppice, either

        async def assert_err():
            assert 0

        async def main():
            try:
                async with coppice.open_nursery() as an:
                    first = await an.run_in_actor(assert_err, name='errorer1')
                    portal = await an.run_in_actor(assert_err, name='errorer2')
                    try:
                        await portal.wait_for_result()
                    except coppice.RemoteActorError as error:
                        assert error.boxed_type is AssertionError
                        while first.is_alive():  # Until it has failed, too.
                            await either.sleep(0.01)
                        raise
            except BaseExceptionGroup as group:
                assert len(group.exceptions) == 2, group
                for error in group.exceptions:
                    assert error.boxed_type is AssertionError
            else:
                raise AssertionError
        ''')


def test_an_error_of_one_ends_the_daemons_of_the_block(script):
    script('''
        import coppice

        def fail(): raise ValueError('boom')

        async def main():
            try:
                async with coppice.open_nursery() as an:
                    await an.start_actor('daemon')
                    await an.run_in_actor(fail)
            except coppice.RemoteActorError as error:
                assert error.boxed_type is ValueError
            else:
                raise AssertionError
        ''')


@every_place
@both_loops
def test_start_actor_can_skip_parent_main_inheritance(script):
    """Scenario 5: start_actor() and run_in_actor() with inherit_parent_main=False."""
    script('''
        import sys
        import coppice
        import one_shot_module

        MARK = 'the main script ran'

        async def main():
            async with coppice.open_nursery() as an:
                for inherit in (True, False):
                    portal = await an.run_in_actor(one_shot_module.mark_of_main,
                                                   inherit_parent_main=inherit)
                    want = MARK if inherit else None
                    assert await portal.wait_for_result() == want, inherit
                    daemon = await an.start_actor('daemon', enable_modules=['one_shot_module'],
                                                  inherit_parent_main=inherit)
                    assert await daemon.run(one_shot_module.mark_of_main) == want, inherit
                    await daemon.cancel_actor()
        ''', modules={'one_shot_module': '''
        import sys

        def mark_of_main():
            return getattr(sys.modules.get('__mp_main__'), 'MARK', None)
        '''})


@processes_only
def test_a_one_shot_that_dies_fails_the_block(script):
    script('''
        import os
        import coppice

        def die(): os._exit(3)

        async def main():
            try:
                async with coppice.open_nursery() as an:
                    portal = await an.run_in_actor(die)
                    await portal.wait_for_result()
            except coppice.ActorDied as error:
                assert error.report.status == 3
            else:
                raise AssertionError
        ''')


@every_place
@both_loops
def test_most_beautiful_word(script):
    """Scenario 3: the result is there inside the block, and still after it."""
    script('''
        import coppice

        async def cellar_door(return_value):
            return return_value

        async def main():
            for value in ('Dang that is beautiful', None):
                async with coppice.open_nursery() as an:
                    portal = await an.run_in_actor(cellar_door, return_value=value,
                                                   name='some_linguist')
                    assert await portal.wait_for_result() == value
                assert await portal.wait_for_result() == value
        ''')


@every_place
@both_loops
def test_remote_error(script):
    """Scenario 7: an assertion, and an argument that the function does not have."""
    script('''
        import coppice

        async def assert_err():
            assert 0

        async def main():
            for kwargs, kind in (({}, AssertionError), ({'doggy': 10}, TypeError)):
                try:
                    async with coppice.open_nursery() as an:
                        portal = await an.run_in_actor(assert_err, name='errorer', **kwargs)
                        try:
                            await portal.wait_for_result()
                        except coppice.RemoteActorError as error:
                            assert error.boxed_type is kind, error
                            raise
                except coppice.RemoteActorError as error:
                    assert error.boxed_type is kind
                else:
                    raise AssertionError
        ''')


@every_place_and_loop
def test_multierror_fast_nursery(script):
    """Scenario 17: all of 25 fail, at once or a moment later; every error comes out."""
    script('''
        import coppice, either

        async def assert_err(delay):
            await either.sleep(delay)
            assert 0

        async def main():
            for delay in (0, 0.5):
                try:
                    async with coppice.open_nursery() as an:
                        for n in range(25):
                            await an.run_in_actor(assert_err, name=f'errorer{n}', delay=delay)
                except BaseExceptionGroup as group:
                    assert len(group.exceptions) == 25, group
                    for error in group.exceptions:
                        assert error.boxed_type is AssertionError
                else:
                    raise AssertionError
        ''', seconds=120)


@every_place_and_loop
def test_some_cancels_all(script):
    """Scenario 20: one call of a daemon, or one-shots, fail; everything else is cancelled."""
    script('''
        import coppice, either

        async def assert_err():
            assert 0

        async def do_nuthin():
            pass

        async def stream_forever():
            await either.sleep(1000)

        CASES = [
            # daemons, their failing call, one-shots, how many errors
            (1, None, (1, assert_err), 1),
            (2, None, (2, assert_err), 2),
            (3, None, (3, assert_err), 3),
            (1, assert_err, (1, stream_forever), 1),
            (2, assert_err, (2, stream_forever), 1),
            (3, assert_err, (3, do_nuthin), 1),
        ]

        async def main():
            for daemons, call, (number, function), errors in CASES:
                try:
                    async with coppice.open_nursery() as an:
                        portals = [await an.start_actor(f'actor_{n}', enable_modules=[__name__])
                                   for n in range(daemons)]
                        for n in range(number):
                            await an.run_in_actor(function, name=f'worker_{n}')
                        if call is not None:
                            await portals[0].run(call)
                except coppice.RemoteActorError as error:
                    assert errors == 1
                    assert error.boxed_type is AssertionError
                except BaseExceptionGroup as group:
                    assert len(group.exceptions) == errors, group
                    for error in group.exceptions:
                        assert error.boxed_type is AssertionError
                else:
                    raise AssertionError
                assert len(an.exits) == daemons + number
        ''', seconds=120)
