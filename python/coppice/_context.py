# SPDX-License-Identifier: Apache-2.0
"""Contexts: a task here and one in another actor, linked, neither of which outlives the block.

The caller's side is opened by `portal.open_context()`, the callee's is a function that
`@coppice.context` marks (coppice._endpoint). Who waits for whom, which error wins and whose
cancellation is absorbed is tractor's; docs/internals/contexts.md has it as a table.
"""
from coppice import _loop
from coppice._exceptions import (CallStuck, ContextCancelled, MsgTypeError, RuntimeFailure,
                                 StreamOverrun, TransportClosed)
from coppice._native import native
from coppice._types import Any, Callable, Mapping, TracebackType, Uid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextvars import ContextVar, Token
    from typing import Generic, TypeVar

    from coppice._endpoint import Endpoint
    from coppice._portal import Portal
    from coppice._stream import MsgStream, StreamBlock
    from coppice._typed import Checks

    SendT = TypeVar('SendT', default=Any)
    RecvT = TypeVar('RecvT', default=Any)
    StartedT = TypeVar('StartedT', default=Any)
    ResultT = TypeVar('ResultT', default=Any)

    class _Parameters(Generic[SendT, RecvT, StartedT, ResultT]):
        pass
else:
    class _Parameters:  # typing.Generic without the cost of importing typing.
        __slots__ = ()
        __class_getitem__ = classmethod(type(list[int]))

CANCEL_WITHIN = 0.616  # Seconds that a cancelled callee has to end: tractor's.


class Unresolved:
    """`ctx.outcome` as long as there is none."""


_variable: ContextVar[Context | None] | None = None  # Made when there is a first one.


def current_ipc_ctx() -> Context | None:
    """The context that the calling task serves, or opened last and has not left; None without."""
    return _variable.get() if _variable is not None else None


def set_current(ctx: Context) -> Token[Context | None]:
    global _variable
    if _variable is None:
        from contextvars import ContextVar

        _variable = ContextVar('coppice_context', default=None)
    return _variable.set(ctx)


def reset_current(outer: Token[Context | None]) -> None:
    try:
        outer.var.reset(outer)
    except ValueError:
        pass  # Left in another task than entered, as what finalizes generators does.


class PeerChannel:
    """What tractor's programs ask of a context's channel on the callee's side: whom it leads to."""
    __slots__ = ('uid', '_id')

    def __init__(self, uid: Uid, dialog: int) -> None:
        self.uid = uid
        self._id = dialog

    def connected(self) -> bool:
        look = native.look_at_dialog(self._id)
        return look is not None and not look[1]


class Context(_Parameters):
    """One side of a dialog between two tasks. Its parameters, in an annotation, are what this side
    sends, receives, and gives to started() and as result: `ctx: Context[Fill, Order, int]`.

    The caller has it from `open_context()`, the callee as the parameter that is annotated with it.
    """
    __slots__ = ('_id', '_cid', '_peer', '_portal', '_side', '_adapter', '_scope', '_owner',
                 '_in_dialog', '_name', '_is_started', '_first', '_ended', '_result',
                 '_remote_error', '_local_error', '_canceller', '_cancel_called', '_quiet',
                 '_caught', '_allow_overruns', '_stream', '_drains', '_news', '_readable',
                 '_writable', '_end', '_checks', '_is_typed', '_mismatch', '__weakref__')

    def __init__(self, side: str, peer: Uid, name: str, portal: Portal | None = None,
                 dialog: int = 0) -> None:
        self._id = dialog
        self._cid = ''
        self._peer = peer
        self._portal = portal
        self._side = side
        self._name = name
        self._adapter: Any = None
        self._scope: _loop.Scope | None = None  # Around the block, or the callee's whole task.
        self._owner: Any = None        # The task whose scope that is.
        self._in_dialog = 0            # Waits of its for something to come out of the dialog.
        self._is_started = False
        self._first: Any = None
        self._ended = False            # Its reply has come, or nobody waits for it any more.
        self._result: Any = Unresolved
        self._remote_error: BaseException | None = None
        self._local_error: BaseException | None = None
        self._canceller: Uid | None = None
        self._cancel_called = False
        self._quiet = False            # The callee was asked to end, which is nobody's business.
        self._caught = False
        self._allow_overruns = False
        self._stream: MsgStream | None = None
        self._drains = 0               # Tasks that wait for the result, and drop what comes before.
        self._news: _loop.Event | None = None      # Started, ended, or drained.
        self._readable: _loop.Event | None = None
        self._writable: _loop.Event | None = None
        self._end: _loop.Wait | None = None        # Of the block, for the callee to be gone.
        self._checks: Checks | None = None         # Of the types of its payloads, if it has any.
        self._is_typed = False                     # The result was looked at: of its type, or not.
        self._mismatch: MsgTypeError | None = None

    # --- what one may know of it ---------------------------------------------------------------

    @property
    def cid(self) -> str:
        """The dialog's name on the wire."""
        if not self._cid and (look := native.look_at_dialog(self._id)) is not None:
            self._cid = look[0]
        return self._cid

    @property
    def chan(self) -> Any:
        """Whom it leads to: `.chan.uid`."""
        if self._portal is not None:
            return self._portal.chan
        return PeerChannel(self._peer, self._id)

    @property
    def side(self) -> str:
        """'parent': the caller's. 'child': the callee's."""
        return self._side

    @property
    def peer_side(self) -> str:
        return 'child' if self._side == 'parent' else 'parent'

    @property
    def cancel_called(self) -> bool:
        """Has this side asked for the end of the other's task?"""
        return self._cancel_called

    @property
    def cancel_acked(self) -> bool:
        """Did the other side end because this one called cancel()?"""
        return self._cancel_called and self._is_my_cancel(self._remote_error)

    @property
    def cancelled_caught(self) -> bool:
        """Was the block left early because of what came from the other side?"""
        return self._caught

    @property
    def canceller(self) -> Uid | None:
        """Who is to blame for the end: this actor, if it was its cancel(); else where the error
        came from."""
        return self._canceller

    @property
    def maybe_error(self) -> BaseException | None:
        """The error that it ended with, if it did: the other side's, else this one's."""
        return self._remote_error if self._remote_error is not None else self._local_error

    @property
    def outcome(self) -> Any:
        """The error or the result that it ended with; `Unresolved` as long as it goes on."""
        error = self.maybe_error
        return self._result if error is None else error

    @property
    def has_outcome(self) -> bool:
        return self.maybe_error is not None or self._result is not Unresolved

    @property
    def state(self) -> str:
        """How far it is, in tractor's words."""
        error = self.maybe_error
        if isinstance(error, ContextCancelled):
            return 'self-cancelled' if self.cancel_acked else 'peer-cancelled'
        if error is not None:
            return 'errored'
        if self._result is not Unresolved:
            return 'result-returned'
        if self._stream is not None:
            return 'streaming-finished' if self._stream.closed else 'streaming'
        if self._is_started:
            return 'started'
        return 'pre-started' if self._side == 'child' else 'syncing-to-child'

    def __repr__(self) -> str:
        return f'<Context {self._name} with {self._peer[0]!r}, {self._side}: {self.state}>'

    # --- what one may do with it -----------------------------------------------------------------

    async def started(self, value: Any = None) -> None:
        """The callee's first word, once: `open_context()` gives it to the caller, whose block
        begins."""
        if self._side == 'parent':
            raise RuntimeError('Context.started() is for the side that was called')
        if self._is_started:
            raise RuntimeError('Context.started() was called before: it is said once')
        if self._checks is not None:
            self._checks.sends_started(self.cid, value)
        native.start_dialog(self._id, value)
        self._is_started = True

    def open_stream(self, allow_overruns: bool | None = None,
                    msg_buffer_size: int | None = None) -> StreamBlock:
        """The block of a two-way stream: `async with ctx.open_stream() as stream`. Once per side.

        Between Coppice's actors a sender waits while this side has `msg_buffer_size` values that
        are not taken (4096 by default, and 2 MiB). Actors of tractor do not wait: beyond 64 they
        are told that they overran this side, unless it allows overruns; then 616 more are kept, and
        after that the oldest of those make room.
        """
        from coppice._stream import StreamBlock

        allow = self._allow_overruns if allow_overruns is None else allow_overruns
        return StreamBlock(self, allow, msg_buffer_size)

    async def wait_for_result(self) -> Any:
        """What the callee returned. Raises what it raised, with one exception: if it ended because
        this side called cancel(), the ContextCancelled is the result.

        What the callee streams and nobody here reads is dropped meanwhile.
        """
        if self._side != 'parent':
            raise RuntimeError('Context.wait_for_result() is for the side that called')
        if not self._ended and self.maybe_error is None:
            await self._wait_ended(self._require())
        error = self._verdict() or self._check_result() or self._mismatch
        if error is not None:
            raise error
        return self.outcome

    result = wait_for_result

    async def cancel(self, timeout: float = CANCEL_WITHIN) -> None:
        """Ends the callee's task, from either side.

        The caller's cancel() waits until it has ended, `timeout` seconds at most, whatever happens
        meanwhile. The block goes on to its end, and does not raise the ContextCancelled that this
        leads to; waits in it are cancelled, once the callee has ended. A callee that cancels itself
        is told so by its next wait, and its caller by a ContextCancelled.
        """
        self._cancel_called = True
        if self._side == 'child':
            if self._scope is not None:
                self._scope.cancel()
            return
        if not self._id:
            return
        native.cancel_call(self._id)
        if self._ended:
            return
        adapter = self._require()
        scope = adapter.open_scope(shield=True, deadline=adapter.current_time() + timeout)
        raised: BaseException | None = None
        try:
            await self._wait_news(adapter, lambda: self._ended)
        except BaseException as error:
            raised = error
        left = await scope.close(raised)
        if left is not None:
            raise left

    async def send_yield(self, value: Any) -> None:
        """Sends one value from a `@coppice.stream` function, which has no other way to."""
        from coppice._stream import send_from_generator

        await send_from_generator(self, value)

    # --- what happens to it: from drain() --------------------------------------------------------

    def on_dialog(self, what: str, value: Any) -> None:
        if what == 'readable':
            if self._readable is not None:
                self._readable.set()
            if self._drains:
                self._tell()
        elif what == 'writable':
            if self._writable is not None:
                self._writable.set()
        elif what == 'started':
            self._is_started = True
            self._first = value
            self._tell()
        elif what == 'failed':
            self._fail(value)
        elif what == 'ended':
            result, error = value
            self._ended = True
            if error is None:
                self._result = result
            elif not (self._quiet and self._is_my_cancel(error)):
                self._fail(error)
            if self._end is not None:
                self._end.settle(None, None)
            self._tell()

    def _fail(self, error: BaseException) -> None:
        """The other side's error. It ends the block, at once or when the task that has opened it
        has heard of it: if that waits for something to come out of the dialog."""
        if isinstance(error, TransportClosed) and error.uid is None:
            error.uid = self._peer
        if self._remote_error is None:
            self._remote_error = error
            if isinstance(error, ContextCancelled) and error.canceller == native.self_uid():
                self._canceller = error.canceller
            else:
                self._canceller = getattr(error, 'src_uid', self._peer)
        if self._scope is not None and not self._in_dialog:
            self._scope.cancel()
        self._tell()

    def _tell(self) -> None:
        if self._news is not None:
            self._news.set()

    # --- inside ----------------------------------------------------------------------------------

    def _require(self) -> _loop.Adapter:
        adapter: _loop.Adapter = self._adapter
        return adapter if adapter is not None else _loop.require()

    def _is_my_cancel(self, error: BaseException | None) -> bool:
        return (isinstance(error, ContextCancelled) and error.canceller == native.self_uid()
                and error.src_uid == self._peer)

    def _verdict(self) -> BaseException | None:
        """What of the other side's error is to be raised here."""
        error = self._remote_error
        if error is None or self.cancel_acked:
            return None
        if (isinstance(error, StreamOverrun) and error.sender == self._peer
                and (self._allow_overruns or self._cancel_called)):
            return None
        return error

    def _check_result(self) -> BaseException | None:
        """Makes the result one of its type; the error, the first time, if it is none."""
        if self._checks is None or self._is_typed or self._result is Unresolved:
            return None
        self._is_typed = True
        try:
            self._result = self._checks.returned(self.cid, self._result)
        except MsgTypeError as error:
            self._mismatch = self._local_error = error
        return self._mismatch

    def _begin_wait(self, task: Any) -> None:
        self._in_dialog += task is self._owner

    def _end_wait(self, task: Any) -> None:
        if task is self._owner:
            self._in_dialog -= 1
            # What its own cancel() led to is no news that has to end it: it was waiting for that.
            if (self._remote_error is not None and self._scope is not None
                    and not self._in_dialog and not self.cancel_acked):
                self._scope.cancel()

    async def _wait_news(self, adapter: _loop.Adapter, is_there: Callable[[], bool]) -> None:
        news = self._news
        if news is None:
            news = self._news = adapter.new_event()
        while not is_there():
            news.clear()
            await news.wait()

    async def _wait_ended(self, adapter: _loop.Adapter) -> None:
        """For the reply, dropping what the callee streams meanwhile: it may wait for room."""
        stream = self._stream
        task = adapter.current_task()
        drops = stream is None or stream.reader in (None, task)
        self._drains += drops
        self._begin_wait(task)
        try:
            await self._wait_news(adapter, self._is_drained if drops else lambda: self._ended)
        finally:
            self._drains -= drops
            self._end_wait(task)

    def _is_drained(self) -> bool:
        dropped = False
        while not self._ended and native.take(self._id) not in (Ellipsis, NotImplemented):
            dropped = True
        if dropped and self._stream is None:
            native.open_stream(self._id, None, False)  # More room than it began with.
        return self._ended

    # --- the caller's block ----------------------------------------------------------------------

    async def _enter(self, adapter: _loop.Adapter) -> None:
        """Until the callee has said its first word."""
        await self._wait_news(adapter, lambda: self._is_started or self._ended)
        if not self._is_started:
            if self._remote_error is not None:
                raise self._remote_error
            raise RuntimeError(f'{self._name} in actor {self._peer[0]!r} returned without having '
                               'called ctx.started()')
        if self._checks is not None:
            self._first = self._checks.started(self.cid, self._first)
        self._owner = adapter.current_task()
        self._scope = adapter.open_scope()
        if self._remote_error is not None:
            self._scope.cancel()

    async def _leave(self, raised: BaseException | None) -> BaseException | None:
        """The body has ended with `raised`. Returns what the block raises; the callee has ended."""
        adapter: _loop.Adapter = self._adapter
        scope, self._scope = self._scope, None
        assert scope is not None
        left = collapsed(await scope.close(raised))
        self._caught = left is None and raised is not None
        if raised is None and left is None and not self._cancel_called:
            if self._stream is None and not self._ended:
                self._say_that_nobody_reads()
            try:
                await self._wait_ended(adapter)
            except BaseException as error:
                left = error
        if left is None:
            try:
                await self._end_callee(adapter, None)
            finally:
                self._release()
            error = self._verdict() or self._check_result()
            if raised is None and error is not None:
                self._local_error = error
            return error
        self._local_error = left
        try:
            if left is self._remote_error and self.cancel_acked:
                return None
            if isinstance(left, ContextCancelled):
                # Somebody else's dialog was cancelled. tractor leaves the callee running then; here
                # it does not outlive the block, but this side has not cancelled it either.
                self._quiet = True
            else:
                self._cancel_called = True
                native.cancel_call(self._id)
            await self._end_callee(adapter, left)
        except adapter.cancelled:
            scope.rearm()  # The body's error is raised; this is to come again.
        finally:
            self._release()
        return left

    def _say_that_nobody_reads(self) -> None:
        """The stream was never opened: a callee that waits for a value of it would wait for ever.
        One of tractor's would by its own kind, too, and is not told."""
        look = native.look_at_dialog(self._id)
        if look is not None and look[2]:
            native.stop_stream(self._id)

    async def _end_callee(self, adapter: _loop.Adapter, reason: BaseException | None) -> None:
        """Until the callee has ended, within its bound, which it is told to."""
        if self._ended or not self._id:
            return
        native.cancel_call(self._id)
        portal = self._portal
        if portal is not None and portal.is_ending():
            return  # All of it unwinds; its nursery waits for it.
        self._end = adapter.new_wait()
        cancelled: BaseException | None = None
        try:
            await self._end.wait_shielded(CANCEL_WITHIN)
        except (adapter.cancelled, KeyboardInterrupt) as error:
            cancelled = error
        if not self._ended and not (portal is not None and portal.is_ending()):
            text = (f'{self._name} in actor {self._peer[0]!r} was cancelled and did not end within '
                    f'{CANCEL_WITHIN:g} s: the actor goes on, portal.cancel_actor() stops it')
            reason = reason if reason is not None else cancelled
            if reason is not None and not isinstance(reason, adapter.cancelled):
                reason.add_note(text)
            else:
                stuck = CallStuck(text)
                stuck.uid = self._peer
                stuck.cancelled = reason
                raise stuck from reason
        if cancelled is not None and not isinstance(reason, adapter.cancelled):
            raise cancelled

    def _abandon(self) -> None:
        """The block's coroutine is closed outside its loop: nobody can wait."""
        self._scope = None
        try:
            native.cancel_call(self._id)
            self._release()
        except RuntimeFailure:
            pass  # Its root has closed.

    def _release(self) -> None:
        if self._id:
            self._cid = self.cid
            native.release_dialog(self._id)
            self._ended = True
            if self._stream is not None:
                self._stream.shut()
            self._tell()


def collapsed(error: BaseException | None) -> BaseException | None:
    """A group of one, as trio's nurseries make, is that one."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


class ContextBlock:
    """The `async with` of Portal.open_context()."""
    __slots__ = ('_portal', '_ns', '_func', '_kwargs', '_allow_overruns', '_endpoint', '_ctx',
                 '_outer')

    def __init__(self, portal: Portal, ns: str, func: str, kwargs: Mapping[str, Any],
                 allow_overruns: bool, endpoint: Endpoint | None = None) -> None:
        self._portal = portal
        self._ns = ns
        self._func = func
        self._kwargs = kwargs
        self._allow_overruns = allow_overruns
        self._endpoint = endpoint  # Of a function that is known here: it may have types.
        self._ctx: Context | None = None
        self._outer: Any = None

    async def __aenter__(self) -> tuple[Context, Any]:
        if self._ctx is not None:
            raise RuntimeFailure('this context was opened before: call open_context() again')
        adapter = _loop.require()
        portal = self._portal
        ctx = self._ctx = Context('parent', portal.uid, f'{self._ns}:{self._func}', portal)
        ctx._adapter = adapter
        ctx._allow_overruns = self._allow_overruns
        if self._endpoint is not None:
            ctx._checks = self._endpoint.checks('parent')
        ctx._id = native.open_dialog(portal.link_to_other(), self._ns, self._func, self._kwargs,
                                     ctx, 'context')
        try:
            await ctx._enter(adapter)
        except BaseException as error:
            ctx._local_error = error
            try:
                await ctx._end_callee(adapter, error)
            finally:
                ctx._release()
            raise
        self._outer = set_current(ctx)
        return ctx, ctx._first

    async def __aexit__(self, kind: type[BaseException] | None, raised: BaseException | None,
                        traceback: TracebackType | None) -> bool:
        ctx = self._ctx
        assert ctx is not None
        if isinstance(raised, GeneratorExit) and not ctx._adapter.is_here():
            ctx._abandon()
            return False
        try:
            outcome = await ctx._leave(raised)
        finally:
            reset_current(self._outer)
        if outcome is None:
            return True
        if outcome is raised:
            return False
        try:
            raise outcome from outcome.__cause__
        finally:
            del outcome, raised
