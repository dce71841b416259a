# SPDX-License-Identifier: Apache-2.0
"""Restarts with real actors: who comes back, and what it is then."""
from conftest import both_loops, processes_only


def test_init_and_a_new_uuid_in_every_incarnation(script, tmp_path):
    script(f'''
        import asyncio, functools
        import coppice

        def opened(path, symbol):
            with open(path, 'a') as log:
                log.write(symbol + ' ' + coppice.current_actor().uid[1] + '\\n')

        def f(): return coppice.current_actor().uid[1]

        async def main():
            path = {str(tmp_path / 'log')!r}
            policy = coppice.RestartPolicy('one_for_one', pause=0.001)
            async with coppice.open_nursery(restart=policy) as an:
                init = functools.partial(opened, path, symbol='EURUSD')
                first = await an.start_actor('feed', enable_modules=[__name__], init=init,
                                             restart='permanent')
                assert open(path).read() == 'EURUSD ' + first.uid[1] + '\\n'
                # Somebody else asks it to end: that is its own business.
                async with coppice.find_actor('feed') as found:
                    try:
                        await found.cancel_actor()
                    except TimeoutError:
                        pass
                while not an.restart_count('feed'):
                    await asyncio.sleep(0.005)
                second = await an.portal('feed')
                assert second.uid[1] != first.uid[1] and second.uid[0] == 'feed'
                assert await second.run(f) == second.uid[1]
                assert open(path).read().splitlines()[1:] == ['EURUSD ' + second.uid[1]]
                async with coppice.find_actor('feed') as found:
                    assert found.uid == second.uid
                assert not first.is_alive()
                await an.cancel()
        ''')


@processes_only
@both_loops
def test_whoever_hears_of_a_death_gets_the_next_incarnation(script):
    script('''
        import os
        import coppice

        def pid(): return os.getpid()
        def die(): os._exit(3)

        async def main():
            policy = coppice.RestartPolicy('one_for_one', pause=0.001, restarts_max=3)
            try:
                async with coppice.open_nursery(restart=policy) as an:
                    portal = await an.start_actor('a', enable_modules=[__name__])
                    pids = set()
                    for n in range(4):
                        pids.add(await portal.run(pid))
                        assert an.restart_count('a') == n
                        try:
                            await portal.run(die)
                        except coppice.ActorDied as error:
                            assert error.report.status == 3, error.report
                        assert len(pids) == n + 1
                        portal = await an.portal('a')
            except coppice.RestartLimitExceeded as error:
                assert error.name == 'a' and error.restarts_max == 3
                assert error.last_death.report.status == 3
            except coppice.ActorDied as error:
                assert error.report.status == 3  # The portal was asked for when the limit was.
                raise AssertionError('the limit is the error') from error
            else:
                raise AssertionError
        ''')


@processes_only
def test_rest_for_one_restarts_those_behind_it(script):
    script('''
        import os
        import coppice

        def die(): os._exit(3)
        def f(): return coppice.current_actor().name

        async def main():
            policy = coppice.RestartPolicy('rest_for_one', pause=0.001)
            async with coppice.open_nursery(restart=policy) as an:
                old = [await an.start_actor(name, enable_modules=[__name__]) for name in 'abc']
                try:
                    await old[1].run(die)
                except coppice.ActorDied:
                    pass
                await an.portal('b')
                import asyncio
                while not an.restart_count('c'):
                    await asyncio.sleep(0.005)
                new = [await an.portal(name) for name in 'abc']
                assert [a.uid == b.uid for a, b in zip(old, new)] == [True, False, False]
                assert [await one.run(f) for one in new] == list('abc')
                await an.cancel()
        ''')


@processes_only
def test_an_actor_that_merely_loses_its_connection_has_died(script):
    """It ended with status 0, and its nursery waited for ever."""
    script('''
        import asyncio
        import coppice

        def cut():
            import breaks
            breaks.cut()

        async def main():
            try:
                async with coppice.open_nursery() as an:
                    portal = await an.start_actor('a', enable_modules=[__name__])
                    call = asyncio.ensure_future(portal.run(cut))
                    await asyncio.wait([call])
                    call.exception()
                    await asyncio.sleep(1000)
            except coppice.ActorDied as error:
                assert error.name == 'a' or error.uid[0] == 'a'
            else:
                raise AssertionError
        ''')
