# SPDX-License-Identifier: Apache-2.0
"""What the actors of the soaks expose. Imports nothing that a bare guest would have to pay for."""
import os
import threading
import time

interrupted = []  # Tokens of calls that an interrupt, or a cancellation, went through here.


def ping(n):
    return n


def pid():
    return os.getpid()


def tell_and_spin(fd):
    """In the root's own process: says on its descriptor that the call is under way."""
    os.write(fd, b'+')
    while True:
        pass


def tell_and_sleep(fd):
    os.write(fd, b'+')
    time.sleep(1000)


def tell_and_lock(fd):
    """No exception reaches it: it has to be forced."""
    held = threading.Lock()
    held.acquire()
    os.write(fd, b'+')
    held.acquire()


def spin(token, seconds):
    """Computes for so long, and gives its own token."""
    try:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            pass
        return token
    except BaseException:
        interrupted.append(token)
        raise


def block(token, seconds):
    """Waits for so long."""
    try:
        threading.Event().wait(seconds)
        return token
    except BaseException:
        interrupted.append(token)
        raise


async def rest(token, seconds):
    import asyncio

    try:
        await asyncio.sleep(seconds)
        return token
    except BaseException:
        interrupted.append(token)
        raise


def take_interrupted():
    """The tokens since the last time."""
    taken = interrupted.copy()
    interrupted.clear()
    return taken
