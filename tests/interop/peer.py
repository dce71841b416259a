# SPDX-License-Identifier: Apache-2.0
"""An actor that speaks tractor's protocol and has nothing of Coppice: threads, sockets, msgspec.

    with Peer('root', 'tcp', folder, is_registrar=True, modules={'app': {'add': add}}) as root:
        child = root.spawn([python, '-m', 'tractor._child'], {'app': '/path/app.py'})
        assert child.link.call('app', 'add', x=1, y=2) == 3

It plays every role: parent, child, registrar, client; caller and callee of calls, generators and
contexts with streams; the one who cancels and the one who is cancelled. `peer.journal` holds every
frame. What may be called is a plain function; a generator function streams one way; a function that
is marked `@context` takes a Task as `ctx`. Every wait is bounded by `PATIENCE`.
"""
import ast
import collections
import inspect
import os
import queue
import socket
import subprocess
import threading
import traceback
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import wire
from wire import (Aid, CancelAck, Error, Msg, Return, SpawnSpec, Start, StartAck, Started, Stop,
                  Uid, Yield)

PATIENCE = 10.0  # Seconds that anything may take.


class RemoteError(Exception):
    """The peer answered with Error."""

    def __init__(self, error: Error) -> None:
        super().__init__(f'{error.boxed_type_str}: {error.message}')
        self.error = error


class Cancelled(Exception):
    """Raised in a task of ours that was cancelled, at its next wait."""


class EndOfStream(Exception):
    """The peer said Stop, or its final message came while we waited for another Yield."""


class PeerGone(Exception):
    """The connection closed while an answer was due."""


def context(function: Callable) -> Callable:
    function.is_context = True
    return function


def boxed(error: BaseException, me: Uid, cid: str | None, canceller: Uid | None = None) -> Error:
    """First hop: its own class name twice. Further hops: what came is kept, our uid is appended."""
    text = ''.join(traceback.format_exception(error))
    if isinstance(error, RemoteError):
        came = error.error
        return Error(came.src_uid, came.src_type_str, 'RemoteActorError', [*came.relay_path, me],
                     str(error), text, came.canceller, None, cid)
    name = 'ContextCancelled' if isinstance(error, Cancelled) else type(error).__name__
    return Error(me, name, name, [me], str(error), text, canceller, None, cid)


class Dialog:
    """One cid, seen from the side that asked. Also what both sides of a stream have in common."""

    def __init__(self, link: 'Link', cid: str) -> None:
        self.link, self.cid = link, cid
        self.inbox: queue.Queue[Msg | None] = queue.Queue()
        self.put_back: collections.deque[Msg] = collections.deque()
        self.said_stop = self.heard_stop = False
        self.first: Any = None
        self.functype = ''

    def take(self, within: float = PATIENCE) -> Msg:
        if self.put_back:
            return self.put_back.popleft()
        try:
            message = self.inbox.get(timeout=within)
        except queue.Empty:
            raise TimeoutError(f'nothing came for {self.cid}\n{self.link.peer.journal.text()}')
        if message is None:
            self.inbox.put(None)
            raise PeerGone(self.link.wire.name)
        return message

    def expect(self, kind: type, within: float = PATIENCE) -> Any:
        message = self.take(within)
        if isinstance(message, Error):
            raise RemoteError(message)
        assert isinstance(message, kind), f'{kind.__name__} was due, {message} came'
        return message

    def send(self, value: Any) -> None:
        self.link.wire.send(Yield(self.cid, value))

    def stop(self) -> None:
        """Ends our half of the stream. Who was told Stop already does not say it."""
        if not self.said_stop and not self.heard_stop:
            self.said_stop = True
            self.link.wire.send(Stop(self.cid))

    def receive(self, within: float = PATIENCE) -> Any:
        message = self.take(within)
        match message:
            case Yield():
                return message.pld
            case Stop():
                self.heard_stop = True
                raise EndOfStream
            case Error():
                raise RemoteError(message)
            case _:
                self.put_back.append(message)
                raise EndOfStream

    def __iter__(self) -> Iterator[Any]:
        while True:
            try:
                yield self.receive()
            except EndOfStream:
                return

    def result(self, within: float = PATIENCE) -> Any:
        """Drops what still streams in; then the final message."""
        while isinstance(message := self.take(within), (Yield, Stop, Started)):
            pass
        self.link.forget(self.cid)
        if isinstance(message, Error):
            raise RemoteError(message)
        return message.pld

    def cancel(self) -> bool:
        """Asks for the end of the remote task, and returns when the peer says that it has ended."""
        return self.link.call('self', '_cancel_task', cid=self.cid)


class Task(Dialog):
    """One cid, seen from the side that was asked: a thread that runs a function of ours."""

    def __init__(self, link: 'Link', start: Start) -> None:
        super().__init__(link, start.cid)
        self.canceller: Uid | None = None
        self.failed: Error | None = None  # What the peer's side of the context failed with.
        self.ended = threading.Event()

    def cancel_by(self, who: Uid) -> None:
        if self.canceller is None:
            self.canceller = who
            self.inbox.put(None)

    def fail_with(self, error: Error) -> None:
        """An Error of the peer cancels the task at once, whatever is queued before it."""
        self.failed = self.failed or error
        self.inbox.put(None)

    def check(self) -> None:
        if self.failed is not None:
            raise RemoteError(self.failed)
        if self.canceller is not None:
            raise Cancelled(f'cancelled by {self.canceller}')

    def take(self, within: float = PATIENCE) -> Msg:
        self.check()
        try:
            return super().take(within)
        except PeerGone:
            self.check()
            raise

    def send(self, value: Any) -> None:
        self.check()
        super().send(value)

    def started(self, value: Any = None) -> None:
        self.link.wire.send(Started(self.cid, value))

    def wait_cancelled(self, within: float = PATIENCE) -> None:
        while True:
            self.take(within)  # Whatever comes is dropped: only Cancelled or PeerGone gets out.


class Link:
    """A connection after its handshake. One thread reads; a thread per task that it starts."""

    def __init__(self, peer: 'Peer', wire_: wire.Wire, theirs: Aid) -> None:
        self.peer, self.wire, self.aid = peer, wire_, theirs
        self.dialogs: dict[str, Dialog] = {}
        self.tasks: dict[str, Task] = {}
        self.orphans: list[Msg] = []  # Answers for a cid that is not, or no longer, known.
        self.closed = threading.Event()

    def serve(self) -> 'Link':
        threading.Thread(target=self._read, name=f'read {self.wire.name}', daemon=True).start()
        return self

    def _read(self) -> None:
        try:
            while (message := self.wire.receive()) is not None:
                self._dispatch(message)
        finally:
            self.closed.set()
            for dialog in list(self.dialogs.values()):
                dialog.inbox.put(None)
            for task in list(self.tasks.values()):
                task.cancel_by(self.peer.aid.uid)
            self.wire.close()

    def _dispatch(self, message: Msg) -> None:
        if isinstance(message, Start):
            assert message.uid == self.aid.uid, f'{self.aid} sent {message}'
            self._start(message)
            return
        cid = getattr(message, 'cid', None)
        task, dialog = self.tasks.get(cid), self.dialogs.get(cid)
        if task is not None:
            task.fail_with(message) if isinstance(message, Error) else task.inbox.put(message)
        elif dialog is None:
            self.orphans.append(message)
        else:
            dialog.inbox.put(message)

    # What we ask.

    def ask(self, ns: str, func: str, **kwargs: Any) -> Dialog:
        dialog = Dialog(self, str(uuid.uuid4()))
        self.dialogs[dialog.cid] = dialog
        if self.closed.is_set():
            raise PeerGone(self.wire.name)
        self.wire.send(Start(dialog.cid, ns, func, kwargs, self.peer.aid.uid))
        return dialog

    def forget(self, cid: str) -> None:
        self.dialogs.pop(cid, None)

    def _acked(self, functype: str, ns: str, func: str, kwargs: dict) -> Dialog:
        dialog = self.ask(ns, func, **kwargs)
        dialog.functype = dialog.expect(StartAck).functype
        assert dialog.functype == functype, f'{ns}:{func} is {dialog.functype}, not {functype}'
        return dialog

    def call(self, ns: str, func: str, **kwargs: Any) -> Any:
        return self._acked('asyncfunc', ns, func, kwargs).result()

    def stream(self, ns: str, func: str, **kwargs: Any) -> Dialog:
        return self._acked('asyncgen', ns, func, kwargs)

    def open_context(self, ns: str, func: str, **kwargs: Any) -> Dialog:
        dialog = self._acked('context', ns, func, kwargs)
        dialog.first = dialog.expect(Started).pld
        return dialog

    def cancel_actor(self) -> bool:
        return self.call('self', 'cancel')

    def close(self) -> None:
        self.wire.close()
        self.closed.wait(PATIENCE)

    # What we are asked.

    def _start(self, start: Start) -> None:
        if start.ns == 'self' and start.func in ('cancel', '_cancel_task'):
            # Beside the read loop: who is slow to be cancelled must not delay the other dialogs.
            target = self._cancel_all if start.func == 'cancel' else self._cancel_one
            threading.Thread(target=target, args=(start,), daemon=True).start()
            return
        task = self.tasks[start.cid] = Task(self, start)
        threading.Thread(target=self._run, args=(task, start), daemon=True).start()

    def _cancel_one(self, start: Start) -> None:
        self.wire.send(StartAck(start.cid, 'asyncfunc'))
        task = self.tasks.get(start.kwargs['cid'])
        if task is not None:
            task.cancel_by(self.aid.uid)
            task.ended.wait(PATIENCE)
        try:
            self.wire.send(CancelAck(start.cid, True))
        except OSError:
            pass  # Who asked has not waited.

    def _cancel_all(self, start: Start) -> None:
        self.wire.send(StartAck(start.cid, 'asyncfunc'))
        self.peer.cancel_tasks(self.aid.uid)
        self.wire.send(CancelAck(start.cid, True))
        self.peer.cancelled.set()

    def _run(self, task: Task, start: Start) -> None:
        try:
            self._run_function(task, self.peer.function(start.ns, start.func), start.kwargs)
        except PeerGone:
            pass
        except BaseException as error:  # noqa: BLE001: whatever it is, the caller gets it
            try:
                self.wire.send(boxed(error, self.peer.aid.uid, task.cid, task.canceller))
            except OSError:
                pass
        finally:
            self.tasks.pop(task.cid, None)
            task.ended.set()

    def _run_function(self, task: Task, function: Callable, kwargs: dict) -> None:
        if getattr(function, 'is_context', False):
            self.wire.send(StartAck(task.cid, 'context'))
            value = function(task, **kwargs)
            task.check()
            self.wire.send(Return(task.cid, value))
            return
        inspect.signature(function).bind(**kwargs)  # A wrong call is an Error instead of StartAck.
        if inspect.isgeneratorfunction(function):
            self.wire.send(StartAck(task.cid, 'asyncgen'))
            for value in function(**kwargs):
                if task.canceller is not None:
                    break  # A generator that is cancelled says Stop, as one that has ended.
                task.send(value)
            self.wire.send(Stop(task.cid))
            return
        self.wire.send(StartAck(task.cid, 'asyncfunc'))
        value = function(**kwargs)
        if task.canceller is None:  # Who is cancelled in a plain call says nothing more.
            self.wire.send(Return(task.cid, value))


class Child:
    """A process that we started and that connected back."""

    def __init__(self, process: subprocess.Popen, link: Link) -> None:
        self.process, self.link = process, link

    def cancel(self) -> int:
        """Asks it to end and waits for its exit."""
        assert self.link.cancel_actor() is True
        return self.process.wait(PATIENCE)


class Registry:
    """`(uid, addr)` in order of registration; the last of a name is the freshest."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.entries: list[tuple[Uid, tuple]] = []

    def register_actor(self, uid: Uid, addr: tuple) -> None:
        with self._changed:
            uid, addr = tuple(uid), tuple(addr)
            self.entries = [one for one in self.entries if one[1] != addr] + [(uid, addr)]
            self._changed.notify_all()

    def unregister_actor(self, uid: Uid) -> None:
        with self._changed:
            self.entries = [one for one in self.entries if one[0] != tuple(uid)]
            self._changed.notify_all()

    def find_actor(self, name: str) -> list[tuple] | None:
        return [addr for uid, addr in self.entries if name in uid] or None

    def wait_for_actor(self, name: str) -> list[tuple]:
        with self._changed:
            self._changed.wait_for(lambda: self.find_actor(name), PATIENCE)
            return self.find_actor(name) or []

    def get_registry(self) -> dict[str, list[tuple]]:
        table: dict[str, list[tuple]] = {}
        for uid, addr in self.entries:
            table.setdefault('.'.join(uid), []).append(addr)
        return table

    def delete_addr(self, addr: tuple) -> Uid | None:
        for uid, there in self.entries:
            if there == tuple(addr):
                self.entries.remove((uid, there))
                return uid
        return None


class Peer:
    """An actor. `folder` is where its unix socket goes."""

    def __init__(self, name: str, transport: str, folder: str, *, is_registrar: bool = False,
                 modules: dict[str, dict[str, Callable]] | None = None, uid: str = '',
                 ext: dict | None = None) -> None:
        self.aid = Aid(name, uid or str(uuid.uuid4()), os.getpid(), is_registrar, False, ext)
        self.transport, self.modules = transport, modules or {}
        self.journal, self.registry = wire.Journal(), Registry()
        self.links: list[Link] = []
        self.spec: SpawnSpec | None = None  # What our parent sent us, if we have one.
        self.cancelled = threading.Event()  # `self.cancel` came and was answered.
        self._arrived = threading.Condition()
        self._expected: set[str] = set()  # uuids of children: who starts them sends SpawnSpec.
        self._processes: list[subprocess.Popen] = []
        self._count = 0
        self._closed = False
        self._listener, self.addr = wire.listen(transport, folder, f'{name}@{os.getpid()}.sock')
        threading.Thread(target=self._accept, name=f'accept {name}', daemon=True).start()

    def __enter__(self) -> 'Peer':
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._closed = True
        self._listener.close()
        for link in list(self.links):
            link.wire.close()
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        if self.transport == 'uds':
            try:
                os.unlink('/'.join(self.addr))
            except FileNotFoundError:
                pass

    def stop_listening(self) -> None:
        """Who dials from now on is refused."""
        self._listener.shutdown(socket.SHUT_RDWR)  # Or the thread in accept() would keep it.
        self._listener.close()

    # Connections.

    def _shake(self, sock, name: str, is_probe: bool = False) -> Link | None:
        """Both send Aid at once, then read the other's."""
        line = wire.Wire(sock, self.journal, name)
        ours = self.aid
        if is_probe:
            ours = Aid(ours.name, ours.uuid, ours.pid, ours.is_registrar, True)
        line.send(ours)
        theirs = line.receive()
        if not isinstance(theirs, Aid) or theirs.is_probe:
            line.close()
            return None
        line.name = f'{name} {theirs.name}'
        link = Link(self, line, theirs)
        self.links.append(link)
        return link

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self._count += 1
            threading.Thread(target=self._accepted, args=(sock, f'in{self._count}'),
                             daemon=True).start()

    def _accepted(self, sock, name: str) -> None:
        try:
            link = self._shake(sock, name)
        except (OSError, ValueError):
            sock.close()
            return
        if link is None:
            return
        if self._closed:  # It had not shaken hands when its links were closed.
            link.wire.close()
            return
        with self._arrived:
            if link.aid.uuid not in self._expected:
                link.serve()
            self._arrived.notify_all()

    def dial(self, addr: tuple, within: float = PATIENCE) -> Link:
        """A new connection to an actor at `addr`, served."""
        self._count += 1
        link = self._shake(wire.connect(tuple(addr), within), f'out{self._count}')
        if link is None:
            raise PeerGone(f'{addr} gave no Aid')
        return link.serve()

    def wait_link(self, uuid_: str, within: float = PATIENCE) -> Link:
        """The first connection that an actor made to us."""
        found: list[Link] = []

        def there() -> bool:
            found[:] = [link for link in self.links if link.aid.uuid == uuid_]
            return bool(found)

        with self._arrived:
            if not self._arrived.wait_for(there, within):
                raise TimeoutError(f'{uuid_} did not connect\n{self.journal.text()}')
        return found[0]

    # As a parent.

    def spawn_spec(self, enable_modules: dict[str, str], main_data: dict | None = None,
                   **runtime_vars: Any) -> SpawnSpec:
        if self.spec is not None:  # A child hands on what it was told of the tree.
            return SpawnSpec(self.spec._parent_main_data, self.spec._runtime_vars, enable_modules,
                             self.spec.reg_addrs, None)
        variables = {
            '_is_root': False, '_root_mailbox': self.addr, '_root_addrs': [self.addr],
            '_enable_tpts': [self.transport], '_registry_addrs': [self.addr], '_debug_mode': False,
            'repl_fixture': False, 'use_greenback': False, 'use_stackscope': False,
            '_is_infected_aio': False, **runtime_vars}
        return SpawnSpec(main_data or {}, variables, enable_modules, [self.addr], None)

    def spawn(self, command: list[str], enable_modules: dict[str, str], *, name: str = 'child',
              environment: dict[str, str] | None = None, registers: bool = True,
              main_data: dict | None = None) -> Child:
        """Starts a child by tractor's command line and sees it in: Aid, SpawnSpec, registration."""
        id_ = str(uuid.uuid4())
        self._expected.add(id_)
        process = subprocess.Popen(
            [*command, '--uid', str((name, id_)), '--parent_addr', str(tuple(self.addr))],
            env={**os.environ, **(environment or {})}, stdin=subprocess.DEVNULL)
        self._processes.append(process)
        link = self.wait_link(id_)
        self._expected.discard(id_)  # Whatever else it dials with is an ordinary connection.
        link.wire.send(self.spawn_spec(enable_modules, main_data))
        link.serve()
        if registers:
            assert self.registry.wait_for_actor(id_), self.journal.text()
        return Child(process, link)

    # As a callee.

    def function(self, ns: str, func: str) -> Callable:
        if ns == 'self':
            if not self.aid.is_registrar or func.startswith('_') or func == 'entries':
                raise AttributeError(f'an actor has no {func!r}')
            return getattr(self.registry, func)
        if ns not in self.modules:
            error = type('ModuleNotExposed', (Exception,), {})
            raise error(f'{ns} is not exposed')
        if func not in self.modules[ns]:
            raise AttributeError(f'{ns} has no {func!r}')
        return self.modules[ns][func]

    def cancel_tasks(self, by: Uid) -> None:
        for link in self.links:
            for task in list(link.tasks.values()):
                task.cancel_by(by)
                task.ended.wait(PATIENCE)


def play_child(arguments: list[str], modules: dict[str, dict[str, Callable]], folder: str) -> Peer:
    """The child's part after exec: dial the parent, swap Aids, read SpawnSpec, listen, register,
    and only then serve. Returns when the parent has asked for the end, or is gone."""
    options = {word: arguments[i + 1] for i, word in enumerate(arguments[:-1])
               if word.startswith('--')}
    name, id_ = ast.literal_eval(options['--uid'])
    parent = ast.literal_eval(options['--parent_addr'])
    transport = 'tcp' if isinstance(parent[1], int) else 'uds'
    with Peer(name, transport, folder, modules=modules, uid=id_) as peer:
        link = peer._shake(wire.connect(parent), 'parent')
        assert link is not None, 'the parent gave no Aid'
        spec = link.wire.receive()
        assert isinstance(spec, SpawnSpec), spec
        peer.spec = spec
        for addr in spec.reg_addrs:
            registrar = peer.dial(addr)
            registrar.call('self', 'register_actor', uid=peer.aid.uid, addr=peer.addr)
            registrar.close()
        link.serve()
        while not peer.cancelled.is_set() and not link.closed.wait(0.02):
            pass
        for addr in spec.reg_addrs:
            try:
                registrar = peer.dial(addr, 0.5)
                registrar.call('self', 'unregister_actor', uid=peer.aid.uid)
            except (OSError, PeerGone):
                pass  # As the protocol has it: a registrar that is gone holds nobody up.
        return peer
