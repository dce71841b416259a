# SPDX-License-Identifier: Apache-2.0
"""Everything that can go wrong, as types. Cancellation is none of them.

Importing this module makes it known to the native half, which raises what is defined here.
"""
import builtins
import sys

from coppice._native import native
from coppice._policy import ExitReport
from coppice._types import Any, Iterable, Mapping, Uid

Interrupted = native.Interrupted


class RuntimeFailure(RuntimeError):
    """The runtime of this actor was used in a way that it cannot serve."""


class NoRuntime(RuntimeFailure):
    """No actor runs here: no root is open in this interpreter."""


class BackendUnavailable(RuntimeFailure):
    """A start method that this build or machine cannot serve; says what is missing, what to do."""


class LimitExceeded(RuntimeFailure):
    """A frame, a queue or a depth beyond its limit; the text names the option."""


class ModuleNotExposed(ModuleNotFoundError):
    """The called module is not among the callee's `enable_modules`. Arrives boxed."""


class ActorFailure(RuntimeFailure):
    """An actor could not be started. `report` has the end of one that died before it connected."""

    def __init__(self, message: str = '', report: ExitReport | None = None) -> None:
        super().__init__(message)
        self.report = report if report is not None else ExitReport()


class RestartLimitExceeded(ActorFailure):
    """Actors of a nursery died more often than its RestartPolicy allows: more than `restarts_max`
    restarts within `within` seconds. `name` died last, of `last_death`."""

    def __init__(self, message: str = '', name: str = '', restarts_max: int = 0,
                 within: float = 0.0, last_death: BaseException | None = None) -> None:
        super().__init__(message, getattr(last_death, 'report', None))
        self.name = name
        self.restarts_max = restarts_max
        self.within = within
        self.last_death = last_death


class CallStuck(Exception):
    """A cancelled call whose code did not end within its bound. The actor goes on.

    `uid` is the actor's. `cancelled` is the cancellation that this error took the place of.
    """
    uid: Uid | None = None
    cancelled: BaseException | None = None


class TransportClosed(Exception):
    """The connection to an actor is gone; whoever waited on it gets this, or a subclass."""
    uid: Uid | None = None  # Of the actor at the other end.


class ActorDied(TransportClosed):
    """The actor at the other end has ended; `report` says how."""

    def __init__(self, message: str = '', report: ExitReport | None = None, name: str = '',
                 uid: Uid | None = None) -> None:
        super().__init__(message)
        self.report = report if report is not None else ExitReport()
        self.uid = uid
        self.name = name or (uid[0] if uid else '')


class RemoteActorError(Exception):
    """An error that another actor raised, whole: type, message, traceback, path, group members.

        try:
            await portal.run(parse, text='…')
        except coppice.RemoteActorError as error:
            if error.src_type is ValueError: …

    Types travel by name. `boxed_type` is the class that the last actor raised (RemoteActorError
    when that one only passed it on), `src_type` the one that was raised first; each is None when no
    class of that name is known here. `boxed_type_str` and `src_type_str` are always there.
    """

    def __init__(self, info: Mapping[str, Any]) -> None:
        super().__init__(info)
        self._info = dict(info)

    @property
    def info(self) -> Mapping[str, Any]:
        """All of it, as it travels on when this error is raised out of another endpoint."""
        return self._info

    @property
    def boxed_type_str(self) -> str:
        return str(self._info.get('type') or 'Exception')

    @property
    def boxed_type(self) -> type[BaseException] | None:
        return find_type(self.boxed_type_str)

    @property
    def src_type_str(self) -> str:
        return str(self._info.get('source_type') or self.boxed_type_str)

    @property
    def src_type(self) -> type[BaseException] | None:
        return find_type(self.src_type_str)

    @property
    def message(self) -> str:
        return str(self._info.get('message') or '')

    @property
    def tb_str(self) -> str:
        """The traceback as the raising actor formatted it; '' if it sent none."""
        return str(self._info.get('traceback') or '')

    @property
    def src_uid(self) -> Uid:
        name, uuid = self._info.get('source') or ('?', '')
        return str(name), str(uuid)

    @property
    def relay_path(self) -> list[Uid]:
        """Every actor that it passed through, the one that raised it first."""
        path = [(str(name), str(uuid)) for name, uuid in self._info.get('path') or ()]
        return path or [self.src_uid]

    @property
    def relay_uid(self) -> Uid:
        """The actor that it came from: the last of its path."""
        return self.relay_path[-1]

    @property
    def members(self) -> list[RemoteActorError]:
        """The errors of a group, each one whole; empty for any other error."""
        return [make_error('remote', member)  # type: ignore[misc]
                for member in self._info.get('members') or ()]

    def is_inception(self) -> bool:
        """Did it come by way of another actor than the one that raised it?"""
        return self.boxed_type_str != self.src_type_str

    def pformat(self) -> str:
        """All of it as text: also str(error)."""
        return str(self)

    def unwrap(self) -> BaseException:
        """An instance of the type that was raised first, caused by this error.

        A group becomes a group of its unwrapped members. An error whose type is unknown here, or
        cannot be made from a message, is given back as it is.
        """
        members = self.members
        try:
            if members:
                source: BaseException = BaseExceptionGroup(
                    self.message, [member.unwrap() for member in members])
            else:
                kind = self.src_type
                if kind is None or issubclass(kind, RemoteActorError):
                    return self
                source = kind(self.message)
        except Exception:
            return self
        source.__cause__ = self
        return source

    def __str__(self) -> str:
        return '\n'.join(self._lines())

    def __repr__(self) -> str:
        return (f'<{type(self).__name__} {self.src_type_str}: {self.message!r} '
                f'in actor {self.src_uid[0]!r}>')

    def _lines(self) -> Iterable[str]:
        relays = [name for name, _ in self.relay_path[1:]]
        through = f", through {' and '.join(map(repr, relays))}" if relays else ''
        message = f': {self.message}' if self.message else ''
        yield f'{self.src_type_str}{message} [in actor {self.src_uid[0]!r}{through}]'
        for line in self.tb_str.rstrip().splitlines():
            yield f'  | {line}'
        members = self.members
        for number, member in enumerate(members, 1):
            yield f'  +-- {number} of {len(members)} --'
            for line in member._lines():
                yield f'  | {line}'


class ContextCancelled(RemoteActorError):
    """What was called in another actor was cancelled there; `canceller` is who asked."""

    @property
    def canceller(self) -> Uid | None:
        return _uid_in(self._info, 'canceller')


class StreamOverrun(RemoteActorError):
    """A stream's values came faster than they were taken, and one did not fit.

    `sender` is whose value it was.
    """

    @property
    def sender(self) -> Uid | None:
        return _uid_in(self._info, 'sender')


class EndOfChannel(Exception):
    """The other side of a stream sends no more. On trio it is a trio.EndOfChannel, too."""


class ClosedResourceError(Exception):
    """This side has closed the stream. On trio it is a trio.ClosedResourceError, too."""


class WouldBlock(Exception):
    """receive_nowait() found nothing. On trio it is a trio.WouldBlock, too."""


class Lagged(Exception):
    """A subscription was too slow: `missed` values were dropped before it took them."""

    def __init__(self, message: str = '', missed: int = 0) -> None:
        super().__init__(message)
        self.missed = missed


_of_trio: dict[type[Exception], type[Exception]] = {}


def of_loop[E: Exception](kind: type[E], loop: str) -> type[E]:
    """The class to raise for one of the three above: on trio, one that is trio's as well."""
    if loop != 'trio':
        return kind
    found = _of_trio.get(kind)
    if found is None:
        base = getattr(sys.modules['trio'], kind.__name__)
        found = _of_trio[kind] = type(kind.__name__, (kind, base), {'__module__': 'coppice'})
    return found  # type: ignore[return-value]


class MsgTypeError(RemoteActorError):
    """A payload that its receiver did not declare, or that could not travel.

    `expected_msg_type` is the message that had it ('Started', 'Yield' or 'Return'), `expected` the
    type that was declared, `got` what came instead, `cid` the dialog's id. Where the message itself
    was small enough to keep, `bad_msg` has it as an object with msg_type, cid and pld, and
    `bad_msg_as_dict` as a dict; else they are None.
    """

    @property
    def expected_msg_type(self) -> str:
        return self._said('type')

    @property
    def expected(self) -> str:
        return self._said('expected')

    @property
    def got(self) -> str:
        return self._said('got')

    @property
    def cid(self) -> str:
        return self._said('cid')

    @property
    def bad_msg_as_dict(self) -> dict[str, Any] | None:
        return (self._info.get('mismatch') or {}).get('bad_msg')

    @property
    def bad_msg(self) -> Any:
        message = self.bad_msg_as_dict
        return None if message is None else type(sys.implementation)(
            **{str(name): value for name, value in message.items()})

    def _said(self, name: str) -> str:
        return str((self._info.get('mismatch') or {}).get(name) or '')


def msg_type_error(msg_type: str, cid: str, pld: Any, *, expected: str, got: str,
                   where: str = '') -> MsgTypeError:
    """The error for a payload that did not fit, raised here; `where` is its place: 'legs[1].price'.

    Raised out of an endpoint it travels on as one that this actor raised.
    """
    at = f' at {where}' if where else ''
    return MsgTypeError({
        'type': 'MsgTypeError', 'source_type': 'MsgTypeError', 'traceback': '', 'members': [],
        'message': f'{msg_type}: expected {expected}, got {got}{at}',
        'source': native.self_uid() or ('?', ''), 'path': [],  # Empty: it has not travelled yet.
        'mismatch': {'type': msg_type, 'expected': expected, 'got': got, 'cid': cid,
                     'bad_msg': {'msg_type': msg_type, 'cid': cid, 'pld': pld}}})


def _uid_in(info: Mapping[str, Any], name: str) -> Uid | None:
    who = info.get(name)
    return (str(who[0]), str(who[1])) if who else None


# Those that keep their class however far they travel.
_classes = {one.__name__: one for one in (ContextCancelled, StreamOverrun, MsgTypeError)}

_registered: dict[str, type[BaseException]] = {}


def reg_err_types(types: Iterable[type[BaseException]]) -> None:
    """Makes exception classes of yours known, so that `boxed_type` and `src_type` find them."""
    for one in types:
        if not (isinstance(one, type) and issubclass(one, BaseException)):
            raise TypeError(f'reg_err_types() takes exception classes, not {one!r}')
        _registered[one.__name__] = one


def find_type(name: str) -> type[BaseException] | None:
    """The exception class that a name from another actor means here, or None."""
    short = name.rpartition('.')[2]
    found = _registered.get(short)
    if found is None:
        # Last the event loops' own (`CancelledError`), if they are here: never imported for a name.
        for where in (builtins, sys.modules[__name__], sys.modules.get('asyncio.exceptions'),
                      sys.modules.get('trio')):
            found = getattr(where, short, None)
            if isinstance(found, type) and issubclass(found, BaseException):
                break
        else:
            return None
    return found


def make_error(kind: str, fields: Mapping[str, Any]) -> BaseException:
    """The exception for an error of the native half; its kinds are listed in `_coppice.pyi`."""
    if kind == 'remote':
        boxed = fields.get('type')
        return _classes.get(str(boxed), RemoteActorError)(fields)
    message = str(fields.get('message') or '')
    ending = fields.get('report')
    report = ExitReport(*ending) if ending else None
    if kind == 'died':
        return ActorDied(message, report, name=str(fields.get('name') or ''))
    if kind == 'start':
        return ActorFailure(message, report)
    plain: dict[str, type[BaseException]] = {
        'closed': TransportClosed, 'unavailable': BackendUnavailable, 'runtime': RuntimeFailure,
        'limit': LimitExceeded, 'stuck': CallStuck}
    if kind in plain:
        return plain[kind](message)
    return RuntimeFailure(f'{kind}: {message}')


native.set_error_factory(make_error)
native.register_remote_error(RemoteActorError)
