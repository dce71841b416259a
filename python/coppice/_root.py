# SPDX-License-Identifier: Apache-2.0
"""The root actor when Python is the host: opened by whoever needs it first, closed by the last.

Blocks of this actor that can be cancelled are listed here, so that the end of the whole actor
reaches them all at once, not one after the other as tasks unwind.
"""
from coppice import _loop
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


class Defaults:
    """What children of this actor get when nobody says otherwise."""
    __slots__ = ('start_method', 'stop')

    def __init__(self, start_method: str = 'auto', stop: StopPolicy | None = None) -> None:
        self.start_method = start_method
        self.stop = stop if stop is not None else StopPolicy()


_blocks: dict[Block, None] = {}  # Open ones, oldest first.
_holders = 0                     # Of a root that we opened.
_defaults = Defaults()
_interrupt = False               # A Ctrl-C is to leave the root as KeyboardInterrupt, by our doing.
_at_exit_registered = False


def defaults() -> Defaults:
    return _defaults


def is_ours() -> bool:
    """Is this interpreter's actor a root that we opened?"""
    return _holders > 0


def leaving_error(adapter: Adapter, why: str) -> BaseException:
    """What a block raises that was cancelled from above and has nothing else to raise."""
    if _interrupt and is_ours():
        return KeyboardInterrupt()
    return adapter.cancelled(why)


def add(block: Block) -> None:
    _blocks[block] = None


def remove(block: Block) -> None:
    _blocks.pop(block, None)


def hold(name: str, start_method: str, stop: StopPolicy | None, options: dict[str, Any]) -> bool:
    """Makes sure that an actor is here: True if that takes a release() later. Opens a root if none
    is open; a root that we opened before stays open until its last holder lets go."""
    global _holders, _defaults
    if native.self_uid() is None:
        _open(name, Defaults(start_method, stop), options)
        _holders = 1
        return True
    _loop.require().on_cancel = cancel_all
    if _holders:
        _holders += 1
        return True
    return False


def release() -> None:
    """Lets go of the root; the last holder closes it. Nothing but quarantine is left then."""
    global _holders
    _holders -= 1
    if _holders == 0:
        _close()


def _open(name: str, chosen: Defaults, options: dict[str, Any]) -> None:
    global _defaults, _interrupt
    adapter = _loop.load(_loop.detect())
    native.open_root(name, {'start_method': chosen.start_method, 'stop': chosen.stop._native(),
                            **options})
    try:
        adapter.attach()
    except BaseException:
        native.close_root()
        raise
    adapter.on_cancel = cancel_all
    _defaults = chosen
    _interrupt = False
    _register_at_exit()


def _close() -> None:
    global _defaults, _holders
    adapter = _loop.current()
    _holders = 0
    _defaults = Defaults()
    _blocks.clear()
    try:
        if adapter is not None:
            adapter.detach()
    finally:
        native.close_root()


def cancel_all(why: str) -> None:
    """The actor is to end, says its parent, a signal, or the actor itself."""
    global _interrupt
    if is_ours() and 'SIGINT' in why:
        owner = _sigint_owner()
        if owner == 'program':
            return  # It has a handler of its own, and decides.
        _interrupt = owner == 'nobody'
    for block in list(_blocks):
        block.cancel_from_above(why)


def _sigint_owner() -> str:
    """Whose Python code hears of SIGINT: 'python' (KeyboardInterrupt, or the runner of asyncio that
    ends in one), 'program' (a handler of its own), 'nobody' (not the process's main thread)."""
    import signal
    import threading  # Both are there already if anything of asyncio is.

    if threading.current_thread() is not threading.main_thread():
        return 'nobody'

    handler = signal.getsignal(signal.SIGINT)
    inner = getattr(handler, 'func', handler)  # asyncio.Runner installs a partial.
    owner = getattr(inner, '__self__', None)
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
    if _holders:  # Its loop was dropped with the root open: no coroutine can close it any more.
        _close()


def refuse_second_root(what: str) -> None:
    uid = native.self_uid()
    if uid is not None:
        raise RuntimeFailure(f'{what} opens a root, but the actor {uid[0]!r} is running here '
                             'already: in an actor, await things in an `async def` endpoint')
