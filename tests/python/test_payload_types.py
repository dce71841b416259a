# SPDX-License-Identifier: Apache-2.0
"""Payload types of contexts, with real actors, on both event loops."""
from conftest import both_loops, every_transport

pytestmark = [both_loops, every_transport]


def test_basic_payload_spec(script):
    script('''
        import dataclasses
        import coppice
        import either

        @dataclasses.dataclass
        class PldMsg:
            field: str

        @coppice.context(pld_spec=PldMsg | None)
        async def child(ctx: coppice.Context, started, result):
            await ctx.started(PldMsg('yo') if started == 'valid' else started)
            return result

        @coppice.context
        async def untyped(ctx: coppice.Context):
            await ctx.started(10)
            return 'yo'

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('typed', enable_modules=[__name__])
                for started, result in (('valid', None), (None, None), (None, {'field': 'x'})):
                    async with portal.open_context(child, started=started,
                                                   result=result) as (ctx, first):
                        assert first == (PldMsg('yo') if started == 'valid' else None), first
                        assert await ctx.wait_for_result() == (result and PldMsg('x'))
                # The sender of a Started that does not fit is told, before anything is sent.
                try:
                    async with portal.open_context(child, started=10, result=None):
                        raise AssertionError('it was never started')
                except coppice.MsgTypeError as error:
                    assert error.boxed_type is error.src_type is coppice.MsgTypeError
                    assert error.src_uid == portal.uid and error.relay_path == [portal.uid]
                    assert error.expected_msg_type == 'Started', error.info
                    assert (error.expected, error.got) == ('PldMsg | None', 'int')
                    assert error.bad_msg.pld == 10 and error.cid
                    assert error.bad_msg_as_dict['cid'] == error.cid
                    assert 'in child' in error.tb_str, error.tb_str
                # A Return is looked at by whoever takes it: once asked for, or when the block ends.
                for asked in (True, False):
                    try:
                        async with portal.open_context(child, started=None,
                                                       result='yo') as (ctx, first):
                            cid = ctx.cid
                            if asked:
                                await ctx.wait_for_result()
                    except coppice.MsgTypeError as error:
                        assert error.expected_msg_type == 'Return'
                        assert error.src_uid == coppice.current_actor().uid
                        assert (error.bad_msg.pld, error.cid) == ('yo', cid)
                        assert ctx.maybe_error is error
                    else:
                        raise AssertionError(asked)
                # One that was handled is not raised again when the block ends.
                async with portal.open_context(child, started=None, result='yo') as (ctx, first):
                    for _ in range(2):
                        try:
                            await ctx.wait_for_result()
                        except coppice.MsgTypeError:
                            pass
                        else:
                            raise AssertionError
                # Nothing is looked at where no type was declared.
                async with portal.open_context(untyped) as (ctx, first):
                    assert first == 10
                assert ctx.outcome == 'yo'
                await an.cancel()
        ''')


def test_each_direction_has_a_type_of_its_own(script):
    script('''
        import dataclasses
        import coppice

        @dataclasses.dataclass
        class Order:
            symbol: str
            lots: float = 1.0

        @dataclasses.dataclass
        class Fill:
            order: Order
            price: float

        @coppice.context
        async def trade(ctx: coppice.Context[Fill, Order, int, list[str]]):
            await ctx.started(7)
            done = []
            async with ctx.open_stream() as stream:
                async for order in stream:
                    assert type(order) is Order, order
                    done.append(order.symbol)
                    if order.symbol == 'BAD':
                        await stream.send({'order': {'symbol': 3}, 'price': 1})
                    else:
                        await stream.send(Fill(order, 3))
            return done

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('typed', enable_modules=[__name__])
                async with portal.open_context(trade) as (ctx, first):
                    assert first == 7
                    async with ctx.open_stream() as stream:
                        await stream.send(Order('A', 2))
                        assert await stream.receive() == Fill(Order('A', 2.0), 3.0)
                        await stream.send({'symbol': 'BAD'})
                        try:
                            await stream.receive()
                        except coppice.MsgTypeError as error:
                            assert error.expected_msg_type == 'Yield'
                            assert error.message == (
                                'Yield: expected str, got int at order.symbol'), error.message
                        else:
                            raise AssertionError
                        await stream.send(Order('C'))
                        assert (await stream.receive()).order.symbol == 'C'
                    assert await ctx.wait_for_result() == ['A', 'BAD', 'C']
                # What the callee refuses is its error, and relayed as such.
                try:
                    async with portal.open_context(trade) as (ctx, first):
                        async with ctx.open_stream() as stream:
                            await stream.send({'symbol': 3})
                            await stream.receive()
                except coppice.MsgTypeError as error:
                    assert error.src_uid == portal.uid
                    assert error.expected_msg_type == 'Yield' and error.cid == ctx.cid
                else:
                    raise AssertionError
                await an.cancel()
        ''')


def test_a_type_error_keeps_its_class_when_it_is_passed_on(script):
    script('''
        import coppice

        @coppice.context(pld_spec=int)
        async def leaf(ctx: coppice.Context):
            await ctx.started('no int')

        async def through():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('leaf', enable_modules=[__name__])
                async with portal.open_context(leaf):
                    pass

        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('mid', enable_modules=[__name__])
                try:
                    await portal.run(through)
                except coppice.MsgTypeError as error:
                    assert [name for name, _ in error.relay_path] == ['leaf', 'mid'], error.info
                    assert error.src_uid[0] == 'leaf'
                    assert error.bad_msg.pld == 'no int'
                else:
                    raise AssertionError
                await an.cancel()
        ''')


def test_what_travels_without_a_type(script):
    script('''
        import dataclasses, datetime, decimal, enum, uuid
        import coppice

        class Color(enum.Enum):
            RED = 'red'

        @dataclasses.dataclass
        class Leg:
            symbol: str

        def same(value): return value

        def everything():
            return [Leg('A'), Color.RED, {1}, (2,), decimal.Decimal('1.5'), uuid.UUID(int=1),
                    datetime.date(2026, 8, 1), datetime.timedelta(seconds=3)]

        async def main():
            now = datetime.datetime(2026, 8, 1, 12, 0, 0, 5, tzinfo=datetime.UTC)
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('plain', enable_modules=[__name__])
                assert await portal.run(same, value=now) == now
                assert await portal.run(everything) == [
                    {'symbol': 'A'}, 'red', [1], [2], '1.5',
                    '00000000-0000-0000-0000-000000000001', '2026-08-01', 'PT3S']
                try:
                    await portal.run(same, value=[Leg(1j)])
                except TypeError as error:
                    assert "a 'complex' at kwargs['value'][0]['symbol']" in str(error), error
                await an.cancel()
        ''')


EXT_TYPES = '''
        import datetime, decimal, enum, uuid
        import coppice
        from coppice import Context

        class Color(enum.Enum):
            RED = 'red'

        class Opaque: pass

        EXT = {'Color': (Color.RED, 'red'), 'UUID': (uuid.UUID(int=1), str(uuid.UUID(int=1))),
               'Decimal': (decimal.Decimal('1.50'), '1.50'),
               'date': (datetime.date(2026, 8, 1), '2026-08-01'),
               'timedelta': (datetime.timedelta(seconds=3), 'PT3S')}

        async def say(ctx, value, heard_as):
            """The same value in each message that has one."""
            await ctx.started(value)
            async with ctx.open_stream() as stream:
                heard = await stream.receive()
                assert (type(heard), heard) == (type(heard_as), heard_as), heard
                await stream.send(value)
            return value

        @coppice.context
        async def untyped(ctx: Context, name): return await say(ctx, *EXT[name])

        @coppice.context(pld_spec=Color)
        async def color(ctx: Context, name): return await say(ctx, *EXT[name][:1] * 2)

        @coppice.context(pld_spec=uuid.UUID)
        async def uuid_(ctx: Context, name): return await say(ctx, *EXT[name][:1] * 2)

        @coppice.context(pld_spec=decimal.Decimal)
        async def decimal_(ctx: Context, name): return await say(ctx, *EXT[name][:1] * 2)

        @coppice.context(pld_spec=datetime.date)
        async def date(ctx: Context, name): return await say(ctx, *EXT[name][:1] * 2)

        @coppice.context(pld_spec=datetime.timedelta)
        async def timedelta(ctx: Context, name): return await say(ctx, *EXT[name][:1] * 2)

        @coppice.context
        async def opaque(ctx: Context): await ctx.started([Opaque()])
'''


def test_ext_types_over_ipc(script):
    script(EXT_TYPES + '''
        async def main():
            async with coppice.open_nursery() as an:
                portal = await an.start_actor('ext', enable_modules=[__name__])
                typed = dict(zip(EXT, (color, uuid_, decimal_, date, timedelta), strict=True))
                for name, (value, text) in EXT.items():
                    for endpoint, expected in ((typed[name], value), (untyped, text)):
                        async with (portal.open_context(endpoint, name=name) as (ctx, first),
                                    ctx.open_stream() as stream):
                            await stream.send(value)
                            got = [first, await stream.receive(), await ctx.wait_for_result()]
                        assert got == [expected] * 3, got
                        assert {type(one) for one in got} == {type(expected)}
                # A spec that is not met, on either side.
                for name, sent in (('UUID', 'no uuid'), ('Decimal', 'nothing')):
                    try:
                        async with (portal.open_context(typed[name], name=name) as (ctx, _),
                                    ctx.open_stream() as stream):
                            await stream.send(sent)
                            await stream.receive()
                    except coppice.MsgTypeError as error:
                        assert error.src_uid == portal.uid and error.expected_msg_type == 'Yield'
                    else:
                        raise AssertionError(name)
                try:
                    async with portal.open_context(opaque):
                        raise AssertionError
                except coppice.RemoteActorError as error:
                    assert error.src_type is TypeError and 'Opaque' in error.message, error
                await an.cancel()
        ''')
