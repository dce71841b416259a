# SPDX-License-Identifier: Apache-2.0
"""SIGINT to oneself: wherever the nursery is, KeyboardInterrupt comes out and nothing is left."""
from conftest import every_home_and_loop

END = '''

if __name__ == '__main__':
    import support
    try:
        support.run(main{options})
    except KeyboardInterrupt:
        took = time.monotonic() - sent
        assert took < 2, took
        print('interrupted')
'''
HEAD = '''
import os, signal, time
import coppice, either

def ping(): return 'pong'

async def rest():
    await either.sleep(1000)

def interrupt():
    global sent
    sent = time.monotonic()
    os.kill(os.getpid(), signal.SIGINT)
'''


@every_home_and_loop
def test_cancel_via_SIGINT(script):  # noqa: N802: tractor's name
    """Scenario 22: the root and a daemon."""
    outcome = script(HEAD + '''
async def main():
    async with coppice.open_nursery() as an:
        portal = await an.start_actor('sucka', enable_modules=[__name__])
        assert await portal.run(ping) == 'pong'
        interrupt()
        await either.sleep(1000)
''', end=END)
    assert outcome.said == ['interrupted']


@every_home_and_loop
def test_cancel_via_SIGINT_other_task(script):  # noqa: N802: tractor's name
    """Scenario 23: the nursery is another task's, and its three actors sleep."""
    outcome = script(HEAD + '''
up = 0

async def spawn_and_sleep_forever():
    global up
    async with coppice.open_nursery() as an:
        for n in range(3):
            await an.run_in_actor(rest, name=f'namesucka_{n}')
        up = 1
        await either.sleep(1000)

async def strike():
    while not up:
        await either.sleep(0.01)
    interrupt()
    await either.sleep(1000)

async def main():
    await either.together(spawn_and_sleep_forever, strike)
''', end=END)
    assert outcome.said == ['interrupted']
