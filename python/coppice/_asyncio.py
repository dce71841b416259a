# SPDX-License-Identifier: Apache-2.0
"""asyncio, as coppice sees an event loop: the first implementation of `_loop.Adapter`.

asyncio's cancellation is an edge, not a level: one `Task.cancel()` raises CancelledError once, and
only `Task.cancelling()` remembers it. So every scope counts: what it asked for itself it takes back
with `uncancel()`, and whatever is left above the count it found came from outside.
"""
import asyncio
import gc
from asyncio import CancelledError, Future, Task

from coppice import _loop
from coppice._exceptions import Interrupted
from coppice._native import native
from coppice._types import Any, Callable, Coroutine

INTERRUPTED_END = 0.2  # Seconds for tasks to unwind after an interruption struck the loop itself.


def _never_finalize(tasks: list[Task[Any]]) -> None:
    """Keeps coroutines that would not end from running once more, when the interpreter ends.

    The finalizer of a suspended coroutine raises GeneratorExit in it. One that swallows everything
    would go round for ever in there, in the thread that ends the interpreter. A cycle in the
    permanent generation of the collector is never looked at again; its memory goes with the
    interpreter's.
    """
    if tasks:
        for task in tasks:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        cycle: list[Any] = [tasks]
        cycle.append(cycle)
        gc.freeze()


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
            if timer is not None:
                timer.cancel()
        if cancelled is not None:
            raise cancelled


class AsyncioScope:
    """`_loop.Scope` over Task.cancel() and its count."""
    __slots__ = ('_task', '_before', '_asked', '_closed')

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        task = asyncio.current_task(loop)
        if task is None:
            raise RuntimeError('coppice has to be awaited inside an asyncio task')
        self._task = task
        self._before = task.cancelling()
        self._asked = False
        self._closed = False

    def cancel(self) -> None:
        if not self._closed and not self._asked:
            self._asked = True
            self._task.cancel()

    def cancel_unless_cancelled(self) -> None:
        if self._task.cancelling() <= self._before:
            self.cancel()

    async def close(self, error: BaseException | None) -> BaseException | None:
        self._closed = True
        if not self._asked:
            return error
        if not isinstance(error, CancelledError) and getattr(self._task, '_must_cancel', False):
            # The body ended before our cancellation reached it: take delivery here, or the next
            # await after the block would raise it.
            try:
                await asyncio.sleep(0)
            except CancelledError as late:
                if error is None:
                    error = late
        outside = self._task.uncancel() > self._before
        if isinstance(error, CancelledError) and not outside:
            return None
        return error

    def rearm(self) -> None:
        if self._task.cancelling() > self._before:
            self._task.uncancel()
            self._task.cancel()


class AsyncioAdapter:
    """`_loop.Adapter`: attached to a loop that runs already (a root), or running one (a guest)."""
    name = 'asyncio'
    cancelled: type[BaseException] = CancelledError

    def __init__(self) -> None:
        self.on_cancel: Callable[[str], None] = lambda why: None
        self._calls: dict[int, Task[None]] = {}  # Served coroutines that run, by call id.
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
            task.cancel()

    def settle(self, token: Any, value: Any, error: BaseException | None) -> None:
        token.settle(value, error)

    def cancel_all(self, why: str) -> None:
        if self._guest and not self._ending:
            self._ending = why or 'the actor is to end'
            for task in list(self._calls.values()):
                task.cancel(why)
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

    def new_wait(self) -> AsyncioWait:
        return AsyncioWait(self._loop)

    def open_scope(self) -> AsyncioScope:
        return AsyncioScope(self._loop)

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
        loop.call_later(INTERRUPTED_END, loop.stop)
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
        bound = INTERRUPTED_END if self._struck else None
        left = asyncio.all_tasks(loop)
        try:
            for task in left:
                task.cancel(self._ending or None)
            if left:
                loop.run_until_complete(asyncio.wait(left, timeout=bound))
            loop.run_until_complete(asyncio.wait_for(loop.shutdown_asyncgens(), bound))
        except (Interrupted, SystemExit, KeyboardInterrupt, TimeoutError, RuntimeError):
            pass  # Told to leave without them; RuntimeError: the loop was, by _interrupted().
        _never_finalize([task for task in left if not task.done()])
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
