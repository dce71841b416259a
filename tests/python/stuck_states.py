# SPDX-License-Identifier: Apache-2.0
"""Ways to get stuck: what the actors of test_stuck_matrix.py run.

Actors import it. Each function says that it is about to get stuck by making a file, right before
the line that does not return; those that end well ("leaves") make it when they have done their
work (stuck_leaves.py). Nothing is imported before it is needed: to import may be what a state is
about.
"""
import _thread
import os
import sys


def ready(path):
    open(path, 'w').close()


def ping():
    return 'pong'


def lock_forever():
    held = _thread.allocate_lock()
    held.acquire()
    held.acquire()


def spin_forever():
    while True:
        pass


def swallow_forever():
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass


def pipe():
    """The two ends as files: a number that is lost is a descriptor that nobody can close."""
    end, other = os.pipe()
    return open(end, 'rb'), open(other, 'wb')


# --- reference: a table row, or one of its cells, each -------------------------------------------

def spin(path):
    ready(path)
    while True:
        pass


def call_loop(path):
    def nothing():
        pass

    ready(path)
    while True:
        nothing()


def swallow(path):
    ready(path)
    swallow_forever()


def sleep(path):
    import time

    ready(path)
    time.sleep(1000)


def event_wait(path):
    import threading

    event = threading.Event()
    ready(path)
    event.wait()


def event_wait_timeout(path):
    import threading

    event = threading.Event()
    ready(path)
    event.wait(1000)


def lock_acquire(path):
    import threading

    held = threading.Lock()
    held.acquire()
    ready(path)
    held.acquire()


def lock_acquire_timeout(path):
    import threading

    held = threading.Lock()
    held.acquire()
    ready(path)
    held.acquire(timeout=1000)


def queue_get(path):
    import queue

    jobs = queue.Queue()
    ready(path)
    jobs.get()


def simple_queue_get(path):
    import queue

    jobs = queue.SimpleQueue()
    ready(path)
    jobs.get()


def thread_join(path):
    import threading
    import time

    other = threading.Thread(target=time.sleep, args=(1000,), daemon=True)
    other.start()
    ready(path)
    other.join()


def socket_recv(path):
    import socket

    ours, theirs = socket.socketpair()
    ready(path)
    ours.recv(1)


def socket_recv_timeout(path):
    import socket

    ours, theirs = socket.socketpair()
    ours.settimeout(1000)
    ready(path)
    ours.recv(1)


def socket_accept(path):
    import socket

    server = socket.create_server(('127.0.0.1', 0))
    ready(path)
    server.accept()


def select_select(path):
    import select

    end, other = pipe()
    ready(path)
    select.select([end], [], [])


def poll(path):
    import select

    end, other = pipe()
    poller = select.poll()
    poller.register(end)
    ready(path)
    poller.poll()


def epoll(path):
    import selectors

    end, other = pipe()
    selector = selectors.EpollSelector()
    selector.register(end, selectors.EVENT_READ)
    ready(path)
    selector.select()


def epoll_in_a_local(path):
    """Nobody else has it, so nobody but this frame can close it."""
    import select

    end, other = pipe()
    poller = select.epoll()
    poller.register(end, select.EPOLLIN)
    ready(path)
    poller.poll()


def epoll_on_the_stack(path):
    """Not even a name for it."""
    import select

    select.epoll().poll(ready(path))


def map_in_a_local(path):
    """A map has a descriptor of its own of its file."""
    import mmap

    with open(sys.executable, 'rb') as file:
        mapped = mmap.mmap(file.fileno(), 1, access=mmap.ACCESS_READ)
    ready(path)
    lock_forever()
    mapped.close()


def os_read(path):
    end, other = pipe()
    ready(path)
    os.read(end.fileno(), 1)


def file_read(path):
    end, other = pipe()
    ready(path)
    end.read()


def flock(path):
    import fcntl

    first = open(path + '.lock', 'w')
    second = open(path + '.lock', 'w')
    fcntl.flock(first, fcntl.LOCK_EX)
    ready(path)
    fcntl.flock(second, fcntl.LOCK_EX)


def waitpid(path):
    pid = os.posix_spawnp('sleep', ['sleep', '1000'], os.environ)
    try:
        ready(path)
        os.waitpid(pid, 0)
    finally:
        os.kill(pid, 9)  # Guests take their processes with them, process actors do not.


def asyncio_idle(path):
    import asyncio

    async def idle():
        ready(path)
        await asyncio.sleep(1000)

    asyncio.run(idle())


async def async_idle(path):
    import asyncio

    ready(path)
    await asyncio.sleep(1000)


def trio_idle(path):
    import trio

    async def idle():
        ready(path)
        await trio.sleep(1000)

    trio.run(idle)


def ctypes_pause(path):
    import ctypes

    pause = ctypes.CDLL(None).pause
    ready(path)
    pause()


def catastrophic_re(path):
    import re

    ready(path)
    re.match('(a+)+c', 'a' * 50 + 'b')


def bigint_pow(path):
    ready(path)
    pow(3, (1 << 3_000_000) - 1, (1 << 400_000) - 1)


def native_sum(path):
    ready(path)
    sum(range(10 ** 12))


def native_deque(path):
    import collections
    import itertools

    ready(path)
    collections.deque(itertools.repeat(None), maxlen=0)


def native_without_gil(path):
    import hashlib

    ready(path)
    hashlib.pbkdf2_hmac('sha256', b'', b'', 2_000_000_000)


# --- more states ---------------------------------------------------------------------------------

def socket_connect(path):
    """The kernel answers no more connections than somebody will accept."""
    import socket

    server = socket.create_server(('127.0.0.1', 0), backlog=0)
    waiting = []
    for _ in range(8):
        one = socket.socket()
        one.setblocking(False)
        one.connect_ex(server.getsockname())
        waiting.append(one)
    last = socket.socket()
    ready(path)
    last.connect(server.getsockname())


def subprocess_wait(path):
    import subprocess

    with subprocess.Popen(['sleep', '1000']) as child:
        try:
            ready(path)
            child.wait()
        finally:
            child.kill()


class Finder:
    """Gets stuck when somebody looks for a module."""

    def __init__(self, name, path, get_stuck):
        self.name, self.path, self.get_stuck = name, path, get_stuck

    def find_spec(self, name, path=None, target=None):
        if name == self.name:
            ready(self.path)
            self.get_stuck()
        return None


def import_lock_held(path):
    """Another thread has the import lock, and is stuck: no signal ends the wait for that."""
    import threading
    import time

    has_it = threading.Event()

    def stuck():
        has_it.set()
        time.sleep(1000)

    sys.meta_path.insert(0, Finder('never_there', path + '.first', stuck))
    threading.Thread(target=__import__, args=('never_there',), daemon=True).start()
    has_it.wait(10)
    ready(path)
    import never_there  # noqa: F401


def inside_import_threading(path):
    for name in ('threading', '_weakrefset'):
        sys.modules.pop(name, None)
    sys.meta_path.insert(0, Finder('_weakrefset', path, spin_forever))
    import threading  # noqa: F401


def inside_import_threading_lock(path):
    for name in ('threading', '_weakrefset'):
        sys.modules.pop(name, None)
    sys.meta_path.insert(0, Finder('_weakrefset', path, lock_forever))
    import threading  # noqa: F401


class Stuck:
    """Something that gets stuck when it is no more."""

    def __init__(self, path, get_stuck):
        self.path, self.get_stuck = path, get_stuck

    def __del__(self):
        ready(self.path)
        self.get_stuck()


def del_spin(path):
    one = Stuck(path, spin_forever)
    del one


def del_lock(path):
    one = Stuck(path, lock_forever)
    del one


def signal_pause(path):
    import signal

    ready(path)
    signal.pause()


def block_all_signals():
    import signal

    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


def signals_blocked_sleep(path):
    block_all_signals()
    sleep(path)


def signals_blocked_spin(path):
    block_all_signals()
    spin(path)


def signals_blocked_recv(path):
    block_all_signals()
    socket_recv(path)


def nested_spin(path):
    from concurrent import interpreters

    nested = interpreters.create()
    nested.exec(f'open({path!r}, "w").close()\nwhile True: pass')


def nested_sleep(path):
    from concurrent import interpreters

    nested = interpreters.create()
    nested.exec(f'import time\nopen({path!r}, "w").close()\ntime.sleep(1000)')


def nested_idle(path):
    from concurrent import interpreters

    nested = interpreters.create()
    nested.exec('import json')
    sleep(path)


def settrace_spin(path):
    def trace(frame, event, argument):
        return trace

    sys.settrace(trace)
    call_loop(path)


def settrace_sleep(path):
    def trace(frame, event, argument):
        return trace

    sys.settrace(trace)
    sleep(path)


def shadowed_import_spin(path):
    import builtins

    builtins.__import__ = lambda *_, **__: lock_forever()
    spin(path)


def c_callback_spin(path):
    """Python called by C that drops what it raises, and calls it again."""
    import ctypes

    libc = ctypes.CDLL(None)

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    def compare(left, right):
        ready(path)
        while True:
            pass

    libc.qsort((ctypes.c_int * 1000)(), 1000, 4, compare)


def c_callback_lock(path):
    import ctypes

    libc = ctypes.CDLL(None)

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    def compare(left, right):
        ready(path)
        lock_forever()

    libc.qsort((ctypes.c_int * 1000)(), 1000, 4, compare)


def frames():
    """Functions in C++ that call back, or wait, in a frame that no C++ exception leaves."""
    sys.path.append(os.path.join(os.environ['COPPICE_BUILD_DIR'], 'tests', 'python'))
    import stuck_frames

    return stuck_frames


def ready_then(path, stuck):
    def work():
        ready(path)
        stuck()

    return work


def catch_all_spin(path):
    frames().catch_all(ready_then(path, spin_forever))


def catch_all_lock(path):
    frames().catch_all(ready_then(path, lock_forever))


def noexcept_spin(path):
    frames().no_throw(ready_then(path, spin_forever))


def noexcept_lock(path):
    frames().no_throw(ready_then(path, lock_forever))


def noexcept_wait(path):
    """No Python at all: it waits without the GIL."""
    stuck_frames = frames()
    ready(path)
    stuck_frames.wait()


class Bytes:
    """Gets stuck when somebody wants its bytes."""

    def __init__(self, path, get_stuck):
        self.path, self.get_stuck = path, get_stuck

    def __buffer__(self, flags):
        ready(self.path)
        self.get_stuck()
        return memoryview(b'')


def in_coppice_buffer_spin(path):
    import coppice

    coppice.Buffer(Bytes(path, spin_forever))


def in_coppice_buffer_lock(path):
    import coppice

    coppice.Buffer(Bytes(path, lock_forever))


class Wordless(Exception):
    def __init__(self, path, get_stuck):
        self.path, self.get_stuck = path, get_stuck

    def __str__(self):
        ready(self.path)
        self.get_stuck()
        return ''


def in_coppice_error_spin(path):
    raise Wordless(path, spin_forever)


def in_coppice_error_lock(path):
    raise Wordless(path, lock_forever)


# --- for cells that take more than one function ---------------------------------------------------

def lock_for(path, seconds):
    """Comes back by itself, perhaps while it is being stopped."""
    held = _thread.allocate_lock()
    held.acquire()
    ready(path)
    held.acquire(timeout=seconds)


def hold_gil_for(path, seconds):
    """C code that has the GIL for about so long, and then returns."""
    import time

    ready(path)
    count = 1_000_000
    began = time.monotonic()
    sum(range(count))
    sum(range(round(count * seconds / (time.monotonic() - began))))
