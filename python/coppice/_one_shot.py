# SPDX-License-Identifier: Apache-2.0
"""Actors that are started for one call."""
from coppice._exceptions import ContextCancelled, RemoteActorError, TransportClosed
from coppice._native import native
from coppice._portal import Portal, named, was_unwound
from coppice._types import Any, Uid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from coppice import _loop
    from coppice._nursery import ActorNursery, Child


# What run_in_actor() takes of start_actor()'s options; all else is the function's.
OPTIONS = ('enable_modules', 'start_method', 'gil', 'stop', 'cwd', 'inherit_parent_main',
           'proc_kwargs', 'loglevel', 'enable_transports')


class Result:
    """The one call of such an actor: what is told of it is its outcome."""
    __slots__ = ('_nursery', '_child', 'settled', 'value', 'error', 'taken', '_waiters')

    def __init__(self, nursery: ActorNursery, child: Child) -> None:
        self._nursery = nursery
        self._child = child
        self.settled = False
        self.value: Any = None
        self.error: BaseException | None = None
        self.taken = False  # Somebody has got the error.
        self._waiters: list[_loop.Wait] = []

    def settle(self, value: Any, error: BaseException | None) -> None:
        """From drain(), as the token of the call. The actor has done what it was for."""
        if self.settled:
            return
        self.settled = True
        self.value = value
        self.error = error
        if isinstance(error, TransportClosed) and error.uid is None:
            error.uid = self._child.uid
        if self._child.stopping and error is not None and _is_end_of_actor(error):
            self.taken = True  # Somebody wanted that: no failure.
        if error is None or self.taken:
            self._forget()
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.settle(None, None)
        if not waiters:
            self._nursery._on_result()
        self._child.ask_to_stop()

    async def wait(self) -> Any:
        while not self.settled:
            waiter = self._nursery._adapter.new_wait()
            self._waiters.append(waiter)
            try:
                await waiter.wait()
            finally:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)  # It was cancelled, and takes nothing.
        if self.error is not None:
            self.taken = True
            self._forget()
            raise self.error
        return self.value

    def _forget(self) -> None:
        """The nursery need not ask for its failure any more."""
        results = self._nursery._results
        if self in results:
            results.remove(self)

    def failure(self, told: set[Uid]) -> BaseException | None:
        """An error that nobody has taken, and that is not the death of one in `told`."""
        error = self.error
        if self.taken or (isinstance(error, TransportClosed) and error.uid in told):
            return None
        return error


def _is_end_of_actor(error: BaseException) -> bool:
    """Is that what a call ends with because its actor was told to end?"""
    return (isinstance(error, (ContextCancelled, TransportClosed)) or was_unwound(error)
            or (isinstance(error, RemoteActorError) and error.src_type_str == 'TransportClosed'))


class OneShotPortal[R](Portal):
    """What run_in_actor() gives: a portal, and the result of the actor's one call."""
    __slots__ = ('_result',)

    def __init__(self, child: Child, result: Result) -> None:
        super().__init__(None, child)
        self._result = result

    async def wait_for_result(self) -> R:
        """Waits for the function's end: gives its result or raises its error, as often as it is
        asked. An error that nobody takes in this way is raised by the nursery, when its body has
        ended."""
        return await self._result.wait()  # type: ignore[no-any-return]


async def run_in_actor(nursery: ActorNursery, func: Any, args: tuple[Any, ...],
                       kwargs: dict[str, Any], name: str | None,
                       options: dict[str, Any]) -> OneShotPortal[Any]:
    ns, function, kwargs = named('run_in_actor', func, args, kwargs)
    modules = [*(options.pop('enable_modules', None) or ()), ns]
    portal = await nursery.start_actor(name or function, enable_modules=modules,
                                       restart='temporary', **options)
    child: Any = portal._child
    result = Result(nursery, child)
    if child.link is None:
        result.settle(None, child.death())
    else:
        try:
            native.call(child.link, ns, function, kwargs, result)
        except BaseException:
            child.ask_to_stop()  # An argument that cannot travel.
            raise
    nursery._results.append(result)
    return OneShotPortal(child, result)
