# SPDX-License-Identifier: Apache-2.0
"""`coppice backends`, and how a command line selects one."""
import json
import os
from pathlib import Path

import pytest

COMMAND = Path(os.environ.get('COPPICE_BUILD_DIR', 'build')).resolve() / 'coppice'
SCRIPT = '''
import os, sys
import coppice

async def main():
    async with coppice.open_nursery(start_method='subint') as an:
        portal = await an.start_actor('a')
        print(portal.start_method, portal.start_reason, sep='; ')
        print(os.environ.get('COPPICE_SPAWN_METHOD'), sys.argv[1:])
        await an.cancel()

if __name__ == '__main__':
    coppice.run(main, start_method='subint')
'''
KEYS = ['thread', 'process', 'forkserver', 'subint', 'subint_fork', 'subint_forkserver', 'auto']


@pytest.fixture
def coppice(begin_program, tmp_path):
    (tmp_path / 'script.py').write_text(SCRIPT)
    return lambda *words, **how: begin_program([COMMAND, *words], **how).wait()


def test_the_table_has_every_key_with_what_it_is_and_can(coppice):
    outcome = coppice('backends')
    assert outcome.status == 0 and outcome.stderr == '', outcome
    rows = {line.split()[0]: line for line in outcome.lines if not line.startswith(' ')}
    assert list(rows) == ['method', *KEYS], outcome
    assert 'C++, Python' in rows['process'] and 'own process' in rows['process']
    assert 'forced stops work' in outcome.stdout and 'mp_spawn' in outcome.stdout


def test_the_table_as_json_is_what_python_gets(coppice):
    outcome = coppice('backends', '--json')
    table = {row['key']: row for row in json.loads(outcome.stdout)}
    assert list(table) == KEYS
    assert table['subint']['forced_stops']['works'] is True
    assert table['subint']['forced_stops']['seconds'] > 0
    assert table['thread']['languages'] == ['C++'] and table['thread']['forced_stops'] is None
    assert table['process']['aliases'] == ['trio', 'mp_spawn', 'spawn']
    assert table['auto']['isolation'] is None
    assert all(row['available'] or row['reason'] for row in table.values())


def test_without_a_python_the_table_says_why_and_what_to_do(coppice):
    outcome = coppice('backends', '--json', PYTHON='/nowhere/python')
    assert outcome.status == 0, outcome
    table = {row['key']: row for row in json.loads(outcome.stdout)}
    assert table['thread']['available'] and table['process']['available']
    assert 'Python: ' in table['process']['reason']
    subint = table['subint']
    assert not subint['available'] and subint['forced_stops'] is None
    assert '/nowhere/python' in subint['reason'] and '$PYTHON' in subint['reason']


def test_a_free_threaded_python_is_refused_with_the_reason(coppice, tmp_path):
    # It is asked for its name, version, build and library; this one answers like python3.14t.
    fake = tmp_path / 'python3.14t'
    fake.write_text('#!/bin/sh\nprintf "cpython 3 14 7 1\\n/lib\\nlib.so\\n/\\n"\n')
    fake.chmod(0o755)
    outcome = coppice('run', '--spawn-method', 'subint', 'script.py', PYTHON=str(fake))
    assert outcome.status == 1 and outcome.stderr.count('\n') == 1, outcome
    assert 'free-threaded' in outcome.stderr and '$PYTHON' in outcome.stderr, outcome
    table = {row['key']: row for row in json.loads(coppice(
        'backends', '--json', PYTHON=str(fake)).stdout)}
    assert 'free-threaded' in table['subint']['reason'] and not table['subint']['available']


def test_the_command_line_beats_the_environment_and_the_script(coppice):
    outcome = coppice('run', '--spawn-method', 'mp_spawn', 'script.py', '--spawn-method', 'x',
                      COPPICE_SPAWN_METHOD='subint')
    assert outcome.lines == ["process; the command line says 'mp_spawn'",
                             "mp_spawn ['--spawn-method', 'x']"], outcome


def test_what_follows_the_script_is_the_scripts(coppice):
    outcome = coppice('run', 'script.py', '--help', '--', '--version')
    assert outcome.lines == ['subint; asked for', "None ['--help', '--', '--version']"], outcome


def test_the_environment_beats_the_script(coppice):
    outcome = coppice('run', 'script.py', COPPICE_SPAWN_METHOD='process')
    assert outcome.lines == ["process; COPPICE_SPAWN_METHOD says 'process'", 'process []'], outcome


@pytest.mark.parametrize('words, environment, parts', [
    (['--spawn-method', 'thraed'], {}, ["'thraed' (from the command line)", 'mp_spawn']),
    ([], {'COPPICE_SPAWN_METHOD': 'thraed'}, ["'thraed' (from COPPICE_SPAWN_METHOD)", 'mp_spawn']),
    (['--spawn-method', 'thread'], {}, ["'thread' (from the command line)", 'C++', "'subint'"]),
])
def test_what_cannot_be_had_is_refused_in_one_sentence_before_the_script_runs(
        coppice, words, environment, parts):
    outcome = coppice('run', *words, 'script.py', **environment)
    assert outcome.status == 1 and outcome.stdout == '', outcome
    assert outcome.stderr.count('\n') == 1, outcome
    assert all(part in outcome.stderr for part in parts), outcome
