# SPDX-License-Identifier: Apache-2.0
"""The root of the recorded dialogs, for Coppice."""
import os

import appmod

import coppice


async def error_of(call):
    try:
        await call
    except coppice.RemoteActorError as error:
        return error.boxed_type_str
    raise AssertionError('it should have failed')


async def main():
    async with coppice.open_nursery() as an:
        portal = await an.start_actor(
            'callee', enable_modules=['appmod'], start_method='process',
            proc_kwargs={'executable': os.environ['GOLDEN_STAND_IN']})
        assert await portal.run(appmod.add, x=1, y=2) == 3
        assert await error_of(portal.run(appmod.fail, msg='boom')) == 'ValueError'
        assert await error_of(portal.run_from_ns('appmod', 'add', x=1, nope=2)) == 'TypeError'
        assert await error_of(portal.run_from_ns('not.exposed', 'f')) == 'ModuleNotExposed'
        async with portal.open_stream_from(appmod.gen, n=3) as stream:
            assert [value async for value in stream] == [0, 1, 2]
        async with portal.open_context(appmod.echo_ctx, start=41) as (ctx, first):
            assert first == 42
            async with ctx.open_stream() as stream:
                for value in (1, 'two', [3, None, 4.5, b'\0']):
                    await stream.send(value)
                    assert await stream.receive() == {'echo': value}
        assert await ctx.wait_for_result() == 'done'
        async with portal.open_context(appmod.block_ctx) as (ctx, first):
            assert first == 'ready'
            await ctx.cancel()
        try:
            async with portal.open_context(appmod.nested_fail) as (ctx, _):
                await ctx.wait_for_result()
        except coppice.RemoteActorError as error:
            assert error.src_type_str == 'ValueError'
        async with coppice.find_actor('callee') as found:
            assert await found.run(appmod.add, x=5, y=6) == 11
        async with coppice.find_actor('nobody') as found:
            assert found is None
        await portal.cancel_actor()


if __name__ == '__main__':
    coppice.run(main, name='root', registry_addrs=[('127.0.0.1', 0)])
