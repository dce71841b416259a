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
from coppice._exceptions import (ActorDied, ActorFailure, BackendUnavailable, CallStuck,
                                 ClosedResourceError, ContextCancelled, EndOfChannel, Interrupted,
                                 Lagged, LimitExceeded, ModuleNotExposed, MsgTypeError, NoRuntime,
                                 RemoteActorError, RestartLimitExceeded, RuntimeFailure,
                                 StreamOverrun, TransportClosed, WouldBlock, reg_err_types)
from coppice._native import native as _native_half
from coppice._nursery import ActorNursery, open_nursery
from coppice._policy import ExitReport, GuestBudget, RestartPolicy, StopPolicy, WarmPool
from coppice._portal import Portal
from coppice._run import Actor, current_actor, get_runtime_vars, run, run_daemon
from coppice._scopes import (CancelScope, current_effective_deadline, current_time, fail_after,
                             move_on_after)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from coppice._backends import Backend, ForcedStops, backends
    from coppice._broadcast import BroadcastReceiver, broadcast_receiver
    from coppice._context import Context, Unresolved, current_ipc_ctx
    from coppice._discovery import find_actor, get_registry, query_actor, wait_for_actor
    from coppice._endpoint import context, stream
    from coppice._stream import MsgStream

__version__: str = _native_half.version
Buffer = _native_half.Buffer

__all__ = [
    'Actor', 'ActorDied', 'ActorFailure', 'ActorNursery', 'Backend', 'BackendUnavailable',
    'BroadcastReceiver', 'Buffer', 'CallStuck', 'CancelScope', 'ClosedResourceError', 'Context',
    'ContextCancelled', 'EndOfChannel', 'ExitReport', 'ForcedStops', 'GuestBudget', 'Interrupted',
    'Lagged', 'LimitExceeded', 'ModuleNotExposed', 'MsgStream', 'MsgTypeError', 'NoRuntime',
    'Portal', 'RemoteActorError', 'RestartLimitExceeded', 'RestartPolicy', 'RuntimeFailure',
    'StopPolicy', 'StreamOverrun', 'TransportClosed', 'Unresolved', 'WarmPool', 'WouldBlock',
    'backends', 'broadcast_receiver', 'context', 'current_actor', 'current_effective_deadline',
    'current_ipc_ctx', 'current_time', 'fail_after', 'find_actor', 'get_registry',
    'get_runtime_vars', 'move_on_after', 'open_nursery', 'query_actor', 'reg_err_types', 'run',
    'run_daemon', 'stream', 'wait_for_actor',
]

# Found when it is asked for: a guest imports this package whenever the main script does, and pays.
_LATER = {
    'Backend': '_backends', 'ForcedStops': '_backends', 'backends': '_backends',
    'BroadcastReceiver': '_broadcast', 'Context': '_context', 'MsgStream': '_stream',
    'Unresolved': '_context', 'broadcast_receiver': '_broadcast', 'context': '_endpoint',
    'current_ipc_ctx': '_context', 'find_actor': '_discovery', 'get_registry': '_discovery',
    'query_actor': '_discovery', 'stream': '_endpoint', 'wait_for_actor': '_discovery',
}


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    module = __import__(f'{__name__}.{_LATER[name]}', fromlist=[name])
    found = globals()[name] = getattr(module, name)
    found.__module__ = __name__
    return found


# Tracebacks and pickles name what users import, not where it is written.
for _name in set(__all__) - _LATER.keys() - {'Buffer'}:
    globals()[_name].__module__ = __name__
del _name
