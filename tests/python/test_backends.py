# SPDX-License-Identifier: Apache-2.0
"""Which backend starts an actor: who may say so, who wins, and what is refused with which words."""
import pytest
from conftest import guests_only

pytestmark = guests_only

# The root says nothing itself: that is for the tests to do.
REPORT = '''
    import coppice

    async def main():
        async with coppice.open_nursery() as an:
            left_open = await an.start_actor('a')
            said_so = await an.start_actor('b', start_method='subint')
            print(left_open.start_method, said_so.start_method, sep='/')
            print(left_open.start_reason)
            await an.cancel()
'''


def test_the_environment_overrides_the_run_but_not_what_an_actor_is_started_with(script):
    outcome = script(REPORT, COPPICE_SPAWN_METHOD='trio', options="start_method='subint'")
    assert outcome.said == ['process/subint', "COPPICE_SPAWN_METHOD says 'trio'"]


def test_without_it_the_argument_counts(script):
    outcome = script(REPORT, COPPICE_SPAWN_METHOD='', options="start_method='process'")
    assert outcome.said == ['process/subint', 'asked for']


def test_children_that_are_processes_inherit_it(script):
    outcome = script('''
        import coppice

        async def below():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('leaf')
                said = portal.start_method
                await an.cancel()
                return said

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('branch', enable_modules=[__name__])
                print(portal.start_method, await portal.run(below))
                await an.cancel()
        ''', COPPICE_SPAWN_METHOD='process')
    assert outcome.said == ['process process']


@pytest.mark.parametrize('said, kind, parts', [
    ('thraed', 'ValueError', ["'thraed' (from COPPICE_SPAWN_METHOD)", 'process', 'subint']),
    ('thread', 'BackendUnavailable', ["'thread' (from COPPICE_SPAWN_METHOD)", 'C++', 'subint']),
])
def test_what_it_asks_for_in_vain_is_refused_in_one_sentence_before_the_root_opens(
        script, said, kind, parts):
    outcome = script(REPORT, COPPICE_SPAWN_METHOD=said, status=1, clean=False)
    last = outcome.stderr.splitlines()[-1]
    assert kind in last and all(part in last for part in parts), outcome
    assert outcome.said == []


def test_the_types_have_every_name_that_the_list_has(script):
    script('''
        import ast, coppice, coppice._types
        from coppice._native import native

        async def main():
            names = set()
            for key, aliases, languages, *_ in native.spawn_methods():
                if 'Python' in languages:
                    names |= {key, *aliases}
            tree = ast.parse(open(coppice._types.__file__).read())
            alias = next(node for node in ast.walk(tree) if isinstance(node, ast.TypeAlias)
                         and node.name.id == 'StartMethod')
            typed = {node.value for node in ast.walk(alias.value)
                     if isinstance(node, ast.Constant)}
            assert typed == names, typed ^ names
        ''')


TABLE = '''
    table = {one.key: one for one in coppice.backends()}
    assert {'thread', 'process', 'forkserver', 'subint', 'subint_fork', 'subint_forkserver',
            'auto'} == table.keys()
    for one in table.values():
        assert one.text and one.needs and set(one.languages) <= {'C++', 'Python'}
        assert one.available or one.reason
    assert table['process'].can_be_killed and not table['subint'].can_be_killed
    assert table['subint'].available and table['subint'].isolation == 'own interpreter'
'''


def test_the_table_is_there_before_a_root_opens_and_says_what_the_self_test_found(begin):
    running = begin('import coppice\n' + TABLE.replace('\n    ', '\n') + '''
stops = table['subint'].forced_stops
assert stops.works and stops.text == '' and stops.seconds > 0, stops
assert coppice.backends() == list(table.values())
print('CLEAN')
''', end='')
    outcome = running.wait()
    assert outcome.status == 0 and outcome.is_clean, outcome


def test_the_table_can_be_had_in_a_root_and_in_a_guest(script):
    script('''
        import coppice

        def look():
            TABLE
            return [one.key for one in table.values()]

        async def main():
            here = look()
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('a', enable_modules=[__name__])
                assert await portal.run(look) == here
                await an.cancel()
        '''.replace('TABLE', TABLE.strip().replace('\n', '\n        ')))


def test_a_traced_process_is_refused_guests_which_could_not_start(script):
    script('''
import either
import coppice

async def main():
    import tracemalloc  # In a guest it does not load.

    async with coppice.open_nursery() as an:
        tracemalloc.start()
        try:
            await an.start_actor('a', enable_modules=[__name__], start_method='subint')
        except coppice.BackendUnavailable as error:
            assert "tracemalloc traces this process" in str(error), error
            assert "use 'forkserver' or 'process'" in str(error), error
        else:
            raise AssertionError('it was not refused')
        portal = await an.start_actor('b', enable_modules=[__name__], start_method='auto')
        assert portal.start_method == 'forkserver', portal.start_reason
        assert 'tracemalloc' in portal.start_reason, portal.start_reason
        await portal.cancel_actor()
        tracemalloc.stop()
        portal = await an.start_actor('c', enable_modules=[__name__], start_method='subint')
        await portal.cancel_actor()
''')


def test_a_guest_in_a_process_of_its_own_is_not_traced_whatever_the_environment_says(script):
    script('''
import coppice

def where():
    import os
    return os.getpid()

async def main():
    import os
    async with coppice.open_nursery() as an:
        portal = await an.start_actor('a', enable_modules=[__name__],
                                      start_method='subint_forkserver')
        assert await portal.run(where) != os.getpid()
        await portal.cancel_actor()
''', options="start_method='process'", PYTHONTRACEMALLOC='1', COPPICE_SPAWN_METHOD='')


def test_fork_is_refused_while_guests_live_and_names_the_forkserver(script):
    outcome = script('''
        import os
        import coppice

        def try_to_fork():
            said = []
            for fork in (os.fork, os.forkpty):
                try:
                    fork()
                except RuntimeError as error:
                    said.append(str(error))
            return said

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('a', enable_modules=[__name__],
                                              start_method='subint')
                for said in (try_to_fork(), await portal.run(try_to_fork)):
                    assert len(said) == 2, said
                    assert all('forkserver' in text and 'refused' in text for text in said), said
                await an.cancel()
            pid = os.fork()  # None lives any more.
            if pid == 0:
                os._exit(7)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
            print('forked')
        ''')
    assert 'forked' in outcome.said
