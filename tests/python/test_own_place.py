# SPDX-License-Identifier: Apache-2.0
"""An actor with a process of its own may have its own environment and folder; a guest has ours."""
import pytest
from conftest import FORKED, guests_only

SEEN = '''
import os
import coppice

def seen():
    return {'folder': os.getcwd(), 'own': os.environ.get('OWN'), 'ours': os.environ.get('OURS')}
'''


@pytest.mark.parametrize('start_method', ['process', *FORKED], indirect=True)
def test_a_process_has_the_environment_and_folder_that_it_is_started_with(script):
    script(SEEN + '''
async def main():
    os.environ['OURS'] = 'kept'
    here = os.getcwd()
    own = {**os.environ, 'OWN': 'given'}
    del own['OURS']
    async with coppice.open_nursery() as an:
        first = await an.start_actor('first', enable_modules=[__name__], cwd='/usr',
                                     proc_kwargs={'env': own})
        second = await an.start_actor('second', enable_modules=[__name__])
        assert await first.run(seen) == {'folder': '/usr', 'own': 'given', 'ours': None}
        assert await second.run(seen) == {'folder': here, 'own': None, 'ours': 'kept'}
        assert os.getcwd() == here and 'OWN' not in os.environ
        await an.cancel()
''')


@guests_only
def test_a_guest_with_its_own_is_refused_and_told_who_can(script):
    script(SEEN + '''
async def main():
    async with coppice.open_nursery() as an:
        for options in ({'cwd': '/usr'}, {'proc_kwargs': {'env': {'OWN': 'given'}}}):
            try:
                await an.start_actor('guest', enable_modules=[__name__], **options)
            except ValueError as error:
                assert "use start_method='process'" in str(error), error
            else:
                raise AssertionError(options)
        portal = await an.start_actor('guest', enable_modules=[__name__])
        assert (await portal.run(seen))['own'] is None
        await an.cancel()
''')
