# SPDX-License-Identifier: Apache-2.0
"""The root's side of test_stuck_matrix.py: gets actors stuck, stops them, and says what happened.

Each cell is one line, `CELL {json}`: row, rung, ms, and what went wrong if something did. A cell
never fails its script, so that those after it are seen, too.
"""
import asyncio
import json
import os
import sys
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
    """What is known of one. The row is the name of a function of stuck_states, or of this module."""

    def __init__(self, row):
        self.row, self.rung, self.seconds, self.text = row, '', 0.0, ''
        self.wrong = []

    def reported(self, report, took):
        self.rung, self.seconds, self.text = report.rung, took, str(report)

    def say(self):
        print('CELL', json.dumps({'row': self.row, 'rung': self.rung, 'ms': round(self.seconds * 1e3),
                                  'text': self.text, 'wrong': self.wrong}), flush=True)


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
    """Its result; None, and the cell is wrong, if it does not come or raises."""
    task = asyncio.ensure_future(awaitable)
    done, _ = await asyncio.wait([task], timeout=BOUND)
    if not done:
        cell.wrong.append(f'{what}: not within {BOUND:g} s')
    elif task.exception() is not None:
        cell.wrong.append(f'{what}: {task.exception()!r}')
    else:
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
        portal = await start(an, kind, row)
        call = asyncio.ensure_future(portal.run(f'stuck_states:{row}', path=path, **arguments))
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
    except Exception as error:
        cell.wrong.append(f'{error!r}')
    cell.say()


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
