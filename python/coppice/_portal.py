# SPDX-License-Identifier: Apache-2.0
"""Calls to another actor."""
from coppice import _loop
from coppice._exceptions import (ActorDied, CallStuck, ContextCancelled, RemoteActorError,
                                 TransportClosed)
from coppice._native import native
from coppice._policy import ExitReport
from coppice._spawn import wire_module
from coppice._types import (AbstractAsyncContextManager, Any, Callable, Coroutine, Link, Mapping,
                            Protocol, Uid)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import AsyncIterator, Concatenate, overload

    from coppice._context import Context
    from coppice._stream import MsgStream

CANCEL_WITHIN = 0.5  # Seconds that a cancelled call has to end in the other actor.

# What code raises that unwinds because it was cancelled: no news to whoever cancelled it.
_UNWOUND = ('ContextCancelled', 'CancelledError', 'Cancelled', 'Interrupted')


class Supervised(Protocol):
    """An actor that this one started: coppice._nursery has it."""
    stopping: bool  # Somebody asked it to end.
    start_method: str
    start_reason: str

    @property
    def uid(self) -> Uid: ...
    def live_link(self) -> Link:
        """The link to it. Raises ActorDied if it has ended: portals that outlive their actor hold
        nothing of it."""
    async def stop(self, seconds: float | None) -> ExitReport: ...


class Channel:
    """What tractor's programs ask of a portal's channel: whom it leads to."""
    __slots__ = ('_portal',)

    def __init__(self, portal: Portal) -> None:
        self._portal = portal

    @property
    def uid(self) -> Uid:
        return self._portal.uid

    def connected(self) -> bool:
        return self._portal.is_alive()


class Portal:
    """A handle to another actor. It may outlive the actor: calls then raise ActorDied at once.

        portal = await an.start_actor('doubler', enable_modules=[__name__])
        assert await portal.run(double, x=21) == 42
    """
    __slots__ = ('_link', '_child', '_uid', '__weakref__')

    def __init__(self, link: Link | None, child: Supervised | None = None) -> None:
        """To a child of this actor, or over a link to any other one."""
        self._link = link
        self._child = child
        if child is not None:
            self._uid = child.uid
        else:
            assert link is not None
            self._uid = link.peer

    @property
    def uid(self) -> Uid:
        """(name, uuid) of the actor at the other end."""
        return self._uid

    @property
    def chan(self) -> Channel:
        return Channel(self)

    channel = chan

    @property
    def start_method(self) -> str:
        """The backend that runs the actor; '' if it is not a child of this one."""
        return self._child.start_method if self._child is not None else ''

    @property
    def start_reason(self) -> str:
        """Why it is that one: what 'auto' found out, or that it was asked for."""
        return self._child.start_reason if self._child is not None else ''

    def is_alive(self) -> bool:
        """False once the actor is known to have ended. True promises nothing."""
        try:
            self._live_link()
        except ActorDied:
            return False
        return True

    def is_ending(self) -> bool:
        """Has somebody here asked the actor to end? Its nursery then waits for everything in it."""
        return self._child is not None and self._child.stopping

    def link_to_other(self) -> Link:
        """The link for a dialog, which an actor cannot have with itself: on the wire its two sides
        would have one name."""
        if self._uid == native.self_uid():
            raise RuntimeError(f'Invalid Operation: actor {self._uid[0]!r} cannot open a context '
                               'or a stream with itself')
        return self._live_link()

    def _live_link(self) -> Link:
        if self._child is not None:
            return self._child.live_link()
        if self._link is None:
            raise ActorDied(f'the portal to {self._uid[0]!r} was used after its block',
                            uid=self._uid)
        return self._link

    def disconnect(self) -> None:
        """The connection belongs to a block, which was left: whoever keeps this, an error in whose
        traceback it stands for one, does not keep that."""
        self._link = None

    def __repr__(self) -> str:
        name, uuid = self.uid
        how = f' by {self.start_method}' if self.start_method else ''
        return f'<Portal to {name!r} ({uuid[:8]}){how}>'

    if TYPE_CHECKING:
        @overload
        async def run[**P, R](self, func: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args,
                              **kwargs: P.kwargs) -> R: ...
        @overload
        async def run[**P, R](self, func: Callable[P, R], /, *args: P.args,
                              **kwargs: P.kwargs) -> R: ...
        @overload
        async def run(self, func: str, fn_name: str | None = None, /, **kwargs: Any) -> Any: ...

    async def run(self, func: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Calls a function in the other actor and waits for its result.

        The function is named by reference, by 'module:function', or as tractor does by two strings;
        its module has to be among the actor's `enable_modules`. Only named arguments travel:
        positional ones, after a reference, get the names of its parameters.

        Raises RemoteActorError with whatever the function raised, ActorDied if the actor has ended
        or ends meanwhile, TypeError if an argument cannot travel. Cancelling the wait cancels the
        call there, and waits for its end (0.5 s at most, then CallStuck).
        """
        ns, name, kwargs = named('portal.run', func, args, kwargs)
        return await self._request(ns, name, kwargs)

    if TYPE_CHECKING:
        @overload
        def open_context[S, V, F, T, **P, R](
            self, func: Callable[Concatenate[Context[S, V, F, T], P], Coroutine[Any, Any, R]], /,
            *args: P.args, **kwargs: P.kwargs
        ) -> AbstractAsyncContextManager[tuple[Context[V, S, F, R], F]]: ...
        @overload
        def open_context(self, func: Any, /, *args: Any, allow_overruns: bool = False,
                         **kwargs: Any
                         ) -> AbstractAsyncContextManager[tuple[Context, Any]]: ...

    def open_context(self, func: Any, /, *args: Any, allow_overruns: bool = False,
                     **kwargs: Any) -> AbstractAsyncContextManager[tuple[Context, Any]]:
        """Starts a function that `@coppice.context` marks as a task in the other actor, linked to
        the block that this opens:

            async with portal.open_context(trade, symbol='EURUSD') as (ctx, first):
                …

        The block begins when the callee has called `ctx.started(first)`, and when it is left, the
        callee has ended. Left normally, it waits for that. If the body raises or is cancelled, the
        callee is cancelled (0.616 s at most, then CallStuck or a note says that it goes on), and
        the body's error is raised. If the callee fails, or is cancelled by whomever but us, the
        body is cancelled and the block raises what happened to the callee. Functions are named as
        for run().
        """
        from coppice._context import ContextBlock

        ns, name, kwargs = named('portal.open_context', func, args, kwargs)
        return ContextBlock(self, ns, name, kwargs, allow_overruns,
                            getattr(func, '_coppice_endpoint', None))

    if TYPE_CHECKING:
        @overload
        def open_stream_from[**P, R](
            self, func: Callable[P, AsyncIterator[R]], /, *args: P.args, **kwargs: P.kwargs
        ) -> AbstractAsyncContextManager[MsgStream[Any, R]]: ...
        @overload
        def open_stream_from(self, func: Any, /, *args: Any, **kwargs: Any
                             ) -> AbstractAsyncContextManager[MsgStream]: ...

    def open_stream_from(self, func: Any, /, *args: Any,
                         **kwargs: Any) -> AbstractAsyncContextManager[MsgStream]:
        """The block of a one-way stream, of what an async generator in the other actor yields:

            async with portal.open_stream_from(ticks, symbol='EURUSD') as stream:
                async for tick in stream: …

        The generator waits for the consumer when that has not taken 4096 values or 2 MiB. When the
        block is left, it is cancelled and has ended.
        """
        from coppice._stream import GeneratorBlock

        ns, name, kwargs = named('portal.open_stream_from', func, args, kwargs)
        return GeneratorBlock(self, ns, name, kwargs)

    async def run_from_ns(self, ns: str, function_name: str, /, **kwargs: Any) -> Any:
        """Calls `function_name` of module `ns` in the other actor; 'self' is its runtime."""
        return await self._request(wire_module(ns), function_name, kwargs)

    async def cancel_actor(self, timeout: float | None = None) -> ExitReport:
        """Stops the actor, up the ladder of its StopPolicy, within `timeout` seconds if given, and
        returns how it ended, which is true, once nothing of it is left.

        An actor that is no child of this one can only be asked: TimeoutError if it does not say
        within `timeout` (0.5 s) that its tasks have ended.
        """
        if self._child is not None:
            return await self._child.stop(timeout)
        adapter = _loop.require()
        token = adapter.new_wait()
        request = native.call(self._live_link(), 'self', 'cancel', {}, token)
        seconds = CANCEL_WITHIN if timeout is None else timeout
        await token.wait_shielded(seconds)
        if not token.settled:
            native.forget_call(request)
            raise TimeoutError(f'actor {self.uid[0]!r} was asked to end, and did not within '
                               f'{seconds:g} s: only the actor that started it can do more')
        if token.error is not None and not isinstance(token.error,
                                                      (TransportClosed, ContextCancelled)):
            raise token.error
        return ExitReport('asked', 'returned', text='asked to end')

    async def _request(self, ns: str, name: str, kwargs: Mapping[str, Any]) -> Any:
        adapter = _loop.require()
        child = self._child
        token = adapter.new_wait()
        request = native.call(self._live_link(), ns, name, kwargs, token)
        try:
            return await token.wait()
        except adapter.cancelled as cancelled:
            # What had come before we were cancelled is the outcome of the call. What comes after it
            # is, most often, only what our own cancelling led to.
            expected: tuple[type[BaseException], ...] = (ContextCancelled,)
            if not token.settled:
                expected = (ContextCancelled, TransportClosed)
                if child is not None and child.stopping:
                    native.forget_call(request)  # All of it unwinds; its nursery waits for it.
                else:
                    await self._end_call(request, token, f'{ns}:{name}', cancelled)
            error = token.error
            if error is not None and not isinstance(error, expected) and not was_unwound(error):
                raise self._mark(error)
            raise
        except TransportClosed as error:
            self._mark(error)
            raise

    async def _end_call(self, request: int, token: _loop.Wait, what: str,
                        cancelled: BaseException) -> None:
        native.cancel_call(request)
        try:
            await token.wait_shielded(CANCEL_WITHIN)
        except type(cancelled):
            pass  # Once more: the first one is about to be raised.
        if token.settled:
            return
        native.forget_call(request)
        if self._child is not None and self._child.stopping:
            return
        stuck = CallStuck(f'{what} in actor {self.uid[0]!r} was cancelled and did not end within '
                          f'{CANCEL_WITHIN:g} s: the actor goes on, portal.cancel_actor() stops it')
        stuck.uid = self.uid
        stuck.cancelled = cancelled
        raise stuck from cancelled

    def _mark(self, error: BaseException) -> BaseException:
        if isinstance(error, TransportClosed) and error.uid is None:
            error.uid = self.uid
        return error


def was_unwound(error: BaseException) -> bool:
    """Is it what code raises that unwinds because it was cancelled?"""
    return isinstance(error, RemoteActorError) and error.src_type_str in _UNWOUND


def named(method: str, func: Any, args: tuple[Any, ...],
           kwargs: dict[str, Any]) -> tuple[str, str, dict[str, Any]]:
    """The module and name of a function, and all its arguments by name."""
    if isinstance(func, str):
        return *_parse_name(method, func, args), kwargs
    ns, name = _reference(method, func)
    return ns, name, _bind(func, args, kwargs) if args else kwargs


def _parse_name(method: str, func: str, args: tuple[Any, ...]) -> tuple[str, str]:
    if len(args) == 1 and isinstance(args[0], str) and ':' not in func:
        return wire_module(func), args[0]
    ns, colon, name = func.partition(':')
    if not colon or not ns or not name or ':' in name:
        raise ValueError(f"{method}({func!r}): a function's name is written "
                         "'module:function'")
    if args:
        raise TypeError(f'{method}({func!r}) takes named arguments only: only the other '
                        'actor knows what the parameters are called')
    return wire_module(ns), name


def _reference(method: str, func: Any) -> tuple[str, str]:
    name = getattr(func, '__name__', None)
    module = getattr(func, '__module__', None)
    if not callable(func) or not isinstance(name, str) or not isinstance(module, str):
        raise TypeError(f"{method}() takes a function or 'module:function', not {func!r}")
    full_name = getattr(func, '__qualname__', name)
    if full_name != name or not name.isidentifier():
        raise TypeError(f'{method}() cannot name {full_name} there: the other actor looks '
                        'functions up at the top level of a module')
    return wire_module(module), name


def _bind(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """All arguments by name, positional ones by those of the function's parameters."""
    code = getattr(func, '__code__', None)
    if code is None or hasattr(func, '__wrapped__') or hasattr(func, '__signature__'):
        import inspect  # Slow to import, and rarely needed: decorated functions, classes, partials.

        parameters = list(inspect.signature(func).parameters.values())
        names = [one.name for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD]
        unnamed = any(one.kind is one.POSITIONAL_ONLY for one in parameters)
    else:
        names = list(code.co_varnames[:code.co_argcount])
        unnamed = code.co_posonlyargcount > 0
    endpoint = getattr(func, '_coppice_endpoint', None)
    if endpoint is not None and endpoint.parameter in names:
        names.remove(endpoint.parameter)  # The callee's runtime gives that one.
    if unnamed:
        raise TypeError(f'{func.__name__}() has parameters that take no name, before the /: only '
                        'named arguments travel')
    if len(args) > len(names):
        raise TypeError(f'{func.__name__}() has {len(names)} parameters with a name, and '
                        f'{len(args)} arguments were given by position: only named ones travel')
    bound = dict(zip(names, args))
    twice = bound.keys() & kwargs.keys()
    if twice:
        raise TypeError(f'{func.__name__}() got {", ".join(sorted(twice))} twice: by position '
                        'and by name')
    return bound | kwargs
