# SPDX-License-Identifier: Apache-2.0
"""A `_coppice` without actors: one process, one thread, children that do what a test tells them.

It keeps the promises of `_coppice.pyi` that the package relies on, and fails loudly when the
package breaks one of its own (a second root, a call after the root closed).
"""
import os
import sys
import types
import uuid as uuids
from collections import deque
from dataclasses import dataclass, field
from typing import Any

HOLD = object()  # An endpoint's result: no reply until the test gives one.
GONE = ('asked', 'returned', 0, 0.001, 'returned')


# As the real one has it; tests/python/test_backends.py holds that one against the types.
METHODS = [
    ('thread', (), ('C++',), 'own thread', False, 'nothing', 'a thread'),
    ('process', ('trio', 'mp_spawn', 'spawn'), ('C++', 'Python'), 'own process', True, 'a main()',
     'a process'),
    ('forkserver', ('mp_forkserver', 'main_thread_forkserver'), ('Python',), 'own process', True,
     'modules without threads', 'a forked process'),
    ('subint', (), ('Python',), 'own interpreter', False, 'a CPython', 'a sub-interpreter'),
    ('auto', (), ('C++', 'Python'), None, False, 'nothing', 'one of the others'),
]


class Interrupted(BaseException):
    pass


class Buffer:
    """Immutable bytes."""

    def __init__(self, bytes_like):
        self.content = bytes(bytes_like)

    def __buffer__(self, flags):
        return memoryview(self.content)

    def __eq__(self, other):
        return self.content == other

    def __hash__(self):
        return hash(self.content)


class Link:
    def __init__(self, peer, actor):
        self.peer = peer
        self.actor = actor


@dataclass
class Call:
    """A call that an actor serves."""
    actor: Any
    request: int
    ns: str
    func: str
    kwargs: dict
    token: Any
    cancelled: bool = False

    def reply(self, value=None, error=None):
        self.actor.native.settle(self, value, error)


@dataclass
class FakeActor:
    """A child, or what a test wants a child of this name to be."""
    native: Any
    name: str
    endpoints: dict = field(default_factory=dict)
    start: Any = 'ok'           # 'ok', 'never', an exception, or a report of its early end.
    on_stop: Any = GONE         # The report that a stop leads to, or 'ignore'.
    on_cancel: str = 'unwind'   # What a cancelled call does: 'unwind', 'ignore'.
    uuid: str = ''
    options: dict = field(default_factory=dict)
    on_event: Any = None
    stops: list = field(default_factory=list)  # Policies, in the order in which they came.
    calls: dict = field(default_factory=dict)  # Open ones by request.
    served: list = field(default_factory=list)
    ended: bool = False

    def end(self, *report, requested=False):
        """It ends: open calls get ActorDied, then the nursery is told."""
        report = report or ('none', 'signalled', 9, 0.0, 'killed by SIGKILL')
        if self.ended:
            return
        self.ended = True
        for call in list(self.calls.values()):
            call.reply(error=self.native.make('died', {
                'message': f'actor {self.name!r} died: {report[4]}', 'report': report,
                'name': self.name}))
        self.native.post(lambda: self.on_event('ended', (report, requested)))

    def begin(self):
        if self.start == 'ok':
            self.native.post(lambda: self.ended or self.on_event(
                'started', Link((self.name, self.uuid), self)))
        elif isinstance(self.start, BaseException):
            self.ended = True
            self.native.post(lambda: self.on_event('start_failed', (self.start, None)))
        elif isinstance(self.start, tuple):
            self.end(*self.start)

    def stop(self, policy):
        self.stops.append(policy)
        if self.on_stop != 'ignore':
            self.end(*self.on_stop, requested=True)


class Native(types.ModuleType):
    """The module object: `sys.modules['_coppice']`."""
    version = '0.0-fake'

    def __init__(self):
        super().__init__('_coppice')
        self.Interrupted = Interrupted
        self.Buffer = Buffer
        self.Link = Link
        self.make = None
        self.reset()

    def reset(self):
        self.uid = None
        self.parent = None
        self.loop = None
        self.inbox = deque()
        self.unrung = deque()  # Events that come while a loop looks.
        self.actors = {}      # By uuid, ever started.
        self.plans = {}       # Attributes of actors to come, by name.
        self.requests = {}
        self.finished = []    # (call_id, value, error) of finish().
        self.forgotten = []
        self.roots = []       # Options of every root that was opened.
        self.closed = 0
        self.cancelled_self = []
        self.vars = {}
        self.available = [('thread', None), ('process', None), ('subint', None)]
        self.typed_method = None  # On the command line of `coppice run`.
        self.placed = {}  # By key: where its actors are started instead, and why.
        self.forced_stops = (True, '', 0.004)
        self._next = 0
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def tear_down(self):
        os.close(self._fd)
        self._fd = -1

    # --- for tests ---
    def plan(self, name, **attributes):
        self.plans[name] = attributes

    def actor(self, name):
        return next(one for one in self.actors.values() if one.name == name)

    def post(self, event):
        self.inbox.append(event)
        os.eventfd_write(self._fd, 1)

    def settle(self, call, value, error):
        if self.requests.pop(call.request, None) is None:
            return
        call.actor.calls.pop(call.request, None)
        self.post(lambda: self.loop.settle(call.token, value, error))

    # --- _coppice.pyi ---
    def self_uid(self):
        return self.uid

    def parent_uid(self):
        return self.parent

    def parent_link(self):
        return Link(self.parent, None) if self.parent else None

    def runtime_vars(self):
        return dict(self.vars)

    def open_root(self, name, options):
        assert self.uid is None, 'a second root'
        self.uid = (name, str(uuids.uuid4()))
        self.roots.append(dict(options))

    def close_root(self):
        assert self.uid is not None, 'no root to close'
        assert self.loop is None, 'the loop must be detached before: nothing may be delivered'
        self.uid = None
        self.closed += 1
        for actor in self.actors.values():
            actor.ended = True
        self.inbox.clear()
        self.requests.clear()
        return True

    def set_loop(self, loop):
        self.loop = loop

    def wake_fd(self):
        return self._fd

    def look(self):
        if not self.unrung:
            return False
        self.inbox.append(self.unrung.popleft())
        return True

    def drain(self):
        try:
            os.eventfd_read(self._fd)
        except BlockingIOError:
            pass
        while self.inbox:
            self.inbox.popleft()()

    def call(self, link, ns, func, kwargs, token):
        assert self.uid is not None, 'a call without an actor'
        for name, value in kwargs.items():
            if type(value) is object:
                raise TypeError(f'{ns}:{func}(): {name} cannot travel: object')
        self._next += 1
        call = Call(link.actor, self._next, ns, func, dict(kwargs), token)
        self.requests[call.request] = call
        actor = link.actor
        if actor.ended:
            call.reply(error=self.make('closed', {'message': 'the link is closed'}))
            return call.request
        actor.calls[call.request] = call
        actor.served.append(call)
        endpoint = actor.endpoints.get(f'{ns}:{func}', HOLD)
        if endpoint is not HOLD:
            try:
                result = endpoint(**kwargs)
            except BaseException as error:
                call.reply(error=self.remote(error, actor))
            else:
                if result is not HOLD:
                    call.reply(result)
        return call.request

    def remote(self, error, actor, **more):
        uid = (actor.name, actor.uuid)
        return self.make('remote', {
            'type': type(error).__name__, 'source_type': type(error).__name__,
            'message': str(error), 'traceback': 'Traceback …\n  in far away\n', 'source': uid,
            'path': [uid], 'members': [], **more})

    def cancel_call(self, request):
        call = self.requests.get(request)
        if call is None:
            return
        call.cancelled = True
        if call.actor.on_cancel == 'unwind':
            call.reply(error=self.make('remote', {
                'type': 'ContextCancelled', 'source_type': 'ContextCancelled', 'message': '',
                'traceback': '', 'source': ('x', 'y'), 'path': [], 'members': [],
                'canceller': self.uid}))

    def forget_call(self, request):
        self.forgotten.append(request)
        call = self.requests.pop(request, None)
        if call is not None:
            call.actor.calls.pop(request, None)

    def finish(self, call_id, value, error):
        self.finished.append((call_id, value, error))

    def cancel_self(self, why):
        self.cancelled_self.append(why)
        self.post(lambda: self.loop.cancel_all(why))

    def start_child(self, name, options, on_event):
        actor = FakeActor(self, name, uuid=str(uuids.uuid4()), options=dict(options),
                          on_event=on_event, **self.plans.get(name, {}))
        self.actors[actor.uuid] = actor
        actor.begin()
        return actor.uuid

    def stop_child(self, uuid, stop):
        self.actors[uuid].stop(stop)

    def backends(self):
        return list(self.available)

    def place(self, key):
        return self.placed.get(key, (key, None))

    def spawn_methods(self):
        return list(METHODS)

    def backend_table(self):
        here = dict(self.available)
        return [(key, key == 'auto' or here.get(key, '') is None, here.get(key, 'not here') or '',
                 self.forced_stops if key == 'subint' else None) for key, *_ in METHODS]

    def command_line_method(self):
        return self.typed_method

    def is_traced(self):
        return False

    def set_error_factory(self, make):
        self.make = make

    def register_remote_error(self, cls):
        self.remote_error = cls


def install():
    """Puts the fake in the place of `_coppice`, before anything imports `coppice`."""
    present = sys.modules.get('_coppice')
    if isinstance(present, Native):
        return present
    assert 'coppice' not in sys.modules, 'coppice was imported before its fake native half'
    native = sys.modules['_coppice'] = Native()
    return native
