# SPDX-License-Identifier: Apache-2.0
"""Actors that are stuck are stopped all the same, and their callers told."""
import pytest
from conftest import both_loops, guests_only, processes_only

STUCK = '''
import either, os, sys, threading, time
import coppice

def loop():
    while True: pass

def sleep():
    time.sleep(1000)

def event():
    threading.Event().wait()

def lock():
    held = threading.Lock()
    held.acquire()
    held.acquire()

def swallow():
    while True:
        try:
            while True: pass
        except BaseException:
            pass

async def async_loop():
    while True: pass

async def async_swallow():
    while True:
        try:
            await either.sleep(1000)
        except BaseException:
            pass

def ping(): return 'pong'
'''

# What has to be enough for a guest. A process has no more to be told apart by than its signal.
RUNGS = {'loop': 'interrupted', 'sleep': 'interrupted', 'event': 'interrupted', 'lock': 'forced',
         'swallow': 'forced', 'async_loop': 'interrupted'}


@pytest.mark.parametrize(
    'loop, state', [*(('asyncio', state) for state in RUNGS), ('trio', 'async_loop')],
    indirect=['loop'])
def test_a_stuck_actor_is_cancelled_within_a_second(script, start_method, state):
    wanted = {RUNGS[state]} if start_method == 'subint' else {'interrupted', 'killed'}
    script(STUCK + f'''
async def main():
    # As long as a loop that swallows what is raised in it is given is all a matter of the policy.
    async with coppice.open_nursery(stop=coppice.StopPolicy(ask=0.3, interrupt=0.4)) as an:
        portal = await an.start_actor('a', enable_modules=[__name__])
        call = either.start(portal.run({state}))
        await either.sleep(0.2)
        began = time.monotonic()
        report = await portal.cancel_actor()
        took = time.monotonic() - began
        assert took < 1, (took, report)
        assert report.rung in {wanted!r}, report
        assert 0 < report.seconds <= took
        try:
            await call
        except (coppice.ActorDied, coppice.ContextCancelled) as error:
            pass
        else:
            raise AssertionError
''')


def test_four_stuck_actors_end_together(script):
    script(STUCK + '''
async def main():
    async with coppice.open_nursery() as an:
        calls = []
        for stuck in (loop, sleep, event, lock):
            portal = await an.start_actor(stuck.__name__, enable_modules=[__name__])
            calls.append(either.start(portal.run(stuck)))
        await either.sleep(0.2)
        began = time.monotonic()
        await an.cancel()
        took = time.monotonic() - began
        assert took < 1, (took, an.exits)
        await either.outcomes(*calls)
''')


@both_loops
def test_an_actor_that_swallows_cancellation_is_stopped_within_its_policy(script):
    script(STUCK + '''
async def main():
    stop = coppice.StopPolicy(ask=0.2, interrupt=0.3, force=0.5, total=1)
    async with coppice.open_nursery(stop=stop) as an:
        portal = await an.start_actor('a', enable_modules=[__name__])
        call = either.start(portal.run(async_swallow))
        await either.sleep(0.3)
        began = time.monotonic()
        report = await portal.cancel_actor()
        assert time.monotonic() - began < 1.5, report
        assert report.rung in ('interrupted', 'forced', 'killed'), report
        await either.outcomes(call)
''')


@both_loops
def test_a_timeout_of_cancel_actor_shortens_the_ladder(script):
    script(STUCK + '''
async def main():
    async with coppice.open_nursery(stop=coppice.StopPolicy(ask=5, unseen=5, total=10)) as an:
        portal = await an.start_actor('a', enable_modules=[__name__])
        call = either.start(portal.run(async_swallow))
        await either.sleep(0.3)
        began = time.monotonic()
        await portal.cancel_actor(timeout=1.5)
        assert time.monotonic() - began < 4
        await either.outcomes(call)
''')


def test_a_hard_kill_takes_no_time(script):
    script(STUCK + '''
async def main():
    async with coppice.open_nursery() as an:
        portal = await an.start_actor('a', enable_modules=[__name__])
        calls = [either.start(portal.run(swallow))]
        await either.sleep(0.2)
        began = time.monotonic()
        await an.cancel(hard_kill=True)
        assert time.monotonic() - began < 0.5, an.exits
        await either.outcomes(*calls)
''')


def test_interrupted_code_unwinds_and_runs_its_finally_blocks(script):
    script('''
        import either, os, time
        import coppice

        def loop(path):
            try:
                while True: pass
            finally:
                with open(path, 'w') as file:
                    file.write('unwound')

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('a', enable_modules=[__name__])
                call = either.start(portal.run(loop, path=os.path.abspath('trace')))
                await either.sleep(0.2)
                report = await portal.cancel_actor()
                assert report.rung == 'interrupted', report
                assert open('trace').read() == 'unwound'
                await either.outcomes(call)
        ''')


@pytest.mark.parametrize('state', ['loop', 'sleep', 'event'])
def test_a_cancelled_call_of_a_def_endpoint_is_interrupted_and_the_actor_goes_on(script, state):
    script(STUCK + f'''
async def main():
    async with coppice.open_nursery() as an:
        portal = await an.start_actor('a', enable_modules=[__name__])
        for _ in range(3):
            began = time.monotonic()
            try:
                async with either.timeout(0.1):
                    await portal.run({state})
            except TimeoutError:
                pass
            else:
                raise AssertionError
            assert time.monotonic() - began < 0.6
            assert await portal.run(ping) == 'pong'
        await an.cancel()
        assert an.exits[portal.uid].rung == 'asked'
''')


@both_loops
def test_a_cancelled_call_of_an_async_endpoint_unwinds_and_the_actor_goes_on(script):
    script('''
        import either
        import coppice

        log = []

        async def sleep(n):
            try:
                await either.sleep(1000)
            finally:
                log.append(n)

        def seen(): return log

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('a', enable_modules=[__name__])
                calls = [either.start(portal.run(sleep, n)) for n in range(3)]
                await either.sleep(0.3)
                calls[1].cancel()
                try:
                    await calls[1]
                except either.cancelled():
                    pass
                assert await portal.run(seen) == [1]
                for call in calls:
                    call.cancel()
                await either.outcomes(*calls)
                assert all(call.cancelled() for call in calls), calls
                assert sorted(await portal.run(seen)) == [0, 1, 2]
                await an.cancel()
        ''')


@both_loops
def test_a_call_that_ignores_its_cancellation_is_stuck_and_its_actor_is_the_owners_to_stop(script):
    script(STUCK + '''
async def main():
    async with coppice.open_nursery() as an:
        portal = await an.start_actor('a', enable_modules=[__name__])
        began = time.monotonic()
        try:
            async with either.timeout(0.1):
                await portal.run(swallow)
        except coppice.CallStuck as error:
            assert error.uid == portal.uid
            assert '__main__:swallow' in str(error)
        else:
            raise AssertionError
        assert 0.5 < time.monotonic() - began < 1.1
        assert portal.is_alive()
        assert (await portal.cancel_actor()).rung in ('interrupted', 'forced', 'killed')
''')


@both_loops
def test_a_timeout_around_a_whole_nursery_ends_its_stuck_actors(script):
    script(STUCK + '''
async def main():
    stop = coppice.StopPolicy(ask=0.2, interrupt=0.3, total=1)
    began = time.monotonic()
    try:
        async with either.timeout(0.5):
            async with coppice.open_nursery(stop=stop) as an:
                portal = await an.start_actor('a', enable_modules=[__name__])
                await portal.run(swallow)
    except TimeoutError:
        pass
    else:
        raise AssertionError
    assert time.monotonic() - began < 2.5
''')


def test_a_child_in_a_sync_call_does_not_delay_the_error_of_the_root(script):
    script(STUCK + '''
async def hold():
    async with coppice.open_nursery() as an:
        portal = await an.start_actor('grandchild', enable_modules=[__name__])
        await portal.run(sleep)

async def main():
    began = time.monotonic()
    try:
        async with coppice.open_nursery() as an:
            portal = await an.start_actor('child', enable_modules=[__name__])
            call = either.start(portal.run(hold))
            await either.sleep(1)
            raise AssertionError('mine')
    except AssertionError as error:
        assert str(error) == 'mine'
    assert time.monotonic() - began < 4
    await either.outcomes(call)
''')


# --- native code that never returns ---------------------------------------------------------------

@guests_only
def test_a_hard_end_is_logged_and_so_is_that_a_guest_came_back(script):
    script(STUCK + '''
import logging

QUICK = coppice.StopPolicy(ask=0.05, unseen=0.05, interrupt=0.1, force=0.1, total=0.3)

def late():
    return sum(range(2 * 10**8))

async def stopped(an, name, func, stop=None):
    portal = await an.start_actor(name, enable_modules=[__name__], stop=stop)
    call = either.start(portal.run(func))
    await either.sleep(0.3)
    report = await portal.cancel_actor()
    await either.outcomes(call)
    return portal.uid, report.rung

async def main():
    logged = []
    handler = logging.Handler()
    handler.emit = lambda record: logged.append((record.name, record.levelname,
                                                 record.getMessage()))
    logging.getLogger().addHandler(handler)
    async with coppice.open_nursery() as an:
        forced, rung = await stopped(an, 'wild', swallow)
        assert rung == 'forced', rung
        wedged, rung = await stopped(an, 'wedged', late, QUICK)
        assert rung == 'abandoned', rung
        for _ in range(2000):
            if an.exits[wedged].rung == 'reclaimed':
                break
            await either.sleep(0.01)
        asked = await an.start_actor('good', enable_modules=[__name__])
        await asked.cancel_actor()
        assert an.exits[forced].rung == 'forced'
        assert an.exits[wedged].rung == 'reclaimed', an.exits
        assert an.exits[wedged].seconds > 0.3
    assert {one[:2] for one in logged} == {('coppice', 'WARNING')}, logged
    texts = [text for *_, text in logged]
    assert len(texts) == 3, texts
    for text, actor, rung in zip(texts, ('wild', 'wedged', 'wedged'),
                                 ('forced', 'abandoned', 'reclaimed')):
        assert text.startswith(f"actor '{actor}': ") and f'by rung {rung} in' in text, text
''')


@guests_only
def test_a_guest_in_native_code_for_ever_does_not_keep_the_process(begin):
    script = begin('''
        import either, sys, time
        import coppice

        def stuck():
            return sum(range(10**12))

        async def main():
            async with coppice.open_nursery(stop=coppice.StopPolicy(total=1)) as an:
                portal = await an.start_actor('a', enable_modules=[__name__])
                call = either.start(portal.run(stuck))
                await either.sleep(0.3)
                report = await portal.cancel_actor()
                assert report.rung == 'abandoned', report
                await either.outcomes(call)
        ''', end='''

if __name__ == '__main__':
    coppice.run(main)
    for n in range(2000):
        print('line', n)
    print('last line', time.time())
    sys.stdout.flush()
    print('not flushed by the script')
''')
    outcome = script.wait()
    ended = outcome.seconds
    assert outcome.status == 0, outcome
    assert outcome.lines[:2000] == [f'line {n}' for n in range(2000)]
    assert outcome.lines[-1] == 'not flushed by the script'
    import time
    # The script's clock and ours are one: its last line was at most 2 s before its end.
    last = float(next(line for line in outcome.lines if line.startswith('last')).split()[-1])
    assert time.time() - last < 2.5, (ended, outcome)


@guests_only
def test_an_uncaught_error_beside_a_guest_in_native_code_leaves_with_status_1(begin):
    outcome = begin('''
        import either
        import coppice

        def stuck(): return sum(range(10**12))

        async def main():
            async with coppice.open_nursery(stop=coppice.StopPolicy(total=0.5)) as an:
                portal = await an.start_actor('a', enable_modules=[__name__])
                call = either.start(portal.run(stuck))
                await either.sleep(0.2)
                call.cancel()
                raise RuntimeError('mine')
        ''', end='''

if __name__ == '__main__':
    coppice.run(main)
''').wait()
    assert outcome.status == 1, outcome
    assert 'RuntimeError: mine' in outcome.stderr


@guests_only
@pytest.mark.parametrize('kind', ['def', 'async def'])
def test_a_guest_whose_finalizer_never_returns_does_not_keep_the_process(begin, kind):
    outcome = begin(f'''
        import asyncio, gc
        import coppice

        class Endless:
            def __del__(self):
                while True: pass

        {kind} make():
            gc.disable()
            one = Endless()
            one.cycle = one  # Finalized when the interpreter ends.

        async def main():
            async with coppice.open_nursery(stop=coppice.StopPolicy(total=1)) as an:
                portal = await an.start_actor('a', enable_modules=[__name__])
                await portal.run(make)
                await portal.cancel_actor()
        ''', end='''

if __name__ == '__main__':
    coppice.run(main)
    print('last line')
''').wait()
    assert outcome.status == 0, outcome
    assert outcome.stdout == 'last line\n'
    assert outcome.seconds < 5


@processes_only
def test_a_process_in_native_code_for_ever_is_killed(script):
    script('''
        import either, time
        import coppice

        def stuck(): return sum(range(10**12))

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('a', enable_modules=[__name__])
                call = either.start(portal.run(stuck))
                await either.sleep(0.3)
                began = time.monotonic()
                report = await portal.cancel_actor()
                assert time.monotonic() - began < 3
                assert report.how == 'signalled', report
                await either.outcomes(call)
        ''')


# --- kill -9 of the root --------------------------------------------------------------------------

def test_a_killed_root_leaves_no_process(begin):
    script = begin('''
        import either, os
        import coppice

        async def hold():
            async with coppice.open_nursery(start_method='process') as an:
                portal = await an.start_actor('grandchild', enable_modules=[__name__])
                await portal.run(stuck)

        def stuck():
            while True: pass

        async def main():
            async with coppice.open_nursery() as an:
                for n in range(2):
                    portal = await an.start_actor(f'a{n}', enable_modules=[__name__])
                    calls.append(either.start(portal.run(stuck if n else hold)))
                await either.sleep(1)
                print('ready', flush=True)
                await either.sleep(100)

        calls = []
        ''')
    assert script.line() == 'ready'
    script.process.kill()
    script.process.wait()
    assert not script.survivors(within=1.0)
