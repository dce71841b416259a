# SPDX-License-Identifier: Apache-2.0
"""What importing the package costs: guests import it whenever the main script does."""
import inspect
import os
import subprocess
import sys
import typing
from pathlib import Path

import coppice
import pytest

PACKAGE = Path(coppice.__file__).parent

# Not the fake of the other tests: what that one imports would hide what the package does.
IMPORT = f'''
import sys, types
sys.path.insert(0, {str(PACKAGE.parent)!r})
native = sys.modules['_coppice'] = types.ModuleType('_coppice')
native.Interrupted = type('Interrupted', (BaseException,), {{}})
native.set_error_factory = native.register_remote_error = lambda what: None
native.Buffer = type('Buffer', (), {{}})
native.version = '0'
from time import process_time
before, began = set(sys.modules), process_time()
import coppice
took = process_time() - began
'''


def python(code, **environment):
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=60,
                          env={**os.environ, 'PYTHONPATH': '', **environment})
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_takes_milliseconds(tmp_path):
    # Of the processor, so that others do not count. The bound leaves room for a slower machine.
    cache = dict(PYTHONPYCACHEPREFIX=str(tmp_path), PYTHONDONTWRITEBYTECODE='')
    times = [float(python(IMPORT + 'print(took)', **cache)) for _ in range(6)]
    assert min(times) < 0.010


def test_it_imports_nothing_but_its_own_modules():
    loaded = python(IMPORT + 'print(*sorted(set(sys.modules) - before))').split()
    assert all(name.split('.')[0] == 'coppice' for name in loaded), loaded
    assert 'coppice._asyncio' not in loaded and 'coppice._trio' not in loaded


def test_payload_types_without_annotations_of_their_own_import_nothing():
    loaded = python(IMPORT + '''
from coppice._typed import checker
for spec in (int, list[int], dict[str, int | None], tuple[float, ...], None):
    checker(spec).decode
print(*sorted(set(sys.modules) - before))
''').split()
    assert all(name.split('.')[0] == 'coppice' for name in loaded), loaded


def test_no_module_but_its_adapter_imports_an_event_loop():
    for path in PACKAGE.glob('*.py'):
        for line in path.read_text().splitlines():
            for name in ('asyncio', 'trio'):
                if path.name != f'_{name}.py':
                    assert not line.strip().startswith((f'import {name}', f'from {name}')), path


def test_every_public_name_is_there_and_documented():
    for name in coppice.__all__:
        assert inspect.getdoc(getattr(coppice, name)), name


@pytest.mark.parametrize('function', [
    coppice.run, coppice.open_nursery, coppice.ActorNursery.start_actor, coppice.Portal.run,
    coppice.Portal.cancel_actor, coppice.current_actor, coppice.fail_after])
def test_annotations_can_be_evaluated(function):
    assert inspect.signature(function)
    assert typing.get_type_hints(function)


def test_public_classes_call_themselves_by_their_public_names():
    assert coppice.RemoteActorError.__module__ == 'coppice'
    assert repr(coppice.StopPolicy) == "<class 'coppice.StopPolicy'>"


def test_a_missing_native_half_is_said_in_one_sentence():
    done = subprocess.run(
        [sys.executable, '-S', '-I', '-c',
         f'import sys; sys.path.insert(0, {str(PACKAGE.parent)!r}); '
         'sys.modules["coppice._coppice"] = None; import coppice'],
        capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert 'ImportError: coppice has no native half for this Python' in done.stderr
