# SPDX-License-Identifier: Apache-2.0
"""Actors of a nursery that are started again when they die."""
from coppice._exceptions import ActorDied, RestartLimitExceeded
from coppice._native import native
from coppice._policy import RestartPolicy
from coppice._portal import Portal, named
from coppice._scopes import move_on_after
from coppice._types import Any, Callable, Restart

TYPE_CHECKING = False
if TYPE_CHECKING:
    from coppice import _loop
    from coppice._nursery import ActorNursery, Child

KINDS = ('transient', 'permanent', 'temporary')
OVER_MAX = 1024  # Actors that have ended for good and are remembered by their names.


class Place:
    """One actor's place in its nursery, which one incarnation after the other takes.

    state: 'starting', its first incarnation, whose fate is the caller's of start_actor(); 'up';
    'down', the next one is to come; 'over', no more of them.
    """
    __slots__ = ('nursery', 'name', 'make_child', 'options', 'when', 'init', 'child', 'state',
                 'restarts', 'last_end', 'up_since', 'in_a_row', 'number')

    def __init__(self, nursery: ActorNursery, name: str, make_child: Callable[[Place], Child],
                 options: dict[str, Any], when: Restart, init: Any) -> None:
        if when not in KINDS:
            raise ValueError(f'restart={when!r}: there is ' + ', '.join(map(repr, KINDS)))
        self.nursery = nursery
        self.name = name
        self.make_child = make_child
        self.options = options
        self.when = when
        self.init = _init_call(init)
        self.child: Child | None = None  # The present incarnation, or the last one.
        self.state = 'starting'
        self.restarts = 0
        self.last_end: BaseException | None = None
        self.up_since = 0.0
        self.in_a_row = 0  # Restarts since it was last up for long.
        self.number = 0    # In the order of their starts.

    async def start(self) -> Portal:
        """The next incarnation, until it is up."""
        nursery = self.nursery
        child = self.child = self.make_child(self)
        starting = child.starting
        assert starting is not None
        child.uuid = native.start_child(self.name, self.options, child.on_event)
        nursery._children[child.uuid] = child
        portal = None
        try:
            await starting.wait()
            portal = Portal(None, child)
            await self._answer_init(portal)
        except Exception:
            child.ask_to_stop()
            await child.wait_ended()
            raise
        except BaseException:
            child.ask_to_stop()  # Cancelled: the end of the block waits for it.
            raise
        return portal

    async def _answer_init(self, portal: Portal) -> None:
        if self.init is None:
            return  # It was up when it said so.
        ns, name, kwargs = self.init
        within = self.options['start_within']
        answered = False
        with move_on_after(within):
            await portal.run_from_ns(ns, name, **kwargs)
            answered = True
        if not answered:
            raise TimeoutError(f'actor {self.name!r}: its init {ns}:{name} did not end within '
                               f'{within:g} s')
        assert self.child is not None
        if self.child.ended:
            raise self.child.death()
        self.is_up()

    def on_started(self) -> None:
        if self.init is None:
            self.is_up()

    def is_up(self) -> None:
        self.restarts += self.state == 'down'
        self.state = 'up'
        self.up_since = self.nursery._adapter.current_time()
        self.nursery._restarts.changed()


def _init_call(init: Any) -> tuple[str, str, dict[str, Any]] | None:
    """Module, function and arguments of init=: a function, its name, or a functools.partial."""
    if init is None:
        return None
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    if not isinstance(init, str) and hasattr(init, 'func') and hasattr(init, 'keywords'):
        init, args, kwargs = init.func, init.args, dict(init.keywords)
    return named('init', init, args, kwargs)


class Restarts:
    """Erlang's supervision, for the actors of one nursery.

    A death is looked at when those before it have been dealt with; one whose place was filled
    meanwhile, because it had to go with another, is no death any more. It counts once, however many
    are started again for it; a restart that fails is the next death.
    """

    def __init__(self, nursery: ActorNursery, policy: RestartPolicy) -> None:
        self._nursery = nursery
        self.policy = policy
        self._places: list[Place] = []  # In the order of their starts; not those that are over.
        # By name the last one that is over. A nursery may serve for months, and start as many.
        self._over: dict[str, Place] = {}
        self._started = 0
        self._dead: list[Place] = []
        self._counted: list[float] = []  # Restarts that the limit still looks at.
        self._waiters: list[_loop.Wait] = []
        self._closed: _loop.Wait = nursery._adapter.new_wait()
        self.running = False
        self._limit: RestartLimitExceeded | None = None  # It was.

    def add(self, place: Place) -> None:
        self._started += 1
        place.number = self._started
        self._places.append(place)

    def remove(self, place: Place) -> None:
        """Its first incarnation did not come up, or nobody waits for it any more."""
        place.state = 'over'
        if place in self._places:  # It may have come up, and ended, since the wait was cancelled.
            self._places.remove(place)
        self.changed()

    def ended(self, place: Place, death: ActorDied, fault: bool, asked: bool) -> bool:
        """The present incarnation of a place has ended, by a fault or not; asked, if somebody here
        wanted that. Is it a failure of the nursery?"""
        if place.state != 'up':
            return False  # Whoever starts it hears of it, or it had to go with another.
        place.last_end = death
        none = self.policy.strategy == 'one_cancels_all'
        wanted = not asked and (place.when != 'temporary' if fault else place.when == 'permanent')
        if not none and wanted and not self._closed.settled:
            place.state = 'down'
            self._dead.append(place)
            self._run_soon()
        else:
            self._retire(place)
        self.changed()
        return none and fault

    def _retire(self, place: Place) -> None:
        place.state = 'over'
        place.options = {}
        place.child = None
        self._places.remove(place)
        before = self._over.pop(place.name, None)
        last = place if before is None or before.number < place.number else before
        self._over[place.name] = last
        if len(self._over) > OVER_MAX:
            del self._over[next(iter(self._over))]

    def close(self) -> None:
        """Nothing is started from now on."""
        self._closed.settle(None, None)
        self.changed()

    # --- finding one that is up ------------------------------------------------------------------

    def find(self, name: str) -> Place | None:
        over = self._over.get(name)
        for place in reversed(self._places):
            if place.name == name:
                return place if over is None or over.number < place.number else over
        return over

    async def wait_up(self, name: str, within: float) -> Portal:
        with move_on_after(within):
            while True:
                place = self._present(name)
                child = place.child
                if place.state == 'up' and child is not None and not child.lost:
                    return Portal(None, child)
                waiter = self._nursery._adapter.new_wait()
                self._waiters.append(waiter)
                await waiter.wait()
        place = self._present(name)
        doing = ('it is being started' if place.state == 'starting' else
                 f'it is being restarted after this: {place.last_end}')
        raise TimeoutError(f'actor {name!r} was not up within {within:g} s: {doing}')

    def _present(self, name: str) -> Place:
        place = self.find(name)
        if place is None:
            raise LookupError(f'no actor {name!r} was started in this nursery: its portals are '
                              'those of the actors that start_actor() started')
        if self._limit is not None:
            raise self._limit
        if place.state == 'over' or (self._closed.settled and place.state == 'down'):
            raise place.last_end or ActorDied(f'actor {name!r} has ended', name=name)
        return place

    def changed(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.settle(None, None)

    # --- restarting ------------------------------------------------------------------------------

    def _run_soon(self) -> None:
        if not self.running:
            self.running = True
            self._nursery._adapter.start_task(self._run, 'coppice: restarts')

    async def _run(self) -> None:
        try:
            while self._dead and not self._closed.settled:
                dead = self._dead.pop(0)
                if dead.state == 'down':
                    await self._bring_back(dead)
        except RestartLimitExceeded as error:
            self._limit = error
            self._nursery._fail(error)
        finally:
            self.running = False
            self._nursery._on_fewer()

    async def _bring_back(self, place: Place) -> None:
        """Until it is up, or a limit is."""
        dead: Place | None = place
        while dead is not None:
            self._count(dead)
            group = self._group(dead)
            for one in group:
                one.state = 'down'
            for one in reversed(group):
                assert one.child is not None
                await one.child.stop(None)
            pause = self.policy.pause_before(dead.in_a_row)
            dead.in_a_row += 1
            await self._closed.wait_shielded(pause)
            dead = await self._start(group)

    def _count(self, dead: Place) -> None:
        now = self._nursery._adapter.current_time()
        if now - dead.up_since >= self.policy.within:
            dead.in_a_row = 0
        self._counted = [at for at in self._counted if now - at <= self.policy.within]
        self._counted.append(now)
        if len(self._counted) > self.policy.restarts_max:
            raise RestartLimitExceeded(
                f'actor {dead.name!r} died once too often: more than {self.policy.restarts_max} '
                f'restarts within {self.policy.within:g} s; the last death: {dead.last_end}; see '
                "why it dies, or allow more in the nursery's RestartPolicy",
                dead.name, self.policy.restarts_max, self.policy.within, dead.last_end)

    def _group(self, dead: Place) -> list[Place]:
        """Those that are started again for it, in the order of their starts."""
        if self.policy.strategy == 'one_for_one':
            return [dead]
        behind = self._places[self._places.index(dead):]
        return [one for one in behind if one is dead or one.state in ('up', 'down')]

    async def _start(self, group: list[Place]) -> Place | None:
        """The one that did not come up; None: all are up, or the nursery ends."""
        for one in group:
            if self._closed.settled:
                return None
            try:
                await one.start()
            except Exception as error:
                if self._closed.settled:
                    return None
                one.last_end = error
                one.up_since = self._nursery._adapter.current_time()  # It has just been tried.
                return one
        return None
