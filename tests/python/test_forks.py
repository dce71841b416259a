# SPDX-License-Identifier: Apache-2.0
"""fork() in actors that are processes: what is forked is not the actor a second time."""
from conftest import processes_only

pytestmark = processes_only


def test_a_fork_that_returns_into_the_actor_ends_and_disturbs_nobody(script):
    outcome = script('''
        import os
        import coppice

        def fork():
            return os.fork()

        def reap(pid):
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('a', enable_modules=[__name__])
                pid = await portal.run(fork)
                assert pid > 0
                assert await portal.run(reap, pid=pid) == 1
                await an.cancel()
        ''')
    assert "forked in actor 'a'" in outcome.stderr, outcome


def test_multiprocessing_by_fork_works_and_its_children_take_signals(script):
    script('''
        import multiprocessing, time
        import coppice

        def double_in_a_fork(x):
            context = multiprocessing.get_context('fork')
            answers = context.SimpleQueue()
            child = context.Process(target=lambda: answers.put(2 * x))
            child.start()
            child.join()
            stuck = context.Process(target=time.sleep, args=(1000,))
            stuck.start()
            stuck.terminate()
            stuck.join()
            return [answers.get(), child.exitcode, stuck.exitcode]

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('a', enable_modules=[__name__])
                assert await portal.run(double_in_a_fork, x=21) == [42, 0, -15]
                await an.cancel()
        ''')
