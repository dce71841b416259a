# SPDX-License-Identifier: Apache-2.0
"""tractor's messages and frames, written down a second time: nothing here is Coppice's.

The reading that docs/formats/wire.md describes, on msgspec and blocking sockets. `peer.py` makes an
actor of it. Every frame that passes is recorded, raw and decoded, in the order in which it passed.
"""
import socket
import struct
import threading
import time
from typing import Any

import msgspec

Uid = tuple[str, str]
FRAME_BYTES_MAX = 256 << 20


class Msg(msgspec.Struct, tag_field='msg_type', tag=True):
    """A map of string keys, `msg_type` first; unknown keys are ignored, defaults always sent."""


class Aid(Msg):
    name: str
    uuid: str
    pid: int | None = None
    is_registrar: bool | None = None
    is_probe: bool = False
    coppice: dict | None = None  # An extension: tractor's own messages never have it.

    @property
    def uid(self) -> Uid:
        return (self.name, self.uuid)


class SpawnSpec(Msg):
    _parent_main_data: dict
    _runtime_vars: dict
    enable_modules: dict[str, str]
    reg_addrs: list[tuple]
    bind_addrs: list[tuple] | None


class Start(Msg):
    cid: str
    ns: str
    func: str
    kwargs: dict[str, Any]
    uid: Uid
    pld_spec: str = 'typing.Any'


class StartAck(Msg):
    cid: str
    functype: str


class Started(Msg):
    cid: str
    pld: Any


class Yield(Msg):
    cid: str
    pld: Any


class Stop(Msg):
    cid: str


class Return(Msg):
    cid: str
    pld: Any


class CancelAck(Msg):
    cid: str
    pld: bool


class Error(Msg):
    src_uid: Uid
    src_type_str: str
    boxed_type_str: str
    relay_path: list[Uid]
    message: str | None = None
    tb_str: str = ''
    canceller: Uid | None = None
    sender: Uid | None = None
    cid: str | None = None
    _bad_msg: Started | Yield | Return | None = None
    _bad_msg_as_dict: dict | None = None


class Credit(Msg, tag='coppice.Credit'):
    """An extension, like `coppice_credit`, which tests send as a raw map."""
    cid: str
    n: int
    bytes: int


Any_message = (Aid | SpawnSpec | Start | StartAck | Started | Yield | Stop | Return | CancelAck
               | Error | Credit)
FUNCTYPES = ('asyncfunc', 'asyncgen', 'context')
_decoder = msgspec.msgpack.Decoder(Any_message)
_plain = msgspec.msgpack.Decoder()


def encode(message: Msg) -> bytes:
    raw = msgspec.msgpack.encode(message)
    if isinstance(message, Aid) and message.coppice is None:
        plain = _plain.decode(raw)
        del plain['coppice']
        raw = msgspec.msgpack.encode(plain)
    return raw


def decode(raw: bytes) -> Msg:
    return _decoder.decode(raw)


def framed(raw: bytes) -> bytes:
    return struct.pack('<I', len(raw)) + raw


class Record(msgspec.Struct):
    """One frame that passed."""
    at: float
    link: str
    direction: str  # 'sent' or 'got'
    message: dict  # As decoded without any schema: keys that we do not know are here, too.
    raw: bytes

    @property
    def kind(self) -> str:
        return self.message['msg_type']


class Journal:
    """What passed, over all links of an actor, in order."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.records: list[Record] = []

    def add(self, link: str, direction: str, raw: bytes) -> None:
        with self._lock:
            self.records.append(Record(time.monotonic(), link, direction, _plain.decode(raw), raw))

    def kinds(self, link: str | None = None, cid: str | None = None) -> list[str]:
        """Names of messages, '>' before those sent, '<' before those got."""
        return [('>' if one.direction == 'sent' else '<') + one.kind for one in self.records
                if (link is None or one.link == link)
                and (cid is None or one.message.get('cid') == cid)]

    def text(self) -> str:
        began = self.records[0].at if self.records else 0
        return '\n'.join(
            f'{(one.at - began) * 1000:8.1f} {one.link:>12} '
            f'{"->" if one.direction == "sent" else "<-"} {one.kind:10} '
            + str({key: value for key, value in one.message.items()
                   if key not in ('msg_type', 'tb_str')})
            for one in self.records)


class Wire:
    """Frames over one connected stream socket. Reading: one thread. Writing: any."""

    def __init__(self, sock: socket.socket, journal: Journal, name: str) -> None:
        self.sock, self.journal, self.name = sock, journal, name
        self._writing = threading.Lock()
        self._buffer = bytearray()

    def send(self, message: Msg) -> None:
        self.send_raw(encode(message))

    def send_raw(self, raw: bytes) -> None:
        """For frames that no honest peer sends, too."""
        with self._writing:
            try:
                self.journal.add(self.name, 'sent', raw)
            except msgspec.DecodeError:
                pass
            self.sock.sendall(framed(raw))

    def _take(self, size: int) -> bytes | None:
        while len(self._buffer) < size:
            more = self.sock.recv(1 << 16)
            if not more:
                return None
            self._buffer += more
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def receive_raw(self) -> bytes | None:
        """None is the goodbye: the peer closed, or is gone."""
        try:
            head = self._take(4)
            if head is None:
                return None
            size, = struct.unpack('<I', head)
            if size > FRAME_BYTES_MAX:
                raise ValueError(f'a frame of {size} bytes')
            raw = self._take(size)
        except (ConnectionError, socket.timeout, OSError):
            return None
        if raw is not None:
            self.journal.add(self.name, 'got', raw)
        return raw

    def receive(self) -> Msg | None:
        raw = self.receive_raw()
        return None if raw is None else decode(raw)

    def close(self) -> None:
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()


def connect(addr: tuple, within: float = 10) -> socket.socket:
    """`(host, port)` is tcp, `(folder, file)` a unix socket: the second element's type decides."""
    if isinstance(addr[1], int):
        sock = socket.create_connection((addr[0], addr[1]), within)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    else:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(within)
        # tractor asks the kernel for credentials of its peer with every connection; so do we.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        sock.connect(f'{addr[0]}/{addr[1]}')
    sock.settimeout(None)
    return sock


def listen(transport: str, folder: str = '', file: str = '') -> tuple[socket.socket, tuple]:
    """A listening socket and its address as it goes on the wire."""
    if transport == 'tcp':
        sock = socket.create_server(('127.0.0.1', 0), backlog=128)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # What it accepts inherits it.
        return sock, sock.getsockname()
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind(f'{folder}/{file}')
    sock.listen(128)
    return sock, (folder, file)
