# SPDX-License-Identifier: Apache-2.0
"""What the tests of contexts share: endpoints, and a fixture that runs a script with them."""
import textwrap

import pytest

ENDPOINTS = textwrap.dedent('''
    import either
    import coppice
    from coppice import Context, ContextCancelled, RemoteActorError

    state = False

    def get_state(): return state

    @coppice.context
    async def setup_and_teardown(ctx: Context, data, block_forever=False):
        global state
        state = True
        assert coppice.current_ipc_ctx() is ctx
        await ctx.started(data + 1)
        try:
            if block_forever:
                await either.sleep(1000)
            return 'yo'
        finally:
            state = False

    @coppice.context
    async def echo(ctx: Context, send_before_receive=False):
        """Until it is cancelled."""
        global state
        state = True
        await ctx.started()
        try:
            async with ctx.open_stream() as stream:
                if send_before_receive:
                    await stream.send('yo')
                async for msg in stream:
                    await stream.send(msg)
                await either.sleep(1000)
        except either.cancelled() as reason:
            assert not ctx.has_outcome and not ctx.cancel_called
            state = f'cancelled: {type(reason).__name__}'
            raise
        else:
            state = 'it was not cancelled'

    @coppice.context
    async def sleep(ctx: Context, started=True):
        if started:
            await ctx.started()
        await either.sleep(1000)

    @coppice.context
    async def fail(ctx: Context, started=True):
        if started:
            await ctx.started()
        raise ValueError('no luck')

    def me():
        return coppice.current_actor().uid
''')


@pytest.fixture
def contexts(script):
    """Runs a script that begins with the endpoints above."""
    def run(text, **how):
        return script(ENDPOINTS + textwrap.dedent(text), **how)

    return run
