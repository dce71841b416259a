# SPDX-License-Identifier: Apache-2.0
"""The root's side of test_stuck_matrix.py: gets actors stuck, stops them, and says what happened.

Each cell is one line, `CELL {json}`: row, rung, ms, and what went wrong if something did. A cell
never fails its script, so that those after it are seen, too.
"""
import asyncio
import json
import os
import threading
import time

import coppice
import stuck_states

BOUND = 10.0  # Seconds, of anything. The policies below are over after 3; machines may be busy.
LOOK = 0.1    # So long nothing happens to an actor that really is stuck.
KINDS = {'subint': {'start_method': 'subint'},
         'shared': {'start_method': 'subint', 'gil': 'shared'},
         'process': {'start_method': 'process'},
         'forkserver': {'start_method': 'forkserver'}}


class Cell:
    """What is known of one. Its row is a function of stuck_states, stuck_leaves or this module."""

    def __init__(self, row):
        self.row, self.rung, self.seconds, self.text = row, '', 0.0, ''
        self.wrong = []

    def reported(self, report, took):
        self.rung, self.seconds, self.text = report.rung, took, str(report)

    def say(self):
        known = {'row': self.row, 'rung': self.rung, 'ms': round(self.seconds * 1000),
                 'text': self.text, 'wrong': self.wrong}
        print('CELL', json.dumps(known), flush=True)


async def start(an, kind, name, modules=('stuck_states',), **options):
    return await an.start_actor(name, enable_modules=list(modules), inherit_parent_main=False,
                                **KINDS[kind], **options)


async def appears(path):
    deadline = time.monotonic() + BOUND
    while not os.path.exists(path):
        if time.monotonic() > deadline:
            raise TimeoutError(f'{path} is not there: the actor never got that far')
        await asyncio.sleep(0.005)


async def bounded(cell, what, awaitable):
    """Its result; None, and the cell is wrong, if it raises. If it does not come, no nursery would
    be left either: the script ends with what is known by then."""
    task = asyncio.ensure_future(awaitable)
    done, _ = await asyncio.wait([task], timeout=BOUND)
    if not done:
        cell.wrong.append(f'{what}: not within {BOUND:g} s')
        cell.say()
        os._exit(3)
    if task.exception() is not None:
        cell.wrong.append(f'{what}: {task.exception()!r}')
        return None
    return task.result()


async def works(cell, when, healthy):
    answer = await bounded(cell, f'another actor, {when}',
                           healthy.run(stuck_states.ping)) if healthy else 'pong'
    if answer != 'pong' and not cell.wrong:
        cell.wrong.append(f'another actor, {when}, said {answer!r}')


async def stop(cell, portal, healthy, how=None):
    """Stops an actor while another one works."""
    began = time.monotonic()
    stopping = asyncio.ensure_future((how or portal.cancel_actor)())
    await works(cell, 'during the stop', healthy)
    report = await bounded(cell, 'the stop', stopping)
    took = time.monotonic() - began
    if report is not None:
        cell.reported(report, took)
    await works(cell, 'after the stop', healthy)


async def stuck_cell(an, kind, row, healthy, returns=False, **arguments):
    """An actor is stuck in a function, or (`returns`) ends with what that one has left behind."""
    cell = Cell(row)
    path = os.path.abspath(f'ready.{row}')
    try:
        module = 'stuck_leaves' if returns else 'stuck_states'
        portal = await start(an, kind, row, [module])
        call = asyncio.ensure_future(portal.run(f'{module}:{row}', path=path, **arguments))
        await asyncio.wait([call, asyncio.ensure_future(appears(path))],
                           return_when=asyncio.FIRST_COMPLETED)
        done, _ = await asyncio.wait([call], timeout=BOUND if returns else LOOK)
        if returns:
            await call
        elif done:
            cell.wrong.append(f'it did not get stuck: {call.exception() or call.result()!r}')
        await stop(cell, portal, healthy)
        done, _ = await asyncio.wait([call], timeout=BOUND)
        if not done:
            cell.wrong.append('its caller was not told')
        elif not call.cancelled():
            call.exception()  # Seen; which one it is depends on how far its code had got.
    except Exception as error:
        cell.wrong.append(f'{error!r}')
    cell.say()


def rungs(reports):
    """Of several actors that are one cell: what happened. One that never was up has no report."""
    return '+'.join(sorted({report.rung for report in reports})) or 'not up'


def many(cell, reports, began):
    """The row is about several actors."""
    cell.rung, cell.seconds = rungs(reports), time.monotonic() - began
    cell.text = '; '.join(map(str, reports))


# --- rows that are more than one function ---------------------------------------------------------

async def idle(an, kind, healthy):
    """It waits for work, inside of the native half."""
    cell = Cell('idle')
    portal = await start(an, kind, 'idle')
    await works(cell, 'this very one', portal)
    await stop(cell, portal, healthy)
    cell.say()


async def returns_during_the_kick(an, kind, healthy):
    """It comes back by itself about when it is struck, or forced, or killed."""
    cell = Cell('returns_during_the_kick')
    # Guests are struck 50 ms after the request and forced from 80 ms on, processes after 500 ms.
    first, step = (0.04, 0.01) if kind in ('subint', 'shared') else (0.47, 0.01)

    async def one(n):
        path = os.path.abspath(f'ready.kick{n}')
        portal = await start(an, kind, f'kick{n}')
        call = asyncio.ensure_future(portal.run(stuck_states.lock_for, path=path,
                                                seconds=first + n * step))
        await appears(path)
        report = await bounded(cell, 'the stop', portal.cancel_actor())
        await asyncio.wait([call], timeout=BOUND)
        if not call.done():
            cell.wrong.append('its caller was not told')
        elif not call.cancelled():
            call.exception()
        return report

    began = time.monotonic()
    reports = await asyncio.gather(*(one(n) for n in range(9)))
    await works(cell, 'afterwards', healthy)
    many(cell, [report for report in reports if report], began)
    cell.say()


async def two_stops_race(_, kind, healthy):
    cell = Cell('two_stops_race')
    path = os.path.abspath('ready.race')
    async with coppice.open_nursery() as an:
        portal = await start(an, kind, 'race')
        call = asyncio.ensure_future(portal.run(stuck_states.swallow, path=path))
        await appears(path)
        began = time.monotonic()
        stops = [portal.cancel_actor(), portal.cancel_actor(timeout=1), an.cancel(),
                 portal.cancel_actor(), an.cancel(hard_kill=True)]
        racing = asyncio.gather(*(bounded(cell, 'a stop', one) for one in stops))
        await works(cell, 'during the stops', healthy)
        reports = [report for report in await racing if report is not None]
        await asyncio.wait([call], timeout=BOUND)
        call.exception()
        many(cell, reports, began)
        if len(set(map(str, reports))) != 1:
            cell.wrong.append(f'they were told different things: {cell.text}')
    cell.say()


async def stop_during_start(_, kind, healthy):
    """At several points of it."""
    cell = Cell('stop_during_start')
    began = time.monotonic()
    reports = []
    for n, delay in enumerate((0, 0, 0, 0, 0.001, 0.003, 0.006, 0.01, 0.02, 0.04, 0.08, 0.16)):
        async with coppice.open_nursery() as an:
            starting = asyncio.ensure_future(start(an, kind, f'start{n}'))
            await asyncio.sleep(delay)
            await bounded(cell, f'the stop after {delay} s', an.cancel())
            await asyncio.wait([starting], timeout=BOUND)
            if not starting.done():
                cell.wrong.append(f'the start that was stopped after {delay} s goes on')
            elif not starting.cancelled():
                starting.exception()
        reports += an.exits.values()
    await works(cell, 'afterwards', healthy)
    many(cell, reports, began)
    cell.say()


async def stop_during_import(kind, healthy, how):
    """Of a module that the actor is to serve, which gets stuck."""
    cell = Cell(f'stop_during_import_{how}')
    async with coppice.open_nursery() as an:
        starting = asyncio.ensure_future(start(an, kind, 'import', [f'stuck_import_{how}']))
        await appears(os.path.abspath(f'ready.import_{how}'))
        await asyncio.wait([starting], timeout=LOOK)
        began = time.monotonic()
        stopping = asyncio.ensure_future(an.cancel())
        await works(cell, 'during the stop', healthy)
        await bounded(cell, 'the stop', stopping)
        await asyncio.wait([starting], timeout=BOUND)
        if not starting.done():
            cell.wrong.append('the start goes on')
        elif starting.cancelled() or starting.exception() is None:
            cell.wrong.append('the start went well')
        many(cell, list(an.exits.values()), began)
    os.remove(f'ready.import_{how}')
    await works(cell, 'afterwards', healthy)
    cell.say()


async def stop_during_import_spin(_, kind, healthy):
    await stop_during_import(kind, healthy, 'spin')


async def stop_during_import_lock(_, kind, healthy):
    await stop_during_import(kind, healthy, 'lock')


async def main_gil_held_during_start(an, kind, healthy):
    """C code of the root has the main interpreter's GIL while an actor starts."""
    cell = Cell('main_gil_held_during_start')
    path = os.path.abspath('ready.main_gil')
    starting = asyncio.ensure_future(start(an, kind, 'held'))
    await asyncio.sleep(0)
    held = threading.Thread(target=stuck_states.hold_gil_for, args=(path, 1.0))
    held.start()
    portal = await bounded(cell, 'the start', starting)
    held.join()
    if portal is not None:
        await works(cell, 'that was being started', portal)
        await stop(cell, portal, healthy)
    cell.say()


async def shared_gil_held_during_start(an, kind, healthy):
    """C code of a guest that shares the main interpreter's GIL has it, for a while."""
    cell = Cell('shared_gil_held_during_start')
    path = os.path.abspath('ready.shared_gil')
    holder = await start(an, 'shared', 'holder')
    starting = asyncio.ensure_future(start(an, kind, 'beside'))
    call = asyncio.ensure_future(holder.run(stuck_states.hold_gil_for, path=path, seconds=1.5))
    portal = await bounded(cell, 'the start', starting)
    await bounded(cell, 'the call that had the GIL', call)
    if portal is not None:
        await works(cell, 'that was being started', portal)
        await stop(cell, portal, healthy)
    await stop(Cell(''), holder, healthy)
    cell.say()


async def native_returns_late(an, kind, healthy):
    """Given up, its code comes back all the same, and then nothing is left of it."""
    cell = Cell('native_returns_late')
    path = os.path.abspath('ready.late')
    portal = await start(an, kind, 'late')
    call = asyncio.ensure_future(portal.run(stuck_states.hold_gil_for, path=path, seconds=4))
    await appears(path)
    await asyncio.sleep(LOOK)
    await stop(cell, portal, healthy)
    await asyncio.wait([call], timeout=BOUND)
    call.exception()
    deadline = time.monotonic() + 3 * BOUND
    while guests_named('late') and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    if guests_named('late'):
        cell.wrong.append('it was never reclaimed')
    cell.say()


def guests_named(name):
    found = []
    for task in os.listdir('/proc/self/task'):
        try:
            with open(f'/proc/self/task/{task}/comm') as file:
                found += [one for one in [file.read().strip()] if one.endswith('/' + name)]
        except OSError:
            pass  # It has ended.
    return found


async def run(kind, rows, leaves=(), others=()):
    """All rows of one kind, one after the other, beside an actor that works."""
    async with coppice.open_nursery() as outer:
        healthy = await start(outer, kind, 'healthy')
        async with coppice.open_nursery() as an:
            for row in rows:
                await stuck_cell(an, kind, row, healthy)
            for row in leaves:
                await stuck_cell(an, kind, row, healthy, returns=True)
            for row in others:
                await globals()[row](an, kind, healthy)
            await an.cancel()
        await outer.cancel()
