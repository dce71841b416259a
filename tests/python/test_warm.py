# SPDX-License-Identifier: Apache-2.0
"""Warm guests, as Python programs meet them: docs/python.md, "Warm sub-interpreters"."""
import pytest

from conftest import both_loops, guests_only

pytestmark = guests_only

COUNT = '''
import coppice

def warm_threads():
    from pathlib import Path
    names = [(task / 'comm').read_text().strip() for task in Path('/proc/self/task').iterdir()]
    return names.count('guest/warm')
'''


def test_the_stock_is_full_before_main_runs_and_gone_when_run_returns(script):
    outcome = script('''
        import asyncio
        import coppice
        from counting import warm_threads

        def who():
            return [coppice.current_actor().name, __name__,
                    open('/proc/thread-self/comm').read().strip()]

        async def main():
            assert warm_threads() == 2, warm_threads()
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('first', enable_modules=[__name__])
                assert await portal.run(who) == ['first', '__mp_main__', 'guest/first']
                # Made again, while the first one lives.
                deadline = asyncio.get_running_loop().time() + 20
                while warm_threads() < 2 and asyncio.get_running_loop().time() < deadline:
                    await asyncio.sleep(0.01)
                assert warm_threads() == 2
                await an.cancel()
        ''', modules={'counting': COUNT}, options='warm=2')
    assert outcome.stderr == '', outcome


def test_a_nursery_that_opens_the_root_takes_the_same_option(script):
    script('''
        import coppice
        from counting import warm_threads

        def f(x):
            return x

        async def main():
            pool = coppice.WarmPool(size=1, refill='never')
            async with coppice.open_nursery(warm=pool) as an:
                assert warm_threads() == 1
                portal = await an.start_actor('a', enable_modules=[__name__])
                assert warm_threads() == 0
                assert await portal.run(f, x=1) == 1
                await an.cancel()
        ''', modules={'counting': COUNT}, options="how='asyncio'")


def test_preloaded_modules_are_there_when_the_actor_begins(script):
    script('''
        import sys
        import coppice

        def loaded():
            return sorted(set(sys.modules) & {'preloaded', 'json', 'sqlite3'})

        async def main():
            async with coppice.open_nursery() as an:
                warm = await an.start_actor('warm', enable_modules=[__name__])
                cold = await an.start_actor('cold', enable_modules=[__name__])
                assert await warm.run(loaded) == ['json', 'preloaded', 'sqlite3']
                assert await cold.run(loaded) == []
                await an.cancel()
        ''', modules={'preloaded': 'import json, sqlite3'},
           options="warm=coppice.WarmPool(1, ['preloaded'], refill='never')")


@both_loops
def test_endpoints_of_both_kinds_run_in_warm_guests_of_either_loop(script, loop):
    script('''
        import sys
        import coppice

        async def echo(x):
            return [x, coppice.current_actor().name]

        def loops():
            return sorted(set(sys.modules) & {'coppice._asyncio', 'coppice._trio'})

        async def main():
            async with coppice.open_nursery() as an:
                for name in ('a', 'b', 'c'):
                    portal = await an.start_actor(name, enable_modules=[__name__])
                    if name == 'a':
                        assert await portal.run(loops) == ['coppice._LOOP'], await portal.run(loops)
                    assert await portal.run(echo, x=1) == [1, name]
                await an.cancel()
        '''.replace('LOOP', loop),
           options=f"warm=coppice.WarmPool(2, loop={loop!r}, refill='never', fill_within=20)")


def test_the_environment_and_the_search_path_are_those_of_the_actors_start(script):
    script('''
        import os, sys
        import coppice

        def look():
            return [os.environ['SET_LATER'], 'REMOVED' in os.environ, '/added/later' in sys.path]

        async def main():
            os.environ['SET_LATER'] = 'yes'
            del os.environ['REMOVED']
            sys.path.append('/added/later')
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('a', enable_modules=[__name__])
                assert await portal.run(look) == ['yes', False, True]
                await an.cancel()
        ''', options="warm=coppice.WarmPool(1, refill='never')", REMOVED='there at first')


def test_a_module_that_raises_is_one_line_on_stderr_and_actors_start_cold(script):
    outcome = script('''
        import coppice

        def f(x):
            return x

        async def main():
            async with coppice.open_nursery() as an:
                for name in ('a', 'b'):
                    portal = await an.start_actor(name, enable_modules=[__name__])
                    assert await portal.run(f, x=1) == 1
                await an.cancel()
        ''', modules={'broken': 'import json\nraise OSError("disk on fire")'},
                     options="warm=coppice.WarmPool(4, ['broken'])")
    assert outcome.stderr.splitlines() == [
        "coppice: no warm guests are kept, actors start cold: the module 'broken' of the preload "
        'list does not import: OSError: disk on fire; take it out of the list, or make it '
        'importable'], outcome


def test_a_module_that_never_ends_holds_up_neither_the_start_nor_the_end(script):
    outcome = script('''
        import coppice

        def f(x):
            return x

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('a', enable_modules=[__name__])
                assert await portal.run(f, x=1) == 1
                await an.cancel()
        ''', modules={'stuck': 'import time\nwhile True:\n  try: time.sleep(1000)\n'
                               '  except Exception: pass\n'},
                     options="warm=coppice.WarmPool(2, ['stuck'], fill_within=0.1)")
    assert outcome.stderr == '', outcome


def test_native_code_that_never_ends_in_a_preload_does_not_keep_the_process(begin):
    running = begin('''
        import coppice

        def f(x):
            return x

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('a', enable_modules=[__name__])
                assert await portal.run(f, x=1) == 1
                await an.cancel()
            print('ENDED', flush=True)
        ''', modules={'native': 'sum(range(10 ** 13))'}, end='''
if __name__ == '__main__':
    coppice.run(main, start_method='subint',
                warm=coppice.WarmPool(1, ['native'], fill_within=0.1))
    print('RETURNED', flush=True)
''')
    outcome = running.wait()
    assert outcome.said == ['ENDED', 'RETURNED'], outcome
    assert outcome.status == 0, outcome


def test_fork_is_refused_while_guests_are_in_stock(script):
    script('''
        import os
        import coppice

        async def main():
            try:
                os.fork()
            except RuntimeError as error:
                assert 'forkserver' in str(error), error
            else:
                os._exit(9)
        ''', options='warm=1')


def test_actors_of_actors_take_them_too(script):
    script('''
        import coppice
        from counting import warm_threads

        def f(x):
            return x

        async def middle():
            before = warm_threads()
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('inner', enable_modules=['__main__'])
                found = await portal.run(f, x=before)
                assert warm_threads() == before - 1
                await an.cancel()
            return found

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('outer', enable_modules=[__name__])
                assert await portal.run(middle) == 1
                await an.cancel()
        ''', modules={'counting': COUNT}, options="warm=coppice.WarmPool(2, refill='never')")


def test_many_starts_beside_refills_leave_nothing(script):
    script('''
        import asyncio
        import coppice

        def f(x):
            return x

        async def main():
            for turn in range(8):
                async with coppice.open_nursery() as an:
                    names = [f'{turn}-{n}' for n in range(5)]
                    portals = await asyncio.gather(*(
                        an.start_actor(name, enable_modules=[__name__]) for name in names))
                    assert await asyncio.gather(*(
                        portal.run(f, x=n) for n, portal in enumerate(portals))) == [0, 1, 2, 3, 4]
                    if turn % 2:
                        await asyncio.sleep(0.03)  # Some are being made when the root closes.
                    await an.cancel()
        ''', options='warm=3', seconds=60)


@pytest.mark.parametrize('pool, wrong', [
    ('WarmPool(-1)', 'ValueError'), ('WarmPool(1000)', 'ValueError'),
    ("WarmPool(1, 'json')", 'TypeError'), ("WarmPool(1, loop='curio')", 'ValueError'),
    ("WarmPool(1, refill='sometimes')", 'ValueError'), ('WarmPool(1, at_once=0)', 'ValueError')])
def test_a_pool_that_makes_no_sense_is_refused_by_name(script, pool, wrong):
    script(f'''
        import coppice

        async def main():
            try:
                coppice.{pool}
            except {wrong} as error:
                assert 'WarmPool(' in str(error)
            else:
                raise AssertionError
        ''')
