# SPDX-License-Identifier: Apache-2.0
"""The command `coppice`, as a user runs it."""
import json
import os
import signal
import time
from pathlib import Path

import pytest

COMMAND = Path(os.environ.get('COPPICE_BUILD_DIR', 'build')).resolve() / 'coppice'
STATES = {'pure_loop', 'sleep', 'event_wait', 'lock_never_released'}


@pytest.fixture
def folder(tmp_path):
    """A few small files to parse."""
    for i in range(8):
        (tmp_path / f'm{i}.py').write_text(f'import os\n\n\ndef f{i}():\n    return os.getpid()\n')
    return tmp_path


@pytest.fixture
def coppice(begin_program):
    return lambda *words, **how: begin_program([COMMAND, *words], **how)


def test_the_tour_does_its_work_and_leaves_nothing(coppice, folder):
    running = coppice('tour', '--json', '--guests', '2', folder)
    outcome = running.wait()
    assert outcome.status == 0, outcome
    said = json.loads(outcome.stdout)
    assert said['files'] == 8
    assert said['one_guest_s'] > 0 and said['n_guests_s'] > 0 and said['speedup'] > 0
    assert {one['state'] for one in said['stopped']} == STATES
    assert all(one['rung'] in ('interrupted', 'forced') for one in said['stopped']), said
    assert set(said['before']) == set(said['after']) == {'threads', 'interpreters', 'processes',
                                                         'fds'}
    assert all(said['after'][what] <= said['before'][what] for what in said['before']), said
    assert not running.socket_files()


@pytest.mark.parametrize('number, status', [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize('moment', ['starting', 'parsing', 'cutting'])
def test_a_signal_ends_the_tour_at_any_moment(tour_at, moment, number, status):
    running = tour_at(moment)
    began = time.monotonic()
    running.process.send_signal(number)
    outcome = running.wait()
    assert outcome.status == status, outcome
    assert time.monotonic() - began < 1.5, outcome  # Promised: 1 s. The rest is for a busy machine.
    assert not running.survivors(0) and not running.socket_files()


@pytest.mark.parametrize('moment', ['starting', 'parsing', 'cutting'])
def test_a_killed_tour_leaves_no_process(tour_at, moment):
    running = tour_at(moment)
    running.process.kill()
    assert running.wait().status == -signal.SIGKILL
    assert not running.survivors(1.0)


@pytest.fixture
def tour_at(coppice, folder):
    """A tour that has come to a moment: 'starting', 'parsing', 'cutting'."""
    def start(moment):
        # The standard library takes seconds to parse; a few files are enough to get past that.
        running = coppice('tour', *([folder] if moment == 'cutting' else []))
        while line := running.line():
            if line.startswith(moment):
                return running
        pytest.fail(f'it ended before it said {moment!r}: {running.wait()}')

    return start


@pytest.mark.parametrize('words, status, parts', [
    ([], 2, ['A subcommand', '--help']),
    (['fly'], 2, ['fly', '--help']),
    (['tour', '--guests', '0'], 2, ['--guests', '1 to 64']),
    (['tour', '--guests', 'many'], 2, ['--guests', '1 to 64']),
    (['tour', '/nowhere'], 1, ['/nowhere', 'no such folder']),
    (['tour', '/etc/hostname'], 1, ['/etc/hostname']),
    (['run'], 2, ['script']),
    (['run', '/nowhere.py'], 2, ['/nowhere.py', 'no such file']),
])
def test_bad_arguments_get_one_line_that_names_them(coppice, words, status, parts):
    outcome = coppice(*words).wait()
    assert outcome.status == status, outcome
    assert outcome.stdout == '' and outcome.stderr.count('\n') == 1, outcome
    assert all(part in outcome.stderr for part in ['error: ', *parts]), outcome
    assert outcome.seconds < 1, outcome


@pytest.mark.parametrize('words', [['tour'], ['run', 'script.py']])
@pytest.mark.parametrize('python', ['/nowhere/python', 'none', '/bin/true'])
def test_a_python_that_is_none_is_named_with_what_to_set_instead(coppice, folder, words, python):
    (folder / 'script.py').write_text('print("ran")\n')
    outcome = coppice(*words, PYTHON=python).wait()
    assert outcome.status == 1, outcome
    assert outcome.stderr.count('\n') == 1 and 'ran' not in outcome.stdout, outcome
    assert all(part in outcome.stderr for part in ['error: ', python, '$PYTHON']), outcome


def test_an_empty_folder_is_an_error(coppice, tmp_path):
    outcome = coppice('tour', tmp_path).wait()
    assert outcome.status == 1 and str(tmp_path) in outcome.stderr, outcome


def test_the_version_is_that_of_the_project(coppice):
    outcome = coppice('--version').wait()
    assert outcome.status == 0 and outcome.stdout.startswith('coppice '), outcome


def test_a_script_that_it_runs_has_a_stock_of_warm_guests(coppice, tmp_path):
    script = tmp_path / 'script.py'
    script.write_text('''
import coppice

def warm_threads():
    from pathlib import Path
    names = [(task / 'comm').read_text().strip() for task in Path('/proc/self/task').iterdir()]
    return names.count('guest/warm')

async def main():
    before = warm_threads()
    async with coppice.open_nursery() as an:
        portal = await an.start_actor('a', enable_modules=[__name__])
        print(before, await portal.run(warm_threads))
        await an.cancel()

if __name__ == '__main__':
    coppice.run(main, warm=coppice.WarmPool(2, refill='never'))
''')
    outcome = coppice('run', script).wait()
    assert outcome.said == ['2 1'] and outcome.status == 0, outcome
