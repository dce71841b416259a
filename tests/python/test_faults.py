# SPDX-License-Identifier: Apache-2.0
"""Whatever breaks between two processes, everybody who waits gets a typed error, and soon."""
import textwrap

import pytest
from conftest import both_loops, every_socket

pytestmark = [both_loops, every_socket]

HEAD = textwrap.dedent('''
    import time
    import breaks
    import either
    import coppice
    from coppice import Context

    async def sleep(): await either.sleep(1000)

    def take(text): return len(text)

    @coppice.context
    async def silent(ctx: Context):
        """Its stream is open, and nothing comes or is taken."""
        await ctx.started()
        async with ctx.open_stream():
            await either.sleep(1000)

    def break_connection(how): getattr(breaks, how)()

    class Waiters:
        """Each notes when it was told, and what. A wait in send() ends with its block's error."""

        def __init__(self, portal):
            self.portal = portal
            self.begun = 0
            self.ended = {}

        async def note(self, wait):
            try:
                await wait()
            except Exception as error:
                self.ended[wait.__name__] = time.monotonic(), error
                raise

        async def call(self):
            self.begun += 1
            await self.portal.run(sleep)

        async def result(self):
            async with self.portal.open_context(silent) as (ctx, _):
                self.begun += 1
                await ctx.wait_for_result()

        async def receive(self):
            async with self.portal.open_context(silent) as (ctx, _), ctx.open_stream() as stream:
                self.begun += 1
                await stream.receive()

        async def send(self):
            async with self.portal.open_context(silent) as (ctx, _), ctx.open_stream() as stream:
                self.begun += 1
                while True:
                    await stream.send(1)

    async def wait_while(how, bulk):
        """Everybody who waited: seconds from the fault, and the error."""
        try:
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('victim', enable_modules=[__name__])
                waiters = Waiters(portal)
                tasks = [either.start(waiters.note(one)) for one in (
                    waiters.call, waiters.result, waiters.receive, waiters.send)]
                while waiters.begun < 4:
                    await either.sleep(0.01)
                await either.sleep(0.2)  # Until the sender's window is full, too.
                began = time.monotonic()
                tasks.append(either.start(portal.run(break_connection, how=how)))
                tasks.append(either.start(portal.run(take, text='x' * bulk)))
                with coppice.CancelScope(shield=True):
                    found = await either.outcomes(*tasks)
        except coppice.ActorDied:
            pass
        assert all(isinstance(one, coppice.TransportClosed) for one in found[:-1]), found
        assert sorted(waiters.ended) == ['call', 'receive', 'result', 'send']
        return {who: (at - began, error) for who, (at, error) in waiters.ended.items()}
''')


@pytest.mark.parametrize('how', ['kill', 'half_close', 'cut', 'reset'])
def test_everybody_who_waits_is_told_when_the_connection_ends(script, how):
    outcome = script(HEAD + textwrap.dedent(f'''
        async def main():
            for who, (seconds, error) in (await wait_while({how!r}, bulk=1)).items():
                assert isinstance(error, coppice.TransportClosed), (who, error)
                assert seconds < 8, (who, seconds)
                print(who, seconds)
        '''))
    assert len(outcome.said) == 4


def test_everybody_who_waits_is_told_when_a_peer_does_not_read_for_too_long(script):
    outcome = script(HEAD + textwrap.dedent('''
        async def main():
            for who, (seconds, error) in (await wait_while('stop', bulk=4_000_000)).items():
                assert isinstance(error, coppice.TransportClosed), (who, error)
                assert 0.5 < seconds < 12, (who, seconds)
                print(who, seconds)
        '''), options='peer_silence_max=1.0')
    assert len(outcome.said) == 4
