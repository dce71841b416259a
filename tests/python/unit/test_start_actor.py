# SPDX-License-Identifier: Apache-2.0
"""What start_actor() and open_nursery() hand on, what they refuse, and an end that comes early."""
import asyncio

import coppice
import pytest
from fake_coppice import Link


def f(x=0): return x


def test_the_options_of_a_child_are_complete(run, native):
    native.vars = {'level': 3}

    async def main():
        async with coppice.open_nursery(start_method='process') as an:
            await an.start_actor('a', enable_modules=['json', 'no_such_module'], cwd='/tmp',
                                 stop=coppice.StopPolicy(total=1), start_within=4)
            await an.start_actor('b', start_method='subint', gil='shared',
                                 inherit_parent_main=False)
            await an.cancel()

    run(main)
    import json
    options = native.actor('a').options
    assert options['start_method'] == 'process'
    assert options['enable_modules'] == {'json': json.__file__, 'no_such_module': ''}
    assert options['stop'] == pytest.approx((1 / 6, 1 / 60, 1 / 3, 0.5, 1.0, True))
    assert options['start_within'] == 4.0
    assert options['cwd'] == '/tmp'
    assert options['loop'] == 'asyncio'
    assert options['gil'] == 'own'
    assert options['runtime_vars'] == {'level': 3}
    assert all(entry.startswith('/') for entry in options['sys_path'])
    options = native.actor('b').options
    assert options['gil'] == 'shared'
    assert options['main'] == {}


def test_another_program_is_a_process_found_on_the_path(run, native, monkeypatch):
    monkeypatch.setenv('PATH', '/nowhere:/bin')

    async def main():
        async with coppice.open_nursery(start_method='subint') as an:
            portal = await an.start_actor('a', proc_kwargs={'executable': 'sh', 'env': {'A': 'b'}})
            assert portal.start_method == 'process'
            await an.start_actor('b', start_method='process', proc_kwargs={'env': {}})
            await an.cancel()

    run(main)
    options = native.actor('a').options
    assert (options['executable'], options['env']) == ('/bin/sh', {'A': 'b'})
    options = native.actor('b').options
    assert 'executable' not in options and options['env'] == {}


@pytest.mark.parametrize('arguments, kind, error', [
    (dict(proc_kwargs={'shell': True}), TypeError, "'shell'.*'executable' and 'env'"),
    (dict(proc_kwargs={'executable': 'no-such-program'}), FileNotFoundError, 'on the PATH'),
    (dict(proc_kwargs={'env': {}}, start_method='subint'), ValueError, 'is of a process'),
    (dict(start_method='bogus'), ValueError,
     r"no start method 'bogus' \(from the argument\): use one of auto, process, subint "
     r'\(all names: process, trio, '),
    (dict(start_method='thread'), coppice.BackendUnavailable, 'written in C'),
    (dict(gil='none'), ValueError, "write 'own' or 'shared'"),
    (dict(loop='curio'), ValueError, "knows 'asyncio'"),
    (dict(enable_modules='json'), TypeError, r"write \['json'\]"),
    (dict(enable_modules=[f]), TypeError, 'takes names'),
    (dict(cwd='/tmp', start_method='subint'), ValueError, "start_method='process'"),
])
def test_a_wrong_argument_is_refused_at_once_with_the_choices(run, native, arguments, kind, error):
    async def main():
        async with coppice.open_nursery() as an:
            await an.start_actor('a', **arguments)

    with pytest.raises(kind, match=error):
        run(main)
    assert not native.actors


def test_a_backend_that_this_machine_cannot_serve_is_refused_in_its_own_words(run, native):
    native.available = [('subint', 'this CPython has no GIL: use process'), ('process', None)]

    async def main():
        async with coppice.open_nursery() as an:
            await an.start_actor('a', start_method='subint')

    with pytest.raises(coppice.BackendUnavailable, match='subint.*has no GIL: use process'):
        run(main)


def test_an_unknown_start_method_of_the_root_is_refused_before_it_opens(run, native):
    async def main():
        async with coppice.open_nursery(start_method='bogus'):
            pass

    with pytest.raises(ValueError, match='bogus'):
        run(main)
    assert not native.roots


def test_an_actor_that_is_up_and_dead_before_its_starter_runs_again_is_one_death(run, native):
    native.plan('a', start='never')

    def both():  # Taken from the inbox in one go.
        actor = native.actor('a')
        native.post(lambda: actor.on_event('started', Link((actor.name, actor.uuid), actor)))
        actor.end()

    async def main():
        async with coppice.open_nursery() as an:
            asyncio.get_running_loop().call_later(0.01, both)
            await an.start_actor('a')
            await asyncio.sleep(10)

    with pytest.raises(coppice.ActorDied):
        run(main)
