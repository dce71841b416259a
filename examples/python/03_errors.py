# SPDX-License-Identifier: Apache-2.0
"""Errors cross actors whole, and an actor that dies is an error too."""
import os

import coppice


def parse(text):
    return int(text)


def crash():
    os._exit(3)


async def main():
    async with coppice.open_nursery(start_method='process') as an:
        portal = await an.start_actor('parser', enable_modules=[__name__])
        try:
            await portal.run(parse, text='four')
        except coppice.RemoteActorError as error:
            print(f'{error.boxed_type.__name__} in {error.src_uid[0]}: {error.message}')
            print('its traceback names the function:', 'in parse' in error.tb_str)
        await portal.cancel_actor()

    try:
        async with coppice.open_nursery(start_method='process') as an:
            portal = await an.start_actor('fragile', enable_modules=[__name__])
            await portal.run(crash)
    except coppice.ActorDied as error:
        print(f'{error.name}: {error.report.how} with status {error.report.status}')


if __name__ == '__main__':
    coppice.run(main)
