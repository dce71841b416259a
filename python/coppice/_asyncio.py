# SPDX-License-Identifier: Apache-2.0
"""asyncio, as coppice sees an event loop: an implementation of `_loop.Adapter`.

asyncio's cancellation is an edge: one `Task.cancel()` raises CancelledError once, and only
`Task.cancelling()` remembers it. Scopes make a level of it: whoever is found waiting again is told
again. However often that is, they count as one request, for as long as the task is inside what was
cancelled. So asyncio.timeout(), TaskGroup and Runner, which count too, keep their sums right.
"""
import asyncio
import selectors
import weakref
from asyncio import CancelledError, Future, Task

from coppice import _loop
from coppice._exceptions import Interrupted
from coppice._loop import inf
from coppice._native import native
from coppice._types import Any, Callable, Coroutine, Self, TracebackType

# How often a task is told at once. It may be in a loop that ignores us, as in TaskGroup's wait for
# its children: then it is told after a millisecond, 2, 4, … and so on.
AT_ONCE = 8
AGAIN_WITHIN = 0.05
SHORT = 0.0001  # Seconds: a loop that waits for a timer so soon does not look for us first.


class AsyncioWait:
    """`_loop.Wait` over futures: one for each wait, so that a cancelled wait loses nothing."""
    __slots__ = ('_loop', '_future', 'settled', 'value', 'error')

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._future: Future[None] | None = None
        self.settled = False
        self.value: Any = None
        self.error: BaseException | None = None

    def settle(self, value: Any, error: BaseException | None) -> None:
        if self.settled:
            return
        self.settled = True
        self.value = value
        self.error = error
        if self._future is not None and not self._future.done() and not self._loop.is_closed():
            self._future.set_result(None)

    async def wait(self) -> Any:
        while not self.settled:
            self._future = self._loop.create_future()
            try:
                await self._future
            finally:
                self._future = None
        if self.error is not None:
            raise self.error
        return self.value

    async def wait_shielded(self, seconds: float | None = None) -> None:
        cancelled: CancelledError | None = None
        expired = False

        def expire() -> None:
            nonlocal expired
            expired = True
            if self._future is not None and not self._future.done():
                self._future.set_result(None)

        timer = None if seconds is None else self._loop.call_later(seconds, expire)
        level = _level(_current_task(self._loop))
        level.shields += 1
        try:
            while not (self.settled or expired):
                self._future = self._loop.create_future()
                try:
                    await self._future
                except CancelledError as error:
                    cancelled = error
                finally:
                    self._future = None
        finally:
            level.shields -= 1
            level.tell_again()
            if timer is not None:
                timer.cancel()
        if cancelled is not None:
            raise cancelled
        if level.held:
            raise level.error()


class AsyncioEvent:
    """`_loop.Event`."""
    __slots__ = ('_loop', '_set', '_waiting')

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._set = False
        self._waiting: list[Future[None]] = []

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for future in waiting:
                if not future.done() and not self._loop.is_closed():
                    future.set_result(None)

    def clear(self) -> None:
        self._set = False

    async def wait(self) -> None:
        if self._set:
            return
        future = self._loop.create_future()
        self._waiting.append(future)
        try:
            await future
        except BaseException:
            if future in self._waiting:
                self._waiting.remove(future)
            raise


def _current_task(loop: asyncio.AbstractEventLoop) -> Task[Any]:
    task = asyncio.current_task(loop)
    if task is None:
        raise RuntimeError('coppice has to be awaited inside an asyncio task')
    return task


class _Level:
    """One task's open scopes, and whether it is inside a cancelled one: then it is held.

    A task that is held has one cancellation more in its count than others asked for. It is told
    when it becomes held, and again whenever it is found suspended in another wait than before. What
    it waits for, if that is a task, is told once: it may be unwinding, and that is its own affair.
    """
    __slots__ = ('_loop', '_task', 'inner', 'held', 'shields', '_told', '_times', '_check',
                 '__weakref__')

    def __init__(self, task: Task[Any]) -> None:
        self._loop = task.get_loop()
        self._task = weakref.ref(task)
        self.inner: AsyncioScope | None = None  # The innermost scope.
        self.held = False
        self.shields = 0  # Waits that must not be told again.
        self._told: Any = None  # What it was waiting for when it was told last.
        self._times = 0
        self._check: asyncio.Handle | None = None

    def outside(self) -> int:
        """Requests in the task's count that are not ours."""
        task = self._task()
        return 0 if task is None else task.cancelling() - self.held

    def cancelled_by(self) -> AsyncioScope | None:
        """The scope whose cancellation is in force where the task is."""
        scope = self.inner
        while scope is not None and not scope.cancel_called:
            scope = None if scope.shield else scope._outer
        return scope

    def error(self) -> CancelledError:
        scope = self.cancelled_by()
        return CancelledError(*([scope._why] if scope is not None and scope._why else []))

    def update(self) -> None:
        """Scopes were opened, closed, cancelled or shielded."""
        task = self._task()
        scope = self.cancelled_by()
        if task is None or task.done() or self.held is (scope is not None):
            return
        if scope is None:
            self.held = False
            task.uncancel()
        elif not self._loop.is_closed():
            self.held = True
            self._times = 0
            self._told = getattr(task, '_fut_waiter', None)
            task.cancel(scope._why)
            self._look_again()

    def tell_again(self) -> None:
        """A shielded wait has ended."""
        if self.held and not self.shields:
            self._told = None
            self._look_again()

    def _look_again(self) -> None:
        if self._check is not None:
            self._check.cancel()
        self._times += 1
        if self._times <= AT_ONCE:
            # After the step of the task that the cancellation led to: callbacks keep their order.
            self._check = self._loop.call_soon(self._look)
        else:
            delay = min(0.001 * 2 ** (self._times - AT_ONCE - 1), AGAIN_WITHIN)
            self._check = self._loop.call_later(delay, self._look)

    def _look(self, future: object = None) -> None:
        self._check = None
        task = self._task()
        scope = self.cancelled_by()
        if task is None or task.done() or not self.held or scope is None or self.shields:
            return
        waits_for = getattr(task, '_fut_waiter', None)
        if waits_for is not None and not waits_for.done():
            if waits_for is self._told:
                waits_for.add_done_callback(self._look)
                return
            self._tell(task, scope)
        elif waits_for is None:
            self._tell(task, scope)  # It yielded, and is about to go on.
        self._look_again()

    def _tell(self, task: Task[Any], scope: AsyncioScope) -> None:
        self._told = getattr(task, '_fut_waiter', None)
        task.cancel(scope._why)
        task.uncancel()


_levels: weakref.WeakKeyDictionary[Task[Any], _Level] = weakref.WeakKeyDictionary()


def _level(task: Task[Any]) -> _Level:
    level = _levels.get(task)
    if level is None:
        level = _levels[task] = _Level(task)
    return level


class AsyncioScope:
    """`_loop.Scope`, and what coppice.CancelScope is on asyncio."""
    __slots__ = ('_level', '_outer', '_outside', '_shield', '_deadline', '_timer', '_why',
                 '_entered', 'cancel_called', 'cancelled_caught')

    def __init__(self, *, deadline: float = inf, shield: bool = False) -> None:
        self._level: _Level | None = None  # While it is open.
        self._outer: AsyncioScope | None = None
        self._outside = 0  # Requests of others when it was opened.
        self._shield = shield
        self._deadline = deadline
        self._timer: asyncio.TimerHandle | None = None
        self._why: str | None = None
        self._entered = False
        self.cancel_called = False
        self.cancelled_caught = False

    @property
    def shield(self) -> bool:
        return self._shield

    @shield.setter
    def shield(self, value: bool) -> None:
        self._shield = value
        if self._level is not None:
            self._level.update()

    @property
    def deadline(self) -> float:
        return self._deadline

    @deadline.setter
    def deadline(self, value: float) -> None:
        self._deadline = value
        self._set_timer()

    def open(self) -> Self:
        if self._entered:
            raise RuntimeError('a scope can be entered once: make another one')
        self._entered = True
        level = self._level = _level(_current_task(asyncio.get_running_loop()))
        self._outside = level.outside()
        self._outer, level.inner = level.inner, self
        self._set_timer()
        level.update()
        return self

    def cancel(self, reason: str | None = None) -> None:
        if not self.cancel_called:
            self.cancel_called = True
            self._why = reason
            if self._level is not None:
                self._level.update()

    def cancel_unless_cancelled(self) -> None:
        level = self._level
        if level is not None and not level.held and level.outside() <= self._outside:
            self.cancel()

    async def close(self, error: BaseException | None) -> BaseException | None:
        level = self._level
        if self._leave(error):
            return None
        task = asyncio.current_task()
        if (level is not None and self.cancel_called and not level.held
                and getattr(task, '_must_cancel', False) and level.outside() <= self._outside):
            # The body ended before our cancellation reached it, and asyncio keeps that for the next
            # wait because an older one was never taken back: take delivery here.
            try:
                await asyncio.sleep(0)
            except CancelledError:
                pass
        return error

    def rearm(self) -> None:
        task = asyncio.current_task()
        if task is not None and _level(task).outside() > self._outside:
            task.uncancel()
            task.cancel()

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> bool:
        return self._leave(error)

    def _leave(self, error: BaseException | None) -> bool:
        """Closes it. Is `error` nothing but its own cancellation?"""
        level, self._level = self._level, None
        if level is None:
            return False
        self._set_timer()
        if level.inner is self:
            level.inner = self._outer
        else:  # Left in another order than entered: by generators that were dropped, say.
            scope = level.inner
            while scope is not None and scope._outer is not self:
                scope = scope._outer
            if scope is not None:
                scope._outer = self._outer
        level.update()
        if not self.cancel_called or not isinstance(error, CancelledError):
            return False
        self.cancelled_caught = not level.held and level.outside() <= self._outside
        return self.cancelled_caught

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        level = self._level
        if level is None or self.cancel_called or self._deadline == inf:
            return
        if self._deadline <= level._loop.time():
            self.cancel('its deadline has passed')
        else:
            self._timer = level._loop.call_at(self._deadline, self.cancel,
                                              'its deadline has passed')


def _cancel_whole(task: Task[Any], why: str | None = None) -> None:
    """As if the whole of the task were in a scope, and that cancelled."""
    level = _level(task)
    outermost = level.inner
    while outermost is not None and outermost._outer is not None:
        outermost = outermost._outer
    whole = AsyncioScope()
    whole.cancel(why)
    if outermost is None:
        level.inner = whole
    else:
        outermost._outer = whole
    level.update()


def current_time() -> float:
    return asyncio.get_running_loop().time()


def current_effective_deadline() -> float:
    """When the calling task is cancelled, as far as scopes know."""
    scope = _level(_current_task(asyncio.get_running_loop())).inner
    soonest = inf
    while scope is not None:
        if scope.cancel_called:
            return -inf
        soonest = min(soonest, scope.deadline)
        scope = None if scope.shield else scope._outer
    return soonest


def _look_before_waiting(loop: asyncio.AbstractEventLoop, wake_fd: int) -> None:
    """Has the loop look for what comes to `wake_fd` for a moment before it sleeps, where that pays:
    waking a thread costs more than all the rest of a call.

    A loop's selector can be chosen when the loop is made, but that is for policies to do. So it is
    the method that is replaced; loops without such a selector sleep at once, as ever.
    """
    selector = getattr(loop, '_selector', None)
    if not isinstance(selector, selectors.BaseSelector):
        return
    wait = selector.select

    def select(timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout <= SHORT or not native.look():
            return wait(timeout)
        ready = wait(0)
        key = selector.get_map().get(wake_fd)
        if key is not None and all(one.fd != wake_fd for one, _ in ready):
            ready.append((key, selectors.EVENT_READ))
        return ready

    selector.select = select  # type: ignore[method-assign]


class AsyncioAdapter:
    """`_loop.Adapter`: attached to a loop that runs already (a root), or running one (a guest)."""
    name = 'asyncio'
    cancelled: type[BaseException] = CancelledError

    def __init__(self) -> None:
        self.on_cancel: Callable[[str], None] = lambda why: None
        self._calls: dict[int, Task[None]] = {}  # Served coroutines that run, by call id.
        self._background: set[Task[None]] = set()
        self._guest = False      # run() owns the loop, and the tasks that it cancels.
        self._ending = ''        # Why the actor is to end, once it is.
        self._stopping = False
        self._struck = False     # The ladder has interrupted the loop itself.
        self._wake_fd = -1
        self._loop: asyncio.AbstractEventLoop  # Set by run() or attach().

    # --- the native half's side --------------------------------------------------------------

    def run(self) -> None:
        loop = self._loop = asyncio.new_event_loop()
        loop.set_exception_handler(self._on_loop_error)
        self._guest = True
        self._watch()
        _look_before_waiting(loop, self._wake_fd)
        try:
            self._run_until_stopped(loop)
            self._end_tasks(loop)
        finally:
            self._unwatch()
            loop.close()

    def spawn(self, coro: Coroutine[Any, Any, Any], call_id: int) -> None:
        if self._ending:
            coro.close()
            native.finish(call_id, None, CancelledError(self._ending))
            return
        # Eager: a coroutine that does not suspend is done when this returns, without a loop turn.
        task = Task(self._serve(coro, call_id), loop=self._loop, eager_start=True)
        if not task.done():
            self._calls[call_id] = task

    def cancel_call(self, call_id: int) -> None:
        task = self._calls.get(call_id)
        if task is not None:
            _cancel_whole(task)

    def settle(self, token: Any, value: Any, error: BaseException | None) -> None:
        token.settle(value, error)

    def dialog(self, token: Any, what: str, value: Any) -> None:
        token.on_dialog(what, value)

    def cancel_all(self, why: str) -> None:
        if self._guest and not self._ending:
            self._ending = why or 'the actor is to end'
            for task in list(self._calls.values()):
                _cancel_whole(task, why)
        self.on_cancel(why)  # After the tasks: blocks in them see that they are cancelled already.

    def stop(self) -> None:
        self._stopping = True
        if not self._calls:
            self._loop.stop()

    # --- the package's side ------------------------------------------------------------------

    def attach(self) -> None:
        self._loop = asyncio.get_running_loop()
        native.set_loop(self)
        self._watch()

    def detach(self) -> None:
        for task in list(self._background):
            task.cancel()
        self._unwatch()
        native.set_loop(None)

    def run_main(self, main: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        with asyncio.Runner() as runner:
            try:
                return runner.run(main())
            except Exception as error:
                # The runner makes KeyboardInterrupt of a cancellation only, not of what else was
                # raised while the tree was cut down.
                if getattr(runner, '_interrupt_count', 0):
                    raise KeyboardInterrupt from error
                raise

    def is_here(self) -> bool:
        # Not only the loop: a coroutine that is closed by hand or by the garbage collector runs
        # beside every task, and cannot wait.
        loop = asyncio._get_running_loop()
        return loop is self._loop and asyncio.current_task(loop) is not None

    def current_task(self) -> Task[Any] | None:
        return asyncio.current_task(self._loop)

    def new_wait(self) -> AsyncioWait:
        return AsyncioWait(self._loop)

    def new_event(self) -> AsyncioEvent:
        return AsyncioEvent(self._loop)

    def open_scope(self, *, shield: bool = False, deadline: float = inf) -> AsyncioScope:
        return AsyncioScope(shield=shield, deadline=deadline).open()

    async def cancellation(self, why: str) -> BaseException:
        return CancelledError(why)

    async def checkpoint(self) -> None:
        await asyncio.sleep(0)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def sleep_forever(self) -> None:
        await self._loop.create_future()

    def current_time(self) -> float:
        return self._loop.time()

    def start_task(self, function: Callable[[], Coroutine[Any, Any, Any]],
                   name: str) -> Task[None]:
        task = self._loop.create_task(self._in_background(function, name), name=name)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    # --- inside ------------------------------------------------------------------------------

    def _watch(self) -> None:
        self._wake_fd = native.wake_fd()
        self._loop.add_reader(self._wake_fd, native.drain)
        self._loop.call_soon(native.drain)  # Takes what is there already, and arms the fd.
        _loop.set_current(self)

    def _unwatch(self) -> None:
        _loop.set_current(None)
        if self._wake_fd >= 0 and not self._loop.is_closed():
            self._loop.remove_reader(self._wake_fd)
        self._wake_fd = -1

    async def _in_background(self, function: Callable[[], Coroutine[Any, Any, Any]],
                             name: str) -> None:
        try:
            await function()
        except (CancelledError, Interrupted):
            pass
        except BaseException as error:
            _loop.background_failed(name, error)

    async def _serve(self, coro: Coroutine[Any, Any, Any], call_id: int) -> None:
        # Finishing in here, not in a done callback, spares the reply a turn of the loop.
        try:
            value = await coro
            native.finish(call_id, value, None)
        except BaseException as error:
            if error.__traceback__ is not None:
                error.__traceback__ = error.__traceback__.tb_next  # Ours tells nobody anything.
            native.finish(call_id, None, error)
            if isinstance(error, KeyboardInterrupt) and not self._guest:
                raise  # It was meant for the root's process, not for this call.
        finally:
            self._calls.pop(call_id, None)
            if self._stopping and not self._calls:
                self._loop.stop()

    def _run_until_stopped(self, loop: asyncio.AbstractEventLoop) -> None:
        while True:
            try:
                loop.run_forever()
                return
            except Interrupted:
                # It struck between tasks. One that came too late for the call that it was meant for
                # is nothing; one for the whole actor has to reach the tasks that wait.
                self._interrupted(loop)
            except (SystemExit, KeyboardInterrupt) as error:
                # Raised by a task that serves no call. It ends this actor, never the process.
                native.cancel_self(f'a task of it raised {type(error).__name__}')

    def _interrupted(self, loop: asyncio.AbstractEventLoop) -> None:
        if not (self._ending or self._stopping):
            return
        self._struck = True
        loop.call_later(_loop.INTERRUPTED_END, loop.stop)
        for task in asyncio.all_tasks(loop):
            waits_on = getattr(task, '_fut_waiter', None)
            if waits_on is None or waits_on.done() or isinstance(waits_on, Task):
                continue
            try:
                waits_on.set_exception(Interrupted())
            except (RuntimeError, asyncio.InvalidStateError):
                pass  # A future that only its maker completes, such as gather()'s.

    def _end_tasks(self, loop: asyncio.AbstractEventLoop) -> None:
        """Ends what is left on the loop as asyncio.run() does. The stop ladder bounds it: its next
        rung interrupts, and then there is little time."""
        bound = _loop.INTERRUPTED_END if self._struck else None
        left = asyncio.all_tasks(loop)
        try:
            for task in left:
                task.cancel(self._ending or None)
            if left:
                loop.run_until_complete(asyncio.wait(left, timeout=bound))
            loop.run_until_complete(asyncio.wait_for(loop.shutdown_asyncgens(), bound))
        except (Interrupted, SystemExit, KeyboardInterrupt, TimeoutError, RuntimeError):
            pass  # Told to leave without them; RuntimeError: the loop was, by _interrupted().
        abandoned = [task for task in left if not task.done()]
        if abandoned:
            for task in abandoned:
                task._log_destroy_pending = False  # type: ignore[attr-defined]
            _loop.never_finalize(abandoned)
        for call_id in list(self._calls):
            self._calls.pop(call_id)
            native.finish(call_id, None, Interrupted())

    def _on_loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if isinstance(context.get('exception'), Interrupted):
            # Loops swallow what a callback raises, an interruption too. One that ended a task or a
            # future has done its work.
            if not loop.is_closed() and 'future' not in context and 'task' not in context:
                self._interrupted(loop)
            return
        loop.default_exception_handler(context)
