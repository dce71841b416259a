# SPDX-License-Identifier: Apache-2.0
"""One source of values, several tasks that each get all of them.

    async with stream.subscribe() as values:
        async for value in values: …

There is no task of ours: whoever finds nothing to take reads the source, for everybody. If that one
is cancelled, another that waits goes on reading.
"""
import sys
from _collections import deque

from coppice import _loop
from coppice._exceptions import ClosedResourceError, EndOfChannel, Lagged, WouldBlock, of_loop
from coppice._types import Any, Awaitable, Callable, Self

BUFFER_MAX = 1024  # Values that are kept for the slowest.
TURNS = 128        # Values that a receiver takes before it lets others run.


class _Shared:
    """The source and what was read of it and not yet taken by everybody."""
    __slots__ = ('adapter', 'read', 'read_nowait', 'size', 'kept', 'end', 'receivers', 'reader',
                 'news')

    def __init__(self, adapter: _loop.Adapter, read: Callable[[], Awaitable[Any]],
                 read_nowait: Callable[[], Any] | None, size: int) -> None:
        self.adapter = adapter
        self.read = read
        self.read_nowait = read_nowait
        self.size = size
        self.kept: deque[Any] = deque()
        self.end = 0  # Values that were read, ever: the number of the next one.
        self.receivers: set[BroadcastReceiver] = set()
        self.reader: BroadcastReceiver | None = None  # Who is reading the source.
        self.news = adapter.new_event()

    @property
    def begin(self) -> int:
        """The number of the oldest value that is kept."""
        return self.end - len(self.kept)

    def add(self, value: Any) -> None:
        if len(self.kept) == self.size:
            self.kept.popleft()  # Whoever has not taken it lags.
        self.kept.append(value)
        self.end += 1

    def drop_taken(self) -> None:
        """What everybody has taken is not kept."""
        least = min((one._at for one in self.receivers), default=self.end)
        while self.kept and self.begin < least:
            self.kept.popleft()


class BroadcastReceiver:
    """One subscription: every value of the source that is read from now on.

    At most `max_buffer_size` values are kept for the slowest. One that has fallen further behind is
    told how many it missed by Lagged, once, and goes on with the oldest that is kept; with
    raise_on_lag=False by a RuntimeWarning. The source's errors and its end come to everybody.
    """
    __slots__ = ('_shared', '_at', '_raises', '_closed', '_scope', '_turns')

    def __init__(self, shared: _Shared, raise_on_lag: bool) -> None:
        self._shared = shared
        self._at = shared.end  # The number of the value that it takes next.
        self._raises = raise_on_lag
        self._closed = False
        self._scope: _loop.Scope | None = None  # Around its reading of the source.
        self._turns = TURNS
        shared.receivers.add(self)

    def subscribe(self, raise_on_lag: bool = True) -> BroadcastReceiver:
        """Another one, from here on; it ends with its block: `async with receiver.subscribe()`."""
        self._check_open()
        return BroadcastReceiver(self._shared, raise_on_lag)

    async def receive(self) -> Any:
        """The next value."""
        shared = self._shared
        if self._turns <= 0:
            self._turns = TURNS
            await shared.adapter.checkpoint()
        self._turns -= 1
        while True:
            self._check_open()
            if self._at < shared.end:
                self._catch_up()
                return self._take()
            self._turns = TURNS
            if shared.reader is None:
                await self._read()
            else:
                shared.news.clear()
                await shared.news.wait()

    def receive_nowait(self) -> Any:
        """The next value, if it is there; else WouldBlock."""
        self._check_open()
        shared = self._shared
        if self._at == shared.end:
            if shared.reader is not None or shared.read_nowait is None:
                raise of_loop(WouldBlock, shared.adapter.name)('no value has arrived')
            shared.add(shared.read_nowait())
        self._catch_up()
        return self._take()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        try:
            return await self.receive()
        except Exception as error:
            if _is_end(error) or self._closed and isinstance(error, ClosedResourceError):
                raise StopAsyncIteration from None
            raise

    async def aclose(self) -> None:
        """It takes no more; a task that waits in it is told. A second time: nothing."""
        if self._closed:
            return
        self._closed = True
        self._shared.receivers.discard(self)
        self._shared.drop_taken()
        if self._scope is not None:
            self._scope.cancel()
        self._shared.news.set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    # --- inside ----------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if self._closed:
            raise of_loop(ClosedResourceError, self._shared.adapter.name)(
                'this subscription was closed')

    def _catch_up(self) -> None:
        missed = self._shared.begin - self._at
        if missed <= 0:
            return
        self._at += missed
        text = (f'{missed} values were dropped before this subscription took them: take faster, or '
                'keep more (max_buffer_size)')
        if self._raises:
            raise Lagged(text, missed)
        import warnings

        warnings.warn(text, RuntimeWarning, stacklevel=3)

    def _take(self) -> Any:
        shared = self._shared
        first = self._at == shared.begin
        value = shared.kept[self._at - shared.begin]
        self._at += 1
        if first:
            shared.drop_taken()
        return value

    async def _read(self) -> None:
        """One value, for everybody; or the source's error, for us: others ask it themselves."""
        shared = self._shared
        shared.reader = self
        scope = self._scope = shared.adapter.open_scope()
        raised: BaseException | None = None
        try:
            shared.add(await shared.read())
        except BaseException as error:
            raised = error
        # Before anything that waits: whoever waits for us may have its value, or read on.
        self._scope = None
        shared.reader = None
        shared.news.set()
        left = await scope.close(raised)
        if left is not None:
            raise left


def broadcast_receiver(source: Any, max_buffer_size: int = BUFFER_MAX,
                       raise_on_lag: bool = True) -> BroadcastReceiver:
    """The first subscription to a source, which is not to be read by any other way from then on:
    something with a `receive()`, or a coroutine function that gives one value.

        async with coppice.broadcast_receiver(source) as first, first.subscribe() as second: …
    """
    read = getattr(source, 'receive', source)
    if not callable(read):
        raise TypeError(f'{source!r} has no receive()')
    return share(_loop.require(), read, getattr(source, 'receive_nowait', None), max_buffer_size,
                 raise_on_lag)


def share(adapter: _loop.Adapter, read: Callable[[], Awaitable[Any]],
          read_nowait: Callable[[], Any] | None, size: int, raise_on_lag: bool
          ) -> BroadcastReceiver:
    if size < 1:
        raise ValueError(f'max_buffer_size={size}: one value has to be kept, at least')
    return BroadcastReceiver(_Shared(adapter, read, read_nowait, size), raise_on_lag)


def _is_end(error: Exception) -> bool:
    trio = sys.modules.get('trio')
    return isinstance(error, EndOfChannel) or trio is not None and isinstance(
        error, trio.EndOfChannel)
