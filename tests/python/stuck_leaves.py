# SPDX-License-Identifier: Apache-2.0
"""Ways to be in the way of the end: like stuck_states.py, but these functions return.

What they leave behind gets stuck when their actor ends.
"""
import _thread
import os
import sys

from stuck_states import lock_forever, ping, pipe, ready, spin_forever, swallow, swallow_forever


def atexit_sleep(path):
    import atexit
    import time

    atexit.register(time.sleep, 1000)
    ready(path)


def atexit_lock(path):
    import atexit

    atexit.register(lock_forever)
    ready(path)


def atexit_swallow(path):
    import atexit

    atexit.register(swallow, path)
    ready(path)


def atexit_throws(path):
    import atexit

    def fail():
        raise ValueError('on purpose')

    atexit.register(fail)
    atexit.register(sys.exit, 3)
    ready(path)


def idle_daemons(path):
    import concurrent.futures
    import queue
    import threading

    jobs = queue.SimpleQueue()
    for _ in range(3):
        threading.Thread(target=jobs.get, daemon=True).start()
    pool = concurrent.futures.ThreadPoolExecutor(2)
    pool.submit(ping).result()
    ready(path)


def blocked_daemons(path):
    import threading
    import time

    end, other = pipe()
    for target, *args in ((time.sleep, 1000), (os.read, end.fileno(), 1), (lock_forever,),
                          (spin_forever,)):
        threading.Thread(target=target, args=args, daemon=True).start()
    ready(path)


def blocked_threads(path):
    """No daemons: Python joins them at its end."""
    import threading

    threading.Thread(target=lock_forever).start()
    ready(path)


def shadowed_import(path):
    import builtins

    builtins.__import__ = lambda *_, **__: lock_forever()
    ready(path)


class NativeEnd:
    # As defaults: when an interpreter ends, the names of its modules are gone.
    def __del__(self, sum=sum, numbers=range(10 ** 12)):
        sum(numbers)


class End:
    """Gets stuck when its interpreter ends."""

    def __init__(self, get_stuck):
        self.get_stuck = get_stuck
        self.cycle = self

    def __del__(self):
        self.get_stuck()


def finalizer_native(path):
    """An object in a cycle: only the end of the interpreter finalizes it."""
    import gc

    gc.disable()
    one = NativeEnd()
    one.cycle = one
    ready(path)


def finalizer_spin(path):
    import gc

    gc.disable()
    End(spin_forever)
    ready(path)


def finalizer_sleep(path):
    import gc
    import time

    gc.disable()
    End(lambda sleep=time.sleep: sleep(1000))
    ready(path)


def finalizer_lock(path, lock=_thread.allocate_lock):
    import gc

    gc.disable()
    held = lock()
    held.acquire()
    End(held.acquire)
    ready(path)


def finalizer_swallow(path):
    import gc

    gc.disable()
    End(swallow_forever)
    ready(path)


def finalizer_of_a_global(path):
    """No cycle, and not garbage before its module is."""
    global at_the_end
    at_the_end = End(spin_forever)
    at_the_end.cycle = None
    ready(path)
