"""Fields that people must not see: which they are, and a payload without them.

Secrets are stored as they are, or no task could use them. Everything that is shown to people goes without them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Final, TypeAlias, cast, get_args, get_origin

import attrs

from milepost.codec.converters import TAG, VALUE, split_union
from milepost.codec.usable import (
    LISTS,
    MAPPINGS,
    SETS,
    TUPLES,
    NoneType,
    fields_of,
    is_class,
    is_dictionary,
    is_union,
    parts_of,
    unwrapped,
)
from milepost.payload import Json

MASK: Final = "***"
_LENGTH_MIN: Final = 4
"""Shorter texts are everywhere: to take each of them out of a message would say where, and leave nothing to read."""

Hide: TypeAlias = Callable[[str, Any], Json]
"""Takes the path of a secret and its JSON value; gives what stands in its place."""


def secret(value: object) -> str:
    """Marks a field of an attrs class as secret: `password: str = field(repr=secret)`.

    attrs calls it for the `repr` of the class, which then shows `***`; milepost masks such fields in everything that it
    shows to people. They are stored as they are.

    >>> @attrs.frozen
    ... class Login:
    ...     user: str
    ...     password: str = attrs.field(repr=secret)
    >>> Login("ada", "hunter2")
    Login(user='ada', password=***)
    """
    return MASK


@lru_cache(maxsize=1_024)
def secret_fields(type_: Any) -> frozenset[str]:
    """The names of the secret fields of a class."""
    origin = get_origin(type_) or type_
    if not attrs.has(origin):
        return frozenset()
    return frozenset(field.name for field in attrs.fields(origin) if cast("object", field.repr) is secret)


def has_secrets(type_: Any) -> bool:
    """Whether some value of `type_` may hold a secret field."""
    return any(secret_fields(part) for part in parts_of(type_))


def masked(plain: Any, type_: Any) -> Json:
    """A payload for people: `plain`, which must be what a codec of `type_` reads, with a mask for each secret."""
    return _walked(plain, type_, "$", lambda path, value: MASK)


def secrets_of(plain: Any, type_: Any) -> dict[str, Json]:
    """The secrets in a payload that a codec of `type_` reads, by their paths."""
    found: dict[str, Json] = {}

    def collect(path: str, value: Any) -> Json:
        found[path] = value
        return MASK

    _walked(plain, type_, "$", collect)
    return found


def without(text: str, secrets: frozenset[str]) -> str:
    """`text` with a mask for each of `secrets`, the longest first, for one may be part of another.

    >>> without("no user ada with hunter2", frozenset({"hunter2"}))
    'no user ada with ***'
    """
    for each in sorted(secrets, key=lambda each: (-len(each), each)):
        text = text.replace(each, MASK)
    return text


def texts_in(value: Json) -> Iterator[str]:
    """The texts and numbers in a secret by which it could be known again in a message, as they are and as `repr`."""
    match value:
        case str() if len(value) >= _LENGTH_MIN:
            yield value
            yield repr(value)[1:-1]
        case int() | float() if len(str(value)) >= _LENGTH_MIN and not isinstance(value, bool):
            yield str(value)
        case list():
            for item in value:
                yield from texts_in(item)
        case dict():
            for key, item in value.items():
                yield from texts_in(key)
                yield from texts_in(item)
        case _:
            pass


def _walked(plain: Any, type_: Any, path: str, hide: Hide) -> Json:
    type_ = unwrapped(type_)
    if is_union(type_):
        return _member(plain, type_, path, hide)
    if isinstance(plain, dict):
        return _fields(cast("dict[str, Any]", plain), type_, path, hide)
    if isinstance(plain, list):
        items = cast("list[object]", plain)
        types = _item_types(type_, len(items))
        return [_walked(v, t, f"{path}[{n}]", hide) for n, (v, t) in enumerate(zip(items, types, strict=True))]
    return cast("Json", plain)


def _fields(plain: dict[str, Any], type_: Any, path: str, hide: Hide) -> Json:
    if is_class(type_) or is_dictionary(type_):
        types, secrets = fields_of(type_), secret_fields(type_)
        return {
            name: hide(f"{path}.{name}", value)
            if name in secrets
            else _walked(value, types.get(name, Any), f"{path}.{name}", hide)
            for name, value in plain.items()
        }
    arguments = get_args(type_)
    of = arguments[1] if (get_origin(type_) or type_) in MAPPINGS and len(arguments) == 2 else Any
    return {key: _walked(value, of, f"{path}.{key}", hide) for key, value in plain.items()}


def _member(plain: Any, union: Any, path: str, hide: Hide) -> Json:
    untagged, tagged = split_union(union)
    if plain is None:
        return None
    alone = [member for cls, member in untagged.items() if cls is not NoneType]
    if len(alone) == 1 and not tagged:
        return _walked(plain, alone[0], path, hide)
    if plain.__class__ in untagged or not isinstance(plain, dict):
        return _walked(plain, untagged.get(plain.__class__, Any), path, hide)
    fields = cast("dict[str, Any]", plain)
    member = tagged[fields[TAG]]
    if is_class(member):
        rest = {name: value for name, value in fields.items() if name != TAG}
        return {TAG: fields[TAG], **cast("dict[str, Json]", _walked(rest, member, path, hide))}
    return {TAG: fields[TAG], VALUE: _walked(fields[VALUE], member, path, hide)}


def _item_types(type_: Any, length: int) -> list[Any]:
    arguments = get_args(type_)
    if (get_origin(type_) or type_) not in LISTS + TUPLES + SETS or not arguments:
        return [Any] * length
    same = len(arguments) == 1 or arguments[1] is ...
    return [arguments[0]] * length if same else list(arguments)
