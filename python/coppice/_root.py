# SPDX-License-Identifier: Apache-2.0
"""The root actor when Python is the host: opened by whoever needs it first, closed by the last.

Blocks of this actor that can be cancelled are listed here, so that the end of the whole actor
reaches them all at once, not one after the other as tasks unwind.
"""
from coppice import _loop, _spawn
from coppice._exceptions import RuntimeFailure
from coppice._native import native
from coppice._policy import StopPolicy
from coppice._types import Any, Protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from coppice._loop import Adapter


class Block(Protocol):
    """A nursery, or the body of coppice.run()."""

    def cancel_from_above(self, why: str) -> None:
        """The actor is to end: at once, as far as nobody has cancelled the block's task already."""
    def root_closed(self) -> None:
        """The root was closed under it, and everything that it waits for has ended."""


class Root:
    """The root that is open. What it was opened with is what its children get by default."""
    __slots__ = ('adapter', 'start_method', 'stop', 'holders', 'interrupt')

    def __init__(self, adapter: Adapter | None = None, start_method: str = 'auto',
                 stop: StopPolicy | None = None) -> None:
        self.adapter = adapter
        self.start_method = start_method
        self.stop = stop if stop is not None else StopPolicy()
        self.holders = 1
        self.interrupt = False  # A Ctrl-C is to leave as KeyboardInterrupt, by our doing.


_blocks: dict[Block, None] = {}  # Open ones of this actor, oldest first.
_root: Root | None = None        # If this interpreter's actor is a root that we opened.
_at_exit_registered = False


def defaults() -> Root:
    """What children of this actor get when nobody says otherwise."""
    return _root if _root is not None else Root()


async def leaving_error(adapter: Adapter, why: str) -> BaseException:
    """What a block raises that was cancelled from above and has nothing else to raise."""
    if _root is not None and _root.interrupt:
        return KeyboardInterrupt()
    return await adapter.cancellation(why)


def registry_options(addresses: Any) -> dict[str, Any]:
    """What _open() is given so that a root looks for registrars."""
    return {} if addresses is None else {'registry_addrs': list(addresses)}


def add(block: Block) -> None:
    _blocks[block] = None


def remove(block: Block) -> None:
    _blocks.pop(block, None)


def hold(name: str, start_method: str, stop: StopPolicy | None,
         options: dict[str, Any]) -> Root | None:
    """Makes sure that an actor is here. Opens a root if none is open; one that we opened before
    stays open until its last holder lets go. Returns what to release(), None in a child."""
    if native.self_uid() is None:
        return _open(name, start_method, stop, options)
    _loop.require().on_cancel = cancel_all
    if _root is not None:
        _root.holders += 1
    return _root


def release(root: Root | None) -> None:
    """Lets go of a root; the last holder closes it. Nothing but quarantine is left then."""
    if root is not None and root is _root:
        root.holders -= 1
        if root.holders == 0:
            _close()


def _open(name: str, start_method: str, stop: StopPolicy | None, options: dict[str, Any]) -> Root:
    global _root
    adapter = _loop.load(_loop.detect())
    root = Root(adapter, start_method, stop)
    if 'guests' in options:
        options = {**options, 'guests': options['guests']._native()}
    if 'forkserver_preload' in options:
        options = {**options, 'sys_path': _spawn.search_path()}
    native.open_root(name, {'start_method': start_method, 'stop': root.stop._native(), **options})
    try:
        adapter.attach()
    except BaseException:
        native.close_root()
        raise
    adapter.on_cancel = cancel_all
    _root = root
    _register_at_exit()
    return root


def _close() -> None:
    global _root
    root, _root = _root, None
    try:
        if root is not None and root.adapter is not None:
            root.adapter.detach()
    finally:
        native.close_root()
        for block in list(_blocks):  # Of tasks that were dropped, and may still be picked up again.
            block.root_closed()
        _blocks.clear()


def cancel_all(why: str) -> None:
    """The actor is to end, says its parent, a signal, or the actor itself."""
    if _root is not None and 'SIGINT' in why:
        owner = _sigint_owner()
        if owner == 'program':
            return  # It has a handler of its own, and decides.
        _root.interrupt = owner == 'nobody'
    for block in list(_blocks):
        block.cancel_from_above(why)


def _sigint_owner() -> str:
    """Whose Python code hears of SIGINT: 'python' (KeyboardInterrupt, or the runner of asyncio that
    ends in one), 'program' (a handler of its own), 'nobody' (not the process's main thread). trio
    counts as nobody: it raises KeyboardInterrupt in whatever task runs, perhaps not in ours."""
    import signal
    import threading  # Both are there already if anything of asyncio is.

    if threading.current_thread() is not threading.main_thread():
        return 'nobody'

    handler = signal.getsignal(signal.SIGINT)
    if handler is None:  # Not Python's at all: the program that hosts this interpreter handles it.
        return 'nobody'
    inner = getattr(handler, 'func', handler)  # asyncio.Runner installs a partial.
    owner = getattr(inner, '__self__', None)
    if getattr(handler, '__module__', None) == 'trio._core._ki':
        return 'nobody'
    if handler is signal.default_int_handler or type(owner).__module__ == 'asyncio.runners':
        return 'python'
    return 'program'


def _register_at_exit() -> None:
    global _at_exit_registered
    if not _at_exit_registered:
        import atexit

        atexit.register(_at_exit)
        _at_exit_registered = True


def _at_exit() -> None:
    if _root is not None:  # Its loop was dropped: no coroutine can close it any more.
        _close()


def refuse_second_root(what: str) -> None:
    uid = native.self_uid()
    if uid is not None:
        _loop.refuse_in_main_script()
        raise RuntimeFailure(f'{what} opens a root, but the actor {uid[0]!r} is running here '
                             'already: in an actor, await things in an `async def` endpoint')
