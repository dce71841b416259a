# SPDX-License-Identifier: Apache-2.0
"""What sub-interpreters can and cannot do, as their users meet it."""
from conftest import guests_only

pytestmark = guests_only


def test_a_guest_can_start_and_end_a_process(script):
    script('''
        import subprocess
        import coppice

        def run():
            child = subprocess.Popen(['sleep', '9'])
            child.terminate()
            status = child.wait()
            output = subprocess.run(['echo', 'hello'], capture_output=True, text=True).stdout
            return [status, output]

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('a', enable_modules=[__name__])
                assert await portal.run(run) == [-15, 'hello\\n']
                await an.cancel()
        ''')


def test_processes_that_a_guest_started_end_with_it(script):
    script('''
        import asyncio, os, subprocess, time
        import coppice

        children = []

        def start():
            children.append(subprocess.Popen(['sleep', '1000']))
            return children[-1].pid

        def start_and_hang():
            start()
            while True: pass

        def alive(pid):
            try:
                return open(f'/proc/{pid}/stat').read().rpartition(')')[2].split()[0] != 'Z'
            except OSError:
                return False

        async def main():
            async with coppice.open_nursery() as an:
                a = await an.start_actor('a', enable_modules=[__name__])
                b = await an.start_actor('b', enable_modules=[__name__])
                pid = await a.run(start)
                assert alive(pid)
                call = asyncio.create_task(b.run(start_and_hang))
                await asyncio.sleep(0.3)
                await an.cancel()
                await asyncio.gather(call, return_exceptions=True)
                deadline = time.monotonic() + 1
                while alive(pid) and time.monotonic() < deadline:
                    await asyncio.sleep(0.01)
                assert not alive(pid)
        ''')


def test_an_extension_that_refuses_an_own_gil_is_named_with_the_ways_out(script):
    outcome = script('''
        import coppice

        async def main():
            async with coppice.open_nursery() as an:
                try:
                    await an.start_actor('a', enable_modules=['needs_it'],
                                         inherit_parent_main=False)
                except (coppice.RemoteActorError, coppice.ActorFailure) as error:
                    print(str(error).splitlines()[0])
                else:
                    raise AssertionError
                for options in (dict(gil='shared'), dict(start_method='process')):
                    portal = await an.start_actor('b', enable_modules=['needs_it'],
                                                  inherit_parent_main=False, **options)
                    assert await portal.run('needs_it:tracing') is False
                    await portal.cancel_actor()
        ''', modules={'needs_it': '''
            import _tracemalloc
            def tracing(): return _tracemalloc.is_tracing()
            '''})
    (line,) = outcome.said
    assert '_tracemalloc' in line, line
    assert "gil='shared'" in line or 'gil=shared' in line, line
    assert 'process' in line, line


def test_auto_starts_it_by_forkserver_instead_and_remembers(script):
    script('''
        import coppice

        async def main():
            async with coppice.open_nursery(start_method='auto') as an:
                for name in 'ab':
                    portal = await an.start_actor(name, enable_modules=['needs_it'],
                                                  inherit_parent_main=False)
                    assert portal.start_method == 'forkserver', portal.start_method
                    assert '_tracemalloc' in portal.start_reason, portal.start_reason
                    assert await portal.run('needs_it:tracing') is False
                portal = await an.start_actor('c', enable_modules=['json'])
                assert portal.start_method == 'subint', portal.start_reason
                assert not an.exits  # A first try is nobody's actor.
                await an.cancel()
        ''', modules={'needs_it': '''
            import _tracemalloc
            def tracing(): return _tracemalloc.is_tracing()
            '''})


def test_auto_does_not_hide_an_import_that_fails_anyhow(script):
    script('''
        import coppice

        async def main():
            async with coppice.open_nursery(start_method='auto') as an:
                try:
                    await an.start_actor('a', enable_modules=['broken'],
                                         inherit_parent_main=False)
                except coppice.RemoteActorError as error:
                    assert error.src_type is ImportError and 'on purpose' in str(error), error
                else:
                    raise AssertionError
        ''', modules={'broken': 'raise ImportError("on purpose")'})


def test_an_extension_that_refuses_an_own_gil_is_named_in_a_call_too(script):
    outcome = script('''
        import coppice

        def use():
            import _tracemalloc

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('a', enable_modules=[__name__])
                try:
                    await portal.run(use)
                except coppice.RemoteActorError as error:
                    assert error.src_type is ImportError
                    print(error.message)
                await an.cancel()
        ''')
    (line,) = outcome.said
    assert '_tracemalloc' in line and 'process' in line, line


def test_threads_that_a_guest_started_end_with_it(script):
    script('''
        import asyncio, threading, time
        import coppice

        def start_threads():
            threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
            threading.Thread(target=spin, daemon=True).start()

        def spin():
            while True: pass

        async def in_executor():
            await asyncio.to_thread(time.sleep, 0.01)
            return 'ok'

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('a', enable_modules=[__name__])
                await portal.run(start_threads)
                assert await portal.run(in_executor) == 'ok'
                began = time.monotonic()
                await an.cancel()
                assert time.monotonic() - began < 2
        ''')


def test_guests_run_in_parallel(script):
    script('''
        import asyncio, time
        import coppice

        def spin(seconds):
            end = time.monotonic() + seconds
            while time.monotonic() < end: pass
            return True

        async def main():
            async with coppice.open_nursery() as an:
                portals = [await an.start_actor(f'a{n}', enable_modules=[__name__])
                           for n in range(3)]
                began = time.monotonic()
                assert all(await asyncio.gather(*(one.run(spin, 0.5) for one in portals)))
                # One after the other, as under one GIL, would take 1.5 s; and the root is free.
                assert time.monotonic() - began < 1.2
                await an.cancel()
        ''')


def test_a_guest_that_shares_the_gil_works_too(script):
    script('''
        import coppice

        def f(x): return x + 1
        async def g(x): return x + 2

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('a', enable_modules=[__name__], gil='shared')
                assert await portal.run(f, 1) == 2
                assert await portal.run(g, 1) == 3
                await an.cancel()
        ''')


def test_what_a_guest_prints_is_not_lost(script):
    outcome = script('''
        import sys
        import coppice

        def speak(word):
            print(word)                       # Not flushed by the guest's own code.
            print(word, file=sys.stderr)

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('a', enable_modules=[__name__])
                await portal.run(speak, 'hello')
                await an.cancel()
        ''')
    assert outcome.said == ['hello']
    assert 'hello' in outcome.stderr


def test_exit_handlers_of_a_guest_run_at_its_end(script):
    outcome = script('''
        import atexit
        import coppice

        def register():
            atexit.register(print, 'goodbye', flush=True)

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('a', enable_modules=[__name__])
                await portal.run(register)
                await an.cancel()
        ''')
    assert outcome.said == ['goodbye']


def test_a_guest_starts_and_stops_beside_a_root_that_keeps_computing(script):
    # The import of an extension module needs the main interpreter's GIL. A root whose loop lets go
    # of it often, and never long, would keep it from everybody else.
    script('''
        import asyncio, time
        import coppice

        async def compute(done):
            while not done.is_set():
                for _ in range(20_000): pass
                await asyncio.sleep(0)

        def imports():
            import decimal, sqlite3, ssl
            while True: pass

        async def main():
            done = asyncio.Event()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(compute(done))
                began = time.monotonic()
                async with coppice.open_nursery() as an:
                    portal = await an.start_actor('a', enable_modules=[__name__])
                    call = asyncio.create_task(portal.run(imports))
                    await asyncio.sleep(0.3)
                    await an.cancel()
                await asyncio.gather(call, return_exceptions=True)
                assert time.monotonic() - began < 5, time.monotonic() - began
                done.set()
        ''')
