# SPDX-License-Identifier: Apache-2.0
"""Plays a recording of real tractor against one actor of ours, which plays one of its actors.

    replay = Replay(recording(), 'callee', folder)
    replay.run(lambda words: subprocess.Popen([*program, *words]))     # raises Difference

Our actor has a part (`root`, `callee` or `leaf`); the replay plays all others: it listens for them,
dials for them and sends what they sent, and holds every frame that our actor sends against the
recorded one. Ids are not compared but mapped, one to one: uuids and cids, pids, addresses, paths of
files. Texts of messages and tracebacks may differ. All else has to be equal, key by key.

Order. On one connection it is the recorded one. A frame of another actor is sent when every frame
recorded before it has passed, on whatever connection, but for those in `CONCURRENT`.
"""
import copy
import json
import os
import queue
import re
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import wire

RECORDING = Path(__file__).resolve().parent.parent / 'golden' / 'tractor_dialogs.jsonl'
PATIENCE = 10.0  # Seconds that we wait for a frame of our actor.
UUID = re.compile(r'[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}')
TEXTS = ('message', 'tb_str')  # Ours says the same facts in its own words.

# Set-up of connections that the protocol leaves open, by number of the frame, with its reason.
CONCURRENT = {
    6: 'a child registers over a second connection: whether its parent calls it before or after'
       ' that is the parent\'s affair, and a parent may wait for the registration',
}
# Frames that tractor sends and others need not.
OPTIONAL = {
    67: 'tractor asks a child twice to end, once from its nursery and once where it waits for the'
        ' process; the second request was never answered, because the first one had been',
}
# What stands in a recorded message only because tractor sent it, as a path of keys.
TRACTORS_OWN = {
    2: [('enable_modules', 'tractor.devx.debug._tty_lock')],  # The module of its debugger.
}


class Difference(Exception):
    """Our actor did not do what the recording says."""


class Frame(msgspec.Struct, eq=False):  # Two that say the same are two.
    n: int
    connection: int
    by: str  # Names of actors.
    to: str
    message: dict

    def __str__(self) -> str:
        return (f'frame {self.n} ({self.message["msg_type"]}, {self.by} -> {self.to}, '
                f'connection {self.connection})')


class Connection(msgspec.Struct):
    number: int
    dialer: str
    listener: str


def bytes_of(value: Any) -> Any:
    """`{"$bytes": hex}` of the recording is bytes."""
    if isinstance(value, dict):
        if set(value) == {'$bytes'}:
            return bytes.fromhex(value['$bytes'])
        return {key: bytes_of(one) for key, one in value.items()}
    return [bytes_of(one) for one in value] if isinstance(value, list) else value


def recording(path: Path = RECORDING) -> list[dict]:
    """The lines of the recording, for copies to be made of, and perturbed."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def parse(lines: list[dict]) -> tuple[list[Frame], dict[int, Connection]]:
    names: dict[tuple[int, str], str] = {}
    for line in lines:
        if line['message']['msg_type'] == 'Aid':
            names.setdefault((line['connection'], line['direction'].split('-')[0]),
                             line['message']['name'])
    numbers = sorted({line['connection'] for line in lines})
    connections = {i: Connection(i, names[i, 'dialer'], names[i, 'listener']) for i in numbers}
    frames = []
    for line in lines:
        by, to = line['direction'].split('->')
        message = bytes_of(copy.deepcopy(line['message']))
        for *path, last in TRACTORS_OWN.get(line['n'], []):
            place = message
            for key in path:
                place = place[key]
            place.pop(last, None)
        frames.append(Frame(line['n'], line['connection'], names[line['connection'], by],
                            names[line['connection'], to], message))
    return frames, connections


def is_address(value: Any) -> bool:
    return (isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)
            and isinstance(value[1], int) and not isinstance(value[1], bool))


def as_tractor_sees(message: dict) -> dict:
    """Without the keys of extensions: who does not know them ignores them."""
    kept = {key: value for key, value in message.items() if not key.startswith('coppice')}
    for part in ('_runtime_vars', '_parent_main_data'):
        if isinstance(kept.get(part), dict):
            kept[part] = {key: value for key, value in kept[part].items()
                          if not key.startswith('coppice') and key != 'sys_path'}
    return kept


class Ids:
    """Which actual id stands for a recorded one, one to one."""

    def __init__(self) -> None:
        self._actual: dict[Any, Any] = {}
        self._recorded: dict[Any, Any] = {}

    @staticmethod
    def _key(value: Any) -> Any:
        return tuple(value) if isinstance(value, (list, tuple)) else value

    def bind(self, recorded: Any, actual: Any) -> bool:
        """False if either stands for something else already."""
        recorded, actual = self._key(recorded), self._key(actual)
        return (self._actual.setdefault(recorded, actual) == actual
                and self._recorded.setdefault(actual, recorded) == recorded)

    def actual(self, recorded: Any) -> Any:
        key = self._key(recorded)
        if key not in self._actual:
            if not isinstance(key, str) or not UUID.fullmatch(key):
                return recorded
            self.bind(key, str(uuid.uuid4()))
        return self._actual[key]

    def translate(self, value: Any) -> Any:
        """A recorded value as it has to be sent now."""
        if is_address(value):
            return list(self.actual(value))
        match value:
            case dict():
                return {key: self.translate(one) for key, one in value.items()}
            case list():
                return [self.translate(one) for one in value]
            case str() if UUID.fullmatch(value) or value.startswith('/'):
                return self.actual(value)
        return value

    def differences(self, recorded: Any, got: Any, where: str = '') -> list[str]:
        """What differs, each with the path of keys to it."""
        key = where.rsplit('.', 1)[-1]
        if key in TEXTS and '.' not in where and isinstance(recorded, str):
            return [] if isinstance(got, str) else [f'{where}: recorded a text, got {got!r}']
        is_id = (is_address(recorded) or where == 'pid'
                 or isinstance(recorded, str) and (UUID.fullmatch(recorded)
                                                   or recorded.startswith('/')))
        if is_id:
            kind = (list, tuple) if isinstance(recorded, list) else type(recorded)
            if isinstance(got, kind) and (where == 'pid' or self.bind(recorded, got)):
                return []
            known = self._actual.get(self._key(recorded))
            return [f'{where}: recorded {recorded!r}, which is {known!r} here, got {got!r}']
        if type(recorded) is not type(got):
            return [f'{where}: recorded {recorded!r}, got {got!r}']
        if isinstance(recorded, dict):
            dot = f'{where}.' if where else ''
            found = [f'{dot}{one}: recorded {recorded[one]!r}, is missing'
                     for one in recorded if one not in got]
            found += [f'{dot}{one}: not recorded, got {got[one]!r}'
                      for one in got if one not in recorded]
            return found + [text for one in recorded if one in got for text
                            in self.differences(recorded[one], got[one], f'{dot}{one}')]
        if isinstance(recorded, list):
            if len(recorded) != len(got):
                return [f'{where}: recorded {recorded!r}, got {got!r}']
            return [text for i, one in enumerate(recorded)
                    for text in self.differences(one, got[i], f'{where}[{i}]')]
        return [] if recorded == got else [f'{where}: recorded {recorded!r}, got {got!r}']


class Line:
    """A recorded connection that exists now. What our actor sends on it is queued."""

    def __init__(self, wire_: wire.Wire, news: threading.Condition) -> None:
        self.wire, self._news = wire_, news
        self.got: queue.Queue[dict] = queue.Queue()
        self.is_open = True
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while (raw := self.wire.receive_raw()) is not None:
            message = msgspec.msgpack.decode(raw)
            with self._news:
                self.got.put(message)
                self._news.notify_all()
        with self._news:
            self.is_open = False
            self._news.notify_all()


class Replay:
    """One run of the recording. `folder` takes sockets and the scripts that stand for children."""

    def __init__(self, lines: list[dict], part: str, folder: str | Path, transport: str = 'tcp',
                 patience: float = PATIENCE) -> None:
        self.part, self.patience, self.folder = part, patience, Path(folder)
        frames, connections = parse(lines)
        self.connections = {i: one for i, one in connections.items()
                            if part in (one.dialer, one.listener)}
        self.frames = [one for one in frames if part in (one.by, one.to)]
        self.all_frames = frames
        # An optional frame may come from ours; nobody sends it to ours: it was never answered.
        self.todo = [one for one in self.frames if one.n not in OPTIONAL or one.by == part]
        self.ids, self.journal = Ids(), wire.Journal()
        self.lines: dict[int, Line] = {}
        self.ended: set[str] = set()  # Children of ours that have said their last.
        self.unplanned: list[str] = []
        self._news = threading.Condition()
        self._listeners: dict[str, socket.socket] = {}
        self._stand_ins: dict[str, socket.socket] = {}  # By name of actor.
        self._parents: dict[str, tuple] = {}  # Where a stand-in's actor has to connect to.
        self._uuids = {frame.message['name']: frame.message['uuid'] for frame in frames
                       if frame.message['msg_type'] == 'Aid'}
        self._addresses = self._recorded_addresses(frames)
        for name in self._uuids:
            if name != part:
                self._listen(name, transport)
        self._control = socket.socket(socket.AF_UNIX)
        self._control.bind(str(self.folder / 'control'))
        self._control.listen()
        threading.Thread(target=self._take_stand_ins, daemon=True).start()
        self.ids.bind('/srv/app/scen.py', str(self.folder / 'scen.py'))
        self.ids.bind('/srv/app/appmod.py', str(self.folder / 'appmod.py'))

    @staticmethod
    def _recorded_addresses(frames: list[Frame]) -> dict[str, list]:
        """Where each actor listened, from the frames that say so."""
        found = {}
        for frame in frames:
            if frame.message.get('func') == 'register_actor':
                found[frame.message['kwargs']['uid'][0]] = frame.message['kwargs']['addr']
            if frame.message['msg_type'] == 'SpawnSpec':
                found['root'] = frame.message['_runtime_vars']['_root_mailbox']
        return found

    def _listen(self, name: str, transport: str) -> None:
        sock, address = wire.listen(transport, str(self.folder), f'{name}@{os.getpid()}.sock')
        self._listeners[name] = sock
        self.ids.bind(self._addresses[name], address)
        mine = [i for i, one in self.connections.items()
                if one.listener == name and one.dialer == self.part]
        threading.Thread(target=self._accept, args=(sock, name, mine), daemon=True).start()

    def _accept(self, sock: socket.socket, name: str, numbers: list[int]) -> None:
        """The connections that our actor makes to an actor come in the recorded order."""
        while True:
            try:
                accepted, _ = sock.accept()
            except OSError:
                return
            with self._news:
                if numbers:
                    i = numbers.pop(0)
                    self.lines[i] = Line(wire.Wire(accepted, self.journal, f'c{i}'), self._news)
                else:
                    self.unplanned.append(f'a connection to {name} that was not recorded')
                    accepted.close()
                self._news.notify_all()

    # Children that our actor starts.

    def stand_in(self) -> list[str]:
        """The command of a child: it tells us its arguments and lives until we let it end."""
        return [str(self.folder / 'stand_in')]

    def write_stand_in(self, python: str) -> None:
        script = Path(__file__).resolve().parent / 'stand_in.py'
        path = self.folder / 'stand_in'
        path.write_text(f'#!/bin/sh\nexec {python} {script} {self.folder / "control"} "$@"\n')
        path.chmod(0o755)

    def _take_stand_ins(self) -> None:
        while True:
            try:
                sock, _ = self._control.accept()
                said = json.loads(sock.makefile().readline())
            except (OSError, ValueError):
                return
            name, id_ = said['uid']
            with self._news:
                self._stand_ins[name] = sock
                self._parents[name] = tuple(said['parent_addr'])
                if not self.ids.bind(self._uuids.get(name, name), id_):
                    self.unplanned.append(f'a child {name!r} that was not recorded')
                self.ids.bind(self._addresses[self.part], said['parent_addr'])
                self._news.notify_all()

    # The run.

    def words(self) -> list[str]:
        """Command line of our actor if it is a child."""
        parent = {'callee': 'root', 'leaf': 'callee'}[self.part]
        self.ids.bind(self._uuids[self.part], str(uuid.uuid4()))
        uid = (self.part, self.ids.actual(self._uuids[self.part]))
        return ['--uid', repr(uid), '--parent_addr',
                repr(tuple(self.ids.actual(self._addresses[parent])))]

    def run(self, start: Callable[[list[str]], subprocess.Popen]) -> None:
        """Starts our actor, replays, and wants it to end with status 0."""
        process = start([] if self.part == 'root' else self.words())
        try:
            self._play(process)
            try:
                status = process.wait(self.patience)
            except subprocess.TimeoutExpired:
                raise Difference(f'{self.part} did not end after the last frame') from None
            if status != 0:
                raise Difference(f'{self.part} ended with status {status}')
            with self._news:  # All that it sent has arrived once its connections have ended.
                self._news.wait_for(lambda: not any(one.is_open for one in self.lines.values()),
                                    self.patience)
                self._look_for_more()
        except Difference as found:
            raise Difference(f'{found}\n--- what passed\n{self.journal.text()}') from None
        finally:
            self._close(process)

    def _close(self, process: subprocess.Popen) -> None:
        if process.poll() is None:
            process.kill()
        process.wait()
        for sock in (*self._listeners.values(), self._control, *self._stand_ins.values()):
            sock.close()
        for line in list(self.lines.values()):
            line.wire.close()

    def _play(self, process: subprocess.Popen) -> None:
        deadline = time.monotonic() + self.patience
        with self._news:
            while any(one.n not in OPTIONAL for one in self.todo):
                if self.unplanned:
                    raise Difference(self.unplanned[0])
                if self._step():
                    deadline = time.monotonic() + self.patience
                elif time.monotonic() > deadline:
                    raise Difference(f'{self._due()} did not come within {self.patience} s')
                elif process.poll() is not None and not self._news.wait(0.5):
                    raise Difference(f'{self._due()} did not come: {self.part} has ended with '
                                     f'status {process.returncode}')
                else:
                    self._news.wait(0.05)

    def _due(self) -> Frame:
        ours = [one for one in self.todo if one.by == self.part and one.n not in OPTIONAL]
        return (ours or self.todo)[0]

    def _step(self) -> bool:
        """Does all that can be done at once. False: nothing could be."""
        seen: set[int] = set()
        done: list[Frame] = []
        for frame in self.todo:
            if frame.connection in seen:
                continue
            passed = self._receive(frame) if frame.by == self.part else self._send(frame, done)
            if passed:
                done.append(frame)
            elif frame.n not in OPTIONAL:
                seen.add(frame.connection)
        self.todo = [one for one in self.todo if one not in done]
        self._let_actors_end()
        return bool(done)

    def _receive(self, frame: Frame) -> bool:
        line = self.lines.get(frame.connection) or self._dial(frame)
        if line is None or line.got.empty():
            return False
        got = line.got.queue[0]
        found = self.ids.differences(frame.message, as_tractor_sees(got))
        if found and frame.n in OPTIONAL:
            return False
        line.got.get()
        if found:
            raise Difference('\n'.join(f'{frame}: {text}' for text in found))
        return True

    def _send(self, frame: Frame, done: list[Frame]) -> bool:
        waits_for = [one for one in self.todo if one.n < frame.n and one not in done
                     and one.n not in OPTIONAL
                     and (frame.n not in CONCURRENT or one.connection == frame.connection)]
        if waits_for:
            return False
        line = self.lines.get(frame.connection) or self._dial(frame)
        if line is None:
            return False
        try:
            line.wire.send_raw(msgspec.msgpack.encode(self.ids.translate(frame.message)))
        except OSError:
            raise Difference(f'{frame}: {self.part} has closed the connection') from None
        return True

    def _dial(self, frame: Frame) -> Line | None:
        """A connection that another actor makes to ours, when it is its turn."""
        connection = self.connections[frame.connection]
        if connection.listener != self.part:
            return None  # Our actor has to make it.
        if any(one.n < frame.n and one.n not in OPTIONAL for one in self.todo):
            return None
        first = connection.number == min(i for i, one in self.connections.items()
                                         if one.dialer == connection.dialer)
        if first and self.is_child_of_ours(connection.dialer):
            address = self._parents.get(connection.dialer)  # As told on its command line.
        else:
            recorded = self._addresses[self.part]
            address = self.ids.actual(recorded)
            address = None if list(address) == list(recorded) else address
        if address is None:
            return None
        sock = wire.connect(tuple(address))
        self.lines[connection.number] = Line(
            wire.Wire(sock, self.journal, f'c{connection.number}'), self._news)
        return self.lines[connection.number]

    def is_child_of_ours(self, name: str) -> bool:
        return any(one.message['msg_type'] == 'SpawnSpec' and one.by == self.part and one.to == name
                   for one in self.all_frames)

    def _let_actors_end(self) -> None:
        """A child of ours whose last frame has passed closes its connections, and its process ends.
        Other actors stay until ours has ended."""
        for name in self._stand_ins:
            if name in self.ended or any(
                    name in (one.by, one.to) and one.n not in OPTIONAL for one in self.todo):
                continue
            self.ended.add(name)
            self._look_for_more()
            for i, connection in self.connections.items():
                if name in (connection.dialer, connection.listener) and i in self.lines:
                    self.lines[i].wire.close()
            self._stand_ins[name].close()

    def _look_for_more(self) -> None:
        for i, line in self.lines.items():
            due = [one for one in self.todo if one.connection == i and one.n not in OPTIONAL]
            if not due and not line.got.empty():
                more = line.got.queue[0]
                optional = [one.message for one in self.frames
                            if one.n in OPTIONAL and one.connection == i]
                if not any(not Ids().differences(one, more) for one in optional):
                    raise Difference(f'connection {i}: a frame that was not recorded: {more}')
