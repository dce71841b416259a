# SPDX-License-Identifier: Apache-2.0
"""Streams: two-way ones of contexts, and one-way ones out of async generators.

What has arrived lies in the actor's port, not here: a value that is there is taken without waiting,
and who waits is woken once for as many as come.
"""
from coppice import _loop
from coppice._context import Context
from coppice._exceptions import (ClosedResourceError, ContextCancelled, EndOfChannel,
                                 RemoteActorError, RuntimeFailure, StreamOverrun, TransportClosed,
                                 WouldBlock, of_loop)
from coppice._native import native
from coppice._types import Any, AsyncGenerator, Coroutine, Mapping, Self, TracebackType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Generic, TypeVar

    from coppice._broadcast import BroadcastReceiver
    from coppice._portal import Portal

    SendT = TypeVar('SendT', default=Any)
    RecvT = TypeVar('RecvT', default=Any)

    class _Parameters(Generic[SendT, RecvT]):
        pass
else:
    class _Parameters:  # typing.Generic without the cost of importing typing.
        __slots__ = ()
        __class_getitem__ = classmethod(type(list[int]))

# Seconds that send() waits for a side that has not opened its stream and may never do so.
OPENED_WITHIN = 0.5
# Values that pass before the task lets others run, though it could go on: a sender or receiver that
# always can would keep its whole actor from everything else, being cancelled among it.
TURNS = 128

SENT, FULL, STOPPED, OVER = range(4)  # What native.send() says.


class MsgStream(_Parameters):
    """This side of a stream, made by `ctx.open_stream()` or `portal.open_stream_from()`.

        await stream.send(order)
        async for fill in stream: …

    Any number of tasks may send and receive; each value goes to one of them.
    """
    __slots__ = ('_ctx', '_id', '_adapter', '_gone', '_turns', '_closed', '_shared', 'reader',
                 '__weakref__')

    def __init__(self, ctx: Context, adapter: _loop.Adapter) -> None:
        self._ctx = ctx
        self._id = ctx._id
        self._adapter = adapter
        self._gone: BaseException | None = None  # What receive() raises from now on.
        self._turns = TURNS
        self._closed = False
        self._shared: BroadcastReceiver | None = None  # Of this object itself, once it is shared.
        self.reader: Any = None  # The task that waited for a value last.

    @property
    def ctx(self) -> Context:
        return self._ctx

    @property
    def chan(self) -> Any:
        return self._ctx.chan

    @property
    def closed(self) -> bool:
        """Has this side closed it, or taken its end?"""
        return self._closed or self._gone is not None

    def __repr__(self) -> str:
        return f'<MsgStream {"closed" if self.closed else "open"} of {self._ctx!r}>'

    async def send(self, value: Any) -> None:
        """Sends a value. Waits while the other side has no room for it.

        Raises the error that the other side ended with, and ClosedResourceError or EndOfChannel
        after this side's end of the stream. If the other side does not read because it has not
        opened its stream, and does not within half a second, StreamOverrun.
        """
        if self._gone is not None or self._ctx._remote_error is not None:
            raise self._sticky()
        if self._turns <= 0:
            await self._let_others_run()
        self._turns -= 1
        how = native.send(self._id, value)
        if how:
            await self._send_later(how, value)

    async def receive(self) -> Any:
        """The next value. Raises EndOfChannel when the other side sends no more, from then on; the
        error that it ended with; ClosedResourceError once this side has closed the stream."""
        if self._shared is not None:
            return await self._shared.receive()
        if self._gone is not None:
            raise self._gone
        if self._turns <= 0:
            await self._let_others_run()
        self._turns -= 1
        value = native.take(self._id)
        if value is Ellipsis or value is NotImplemented:
            value = await self._wait_for_value(value)
        checks = self._ctx._checks
        return value if checks is None else checks.received(self._ctx.cid, value)

    def receive_nowait(self) -> Any:
        """The next value, if it is there; else WouldBlock. Ends as receive() does."""
        return (self._receive_nowait() if self._shared is None
                else self._shared.receive_nowait())

    def _receive_nowait(self) -> Any:
        if self._gone is not None:
            raise self._gone
        value = native.take(self._id)
        if value is Ellipsis:
            raise of_loop(WouldBlock, self._adapter.name)('no value has arrived')
        if value is NotImplemented:
            ctx = self._ctx
            if not ctx._ended and self._is_over():  # The reason is about to be delivered.
                raise of_loop(WouldBlock, self._adapter.name)('the end is about to arrive')
            raise self._end()
        checks = self._ctx._checks
        return value if checks is None else checks.received(self._ctx.cid, value)

    def subscribe(self, raise_on_lag: bool = True,
                  max_buffer_size: int = 1024) -> BroadcastReceiver:
        """Every value that comes from now on, beside whoever takes them too:

            async with stream.subscribe() as values:
                async for value in values: …

        From the first call on this object is one subscription among others, for good: what its own
        receive() does not take is kept for it, `max_buffer_size` values at most (the first call
        decides), and then it lags.
        """
        from coppice._broadcast import share

        if self._gone is not None or self._closed:
            raise of_loop(ClosedResourceError, self._adapter.name)(
                'a stream that was closed cannot be subscribed to')
        if self._shared is None:
            self._shared = share(self._adapter, self._receive, self._receive_nowait,
                                 max_buffer_size, raise_on_lag)
        return self._shared.subscribe(raise_on_lag)

    async def _receive(self) -> Any:
        """receive() as the one who reads for all subscriptions: they let others run themselves."""
        if self._gone is not None:
            raise self._gone
        value = native.take(self._id)
        if value is Ellipsis or value is NotImplemented:
            value = await self._wait_for_value(value)
        checks = self._ctx._checks
        return value if checks is None else checks.received(self._ctx.cid, value)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        if (self._gone is None and self._turns > 0 and self._shared is None
                and self._ctx._checks is None):
            value = native.take(self._id)
            if value is not Ellipsis and value is not NotImplemented:
                self._turns -= 1
                return value
        try:
            return await self.receive()
        except (EndOfChannel, ClosedResourceError) as end:
            if end is self._gone:
                raise StopAsyncIteration from None
            raise

    async def aclose(self) -> None:
        """This side sends no more, and reads no more. A second time: nothing."""
        if self._closed:
            return
        self._closed = True
        native.stop_stream(self._id)
        if self._gone is None:
            self.shut()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    # --- inside ----------------------------------------------------------------------------------

    def shut(self) -> None:
        """Whoever uses it from now on, or waits, is told that it is closed."""
        self._closed = True
        if self._gone is None:
            self._gone = of_loop(ClosedResourceError, self._adapter.name)(
                'this side of the stream was closed')
        for event in (self._ctx._readable, self._ctx._writable):
            if event is not None:
                event.set()

    def _sticky(self) -> BaseException:
        remote = self._ctx._remote_error
        if remote is not None:
            return remote
        assert self._gone is not None
        return self._gone

    async def _let_others_run(self) -> None:
        await self._adapter.checkpoint()
        self._turns = TURNS

    def _is_over(self) -> bool:
        look = native.look_at_dialog(self._id)
        return look is None or look[1]

    def _end(self) -> BaseException:
        """What receive() raises when no value will come any more."""
        ctx = self._ctx
        if ctx._remote_error is not None:
            self._gone = ctx._remote_error
        elif ctx.side == 'child' and self._is_over():
            self._gone = TransportClosed(f'the connection to actor {ctx._peer[0]!r} is gone')
            self._gone.uid = ctx._peer
        else:
            self._gone = of_loop(EndOfChannel, self._adapter.name)(
                f'{ctx._peer[0]!r} sends no more')
        return self._gone

    async def _wait_for_value(self, value: Any) -> Any:
        ctx = self._ctx
        adapter = self._adapter
        event = ctx._readable
        if event is None:
            event = ctx._readable = adapter.new_event()
        task = self.reader = adapter.current_task()
        ctx._begin_wait(task)
        try:
            while value is Ellipsis:
                event.clear()
                await event.wait()
                if self._gone is not None:
                    event.set()  # For whoever waits beside us.
                    raise self._gone
                value = native.take(self._id)
            if value is NotImplemented:
                if ctx.side == 'parent' and self._is_over():
                    await ctx._wait_news(adapter, lambda: ctx._ended)
                event.set()
                raise self._end()
        finally:
            self._turns = TURNS
            ctx._end_wait(task)
        return value

    async def _send_later(self, how: int, value: Any) -> None:
        ctx = self._ctx
        adapter = self._adapter
        while how == FULL:
            event = ctx._writable
            if event is None:
                event = ctx._writable = adapter.new_event()
            event.clear()
            if ctx._stream is not self or native.peer_opened(self._id):
                await event.wait()
            else:
                await self._wait_to_be_opened(event)
            self._turns = TURNS
            if self._gone is not None or ctx._remote_error is not None:
                raise self._sticky()
            how = native.send(self._id, value)
        if how == SENT:
            return
        if how == STOPPED:
            raise self._end() if self._gone is None else self._gone
        # Over. A value that meets a callee which has returned is dropped, as if it had crossed the
        # result: how far this side has heard must not decide whether it is an error.
        if ctx.side == 'parent':
            await ctx._wait_news(adapter, lambda: ctx._ended)
            if ctx._remote_error is not None:
                raise ctx._remote_error
        else:
            raise self._end()

    async def _wait_to_be_opened(self, event: _loop.Event) -> None:
        adapter = self._adapter
        scope = adapter.open_scope(deadline=adapter.current_time() + OPENED_WITHIN)
        raised: BaseException | None = None
        try:
            await event.wait()
        except BaseException as error:
            raised = error
        left = await scope.close(raised)
        if left is not None:
            raise left
        if raised is not None and not native.peer_opened(self._id):
            raise self._overrun()

    def _overrun(self) -> StreamOverrun:
        peer = self._ctx._peer
        text = (f'actor {peer[0]!r} has not opened its side of the stream, and has no room for '
                f'more values; {OPENED_WITHIN:g} s were waited for that')
        return StreamOverrun({'type': 'StreamOverrun', 'source_type': 'StreamOverrun',
                              'message': text, 'traceback': text, 'source': peer, 'path': [peer],
                              'members': [], 'sender': native.self_uid()})


class StreamBlock:
    """The `async with` of Context.open_stream()."""
    __slots__ = ('_ctx', '_allow_overruns', '_messages', '_stream')

    def __init__(self, ctx: Context, allow_overruns: bool, messages: int | None) -> None:
        self._ctx = ctx
        self._allow_overruns = allow_overruns
        self._messages = messages
        self._stream: MsgStream | None = None

    async def __aenter__(self) -> MsgStream:
        ctx = self._ctx
        adapter = _loop.require()
        if ctx._remote_error is not None:
            raise ctx._remote_error
        if ctx.cancel_called:
            raise RuntimeError('a stream cannot be opened after Context.cancel()')
        if not ctx._is_started:
            raise RuntimeError('Context.started() must be called before a stream is opened')
        if ctx._stream is not None or ctx._ended and not native.look_at_dialog(ctx._id):
            raise of_loop(ClosedResourceError, adapter.name)(
                'the stream of a context can be opened once, as long as its block is not left')
        stream = self._stream = MsgStream(ctx, adapter)
        native.open_stream(ctx._id, self._messages, self._allow_overruns)
        ctx._stream = stream
        return stream

    async def __aexit__(self, kind: type[BaseException] | None, raised: BaseException | None,
                        traceback: TracebackType | None) -> bool:
        stream = self._stream
        assert stream is not None
        end = stream._gone
        await stream.aclose()
        return raised is not None and raised is end and isinstance(raised, EndOfChannel)


# --- one-way streams -----------------------------------------------------------------------------

class GeneratorBlock:
    """The `async with` of Portal.open_stream_from()."""
    __slots__ = ('_portal', '_ns', '_func', '_kwargs', '_stream')

    def __init__(self, portal: Portal, ns: str, func: str, kwargs: Mapping[str, Any]) -> None:
        self._portal = portal
        self._ns = ns
        self._func = func
        self._kwargs = kwargs
        self._stream: MsgStream | None = None

    async def __aenter__(self) -> MsgStream:
        if self._stream is not None:
            raise RuntimeFailure('this stream was opened before: call open_stream_from() again')
        portal = self._portal
        ctx = Context('parent', portal.uid, f'{self._ns}:{self._func}', portal)
        ctx._adapter = adapter = _loop.require()
        ctx._id = native.open_dialog(portal.link_to_other(), self._ns, self._func, self._kwargs,
                                     ctx, 'asyncgen')
        ctx._is_started = True
        self._stream = MsgStream(ctx, adapter)
        return self._stream

    async def __aexit__(self, kind: type[BaseException] | None, raised: BaseException | None,
                        traceback: TracebackType | None) -> bool:
        stream = self._stream
        assert stream is not None
        ctx = stream._ctx
        adapter = stream._adapter
        if isinstance(raised, GeneratorExit) and not adapter.is_here():
            ctx._abandon()
            return False
        end = stream._gone
        # What it failed with before we asked it to end, and nobody has seen yet, is news.
        news = ctx._remote_error if ctx._ended and not stream.closed else None
        await stream.aclose()
        native.cancel_call(ctx._id)  # Even if it has ended: tractor's consumers do.
        try:
            await ctx._end_callee(adapter, raised)
        finally:
            ctx._release()
        if raised is not None:
            return raised is end and isinstance(raised, EndOfChannel)
        late = ctx._remote_error
        if news is None and isinstance(late, RemoteActorError) and late is not end and not (
                isinstance(late, ContextCancelled)):
            news = late  # Its cleanup failed.
        if news is not None:
            raise news
        return False


class Feed:
    """What a served async generator is told of its dialog."""
    __slots__ = ('id', 'room')

    def __init__(self, dialog: int) -> None:
        self.id = dialog
        self.room: _loop.Event | None = None

    def on_dialog(self, what: str, value: Any) -> None:
        if what == 'writable' and self.room is not None:
            self.room.set()

    async def wait_for_room(self, adapter: _loop.Adapter) -> None:
        if self.room is None:
            self.room = adapter.new_event()
        self.room.clear()
        await self.room.wait()


def serve_generator(generator: AsyncGenerator[Any, None], call_id: int
                    ) -> tuple[Coroutine[Any, Any, None], Feed, str]:
    """Called by the native half for an endpoint that returned an async generator."""
    feed = Feed(call_id)
    served = _serve_generator(generator, feed)
    served.__qualname__ = generator.__qualname__
    return served, feed, 'asyncgen'


async def _serve_generator(generator: AsyncGenerator[Any, None], feed: Feed) -> None:
    adapter = _loop.require()
    turns = TURNS
    try:
        async for value in generator:
            turns -= 1
            if turns <= 0:
                turns = TURNS
                await adapter.checkpoint()
            while (how := native.send(feed.id, value)) == FULL:
                await feed.wait_for_room(adapter)
                turns = TURNS
            if how != SENT:
                break  # Its consumer is gone.
    finally:
        await generator.aclose()


async def send_from_generator(ctx: Context, value: Any) -> None:
    """Context.send_yield()."""
    adapter = ctx._require()
    while native.send(ctx._id, value) == FULL:
        event = ctx._writable
        if event is None:
            event = ctx._writable = adapter.new_event()
        event.clear()
        await event.wait()
