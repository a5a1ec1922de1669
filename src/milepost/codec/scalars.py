"""The values that JSON writes as one text or number, and what is plain JSON already: exact, both ways.

Each type has a pair of hooks, one to encode and one to decode; both refuse what is not exactly of the type.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, TypeAlias
from uuid import UUID

from milepost.codec.usable import PRIMITIVES, NoneType
from milepost.text import shown as shown

Encode: TypeAlias = Callable[[Any], Any]
Decode: TypeAlias = Callable[[Any, Any], Any]

_MICROSECOND = timedelta(microseconds=1)


def is_exactly(value: Any, *classes: type) -> bool:
    """Whether the class of `value` is one of `classes`; says nothing to type checkers: `value` stays Any."""
    return type(value) in classes


class WrongValue(ValueError):
    """A value that is not of its declared type; where it stands is found out later.

    `bare` is the message without the value, for types with secrets and for counting what went wrong.
    """

    def __init__(self, message: str, *, bare: str | None = None) -> None:
        super().__init__(message)
        self.bare = message if bare is None else bare


def not_a(expected: str, value: object) -> WrongValue:
    """What to raise for a value that is not what was expected."""
    bare = f"expected {expected}, got {type(value).__name__}"
    return WrongValue(f"{bare} {shown(value)}", bare=bare)


def _exactly(type_: type) -> tuple[Encode, Decode]:
    def encode(value: Any) -> Any:
        if type(value) is type_:
            return value
        raise not_a(type_.__name__, value)

    return encode, lambda value, _: encode(value)


def to_float(value: Any) -> float:
    """A float, or an integer as one that is equal; a bool is neither."""
    if type(value) is float:
        return value
    if type(value) is int and float(value) == value:
        return float(value)
    raise not_a("float", value)


def _through_text(type_: type, to_text: Callable[[Any], str], from_text: Callable[[str], Any]) -> tuple[Encode, Decode]:
    def encode(value: Any) -> str:
        if type(value) is type_:
            return to_text(value)
        raise not_a(type_.__name__, value)

    def decode(value: Any, _: Any) -> Any:
        if type(value) is str:
            return from_text(value)
        raise not_a(f"the text of a {type_.__name__}", value)

    return encode, decode


def _aware(moment: datetime) -> datetime:
    if moment.tzinfo is None or moment.utcoffset() is None:
        bare = "a datetime has no time zone: store aware datetimes"
        raise WrongValue(f"{moment.isoformat()} has no time zone: store aware datetimes", bare=bare)
    return moment


def _located(clock: time) -> time:
    if clock.tzinfo is not None and clock.utcoffset() is None:
        why = "has a time zone without a fixed offset, which only a datetime can have"
        raise WrongValue(f"{clock!r} {why}", bare=f"a time {why}")
    return clock


def _finite(value: Decimal) -> Decimal:
    if not value.is_finite():
        raise WrongValue(f"the Decimal {value} is not a number", bare="a Decimal is not a number")
    return value


def _decimal(text: str) -> Decimal:
    try:
        return _finite(Decimal(text))
    except InvalidOperation:  # it says nothing that a person could read
        raise WrongValue(f"{shown(text)} is not the text of a Decimal", bare="not the text of a Decimal") from None


def _encode_timedelta(value: Any) -> int:
    if type(value) is timedelta:
        return value // _MICROSECOND
    raise not_a("timedelta", value)


def _decode_timedelta(value: Any, _: Any) -> timedelta:
    if type(value) is int:
        return timedelta(microseconds=value)
    raise not_a("a number of microseconds", value)


def json_value(value: Any) -> Any:
    """`value` itself when it is plain JSON; a tuple or a subclass would come back as something else and is refused."""
    if value is None or is_exactly(value, *PRIMITIVES):
        return value
    if is_exactly(value, list):
        return [json_value(item) for item in value]
    if is_exactly(value, dict):
        return {exactly_text(key): json_value(item) for key, item in value.items()}
    raise not_a("JSON value", value)


exactly_text = _exactly(str)[0]
"""`value` itself when it is text."""

SCALAR_HOOKS: Mapping[Any, tuple[Encode, Decode]] = {
    bool: _exactly(bool),
    int: _exactly(int),
    str: _exactly(str),
    NoneType: _exactly(NoneType),
    float: (to_float, lambda value, _: to_float(value)),
    bytes: _through_text(bytes, lambda b: b64encode(b).decode(), lambda t: b64decode(t, validate=True)),
    datetime: _through_text(datetime, lambda d: _aware(d).isoformat(), lambda t: _aware(datetime.fromisoformat(t))),
    date: _through_text(date, date.isoformat, date.fromisoformat),
    time: _through_text(time, lambda t: _located(t).isoformat(), time.fromisoformat),
    timedelta: (_encode_timedelta, _decode_timedelta),
    UUID: _through_text(UUID, str, UUID),
    Decimal: _through_text(Decimal, lambda d: str(_finite(d)), _decimal),
}
