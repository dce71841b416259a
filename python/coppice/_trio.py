# SPDX-License-Identifier: Apache-2.0
"""trio, as coppice sees an event loop: an implementation of `_loop.Adapter`.

Scopes, and cancellation as a level, are trio's own. What it lacks is a loop that survives what is
raised in it: an actor that is being stopped is interrupted wherever its thread is, and that is most
often in the loop. Then trio leaves its tasks suspended, and we unwind them by hand. For that, and
for nothing else, a private name of trio's is used: see _run_context().
"""
import contextlib
import inspect
import time
import warnings

import trio
from trio import Cancelled, lowlevel

from coppice import _loop
from coppice._context import ContextBlock
from coppice._exceptions import Interrupted
from coppice._loop import inf
from coppice._native import native
from coppice._nursery import _Block
from coppice._stream import GeneratorBlock, StreamBlock
from coppice._types import Any, Callable, Coroutine, Iterator

PATIENCE = 1000  # Looks at the clock, one a turn of the loop or more, that an end may take.
PAUSE = 0.001    # Seconds for each one after that.
THROWS = 20      # Waits that a task's cleanup may come to when the loop is gone. Each raises.

# A KeyboardInterrupt must not strike between what a block does to start and to end: it comes to the
# next wait instead, as it does in trio's own nurseries.
for _block in (_Block, ContextBlock, StreamBlock, GeneratorBlock):
    for _method in (_block.__aenter__, _block.__aexit__):
        lowlevel.enable_ki_protection(_method)  # type: ignore[type-var]
del _block, _method


class TrioWait:
    """`_loop.Wait`."""
    __slots__ = ('_task', 'settled', 'value', 'error')

    def __init__(self) -> None:
        self._task: lowlevel.Task | None = None  # That waits.
        self.settled = False
        self.value: Any = None
        self.error: BaseException | None = None

    def settle(self, value: Any, error: BaseException | None) -> None:
        if self.settled:
            return
        self.settled = True
        self.value = value
        self.error = error
        task, self._task = self._task, None
        if task is not None and lowlevel.in_trio_run():
            lowlevel.reschedule(task)

    async def wait(self) -> Any:
        while not self.settled:
            await self._suspend()
        if self.error is not None:
            raise self.error
        return self.value

    async def wait_shielded(self, seconds: float | None = None) -> None:
        interrupt: KeyboardInterrupt | None = None
        deadline = inf if seconds is None else trio.current_time() + seconds
        with trio.CancelScope(shield=True, deadline=deadline):
            while not self.settled:
                try:
                    await self._suspend()
                except KeyboardInterrupt as error:  # trio raises it in spite of every shield.
                    interrupt = error
        if interrupt is not None:
            raise interrupt
        await lowlevel.checkpoint_if_cancelled()

    async def _suspend(self) -> None:
        self._task = lowlevel.current_task()
        try:
            await lowlevel.wait_task_rescheduled(self._abort)
        finally:
            self._task = None

    def _abort(self, raise_cancel: Callable[[], Any]) -> lowlevel.Abort:
        self._task = None
        return lowlevel.Abort.SUCCEEDED


class TrioEvent:
    """`_loop.Event`."""
    __slots__ = ('_set', '_waiting')

    def __init__(self) -> None:
        self._set = False
        self._waiting: list[lowlevel.Task] = []

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            if lowlevel.in_trio_run():
                for task in waiting:
                    lowlevel.reschedule(task)

    def clear(self) -> None:
        self._set = False

    async def wait(self) -> None:
        if self._set:
            return
        task = lowlevel.current_task()
        self._waiting.append(task)

        def leave(raise_cancel: object = None) -> lowlevel.Abort:
            if task in self._waiting:
                self._waiting.remove(task)
            return lowlevel.Abort.SUCCEEDED

        try:
            await lowlevel.wait_task_rescheduled(leave)
        except BaseException:
            leave()
            raise


class TrioScope:
    """`_loop.Scope` over a trio.CancelScope that is entered and left by hand."""
    __slots__ = ('_scope', '_closed')

    def __init__(self, shield: bool, deadline: float) -> None:
        self._scope = trio.CancelScope(shield=shield, deadline=deadline)
        self._scope.__enter__()
        self._closed = False

    @property
    def cancel_called(self) -> bool:
        return self._scope.cancel_called

    def cancel(self) -> None:
        if not self._closed:
            self._scope.cancel()

    def cancel_unless_cancelled(self) -> None:
        self.cancel()  # Whoever is cancelled from outside does not notice: it is a level.

    async def close(self, error: BaseException | None) -> BaseException | None:
        self._closed = True
        left = error
        try:
            if self._scope.__exit__(type(error) if error is not None else None, error,
                                    error.__traceback__ if error is not None else None):
                left = None
        except BaseException as changed:  # What is left of a group, for one.
            left = changed
        return _bare(left)

    def rearm(self) -> None:
        pass


def _bare(error: BaseException | None) -> BaseException | None:
    """A cancellation that trio's nurseries have put into groups, without them."""
    found = error
    if isinstance(error, BaseExceptionGroup) and error.split(Cancelled)[1] is None:
        while isinstance(found, BaseExceptionGroup):
            found = found.exceptions[0]
    return found


def _without_cancelled(error: BaseException) -> BaseException:
    """What a call has to say for itself that was cancelled."""
    if isinstance(error, BaseExceptionGroup):
        rest = error.split(Cancelled)[1]
        return rest if rest is not None else _bare(error) or error
    return error


class _Clock(trio.abc.Clock):
    """Real time, which slows down a loop that goes round and round although all of it is cancelled.

    So a task that swallows its cancellations does not take the processor, and an interruption finds
    the loop in here, which ends it. In the task it would be swallowed too.
    """

    def __init__(self) -> None:
        self.ending = False
        self._times = 0

    def start_clock(self) -> None:
        pass

    def current_time(self) -> float:
        if self.ending:
            self._times += 1
            if self._times > PATIENCE:
                time.sleep(PAUSE)
        return time.monotonic()

    def deadline_to_sleep_time(self, deadline: float) -> float:
        return deadline - time.monotonic()


class TrioAdapter:
    """`_loop.Adapter`: attached to a run of trio (a root), or running one (a guest)."""
    name = 'trio'
    cancelled: type[BaseException] = Cancelled

    def __init__(self) -> None:
        self.on_cancel: Callable[[str], None] = lambda why: None
        # Served coroutines that run, by call id.
        self._calls: dict[int, tuple[trio.CancelScope, Coroutine[Any, Any, Any]]] = {}
        self._nursery: trio.Nursery | None = None   # A guest's, that they run in.
        self._stopping = trio.Event()
        self._ending = ''                           # Why the actor is to end, once it is.
        self._listening: trio.CancelScope | None = None
        self._background: set[trio.CancelScope] = set()
        self._token: lowlevel.TrioToken | None = None
        self._root_task: lowlevel.Task | None = None
        self._guest = False
        self._clock = _Clock()

    # --- the native half's side --------------------------------------------------------------

    def run(self) -> None:
        self._guest = True
        try:
            trio.run(self._serve_until_stopped, clock=self._clock)
        except BaseException as error:
            expected = self._ending or self._stopping.is_set() or _is_struck(error)
            if expected:
                with warnings.catch_warnings():
                    warnings.simplefilter('ignore', RuntimeWarning)  # 'run got abandoned': we know.
                    error.__traceback__ = None  # It held trio's loop, which is closed here.
            self._unwind()
            if not expected:
                raise
        finally:
            self._unwatch()

    def spawn(self, coro: Coroutine[Any, Any, Any], call_id: int) -> None:
        if self._ending:
            coro.close()
            native.finish(call_id, None, Interrupted(self._ending))
            return
        scope = trio.CancelScope()
        self._calls[call_id] = scope, coro
        try:
            if self._nursery is not None:
                self._nursery.start_soon(self._serve, coro, call_id, scope,
                                         name=coro.__qualname__)
            else:
                lowlevel.spawn_system_task(self._serve, coro, call_id, scope,
                                           name=coro.__qualname__)
        except BaseException:
            del self._calls[call_id]
            coro.close()
            raise

    def cancel_call(self, call_id: int) -> None:
        call = self._calls.get(call_id)
        if call is not None:
            call[0].cancel()

    def settle(self, token: Any, value: Any, error: BaseException | None) -> None:
        token.settle(value, error)

    def dialog(self, token: Any, what: str, value: Any) -> None:
        token.on_dialog(what, value)

    def cancel_all(self, why: str) -> None:
        if self._guest and not self._ending:
            self._ending = why or 'the actor is to end'
            self._clock.ending = True
            for scope, _ in list(self._calls.values()):
                scope.cancel()
        self.on_cancel(why)

    def stop(self) -> None:
        self._stopping.set()

    # --- the package's side ------------------------------------------------------------------

    def attach(self) -> None:
        native.set_loop(self)
        self._watch()

    def detach(self) -> None:
        for scope in list(self._background):
            scope.cancel()
        self._unwatch()
        native.set_loop(None)

    def run_main(self, main: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        return trio.run(main)

    def is_here(self) -> bool:
        return lowlevel.in_trio_task() and lowlevel.current_trio_token() is self._token

    def current_task(self) -> lowlevel.Task:
        return lowlevel.current_task()

    def new_wait(self) -> TrioWait:
        return TrioWait()

    def new_event(self) -> TrioEvent:
        return TrioEvent()

    def open_scope(self, *, shield: bool = False, deadline: float = inf) -> TrioScope:
        return TrioScope(shield, deadline)

    async def cancellation(self, why: str) -> BaseException:
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await lowlevel.checkpoint()
            except BaseException as error:  # Cancelled, which only trio can make. Or a Ctrl-C.
                return error
        raise AssertionError('a cancelled scope did not cancel')

    async def checkpoint(self) -> None:
        await lowlevel.checkpoint()

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)

    async def sleep_forever(self) -> None:
        await trio.sleep_forever()

    def current_time(self) -> float:
        return trio.current_time()

    def start_task(self, function: Callable[[], Coroutine[Any, Any, Any]],
                   name: str) -> trio.CancelScope:
        scope = trio.CancelScope()
        self._background.add(scope)
        lowlevel.spawn_system_task(self._in_background, function, name, scope, name=name)
        return scope

    # --- inside ------------------------------------------------------------------------------

    def _watch(self) -> None:
        self._token = lowlevel.current_trio_token()
        self._listening = trio.CancelScope()
        lowlevel.spawn_system_task(self._listen, native.wake_fd(), self._listening,
                                   name='coppice: events')
        _loop.set_current(self)

    def _unwatch(self) -> None:
        _loop.set_current(None)
        if self._listening is not None and lowlevel.in_trio_run():
            self._listening.cancel()  # The fd is no longer waited for when this returns.
        self._listening = None

    async def _listen(self, fd: int, scope: trio.CancelScope) -> None:
        with scope:
            while True:
                try:
                    native.drain()  # First: what is there already. It also arms the fd.
                    await lowlevel.wait_readable(fd)
                except Interrupted:
                    pass  # It comes again, until it strikes something that it can end.

    async def _serve_until_stopped(self) -> None:
        self._root_task = lowlevel.current_root_task()
        async with trio.open_nursery() as self._nursery:
            self._watch()
            await self._stopping.wait()

    async def _serve(self, coro: Coroutine[Any, Any, Any], call_id: int,
                     scope: trio.CancelScope) -> None:
        # Finishing in here spares the reply a turn of the loop.
        with scope:
            try:
                value = await coro
                native.finish(call_id, value, None)
            except BaseException as error:
                if error.__traceback__ is not None:
                    error.__traceback__ = error.__traceback__.tb_next  # Ours tells nobody anything.
                # One that strikes while a scope is entered or left is RuntimeError, says trio.
                struck = self._ending and _is_struck(error)
                native.finish(call_id, None, Interrupted() if struck else _without_cancelled(error))
            finally:
                self._calls.pop(call_id, None)

    async def _in_background(self, function: Callable[[], Coroutine[Any, Any, Any]], name: str,
                             scope: trio.CancelScope) -> None:
        try:
            with scope:
                await function()
        except (Cancelled, Interrupted):
            pass
        except BaseException as error:
            _loop.background_failed(name, error)
        finally:
            self._background.discard(scope)

    def _unwind(self) -> None:
        """trio has left its loop without its tasks: unwinds those of calls, and answers for them.

        Nothing can be waited for any more, so every wait in their cleanup raises.
        """
        until = time.monotonic() + _loop.INTERRUPTED_END
        calls, self._calls = self._calls, {}
        for call_id in calls:
            native.finish(call_id, None, Interrupted())
        try:
            for task in _innermost_first(self._nursery):
                with _as_if_running(task):
                    _interrupt(task.coro, until)
            for _, coro in calls.values():
                if inspect.getcoroutinestate(coro) == inspect.CORO_CREATED:
                    coro.close()
        except Interrupted:
            pass
        if (context := _run_context()) is not None:
            context.__dict__.clear()  # If trio was struck again while it closed its loop.
        # Nurseries complain when they are collected with tasks in them.
        _loop.never_finalize(self._root_task)
        self._root_task = self._nursery = None


def _innermost_first(nursery: trio.Nursery | None) -> list[lowlevel.Task]:
    """All tasks below a nursery."""
    found: list[lowlevel.Task] = []
    for task in nursery.child_tasks if nursery is not None else ():
        for inner in task.child_nurseries:
            found += _innermost_first(inner)
        found.append(task)
    return found


def _interrupt(coro: Any, until: float) -> None:
    for _ in range(THROWS):
        if coro.cr_frame is None or time.monotonic() > until:
            return
        try:
            coro.throw(Interrupted())
        except BaseException:
            pass  # It has ended, or we were struck ourselves.


@contextlib.contextmanager
def _as_if_running(task: lowlevel.Task) -> Iterator[None]:
    """Lets the task leave scopes and nurseries: they ask which task it is that leaves. Without
    trio's answer they would raise RuntimeError in the place of what they are left with."""
    context = _run_context()
    if context is None:
        yield
        return
    context.runner, context.task = task._runner, task
    try:
        yield
    finally:
        context.__dict__.clear()


def _run_context() -> Any:
    """Where trio keeps what runs on this thread, if it is there still."""
    try:
        from trio._core._run import GLOBAL_RUN_CONTEXT
    except ImportError:
        return None
    return GLOBAL_RUN_CONTEXT


def _is_struck(error: BaseException) -> bool:
    """Is it an interruption, or what trio makes of one?"""
    at: BaseException | None = error
    while at is not None:
        if isinstance(at, Interrupted) or (
                isinstance(at, BaseExceptionGroup) and at.subgroup(Interrupted) is not None):
            return True
        at = at.__cause__ or at.__context__
    return False
