# SPDX-License-Identifier: Apache-2.0
"""What a child is told of its parent's code."""
import json
import os
import sys
import types

import coppice  # noqa: F401
import pytest
from coppice import _spawn


@pytest.fixture
def main_module(monkeypatch, tmp_path):
    """Replaces `__main__` with one that has these attributes."""
    def set_main(name='__main__', **attributes):
        module = types.ModuleType(name)
        for key, value in attributes.items():
            setattr(module, key, value)
        monkeypatch.setitem(sys.modules, name, module)
        return module
    monkeypatch.delitem(sys.modules, '__mp_main__', raising=False)
    return set_main


@pytest.fixture
def script(tmp_path):
    path = tmp_path / 'script.py'
    path.write_text('')
    return str(path)


def spec(name):
    return types.SimpleNamespace(name=name)


def test_a_script_is_sent_by_path(main_module, script):
    main_module(__file__=script, __spec__=None)
    assert _spawn.main_data() == {'init_main_from_path': script}
    assert _spawn.module_paths(['__main__', '__mp_main__']) == {'__main__': script}


def test_a_module_run_by_name_is_sent_by_name(main_module, script):
    main_module(__file__=script, __spec__=spec('tools.report'))
    assert _spawn.main_data() == {'init_main_from_name': 'tools.report'}
    assert _spawn.module_paths(['__main__']) == {'__main__': script}


def test_a_grandchild_gets_the_main_script_that_the_child_took_over(main_module, script):
    main_module(__file__=_spawn._own_scripts()[0], __spec__=None)
    assert _spawn.main_data() == {}
    main_module('__mp_main__', __file__=script, __spec__=spec('__mp_main__'))
    assert _spawn.main_data() == {'init_main_from_path': script}


@pytest.mark.parametrize('attributes', [
    {}, {'__file__': '<stdin>'}, {'__file__': None},
    {'__file__': '/x/pytest/__main__.py', '__spec__': spec('pytest.__main__')}])
def test_a_prompt_and_a_package_have_no_main_to_send(main_module, attributes):
    main_module(**{'__spec__': None, **attributes})
    assert _spawn.main_data() == {}
    with pytest.raises(ValueError, match='a prompt, `python -c`'):
        _spawn.start_data(['__main__'], True)


def test_enabling_a_main_that_is_not_inherited_is_refused(main_module, script):
    main_module(__file__=script, __spec__=None)
    with pytest.raises(ValueError, match='inherit_parent_main is off'):
        _spawn.start_data(['__main__'], False)
    assert _spawn.start_data([], False)['main'] == {}


def test_modules_are_found_without_being_imported(monkeypatch, tmp_path):
    package = tmp_path / 'forest'
    package.mkdir()
    (package / '__init__.py').write_text('raise AssertionError("imported")')
    (package / 'oak.py').write_text('raise AssertionError("imported")')
    monkeypatch.syspath_prepend(str(tmp_path))
    assert _spawn.module_paths(['forest.oak', 'forest', 'forest.elm', 'json.decoder', 'sys',
                                'no.such']) == {
        'forest.oak': str(package / 'oak.py'), 'forest': str(package / '__init__.py'),
        'forest.elm': '', 'json.decoder': json.decoder.__file__, 'sys': '', 'no.such': ''}
    assert 'forest' not in sys.modules


def test_sys_path_is_sent_in_absolute_form(monkeypatch):
    monkeypatch.setattr(sys, 'path', ['', 'here', '/there', None])
    assert _spawn.search_path() == [os.getcwd(), os.path.join(os.getcwd(), 'here'), '/there']


def test_start_methods_have_aliases_and_reasons(native):
    assert _spawn.choose('auto')[0] == 'subint'
    assert _spawn.choose('subint') == ('subint', 'asked for')
    assert _spawn.choose('trio') == ('process', "asked for as 'trio'")
    assert _spawn.choose('mp_spawn')[0] == 'process'
    assert _spawn.choose('spawn')[0] == 'process'


def test_the_environment_beats_the_argument_and_the_command_line_beats_both(native, monkeypatch):
    monkeypatch.delenv('COPPICE_SPAWN_METHOD', raising=False)
    assert _spawn.default('subint') == ('subint', 'the argument')
    monkeypatch.setenv('COPPICE_SPAWN_METHOD', '')
    assert _spawn.default('subint') == ('subint', 'the argument')
    monkeypatch.setenv('COPPICE_SPAWN_METHOD', 'trio')
    assert _spawn.default('subint') == ('trio', 'COPPICE_SPAWN_METHOD')
    native.typed_method = 'auto'
    assert _spawn.default('subint') == ('auto', 'the command line')


def test_the_reason_says_who_overrode_the_program(native):
    assert _spawn.choose('trio', 'COPPICE_SPAWN_METHOD') == (
        'process', "COPPICE_SPAWN_METHOD says 'trio'")
    assert _spawn.choose('subint', 'the command line') == (
        'subint', "the command line says 'subint'")


@pytest.mark.parametrize('name, kind, text', [
    ('bogus', ValueError, "no start method 'bogus' .from COPPICE_SPAWN_METHOD.: use one of auto"),
    ('thread', coppice.BackendUnavailable, '.from COPPICE_SPAWN_METHOD. runs actors written in C'),
    ('forkserver', coppice.BackendUnavailable, 'from COPPICE_SPAWN_METHOD. is not in this ver'),
    ('subint', coppice.BackendUnavailable, '.from COPPICE_SPAWN_METHOD.: has no GIL: use process'),
])
def test_a_refusal_says_who_asked_for_the_method(native, name, kind, text):
    native.available = [('thread', None), ('process', None), ('subint', 'has no GIL: use process')]
    with pytest.raises(kind, match=text):
        _spawn.choose(name, 'COPPICE_SPAWN_METHOD')


def test_backends_are_the_list_with_what_each_comes_to_here(native):
    native.available = [('process', None), ('subint', None)]
    table = {one.key: one for one in coppice.backends()}
    assert list(table) == ['thread', 'process', 'forkserver', 'subint', 'auto']
    process, subint = table['process'], table['subint']
    assert process.available and process.reason == '' and process.forced_stops is None
    assert process.aliases == ('trio', 'mp_spawn', 'spawn') and process.can_be_killed
    assert process.languages == ('C++', 'Python') and process.isolation == 'own process'
    assert subint.forced_stops == coppice.ForcedStops(works=True, text='', seconds=0.004)
    assert not table['forkserver'].available and table['forkserver'].reason == 'not here'
    assert table['auto'].available and table['auto'].isolation is None
