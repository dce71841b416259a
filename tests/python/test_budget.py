# SPDX-License-Identifier: Apache-2.0
"""What happens when a process has borne enough guests that could not be ended well."""
import pytest
from conftest import guests_only

pytestmark = guests_only

FORCED = '''
import either, os, threading
import coppice

def lock():
    held = threading.Lock()
    held.acquire()
    held.acquire()

def native():
    sum(range(10 ** 11))

def pid():
    return os.getpid()

async def get_stuck(an, name, function):
    portal = await an.start_actor(name, enable_modules=[__name__])
    call = either.start(portal.run(function))
    await either.sleep(0.2)
    report = await portal.cancel_actor()
    await either.outcomes(call)
    return report.rung
'''


def test_at_its_bound_of_forced_stops_a_process_refuses_guests_and_says_what_to_do(script):
    script(FORCED + '''
async def main():
    async with coppice.open_nursery() as an:
        assert await get_stuck(an, 'one', lock) == 'forced'
        portal = await an.start_actor('still', enable_modules=[__name__])
        assert await get_stuck(an, 'two', lock) == 'forced'
        assert await portal.run(pid) == os.getpid()
        try:
            await an.start_actor('late', enable_modules=[__name__])
        except coppice.BackendUnavailable as error:
            text = str(error)
            assert '2 actors of this process were stopped by force' in text, text
            assert 'forced_max' in text and "'subint_forkserver' or 'process'" in text, text
        else:
            raise AssertionError
        other = await an.start_actor('other', start_method='process', enable_modules=[__name__])
        assert await other.run(pid) != os.getpid()
        await an.cancel()
''', options='guests=coppice.GuestBudget(forced_max=2)')


def test_other_process_places_the_next_guest_in_a_fresh_one_and_says_so(script):
    script(FORCED + '''
async def main():
    async with coppice.open_nursery() as an:
        assert await get_stuck(an, 'one', lock) == 'forced'
        for method in ('subint', 'auto'):
            portal = await an.start_actor(method, start_method=method, enable_modules=[__name__])
            assert await portal.run(pid) != os.getpid()
            assert portal.start_method == 'subint_forkserver', portal.start_method
            assert 'stopped by force' in portal.start_reason, portal.start_reason
        await an.cancel()
''', options="guests=coppice.GuestBudget(forced_max=1, then='other_process')")


def test_end_cancels_the_root(script):
    outcome = script(FORCED + '''
async def main():
    try:
        async with coppice.open_nursery() as an:
            assert await get_stuck(an, 'one', lock) == 'forced'
            try:
                await an.start_actor('late', enable_modules=[__name__])
            except coppice.BackendUnavailable:
                pass
            await either.sleep(60)
    finally:
        print('unwound')
''', options="guests=coppice.GuestBudget(forced_max=1, then='end')", status=1)
    assert outcome.said == ['unwound'] and outcome.seconds < 20, outcome


def test_guests_in_quarantine_are_counted_too(script):
    outcome = script(FORCED + '''
async def main():
    async with coppice.open_nursery(stop=coppice.StopPolicy(total=1)) as an:
        assert await get_stuck(an, 'wedged', native) == 'abandoned'
        try:
            await an.start_actor('late', enable_modules=[__name__])
        except coppice.BackendUnavailable as error:
            assert '1 actors of this process are stuck in native code' in str(error), error
        else:
            raise AssertionError
        print('refused')
''', options="guests=coppice.GuestBudget(quarantined_max=1), exit_linger=0.1", status=None,
        clean=False)
    assert outcome.said[:1] == ['refused'], outcome


@pytest.mark.parametrize('arguments', ['forced_max=-1', "then='maybe'"])
def test_a_wrong_budget_is_refused_at_once(script, arguments):
    outcome = script('''
import coppice

async def main():
    pass
''', options=f'guests=coppice.GuestBudget({arguments})', status=1, clean=False)
    assert 'GuestBudget(' in outcome.stderr and 'ValueError' in outcome.stderr, outcome
