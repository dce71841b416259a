# SPDX-License-Identifier: Apache-2.0
"""The callee's side of dialogs: functions that are marked as contexts or streams, and their tasks.
"""
from coppice import _loop
from coppice._context import Context, collapsed, set_current
from coppice._exceptions import ClosedResourceError, ContextCancelled, EndOfChannel
from coppice._native import native
from coppice._types import Any, Callable, Coroutine, Mapping, Uid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import overload

    from coppice._typed import Checks

_COROUTINE = 0x80  # inspect.CO_COROUTINE


class Endpoint:
    """What @context and @stream leave at a function, for the native half to find."""
    __slots__ = ('kind', 'parameter', 'annotation', 'pld_spec', '_function', '_checks')

    def __init__(self, kind: str, parameter: str, annotation: Any, pld_spec: Any,
                 function: Any = None) -> None:
        self.kind = kind
        self.parameter = parameter
        self.annotation = annotation  # Context, or Context[…] with the types of its payloads.
        self.pld_spec = pld_spec      # One type for all that has none there; None: any.
        self._function = function     # Whose names the annotation uses.
        self._checks: dict[str, Checks | None] | None = None

    def checks(self, side: str) -> Checks | None:
        """Of the payloads that this side of such a context sends and takes; None if any will do."""
        if self._checks is None:
            if self.pld_spec is None and self.annotation is Context:
                return None  # The usual case: nothing is imported for it.
            from coppice._typed import checks_of

            self._checks = checks_of(self._types(), self.pld_spec)
        return self._checks[side]

    def _types(self) -> tuple[Any, ...]:
        """The parameters of the annotation, with its names resolved."""
        annotation = self.annotation
        if annotation is not Context:
            from typing import get_type_hints

            annotation = get_type_hints(self._function, include_extras=True)[self.parameter]
        for one in (annotation, *getattr(annotation, '__args__', ())):
            if getattr(one, '__origin__', None) is Context:
                return tuple(one.__args__)
        return ()


if TYPE_CHECKING:
    @overload
    def context[F: Callable[..., Coroutine[Any, Any, Any]]](function: F, /) -> F: ...
    @overload
    def context[F: Callable[..., Coroutine[Any, Any, Any]]](
        function: None = None, /, *, pld_spec: Any = None) -> Callable[[F], F]: ...


def context(function: Any = None, /, *, pld_spec: Any = None) -> Any:
    """Marks an `async def` function as one that is opened as a context.

        @coppice.context
        async def trade(ctx: coppice.Context, symbol: str):
            await ctx.started('ready')
            async with ctx.open_stream() as stream:
                async for order in stream: …
            return 'done'

    One parameter, of any name, is annotated with Context.
    """
    if function is None:
        return lambda function: context(function, pld_spec=pld_spec)
    _check_async(function, 'context')
    for name, annotation in _annotations(function).items():
        if name != 'return' and _is_context(annotation, function):
            function._coppice_endpoint = Endpoint('context', name, annotation, pld_spec, function)
            return function
    raise TypeError(f'{function.__qualname__}() is marked as a context: annotate the parameter '
                    'that is to get it, `ctx: coppice.Context`')


def stream[F: Callable[..., Coroutine[Any, Any, Any]]](function: F, /) -> F:
    """Marks an `async def` function as a one-way stream, tractor's older way: its parameter `ctx`
    or `stream` is a Context, whose send_yield() sends. An async generator does the same."""
    _check_async(function, 'stream')
    code = function.__code__
    names = code.co_varnames[:code.co_argcount + code.co_kwonlyargcount]
    for name in ('stream', 'ctx'):
        if name in names:
            function._coppice_endpoint = Endpoint(  # type: ignore[attr-defined]
                'asyncgen', name, Context, None)
            return function
    raise TypeError(f'{function.__qualname__}() is marked as a stream: its first parameter must be '
                    '`ctx: coppice.Context`, by that name or `stream`')


def _check_async(function: Any, what: str) -> None:
    code = getattr(function, '__code__', None)
    if code is None or not (code.co_flags & _COROUTINE or hasattr(function, '__wrapped__')):
        raise TypeError(f'@coppice.{what} takes an `async def` function, not {function!r}')


def _annotations(function: Any) -> Mapping[str, Any]:
    try:
        found: Mapping[str, Any] = function.__annotations__
    except NameError:  # One of them is of a name that is defined later. Slow to import, and rare.
        from annotationlib import Format, get_annotations

        found = get_annotations(function, format=Format.FORWARDREF)
    return found


def _is_context(annotation: Any, function: Any) -> bool:
    if isinstance(annotation, str):  # from __future__ import annotations
        try:
            annotation = eval(annotation, function.__globals__)
        except Exception:
            return annotation.partition('[')[0].rpartition('.')[2] == 'Context'
    one_of = annotation.__args__ if isinstance(annotation, type(int | None)) else (annotation,)
    return any(one is Context or getattr(one, '__origin__', None) is Context for one in one_of)


def serve(function: Any, kwargs: dict[str, Any], call_id: int,
          caller: Uid) -> tuple[Coroutine[Any, Any, Any], Context, str]:
    """Called by the native half for a call of a marked function: what serves it, who is told what
    happens, and what it is acknowledged as."""
    endpoint: Endpoint = function._coppice_endpoint
    name = f'{function.__module__}:{function.__name__}'
    ctx = Context('child', caller, name, dialog=call_id)
    ctx._checks = endpoint.checks('child')
    body = _Body(function(**kwargs, **{endpoint.parameter: ctx}))
    served = _serve(ctx, body)
    served.__qualname__ = function.__qualname__
    return served, ctx, endpoint.kind


class _Body:
    """A coroutine that may never be begun, and is not to complain about it then."""
    __slots__ = ('coro',)

    def __init__(self, coro: Coroutine[Any, Any, Any]) -> None:
        self.coro = coro

    def __del__(self) -> None:
        self.coro.close()


async def _serve(ctx: Context, body: _Body) -> Any:
    adapter = ctx._adapter = _loop.require()
    ctx._owner = adapter.current_task()
    scope = ctx._scope = adapter.open_scope()
    if ctx._remote_error is not None or ctx._cancel_called:
        scope.cancel()
    set_current(ctx)
    value: Any = None
    raised: BaseException | None = None
    try:
        value = await body.coro
    except BaseException as error:
        raised = error
    left = collapsed(await scope.close(raised))
    ctx._scope = None
    ctx._caught = left is None and raised is not None
    if raised is None and left is None:
        return value
    hidden = _masked(collapsed(raised) if left is None else left, adapter)
    if hidden is not None:
        raise hidden
    if left is not None:
        raise left
    if ctx._remote_error is not None:
        raise ctx._remote_error
    raise _by_itself(ctx)


def _masked(error: BaseException | None, adapter: _loop.Adapter) -> Exception | None:
    """The error that the task had raised before it was cancelled in its cleanup, if there is one:
    it is what whoever called has to hear. What is raised and handled in the normal course of things
    does not count: it may well have been handled when the cancellation came."""
    seen: set[int] = set()
    while isinstance(error, adapter.cancelled) and id(error) not in seen:
        seen.add(id(error))
        error = collapsed(error.__context__)
    if isinstance(error, Exception) and seen and not isinstance(
            error, (ContextCancelled, EndOfChannel, ClosedResourceError, StopAsyncIteration,
                    TimeoutError)) and type(error).__name__ != 'TooSlowError':
        return error
    return None


def _by_itself(ctx: Context) -> ContextCancelled:
    me = native.self_uid()
    text = f'{ctx._name} was cancelled by itself'
    return ContextCancelled({'type': 'ContextCancelled', 'source_type': 'ContextCancelled',
                             'message': text, 'traceback': text, 'source': me, 'path': [],
                             'members': [], 'canceller': me})
