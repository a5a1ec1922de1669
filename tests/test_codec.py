"""Between types and JSON: every supported type comes back exactly as it was, everything else is a refusal."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, IntFlag, StrEnum
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    Never,
    NewType,
    NotRequired,
    Optional,
    TypedDict,
    TypeVar,
    cast,
)
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from attrs import field, frozen
from hypothesis import given
from hypothesis import strategies as st
from returns.result import Failure, Success
from typing_extensions import TypeAliasType

from milepost.codec import CodecFactory, TypeCodec
from milepost.payload import PAYLOAD_BYTES_MAX, PayloadRefused
from tests.strategies import json_values, storable_text

T = TypeVar("T")
UserId = NewType("UserId", int)
BERLIN = ZoneInfo("Europe/Berlin")


class Color(Enum):
    RED = "r"
    GREEN = 2


class Size(StrEnum):
    SMALL = "s"
    LARGE = "l"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Access(IntFlag):
    READ = 1
    WRITE = 2


@frozen
class Address:
    street: str
    number: int | None = None


@frozen
class Person:
    name: str
    homes: list[Address] = field(factory=list[Address])
    born: date | None = None
    _secret: str = ""


@frozen
class Tree:
    value: int
    children: list[Tree] = field(factory=list["Tree"])
    left: Tree | None = None
    named: dict[str, Tree] = field(factory=dict[str, "Tree"])


@frozen
class Cat:
    name: str


@frozen
class Dog:
    name: str


@dataclass(frozen=True)
class Point:
    x: float
    y: float = 0.0


@frozen
class Box(Generic[T]):
    content: T


@frozen
class Page(Generic[T]):
    items: list[T]
    first: Box[T] | None = None


@frozen
class Addresses(Page[Address]):
    owner: str = ""


class Options(TypedDict):
    verbose: bool
    level: NotRequired[Level]


@frozen
class Pet:
    animal: Cat | Dog
    at: datetime | str
    label: int | str | None = None


Homes = TypeAliasType("Homes", list[Address])


def codec(type_: Any) -> TypeCodec[Any]:
    return CodecFactory().codec(type_)


def text_of(type_: Any, value: object) -> str:
    return codec(type_).encode(value).unwrap()


def fault(answer: Any) -> str:
    """The refusal as text; fails for anything that is none."""
    assert isinstance(answer, Failure), answer
    reason = cast("Any", answer).failure()
    assert isinstance(reason, PayloadRefused)
    (reason.path + reason.reason).encode()  # whoever stores or logs it must not stumble over it
    assert "\0" not in reason.path + reason.reason
    return str(reason)


ROUND_TRIPS: list[tuple[Any, object]] = [
    (int, 0),
    (int, -(2**200)),
    (bool, True),
    (str, ""),
    (str, "é🛤\u202e\ufeff\x01\x7f"),
    (float, -0.0),
    (float, 5e-324),
    (float, 1.7976931348623157e308),
    (None, None),
    (Person, Person("ada", [Address("a", 1), Address("b")], date(1815, 12, 10), "s")),
    (Tree, Tree(1, [Tree(2), Tree(3, left=Tree(4))], None, {"x": Tree(5)})),
    (Point, Point(1.5)),
    (list[Point], [Point(1.0, 2.0)]),
    (Box[int], Box(1)),
    (Box[list[Box[str]]], Box([Box("a")])),
    (Page[Address], Page([Address("a")], Box(Address("b", 2)))),
    (Addresses, Addresses([Address("a")], None, "ada")),
    (Box[int] | Cat, Box(1)),
    (Options, {"verbose": True}),
    (Options, {"verbose": True, "level": Level.HIGH}),
    (Options | str, {"verbose": False}),
    (Options | Cat, {"verbose": False}),
    (list[Options | None], [None, {"verbose": True}]),
    (Optional[Address], None),  # noqa: UP045 (the spelling is the point)
    (Optional[Address], Address("a")),  # noqa: UP045
    (Cat | Dog, Dog("rex")),
    (Cat | Dog | None, None),
    (Pet, Pet(Cat("tom"), datetime(2030, 1, 1, tzinfo=UTC), 7)),
    (Pet, Pet(Dog("rex"), "2030-01-01T00:00:00+00:00", "7")),
    (int | str, 7),
    (int | str, "7"),
    (int | bool, True),
    (int | float, 7),
    (bytes | str, b"7"),
    (date | datetime | None, date(2030, 1, 1)),
    (date | datetime | None, datetime(2030, 1, 1, tzinfo=UTC)),
    (list[int] | Cat, [1]),
    (dict[str, int] | Cat, {"$type": 1}),
    (tuple[int, ...] | list[int], (1,)),
    (frozenset[int] | Cat, frozenset({1})),
    (Set[int] | Cat, {1}),
    (Literal["a", 1] | Cat, 1),
    (Annotated[int | str, "doc"] | Cat, "a"),
    (Size | str, Size.LARGE),
    (Size | str, "l"),
    (Literal["a", "b", 1, True], True),
    (Literal["a", "b", 1, True], 1),
    (Color, Color.RED),
    (Color, Color.GREEN),
    (Size, Size.LARGE),
    (Level, Level.HIGH),
    (list[Level], [Level.LOW]),
    (Access, Access.READ | Access.WRITE),
    (Access, Access(0)),
    (UUID, UUID(int=2**128 - 1)),
    (Decimal, Decimal("1.10")),
    (Decimal, Decimal("-1E+1000")),
    (bytes, b"\0\xff"),
    (datetime, datetime(2030, 1, 1, 12, 30, 15, 123456, tzinfo=UTC)),
    (datetime, datetime.max.replace(tzinfo=timezone(-timedelta(hours=23, minutes=59)))),
    (datetime, datetime.min.replace(tzinfo=timezone(timedelta(hours=23, minutes=59, seconds=59, microseconds=1)))),
    (datetime, datetime(2030, 7, 1, tzinfo=BERLIN)),
    (date, date.min),
    (time, time(23, 59, 59, 999999)),
    (time, time(12, tzinfo=timezone(timedelta(hours=5, minutes=45)))),
    (timedelta, timedelta.max),
    (timedelta, timedelta.min),
    (timedelta, timedelta(microseconds=-1)),
    (list[int], []),
    (list[list[str]], [[], ["a"]]),
    (Sequence[int], [1, 2]),
    (tuple[int, str], (1, "a")),
    (tuple[int, ...], ()),
    (tuple[int, ...], (1, 2)),
    (tuple[()], ()),
    (tuple, (1, "a", None)),
    (tuple[tuple[int, ...], list[tuple[str]]], ((1,), [("a",)])),
    (set[int], {3, 1}),
    (set[Color], {Color.RED, Color.GREEN}),
    (frozenset[tuple[int, str]], frozenset({(1, "a"), (2, "b")})),
    (frozenset[Address], frozenset({Address("a"), Address("b")})),
    (dict[str, int], {"b": 1, "": 2}),
    (Mapping[str, Address], {"a": Address("b")}),
    (dict[int, str], {-1: "a", 10: "b"}),
    (dict[UUID, int], {UUID(int=1): 1}),
    (dict[Size, int], {Size.SMALL: 1}),
    (dict[Level, int], {Level.HIGH: 1}),
    (dict[UserId, int], {UserId(7): 1}),
    (dict[Any, int], {"a": 1}),
    (dict, {"a": [1]}),
    (dict[str, object], {"a": [1, None, {"b": 2.5}]}),
    (Any, {"a": [True, None, "x"]}),
    (object, [1]),
    (UserId, UserId(7)),
    (Annotated[int, "positive"], 7),
    (list[Annotated[Address, "home"]], [Address("a")]),
    (Homes, [Address("a")]),
    (dict[str, Homes | None], {"a": [Address("b")], "c": None}),
]


def named(value: object) -> str:
    """The id of a parameter; some values here cannot be shown."""
    return value[:30] if isinstance(value, str) else getattr(value, "__name__", type(value).__name__)


@pytest.mark.parametrize(("type_", "value"), ROUND_TRIPS, ids=named)
def test_a_value_comes_back_exactly_as_it_was(type_: Any, value: object) -> None:
    coder = codec(type_)
    text = coder.encode(value).unwrap()
    back = coder.decode(text).unwrap()
    assert back == value
    assert type(back) is type(value) or isinstance(value, Set)
    assert coder.encode(back).unwrap() == text


@pytest.mark.parametrize("fold", [0, 1])
def test_an_hour_that_comes_twice_stays_the_instant_that_it_was(fold: int) -> None:
    moment = datetime(2030, 10, 27, 2, 30, tzinfo=BERLIN, fold=fold)
    back = codec(datetime).decode(text_of(datetime, moment)).unwrap()
    assert back.timestamp() == moment.timestamp()
    assert back.utcoffset() == moment.utcoffset()


def test_members_of_a_union_are_tagged_only_where_json_cannot_tell_them_apart() -> None:
    assert text_of(Cat | Dog, Cat("tom")) == '{"$type":"Cat","name":"tom"}'
    assert text_of(datetime | str, "x") == '"x"'
    assert text_of(date | str, date(2030, 1, 1)) == '{"$type":"date","$value":"2030-01-01"}'
    assert text_of(Cat | None, Cat("tom")) == '{"name":"tom"}'


def test_equal_values_have_the_same_text() -> None:
    assert text_of(dict[str, int], {"b": 1, "a": 2}) == text_of(dict[str, int], {"a": 2, "b": 1}) == '{"a":2,"b":1}'
    assert text_of(set[str], set("gfedcba")) == text_of(frozenset[str], frozenset("abcdefg"))
    assert text_of(frozenset[tuple[int, str]], frozenset({(2, "b"), (1, "a")})) == '[[1,"a"],[2,"b"]]'
    assert text_of(float, 7) == text_of(float, 7.0) == "7.0"


def test_a_field_with_a_default_may_be_missing() -> None:
    assert codec(Person).decode('{"name":"ada"}').unwrap() == Person("ada")


class Trap(Mapping[str, int]):
    """A mapping that cannot be looked at."""

    def __getitem__(self, key: str) -> int:
        raise OSError("no")

    def __iter__(self) -> Iterator[str]:
        raise OSError("the\0disk\ud800")

    def __len__(self) -> int:
        return 1


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even this")


@frozen
class Kitten(Address):
    pass


@frozen
class Picky:
    n: int

    def __attrs_post_init__(self) -> None:
        if self.n == 13:
            raise Mute
        if self.n < 0:
            raise ValueError(f"{self.n} is negative\0\ud800")


WRONG: Any = b"x"


class Text(str):
    __slots__ = ()


def _unfinished() -> Address:
    return Address.__new__(Address)


REFUSED_VALUES: list[tuple[Any, object, str]] = [
    (float, float("nan"), "$: nan is not a JSON number"),
    (list[float], [1.0, float("-inf")], "$[1]: -inf is not a JSON number"),
    (Point, Point(float("inf")), "$.x: inf is not a JSON number"),
    (Any, {"a": [float("nan")]}, "$.a[0]: nan is not a JSON number"),
    (Decimal, Decimal("NaN"), "$: the Decimal NaN is not a number"),
    (Decimal, Decimal("Infinity"), "$: the Decimal Infinity is not a number"),
    (float, 2**53 + 1, "$: expected float, got int 9007199254740993"),
    (datetime, datetime(2030, 1, 1), "$: 2030-01-01T00:00:00 has no time zone: store aware datetimes"),
    (
        Pet,
        Pet(Cat("a"), datetime(2030, 1, 1)),
        "$.at: 2030-01-01T00:00:00 has no time zone: store aware datetimes",
    ),
    (str, "a\ud800", "$: text with a lone surrogate at character 1"),
    (dict[str, Address], {"k": Address("\udfff")}, "$.k.street: text with a lone surrogate at character 0"),
    (dict[str, int], {"\ud800": 1}, "$ (a key): text with a lone surrogate at character 0"),
    (str, "\0", "$: text with a NUL character, which databases cut or refuse"),
    (list[dict[str, int]], [{"\0": 1}], "$[0] (a key): text with a NUL character, which databases cut or refuse"),
    (int, 10**5_000, "$: an integer of more than 4000 digits"),
    (Address, Kitten("a"), "$: expected Address, got Kitten Kitten(street='a', number=None)"),
    (Person, Person("ada", [Kitten("a")]), "$.homes[0]: expected Address, got Kitten Kitten(street='a', number=None)"),
    (list[int], (1,), "$: expected list, got tuple (1,)"),
    (Sequence[int], (1,), "$: expected list, got tuple (1,)"),
    (tuple[int, ...], [1], "$: expected tuple, got list [1]"),
    (tuple[int, str], (1,), "$: expected 2 items, got 1"),
    (tuple[()], (1,), "$: expected 0 items, got 1"),
    (tuple[int, str], (1, 2), "$[1]: expected str, got int 2"),
    (int, True, "$: expected int, got bool True"),
    (float, True, "$: expected float, got bool True"),
    (bool, 1, "$: expected bool, got int 1"),
    (int, "7", "$: expected int, got str '7'"),
    (int, 7.0, "$: expected int, got float 7.0"),
    (str, Text("a"), "$: expected str, got Text 'a'"),
    (str, Size.SMALL, "$: expected str, got Size <Size.SMALL: 's'>"),
    (int, Level.LOW, "$: expected int, got Level <Level.LOW: 1>"),
    (Size, "s", "$: expected Size, got str 's'"),
    (
        date,
        datetime(2030, 1, 1, tzinfo=UTC),
        "$: expected date, got datetime datetime.datetime(2030, 1, 1, 0, 0, tzinfo=",
    ),
    (Address, {"street": "a"}, "$: expected Address, got dict {'street': 'a'}"),
    (Tree, Tree(1, named={"a": Tree(2, [Tree(WRONG)])}), "$.named.a.children[0].value: expected int, got bytes b'x'"),
    (dict[str, int], {"a": "1"}, "$.a: expected int, got str '1'"),
    (dict[int, int], {"1": 1}, "$: expected int, got str '1'"),
    (dict[Any, int], {1: 1}, "$: expected str, got int 1"),
    (dict[Level, int], {Level.LOW: "x"}, "$.1: expected int, got str 'x'"),
    (set[int], [1], "$: expected set, got list [1]"),
    (Literal["a"], "b", "$: 'b' is not one of ('a',)"),
    (Literal[1], True, "$: True is not one of (1,)"),
    (dict[str, object], {"a": [1, {"b": (1,)}]}, "$.a[1].b: expected JSON value, got tuple (1,)"),
    (Any, [{1: 2}], "$[0]: expected str, got int 1"),
    (Any, [datetime(2030, 1, 1)], "$[0]: expected JSON value, got datetime datetime.datetime(2030, 1, 1, 0, 0)"),
    (Options, {"verbose": 1}, "$.verbose: expected bool, got int 1"),
    (Options, {}, "$: lacks the field 'verbose'"),
    (Options, {"verbose": True, "extra": 1}, "$: has keys that Options does not know: extra"),
    (Cat | Dog, "tom", "$: expected "),
    (Cat | Dog, Cat(WRONG), "$.name: expected str, got bytes b'x'"),
    (int | str, True, "$: expected int | str, got bool True"),
    (Never, 1, "$: expected nothing, the task declares none, got int 1"),
    (
        time,
        time(12, tzinfo=BERLIN),
        "$: datetime.time(12, 0, tzinfo=zoneinfo.ZoneInfo(key='Europe/Berlin')) has a time",
    ),
    (Mapping[str, int], Trap(), "$: the\\0disk\\ud800"),
    (Address, _unfinished(), "$: "),
]


@pytest.mark.parametrize(("type_", "value", "wanted"), REFUSED_VALUES, ids=named)
def test_what_is_not_of_its_type_is_refused_with_its_path(type_: Any, value: object, wanted: str) -> None:
    said = fault(codec(type_).encode(value))
    assert said == wanted or (len(said) > len(wanted) and said.startswith(wanted))


def test_a_payload_of_two_megabytes_is_refused() -> None:
    refused = fault(codec(str).encode("x" * (2 * PAYLOAD_BYTES_MAX)))
    assert refused == f"$: {2 * PAYLOAD_BYTES_MAX + 2} bytes, the limit is {PAYLOAD_BYTES_MAX} (payload_bytes_max)"
    assert codec(str).encode("x" * (PAYLOAD_BYTES_MAX - 2)).unwrap()


@pytest.mark.parametrize("levels", [100, pytest.param(5_000, marks=pytest.mark.slow)])
def test_what_is_nested_too_deep_is_refused_and_its_place_is_found_in_time(levels: int) -> None:
    tree = Tree(0)
    plain: list[Any] = []
    for _ in range(levels):
        tree, plain = Tree(1, left=tree), [plain]
    assert "nested deeper than 64 levels" in fault(codec(Tree).encode(tree))
    assert "nested deeper than 64 levels" in fault(codec(Any).encode(plain))


DAMAGED: list[tuple[Any, str, str]] = [
    (Address, "", "$: not JSON: "),
    (Address, '{"street":"a"', "$: not JSON: "),
    (Address, '{"street":"a"}}', "$: not JSON: "),
    (Address, "\ufeff{}", "$: not JSON: "),
    (Address, "[]", "$: expected object with the fields of Address, got list []"),
    (Address, "null", "$: expected object with the fields of Address, got NoneType None"),
    (Address, '{"street":7}', "$.street: expected str, got int 7"),
    (Address, '{"street":"a","number":"7"}', "$.number: expected int, got str '7'"),
    (Address, '{"street":"a","number":true}', "$.number: expected int, got bool True"),
    (Address, "{}", "$: lacks the field 'street'"),
    (Address, '{"street":"a","zip":1}', "$: has fields that Address does not know: zip"),
    (Address, '{"street":"a","\\ud800":1}', "$: has fields that Address does not know: \\ud800"),
    (Address, '{"street":"a","__class__":"os.system"}', "$: has fields that Address does not know: __class__"),
    (Person, '{"name":"a","homes":[{"street":"b"},{"street":1}]}', "$.homes[1].street: expected str, got int 1"),
    (Person, '{"name":"a","homes":"abc"}', "$.homes: expected list, got str 'abc'"),
    (Person, '{"name":"a","born":"tomorrow"}', "$.born: Invalid isoformat string: 'tomorrow'"),
    (Person, '{"name":"a","secret":"x"}', "$: has fields that Person does not know: secret"),
    (Cat | Dog, '{"$type":"os.system","name":"rm"}', "$: the type 'os.system' is none of ['Cat', 'Dog']"),
    (Cat | Dog, '{"$type":"builtins.eval","name":"1"}', "$: the type 'builtins.eval' is none of ['Cat', 'Dog']"),
    (Cat | Dog, '{"$type":"__class__"}', "$: the type '__class__' is none of ['Cat', 'Dog']"),
    (Cat | Dog, '{"$type":["Cat"],"name":"a"}', "$: the type ['Cat'] is none of ['Cat', 'Dog']"),
    (Cat | Dog, '{"$type":{},"name":"a"}', "$: the type {} is none of ['Cat', 'Dog']"),
    (Cat | Dog, '{"name":"a"}', "$: expected one of "),
    (Cat | Dog, '{"$type":"Cat","name":1}', "$.name: expected str, got int 1"),
    (Cat | Dog, '{"$type":"Cat","name":"a","breed":1}', "$: has fields that Cat does not know: breed"),
    (date | str, '{"$type":"date","$value":"x"}', "$: Invalid isoformat string: 'x'"),
    (date | str, '{"$type":"date"}', "$: a date is written with $type and $value, got []"),
    (date | str, '{"$type":"date","$value":"2030-01-01","x":1}', "$: a date is written with $type and $value, got"),
    (date | str, "7", "$: expected one of "),
    (Color, '"blue"', "$: 'blue' is not a value of Color"),
    (Color, "2.0", "$: 2.0 is not a value of Color"),
    (Level, "true", "$: True is not a value of Level"),
    (Level, "[]", "$: [] is not a value of Level"),
    (Literal[1], "true", "$: True is not one of (1,)"),
    (UUID, '"x"', "$: badly formed hexadecimal UUID string"),
    (UUID, "7", "$: expected the text of a UUID, got int 7"),
    (Decimal, '"abc"', "$: 'abc' is not the text of a Decimal"),
    (Decimal, '"NaN"', "$: the Decimal NaN is not a number"),
    (Decimal, "1.5", "$: expected the text of a Decimal, got float 1.5"),
    (bytes, '"*"', "$: "),
    (bytes, '"é"', "$: "),
    (datetime, '"2030-01-01T00:00:00"', "$: 2030-01-01T00:00:00 has no time zone: store aware datetimes"),
    (timedelta, "1" + "0" * 30, "$: "),
    (timedelta, "1.5", "$: expected a number of microseconds, got float 1.5"),
    (int, "1.0", "$: expected int, got float 1.0"),
    (float, "1e400", "$: not JSON: a number is larger than any float"),
    (Any, "[1e400]", "$: not JSON: a number is larger than any float"),
    (float, "1" + "0" * 400, "$: "),
    (float, "NaN", "$: not JSON: NaN is not a JSON number"),
    (int, "1" * 5_000, "$: not JSON: "),
    (list[int], "[" * 100_000, "$: not JSON: "),
    (Any, "[" * 100_000 + "]" * 100_000, "$: not JSON: "),
    (tuple[int, str], "[1]", "$: expected 2 items, got 1"),
    (tuple[int, str], '"ab"', "$: expected list for a tuple, got str 'ab'"),
    (set[int], '{"a":1}', "$: expected list for a set, got dict {'a': 1}"),
    (set[int], '[1,"2"]', "$[1]: expected int, got str '2'"),
    (dict[str, int], "[]", "$: expected object, got list []"),
    (dict[str, int], '{"a":{"b":1}}', "$.a: expected int, got dict {'b': 1}"),
    (dict[int, int], '{"x":1}', "$: invalid literal for int() with base 10: 'x'"),
    (dict[int, int], '{"1":1,"01":2}', "$: the key '01' is not an integer"),
    (dict[int, int], '{" 1":1}', "$: the key ' 1' is not an integer"),
    (dict[UUID, int], '{"x":1}', "$: badly formed hexadecimal UUID string"),
    (dict[Size, int], '{"xl":1}', "$: 'xl' is not a value of Size"),
    (dict[str, Address], '{"\\ud800":{"street":1}}', "$.\\ud800.street: expected str, got int 1"),
    (Options, '{"verbose":true,"level":7}', "$.level: 7 is not a value of Level"),
    (Options, '{"verbose":true,"x":7}', "$: has keys that Options does not know: x"),
    (Picky, '{"n":-1}', "$: -1 is negative\\0\\ud800"),
    (Picky, '{"n":13}', "$: Mute"),
    (Never, "1", "$: expected nothing, the task declares none, got int 1"),
]


@pytest.mark.parametrize(("type_", "text", "wanted"), DAMAGED, ids=named)
def test_damaged_text_is_refused_with_its_path(type_: Any, text: str, wanted: str) -> None:
    said = fault(codec(type_).decode(text))
    assert said == wanted or (len(said) > len(wanted) and said.startswith(wanted))


@pytest.mark.parametrize("text", [b"{}", None, 7, ["{}"]])
def test_what_is_not_even_text_is_refused(text: Any) -> None:
    assert fault(codec(Address).decode(text)).startswith("$: not JSON: ")


@pytest.mark.parametrize("text", ['{"street":"a"}\n', '  {"street" : "a"}  ', '\t{"street":"b","street":"a"}'])
def test_json_of_another_hand_is_read_and_the_last_of_two_equal_keys_counts(text: str) -> None:
    assert codec(Address).decode(text).unwrap() == Address("a")


@pytest.mark.parametrize("size", [1_000, 100_000])
def test_a_refusal_is_short_whatever_it_is_about(size: int) -> None:
    for type_, text in [(Color, f'"{"x" * size}"'), (Address, f'{{"{"x" * size}":1}}'), (datetime, f'"{"x" * size}"')]:
        assert len(fault(codec(type_).decode(text))) < 700


UNUSABLE: list[tuple[Any, str]] = [
    (complex, "complex cannot be stored as JSON: use an attrs class, a scalar, a list, a tuple or a mapping"),
    (Box, "Box.content: the type variable ~T stands for no type yet: write a concrete one"),
    (list[complex], "[]: complex cannot be stored"),
    (Cat | complex, "complex cannot be stored"),
    (dict[float, int], "<class 'float'> cannot be the key of a stored mapping: use str, int, UUID or an enum"),
    (dict[Color, int], "the enum Color has both text and integers, which are the same as a key: use one"),
    (list[int] | list[str], "the members list[int] and list[str] of a union cannot be told apart: both are list"),
    (Any | Cat, "typing.Any | tests.test_codec.Cat holds anything at all"),
    (tuple[int, *tuple[str, ...]], "tuple[int, *tuple[str, ...]] has both a fixed and an open part"),
    (Literal[Size.SMALL], "typing.Literal[<Size.SMALL: 's'>] holds values that are neither text, integers nor"),
    (Literal[b"x"], "typing.Literal[b'x'] holds values that are neither text, integers nor booleans"),
    (Enum("Flaky", {"A": 1.5}), "the enum Flaky has values that are neither text nor integers"),
    (Enum("Truth", {"A": True}), "the enum Truth has values that are neither text nor integers"),
]


@pytest.mark.parametrize(("type_", "wanted"), UNUSABLE, ids=named)
def test_a_type_that_cannot_make_the_journey_is_refused_beforehand(type_: Any, wanted: str) -> None:
    with pytest.raises(TypeError) as raised:
        codec(type_)
    assert wanted in str(raised.value)


def test_two_classes_of_one_name_cannot_be_in_one_union() -> None:
    def another() -> type[Any]:
        @frozen
        class Cat:
            lives: int

        return Cat

    with pytest.raises(TypeError, match="cannot be told apart: both are Cat"):
        codec(Cat | another())


HOSTILE = [Person, Tree, Pet, Page[Address], Options, Cat | Dog | None, dict[int, Pet], set[Color], tuple[int, Any]]


@pytest.mark.slow
@given(json_values(), st.sampled_from(HOSTILE))
def test_any_json_is_a_value_or_a_refusal(value: Any, type_: Any) -> None:
    _assert_value_or_refusal(type_, text_of(Any, value))


@given(st.text(max_size=40), st.sampled_from(HOSTILE))
def test_any_text_is_a_value_or_a_refusal(text: str, type_: Any) -> None:
    _assert_value_or_refusal(type_, text)


@given(st.data())
def test_a_damaged_payload_is_a_value_or_a_refusal(data: st.DataObject) -> None:
    type_, value = data.draw(
        st.sampled_from([each for each in ROUND_TRIPS if each[0] in (Person, Tree, Pet, Cat | Dog)])
    )
    text = text_of(type_, value)
    start = data.draw(st.integers(0, len(text)))
    stop = data.draw(st.integers(start, len(text)))
    _assert_value_or_refusal(type_, text[:start] + data.draw(st.text(max_size=5)) + text[stop:])


def _assert_value_or_refusal(type_: Any, text: str) -> None:
    coder = CODECS[str(type_)]
    decoded = coder.decode(text)
    if isinstance(decoded, Success):
        again = coder.encode(decoded.unwrap())
        # What a foreign hand wrote may be more than we would write, but it is never of a wrong type.
        assert isinstance(again, Success) or "text with" in fault(again)
    else:
        fault(decoded)


CODECS = {str(type_): codec(type_) for type_ in [*HOSTILE, *(each for each, _ in ROUND_TRIPS)]}


def _boxed(content: Any) -> Box[Any]:
    return Box(content)


ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=5)
    | st.datetimes()
    | st.datetimes(timezones=st.timezones())
    | st.timedeltas()
    | st.decimals()
    | st.uuids()
    | st.sampled_from([Color.RED, Size.SMALL, Level.HIGH, Cat("tom"), Dog("rex")]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3)
        | st.builds(_boxed, inner)
        | st.builds(Tree, inner, st.lists(inner, max_size=2))
    ),
    max_leaves=6,
)


@given(ANYTHING, st.sampled_from(sorted(CODECS)))
def test_what_is_encoded_is_decoded_to_the_same_or_refused(value: object, name: str) -> None:
    _assert_same_or_refused(CODECS[name], value)


@pytest.mark.slow
@given(st.builds(Box, st.lists(st.floats() | storable_text() | st.datetimes(timezones=st.timezones()))))
def test_lists_of_scalars_of_several_kinds_come_back_or_are_refused(value: Box[Any]) -> None:
    _assert_same_or_refused(MIXED, value)


MIXED = codec(Box[list[float | str | datetime]])
DATETIMES = codec(datetime)
SCALARS = [codec(type_) for type_ in (timedelta, Decimal, time, bytes)]


@pytest.mark.slow
@given(st.datetimes(timezones=st.timezones()) | st.datetimes(timezones=st.timezones()).map(lambda d: d.replace(fold=1)))
def test_every_aware_datetime_stays_the_instant_that_it_was(moment: datetime) -> None:
    back = DATETIMES.decode(DATETIMES.encode(moment).unwrap()).unwrap()
    assert back.replace(tzinfo=None) == moment.replace(tzinfo=None)
    assert back.utcoffset() == moment.utcoffset()


@given(st.timedeltas(), st.decimals(allow_nan=False, allow_infinity=False), st.times(), st.binary())
def test_every_scalar_comes_back(delay: timedelta, number: Decimal, clock: time, data: bytes) -> None:
    for coder, value in zip(SCALARS, (delay, number, clock, data), strict=True):
        assert str(coder.decode(coder.encode(value).unwrap()).unwrap()) == str(value)


def _assert_same_or_refused(coder: TypeCodec[Any], value: object) -> None:
    encoded = coder.encode(value)
    if not isinstance(encoded, Success):
        fault(encoded)
        return
    back = coder.decode(encoded.unwrap()).unwrap()
    # A datetime in an hour that comes twice never equals one of another time zone; its text is compared instead.
    assert back == value or coder.encode(back) == encoded


@contextmanager
def watched() -> Generator[list[str]]:
    """What the interpreter is asked to do meanwhile that decoding never may."""
    seen: list[str] = []
    _WATCHERS.append(seen)
    try:
        yield seen
    finally:
        _WATCHERS.remove(seen)


_WATCHERS: list[list[str]] = []
_FORBIDDEN = ("import", "exec", "compile", "os.", "socket.", "subprocess.", "pickle.", "marshal.", "open", "ctypes.")


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    if _WATCHERS and event.startswith(_FORBIDDEN):
        for watcher in _WATCHERS:
            watcher.append(f"{event} {arguments!r:.100}")


def test_decoding_hostile_data_imports_nothing_runs_nothing_and_opens_nothing() -> None:
    sys.addaudithook(_audit)  # it stays for good, and is idle while nobody watches
    texts = [(codec(type_), text) for type_, text, _ in DAMAGED]
    for coder, text in texts:  # once before, for what Python itself loads late
        coder.decode(text)
    with watched() as seen:
        for coder, text in texts:
            fault(coder.decode(text))
    assert seen == []
    with watched() as seen:
        __import__("os")
        compile("1", "<test>", "eval")
    assert seen, "the watcher sees nothing at all"
