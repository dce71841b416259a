# SPDX-License-Identifier: Apache-2.0
"""Cancel scopes for code that runs on either event loop: trio's own there, ours on asyncio."""
import sys

from coppice import _loop
from coppice._loop import inf
from coppice._types import Any, AbstractContextManager, Self, TracebackType

TYPE_CHECKING = False


class CancelScope:
    """A part of a task that can be cancelled, or has a deadline.

        with coppice.CancelScope(deadline=coppice.current_time() + 3) as scope:
            …                       # Anybody may call scope.cancel().
        if scope.cancelled_caught:  # The block was left early.
            …

    Cancelled is a level, not an edge: from then on every wait inside raises (CancelledError,
    trio.Cancelled), until control leaves the block. In a scope with shield=True nothing is noticed
    of the scopes around it; `Task.cancel()` of asyncio it cannot keep out. On trio this makes a
    trio.CancelScope.
    """
    deadline: float       # In coppice.current_time(). Can be set.
    shield: bool          # Can be set.
    cancel_called: bool
    cancelled_caught: bool

    def __new__(cls, *, deadline: float = inf, shield: bool = False) -> Any:
        if _loop.detect() == 'trio':
            return _trio().CancelScope(deadline=deadline, shield=shield)
        return _asyncio().AsyncioScope(deadline=deadline, shield=shield)

    if TYPE_CHECKING:
        def cancel(self, reason: str | None = None) -> None: ...
        def __enter__(self) -> Self: ...
        def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                     traceback: TracebackType | None) -> bool: ...


def current_time() -> float:
    """Seconds on the clock of the event loop: what deadlines are measured in."""
    if _loop.detect() == 'trio':
        time: float = _trio().current_time()
        return time
    return _asyncio().current_time()


def current_effective_deadline() -> float:
    """When the calling task will be cancelled: the soonest deadline of the scopes around it, -inf
    if it is cancelled already, inf if nothing is known."""
    module = _trio() if _loop.detect() == 'trio' else _asyncio()
    deadline: float = module.current_effective_deadline()
    return deadline


def move_on_after(seconds: float, shield: bool = False) -> CancelScope:
    """A scope that is cancelled after `seconds`: what is after the block goes on."""
    return CancelScope(deadline=current_time() + seconds, shield=shield)


class _FailAfter:
    """The `with` of fail_after() on asyncio."""
    __slots__ = ('_scope', '_seconds')

    def __init__(self, seconds: float, shield: bool) -> None:
        self._scope = move_on_after(seconds, shield)
        self._seconds = seconds

    def __enter__(self) -> CancelScope:
        return self._scope.__enter__()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> bool:
        caught = self._scope.__exit__(kind, error, traceback)
        if self._scope.cancelled_caught:
            raise TimeoutError(f'it took longer than {self._seconds:g} s') from error
        return caught


def fail_after(seconds: float, shield: bool = False) -> AbstractContextManager[CancelScope]:
    """Like move_on_after(), but the block raises: TimeoutError, or on trio trio.TooSlowError."""
    if _loop.detect() == 'trio':
        block: AbstractContextManager[CancelScope] = _trio().fail_after(seconds, shield=shield)
        return block
    return _FailAfter(seconds, shield)


def _trio() -> Any:
    return sys.modules['trio']


def _asyncio() -> Any:
    from coppice import _asyncio as module
    return module
