# SPDX-License-Identifier: Apache-2.0
"""The stuck-state matrix: whatever an actor is stuck in, on every home that it may have, it ends.

A row is a state (stuck_states.py, stuck_leaves.py), a column a kind of actor, and a cell says by
which rung of the stop ladder it ends. Beside each runs an actor that has to go on working. A script
does a group of rows for one kind, so that starting Python is not what all this costs; nothing may
be left of any of them. The end of a pytest run shows the table (conftest.py).
"""
import json
import signal
import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
GUESTS = ('subint', 'shared')
PROCESSES = ('process', 'forkserver')
KINDS = (*GUESTS, *PROCESSES)
BOUND_MS = 10_000  # The policies are over after 3 s; the machine may be busy.

ASKED, INTERRUPTED, FORCED = {'asked'}, {'interrupted'}, {'forced'}
# In a call that returns on EINTR: from 3.15 on an interrupt reaches it (gh-144748). These
# cells differ by version, and one more below.
DEAF = INTERRUPTED if sys.version_info >= (3, 15) else FORCED
# A signal is sent once: code that drops what it raises goes on, and is killed.
STUBBORN = {'interrupted', 'killed'}
# From 3.15 on a finalizer at a process's end gets an error instead of a lock that somebody has.
STUBBORN_TO_LOCKS = ASKED if sys.version_info >= (3, 15) else STUBBORN
# C code that never comes back.
LOST = {'abandoned'}

# By what a guest ends, and a process. Whatever returns on EINTR raises in a process; locks do, too.
GROUPS = {
    'running': {
        'spin': (INTERRUPTED, INTERRUPTED),
        'call_loop': (INTERRUPTED, INTERRUPTED),
        'swallow': (FORCED, {'killed'}),
        'settrace_spin': (INTERRUPTED, INTERRUPTED),
        'settrace_sleep': (INTERRUPTED, INTERRUPTED),
        'shadowed_import_spin': (INTERRUPTED, INTERRUPTED),
        'c_callback_spin': (FORCED, STUBBORN),
        'c_callback_lock': (FORCED, STUBBORN),
        'del_spin': (INTERRUPTED, INTERRUPTED),
        'del_lock': (FORCED, INTERRUPTED),
    },
    'waiting': {
        'sleep': (INTERRUPTED, INTERRUPTED),
        'event_wait': (INTERRUPTED, INTERRUPTED),
        'event_wait_timeout': (INTERRUPTED, INTERRUPTED),
        'lock_acquire': (FORCED, INTERRUPTED),
        'lock_acquire_timeout': (FORCED, INTERRUPTED),
        'queue_get': (INTERRUPTED, INTERRUPTED),
        'simple_queue_get': (FORCED, INTERRUPTED),
        'thread_join': (FORCED, INTERRUPTED),
        'async_idle': (ASKED, ASKED),
        'asyncio_idle': (DEAF, STUBBORN),
        'trio_idle': (DEAF, STUBBORN),
    },
    'system calls': {
        'socket_recv': (DEAF, INTERRUPTED),
        'socket_recv_timeout': (DEAF, INTERRUPTED),
        'socket_accept': (DEAF, INTERRUPTED),
        'socket_connect': (DEAF, INTERRUPTED),
        'select_select': (DEAF, INTERRUPTED),
        'poll': (DEAF, INTERRUPTED),
        'epoll': (DEAF, INTERRUPTED),
        'os_read': (DEAF, INTERRUPTED),
        'file_read': (DEAF, INTERRUPTED),
        'flock': (DEAF, INTERRUPTED),
        'waitpid': (DEAF, INTERRUPTED),
        'subprocess_wait': (DEAF, INTERRUPTED),
        'ctypes_pause': (INTERRUPTED, INTERRUPTED),
    },
    'signals and nested interpreters': {
        'signal_pause': (INTERRUPTED, INTERRUPTED),
        'signals_blocked_sleep': (INTERRUPTED, STUBBORN),
        'signals_blocked_spin': (INTERRUPTED, INTERRUPTED),
        'signals_blocked_recv': (DEAF, STUBBORN),
        # Interrupts do not reach interpreters that the actor made itself.
        'nested_spin': (FORCED, STUBBORN),
        'nested_sleep': (FORCED, STUBBORN),
        'nested_idle': (INTERRUPTED, INTERRUPTED),
    },
    'imports and native calls': {
        'import_lock_held': (FORCED, STUBBORN),
        'inside_import_threading': (INTERRUPTED, INTERRUPTED),
        'inside_import_threading_lock': (FORCED, INTERRUPTED),
        'in_coppice_buffer_spin': (INTERRUPTED, INTERRUPTED),
        'in_coppice_buffer_lock': (FORCED, INTERRUPTED),
        'in_coppice_error_spin': (INTERRUPTED, STUBBORN),
        'in_coppice_error_lock': (FORCED, STUBBORN),
    },
    'what only a frame holds': {
        'epoll_in_a_local': (DEAF, INTERRUPTED),
        'epoll_on_the_stack': (DEAF, INTERRUPTED),
        'map_in_a_local': (FORCED, INTERRUPTED),
    },
    'frames of C++': {
        # What is raised comes out of Python as an error, and is dropped.
        'catch_all_spin': (FORCED, STUBBORN),
        'catch_all_lock': (FORCED, STUBBORN),
        'noexcept_spin': (INTERRUPTED, INTERRUPTED),
        'noexcept_lock': (FORCED, INTERRUPTED),
        'noexcept_wait': (FORCED, {'killed'}),
    },
}
# The function has returned; what it left behind is in the way of the end.
LEAVES = {
    'atexit_sleep': (INTERRUPTED, STUBBORN),
    'atexit_lock': (FORCED, STUBBORN),
    'atexit_swallow': (FORCED, STUBBORN),
    'atexit_throws': (ASKED, ASKED),
    'idle_daemons': (ASKED, ASKED),
    'blocked_daemons': (ASKED, ASKED),
    'blocked_threads': (FORCED, STUBBORN),
    'shadowed_import': (ASKED, ASKED),
}
# Only the end of the interpreter finalizes their objects.
FINALIZERS = {
    'finalizer_spin': (INTERRUPTED, STUBBORN),
    'finalizer_sleep': (INTERRUPTED, STUBBORN),
    'finalizer_lock': (FORCED, STUBBORN_TO_LOCKS),
    'finalizer_swallow': (FORCED, STUBBORN),
    'finalizer_of_a_global': (INTERRUPTED, STUBBORN),
}
ANY_GUEST = {'asked', 'interrupted', 'forced', 'not up'}
ANY_PROCESS = {'asked', 'interrupted', 'killed', 'not up'}
# Those that are more than one function.
OTHERS = {
    'races': {
        'idle': (ASKED, ASKED),
        'returns_during_the_kick': (ANY_GUEST, ANY_PROCESS),
        'two_stops_race': (FORCED, {'killed'}),
    },
    'stopped starts': {'stop_during_start': (ANY_GUEST, ANY_PROCESS)},
    'starts': {
        'stop_during_import_spin': (ANY_GUEST, ANY_PROCESS),
        'stop_during_import_lock': (ANY_GUEST, ANY_PROCESS),
        'main_gil_held_during_start': (ASKED, ASKED),
        'shared_gil_held_during_start': (ASKED, ASKED),
    },
}
# C code that never comes back, with the actor's GIL or without one. With the shared one: see below.
NATIVE = {
    'native_sum': (LOST, {'killed'}),
    'native_deque': (LOST, {'killed'}),
    'catastrophic_re': (LOST, STUBBORN),
    'bigint_pow': (LOST, STUBBORN),
    'native_without_gil': (LOST, {'killed'}),
}
FINALIZER = {'finalizer_native': (LOST, STUBBORN)}
WEDGING = ('native_sum', 'native_deque', 'catastrophic_re', 'bigint_pow', 'finalizer_native')

MODULES = {name: (HERE / f'{name}.py').read_text()
           for name in ('stuck_states', 'stuck_leaves', 'stuck_cells')}
for how in ('spin', 'lock'):
    MODULES[f'stuck_import_{how}'] = (
        f"import stuck_states\n\nstuck_states.ready('ready.import_{how}')\n"
        f'stuck_states.{how}_forever()\n')

pytestmark = pytest.mark.parametrize('start_method', ['subint'], indirect=True)
every_kind = pytest.mark.parametrize('kind', KINDS)


def text(kind, rows=(), leaves=(), others=()):
    return f'''
import stuck_cells

async def main():
    await stuck_cells.run({kind!r}, {list(rows)}, {list(leaves)}, {list(others)})
'''


def check(outcome, kind, expected, record_property):
    """Each row has its cell, with nothing wrong, and the actor ended as it has to."""
    cells = {cell['row']: cell for cell in
             (json.loads(line[5:]) for line in outcome.lines if line.startswith('CELL '))}
    failures = []
    for row, by_kind in expected.items():
        cell = cells.get(row)
        if cell is None:
            failures.append(f'{row}: the script never got there')
            continue
        record_property('stuck cell', f'{row} {kind} {cell["rung"].replace(" ", "_")} {cell["ms"]}')
        wanted = by_kind[kind in PROCESSES]
        if not set(cell['rung'].split('+')) <= wanted:
            failures.append(f'{row}: {cell["rung"] or "nothing"}, not one of {sorted(wanted)}'
                            f' ({cell["text"]})')
        if cell['ms'] > BOUND_MS:
            failures.append(f'{row}: took {cell["ms"]} ms')
        failures += [f'{row}: {one}' for one in cell['wrong']]
    if failures:
        pytest.fail('\n'.join([f'on {kind}', *failures, repr(outcome)]))


@every_kind
@pytest.mark.parametrize('group', GROUPS)
def test_a_stuck_actor_ends(script, kind, group, record_property):
    rows = GROUPS[group]
    outcome = script(text(kind, rows), clean=False, status=None, seconds=90, modules=MODULES)
    check(outcome, kind, rows, record_property)
    assert outcome.is_clean and outcome.status == 0, outcome


@every_kind
def test_what_is_left_behind_does_not_keep_an_actor(script, kind, record_property):
    outcome = script(text(kind, leaves=LEAVES), clean=False, status=None, seconds=90,
                     modules=MODULES)
    check(outcome, kind, LEAVES, record_property)
    assert outcome.is_clean and outcome.status == 0, outcome


@every_kind
def test_python_code_that_only_the_end_of_the_interpreter_runs_does_not_either(script, kind,
                                                                              record_property):
    outcome = script(text(kind, leaves=FINALIZERS), clean=False, status=None, seconds=90,
                     modules=MODULES)
    check(outcome, kind, FINALIZERS, record_property)
    assert outcome.is_clean and outcome.status == 0, outcome


@every_kind
@pytest.mark.parametrize('group', OTHERS)
def test_races_and_starts(script, kind, group, record_property):
    rows = OTHERS[group]
    outcome = script(text(kind, others=rows), clean=False, status=None, seconds=90, modules=MODULES)
    check(outcome, kind, rows, record_property)
    assert outcome.is_clean and outcome.status == 0, outcome


@pytest.mark.parametrize('kind', PROCESSES)
def test_a_process_in_native_code_for_ever_ends(script, kind, record_property):
    outcome = script(text(kind, NATIVE, FINALIZER), clean=False, status=None, seconds=90,
                     modules=MODULES)
    check(outcome, kind, NATIVE | FINALIZER, record_property)
    assert outcome.is_clean and outcome.status == 0, outcome


@pytest.mark.parametrize('kind', GUESTS)
def test_guests_in_native_code_for_ever_are_abandoned_and_the_process_leaves(begin, kind,
                                                                             record_property):
    # Under the shared GIL only what lets go of it: see the next test.
    rows = NATIVE if kind == 'subint' else {'native_without_gil': NATIVE['native_without_gil']}
    leaves = FINALIZER if kind == 'subint' else {}
    outcome = begin(text(kind, rows, leaves), seconds=90, modules=MODULES, end='''

if __name__ == '__main__':
    import time
    import coppice
    coppice.run(main, exit_linger=0.2)
    print('over', time.time(), flush=True)
''').wait()
    ended = time.time()
    check(outcome, kind, rows | leaves, record_property)
    assert outcome.status == 0, outcome
    assert outcome.lines[-1].startswith('over'), outcome
    assert ended - float(outcome.lines[-1].split()[1]) < 10, outcome


@pytest.mark.parametrize('row', WEDGING)
def test_with_the_shared_gil_they_stop_all_python_and_the_third_interrupt_ends_it(begin, row,
                                                                                  record_property):
    arguments = ((), [row]) if row.startswith('finalizer') else ([row], ())
    running = begin(text('shared', *arguments), seconds=60, modules=MODULES)
    ready = Path(running.process.args[1]).parent / f'ready.{row}'
    deadline = time.monotonic() + 20
    while not ready.exists() and time.monotonic() < deadline:
        # tidy: allow sleep: nothing that Python could say comes out of that process any more
        time.sleep(0.02)
    assert ready.exists()
    time.sleep(1)  # tidy: allow sleep: so that it is in the call
    assert running.process.poll() is None
    began = time.monotonic()
    for _ in range(3):
        running.process.send_signal(signal.SIGINT)
        time.sleep(0.1)  # tidy: allow sleep: two signals that are too close are one
    outcome = running.wait()
    took = time.monotonic() - began
    record_property('stuck cell', f'{row} shared process_ended {round(took * 1000)}')
    assert outcome.status == 130, outcome
    assert took < 10, outcome


@pytest.mark.parametrize('kind', ['subint'])
def test_native_code_that_comes_back_when_it_was_given_up_is_reclaimed(script, kind,
                                                                       record_property):
    rows = {'native_returns_late': ({'abandoned'}, STUBBORN)}
    outcome = script(text(kind, others=rows), clean=False, status=None, seconds=90, modules=MODULES)
    check(outcome, kind, rows, record_property)
    assert outcome.is_clean and outcome.status == 0, outcome
