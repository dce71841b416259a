# SPDX-License-Identifier: Apache-2.0
"""The endpoints of tests/conformance/main.cpp once more, in Python."""
import os


def add(x, y):
    return x + y


def fail(message):
    raise ValueError(message)


def echo(value):
    return value


def pass_on(block, size):
    return block if len(block) == size else b''


async def sleep_ms(ms):
    import asyncio

    await asyncio.sleep(ms / 1000)
    return ms


def pid():
    return os.getpid()


def leave_with(status):
    os._exit(status)


def kill_self(signal):
    os.kill(os.getpid(), signal)


def group(n):
    raise ExceptionGroup('group()', [ValueError(f'member {i}') for i in range(n)])
