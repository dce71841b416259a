# SPDX-License-Identifier: Apache-2.0
"""`coppice reap`: real orphans of a killed root, and what looks like them."""
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = Path(os.environ.get('COPPICE_BUILD_DIR', 'build')).resolve() / 'coppice'

# Both actors are stopped, like under a debugger, and nothing tells them that their parent dies: the
# one way to outlive a killed root, whose children die by PDEATHSIG otherwise.
TREE = '''
import ctypes, os, signal, time
import coppice

def outlive_everybody():
    ctypes.CDLL(None).prctl(1, 0)  # PR_SET_PDEATHSIG
    os.kill(os.getpid(), signal.SIGSTOP)

def pid(): return os.getpid()

def until_stopped(pid):
    while open(f'/proc/{pid}/stat').read().rpartition(')')[2].split()[0] != 'T':
        time.sleep(0.01)

async def stop_leaf(an, portal):
    import asyncio
    stopping = asyncio.ensure_future(portal.run(outlive_everybody))
    await asyncio.sleep(0)
    return stopping

async def branch():
    async with coppice.open_nursery() as an:
        leaf = await an.start_actor('leaf', enable_modules=[__name__], start_method='process')
        number = await leaf.run(pid)
        print('leaf', number, flush=True)
        stopping = await stop_leaf(an, leaf)
        import asyncio
        await asyncio.to_thread(until_stopped, number)
        outlive_everybody()
        await stopping

async def main():
    import asyncio
    async with coppice.open_nursery() as an:
        portal = await an.start_actor('branch', enable_modules=[__name__], start_method='process')
        number = await portal.run(pid)
        running = asyncio.ensure_future(portal.run(branch))
        await asyncio.to_thread(until_stopped, number)
        print('branch', number, flush=True)
        await running

if __name__ == '__main__':
    coppice.run(main)
'''


@pytest.fixture
def coppice(begin_program):
    return lambda *words, **how: begin_program([COMMAND, *words], **how).wait()


@pytest.fixture
def frozen_tree(begin_program, tmp_path, native_half):
    """A root with a branch and a leaf that would outlive it: the program and their pids."""
    (tmp_path / 'tree.py').write_text(TREE)
    running = begin_program([sys.executable, 'tree.py'])
    pids = {}
    for _ in range(2):
        name, number = running.line().split()
        pids[name] = int(number)
    yield running, pids
    running.end()


def is_there(pid):
    try:
        state = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0]
    except OSError:
        return False
    return state != 'Z'


def test_a_living_tree_is_left_alone_whatever_its_state(coppice, frozen_tree):
    running, pids = frozen_tree
    for pid in pids.values():
        outcome = coppice('reap', '--yes', str(pid), XDG_RUNTIME_DIR=running.sockets)
        assert outcome.status == 1 and 'no process that a dead run' in outcome.stderr, outcome
        assert is_there(pid)
    assert all(str(pid) not in coppice('reap').stdout for pid in pids.values())


def test_orphans_of_a_killed_root_are_shown_first_and_then_cleared(coppice, frozen_tree):
    running, pids = frozen_tree
    root = running.process.pid
    running.process.kill()
    running.process.wait()  # Its orphans keep the pipes.
    branch, leaf = pids['branch'], pids['leaf']

    listed = coppice('reap', XDG_RUNTIME_DIR=running.sockets)
    assert listed.status == 1, listed
    assert f"process {branch}, actor 'branch': its parent, pid {root}, is gone" in listed.stdout
    assert f"process {leaf}, actor 'leaf': its parent is the orphan {branch}" in listed.stdout
    assert f'@{root}.sock: nobody listens' in listed.stdout, listed
    assert 'nothing was done' in listed.stdout and 'reap --yes' in listed.stdout, listed
    assert is_there(branch) and is_there(leaf) and running.socket_files()

    ended = coppice('reap', '--yes', str(branch), XDG_RUNTIME_DIR=running.sockets)
    assert ended.status == 0, ended
    assert f'process {branch}: killed' in ended.stdout and f'process {leaf}: ' in ended.stdout
    assert not is_there(branch) and not is_there(leaf)
    assert running.socket_files(), 'with pids, no file is touched'

    again = coppice('reap', str(branch), XDG_RUNTIME_DIR=running.sockets)
    assert again.status == 1 and f'{branch} is no process' in again.stderr, again


FORKED = '''
import ctypes, os, signal, time
import coppice

def pid(): return os.getpid()

def outlive_everybody():
    ctypes.CDLL(None).prctl(1, 0)
    os.kill(os.getppid(), signal.SIGSTOP)  # The zygote: it would end us.
    os.kill(os.getpid(), signal.SIGSTOP)

def until_stopped(pid):
    while open(f'/proc/{pid}/stat').read().rpartition(')')[2].split()[0] != 'T':
        time.sleep(0.01)

async def main():
    import asyncio
    async with coppice.open_nursery() as an:
        portal = await an.start_actor('elm', enable_modules=[__name__], start_method='forkserver')
        number = await portal.run(pid)
        running = asyncio.ensure_future(portal.run(outlive_everybody))
        await asyncio.to_thread(until_stopped, number)
        print(number, flush=True)
        await running

if __name__ == '__main__':
    coppice.run(main)
'''


def test_what_a_zygote_forked_is_an_orphan_once_root_and_zygote_are_gone(
        coppice, begin_program, tmp_path, native_half):
    (tmp_path / 'forked.py').write_text(FORKED)
    running = begin_program([sys.executable, 'forked.py'])
    try:
        forked, root = int(running.line()), running.process.pid
        assert coppice('reap', str(forked)).status == 1 and is_there(forked)
        running.process.kill()
        running.process.wait()
        gone = f"actor '(zygote)': its tree, whose root was pid {root}, is gone"
        for _ in range(100):  # Until the kernel has ended the zygote, too.
            listed = coppice('reap', str(forked))
            if f'process {forked}, {gone}' in listed.stdout:
                break
        else:
            pytest.fail(f'it is not found: {listed}')
        assert listed.status == 1, listed
        ended = coppice('reap', '--yes', str(forked))
        assert ended.status == 0 and f'process {forked}: killed' in ended.stdout, ended
        assert not is_there(forked)
    finally:
        running.end()


def test_files_of_dead_processes_are_removed_and_those_that_are_listened_at_are_not(
        coppice, tmp_path):
    gone = subprocess.Popen(['/bin/true'])
    gone.wait()
    folder = tmp_path / 'coppice'
    folder.mkdir(mode=0o700)
    dead, alive, other = (folder / name for name in (
        f'oak@{gone.pid}.sock', f'elm@{gone.pid}.sock', 'notes.txt'))
    other.write_text('mine')
    with socket.socket(socket.AF_UNIX) as left, socket.socket(socket.AF_UNIX) as listening:
        left.bind(str(dead))
        listening.bind(str(alive))
        listening.listen()
        left.close()
        listed = coppice('reap', '--files', XDG_RUNTIME_DIR=tmp_path)
        assert listed.status == 1 and f'socket {dead}: nobody listens' in listed.stdout, listed
        assert dead.exists() and str(alive) not in listed.stdout
        removed = coppice('reap', '--files', '--yes', XDG_RUNTIME_DIR=tmp_path)
        assert removed.status == 0 and f'socket {dead}: removed' in removed.stdout, removed
    assert not dead.exists() and alive.exists() and other.exists()
    assert coppice('reap', '--files', '--yes', XDG_RUNTIME_DIR=tmp_path).status == 0


@pytest.fixture
def lookalike(tmp_path):
    """A process with the command line of a child whose parent is gone."""
    gone = subprocess.Popen(['/bin/true'])
    gone.wait()
    folder = tmp_path / 'coppice'
    folder.mkdir()
    (folder / '_child.py').write_text('import signal\nprint(flush=True)\nsignal.pause()\n')
    started = []

    def start(*words, parent=gone.pid):
        process = subprocess.Popen(
            [sys.executable, *(words or ['-P', folder / '_child.py']), '--uid', "('oak', 'u-1')",
             '--parent_addr', f"('{tmp_path}', 'root@{parent}.sock')"], stdout=subprocess.PIPE)
        started.append(process)
        process.stdout.readline()
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_an_orphan_that_listens_to_sigterm_is_not_killed(coppice, lookalike):
    process = lookalike()
    outcome = coppice('reap', '--yes', str(process.pid))
    assert outcome.status == 0 and f'process {process.pid}: ended at SIGTERM' in outcome.stdout
    assert process.wait() == -signal.SIGTERM


def test_what_merely_looks_alike_is_not_listed(coppice, lookalike, tmp_path):
    wait = 'import signal\nprint(flush=True)\nsignal.pause()\n'
    innocent = [lookalike('-c', wait), lookalike(parent=os.getpid())]  # The latter has its parent.
    for process in innocent:
        outcome = coppice('reap', '--yes', str(process.pid))
        assert outcome.status == 1 and outcome.stdout == '', outcome
        assert process.poll() is None


def test_nothing_left_is_status_0(coppice):
    for words in ([], ['--yes']):
        outcome = coppice('reap', '--files', *words)
        assert outcome.status == 0 and outcome.stdout == 'nothing is left behind\n', outcome
