# SPDX-License-Identifier: Apache-2.0
"""Finding actors by name. tests/SCENARIOS.md lists what is tractor's."""
import signal
import socket
import sys
import textwrap
import time

import pytest
from conftest import (PATIENT, TCP, both_loops, every_home, every_home_and_loop, every_transport,
                      guests_only, processes_only)

DAEMON = '''
    import sys
    import coppice

    def hello(): return 'hello'

    def pid():
        import os
        return os.getpid()

    if __name__ == '__main__':
        where, at, loop = sys.argv[1:]
        coppice.run_daemon(['__main__'], name='daemon', loop=loop,
                           registry_addrs=[(where, int(at) if at.isdigit() else at)])
        print('returned')
    '''


def is_listened_to(address):
    with socket.socket(socket.AF_INET if type(address[1]) is int else socket.AF_UNIX) as probe:
        target = address if probe.family == socket.AF_INET else '/'.join(address)
        return probe.connect_ex(target) == 0


@pytest.fixture
def free_address(start_method, tmp_path):
    """Where nobody listens, for the transport of the test."""
    if start_method != TCP:
        return str(tmp_path), 'registry.sock'
    with socket.create_server(('127.0.0.1', 0)) as server:
        return server.getsockname()


@pytest.fixture
def daemon(begin_program, native_half, tmp_path, free_address, loop):
    """Starts a registrar in another program; gives it and its address."""
    def start():
        path = tmp_path / 'daemon.py'
        path.write_text(textwrap.dedent(DAEMON))
        running = begin_program([sys.executable, path, *map(str, free_address), loop], seconds=60)
        deadline = time.monotonic() + 40
        while not is_listened_to(free_address):
            assert time.monotonic() < deadline
            # tidy: allow sleep: the start of a program that is not ours has no event
            time.sleep(0.02)
        return running, free_address

    return start


@both_loops
def test_an_actor_is_found_by_name_and_by_uuid_and_called(script):
    script('''
        import coppice

        def whoami(): return coppice.current_actor().name

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('worker', enable_modules=[__name__])
                for name in ('worker', portal.uid[1]):
                    async with coppice.find_actor(name) as found:
                        assert found.uid == portal.uid
                        assert await found.run(whoami) == 'worker'
                async with coppice.find_actor('nobody') as found:
                    assert found is None
                async with coppice.find_actor('worker', only_first=False) as found:
                    assert [one.uid for one in found] == [portal.uid]
                try:
                    async with coppice.find_actor('nobody', raise_on_none=True):
                        assert False
                except RuntimeError as error:
                    assert 'nobody' in str(error)
                await an.cancel()
        ''')


@both_loops
@every_transport
@pytest.mark.parametrize('as_text', [False, True], ids=['tuples', 'multiaddr'])
def test_reg_then_unreg(script, free_address, as_text):
    where, at = free_address
    kind = f'/ip4/{where}/tcp/{at}' if type(at) is int else f'/unix/{where.lstrip("/")}/{at}'
    script(f'''
        import coppice

        ADDRESS = {(kind if as_text else free_address)!r}

        async def main():
            async with coppice.open_nursery() as an:
                for _ in range(3):
                    portal = await an.start_actor('worker', enable_modules=[__name__])
                    key = '.'.join(portal.uid)
                    table = await coppice.get_registry()
                    assert len(table) == 2 and len(table[key]) == 1, table
                    assert await coppice.query_actor('worker', [ADDRESS]) == table[key]
                    await portal.cancel_actor()
                    assert key not in await coppice.get_registry()
                    assert await coppice.query_actor('worker') is None
                    async with coppice.find_actor('worker', [ADDRESS]) as found:
                        assert found is None
        ''', options='registry_addrs=[ADDRESS]')


@both_loops
@every_transport
def test_trynamic_trio(script):
    outcome = script('''
        import coppice, either

        def this_name(): return f'hi, from {coppice.current_actor().name}'

        async def meet(other):
            async with coppice.wait_for_actor(other) as portal:
                return await portal.run(this_name)

        async def main():
            async with coppice.open_nursery() as an:
                donny = await an.start_actor('donny', enable_modules=[__name__])
                early = either.start(donny.run(meet, other='gretchen'))
                await either.sleep(0.1)
                assert not early.done()
                gretchen = await an.start_actor('gretchen', enable_modules=[__name__])
                late = either.start(gretchen.run(meet, other='donny'))
                for task in (early, late):
                    print(await task)
                await an.cancel()
        ''')
    assert outcome.said == ['hi, from gretchen', 'hi, from donny']


@both_loops
def test_a_wait_ends_with_its_callers_deadline_and_is_withdrawn(script):
    script('''
        import coppice, either

        async def main():
            async with coppice.open_nursery() as an:
                for _ in range(3):
                    with coppice.move_on_after(0.05) as scope:
                        async with coppice.wait_for_actor('late'):
                            assert False
                    assert scope.cancelled_caught
                waiting = either.start(wait())
                await either.sleep(0.05)
                await an.start_actor('late')
                assert await waiting == 'late'
                await an.cancel()

        async def wait():
            async with coppice.wait_for_actor('late') as portal:
                return portal.uid[0]
        ''')


def test_actors_with_one_name_are_found_the_last_one_first(script):
    script('''
        import coppice

        async def main():
            async with coppice.open_nursery() as an:
                portals = [await an.start_actor('doggy') for _ in range(3)]
                while portals:
                    async with coppice.wait_for_actor('doggy') as found:
                        assert found.uid == portals[-1].uid
                    await portals.pop().cancel_actor()
                async with coppice.find_actor('doggy') as found:
                    assert found is None
        ''')


def test_actors_at_every_depth_find_each_other(script):
    script('''
        import coppice

        async def middle():
            async with coppice.open_nursery() as an:
                await an.start_actor('leaf', enable_modules=[__name__])
                await an.start_actor('other', enable_modules=[__name__], start_method='process')
                for name in ('root', 'uncle', 'leaf', 'other', 'middle'):
                    async with coppice.find_actor(name) as portal:
                        assert portal is not None, name
                        if name not in ('root', 'middle'):
                            assert await portal.run(whoami) == name
                await an.cancel()

        def whoami(): return coppice.current_actor().name

        async def main():
            async with coppice.open_nursery() as an:
                await an.start_actor('uncle', enable_modules=[__name__])
                portal = await an.start_actor('middle', enable_modules=[__name__])
                await portal.run(middle)
                assert sorted(k.split('.')[0] for k in await coppice.get_registry()) == [
                    'middle', 'root', 'uncle']
                await an.cancel()
        ''')


@processes_only
def test_an_actor_that_is_killed_is_gone_from_the_registry_and_so_are_its_children(script):
    script('''
        import coppice, either, os, signal, time

        def pid(): return os.getpid()

        async def nest():
            async with coppice.open_nursery() as an:
                await an.start_actor('inmate', start_method='subint')
                await either.sleep(60)

        async def main():
            try:
                async with coppice.open_nursery() as an:
                    portal = await an.start_actor('victim', enable_modules=[__name__])
                    either.start(forget(portal))
                    async with coppice.wait_for_actor('inmate'):
                        pass
                    os.kill(await portal.run(pid), signal.SIGKILL)
                    began = time.monotonic()
                    while len(await coppice.get_registry()) != 1:
                        assert time.monotonic() - began < 1, await coppice.get_registry()
                    for name in ('victim', 'inmate'):
                        async with coppice.find_actor(name) as found:
                            assert found is None
            except coppice.ActorDied:
                return
            assert False

        async def forget(portal):
            try:
                await portal.run(nest)
            except coppice.ActorDied:
                pass
        ''')


@both_loops
@every_transport
def test_stale_entry_is_deleted(script, free_address):
    script(f'''
        import coppice

        async def main():
            async with coppice.open_nursery() as an:
                async with coppice.find_actor('root') as registrar:
                    await registrar.run_from_ns('self', 'register_actor',
                                                uid=['ghost', 'no-such-uuid'],
                                                addr={list(free_address)!r})
                assert await coppice.query_actor('ghost') is not None
                async with coppice.find_actor('ghost') as found:
                    assert found is None
                assert await coppice.query_actor('ghost') is None
                assert list(await coppice.get_registry()) == [
                    '.'.join(coppice.current_actor().uid)]
        ''')


@guests_only
def test_a_listener_that_never_answers_costs_a_second_and_its_entry(script, tmp_path):
    script(f'''
        import coppice, socket, time

        async def main():
            with socket.socket(socket.AF_UNIX) as silent:
                silent.bind({str(tmp_path / 'silent.sock')!r})
                silent.listen()
                async with coppice.open_nursery() as an:
                    async with coppice.find_actor('root') as registrar:
                        await registrar.run_from_ns('self', 'register_actor',
                                                    uid=['mute', 'no-such-uuid'],
                                                    addr=[{str(tmp_path)!r}, 'silent.sock'])
                    began = time.monotonic()
                    async with coppice.find_actor('mute') as found:
                        assert found is None
                    assert 0.9 < time.monotonic() - began < 3
                    assert await coppice.query_actor('mute') is None
        ''')


@guests_only
def test_looking_up_often_uses_one_connection_and_leaves_none(script):
    script('''
        import coppice, either, os

        def sockets():
            there = (f'/proc/self/fd/{fd}' for fd in os.listdir('/proc/self/fd'))
            return sum(os.readlink(fd).startswith('socket:') for fd in there if os.path.exists(fd))

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('far', enable_modules=[__name__],
                                              start_method='process')
                before = sockets()
                for _ in range(50):
                    async with coppice.find_actor('far') as found:
                        assert found.uid == portal.uid
                assert sockets() <= before + 1, (before, sockets())
                for _ in range(200):
                    if sockets() == before:
                        break
                    await either.sleep(0.05)
                assert sockets() == before
                await an.cancel()
        ''')


@guests_only
def test_actors_of_one_process_open_no_listener_until_somebody_outside_asks(script):
    script('''
        import coppice, os
        from pathlib import Path

        def files():
            return [path for path in Path(os.environ['XDG_RUNTIME_DIR']).rglob('*.sock')]

        async def look(name):
            async with coppice.find_actor(name) as portal:
                return await portal.run(whoami)

        def whoami(): return coppice.current_actor().name

        async def main():
            async with coppice.open_nursery() as an:
                await an.start_actor('near', enable_modules=[__name__])
                async with coppice.find_actor('near') as portal:
                    assert await portal.run(whoami) == 'near'
                assert files() == []
                far = await an.start_actor('far', enable_modules=[__name__],
                                           start_method='process')
                assert await far.run(look, name='near') == 'near'
                # The root's, which started `far`; `near`, whom it asked for; and `far` itself,
                # whose registrar is in another process.
                assert sorted(file.name[:4] for file in files()) == ['far@', 'near', 'root']
                await an.cancel()
        ''')


@guests_only
def test_a_stuck_registrar_still_serves_its_registry(script):
    script('''
        import coppice, either, time

        async def find(name):
            async with coppice.find_actor(name) as portal:
                return portal.uid[0]

        async def main():
            async with coppice.open_nursery() as an:
                await an.start_actor('a')
                b = await an.start_actor('b', enable_modules=[__name__])
                task = either.start(b.run(find, name='a'))
                await either.sleep(0)
                time.sleep(0.5)  # The root's loop stands still, and b finds a meanwhile.
                began = time.monotonic()
                assert await task == 'a'
                assert time.monotonic() - began < 0.3
                await an.cancel()
        ''')


def test_methods_that_an_actor_lacks_cost_an_error_only(script):
    script('''
        import coppice

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('plain', enable_modules=[__name__])
                for method in ('find_actor', 'get_registry', '__init__', 'no_such'):
                    try:
                        await portal.run_from_ns('self', method)
                        assert False
                    except coppice.RemoteActorError as error:
                        assert error.boxed_type is AttributeError, error
                assert await portal.run(alive) == 'yes'
                await an.cancel()

        def alive(): return 'yes'
        ''')


@both_loops
@guests_only
def test_a_registrar_in_another_program_is_joined_and_found(daemon, script):
    running, address = daemon()
    script(f'''
        import coppice

        def whoami(): return coppice.current_actor().name

        async def main():
            assert not coppice.current_actor().is_registrar
            async with coppice.open_nursery() as an:
                for method in ('subint', 'process'):
                    portal = await an.start_actor(method, enable_modules=[__name__],
                                                  start_method=method)
                    async with coppice.find_actor(method) as found:
                        assert found.uid == portal.uid
                        assert await found.run(whoami) == method
                names = sorted(key.split('.')[0] for key in await coppice.get_registry())
                assert names == ['daemon', 'process', 'root', 'subint'], names
                async with coppice.find_actor('daemon') as found:
                    assert await found.run('__main__:hello') == 'hello'
                await an.cancel()
        ''', options=f'registry_addrs=[{address!r}]')
    outcome = script(f'''
        import coppice

        async def main():
            for key in await coppice.get_registry([{address!r}]):
                print(key.split('.')[0])
        ''')
    assert outcome.said == ['daemon']  # The tree before has ended, and took its actors along.
    running.process.send_signal(signal.SIGINT)
    running.wait()


@both_loops
@every_transport
def test_cancel_remote_registrar(daemon, script):
    running, address = daemon()
    outcome = script(f'''
        import coppice
        import either

        async def main():
            address = {address!r}
            async with coppice.find_actor('daemon', [address]) as found:
                assert await found.run('__main__:hello') == 'hello'
                await found.cancel_actor(timeout=5)
            with coppice.fail_after(5):  # Its tasks have ended; its process is about to.
                while True:
                    try:
                        async with coppice.find_actor('daemon', [address]):
                            await either.sleep(0.01)
                    except coppice.TransportClosed as error:
                        return print('refused')
        ''')
    assert outcome.said == ['refused']
    ended = running.wait()
    assert ended.status == 0 and 'returned' in ended.lines, ended
    assert not is_listened_to(address)


@every_home_and_loop
def test_register_duplicate_name(script):
    """Scenario 27: of two actors with one name, whoever waits for it gets one; both end well."""
    script('''
        import coppice

        def whoami(): return coppice.current_actor().uid[1]

        async def main():
            async with coppice.open_nursery() as an:
                both = [await an.start_actor('doggy', enable_modules=[__name__])
                        for _ in range(2)]
                async with coppice.wait_for_actor('doggy') as found:
                    assert found.uid in [one.uid for one in both]
                    assert await found.run(whoami) == found.uid[1]
                assert [await one.run(whoami) for one in both] == [one.uid[1] for one in both]
                await an.cancel()
            assert [one.rung for one in an.exits.values()] == ['asked', 'asked'], an.exits
        ''', options=PATIENT)


@every_home
def test_dup_name_cancel_cascade_escalates_to_hard_kill(daemon, script):
    """Scenario 26: many actors of one name, registered in another program, are cancelled. Ours
    unregister each by its uuid, and none of them has to be killed."""
    running, address = daemon()
    script(f'''
        import time
        import coppice

        async def main():
            for number in (2, 4, 8):
                async with coppice.open_nursery() as an:
                    portals = [await an.start_actor('doggy', enable_modules=[__name__])
                               for _ in range(number)]
                    table = await coppice.get_registry([{address!r}])
                    assert sum(key.startswith('doggy.') for key in table) == number, table
                    began = time.monotonic()
                    await an.cancel()
                    assert time.monotonic() - began < 15 + 5 * number
                    assert not any(one.chan.connected() for one in portals)
                assert [one.rung for one in an.exits.values()] == ['asked'] * number, an.exits
                table = await coppice.get_registry([{address!r}])
                assert not any(key.startswith('doggy.') for key in table), table
        ''', options=f'registry_addrs=[{address!r}], {PATIENT}', seconds=60)
    running.process.send_signal(signal.SIGINT)
    running.wait()


@guests_only
def test_somebody_else_at_the_registry_address_is_a_startup_error_that_names_it(script, tmp_path):
    outcome = script(f'''
        import coppice, socket, time

        async def main():
            assert False

        if __name__ == '__main__':
            with socket.socket(socket.AF_UNIX) as silent:
                silent.bind({str(tmp_path / 'taken.sock')!r})
                silent.listen()
                began = time.monotonic()
                try:
                    coppice.run(main, registry_addrs=[({str(tmp_path)!r}, 'taken.sock')])
                except coppice.RuntimeFailure as error:
                    print('taken.sock' in str(error), time.monotonic() - began < 10)
        ''', end='', clean=False)
    assert outcome.said == ['True True']


@guests_only
def test_a_root_listens_at_all_its_registry_addresses_and_no_longer_than_it_lives(script, tmp_path):
    script(f'''
        import coppice, os

        PATHS = [({str(tmp_path)!r}, f'{{n}}.sock') for n in 'ab']

        async def main():
            assert coppice.current_actor().is_registrar
            assert all(os.path.exists('/'.join(path)) for path in PATHS)
            assert sorted(await coppice.query_actor('root')) == PATHS
            async with coppice.open_nursery() as an:
                child = await an.start_actor('child', start_method='process',
                                             enable_modules=[__name__])
                assert await child.run(sees) == ['child', 'root']
                await an.cancel()

        async def sees():
            return sorted(key.split('.')[0] for key in await coppice.get_registry())
        ''', options='registry_addrs=PATHS')
    assert not list(tmp_path.glob('*.sock'))


def test_a_daemon_ends_with_ctrl_c(daemon):
    running, address = daemon()
    running.process.send_signal(signal.SIGINT)
    outcome = running.wait()
    assert outcome.status == 130 or 'KeyboardInterrupt' in outcome.stderr, outcome
    assert not is_listened_to(address)


@guests_only
def test_without_an_actor_nobody_can_be_found(script):
    outcome = script('''
        import asyncio
        import coppice

        async def outside():
            try:
                async with coppice.find_actor('x'):
                    print('found')
            except coppice.NoRuntime:
                print('no runtime')

        if __name__ == '__main__':
            asyncio.run(outside())
        ''', end='', clean=False)
    assert outcome.said == ['no runtime']
