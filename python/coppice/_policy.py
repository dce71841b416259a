# SPDX-License-Identifier: Apache-2.0
"""How actors are stopped, and how they were: values without behaviour.

Written out, not dataclasses: importing `dataclasses` costs more than the rest of this package.
"""
from coppice._types import Any, Callable, Cause, LoopName, Refill, Rung, Sequence, Strategy


class _Record:
    """Immutable, compared and printed by its fields, which are its __slots__ in order."""
    __slots__: tuple[str, ...] = ()

    def _fields(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._fields() == other._fields()

    def __hash__(self) -> int:
        return hash((type(self), self._fields()))

    def __repr__(self) -> str:
        values = ', '.join(f'{name}={getattr(self, name)!r}' for name in self.__slots__)
        return f'{type(self).__name__}({values})'

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f'{type(self).__name__} is immutable: make another one with {name}=')

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f'{type(self).__name__} is immutable')

    def __getstate__(self) -> object:
        return self._fields()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        for name, value in zip(self.__slots__, state, strict=True):
            object.__setattr__(self, name, value)

    def __replace__(self, **changes: Any) -> Any:
        return type(self)(**{**dict(zip(self.__slots__, self._fields())), **changes})


class StopPolicy(_Record):
    """Bounds of the stop ladder, in seconds: how long each rung may take before the next one.

        await an.start_actor('solver', enable_modules=['solver'], stop=StopPolicy(total=1))

    ask: its tasks are cancelled and unwind. unseen: it has not even looked at the request by then,
    so waiting longer is pointless and the ladder climbs. interrupt: `coppice.Interrupted` is raised
    in its running code (a process gets SIGTERM). force: nothing of it runs again (a process gets
    SIGKILL). total: of the whole ladder; where the rungs add up to more, force keeps up to half of
    it and the others are shortened in proportion. may_force=False: never destroyed under running
    code.
    """
    __slots__ = ('ask', 'unseen', 'interrupt', 'force', 'total', 'may_force')
    ask: float
    unseen: float
    interrupt: float
    force: float
    total: float
    may_force: bool

    def __init__(self, *, ask: float = 0.5, unseen: float = 0.05, interrupt: float = 1.0,
                 force: float = 0.5, total: float = 3.0, may_force: bool = True) -> None:
        for name, value in (('ask', ask), ('unseen', unseen), ('interrupt', interrupt),
                            ('force', force), ('total', total)):
            seconds = float(value)
            if not 0 <= seconds < 1e9:  # Also refuses nan and inf: no wait without a bound.
                raise ValueError(f'StopPolicy({name}={value!r}): seconds, from 0 to a billion')
            object.__setattr__(self, name, seconds)
        object.__setattr__(self, 'may_force', bool(may_force))

    def within(self, seconds: float) -> StopPolicy:
        """The same, but over after `seconds` at most."""
        shorter = min(self.total, seconds)
        return StopPolicy(ask=self.ask, unseen=self.unseen, interrupt=self.interrupt,
                          force=self.force, total=shorter, may_force=self.may_force)

    def _native(self) -> tuple[float, float, float, float, float, bool]:
        # The gentle rungs must not use up the time of the one that always helps.
        force = min(self.force, self.total / 2)
        gentle = self.ask + self.interrupt
        share = min(1.0, (self.total - force) / gentle) if gentle else 1.0
        return (self.ask * share, self.unseen * share, self.interrupt * share, force, self.total,
                self.may_force)


STRATEGIES = ('one_cancels_all', 'one_for_one', 'rest_for_one')


class RestartPolicy(_Record):
    """What a nursery does when one of its actors dies, as Erlang's supervisors do it.

        coppice.open_nursery(restart=RestartPolicy('one_for_one', restarts_max=5, within=60))

    strategy: 'one_cancels_all', nobody is started again and the block fails; 'one_for_one', the one
    that died is; 'rest_for_one', it and those that were started after it, which are stopped first,
    the last one first. More than `restarts_max` restarts within any `within` seconds end the block
    with RestartLimitExceeded. pause: seconds before a restart, each time in a row `pause_factor`
    times as long, at most `pause_longest`; one that has been up for `within` begins anew.
    """
    __slots__ = ('strategy', 'restarts_max', 'within', 'pause', 'pause_factor', 'pause_longest')
    strategy: Strategy
    restarts_max: int
    within: float
    pause: float
    pause_factor: float
    pause_longest: float

    def __init__(self, strategy: Strategy = 'one_cancels_all', *, restarts_max: int = 3,
                 within: float = 10.0, pause: float = 0.05, pause_factor: float = 2.0,
                 pause_longest: float = 5.0) -> None:
        if strategy not in STRATEGIES:
            raise ValueError(f'RestartPolicy({strategy!r}): there is '
                             + ', '.join(map(repr, STRATEGIES)))
        if int(restarts_max) != restarts_max or restarts_max < 0:
            raise ValueError(f'RestartPolicy(restarts_max={restarts_max!r}): 0, 1, 2, …')
        for name, value, least in (('within', within, 1e-9), ('pause', pause, 0),
                                   ('pause_factor', pause_factor, 1),
                                   ('pause_longest', pause_longest, 0)):
            if not least <= float(value) < 1e9:
                raise ValueError(f'RestartPolicy({name}={value!r}): a number from {least:g} to a '
                                 'billion')
            object.__setattr__(self, name, float(value))
        object.__setattr__(self, 'strategy', strategy)
        object.__setattr__(self, 'restarts_max', int(restarts_max))

    def __replace__(self, **changes: Any) -> RestartPolicy:
        fields = {**dict(zip(self.__slots__, self._fields())), **changes}
        return RestartPolicy(fields.pop('strategy'), **fields)

    def pause_before(self, in_a_row: int) -> float:
        """Seconds before the next restart, after so many in a row."""
        pause = self.pause
        for _ in range(in_a_row):
            if pause >= self.pause_longest:
                break
            pause *= self.pause_factor
        return min(pause, self.pause_longest)


class WarmPool(_Record):
    """Sub-interpreters that are up, with modules imported, before an actor is asked for: a start
    that finds one takes less than a millisecond.

        coppice.run(main, warm=WarmPool(size=4, preload=['numbers'], loop='asyncio'))

    size: how many are kept in stock. preload: modules that they import, under this sys.path, after
    `coppice`. loop: 'asyncio' or 'trio', what `async def` endpoints need, too. refill: 'background'
    (as soon as nothing else starts), 'on_demand' (once a start found none) or 'never'. at_once: so
    many are made at the same time. fill_within: seconds that the root waits for them when it opens.
    preload_within: seconds for the imports of one.

    Any actor on `subint` with an own GIL takes one if there is one, else it starts cold, at once.
    If a module of preload raises, or is not imported in time, stderr says which, once, and actors
    start cold from then on. See docs/python.md.
    """
    __slots__ = ('size', 'preload', 'loop', 'refill', 'at_once', 'fill_within', 'preload_within')
    size: int
    preload: tuple[str, ...]
    loop: LoopName | None
    refill: Refill
    at_once: int
    fill_within: float
    preload_within: float

    def __init__(self, size: int, preload: Sequence[str] = (), loop: LoopName | None = None, *,
                 refill: Refill = 'background', at_once: int = 2, fill_within: float = 2.0,
                 preload_within: float = 10.0) -> None:
        if not 0 <= size <= 256:
            raise ValueError(f'WarmPool(size={size!r}): a number from 0 to 256')
        if isinstance(preload, str) or not all(isinstance(name, str) for name in preload):
            raise TypeError(f'WarmPool(preload={preload!r}): a list of module names')
        if loop not in (None, 'asyncio', 'trio'):
            raise ValueError(f"WarmPool(loop={loop!r}): 'asyncio', 'trio' or None")
        if refill not in ('background', 'on_demand', 'never'):
            raise ValueError(f"WarmPool(refill={refill!r}): 'background', 'on_demand' or 'never'")
        if at_once < 1:
            raise ValueError(f'WarmPool(at_once={at_once!r}): 1 or more')
        for name, value in (('size', int(size)), ('preload', tuple(preload)), ('loop', loop),
                            ('refill', refill), ('at_once', int(at_once)),
                            ('fill_within', float(fill_within)),
                            ('preload_within', float(preload_within))):
            object.__setattr__(self, name, value)


def warm_options(warm: WarmPool | int | None,
                 program: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What open_root() is given so that the root's process keeps warm guests."""
    if warm is None:
        return {}
    pool = warm if isinstance(warm, WarmPool) else WarmPool(warm)
    if pool.size == 0:
        return {}
    return {'warm': {'size': pool.size, 'preload': ['coppice', *pool.preload], 'loop': pool.loop,
                     'refill': pool.refill, 'at_once': pool.at_once,
                     'fill_within': pool.fill_within, 'preload_within': pool.preload_within,
                     **program()}}


# Of an actor of tractor's, where nobody says otherwise: it needs half a second to leave in peace.
TRACTORS = StopPolicy(ask=1.5)

# What `cancel(hard_kill=True)` means: no polite request, and one quick interruption, which takes
# milliseconds and leaves nothing behind, before force, which leaves the dead frames' memory.
HARD = StopPolicy(ask=0, unseen=0, interrupt=0.05, force=0.5, total=1)


class GuestBudget(_Record):
    """How many sub-interpreters that could not be ended well one process bears.

        coppice.run(main, guests=GuestBudget(forced_max=50, then='other_process'))

    forced_max: forced stops since the root was opened, each of which leaves 2 to 7 MB behind.
    quarantined_max: actors that are stuck in native code at this moment. At either bound the next
    start by `subint` is treated by `then`: 'refuse' (BackendUnavailable), 'other_process' (it is
    started by `subint_forkserver`), or 'end' (refused, and the root is cancelled).
    """
    __slots__ = ('forced_max', 'quarantined_max', 'then')
    forced_max: int
    quarantined_max: int
    then: str

    def __init__(self, *, forced_max: int = 256, quarantined_max: int = 16,
                 then: str = 'refuse') -> None:
        for name, value in (('forced_max', forced_max), ('quarantined_max', quarantined_max)):
            if int(value) < 0:
                raise ValueError(f'GuestBudget({name}={value!r}): a number, 0 or more')
            object.__setattr__(self, name, int(value))
        if then not in ('refuse', 'other_process', 'end'):
            raise ValueError(f"GuestBudget(then={then!r}): write 'refuse', 'other_process' or "
                             "'end'")
        object.__setattr__(self, 'then', then)

    def _native(self) -> tuple[int, int, str]:
        return self.forced_max, self.quarantined_max, self.then


class ExitReport(_Record):
    """How an actor ended. Always true: `if await portal.cancel_actor():` reads as in tractor.

    rung: how far the stop ladder climbed; 'none' if nobody asked. how: 'returned', 'failed',
    'exited' with `status`, 'signalled' by signal `status`, 'lost', 'abandoned'. seconds: from the
    first request to the end. text: one line for people.
    """
    __slots__ = ('rung', 'how', 'status', 'seconds', 'text')
    rung: Rung
    how: Cause
    status: int
    seconds: float
    text: str

    def __init__(self, rung: Rung = 'none', how: Cause = 'returned', status: int = 0,
                 seconds: float = 0.0, text: str = '') -> None:
        for name, value in zip(self.__slots__, (rung, how, status, seconds, text)):
            object.__setattr__(self, name, value)

    def __str__(self) -> str:
        return self.text or self.how
