# SPDX-License-Identifier: Apache-2.0
"""Trees of actors that start in a scope, end with it, and are cut down even when they are stuck.

    import coppice

    async def double(x): return 2 * x

    async def main():
        async with coppice.open_nursery() as an:
            portal = await an.start_actor('doubler', enable_modules=[__name__])
            assert await portal.run(double, x=21) == 42
            await portal.cancel_actor()

    if __name__ == '__main__':
        coppice.run(main)

An actor is a sub-interpreter with a GIL of its own, or a process. Guide: docs/python.md.
"""
from coppice._context import Context, Unresolved, current_ipc_ctx
from coppice._endpoint import context, stream
from coppice._exceptions import (ActorDied, ActorFailure, BackendUnavailable, CallStuck,
                                 ClosedResourceError, ContextCancelled, EndOfChannel, Interrupted,
                                 LimitExceeded, ModuleNotExposed, MsgTypeError, NoRuntime,
                                 RemoteActorError, RuntimeFailure, StreamOverrun, TransportClosed,
                                 WouldBlock, reg_err_types)
from coppice._native import native as _native_half
from coppice._nursery import ActorNursery, open_nursery
from coppice._policy import ExitReport, StopPolicy
from coppice._portal import Portal
from coppice._run import Actor, current_actor, get_runtime_vars, run
from coppice._scopes import (CancelScope, current_effective_deadline, current_time, fail_after,
                             move_on_after)
from coppice._stream import MsgStream

__version__: str = _native_half.version

__all__ = [
    'Actor', 'ActorDied', 'ActorFailure', 'ActorNursery', 'BackendUnavailable', 'CallStuck',
    'CancelScope', 'ClosedResourceError', 'Context', 'ContextCancelled', 'EndOfChannel',
    'ExitReport', 'Interrupted', 'LimitExceeded', 'ModuleNotExposed', 'MsgStream', 'MsgTypeError',
    'NoRuntime', 'Portal', 'RemoteActorError', 'RuntimeFailure', 'StopPolicy', 'StreamOverrun',
    'TransportClosed', 'Unresolved', 'WouldBlock', 'context', 'current_actor',
    'current_effective_deadline', 'current_ipc_ctx', 'current_time', 'fail_after',
    'get_runtime_vars', 'move_on_after', 'open_nursery', 'reg_err_types', 'run', 'stream',
]

for _name in __all__:  # Tracebacks and pickles name what users import, not where it is written.
    globals()[_name].__module__ = __name__
del _name
