# SPDX-License-Identifier: Apache-2.0
"""Starting actors and calling them, with every start method."""
from conftest import both_loops, guests_only


def test_the_sketch_of_the_design_runs(script):
    script('''
        import coppice

        async def double(x): return 2 * x

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('doubler', enable_modules=[__name__])
                assert await portal.run(double, x=21) == 42
                await portal.cancel_actor()
        ''')


@both_loops
def test_def_and_async_def_endpoints_answer(script):
    outcome = script('''
        import coppice

        def plain(x): return x + 1

        async def at_once(x): return x + 2

        async def after_a_while(x):
            import either
            await either.sleep(0.01)
            return x + 3

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('a', enable_modules=[__name__])
                for _ in range(3):
                    print(await portal.run(plain, x=1), await portal.run(at_once, x=1),
                          await portal.run(after_a_while, x=1))
                await an.cancel()
        ''')
    assert outcome.said == ['2 3 4'] * 3


def test_functions_are_named_by_reference_by_name_and_by_two_strings(script):
    script('''
        import coppice

        def add(a, b=10, *, c=100): return [a, b, c]

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor(
                    'a', enable_modules=[__name__, 'helper', 'pack.inner'])
                assert await portal.run(add, 1) == [1, 10, 100]
                assert await portal.run(add, 1, 2, c=3) == [1, 2, 3]
                assert await portal.run(add, b=2, a=1) == [1, 2, 100]
                assert await portal.run('__main__:add', a=1) == [1, 10, 100]
                assert await portal.run('helper:name') == 'helper'
                assert await portal.run('helper', 'name') == 'helper'
                assert await portal.run_from_ns('pack.inner', 'name') == 'pack.inner'
                import helper
                assert await portal.run(helper.name) == 'helper'
                await an.cancel()
        ''', modules={'helper': 'def name(): return __name__', 'pack/__init__': '',
                      'pack/inner': 'async def name(): return __name__'})


def test_values_of_every_kind_arrive_as_they_were(script):
    script('''
        import math
        import coppice

        VALUES = [None, True, False, 0, 1, -1, 127, 128, -32, -33, -128, -129, 2**15, 2**16, -2**15,
                  2**31, 2**32, -2**31, 2**63 - 1, 2**64 - 1, -2**63, 0.0, 1.0, -3.0, 0.1, 1e308,
                  math.inf, -math.inf, '', 'a', 'ä€𝄞', 'x' * 31, 'x' * 32, 'x' * 300, 'x' * 70_000,
                  b'', b'\\0\\xff', b'x' * 300, b'x' * 1_000_000,
                  [], [1, [2, [3]]], list(range(20)), {}, {'a': {'b': [None]}},
                  {1: 'int key', -5: 'negative'},
                  {f'k{n}': n for n in range(20)}]

        def echo(value): return value

        async def async_echo(value): return value

        def same(a, b):
            if type(a) is not type(b): return False
            if isinstance(a, list): return len(a) == len(b) and all(map(same, a, b))
            if isinstance(a, dict): return (list(a) == list(b)
                                            and all(same(a[key], b[key]) for key in a))
            return a == b

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('a', enable_modules=[__name__])
                for endpoint in (echo, async_echo):
                    for value in VALUES:
                        back = await portal.run(endpoint, value=value)
                        assert same(value, back), (value, back)
                    assert math.isnan(await portal.run(endpoint, value=math.nan))
                    assert await portal.run(endpoint, value=(1, (2, 3))) == [1, [2, 3]]
                    assert await portal.run(endpoint, value=bytearray(b'ab')) == b'ab'
                await an.cancel()
        ''')


def test_a_value_that_cannot_travel_says_where_it_sits_and_the_actor_goes_on(script):
    outcome = script('''
        import coppice

        def echo(value): return value
        def bad_result(): return {'deep': [1, object()]}
        async def bad_async_result(): return range(2)

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('a', enable_modules=[__name__])
                cycle = []
                cycle.append(cycle)
                for value in (object(), {'a': [0, {'b': object()}]}, range(2), 2**64, cycle, 1j):
                    try:
                        await portal.run(echo, value=value)
                    except (TypeError, OverflowError, RecursionError) as error:
                        print(type(error).__name__, error)
                    else:
                        raise AssertionError(value)
                for endpoint in (bad_result, bad_async_result):
                    try:
                        await portal.run(endpoint)
                    except coppice.RemoteActorError as error:
                        assert error.boxed_type is TypeError, error
                        print('remote', error.message)
                assert await portal.run(echo, value=1) == 1
                await an.cancel()
        ''')
    assert len(outcome.said) == 8, outcome
    assert "['value']['a'][1]['b']" in outcome.said[1]
    assert 'OverflowError' in outcome.said[3]
    assert 'contain itself' in outcome.said[4]
    assert "['deep'][1]" in outcome.said[6]


@both_loops
def test_calls_of_one_actor_overlap_and_answer_in_their_own_time(script):
    script('''
        import either
        import coppice

        async def wait_and_say(seconds, word):
            await either.sleep(seconds)
            return word

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('a', enable_modules=[__name__])
                await portal.run(wait_and_say, 0, '')
                order = []

                async def call(seconds, word):
                    order.append(await portal.run(wait_and_say, seconds, word))

                await either.gather(call(0.3, 'slow'), call(0.1, 'quick'))
                assert order == ['quick', 'slow'], order
                results = await either.gather(*(portal.run(wait_and_say, 0, n)
                                                 for n in range(200)))
                assert results == list(range(200))
                await an.cancel()
        ''')


@both_loops
def test_many_actors_work_at_once(script):
    script('''
        import either
        import coppice

        def who():
            return coppice.current_actor().name

        async def main():
            async with coppice.open_nursery() as an:
                portals = await either.gather(*(
                    an.start_actor(f'actor {n}', enable_modules=[__name__]) for n in range(6)))
                assert await either.gather(*(one.run(who) for one in portals)) == [
                    f'actor {n}' for n in range(6)]
                await an.cancel()
                assert len(an.exits) == 6
        ''')


def test_actors_may_share_a_name(script):
    script('''
        import coppice

        def uid(): return list(coppice.current_actor().uid)

        async def main():
            async with coppice.open_nursery() as an:
                portals = [await an.start_actor('doggy', enable_modules=[__name__])
                           for _ in range(4)]
                uids = [tuple(await portal.run(uid)) for portal in portals]
                assert uids == [portal.uid for portal in portals]
                assert len(set(uids)) == 4
                await portals[2].cancel_actor()
                assert await portals[3].run(uid)
                await an.cancel()
        ''')


def test_actors_share_no_state(script):
    script('''
        import coppice

        count = 0

        def increment():
            global count
            count += 1
            return count

        async def main():
            async with coppice.open_nursery() as an:
                a = await an.start_actor('a', enable_modules=[__name__])
                b = await an.start_actor('b', enable_modules=[__name__])
                assert [await a.run(increment) for _ in range(3)] == [1, 2, 3]
                assert await b.run(increment) == 1
                assert count == 0
                await an.cancel()
        ''')


def test_an_actor_knows_itself_and_its_parent(script):
    script('''
        import coppice

        def about():
            me = coppice.current_actor()
            return [me.name, list(me.uid), list(me.parent_uid), me.is_root, list(me.parent.uid)]

        async def main():
            root = coppice.current_actor()
            assert root.is_root and root.parent is None and root.name == 'root'
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('child', enable_modules=[__name__])
                assert await portal.run(about) == [
                    'child', list(portal.uid), list(root.uid), False, list(root.uid)]
                await an.cancel()
        ''')


def test_the_main_script_is_run_in_children_behind_its_main_guard(script):
    outcome = script('''
        import sys
        import coppice

        print('imported as', __name__, flush=True)

        def name(): return __name__

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('a', enable_modules=[__name__])
                print('it is called', await portal.run(name))
                await an.cancel()
        ''')
    assert outcome.said == ['imported as __main__', 'imported as __mp_main__',
                            'it is called __mp_main__']


def test_an_actor_that_takes_over_no_main_script_does_not_run_it(script):
    outcome = script('''
        import coppice
        print('imported', flush=True)

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('a', enable_modules=['helper'],
                                              inherit_parent_main=False)
                assert await portal.run('helper:f') == 1
                await an.cancel()
        ''', modules={'helper': 'def f(): return 1'})
    assert outcome.said == ['imported']


def test_a_message_over_the_limit_costs_its_call_only(script):
    outcome = script('''
        import os
        import coppice

        def size(data): return len(data)

        async def main():
            async with coppice.open_nursery(payload_bytes_max=1_000_000,
                                            start_method=os.environ['COPPICE_TEST_START_METHOD']
                                            ) as an:
                portal = await an.start_actor('a', enable_modules=[__name__])
                assert await portal.run(size, b'x' * 900_000) == 900_000
                try:
                    await portal.run(size, b'x' * 1_100_000)
                except coppice.LimitExceeded as error:
                    print(error)
                assert await portal.run(size, b'x') == 1
                await an.cancel()
        ''', options="how='asyncio'")
    assert len(outcome.said) == 1
    assert '1000000' in outcome.said[0].replace('_', '').replace(',', '').replace("'", '')


@guests_only
def test_a_guest_of_def_endpoints_never_imports_an_event_loop(script):
    script('''
        import coppice

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('a', enable_modules=['helper'],
                                              inherit_parent_main=False)
                loaded = await portal.run('helper:loaded')
                assert loaded == [], loaded
                await portal.run('helper:use_a_loop')
                assert 'asyncio' in await portal.run('helper:loaded')
                await an.cancel()
        ''', modules={'helper': '''
            import sys
            HEAVY = ('asyncio', 'trio', 'traceback', 'inspect', 'typing', 'coppice', 'selectors')
            def loaded(): return [name for name in HEAVY if name in sys.modules]
            async def use_a_loop(): pass
            '''})


def test_a_portal_says_how_its_actor_was_started(script, start_method):
    script(f'''
        import coppice

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('a')
                assert portal.start_method == {start_method!r}
                assert portal.start_reason == 'asked for'
                assert 'subint' in (await an.start_actor('b', start_method='auto')).start_reason
                await an.cancel()
        ''')
