# SPDX-License-Identifier: Apache-2.0
"""The native half of `coppice`: one actor's port, seen from Python.

One module object per interpreter; all state is per interpreter. Every function is called on the
guest's own thread (the main thread when Python is the host) with its GIL held. Nothing here knows an
event loop: what has to reach one goes through the `Loop` object that set_loop() was given.

Start-up rule: `_coppice` imports nothing. A guest whose endpoints are all `def` never imports
`coppice`, asyncio or traceback unless something fails or its own modules do.
"""
from collections.abc import Buffer as ReadableBuffer, Callable, Coroutine, Mapping, Sequence
from typing import Any, Literal, Protocol

type Uid = tuple[str, str]  # (name, uuid)
type Stop = tuple[float, float, float, float, float, bool]  # ask, unseen, interrupt, force, total (s), may_force

version: str

class Interrupted(BaseException):
    """Raised inside running code of a guest that is being stopped, or whose call was cancelled."""

class Buffer:
    """Immutable bytes that actors of one process share: copied when they are made, and not on their
    way. A Buffer of a Buffer is itself."""

    def __new__(cls, bytes_like: ReadableBuffer, /) -> Buffer: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def __len__(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...  # bytes, bytearray, memoryview too.
    def __hash__(self) -> int: ...  # That of bytes.

class Link:
    """A connection to another actor. Opaque; portals hold one."""
    peer: Uid

class Loop(Protocol):
    """What _coppice needs of an event loop: implemented by coppice._asyncio and _trio.

    A root's is given to set_loop() once it runs. A guest's is made for its first coroutine, by
    `coppice._loop.guest_loop(name)`, which calls set_loop(); then _coppice calls run().
    """

    def run(self) -> None:
        """Runs the event loop on this thread, calling drain() first and then whenever wake_fd() is
        readable, until stop() is called and every spawned coroutine has ended."""
    def spawn(self, coro: Coroutine[Any, Any, Any], call_id: int) -> None:
        """Starts a coroutine of a served call; finish(call_id, value, error) when it ends, also when
        it ends at once."""
    def cancel_call(self, call_id: int) -> None: ...
    def settle(self, token: Any, value: Any, error: BaseException | None) -> None:
        """Completes what a call(token=) waits on. Must tolerate a token nobody waits on any more."""
    def dialog(self, token: Any, what: str, value: Any) -> None:
        """Something happened in a dialog. `what`: 'started' (value: the callee's first word),
        'readable' and 'writable' (take() or send() say something else than before), 'failed'
        (value: the exception; the other side's error, before the end), 'ended' (value: a pair of
        result and exception; to the caller, once, and nothing after it)."""
    def cancel_all(self, why: str) -> None:
        """The actor is to end: cancel the root's blocks or every served coroutine. `why` contains
        'SIGINT' if that was it: a root then leaves as KeyboardInterrupt."""
    def stop(self) -> None: ...

# --- who am I -------------------------------------------------------------------------------------
def self_uid() -> Uid | None: ...    # None: no actor in this interpreter (no root is open).
def parent_uid() -> Uid | None: ...  # None: the root.
def parent_link() -> Link | None: ...
def runtime_vars() -> dict[str, Any]: ...  # A copy; {} in a root that set none.

# --- a root with Python as the host; also the root script under `coppice run` ------------------------
def open_root(name: str, options: Mapping[str, Any]) -> None:
    """Opens the process's runtime with this interpreter as its root actor. Main thread only, unless
    the script runs under `coppice run` (then the runtime is there already and this only marks the
    root open). options: 'start_method': str, 'stop': Stop, 'payload_bytes_max': int,
    'exit_linger': float, 'registry_addrs': list of addresses, 'forkserver_preload': modules, and the
    'sys_path' by which they are found, 'guests': (forced_max, quarantined_max, then), 'warm':
    Mapping: warm guests are made before it returns, 'size': int, 'preload': list[str], 'loop': str,
    'refill': str, 'at_once': int, 'fill_within', 'preload_within': float, 'sys_path': list[str],
    'main_script': str, compiled ahead.
    RuntimeFailure (coppice._exceptions) if a root is open already."""
def close_root() -> bool:
    """Stops what is left, bounded, without the GIL. True: nothing is left. False: native code is in
    quarantine; the process will leave by _exit at its end (atexit callback of ours)."""
def child_main(uid: str, parent_addr: str) -> int:
    """Body of a process child (`coppice/_child.py`): connects to its parent, serves until told to
    end, returns the exit status. uid and parent_addr are reprs of tuples, as on the command line."""
def zygote_main(options: Mapping[str, Any]) -> int:
    """Body of the zygote (`coppice/_zygote.py`), whose connection is fd 3. options: 'preload': modules
    to import first. Returns in forked children only: the actor's exit status."""

# --- events -----------------------------------------------------------------------------------------
def set_loop(loop: Loop | None) -> None: ...
def wake_fd() -> int: ...
def look() -> bool:
    """For an event loop of ours that is about to wait: looks for a moment, without the GIL, if that
    is likely to pay. True: there is something to drain(), for which wake_fd() does not become
    readable."""
def drain() -> None:
    """Takes every event from the inbox and acts on it, then arms wake_fd(). Event loops call it when
    wake_fd() is readable. `def` endpoints run inside it."""

# --- calls --------------------------------------------------------------------------------------------
def call(link: Link, ns: str, func: str, kwargs: Mapping[str, Any], token: Any) -> int:
    """Encodes and sends at once; the outcome comes by loop.settle(token, value, error) from drain().
    TypeError if a value cannot travel, naming where it sits."""
def cancel_call(request: int) -> None: ...  # Ask the callee to cancel it; the outcome still comes.
def forget_call(request: int) -> None: ...  # The outcome is dropped.
def finish(call_id: int, value: Any, error: BaseException | None) -> None: ...  # Once; then ignored.
def cancel_self(why: str) -> None: ...      # As if the parent had asked.

# --- finding actors -----------------------------------------------------------------------------------
class Lookup:
    """Opaque. When it goes, its lookup ends and lets go of its connections."""
def lookup(kind: str, name: str, options: Mapping[str, Any], token: Any) -> Lookup:
    """kind: 'find', 'wait' (settled with whether there is somebody), 'query' (addresses or None) or
    'registry' (the table). options: 'registry_addrs': list of (host, port), (directory, file) or
    str, 'only_first': bool."""
def forget_lookup(lookup: Lookup) -> None: ...  # Ends it; it is not settled any more.
def found(lookup: Lookup) -> list[Link]: ...
def end_lookup(lookup: Lookup) -> None: ...
def expose(module: str, path: str) -> None: ...  # Imports it; its functions can be called.
def is_registrar() -> bool: ...
# --- dialogs: contexts and streams --------------------------------------------------------------------
# One is known by its number: what open_dialog() returned, or the call_id of one that is served. Of a
# call whose function `coppice.context` or `coppice.stream` marked, `coppice._endpoint.serve(function,
# kwargs, call_id, caller)` is called; of one that returned an async generator,
# `coppice._stream.serve_generator(generator, call_id)`. Both return the coroutine to spawn, the token
# of the dialog's events, and what it is acknowledged as.
type DialogKind = Literal['context', 'asyncgen']

def open_dialog(link: Link, ns: str, func: str, kwargs: Mapping[str, Any], token: Any,
                kind: DialogKind) -> int:
    """As call(), but what happens comes by loop.dialog(token, …). cancel_call() is for it, too."""
def start_dialog(dialog: int, value: Any) -> None: ...  # The callee's first word. Once.
def open_stream(dialog: int, messages: int | None, allow_overruns: bool) -> None:
    """Its user reads from now on; `messages` that are not taken make the other side wait."""
def send(dialog: int, value: Any) -> int:
    """0: sent. 1: the other side has no room, 'writable' follows. 2: this side has stopped, or has
    taken the end. 3: the dialog has ended, or its connection has."""
def take(dialog: int) -> Any:
    """The next value. Two that cannot travel say that there is none: Ellipsis, 'readable' follows;
    NotImplemented, none will come any more."""
def stop_stream(dialog: int) -> None: ...     # This side sends and reads no more.
def release_dialog(dialog: int) -> None: ...  # The caller is done with it, whether it has ended or not.
def peer_opened(dialog: int) -> bool: ...     # Does the other side read, as far as one can know?
def look_at_dialog(dialog: int) -> tuple[str, bool, bool] | None:
    """Its name on the wire; whether it is over: then 'ended' is on its way to its caller; whether
    the other side waits for room. None: released, or finished."""

# --- children -------------------------------------------------------------------------------------------
type ExitReport = tuple[str, str, int, float, str]  # rung, how, status, seconds, text
def start_child(name: str, options: Mapping[str, Any],
                on_event: Callable[[str, Any], None]) -> str:
    """Starts an actor; returns its uuid at once. on_event, from drain(): ('started', Link) or
    ('start_failed', (exception, ExitReport if it had begun)), perhaps ('lost', why) when its connection
    has closed, later once ('ended', (ExitReport, requested: bool)). Every call to it has been settled by then.
    After either, if it was abandoned, perhaps ('reclaimed', ExitReport): its code came back.
    options: 'start_method': str, 'gil': 'own'|'shared', 'enable_modules': Mapping[str, str] (name to
    file path, '' if unknown), 'main': Mapping[str, str] (init_main_from_name or init_main_from_path,
    or {}), 'sys_path': list[str], 'loop': str, 'stop': Stop, 'start_within': float, 'cwd': str,
    'executable': str, 'env': Mapping[str, str], 'runtime_vars': Mapping. BackendUnavailable / ValueError at once for a bad start_method."""
def stop_child(uuid: str, stop: Stop | None) -> None: ...  # 'ended' follows. Idempotent.
def backends() -> list[tuple[str, str | None]]: ...          # (key, refusal or None)
def spawn_methods() -> list[tuple[str, tuple[str, ...], tuple[str, ...], str | None, bool, str, str]]:
    """(key, aliases, languages, isolation, can be killed, needs, text) of every method, also of those
    that have no backend in this version."""
def place(key: str) -> tuple[str, str | None]:
    """(key, why it is another one) by which an actor is started that is to be started by `key`.
    BackendUnavailable if its guests have used up their budget."""
def backend_table() -> list[tuple[str, bool, str, tuple[bool, str, float] | None]]:
    """(key, available, reason, forced stops: (they work, why not, seconds)) likewise. Blocks."""
def command_line_method() -> str | None: ...  # What `coppice run --spawn-method` said.
def is_traced() -> bool: ...  # By tracemalloc: no sub-interpreter can start.

# --- errors ---------------------------------------------------------------------------------------------
def set_error_factory(make: Callable[[str, Mapping[str, Any]], BaseException]) -> None:
    """How errors of the runtime become exceptions: make(kind, fields). kinds: 'remote' (fields: type,
    source_type, message, traceback, source: Uid, path: list[Uid], members: list of the same; None or
    not there where it does not apply: canceller: Uid, sender: Uid, mismatch: {type, expected, got,
    cid, bad_msg: dict or None}),
    'closed' (message), 'died' (message, report: ExitReport, name), 'start' (message, report),
    'unavailable' (message), 'runtime' (message), 'limit' (message), 'stuck' (message)."""
def register_remote_error(cls: type[BaseException]) -> None:
    """Instances of `cls` have `.info` (the mapping above): relayed whole, with our uid appended."""
