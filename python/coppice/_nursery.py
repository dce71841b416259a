# SPDX-License-Identifier: Apache-2.0
"""The block that actors live in: what it starts has ended when it is left."""
from coppice import _loop, _root, _spawn
from coppice._exceptions import (ActorDied, ActorFailure, CallStuck, RemoteActorError,
                                 RuntimeFailure, TransportClosed)
from coppice._native import native
from coppice._policy import (HARD, TRACTORS, ExitReport, RestartPolicy, StopPolicy, WarmPool,
                             warm_options)
from coppice._portal import Portal
from coppice._restart import Place, Restarts
from coppice._types import (AbstractAsyncContextManager, Any, Callable, Coroutine, Gil, Link,
                            LoopName, Mapping, Restart, Sequence, StartMethod, TracebackType, Uid)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import overload

    from coppice._one_shot import OneShotPortal, Result

SIGINT, SIGTERM = 2, 15
EXITS_KEPT_MAX = 1024
HARD_RUNGS = frozenset({'forced', 'killed', 'abandoned', 'reclaimed'})  # Are logged, once each.


class Child:
    """One incarnation of an actor of a nursery, from its start to its end."""
    __slots__ = ('nursery', 'place', 'name', 'uuid', 'policy', 'start_method', 'start_reason',
                 'starting', 'link', 'lost', 'stopping', 'ended', 'report', 'waiters')

    def __init__(self, nursery: ActorNursery, place: Place, policy: StopPolicy, start_method: str,
                 start_reason: str) -> None:
        self.nursery = nursery
        self.place = place
        self.name = place.name
        self.uuid = ''
        self.policy = policy
        self.start_method = start_method
        self.start_reason = start_reason
        self.starting: _loop.Wait | None = nursery._adapter.new_wait()  # For it to be up.
        self.link: Link | None = None  # While it is up.
        self.lost = False  # Its connection has closed: it is about to end.
        self.stopping = False
        self.ended = False
        self.report: ExitReport | None = None  # Once it has ended, if it ever ran.
        self.waiters: list[_loop.Wait] = []    # For its end.

    @property
    def uid(self) -> Uid:
        return self.name, self.uuid

    def live_link(self) -> Link:
        if self.link is None:
            raise self.death()
        return self.link

    def death(self) -> ActorDied:
        report = self.report if self.report is not None else ExitReport()
        asked = ' was stopped' if self.stopping else ' died'
        return ActorDied(f'actor {self.name!r}{asked}: {report}', report, uid=self.uid)

    def ask_to_stop(self, policy: StopPolicy | None = None) -> None:
        """Idempotent; a policy, if there is one, is for somebody in more of a hurry."""
        if self.ended or (self.stopping and policy is None):
            return
        self.stopping = True
        native.stop_child(self.uuid, policy._native() if policy is not None else None)

    async def stop(self, seconds: float | None) -> ExitReport:
        _loop.require()
        self.ask_to_stop(None if seconds is None else self.policy.within(seconds))
        await self.wait_ended()
        return self.report if self.report is not None else ExitReport()

    async def wait_ended(self) -> None:
        if self.ended:
            return
        waiter = self.nursery._adapter.new_wait()
        self.waiters.append(waiter)
        await waiter.wait()

    def on_event(self, kind: str, value: Any) -> None:
        """From drain(): 'started', 'start_failed', 'lost', 'ended', and 'reclaimed' after that."""
        if kind == 'started':
            self.link = value
            self.place.on_started()
            self._settle_start(None)
        elif kind == 'lost':
            self.lost = True
        elif kind == 'start_failed':
            error, fields = value
            if fields is not None:  # It was there for a time, and was stopped, or died.
                self.report = ExitReport(*fields)
                self.nursery._note_exit(self, self.report)
                if isinstance(error, ActorFailure):
                    error.report = self.report
            self._end()
            self._settle_start(error)
        elif kind == 'ended':
            fields, requested = value
            self.report = ExitReport(*fields)
            self._end()
            # One that never came up is the business of whoever started it, not of the nursery.
            failure = self.starting is None and _is_failure(self.report, requested)
            self._settle_start(ActorFailure(
                f'actor {self.name!r} ended before it had started: {self.report}', self.report))
            self.nursery._on_ended(self, self.report, failure, requested or self.stopping)
        elif kind == 'reclaimed':
            self.report = ExitReport(*value)
            self.nursery._note_reclaimed(self, self.report)
        if self.report is not None and self.report.rung in HARD_RUNGS:
            _log_hard_end(self.name, self.report)  # Last: whoever handles logs is the program's.

    def _settle_start(self, error: BaseException | None) -> None:
        starting, self.starting = self.starting, None
        if starting is not None:
            starting.settle(None, error)

    def _end(self) -> None:
        self.ended = True
        self.link = None  # A portal that somebody keeps must not keep a connection.
        self.nursery._children.pop(self.uuid, None)
        waiters, self.waiters = self.waiters, []
        for waiter in waiters:
            waiter.settle(None, None)
        self.nursery._on_fewer()


class ActorNursery:
    """Starts actors and supervises them. Made by open_nursery()."""

    def __init__(self, adapter: _loop.Adapter, start_method: str, stop: StopPolicy,
                 restart: RestartPolicy) -> None:
        self._adapter = adapter
        self._start_method = start_method
        self._stop = stop
        self._scope = adapter.open_scope()      # Around the body of the block.
        self._children: dict[str, Child] = {}   # By uuid: those that have not ended.
        self._deaths: dict[Uid, ActorDied] = {}  # Failures: who ended unasked, in that order.
        self._failures: list[BaseException] = []  # Others of the nursery itself.
        self._restarts = Restarts(self, restart)
        # Of one-shots: those that have not ended, and those whose error nobody has taken.
        self._results: list[Result] = []
        self._body_over = False
        self._exits: dict[Uid, ExitReport] = {}
        self._empty: _loop.Wait | None = None   # Settled when the last child has ended.
        self._cancelling = False                # No more starts.
        self._cancel_called = False
        self._above: str | None = None          # Why the whole actor is to end, if it is.
        self._caught = False
        self._closed = False

    @property
    def cancel_called(self) -> bool:
        """Has somebody called cancel()?"""
        return self._cancel_called

    @property
    def cancelled_caught(self) -> bool:
        """Was the body of the block cancelled because the nursery had to end?"""
        return self._caught

    @property
    def exits(self) -> Mapping[Uid, ExitReport]:
        """How each actor ended, by uid, in the order of their ends: the last EXITS_KEPT_MAX."""
        return self._exits

    def __repr__(self) -> str:
        state = 'closed' if self._closed else 'ending' if self._cancelling else 'open'
        names = ', '.join(repr(child.name) for child in self._children.values())
        return f'<ActorNursery {state}: {names or "no actors"}>'

    async def start_actor(self, name: str, *, enable_modules: Sequence[str] | None = None,
                          start_method: StartMethod | None = None, gil: Gil = 'own',
                          loop: LoopName | None = None, stop: StopPolicy | None = None,
                          start_within: float = 10.0, restart: Restart = 'transient',
                          init: Callable[..., Any] | str | None = None, cwd: str | None = None,
                          inherit_parent_main: bool = True,
                          proc_kwargs: Mapping[str, Any] | None = None,
                          loglevel: str | None = None,
                          enable_transports: Sequence[str] | None = None) -> Portal:
        """Starts an actor that lives until it is cancelled, and returns the portal to it.

        enable_modules: names of the modules whose functions can be called. start_method: see
        docs/backends.md; the nursery's, the root's, 'auto'. gil: 'shared' lets a `subint` import
        C extensions that refuse an own one, at the price of parallelism. stop: bounds of its
        ladder. start_within: seconds to be ready. restart: which ends lead to another start, where
        the nursery's RestartPolicy has any: 'transient', deaths; 'permanent', all but those that
        were asked for; 'temporary', none. init: a function of one of these modules, or a partial
        of one, that each incarnation answers before it is up. cwd: working directory, of a process
        only. inherit_parent_main: run the main script there (as `__mp_main__`, so that its main
        guard is respected). proc_kwargs: {'executable': path}, a Python that has tractor: the actor
        is one of tractor's (docs/tractor.md); {'env': mapping} is the environment of any process.
        loglevel: tractor's; nothing is logged yet. enable_transports: a process reaches us by the
        first, 'uds' or 'tcp'; the root's, else 'uds'.

        Raises ActorFailure or RemoteActorError if it does not come up, BackendUnavailable or
        ValueError for a start method that cannot be had.
        """
        self._check_start(name, gil)
        process = _spawn.process_options(proc_kwargs)
        foreign = 'executable' in process
        policy = stop if stop is not None else self._stop
        if foreign and policy == StopPolicy():
            policy = TRACTORS
        method, said_by = _spawn.default(self._start_method)
        if start_method or foreign:  # The program's decision about this actor.
            method, said_by = start_method or 'process', _spawn.ARGUMENT
        key, reason = _spawn.choose(method, said_by)
        if process and key == 'subint':
            raise ValueError(f"proc_kwargs= is of a process: use start_method='process' with it, "
                             f'not {key!r}')
        if cwd is not None and key == 'subint':
            raise ValueError("cwd= is of a whole process: use start_method='process' with it")
        data = _spawn.start_data(enable_modules, inherit_parent_main)
        is_open = method == 'auto' and gil == 'own'
        if is_open:
            key, reason = _spawn.otherwise(data) or (key, reason)
        options: dict[str, Any] = {
            **data,
            'start_method': key, 'gil': gil, 'stop': policy._native(),
            'loop': _loop.check(loop if loop is not None else self._adapter.name),
            'start_within': float(start_within), 'runtime_vars': native.runtime_vars(),
            **process}
        if cwd is not None:
            options['cwd'] = str(cwd)
        if enable_transports is not None:
            options['enable_transports'] = list(enable_transports)
        place = Place(self, name, lambda of: Child(self, of, policy, key, reason), options,
                      restart, init)
        self._restarts.add(place)
        try:
            return await (self._start_open(place, policy, data) if is_open else place.start())
        except BaseException:
            self._restarts.remove(place)
            raise

    def _check_start(self, name: str, gil: str) -> None:
        _loop.require()
        if not isinstance(name, str) or not name:
            raise TypeError(f'an actor needs a name, not {name!r}')
        if self._closed or self._cancelling:
            raise RuntimeFailure(f'actor {name!r} cannot be started: its nursery '
                                 + ('is closed' if self._closed else 'is ending'))
        if gil not in ('own', 'shared'):
            raise ValueError(f"gil={gil!r}: write 'own' or 'shared'")

    async def _start_open(self, place: Place, policy: StopPolicy, data: dict[str, Any]) -> Portal:
        """By what 'auto' came to, or by another method if a module turns out not to load there."""
        try:
            return await place.start()
        except RemoteActorError as error:
            better = _spawn.otherwise(data, error)
            if better is None or better[0] == place.options['start_method']:
                raise
        if place.child is not None:
            self._exits.pop(place.child.uid, None)  # A first try is nobody's actor.
        place.options['start_method'] = better[0]
        place.make_child = lambda of: Child(self, of, policy, *better)
        return await place.start()

    if TYPE_CHECKING:
        @overload
        async def run_in_actor[**P, R](self, func: Callable[P, Coroutine[Any, Any, R]], /,
                                       *args: P.args, **kwargs: P.kwargs) -> OneShotPortal[R]: ...
        @overload
        async def run_in_actor(self, func: Any, /, *args: Any, name: str | None = None,
                               enable_modules: Sequence[str] | None = None,
                               start_method: StartMethod | None = None, gil: Gil = 'own',
                               stop: StopPolicy | None = None, cwd: str | None = None,
                               inherit_parent_main: bool = True,
                               proc_kwargs: Mapping[str, Any] | None = None,
                               loglevel: str | None = None,
                               enable_transports: Sequence[str] | None = None,
                               **kwargs: Any) -> OneShotPortal[Any]: ...

    async def run_in_actor(self, func: Any, /, *args: Any, name: str | None = None,
                           **kwargs: Any) -> OneShotPortal[Any]:
        """Starts an actor for one call of a function, whose module it exposes and whose name it
        gets unless `name` is given. When the call has ended, so does the actor.

            portal = await an.run_in_actor(fib, n=30)
            assert await portal.wait_for_result() == 832040

        Of start_actor()'s options it takes those that are named in its signature; all other
        arguments are the function's. The block waits for the results of all such actors, and raises
        the errors that nobody has taken by wait_for_result() when its body has ended. The actor is
        never restarted.
        """
        from coppice._one_shot import OPTIONS, run_in_actor

        options = {key: kwargs.pop(key) for key in OPTIONS if key in kwargs}
        return await run_in_actor(self, func, args, kwargs, name, options)

    async def portal(self, name: str, *, within: float = 10.0) -> Portal:
        """The present incarnation of the actor of that name; of several the one started last.

        A portal belongs to one incarnation and dies with it. This waits while the actor is being
        restarted: TimeoutError after `within` seconds, ActorDied if it is over, LookupError if no
        actor of that name was started here.
        """
        _loop.require()
        return await self._restarts.wait_up(name, within)

    def restart_count(self, name: str) -> int:
        """How often the actor of that name was started again."""
        place = self._restarts.find(name)
        return place.restarts if place is not None else 0

    async def cancel(self, hard_kill: bool = False) -> None:
        """Stops all actors, in parallel, and waits until they have ended, within their StopPolicy.

        The body goes on; the nursery starts no more actors. hard_kill: without asking them first.
        """
        _loop.require()
        self._cancel_called = True
        children = list(self._children.values())
        self._stop_children(HARD if hard_kill else None)
        for child in children:
            await child.wait_ended()

    def cancel_from_above(self, why: str) -> None:
        self._above = why
        self._stop_children()
        self._scope.cancel_unless_cancelled()

    def root_closed(self) -> None:
        self._restarts.close()
        for child in list(self._children.values()):
            child.stopping = True
            child._settle_start(RuntimeFailure('the root was closed'))
            child._end()

    # --- children's ends -----------------------------------------------------------------------

    def _stop_children(self, policy: StopPolicy | None = None) -> None:
        self._cancelling = True
        self._restarts.close()
        for child in list(self._children.values()):
            child.ask_to_stop(policy)

    def _note_exit(self, child: Child, report: ExitReport) -> None:
        if len(self._exits) == EXITS_KEPT_MAX:  # A block may start actors for years.
            del self._exits[next(iter(self._exits))]
        self._exits[child.uid] = report

    def _note_reclaimed(self, child: Child, report: ExitReport) -> None:
        if child.uid in self._exits:
            self._exits[child.uid] = report

    def _on_ended(self, child: Child, report: ExitReport, failure: bool, asked: bool) -> None:
        self._note_exit(child, report)
        if self._restarts.ended(child.place, child.death(), failure, asked):
            self._deaths[child.uid] = child.death()
            self._stop_children()
            self._scope.cancel()

    def _fail(self, error: BaseException) -> None:
        self._failures.append(error)
        self._stop_children()
        self._scope.cancel()

    def _on_result(self) -> None:
        # Before the body has ended, somebody there may take it.
        if self._body_over:
            self._stop_if_results_failed()

    def _stop_if_results_failed(self) -> None:
        # As in tractor, one that fails does not cut the other one-shots short.
        if (all(one.settled for one in self._results)
                and any(one.failure(set()) for one in self._results)):
            self._stop_children()

    def _on_fewer(self) -> None:
        if not self._is_busy() and self._empty is not None:
            self._empty.settle(None, None)

    def _is_busy(self) -> bool:
        return bool(self._children) or self._restarts.running

    # --- the end of the block --------------------------------------------------------------------

    async def _close(self, raised: BaseException | None) -> BaseException | None:
        """The body has ended with `raised`. Ends every child, and returns what the block raises:
        `raised` itself if that is all there is, None if it ends well."""
        failure = await self._scope.close(self._without_stuck(raised))
        self._caught = failure is None and raised is not None
        outside = failure if isinstance(failure, self._adapter.cancelled) else None
        if outside is not None:
            failure = None
        self._body_over = True
        if raised is not None:
            self._stop_children()
        self._stop_if_results_failed()
        outside = await self._wait_for_children(raised is None and outside is None) or outside
        self._closed = True
        return await self._outcome(failure, outside)

    async def _wait_for_children(self, willing: bool) -> BaseException | None:
        """Until all have ended. `willing` to wait as long as they like, unless we are cancelled;
        else their ladders bound it. Returns the cancellation that came meanwhile."""
        cancelled: BaseException | None = None
        while self._is_busy():
            self._empty = self._adapter.new_wait()
            try:
                if willing and not self._cancelling:
                    await self._empty.wait()
                else:
                    await self._empty.wait_shielded()
            except (self._adapter.cancelled, KeyboardInterrupt) as error:
                cancelled = error
                self._stop_children()
        self._empty = None
        return cancelled

    async def _outcome(self, failure: BaseException | None,
                       outside: BaseException | None) -> BaseException | None:
        if isinstance(outside, KeyboardInterrupt):
            failure, outside = outside, None
        interrupted = outside is not None or self._above is not None or isinstance(
            failure, KeyboardInterrupt)
        told = _uids_of_the_dead(failure)
        errors: list[BaseException] = [
            death for uid, death in self._deaths.items()
            if uid not in told and not (interrupted and _by_sigint(death.report))]
        errors += [one for one in self._failures if one is not failure]
        told |= set(self._deaths)
        errors += filter(None, (result.failure(told) for result in self._results))
        if isinstance(failure, (KeyboardInterrupt, SystemExit)):
            if errors:  # These leave as they are; the rest stays visible beneath.
                failure.__context__ = _one_or_group(errors)
            return failure
        if failure is not None:
            errors.append(failure)
        if errors:
            if outside is not None:
                self._scope.rearm()
            return _one_or_group(errors)
        if outside is not None:
            return outside
        if self._above is not None:
            return await _root.leaving_error(self._adapter, self._above)
        return None

    def _without_stuck(self, raised: BaseException | None) -> BaseException | None:
        # A stuck call matters to those whose actor goes on. Ours does not outlive this block, so
        # what is left of that error is the cancellation that it took the place of.
        if isinstance(raised, CallStuck) and raised.cancelled is not None and (
                raised.uid in self._exits
                or any(raised.uid == child.uid for child in self._children.values())):
            return raised.cancelled
        return raised

    def _abandon(self) -> None:
        """The block is left where nobody can wait: its coroutine is closed outside its loop."""
        self._stop_children()
        self._closed = True


def _log_hard_end(name: str, report: ExitReport) -> None:
    import logging  # A guest that never needs it does not pay for it.

    log = logging.getLogger('coppice')
    if not log.hasHandlers():  # As libraries do: silent unless the program wants logs.
        log.addHandler(logging.NullHandler())
    log.warning('actor %r: %s', name, report)


def _is_failure(report: ExitReport, requested: bool) -> bool:
    """Did it end by a fault of its own? Not if it was told to end, by whomever, and did; not by
    what the ladder did to it either."""
    if report.how in ('returned', 'abandoned') or (report.how == 'exited' and report.status == 0):
        return False
    if not requested:
        return True
    if report.how == 'lost' or _by_sigint(report):
        return False
    if report.rung == 'interrupted':  # Sends a process SIGTERM. Any other signal was not ours.
        return report.how == 'signalled' and report.status != SIGTERM
    return report.rung in ('none', 'asked')


def _by_sigint(report: ExitReport) -> bool:
    # A terminal's Ctrl-C goes to every process of the group: that is no fault of theirs.
    return ((report.how == 'signalled' and report.status == SIGINT)
            or (report.how == 'exited' and report.status == 128 + SIGINT))


def _uids_of_the_dead(error: BaseException | None) -> set[Uid]:
    """Of the actors whose deaths, or loss, `error` tells of already."""
    if isinstance(error, BaseExceptionGroup):
        return set().union(*map(_uids_of_the_dead, error.exceptions))
    if isinstance(error, TransportClosed) and error.uid is not None:
        return {error.uid}
    return set()


def _one_or_group(errors: Sequence[BaseException]) -> BaseException:
    if len(errors) == 1:
        return errors[0]
    return BaseExceptionGroup('a nursery of actors failed', errors)


class _Block:
    """The `async with` of open_nursery()."""
    __slots__ = ('_root_options', '_start_method', '_stop', '_restart', '_root', '_nursery')

    def __init__(self, start_method: str | None, stop: StopPolicy | None,
                 restart: RestartPolicy | None, root_options: dict[str, Any]) -> None:
        self._start_method = start_method
        self._stop = stop
        self._restart = restart if restart is not None else RestartPolicy()
        self._root_options = root_options
        self._nursery: ActorNursery | None = None
        self._root: _root.Root | None = None

    async def __aenter__(self) -> ActorNursery:
        if self._nursery is not None:
            raise RuntimeFailure('this nursery was opened before: call open_nursery() again')
        method = self._start_method
        _spawn.choose(*_spawn.default(method or 'auto'))
        self._root = _root.hold(self._root_options.pop('name'), method or 'auto', self._stop,
                                self._root_options)
        try:
            defaults = _root.defaults()
            self._nursery = ActorNursery(_loop.require(), method or defaults.start_method,
                                         self._stop or defaults.stop, self._restart)
            _root.add(self._nursery)
        except BaseException:
            _root.release(self._root)
            raise
        return self._nursery

    async def __aexit__(self, kind: type[BaseException] | None, raised: BaseException | None,
                        traceback: TracebackType | None) -> bool:
        nursery = self._nursery
        assert nursery is not None
        try:
            if isinstance(raised, GeneratorExit) and not nursery._adapter.is_here():
                nursery._abandon()
                return False
            outcome = await nursery._close(raised)
        finally:
            _root.remove(nursery)
            _root.release(self._root)
        if outcome is None:
            return True  # Well, or it was our own cancellation.
        if outcome is raised:
            return False
        try:
            raise outcome from outcome.__cause__
        finally:
            del outcome, raised


def open_nursery(*, start_method: StartMethod | None = None, stop: StopPolicy | None = None,
                 restart: RestartPolicy | None = None,
                 name: str = 'root', payload_bytes_max: int | None = None,
                 exit_linger: float | None = None,
                 registry_addrs: Sequence[Any] | None = None, loglevel: str | None = None,
                 warm: WarmPool | int | None = None,
                 **transports: Any) -> AbstractAsyncContextManager[ActorNursery]:
    """A block of actors. When it is left, every actor that was started in it has ended.

        async with coppice.open_nursery() as an:
            portal = await an.start_actor('doubler', enable_modules=[__name__])
            …

    Left normally, it waits for the actors, which live until they are cancelled. If the body raises
    or is cancelled, or an actor dies unasked, everything else in the block is cancelled and waited
    for, and the failures are raised: one alone as it is, more as an ExceptionGroup.

    start_method and stop are what its actors get unless start_actor() says otherwise. restart:
    which actors are started again when one dies; without it nobody is, and the block fails. Where
    no actor is running yet, the block is also the root: `name` is its name, payload_bytes_max
    bounds one message, exit_linger is how long the process may take to leave when native code in it
    never returns, registry_addrs and warm are what coppice.run() does with them. transports,
    between processes: enable_transports=['uds'] or ['tcp']; peer_silence_max, seconds after which a
    silent peer is dead; insecure_tcp='allow' lets tcp go beyond this host without TLS;
    other_users='allow', unix sockets to processes of other users; tls_certificate, tls_key, tls_ca,
    PEM files. forkserver_preload=['numpy'] are modules that are imported once, in the process from
    which 'forkserver' and its like fork actors. guests: a GuestBudget. Where a root is running, all
    these mean nothing.
    """
    options: dict[str, Any] = {'name': name, **_root.registry_options(registry_addrs),
                               **warm_options(warm, _spawn.program_to_warm)}
    if payload_bytes_max is not None:
        options['payload_bytes_max'] = int(payload_bytes_max)
    if exit_linger is not None:
        options['exit_linger'] = float(exit_linger)
    options.update(transports)  # The runtime refuses what it does not know.
    return _Block(start_method, stop, restart, options)
