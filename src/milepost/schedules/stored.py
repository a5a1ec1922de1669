"""Between frozen values of this package and JSON: strict both ways, with the path of what is wrong.

The form is the one that payloads have (classes by their fields, a union tagged with `$type`, spans in microseconds),
written by hand, for the codec of payloads is on a floor above.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, time, timedelta
from enum import Enum
from typing import Any, Generic, Protocol, TypeAlias, TypeVar, cast, final

from attrs import frozen
from returns.result import Failure, Result, Success

from milepost.payload import Json, PayloadRefused, from_json_text, legible

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
EnumT = TypeVar("EnumT", bound=Enum)

_MICROSECOND = timedelta(microseconds=1)
_TAG = "$type"


class Form(Protocol[T_co]):
    """How values of one type are written and read."""

    def write(self, value: Any, /) -> Json:
        """The JSON value."""
        ...

    def read(self, plain: Json, path: str, /) -> T_co:
        """The value; raises `Misread` with its path for what is none."""
        ...


Fields: TypeAlias = Mapping[str, Form[Any]]


class Misread(Exception):
    """Something stored is not what it must be."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.refusal = PayloadRefused(path, reason)


def read_text(form: Form[T], stored: str) -> Result[T, PayloadRefused]:
    """The value that canonical JSON text holds, or where and why it does not hold one."""
    match from_json_text(stored):
        case Success(plain):
            try:
                return Success(form.read(plain, "$"))
            except Misread as error:
                return Failure(error.refusal)
        case damaged:
            return Failure(damaged.failure())


@final
@frozen
class Plain(Generic[T]):
    """A value that is one JSON value."""

    to_plain: Callable[[Any], Json]
    from_plain: Callable[[Any], T]
    accepts: type

    def write(self, value: Any) -> Json:
        """The JSON value."""
        return self.to_plain(value)

    def read(self, plain: Json, path: str) -> T:
        """The value."""
        if type(plain) is not self.accepts:
            raise Misread(path, f"{plain!r} is no {self.accepts.__name__}")
        return _made(lambda: self.from_plain(plain), path)


@final
@frozen
class Shape(Generic[T]):
    """A class by its fields; fields that are missing have their defaults, others than these are refused."""

    cls: Callable[..., T]
    fields: Fields

    def write(self, value: Any) -> Json:
        """The JSON object."""
        return {name: form.write(getattr(value, name)) for name, form in self.fields.items()}

    def read(self, plain: Json, path: str) -> T:
        """The value."""
        if not isinstance(plain, dict):
            raise Misread(path, f"{plain!r} is no object")
        if unknown := sorted(plain.keys() - self.fields.keys()):
            raise Misread(path, f"has fields that {self.name} does not know: {', '.join(unknown)}")
        given = {name: self.fields[name].read(each, f"{path}.{name}") for name, each in plain.items()}
        return _made(lambda: self.cls(**given), path)

    @property
    def name(self) -> str:
        """The class's name, which is stored."""
        return cast("type", self.cls).__name__


@final
@frozen
class Tagged(Generic[T]):
    """A closed union of classes, told apart by their names."""

    shapes: Mapping[str, Shape[T]]

    def write(self, value: Any) -> Json:
        """The JSON object, with its tag."""
        name = type(value).__name__
        return {_TAG: name, **cast("dict[str, Json]", self.shapes[name].write(value))}

    def read(self, plain: Json, path: str) -> T:
        """The value."""
        tag = plain.get(_TAG) if isinstance(plain, dict) else None
        if not isinstance(plain, dict) or not isinstance(tag, str) or tag not in self.shapes:
            raise Misread(path, f"has the {_TAG} {tag!r}, where {', '.join(self.shapes)} are known")
        return self.shapes[tag].read({name: each for name, each in plain.items() if name != _TAG}, path)


@final
@frozen
class NothingOr(Generic[T]):
    """A value, or null for None."""

    form: Form[T]

    def write(self, value: Any) -> Json:
        """The JSON value."""
        return None if value is None else self.form.write(value)

    def read(self, plain: Json, path: str) -> T | None:
        """The value."""
        return None if plain is None else self.form.read(plain, path)


@final
@frozen
class Listed(Generic[T]):
    """Several values."""

    form: Form[T]

    def write(self, value: Any) -> Json:
        """The JSON array."""
        return [self.form.write(each) for each in value]

    def read(self, plain: Json, path: str) -> Sequence[T]:
        """The values."""
        if not isinstance(plain, list):
            raise Misread(path, f"{plain!r} is no array")
        return tuple(self.form.read(each, f"{path}[{index}]") for index, each in enumerate(plain))


def tagged(shapes: Iterable[Shape[T]]) -> Tagged[T]:
    """A union of these classes."""
    return Tagged({each.name: each for each in shapes})


def member(kind: type[EnumT]) -> Plain[EnumT]:
    """A member of an enum of texts, by its value."""
    return Plain(lambda value: value.value, kind, str)


text: Plain[str] = Plain(str, str, str)
number: Plain[int] = Plain(int, int, int)
spans: Plain[timedelta] = Plain(lambda value: value // _MICROSECOND, lambda plain: timedelta(microseconds=plain), int)
instants: Plain[datetime] = Plain(datetime.isoformat, datetime.fromisoformat, str)
times: Plain[time] = Plain(time.isoformat, time.fromisoformat, str)


def _made(make: Callable[[], T], path: str) -> T:
    try:
        return make()
    except (TypeError, ValueError, OverflowError) as error:  # ConfigurationError is a ValueError
        raise Misread(path, legible(error)) from None
