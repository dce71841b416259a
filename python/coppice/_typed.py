# SPDX-License-Identifier: Apache-2.0
"""Payload types: what a value has to be, checked where it is sent and made of what arrives.

    basket = checker(Basket)
    basket.check(value)            # A Mismatch: "legs[1].price: expected float, got str"
    value = basket.decode(plain)   # An instance, of the dict that travelled.

What travels is plain (a dataclass instance is a dict by then, a tuple a list): one rule takes an
object as it is as well as its plain form, so a sender is checked by what its receiver will accept.
No type costs nothing, and `typing` is imported only where a class has annotations to resolve.
"""
import sys

from coppice._exceptions import MsgTypeError, msg_type_error
from coppice._native import native
from coppice._types import Any, Callable, Iterable, Mapping

Buffer = native.Buffer

type Convert = Callable[[Any], Any]


class Mismatch(TypeError):
    """A value that is not of the type. `where` is its place, '' for the value itself."""

    def __init__(self, expected: str, got: str) -> None:
        super().__init__(expected, got)
        self.expected = expected
        self.got = got
        self.where = ''

    def inside(self, place: str) -> Mismatch:
        """The same, one container further out."""
        self.where = place + ('.' if self.where and self.where[0] != '[' else '') + self.where
        return self

    def __str__(self) -> str:
        at = f'{self.where}: ' if self.where else ''
        return f'{at}expected {self.expected}, got {self.got}'


class Checker:
    """One payload type, ready for use."""
    __slots__ = ('_convert', '_text')

    def __init__(self, convert: Convert, text: str) -> None:
        self._convert = convert
        self._text = text

    def check(self, value: Any) -> None:
        """Raises Mismatch if a receiver of this type would refuse the value."""
        self._convert(value)

    def decode(self, value: Any) -> Any:
        """The value as the type has it, or raises Mismatch."""
        return self._convert(value)

    def describe(self) -> str:
        """The type, as one writes it."""
        return self._text

    def take(self, msg_type: str, cid: str, value: Any) -> Any:
        """decode() of what a message brought or is to bring; raises MsgTypeError."""
        try:
            return self._convert(value)
        except Mismatch as mismatch:
            raise self.error(msg_type, cid, value, mismatch) from None

    def error(self, msg_type: str, cid: str, value: Any, mismatch: Mismatch) -> MsgTypeError:
        return msg_type_error(msg_type, cid, value, expected=mismatch.expected, got=mismatch.got,
                              where=mismatch.where)


class Checks:
    """The types of one side's payloads. Each method raises MsgTypeError."""
    __slots__ = ('_sends_started', '_started', '_received', '_returned')

    def __init__(self, started: Checker | None, received: Checker | None,
                 returned: Checker | None, sends_started: Checker | None = None) -> None:
        self._started = started
        self._received = received
        self._returned = returned
        self._sends_started = sends_started

    def sends_started(self, cid: str, value: Any) -> None:
        """Before it is sent: whoever is wrong is told."""
        if self._sends_started is not None:
            self._sends_started.take('Started', cid, value)

    def started(self, cid: str, value: Any) -> Any:
        return value if self._started is None else self._started.take('Started', cid, value)

    def received(self, cid: str, value: Any) -> Any:
        return value if self._received is None else self._received.take('Yield', cid, value)

    def returned(self, cid: str, value: Any) -> Any:
        return value if self._returned is None else self._returned.take('Return', cid, value)


def checks_of(types: tuple[Any, ...], spec: Any) -> dict[str, Checks | None]:
    """By side, for a callee's Context[send, receive, started, result]; `spec` for those not given.

    A callee takes what its caller sends, a caller what the callee sends.
    """
    rest = None if spec is None else checker(spec)
    # Context[int] leaves the others open; so does a type parameter that was never filled in.
    given = [rest] * 4
    for i, one in enumerate(types[:4]):
        given[i] = checker(one)
    if not any(given):
        return {'parent': None, 'child': None}
    sent, taken, started, result = given
    return {'parent': Checks(started, sent, result), 'child': Checks(None, taken, None, started)}


_ready: dict[Any, Checker | None] = {}
_READY_MAX = 256  # Types are made by programs, not by messages: this many are never reached.


def checker(spec: Any) -> Checker | None:
    """What checks values of a type; None for any value, at no cost. TypeError: no such type."""
    try:
        if spec in _ready:
            return _ready[spec]
        keep = True
    except TypeError:  # Annotated with something that has no hash.
        keep = False
    rule = _Compiler().rule(spec)
    made = None if rule is None else Checker(rule, describe(spec))
    if keep:
        if len(_ready) >= _READY_MAX:
            _ready.clear()
        _ready[spec] = made
    return made


def describe(spec: Any) -> str:
    """A type as one writes it: 'list[int] | None'."""
    if spec is None or spec is type(None):
        return 'None'
    origin, args = _parts(spec)
    if _is_union(spec, origin):
        return ' | '.join(describe(one) for one in args)
    if origin is not None and _name_of(origin) == 'Literal':
        return f'Literal[{", ".join(map(repr, args))}]'
    if _is_annotated(spec):
        return describe(spec.__origin__)
    if origin is not None and args:
        inside = ', '.join('...' if one is Ellipsis else describe(one) for one in args)
        return f'{_name_of(origin)}[{inside}]'
    return _name_of(spec)


def _name_of(spec: Any) -> str:
    return str(getattr(spec, '__qualname__', None) or getattr(spec, '__name__', None)
               or getattr(spec, '_name', None) or spec)


def _parts(spec: Any) -> tuple[Any, tuple[Any, ...]]:
    return getattr(spec, '__origin__', None), getattr(spec, '__args__', ())


def _is_annotated(spec: Any) -> bool:
    return hasattr(spec, '__metadata__')


def _is_union(spec: Any, origin: Any) -> bool:
    # `int | None` is no class of typing's: it is there without that module.
    return type(spec) is type(int | None) or (origin is not None and _name_of(origin) == 'Union')


def _got(value: Any) -> str:
    return 'None' if value is None else type(value).__name__


class _Compiler:
    """Makes rules of types; remembers classes, which may contain themselves."""

    def __init__(self) -> None:
        self._classes: dict[Any, Convert] = {}

    def rule(self, spec: Any, known: Mapping[Any, Any] = {}) -> Convert | None:
        """None: any value. `known` are the type parameters of the class it stands in."""
        if spec is None or spec is type(None):
            return _none
        if spec is object or _name_of(spec) == 'Any' and getattr(
                spec, '__module__', '') == 'typing':
            return None
        if isinstance(spec, type) and spec in _SCALARS:
            return _SCALARS[spec]
        origin, args = _parts(spec)
        if _is_union(spec, origin):
            return self._union(args, known)
        if _is_annotated(spec):
            return self.rule(origin, known)
        if isinstance(spec, type) and origin is None:
            return self._class(spec, ())
        if origin is not None:
            return self._parameterised(spec, origin, args, known)
        return self._indirect(spec, known)

    def _indirect(self, spec: Any, known: Mapping[Any, Any]) -> Convert | None:
        kind = type(spec).__name__
        if kind == 'NewType':
            return self.rule(spec.__supertype__, known)
        if kind == 'TypeAliasType':
            return self._later(spec, lambda: self.rule(spec.__value__, known) or _any)
        if kind == 'TypeVar':
            if spec in known:
                return self.rule(known[spec])
            return None if spec.__bound__ is None else self.rule(spec.__bound__)
        raise TypeError(f'{spec!r} is no type of a payload: {_CAN_BE}')

    def _parameterised(self, spec: Any, origin: Any, args: tuple[Any, ...],
                       known: Mapping[Any, Any]) -> Convert | None:
        if _name_of(origin) == 'Literal':
            return _literal(args, describe(spec))
        kind = _CONTAINERS.get(_name_of(origin).lower()) if _is_container(origin) else None
        if kind is tuple:
            return self._tuple(args, known)
        if kind is dict:
            key, value = (self.rule(one, known) for one in args) if args else (None, None)
            return _map(key, value, describe(spec))
        if kind is not None:
            return _sequence(kind, self.rule(args[0], known) if args else None, describe(spec))
        given = tuple(known.get(one, one) if _hashable(one) else one for one in args)
        return self._class(origin, given)

    # --- classes ---

    def _later(self, key: Any, compile: Callable[[], Convert]) -> Convert:
        """One rule for each, however often and however deep in itself it occurs."""
        made = self._classes.get(key)
        if made is None:
            def forward(value: Any) -> Any:
                return self._classes[key](value)

            self._classes[key] = forward
            made = self._classes[key] = compile()
        return made

    def _class(self, cls: Any, args: tuple[Any, ...]) -> Convert:
        return self._later((cls, args), lambda: self._compile_class(cls, args))

    def _compile_class(self, cls: Any, args: tuple[Any, ...]) -> Convert:
        known = dict(zip(getattr(cls, '__parameters__', ()) or getattr(
            cls, '__type_params__', ()), args))
        if _is_enum(cls):
            return _enum(cls)
        if hasattr(cls, '__dataclass_fields__'):
            return self._dataclass(cls, known)
        if hasattr(cls, '__required_keys__') and hasattr(cls, '__total__'):
            return self._typed_dict(cls, known)
        if issubclass(cls, tuple) and hasattr(cls, '_fields'):
            return self._named_tuple(cls, known)
        if hasattr(cls, '__struct_fields__'):
            return _struct(cls)
        if _is_container(cls):
            kind = _CONTAINERS[_name_of(cls).lower()]
            name = _name_of(cls)
            return _map(None, None, name) if kind is dict else _sequence(kind, None, name)
        text = _texts().get((cls.__module__, cls.__qualname__))
        if text is not None:
            return text(cls)
        raise TypeError(f'{describe(cls)!r} is no type of a payload: {_CAN_BE}')

    def _hints(self, cls: Any, known: Mapping[Any, Any]) -> dict[str, Convert | None]:
        from typing import get_type_hints  # Slow to import, and rarely needed.

        return {name: self.rule(hint, known) for name, hint in get_type_hints(cls).items()
                if _name_of(getattr(hint, '__origin__', hint)) not in ('ClassVar', 'InitVar')}

    def _dataclass(self, cls: Any, known: Mapping[Any, Any]) -> Convert:
        import dataclasses  # There already: the class was made by it.

        hints = self._hints(cls, known)
        fields = dataclasses.fields(cls)
        rules = {one.name: hints.get(one.name) for one in fields}
        required = [one.name for one in fields if one.init
                    and one.default is dataclasses.MISSING
                    and one.default_factory is dataclasses.MISSING]
        beside = [one.name for one in fields if not one.init]
        name = _name_of(cls)

        def convert(value: Any) -> Any:
            if isinstance(value, cls):
                for field, rule in rules.items():
                    if rule is not None:
                        _at(field, rule, getattr(value, field))
                return value
            given = _fields_of(value, name, rules, required)
            late = {field: given.pop(field) for field in beside if field in given}
            try:
                made = cls(**given)
            except (TypeError, ValueError) as error:  # What its __post_init__ says of it.
                raise Mismatch(name, f'values that it refuses: {error}') from error
            for field, one in late.items():
                object.__setattr__(made, field, one)
            return made

        convert.fields = frozenset(rules)  # type: ignore[attr-defined]
        return convert

    def _typed_dict(self, cls: Any, known: Mapping[Any, Any]) -> Convert:
        rules = self._hints(cls, known)
        required = [name for name in rules if name in cls.__required_keys__]
        name = _name_of(cls)

        def convert(value: Any) -> Any:
            return _fields_of(value, name, rules, required)

        convert.fields = frozenset(rules)  # type: ignore[attr-defined]
        return convert

    def _named_tuple(self, cls: Any, known: Mapping[Any, Any]) -> Convert:
        hints = self._hints(cls, known)
        fields = cls._fields
        least = len(fields) - len(cls._field_defaults)
        name = _name_of(cls)

        def convert(value: Any) -> Any:
            items = _items_of(value, name)
            if not least <= len(items) <= len(fields):
                raise Mismatch(name, f'{len(items)} values')
            return cls(*(_at(field, hints.get(field), one) for field, one in zip(fields, items)))
        return convert

    # --- made of others ---

    def _tuple(self, args: tuple[Any, ...], known: Mapping[Any, Any]) -> Convert:
        if len(args) == 2 and args[1] is Ellipsis:
            return _sequence(tuple, self.rule(args[0], known), f'tuple[{describe(args[0])}, ...]')
        rules = [self.rule(one, known) for one in args]
        name = f'tuple[{", ".join(map(describe, args))}]'

        def convert(value: Any) -> Any:
            items = _items_of(value, name)
            if len(items) != len(rules):
                raise Mismatch(name, f'{len(items)} values')
            return tuple(_at(f'[{i}]', rule, one)
                         for i, (rule, one) in enumerate(zip(rules, items)))
        return convert

    def _union(self, args: tuple[Any, ...], known: Mapping[Any, Any]) -> Convert | None:
        # float last: it takes an int too, which is not to become one beside int.
        args = tuple(sorted(args, key=lambda one: one is float))
        rules = [self.rule(one, known) for one in args]
        if None in rules:
            return None
        name = ' | '.join(map(describe, args))
        alternatives: list[Convert] = [rule for rule in rules if rule is not None]

        def convert(value: Any) -> Any:
            candidates = alternatives
            if isinstance(value, dict) and len(alternatives) > 1:
                # Of several classes the one that leaves fewest of the keys unused.
                candidates = sorted(alternatives, key=lambda rule: len(
                    value.keys() - getattr(rule, 'fields', value.keys())))
            inner = []
            for rule in candidates:
                try:
                    return rule(value)
                except Mismatch as mismatch:
                    if mismatch.where:
                        inner.append(mismatch)
            # The one that fits but for something inside says more than that none fits.
            raise inner[0] if len(inner) == 1 else Mismatch(name, _got(value))
        return convert


_CAN_BE = ('None, bool, int, float, str, bytes, containers of these, dataclasses, TypedDict, '
           'enums, Literal, unions, dates and times can be')


# --- rules ---------------------------------------------------------------------------------------


def _any(value: Any) -> Any:
    return value


def _none(value: Any) -> None:
    if value is not None:
        raise Mismatch('None', _got(value))


def _bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise Mismatch('bool', _got(value))


def _int(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise Mismatch('int', _got(value))


def _float(value: Any) -> float:
    if isinstance(value, float):
        return value
    if isinstance(value, int) and not isinstance(value, bool):  # msgpack senders write 1.0 as 1.
        try:
            return float(value)
        except OverflowError:
            raise Mismatch('float', 'an int beyond its range') from None
    raise Mismatch('float', _got(value))


def _str(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise Mismatch('str', _got(value))


def _bytes_like(cls: Any) -> Convert:
    def convert(value: Any) -> Any:
        if isinstance(value, cls):
            return value
        if isinstance(value, (bytes, bytearray, memoryview, Buffer)):
            return cls(value)
        raise Mismatch(_name_of(cls), _got(value))
    return convert


_SCALARS: dict[Any, Convert] = {
    bool: _bool, int: _int, float: _float, str: _str,
    **{one: _bytes_like(one) for one in (bytes, bytearray, memoryview, Buffer)}}

# What a container's class, or its abstract one, is made as.
_CONTAINERS: dict[str, Any] = {
    'list': list, 'sequence': list, 'mutablesequence': list, 'iterable': list, 'collection': list,
    'tuple': tuple, 'set': set, 'mutableset': set,
    'frozenset': frozenset, 'dict': dict, 'mapping': dict, 'mutablemapping': dict}


def _is_container(cls: Any) -> bool:
    return (getattr(cls, '__module__', '') in ('builtins', 'collections.abc', 'typing')
            and _name_of(cls).lower() in _CONTAINERS)


def _hashable(value: Any) -> bool:
    return type(value).__hash__ is not None


def _at(place: str, rule: Convert | None, value: Any) -> Any:
    if rule is None:
        return value
    try:
        return rule(value)
    except Mismatch as mismatch:
        raise mismatch.inside(place)


def _items_of(value: Any, name: str) -> Any:
    if isinstance(value, (list, tuple)):
        return value
    if isinstance(value, (set, frozenset)):
        return tuple(value)
    raise Mismatch(name, _got(value))


def _sequence(cls: Any, rule: Convert | None, name: str) -> Convert:
    def convert(value: Any) -> Any:
        items = _items_of(value, name)
        i = 0
        try:
            if rule is not None:
                made = []
                for i, one in enumerate(items):
                    made.append(rule(one))
                items = made
            return items if type(items) is cls else cls(items)
        except Mismatch as mismatch:
            raise mismatch.inside(f'[{i}]')
        except TypeError:
            raise Mismatch(name, 'values that have no hash') from None
    return convert


def _map(key: Convert | None, rule: Convert | None, name: str) -> Convert:
    def convert(value: Any) -> Any:
        if not isinstance(value, dict):
            raise Mismatch(name, _got(value))
        if key is None and rule is None:
            return value
        made = {}
        for k, v in value.items():
            place = f'[{k!r}]'
            made[_at(f'key {k!r}', key, k)] = _at(place, rule, v)
        return made
    return convert


def _fields_of(value: Any, name: str, rules: Mapping[str, Convert | None],
               required: Iterable[str]) -> dict[str, Any]:
    """The fields that came, by name; keys that the type does not have are ignored."""
    if not isinstance(value, dict):
        raise Mismatch(name, _got(value))
    made = {field: _at(field, rule, value[field]) for field, rule in rules.items()
            if field in value}
    for field in required:
        if field not in made:
            raise Mismatch('a value', 'none').inside(field)
    return made


def _same(value: Any, wanted: Any) -> bool:
    """Is it this value as it travels: True is no 1, and 1 is no 1.0 to a receiver."""
    if isinstance(wanted, tuple) and isinstance(value, (list, tuple)):
        return len(value) == len(wanted) and all(map(_same, value, wanted))
    return type(value) is type(wanted) and bool(value == wanted)


def _is_enum(cls: Any) -> bool:
    enum = sys.modules.get('enum')
    return enum is not None and isinstance(cls, enum.EnumType)


def _literal(values: tuple[Any, ...], name: str) -> Convert:
    wanted = [(one.value if _is_enum(type(one)) else one, one) for one in values]

    def convert(value: Any) -> Any:
        for plain, one in wanted:
            if value is one or _same(value, plain):
                return one
        raise Mismatch(name, _shown(value))
    return convert


def _enum(cls: Any) -> Convert:
    is_flag = any(base.__name__ == 'Flag' for base in cls.__mro__)

    def convert(value: Any) -> Any:
        if isinstance(value, cls):
            return value
        if is_flag and type(value) is int:
            try:
                return cls(value)
            except ValueError:
                raise Mismatch(_name_of(cls), _shown(value)) from None
        for member in cls:
            if _same(value, member.value):
                return member
        raise Mismatch(_name_of(cls), _shown(value))
    return convert


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:39] + '…'


def _struct(cls: Any) -> Convert:
    def convert(value: Any) -> Any:
        msgspec = sys.modules['msgspec']  # The class is one of its.
        try:
            return msgspec.convert(value, cls)
        except msgspec.ValidationError as error:
            raise Mismatch(_name_of(cls), f'{_got(value)}: {error}') from None
    return convert


# --- classes of the standard library that travel as text -----------------------------------------


def _from_text(parse: Callable[[Any, str], Any]) -> Callable[[Any], Convert]:
    def rule_of(cls: Any) -> Convert:
        def convert(value: Any) -> Any:
            if isinstance(value, cls):
                return value
            if isinstance(value, str):
                try:
                    return parse(cls, value)
                except (ValueError, ArithmeticError):
                    raise Mismatch(_name_of(cls), _shown(value)) from None
            raise Mismatch(_name_of(cls), _got(value))
        return convert
    return rule_of


def _texts() -> Mapping[tuple[str, str], Callable[[Any], Convert]]:
    iso = _from_text(lambda cls, text: cls.fromisoformat(text))
    plain = _from_text(lambda cls, text: cls(text))
    return {('datetime', 'datetime'): iso, ('datetime', 'date'): iso, ('datetime', 'time'): iso,
            ('datetime', 'timedelta'): _from_text(_duration), ('decimal', 'Decimal'): plain,
            ('uuid', 'UUID'): plain}


_UNITS = {'W': 'weeks', 'D': 'days', 'H': 'hours', 'M': 'minutes', 'S': 'seconds'}


def _duration(cls: Any, text: str) -> Any:
    """ISO 8601's durations, but for years and months, which have no length: '-P1DT3.5S'."""
    sign = -1 if text.startswith('-') else 1
    rest = text.lstrip('+-')
    if not rest.startswith('P') or len(rest) < 3:
        raise ValueError(text)
    total = cls()
    digits = ''
    in_time = False
    for letter in rest[1:]:
        if letter == 'T' and not in_time and not digits:
            in_time = True
        elif letter.isdecimal() or letter == '.':
            digits += letter
        elif letter in _UNITS and digits and in_time == (letter in 'HMS'):
            whole, _, part = digits.partition('.')
            total += cls(**{_UNITS[letter]: int(whole or 0)})
            if part:
                total += cls(**{_UNITS[letter]: 1}) * int(part) / 10 ** len(part)
            digits = ''
        else:
            raise ValueError(text)
    if digits or rest.endswith('T'):
        raise ValueError(text)
    return total * sign
