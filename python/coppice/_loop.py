# SPDX-License-Identifier: Apache-2.0
"""The one interface to event loops. Everything above it knows no asyncio; a loop is one module.

An adapter has two faces: `Loop` of `_coppice.pyi`, which the native half calls, and this one, which
nurseries and portals call. Both are used on the actor's own thread only.
"""
import sys

from coppice._exceptions import NoRuntime, RuntimeFailure
from coppice._native import native
from coppice._types import Any, Callable, Coroutine, Protocol

inf = float('inf')
INTERRUPTED_END = 0.2  # Seconds for tasks to unwind after an interruption struck the loop itself.


class Wait(Protocol):
    """Something that is settled once and waited for by one task at a time."""
    settled: bool
    value: Any
    error: BaseException | None

    def settle(self, value: Any, error: BaseException | None) -> None:
        """The first one counts; later ones are ignored."""
    async def wait(self) -> Any:
        """The value, or raises the error. A checkpoint unless it is settled. Cancelling the wait
        leaves it whole: it can still be settled, and waited for again."""
    async def wait_shielded(self, seconds: float | None = None) -> None:
        """Until it is settled or `seconds` have passed, whatever else happens; raises neither its
        error nor a timeout. A cancellation that is in force at the end is raised there, and so is a
        KeyboardInterrupt that came meanwhile."""


class Event(Protocol):
    """A flag to wait for, as often as one likes and in any number of tasks: 'there is something to
    read', say. Whoever waits looks at its own condition again when it wakes."""

    def is_set(self) -> bool: ...
    def set(self) -> None:
        """Wakes everybody, and from now on nobody waits."""
    def clear(self) -> None:
        """From now on everybody waits. Those whom set() woke are awake."""
    async def wait(self) -> None:
        """A checkpoint unless it is set, which costs nothing."""


class Scope(Protocol):
    """A part of a task, from open_scope() to close(), that others can cancel.

    Cancelled is a level, not an edge: from cancel() to close() every wait inside raises, but for
    those in a scope with shield=True further in, and in wait_shielded().
    """

    @property
    def cancel_called(self) -> bool: ...
    def cancel(self) -> None:
        """Once. A task that is already being cancelled from outside is still told."""
    def cancel_unless_cancelled(self) -> None:
        """cancel(), if nobody outside is cancelling the task at this moment."""
    async def close(self, error: BaseException | None) -> BaseException | None:
        """The body has ended with `error`; called by the task that opened the scope. Returns what
        is left of it: not the scope's own cancellation, but always one from outside, and that bare,
        not in a group. From now on cancel() does nothing."""
    def rearm(self) -> None:
        """A cancellation from outside gives way to errors: it is to come again at the task's next
        checkpoint."""


class Background(Protocol):
    """A task that start_task() started."""

    def cancel(self) -> None: ...


class Adapter(Protocol):
    """What coppice needs of an event loop: coppice._asyncio and coppice._trio have it."""
    name: str
    cancelled: type[BaseException]  # What a checkpoint of a cancelled task raises.
    on_cancel: Callable[[str], None]  # Called when the actor is to end; set by coppice._root.

    # --- called by the native half: see Loop in _coppice.pyi ---
    def run(self) -> None: ...
    def spawn(self, coro: Coroutine[Any, Any, Any], call_id: int) -> None: ...
    def cancel_call(self, call_id: int) -> None: ...
    def settle(self, token: Any, value: Any, error: BaseException | None) -> None: ...
    def dialog(self, token: Any, what: str, value: Any) -> None:
        """Something happened to a dialog: `token.on_dialog(what, value)`. `what` is 'started',
        'readable', 'writable', 'failed' or 'ended'."""
    def cancel_all(self, why: str) -> None: ...
    def stop(self) -> None: ...

    # --- called by the package ---
    def attach(self) -> None:
        """Serves the root on the loop that is running on this thread, until detach()."""
    def detach(self) -> None: ...
    def run_main(self, main: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Runs a loop for `main()`, which attaches to it; Ctrl-C cancels it and then leaves as
        KeyboardInterrupt."""
    def is_here(self) -> bool:
        """Is this code running in a task of this adapter's loop?"""
    def current_task(self) -> Any:
        """The task that this code runs in. Two calls in one task give the same object."""
    def new_wait(self) -> Wait: ...
    def new_event(self) -> Event: ...
    def open_scope(self, *, shield: bool = False, deadline: float = inf) -> Scope:
        """Around what the calling task does next, until close(). Scopes are closed in the reverse
        order of their opening. `deadline` is a current_time()."""
    async def cancellation(self, why: str) -> BaseException:
        """An error that leaves a task as if it had been cancelled, to be raised by hand."""
    async def checkpoint(self) -> None: ...
    async def sleep(self, seconds: float) -> None: ...
    async def sleep_forever(self) -> None: ...
    def current_time(self) -> float:
        """Seconds on the loop's own clock: what deadlines are measured in."""
    def start_task(self, function: Callable[[], Coroutine[Any, Any, Any]],
                   name: str) -> Background:
        """Runs `function()` beside everything else: a relay of ours, never code of the user. It is
        cancelled when the actor's loop ends or the root closes; an error out of it ends the
        actor."""


_current: Adapter | None = None  # The adapter of this interpreter's actor, once it has one.


def current() -> Adapter | None:
    return _current


def set_current(adapter: Adapter | None) -> None:
    global _current
    _current = adapter


def check(name: str) -> str:
    """The name of an event loop that can be had, or an error that names the choices."""
    if name not in ('asyncio', 'trio'):
        raise ValueError(f"there is no event loop {name!r}: coppice knows 'asyncio' and 'trio'")
    if name == 'trio' and 'trio' not in sys.modules:
        from importlib.util import find_spec  # Finds it without the cost of importing it.

        if find_spec('trio') is None:
            raise RuntimeFailure("loop='trio' needs the package trio, which is not on sys.path: "
                                 'install it, `pip install trio`')
    return name


def load(name: str) -> Adapter:
    """A new adapter. Imports its loop, and no other."""
    if check(name) == 'trio':
        from coppice._trio import TrioAdapter
        return TrioAdapter()
    from coppice._asyncio import AsyncioAdapter
    return AsyncioAdapter()


def guest_loop(name: str) -> Adapter:
    """Called by the native half for a guest's first `async def` endpoint; it then calls run()."""
    adapter = load(name)
    native.set_loop(adapter)
    return adapter


def detect() -> str:
    """The name of the event loop that runs the calling coroutine."""
    asyncio = sys.modules.get('asyncio')
    if asyncio is not None and asyncio._get_running_loop() is not None:
        return 'asyncio'
    trio = sys.modules.get('trio')
    if trio is not None and trio.lowlevel.in_trio_run():
        return 'trio'
    raise RuntimeFailure('no event loop that coppice knows is running here: start with '
                         'coppice.run(main), asyncio.run(main()) or trio.run(main)')


def background_failed(name: str, error: BaseException) -> None:
    """A task of start_task() raised: a fault of ours, which must be seen and not be survived."""
    sys.excepthook(type(error), error, error.__traceback__)
    native.cancel_self(f'its task {name!r} failed: {type(error).__name__}: {error}')


def never_finalize(abandoned: Any) -> None:
    """Keeps coroutines that would not end from running once more, when the interpreter ends.

    The finalizer of a suspended coroutine raises GeneratorExit in it. One that swallows everything
    would go round for ever in there, in the thread that ends the interpreter. A cycle in the
    permanent generation of the collector is never looked at again; its memory goes with the
    interpreter's.
    """
    import gc

    cycle: list[Any] = [abandoned]
    cycle.append(cycle)
    gc.freeze()


def refuse_in_main_script() -> None:
    """The commonest mistake has a sentence of its own: a main script without its main guard."""
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_globals.get('__name__') == '__mp_main__' and frame.f_code.co_name == '<module>':
            raise RuntimeFailure(
                f'line {frame.f_lineno} of the main script starts actors, and children run that '
                "script too: put the line below `if __name__ == '__main__':`")
        frame = frame.f_back  # type: ignore[assignment]


def require() -> Adapter:
    """The adapter of this interpreter's actor, for a coroutine that runs on it."""
    adapter = _current
    if adapter is not None and adapter.is_here():
        return adapter
    uid = native.self_uid()
    if uid is None:
        raise NoRuntime('no actor is running here: start with coppice.run(main), or open a nursery')
    if adapter is None:
        refuse_in_main_script()
        raise RuntimeFailure(
            f'the actor {uid[0]!r} runs here without an event loop: coppice can only be awaited in '
            'an `async def` endpoint, not in an event loop that a `def` endpoint started')
    raise RuntimeFailure(
        f'the actor {uid[0]!r} lives on another event loop of this interpreter: use it from '
        'coroutines of that loop only (an interpreter has one actor, an actor one loop)')
