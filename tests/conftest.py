# SPDX-License-Identifier: Apache-2.0
"""Integration tests run scripts: each in a process of its own, bounded, searched for leftovers.

The runner's own process never imports the native half, so a hang or a crash of it fails one test.
"""
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
METHODS = ('subint', 'process')
FORKED = ('forkserver', 'subint_fork', 'subint_forkserver')
TCP = 'process over tcp'  # A `process` reaches others by unix sockets unless told otherwise.
LOOPS = ('asyncio', 'trio')
# A shell that starts us in the background has it ignored, and scripts would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
# An option of scripts that say how actors ended: asking is given time on a busy machine, too.
PATIENT = 'stop=coppice.StopPolicy(ask=10, unseen=10, total=20)'
END = '''

if __name__ == '__main__':
    import support
    support.run(main{options})
'''


@dataclass(repr=False)
class Outcome:
    """What a script did."""
    status: int
    stdout: str
    stderr: str
    seconds: float

    @property
    def lines(self):
        return self.stdout.splitlines()

    @property
    def said(self):
        """What the script itself printed."""
        return [line for line in self.lines
                if line != 'CLEAN' and not line.startswith(('RESULT ', 'LEFT '))]

    @property
    def is_clean(self):
        return 'CLEAN' in self.lines

    def __repr__(self):
        return (f'status {self.status} after {self.seconds:.2f} s\n--- stdout\n{self.stdout}'
                f'\n--- stderr\n{self.stderr}')


def marked(mark):
    """Processes, anywhere on the machine, that a script or a descendant of it started."""
    wanted = f'COPPICE_TEST_MARK={mark}'.encode()
    found = {}
    for folder in Path('/proc').glob('[0-9]*'):
        try:
            if wanted in (folder / 'environ').read_bytes().split(b'\0'):
                found[int(folder.name)] = (folder / 'cmdline').read_bytes().replace(
                    b'\0', b' ').decode(errors='replace')
        except OSError:
            continue
    return found


class Running:
    """A program that runs. Ends with it whatever it started."""

    def __init__(self, command, folder, seconds, environment):
        self.mark = uuid.uuid4().hex
        self.sockets = tempfile.mkdtemp(prefix='cpc-')  # Short: unix socket paths are.
        self.seconds = seconds
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, start_new_session=True, cwd=folder,
            env={**os.environ, 'COPPICE_TEST_MARK': self.mark, 'XDG_RUNTIME_DIR': self.sockets,
                 'COPPICE_TEST_SECONDS': str(seconds - 2), 'PYTHONUNBUFFERED': '',
                 **environment})

    def line(self):
        """The next line that it prints. The script's own bound makes this one bounded."""
        return self.process.stdout.readline().rstrip('\n')

    def wait(self):
        try:
            stdout, stderr = self.process.communicate(timeout=self.seconds)
        except subprocess.TimeoutExpired:
            self.end()
            stdout, stderr = self.process.communicate()
            took = time.monotonic() - self.began
            pytest.fail(f'did not end\n{Outcome(self.process.returncode, stdout, stderr, took)}')
        return Outcome(self.process.returncode, stdout, stderr, time.monotonic() - self.began)

    def survivors(self, within=1.0):
        """Marked processes that are there after `within` seconds still."""
        deadline = time.monotonic() + within
        while (there := marked(self.mark)) and time.monotonic() < deadline:
            # tidy: allow sleep: the end of a process that is not ours has no event
            time.sleep(0.02)
        return there

    def socket_files(self):
        return [str(path) for path in Path(self.sockets).rglob('*') if not path.is_dir()]

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        for pid in marked(self.mark):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def close(self):
        self.end()
        self.process.wait()
        for stream in (self.process.stdout, self.process.stderr):
            stream.close()
        shutil.rmtree(self.sockets, ignore_errors=True)


@pytest.fixture(scope='session')
def native_half():
    """Skips, by name, where there is no native half; fails where there should be one."""
    done = subprocess.run([sys.executable, '-c', 'import coppice'], capture_output=True, text=True,
                          timeout=60)
    if done.returncode != 0:
        reason = done.stderr.strip().splitlines()[-1]
        if os.environ.get('COPPICE_BUILD_DIR'):
            pytest.fail(f'coppice cannot be imported: {done.stderr}')
        pytest.skip(reason)


@pytest.fixture(params=METHODS)
def start_method(request):
    return request.param


@pytest.fixture
def loop(request):
    """The event loop of the root, and so of its actors."""
    return getattr(request, 'param', 'asyncio')


# For tests of what depends on the event loop: their scripts `import either`.
both_loops = pytest.mark.parametrize('loop', LOOPS, indirect=True)
# For tests of what has to be the same whatever lies between actors: memory, unix sockets, tcp.
every_transport = pytest.mark.parametrize('start_method', [*METHODS, TCP], indirect=True)
every_socket = pytest.mark.parametrize('start_method', ['process', TCP], indirect=True)
# For tests of what only guests can do, or that are not about children at all.
guests_only = pytest.mark.parametrize('start_method', ['subint'], indirect=True)
processes_only = pytest.mark.parametrize('start_method', ['process'], indirect=True)
forked_only = pytest.mark.parametrize('start_method', FORKED, indirect=True)
# For what differs by where an actor lives: one of each, those that fork included.
HOMES = ('subint', 'subint_forkserver', 'forkserver', 'process')
every_home = pytest.mark.parametrize('start_method', HOMES, indirect=True)
# And for what depends on both: each home, and processes over tcp.
PLACES = (*HOMES, TCP)
every_place = pytest.mark.parametrize('start_method', PLACES, indirect=True)


def loops_of(places):
    """asyncio in all of them. trio, which costs every actor a third of a second, in a guest and a
    fork of those."""
    return pytest.mark.parametrize(
        'start_method, loop',
        [*((place, 'asyncio') for place in places), ('subint', 'trio'), ('forkserver', 'trio')],
        indirect=True)


every_home_and_loop = loops_of(HOMES)
every_place_and_loop = loops_of(PLACES)


@pytest.fixture
def begin_program(tmp_path):
    """Starts a program and returns it running; the test ends when all of it has."""
    started = []

    def start(command, *, seconds=30, **environment):
        started.append(Running(command, tmp_path, seconds, environment))
        return started[-1]

    yield start
    try:
        for program in started:
            assert not program.survivors(), 'processes are left'
    finally:
        for program in started:
            program.close()


@pytest.fixture
def begin_path(native_half, start_method, loop, begin_program):
    """Starts a Python script."""
    def start(path, *, seconds=30, **environment):
        method, _, transport = start_method.partition(' over ')
        path_of_modules = [*filter(None, [os.environ.get('PYTHONPATH')]), str(HERE)]
        return begin_program([sys.executable, path], seconds=seconds, **{
            'COPPICE_TEST_START_METHOD': method, 'COPPICE_TEST_TRANSPORT': transport,
            'COPPICE_TEST_LOOP': loop,
            'PYTHONPATH': os.pathsep.join(path_of_modules), **environment})

    return start


@pytest.fixture
def begin(begin_path, tmp_path):
    """Writes a script and starts it."""
    count = iter(range(100))

    def start(text, *, seconds=30, options='', end=END, modules=None, **environment):
        path = tmp_path / f'script{next(count)}.py'
        path.write_text(textwrap.dedent(text).lstrip('\n')
                        + end.format(options=f', {options}' if options else ''))
        for name, content in (modules or {}).items():
            file = tmp_path / f'{name}.py'
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(textwrap.dedent(content))
        return begin_path(path, seconds=seconds, **environment)

    return start


@pytest.fixture
def script(begin):
    """Runs a script to its end: it has to succeed, and to leave nothing, unless told otherwise."""
    def run(text, *, status=0, clean=True, **how):
        running = begin(text, **how)
        outcome = running.wait()
        # Not by assert: pytest would shorten what the script has to say.
        if status is not None and outcome.status != status:
            pytest.fail(f'it should have ended with status {status}\n{outcome}')
        if clean and not outcome.is_clean:
            pytest.fail(f'it left something behind\n{outcome}')
        if clean and (files := running.socket_files()):
            pytest.fail(f'socket files are left: {files}\n{outcome}')
        return outcome

    return run


def pytest_terminal_summary(terminalreporter):
    """The stuck-state matrix, of the cells that ran: test_stuck_matrix.py."""
    cells = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, value in getattr(report, 'user_properties', ()):
                if name == 'stuck cell' and report.when == 'call':
                    row, kind, rung, milliseconds = value.split()
                    cells.setdefault(row, {})[kind] = f'{rung} {milliseconds} ms'
    if not cells:
        return
    kinds = ('subint', 'shared', 'process', 'forkserver')
    lines = [' '.join([f'{row:<30}', *(f'{cells[row].get(kind, "-"):<31}' for kind in kinds)])
             for row in cells]
    lines.insert(0, ' '.join([f'{"stuck in":<30}', *(f'{kind:<31}' for kind in kinds)]))
    terminalreporter.section('stuck-state matrix')
    for line in lines:
        terminalreporter.write_line(line.rstrip())
    if folder := os.environ.get('COPPICE_BUILD_DIR'):
        (Path(folder) / 'stuck_matrix.txt').write_text('\n'.join(lines) + '\n')
