# SPDX-License-Identifier: Apache-2.0
"""What goes wrong between processes, done by an actor to its own connections.

Endpoints of tests in Python and of the conformance tests use it: children import it too.
"""
import contextlib
import os
import signal
import socket
import stat
import struct
import time


@contextlib.contextmanager
def connections():
    """The sockets that join this process to other actors: descriptors, and a duplicate of each."""
    found = {}
    with contextlib.ExitStack() as opened:
        for fd in map(int, os.listdir('/proc/self/fd')):
            try:
                if not stat.S_ISSOCK(os.fstat(fd).st_mode):
                    continue
                one = opened.enter_context(socket.socket(fileno=os.dup(fd)))
                # An event loop wakes itself by a pair of sockets, which have no names.
                if one.getpeername() or one.getsockname():
                    found[fd] = one
            except OSError:
                continue  # It has closed meanwhile, or only listens.
        yield found


def half_close():
    """Says that nothing more comes, and goes on reading."""
    with connections() as found:
        for one in found.values():
            one.shutdown(socket.SHUT_WR)


def cut():
    """Both directions end, for both sides."""
    with connections() as found:
        for one in found.values():
            one.shutdown(socket.SHUT_RDWR)


def reset():
    """Over tcp the other side gets RST. This one hears nothing any more."""
    with connections() as found:
        nothing = os.open('/dev/null', os.O_RDWR | os.O_CLOEXEC)
        for fd, one in found.items():
            if one.family != socket.AF_UNIX:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
            os.dup2(nothing, fd, inheritable=False)
        os.close(nothing)  # The sockets close with the duplicates.


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def stop():
    os.kill(os.getpid(), signal.SIGSTOP)
    # tidy: allow sleep: another thread may be the one that the kernel stops first
    time.sleep(0.1)
