# SPDX-License-Identifier: Apache-2.0
"""run_in_actor() with real actors, after tractor's test_spawning.py and test_cancellation.py."""
from conftest import both_loops, processes_only


@both_loops
def test_the_same_function_in_a_child(script):
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


@both_loops
def test_errors_of_many_one_shots_are_a_group(script):
    """Scenario: test_multierror. Two fail; the body raises the one that it took."""
    script('''
        import coppice

        async def assert_err():
            assert 0

        async def main():
            try:
                async with coppice.open_nursery() as an:
                    await an.run_in_actor(assert_err, name='errorer1')
                    portal = await an.run_in_actor(assert_err, name='errorer2')
                    try:
                        await portal.wait_for_result()
                    except coppice.RemoteActorError as error:
                        assert error.boxed_type is AssertionError
                        raise
            except coppice.RemoteActorError as error:
                assert error.boxed_type is AssertionError  # The other was cancelled first.
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


def test_the_main_script_is_left_out_where_that_is_asked_for(script):
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
