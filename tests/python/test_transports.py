# SPDX-License-Identifier: Apache-2.0
"""How processes reach each other: unix sockets, tcp, and what is refused."""
import pytest

from conftest import processes_only

PARENT_ADDRESS = '''
        import ast, sys

        def parent_address():
            arguments = sys.orig_argv
            return ast.literal_eval(arguments[arguments.index('--parent_addr') + 1])
'''


@processes_only
@pytest.mark.parametrize('where', ['root', 'actor'])
def test_a_process_reaches_its_parent_by_the_transport_that_was_asked_for(script, where):
    of_root = "enable_transports=['tcp']" if where == 'root' else ''
    of_actor = "enable_transports=['tcp']," if where == 'actor' else ''
    outcome = script(f'''
        import coppice
        {PARENT_ADDRESS}
        async def main():
            async with coppice.open_nursery({of_root}) as an:
                portal = await an.start_actor('far', start_method='process', {of_actor}
                                              enable_modules=[__name__])
                host, port = await portal.run(parent_address)
                print(host, type(port).__name__)
                await an.cancel()
        ''', options="how='asyncio'")
    assert outcome.said == ['127.0.0.1 int']


@processes_only
def test_the_children_of_a_process_reach_it_as_it_reaches_its_parent(script):
    outcome = script(f'''
        import coppice
        {PARENT_ADDRESS}
        async def grandchild():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('inner', start_method='process',
                                              enable_modules=[__name__])
                address = await portal.run(parent_address)
                await an.cancel()
                return address

        async def main():
            async with coppice.open_nursery(enable_transports=['tcp']) as an:
                portal = await an.start_actor('middle', start_method='process',
                                              enable_modules=[__name__])
                host, port = await portal.run(grandchild)
                print(host, type(port).__name__)
                await an.cancel()
        ''', options="how='asyncio'")
    assert outcome.said == ['127.0.0.1 int']


@processes_only
def test_without_a_word_it_is_a_unix_socket(script):
    outcome = script(f'''
        import coppice
        {PARENT_ADDRESS}
        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('far', start_method='process',
                                              enable_modules=[__name__])
                print([type(part).__name__ for part in await portal.run(parent_address)])
                await an.cancel()
        ''')
    assert outcome.said == ["['str', 'str']"]


@processes_only
def test_what_cannot_be_is_said_when_the_root_opens(script):
    outcome = script('''
        import coppice

        async def refusal(**options):
            try:
                async with coppice.open_nursery(**options):
                    return 'accepted'
            except Exception as error:
                return str(error)

        async def main():
            print(await refusal(enable_transports=['pigeon']))
            print(await refusal(insecure_tcp='maybe'))
            print('no TLS' in await refusal(tls_ca='/no/such/file.pem'))
            print('peer_silence' in await refusal(peer_silence=3))
            print(await refusal(enable_transports=['uds'], peer_silence_max=3.0,
                                insecure_tcp='allow', other_users='refuse'))
        ''', options="how='asyncio'")
    assert outcome.said == [
        "unknown transport 'pigeon': there are uds and tcp",
        "insecure_tcp='maybe': write 'refuse' or 'allow'",
        'True', 'True', 'accepted']
