# SPDX-License-Identifier: Apache-2.0
"""Which Python serves actors, and what they see of it: what that Python sees when run by hand."""
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = Path(os.environ.get('COPPICE_BUILD_DIR', 'build')).resolve() / 'coppice'
LOOK = 'import json, sys; print(json.dumps([sys.executable, sys.prefix, sys.path]))'
SCRIPT = '''
import sys
import coppice

def look():
    import only_in_this_venv
    return [sys.executable, sys.prefix, sys.path]

async def main():
    seen = {'root': look()}
    async with coppice.open_nursery() as an:
        for method in ('subint', 'process'):
            portal = await an.start_actor(method, enable_modules=[__name__], start_method=method)
            seen[method] = await portal.run(look)
            await portal.cancel_actor()
    import json
    print(json.dumps(seen))

if __name__ == '__main__':
    coppice.run(main)
'''


@pytest.fixture
def venv(tmp_path, native_half):
    """A virtual environment with a module that only it has, and the folder that it is in."""
    folder = tmp_path / 'project' / '.venv'
    subprocess.run([sys.executable, '-m', 'venv', '--without-pip', folder], check=True, timeout=60)
    site, = folder.glob('lib/python3.*/site-packages')
    (site / 'only_in_this_venv.py').write_text('')
    (tmp_path / 'project' / 'script.py').write_text(SCRIPT)
    return folder


def by_hand(python):
    """What that Python says of itself."""
    done = subprocess.run([python, '-c', LOOK], capture_output=True, text=True, timeout=60,
                          env={key: value for key, value in os.environ.items() if key != 'PYTHON'})
    return json.loads(done.stdout)


def check(seen, python, script):
    executable, prefix, path = by_hand(python)
    assert path.pop(0) == ''  # Of `-c`; of a script it is the script's folder.
    for who, (its_executable, its_prefix, its_path) in seen.items():
        assert its_executable == executable, who
        assert its_prefix == prefix, who
        its_path = [one for one in its_path if not (Path(one) / 'coppice' / '_child.py').is_file()]
        expected = [one for one in path if not (Path(one) / 'coppice' / '_child.py').is_file()]
        assert its_path == [str(script.parent), *expected], who


def run_it(begin_program, command, **environment):
    running = begin_program(command, seconds=60, **environment)
    outcome = running.wait()
    assert outcome.status == 0, outcome
    return json.loads(outcome.stdout.splitlines()[-1])


def test_python_as_host_is_the_interpreter_of_its_children(begin_program, venv):
    script = venv.parent / 'script.py'
    seen = run_it(begin_program, [venv / 'bin/python', script])
    check(seen, venv / 'bin/python', script)


@pytest.mark.parametrize('rule', ['PYTHON', 'VIRTUAL_ENV', 'pyvenv.cfg'])
def test_coppice_run_takes_the_python_that_is_asked_for(begin_program, venv, rule, monkeypatch):
    monkeypatch.delenv('PYTHON', raising=False)
    monkeypatch.delenv('VIRTUAL_ENV', raising=False)
    script = venv.parent / 'script.py'
    if rule == 'pyvenv.cfg':  # Above the current folder, which is the test's: it needs one there.
        (venv.parent.parent / '.venv').symlink_to(venv)
        environment = {}
        python = venv.parent.parent / '.venv/bin/python'
    else:
        environment = {rule: str(venv / 'bin/python' if rule == 'PYTHON' else venv)}
        python = venv / 'bin/python'
    seen = run_it(begin_program, [COMMAND, 'run', script], **environment)
    check(seen, python, script)


def test_a_python_that_is_not_there_is_named_with_what_chose_it(begin_program, venv):
    running = begin_program([COMMAND, 'run', venv.parent / 'script.py'], PYTHON='/no/such/python')
    outcome = running.wait()
    assert outcome.status != 0
    assert "the Python chosen by $PYTHON (/no/such/python)" in outcome.stderr, outcome
