# SPDX-License-Identifier: Apache-2.0
"""coppice.run(), and what an actor may know of itself."""
from coppice import _loop, _root, _spawn
from coppice._exceptions import NoRuntime
from coppice._native import native
from coppice._policy import StopPolicy, WarmPool, warm_options
from coppice._portal import Portal
from coppice._types import Any, Awaitable, Callable, LoopName, Sequence, StartMethod, Uid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from coppice._discovery import Address
else:
    Address = object


class _Body:
    """The task that coppice.run() runs, as a block that is cancelled from above."""

    def __init__(self, adapter: _loop.Adapter) -> None:
        self._adapter = adapter
        self._scope = adapter.open_scope()
        self._above: str | None = None

    def cancel_from_above(self, why: str) -> None:
        self._above = why
        self._scope.cancel_unless_cancelled()

    def root_closed(self) -> None:
        pass

    @property
    def told_to_end(self) -> bool:
        return self._above is not None

    async def close(self, raised: BaseException | None) -> BaseException | None:
        left = await self._scope.close(raised)
        if left is None and raised is not None and self._above is not None:
            return await _root.leaving_error(self._adapter, self._above)
        return left


async def _main(main: Callable[..., Awaitable[Any]], args: tuple[Any, ...], name: str,
                start_method: str, stop: StopPolicy | None, options: dict[str, Any],
                is_daemon: bool = False) -> Any:
    root = _root.hold(name, start_method, stop, options)
    body = None
    try:
        body = _Body(_loop.require())
        _root.add(body)
        result: Any = None
        raised: BaseException | None = None
        try:
            result = await _awaitable(main, args)
        except BaseException as error:
            raised = error
        left = await body.close(raised)
        if left is not None and _is_interrupt(left, root):
            raise KeyboardInterrupt from left
        if is_daemon and body.told_to_end and isinstance(left, _loop.require().cancelled):
            return None
        if left is not None:
            raise left
        return result
    finally:
        if body is not None:
            _root.remove(body)
        _root.release(root)


def _is_interrupt(left: BaseException, root: _root.Root | None) -> bool:
    """Did a Ctrl-C lead to this error, which does not say so itself?"""
    if isinstance(left, BaseExceptionGroup):  # trio's nurseries wrap everything.
        found = left.subgroup(KeyboardInterrupt) is not None
    else:
        found = False
    return found or (root is not None and root.interrupt
                     and not isinstance(left, (KeyboardInterrupt, SystemExit)))


def _awaitable(main: Callable[..., Awaitable[Any]], args: tuple[Any, ...]) -> Awaitable[Any]:
    started = main(*args)
    if not hasattr(started, '__await__'):
        raise TypeError(f'coppice.run() needs an `async def` function: {main!r} returned '
                        f'{started!r}')
    return started


def run[*Ts, R](main: Callable[[*Ts], Awaitable[R]], /, *args: *Ts,
                start_method: StartMethod = 'auto', loop: LoopName = 'asyncio',
                stop: StopPolicy | None = None, name: str = 'root',
                registry_addrs: Sequence[Address] | None = None, loglevel: str | None = None,
                warm: WarmPool | int | None = None, **transports: Any) -> R:
    """Runs `await main(*args)` as the root actor of this process, and returns its result.

        if __name__ == '__main__':
            coppice.run(main, start_method='process')

    When it returns, or raises, every actor has ended. start_method and stop are what actors get
    unless their nursery or start_actor() says otherwise; $COPPICE_SPAWN_METHOD overrides the
    start_method of run() and nurseries, and `coppice run --spawn-method` all of them, but neither
    what start_actor() is given. Ctrl-C cancels main() and the whole tree,
    stuck actors too, and then leaves as KeyboardInterrupt; a second Ctrl-C does not wait for
    anybody to unwind. `asyncio.run(main())` does as well: the first nursery then opens the root.

    registry_addrs is where a registrar is looked for: one that is there is joined; where nobody is,
    the root becomes it and listens at all of them. Without, the root is the registrar of its tree.
    warm is a WarmPool, or its size: sub-interpreters that are up before main() runs, for actors to
    start in. transports are those of open_nursery(), like enable_transports=['tcp'].
    """
    if not callable(main):
        if hasattr(main, 'close'):
            main.close()  # A coroutine: do not also warn that it was never awaited.
        raise TypeError('coppice.run() takes the function and its arguments: write run(main, 1), '
                        'not run(main(1))')
    _root.refuse_second_root('coppice.run()')
    _spawn.choose(*_spawn.default(start_method))
    adapter = _loop.load(loop)
    options = {**_root.registry_options(registry_addrs),
               **warm_options(warm, _spawn.program_to_warm), **transports}
    result: R = adapter.run_main(lambda: _main(main, args, name, start_method, stop, options))
    return result


def run_daemon(enable_modules: Sequence[str], *, name: str = 'root',
               registry_addrs: Sequence[Address] | None = None,
               start_method: StartMethod = 'auto', loop: LoopName = 'asyncio',
               stop: StopPolicy | None = None, loglevel: str | None = None,
               warm: WarmPool | int | None = None, **transports: Any) -> None:
    """Runs a root actor that serves the functions of `enable_modules`, and registers others, until
    somebody cancels it (then it returns) or a Ctrl-C does (KeyboardInterrupt).

        coppice.run_daemon(['service'], name='service', registry_addrs=[('127.0.0.1', 1616)])
    """
    _root.refuse_second_root('coppice.run_daemon()')
    _spawn.choose(*_spawn.default(start_method))
    modules = _spawn.module_paths(enable_modules)
    adapter = _loop.load(loop)
    options = {**_root.registry_options(registry_addrs),
               **warm_options(warm, _spawn.program_to_warm), **transports}

    async def serve() -> None:
        for module, path in modules.items():
            native.expose(module, path)
        await _loop.require().new_wait().wait()

    adapter.run_main(lambda: _main(serve, (), name, start_method, stop, options, is_daemon=True))


class Actor:
    """The actor that the calling code runs in."""
    __slots__ = ('uid', 'parent_uid')

    def __init__(self, uid: Uid, parent_uid: Uid | None) -> None:
        self.uid = uid
        self.parent_uid = parent_uid

    @property
    def name(self) -> str:
        return self.uid[0]

    @property
    def uuid(self) -> str:
        return self.uid[1]

    @property
    def is_registrar(self) -> bool:
        """Does it serve others who look for actors?"""
        return native.is_registrar()

    @property
    def is_root(self) -> bool:
        return self.parent_uid is None

    @property
    def parent(self) -> Portal | None:
        """A portal to the actor that started this one; None in the root."""
        link = native.parent_link()
        return Portal(link) if link is not None else None

    def cancel_soon(self) -> None:
        """Ends this actor, as if its parent had asked. Returns at once; `def` code may call it."""
        native.cancel_self(f'actor {self.name!r} cancelled itself')

    def __repr__(self) -> str:
        return f'<Actor {self.name!r} ({self.uuid[:8]})>'


def current_actor() -> Actor:
    """The actor that this code runs in. NoRuntime where there is none."""
    uid = native.self_uid()
    if uid is None:
        raise NoRuntime('no actor is running here: start with coppice.run(main), or open a nursery')
    return Actor(uid, native.parent_uid())


def get_runtime_vars() -> dict[str, Any]:
    """What this actor was told by its ancestors: a copy."""
    return native.runtime_vars()
