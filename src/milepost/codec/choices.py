"""Values out of a fixed choice: enums and literals, matched by exact type and value."""

from __future__ import annotations

from enum import Enum, Flag
from typing import Any, cast, get_args

from cattrs import Converter

from milepost.codec.scalars import Decode, Encode, WrongValue, is_exactly, not_a, shown


def enum_encoder(type_: Any, converter: Converter) -> Encode:
    """A member is written as its value."""

    def encode(value: Any) -> Any:
        if type(value) is type_:
            return value.value
        raise not_a(type_.__qualname__, value)

    return encode


def enum_decoder(type_: Any, converter: Converter) -> Decode:
    """The member that has exactly this value."""
    # By exact type and value: an enum of 1 must not accept True or 1.0, which compare equal.
    members: dict[Any, Enum] = {(type(member.value), member.value): member for member in cast("type[Enum]", type_)}

    def decode(value: Any, _: Any) -> Any:
        found = members.get((type(value), value)) if is_exactly(value, str, int) else None
        if found is None and issubclass(type_, Flag) and is_exactly(value, int):
            return type_(value)  # several flags together are no member of their own
        if found is None:
            why = f"not a value of {type_.__qualname__}"
            raise WrongValue(f"{shown(value)} is {why}", bare=why)
        return found

    return decode


def literal_encoder(type_: Any, converter: Converter) -> Encode:
    """One of the values, as it is."""
    allowed: set[Any] = {(type(value), value) for value in get_args(type_)}

    def encode(value: Any) -> Any:
        if is_exactly(value, str, int, bool) and (type(value), value) in allowed:
            return value
        why = f"not one of {get_args(type_)}"
        raise WrongValue(f"{shown(value)} is {why}", bare=why)

    return encode


def literal_decoder(type_: Any, converter: Converter) -> Decode:
    """One of the values, as it is."""
    check = literal_encoder(type_, converter)
    return lambda value, _: check(value)
