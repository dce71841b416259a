# SPDX-License-Identifier: Apache-2.0
"""Payload types: what fits, what it becomes, and what is said of what does not fit."""
import dataclasses
import datetime
import decimal
import enum
import sys
import types
import typing
import uuid
from collections.abc import Mapping, Sequence
from typing import (Annotated, Any, Generic, Literal, NamedTuple, NewType, NotRequired, Optional,
                    TypedDict, TypeVar, Union)

import coppice
import pytest
from coppice._typed import Mismatch, checker

T = TypeVar('T')
UserId = NewType('UserId', int)
type Tree = dict[str, Tree] | int
type Pair[V] = tuple[V, V]


class Color(enum.Enum):
    RED = 'red'
    BLUE = 2
    BOTH = ('a', 1)


class Level(enum.IntEnum):
    LOW = 1


class Mode(enum.Flag):
    READ = 1
    WRITE = 2


@dataclasses.dataclass
class Leg:
    symbol: str
    price: float = 0.0
    tags: list[str] = dataclasses.field(default_factory=list)
    of_class: typing.ClassVar[int] = 1


@dataclasses.dataclass
class Basket:
    owner: str
    legs: list[Leg]
    color: Color | None = None
    total: float = dataclasses.field(init=False, default=0.0)


@dataclasses.dataclass(frozen=True)
class Node:
    value: int
    next: Node | None = None


@dataclasses.dataclass
class Box(Generic[T]):
    inside: T


@dataclasses.dataclass
class Positive:
    n: int

    def __post_init__(self):
        if self.n <= 0:
            raise ValueError('n must be positive')


class Point(NamedTuple):
    x: int
    y: float = 0.0


class Options(TypedDict):
    name: str
    size: NotRequired[int]


class Partial(TypedDict, total=False):
    size: int


LEG = {'symbol': 'A', 'price': 1.5}


@pytest.mark.parametrize(('spec', 'plain', 'value'), [
    (None, None, None), (bool, True, True), (int, 3, 3), (float, 1.5, 1.5), (float, 2, 2.0),
    (str, 'x', 'x'), (bytes, b'x', b'x'), (bytearray, b'x', bytearray(b'x')),
    (coppice.Buffer, b'x', coppice.Buffer(b'x')), (bytes, coppice.Buffer(b'x'), b'x'),
    (list, [1, 'x'], [1, 'x']), (list[int], [1, 2], [1, 2]), (tuple, [1], (1,)),
    (tuple[int, str], [1, 'x'], (1, 'x')), (tuple[int, ...], [1, 2], (1, 2)), (tuple[()], [], ()),
    (set[int], [1, 2], {1, 2}), (frozenset[str], ['a'], frozenset('a')), (dict, {1: 2}, {1: 2}),
    (dict[str, float], {'a': 1}, {'a': 1.0}), (Mapping[str, int], {'a': 1}, {'a': 1}),
    (Sequence[int], [1], [1]), (typing.List[int], [1], [1]), (typing.Dict, {1: 2}, {1: 2}),
    (Optional[int], None, None), (Optional[int], 3, 3), (Union[int, str], 'x', 'x'),
    (int | None, 3, 3), (float | int, 3, 3), (str | list[Leg], [LEG], [Leg('A', 1.5)]),
    (Literal['a', 1], 'a', 'a'), (Literal[Color.RED], 'red', Color.RED),
    (UserId, 3, 3), (Annotated[int, ['no hash']], 3, 3), (Tree, {'a': {'b': 1}}, {'a': {'b': 1}}),
    (Color, 'red', Color.RED), (Color, 2, Color.BLUE), (Color, ['a', 1], Color.BOTH),
    (Level, 1, Level.LOW), (Mode, 3, Mode.READ | Mode.WRITE),
    (Leg, LEG, Leg('A', 1.5)), (Leg, {'symbol': 'A', 'unknown': 1}, Leg('A')),
    (Basket, {'owner': 'o', 'legs': [LEG], 'color': 'red'},
     Basket('o', [Leg('A', 1.5)], Color.RED)),
    (Node, {'value': 1, 'next': {'value': 2}}, Node(1, Node(2))),
    (Box[int], {'inside': 1}, Box(1)), (Box[list[Leg]], {'inside': [LEG]}, Box([Leg('A', 1.5)])),
    (Point, [1], Point(1)), (Point, [1, 2], Point(1, 2.0)),
    (Options, {'name': 'n'}, {'name': 'n'}), (Options, {'name': 'n', 'x': 1}, {'name': 'n'}),
    (Partial, {}, {}),
    (datetime.date, '2026-08-01', datetime.date(2026, 8, 1)),
    (datetime.datetime, '2026-08-01T12:30:00', datetime.datetime(2026, 8, 1, 12, 30)),
    (datetime.time, '09:05:00', datetime.time(9, 5)),
    (datetime.timedelta, 'P1DT2.500000S', datetime.timedelta(days=1, seconds=2.5)),
    (datetime.timedelta, '-PT0.25S', datetime.timedelta(seconds=-0.25)),
    (datetime.timedelta, 'P2W', datetime.timedelta(weeks=2)),
    (decimal.Decimal, '1.10', decimal.Decimal('1.10')),
    (uuid.UUID, '00000000-0000-0000-0000-000000000001', uuid.UUID(int=1)),
])
def test_what_arrives_becomes_what_the_type_says(spec, plain, value):
    made = checker(spec).decode(plain)
    assert made == value
    assert type(made) is type(value)
    checker(spec).check(value)  # A sender has it as it is.


@pytest.mark.parametrize(('spec', 'value', 'text'), [
    (int, True, 'expected int, got bool'), (int, 1.0, 'expected int, got float'),
    (bool, 1, 'expected bool, got int'), (float, True, 'expected float, got bool'),
    (float, 10 ** 400, 'expected float, got an int beyond its range'),
    (str, b'x', 'expected str, got bytes'), (None, 0, 'expected None, got int'),
    (int | None, 'x', 'expected int | None, got str'),
    (list[int], [1, 'x'], '[1]: expected int, got str'),
    (list[int], {'a': 1}, 'expected list[int], got dict'),
    (tuple[int, str], [1], 'expected tuple[int, str], got 1 values'),
    (set[int], [[1]], '[0]: expected int, got list'),
    (set, [[1]], 'expected set, got values that have no hash'),
    (dict[str, int], {'a': 'x'}, "['a']: expected int, got str"),
    (dict[str, int], {1: 1}, 'key 1: expected str, got int'),
    (Literal['a', 1], True, "expected Literal['a', 1], got True"),
    (Color, 'green', "expected Color, got 'green'"), (Color, True, 'expected Color, got True'),
    (Mode, 8, 'expected Mode, got 8'),
    (Basket, {'owner': 'o', 'legs': [LEG, {'symbol': 'B', 'price': 'x'}]},
     'legs[1].price: expected float, got str'),
    (Basket, {'owner': 'o'}, 'legs: expected a value, got none'),
    (Basket | None, {'owner': 3, 'legs': []}, 'owner: expected str, got int'),
    (Basket, Basket('o', [Leg(3)]), 'legs[0].symbol: expected str, got int'),
    (Basket, [1], 'expected Basket, got list'),
    (Node, {'value': 1, 'next': {'value': 'x'}}, 'next.value: expected int, got str'),
    (Box[int], {'inside': 'x'}, 'inside: expected int, got str'),
    (Positive, {'n': 0}, 'expected Positive, got values that it refuses: n must be positive'),
    (Point, ['x'], 'x: expected int, got str'), (Point, [1, 2, 3], 'expected Point, got 3 values'),
    (Options, {}, 'name: expected a value, got none'),
    (Options, {'name': 'n', 'size': 'x'}, 'size: expected int, got str'),
    (datetime.date, 'tomorrow', "expected date, got 'tomorrow'"),
    (datetime.timedelta, 'P1Y', "expected timedelta, got 'P1Y'"),
    (datetime.timedelta, 'PT', "expected timedelta, got 'PT'"),
    (decimal.Decimal, 'x', "expected Decimal, got 'x'"),
    (uuid.UUID, 3, 'expected UUID, got int'),
])
def test_what_does_not_fit_is_named_with_its_place(spec, value, text):
    for use in (checker(spec).check, checker(spec).decode):
        with pytest.raises(Mismatch) as raised:
            use(value)
        assert str(raised.value) == text


def test_of_several_classes_the_one_that_leaves_fewest_keys_is_made():
    spec = checker(Node | Leg | Options)
    assert spec.decode({'symbol': 'A'}) == Leg('A')
    assert spec.decode({'value': 1}) == Node(1)
    assert spec.decode({'name': 'n', 'size': 2}) == {'name': 'n', 'size': 2}


def test_a_field_that_init_does_not_take_travels_too():
    made = checker(Basket).decode({'owner': 'o', 'legs': [], 'total': 3})
    assert made.total == 3.0


@pytest.mark.parametrize('spec', [Any, object, Any | None, T])
def test_any_type_costs_nothing(spec):
    assert checker(spec) is None


@pytest.mark.parametrize(('spec', 'text'), [
    (None, 'None'), (int | None, 'int | None'), (Optional[str], 'str | None'),
    (list[dict[str, int]], 'list[dict[str, int]]'), (tuple[int, ...], 'tuple[int, ...]'),
    (Literal['a', 1], "Literal['a', 1]"), (Annotated[int, 1], 'int'), (UserId, 'UserId'),
    (Basket, 'Basket'), (Box[int], 'Box[int]'), (Tree, 'Tree')])
def test_a_type_is_described_as_it_is_written(spec, text):
    assert checker(spec).describe() == text


@pytest.mark.parametrize('spec', [complex, type, 3, 'int', list[complex], typing.Callable[[], int]])
def test_what_is_no_type_of_a_payload_is_refused_at_once(spec):
    with pytest.raises(TypeError, match='is no type of a payload'):
        checker(spec)


def test_a_checker_is_made_once():
    assert checker(Basket) is checker(Basket)
    assert checker(Literal[1]) is not checker(Literal[True])


def test_a_struct_of_msgspec_is_made_by_msgspec(monkeypatch):
    class Invalid(Exception): pass

    class Struct:
        __struct_fields__ = ('x',)

    def convert(value, cls):
        if value == {'x': 1}:
            return cls()
        raise Invalid('Expected `int` - at `$.x`')

    monkeypatch.setitem(sys.modules, 'msgspec', types.SimpleNamespace(
        convert=convert, ValidationError=Invalid))
    assert isinstance(checker(Struct).decode({'x': 1}), Struct)
    with pytest.raises(Mismatch, match=r'\$\.x'):
        checker(Struct).decode({'x': 'no'})


def test_a_message_that_does_not_fit_is_an_error_that_keeps_it(native):
    value = {'owner': 'o', 'legs': [{'symbol': 1}]}
    with pytest.raises(coppice.MsgTypeError) as raised:
        checker(Basket).take('Started', 'c1', value)
    error = raised.value
    assert error.expected_msg_type == 'Started'
    assert (error.expected, error.got, error.cid) == ('str', 'int', 'c1')
    assert error.message == 'Started: expected str, got int at legs[0].symbol'
    assert error.bad_msg_as_dict == {'msg_type': 'Started', 'cid': 'c1', 'pld': value}
    assert error.bad_msg.pld is value
    assert error.src_type is error.boxed_type is coppice.MsgTypeError
    assert checker(Basket).take('Return', 'c1', {'owner': 'o', 'legs': []}) == Basket('o', [])
