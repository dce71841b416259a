# SPDX-License-Identifier: Apache-2.0
"""Errors of other actors, whole; and each kind of bad input with its own typed error."""
import pytest
from conftest import both_loops, every_transport, guests_only, processes_only


@both_loops
def test_a_remote_error_has_type_message_traceback_and_path(script):
    script('''
        import coppice

        def inner(): raise ValueError('boom')
        def plain(): inner()
        async def coroutine(): inner()

        async def later():
            import either
            await either.sleep(0)
            inner()

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('a', enable_modules=[__name__])
                for endpoint in (plain, coroutine, later):
                    try:
                        await portal.run(endpoint)
                    except coppice.RemoteActorError as error:
                        assert error.boxed_type is error.src_type is ValueError, error.info
                        assert error.message == 'boom'
                        assert error.src_uid == error.relay_uid == portal.uid
                        assert error.relay_path == [portal.uid]
                        assert endpoint.__name__ in error.tb_str
                        assert 'in inner' in error.tb_str and 'script0.py' in error.tb_str
                        assert 'coppice/_' not in error.tb_str, error.tb_str
                        assert 'ValueError: boom' in str(error).splitlines()[0]
                    else:
                        raise AssertionError(endpoint)
                await an.cancel()
        ''')


def test_an_error_that_is_passed_on_says_who_passed_it_on(script):
    script('''
        import coppice

        def fail(): raise KeyError('deep down')

        async def through():
            async with coppice.open_nursery() as an:
                await (await an.start_actor('leaf', enable_modules=[__name__])).run(fail)

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('mid', enable_modules=[__name__])
                try:
                    await portal.run(through)
                except coppice.RemoteActorError as error:
                    assert error.boxed_type is coppice.RemoteActorError
                    assert error.src_type is KeyError
                    assert [name for name, _ in error.relay_path] == ['leaf', 'mid'], error.info
                    assert error.src_uid[0] == 'leaf'
                    assert "in actor 'leaf', through 'mid'" in str(error)
                    assert isinstance(error.unwrap(), KeyError)
                else:
                    raise AssertionError
                await an.cancel()
        ''')


def test_a_group_arrives_with_every_member(script):
    script('''
        import coppice

        def fail():
            raise ExceptionGroup('several', [ValueError('one'),
                                             ExceptionGroup('inner', [KeyError('two')])])

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('a', enable_modules=[__name__])
                try:
                    await portal.run(fail)
                except coppice.RemoteActorError as error:
                    assert error.boxed_type is ExceptionGroup
                    assert [one.src_type for one in error.members] == [ValueError, ExceptionGroup]
                    assert error.members[0].message == 'one'
                    assert error.members[1].members[0].src_type is KeyError
                    assert [type(one) for one in error.unwrap().exceptions] == [
                        ValueError, ExceptionGroup]
                else:
                    raise AssertionError
                await an.cancel()
        ''')


@both_loops
@every_transport
def test_reg_err_types(script):
    script('''
        import coppice

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('a', enable_modules=['shop'])
                for known in (False, True):
                    try:
                        await portal.run('shop:refuse')
                    except coppice.RemoteActorError as error:
                        assert error.src_type_str == 'Refused', error.info
                        assert error.message == 'no credit'
                        assert 'in refuse' in error.tb_str, error.tb_str
                        assert error.boxed_type is error.src_type
                        if known:
                            assert error.src_type is shop.Refused
                            assert type(error.unwrap()) is shop.Refused
                        else:
                            assert error.src_type is None
                            assert error.unwrap() is error
                    import shop
                    coppice.reg_err_types([shop.Refused])
                await an.cancel()
        ''', modules={'shop': '''
            class Refused(Exception): pass
            def refuse(): raise Refused('no credit')
            '''})


def test_a_module_that_is_not_enabled_cannot_be_called(script):
    script('''
        import coppice

        def f(): return 1

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('a', enable_modules=['json'])
                for name in ('os:getcwd', 'os.path:join', 'json.decoder:scanstring', '__main__:f',
                             'builtins:eval', 'no_such:f'):
                    try:
                        await portal.run(name)
                    except coppice.RemoteActorError as error:
                        assert error.boxed_type is coppice.ModuleNotExposed, error
                        assert name.split(':')[0] in error.message, error.message
                    else:
                        raise AssertionError(name)
                assert await portal.run('json:dumps', obj=[1]) == '[1]'
                await an.cancel()
        ''')


def test_a_function_that_does_not_exist_and_a_name_that_is_no_function(script):
    script('''
        import coppice

        NUMBER = 7
        def f(): return 1

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('a', enable_modules=[__name__])
                for name, kind in (('nope', AttributeError), ('NUMBER', TypeError)):
                    try:
                        await portal.run(f'__main__:{name}')
                    except coppice.RemoteActorError as error:
                        assert error.boxed_type is kind, error
                        assert name in error.message
                    else:
                        raise AssertionError(name)
                assert await portal.run(f) == 1
                await an.cancel()
        ''')


def test_wrong_arguments_are_a_type_error_that_names_the_function(script):
    script('''
        import coppice

        def f(a): return a
        async def g(a): return a

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('a', enable_modules=[__name__])
                for endpoint in (f, g):
                    for kwargs in ({}, {'b': 1}, {'a': 1, 'b': 2}):
                        try:
                            await portal.run(endpoint, **kwargs)
                        except coppice.RemoteActorError as error:
                            assert error.boxed_type is TypeError, error
                            assert f'{endpoint.__name__}()' in error.message, error.message
                        else:
                            raise AssertionError((endpoint, kwargs))
                    assert await portal.run(endpoint, a=1) == 1
                await an.cancel()
        ''')


def test_leaving_by_exception_ends_the_call_and_not_the_actor(script):
    script('''
        import sys
        import coppice

        def leave(): sys.exit(3)
        async def async_leave(): raise SystemExit(3)
        async def interrupt(): raise KeyboardInterrupt
        def f(): return 1

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('a', enable_modules=[__name__])
                for endpoint, kind in ((leave, SystemExit), (async_leave, SystemExit),
                                       (interrupt, KeyboardInterrupt)):
                    try:
                        await portal.run(endpoint)
                    except coppice.RemoteActorError as error:
                        assert error.boxed_type is kind
                    else:
                        raise AssertionError(endpoint)
                    assert await portal.run(f) == 1
                await an.cancel()
        ''')


def test_a_module_that_does_not_import_fails_the_start_with_its_error(script):
    outcome = script('''
        import time
        import coppice

        async def main():
            async with coppice.open_nursery() as an:
                for name, what in (('no_such_module', 'ModuleNotFoundError'),
                                   ('broken', 'SyntaxError'), ('raising', 'ZeroDivisionError')):
                    began = time.monotonic()
                    try:
                        await an.start_actor('a', enable_modules=[name])
                    except (coppice.RemoteActorError, coppice.ActorFailure) as error:
                        assert what in str(error), str(error)
                        assert name in str(error), str(error)
                        print(type(error).__name__, str(error).splitlines()[0])
                    else:
                        raise AssertionError(name)
                    assert time.monotonic() - began < 1, 'too slow'
                # The tree goes on.
                portal = await an.start_actor('b', enable_modules=['json'])
                assert await portal.run('json:loads', s='[1]') == [1]
                await an.cancel()
        ''', modules={'broken': 'def f(:', 'raising': '1 / 0'})
    assert len(outcome.said) == 3


def test_a_main_script_that_fails_in_the_child_fails_the_start(script):
    script('''
        import coppice

        if __name__ != '__main__':
            raise LookupError('only in children')

        async def main():
            async with coppice.open_nursery() as an:
                try:
                    await an.start_actor('a', enable_modules=[__name__])
                except (coppice.RemoteActorError, coppice.ActorFailure) as error:
                    assert 'LookupError' in str(error) and 'only in children' in str(error)
                else:
                    raise AssertionError
        ''')


@pytest.mark.parametrize('start', ['coppice.run(main)', 'asyncio.run(main())'])
def test_a_main_script_without_its_guard_is_told_where_to_put_it(begin, start):
    outcome = begin(f'''
        import asyncio, os
        import coppice

        async def main():
            async with coppice.open_nursery(
                    start_method=os.environ['COPPICE_TEST_START_METHOD']) as an:
                await an.start_actor('a', enable_modules=[__name__])

        {start}
        ''', end='').wait()
    assert outcome.status == 1, outcome
    assert 'line 9 of the main script starts actors' in outcome.stderr, outcome
    assert "below `if __name__ == '__main__':`" in outcome.stderr


@processes_only
def test_a_child_that_dies_before_it_is_up_is_a_failed_start_with_its_status(script):
    script('''
        import time
        import coppice

        async def main():
            async with coppice.open_nursery() as an:
                began = time.monotonic()
                try:
                    await an.start_actor('a', enable_modules=['leaves'])
                except coppice.ActorFailure as error:
                    assert error.report.how == 'exited' and error.report.status == 3, error.report
                    assert "'a'" in str(error), error
                else:
                    raise AssertionError
                assert time.monotonic() - began < 1
        ''', modules={'leaves': 'import os; os._exit(3)'})


def test_a_start_has_a_bound(script):
    script('''
        import time
        import coppice

        async def main():
            async with coppice.open_nursery() as an:
                began = time.monotonic()
                try:
                    await an.start_actor('a', enable_modules=['slow'], start_within=0.5)
                except coppice.ActorFailure as error:
                    print(error)
                else:
                    raise AssertionError
                assert time.monotonic() - began < 1.5
        ''', modules={'slow': 'import time; time.sleep(100)'})


@guests_only
def test_unknown_start_methods_are_refused_with_the_choices(script):
    outcome = script('''
        import coppice

        async def main():
            async with coppice.open_nursery() as an:
                for method in ('bogus', 'fork', 'thread'):
                    try:
                        await an.start_actor('a', start_method=method)
                    except (ValueError, coppice.BackendUnavailable) as error:
                        print(type(error).__name__, error)
        ''')
    assert [line.split()[0] for line in outcome.said] == [
        'ValueError', 'ValueError', 'BackendUnavailable']
    assert all('subint' in line and 'process' in line for line in outcome.said)


@guests_only
def test_a_user_error_in_main_leaves_with_status_1_and_its_own_traceback(script):
    outcome = script('''
        import coppice

        async def main():
            async with coppice.open_nursery() as an:
                await an.start_actor('a')
                raise RuntimeError('mine')
        ''', status=1)
    assert outcome.stderr.rstrip().endswith('RuntimeError: mine')
