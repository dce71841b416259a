# SPDX-License-Identifier: Apache-2.0
"""Names for annotations, without the cost of importing `typing`.

A guest imports `coppice` whenever the user's main script does, so nothing here may be slow. Type
checkers read the first branch, Python the second, where each name only has to exist: tools such as
`inspect.signature` evaluate annotations.
"""
from _collections_abc import (AsyncGenerator, Awaitable, Callable, Coroutine, Iterable, Iterator,
                              Mapping, Sequence)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager, AbstractContextManager
    from types import TracebackType
    from typing import Any, Literal, Protocol, Self

    from coppice._coppice import Link

    type StartMethod = Literal['auto', 'process', 'forkserver', 'subint', 'subint_fork',
                               'subint_forkserver', 'trio', 'mp_spawn', 'spawn',
                               'mp_forkserver', 'main_thread_forkserver']
    type LoopName = Literal['asyncio', 'trio']
    type Gil = Literal['own', 'shared']
    type Refill = Literal['background', 'on_demand', 'never']
    type Rung = Literal['none', 'asked', 'interrupted', 'forced', 'killed', 'abandoned',
                        'reclaimed']
    type Strategy = Literal['one_cancels_all', 'one_for_one', 'rest_for_one']
    type Restart = Literal['transient', 'permanent', 'temporary']
    type Cause = Literal['returned', 'failed', 'exited', 'signalled', 'lost', 'abandoned']
else:
    Any = Protocol = Self = TracebackType = Link = object
    AbstractAsyncContextManager = AbstractContextManager = list  # They have to be subscriptable.
    StartMethod = LoopName = Gil = Refill = Rung = Cause = Strategy = Restart = str

type Uid = tuple[str, str]  # (name, uuid): names need not be unique, uuids are.

__all__ = [
    'AbstractAsyncContextManager', 'AbstractContextManager', 'Any', 'AsyncGenerator', 'Awaitable',
    'Callable', 'Cause', 'Coroutine', 'Gil', 'Iterable', 'Iterator', 'Link', 'LoopName', 'Mapping',
    'Protocol', 'Refill', 'Restart', 'Rung', 'Self', 'Sequence', 'StartMethod', 'Strategy',
    'TracebackType', 'Uid',
]
