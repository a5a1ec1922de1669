"""Where in a value the fault is. Runs only after a codec has failed, so it may take its time.

Walks value and type together and goes down to the first part that fails by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Any, TypeAlias, cast, get_args, get_origin

from cattrs import Converter
from cattrs.errors import ForbiddenExtraKeysError

from milepost.codec.converters import TAG, VALUE
from milepost.codec.scalars import is_a
from milepost.codec.usable import (
    LISTS,
    MAPPINGS,
    SETS,
    TUPLES,
    NoneType,
    fields_of,
    is_class,
    is_dictionary,
    is_json,
    is_union,
    members_of,
    runtime_class,
    unwrapped,
)
from milepost.payload import PAYLOAD_DEPTH_MAX, PayloadRefused, legible, storable_text

_Part: TypeAlias = tuple[str, Any, Any]
_NAMES_CHARACTERS_MAX = 200


def locate_encoding(converter: Converter, value: object, type_: Any) -> PayloadRefused:
    """The deepest part of `value` that cannot be encoded as its declared type, and why."""
    return _locate(lambda part, of: converter.unstructure(part, of), _value_parts, value, type_)


def locate_decoding(converter: Converter, plain: object, type_: Any) -> PayloadRefused:
    """The deepest part of the JSON value `plain` that cannot be decoded as its declared type, and why."""
    return _locate(lambda part, of: converter.structure(part, of), _plain_parts, plain, type_)


def _locate(
    convert: Callable[[Any, Any], object], parts: Callable[[Any, Any], Iterator[_Part]], value: Any, type_: Any
) -> PayloadRefused:
    path, depth, reason = "$", 0, "is not a value of its type"
    searching = True
    while searching:
        if depth > PAYLOAD_DEPTH_MAX:  # it may go on for ever, or for longer than anybody wants to wait
            reason = f"nested deeper than {PAYLOAD_DEPTH_MAX} levels"
            break
        reason = _why(convert, value, type_) or reason
        searching = False
        for step, part, part_type in _sound(parts(value, unwrapped(type_))):
            if _why(convert, part, part_type) is not None:
                path, value, type_, searching = path + step, part, part_type, True
                depth += bool(step)
                break
    return PayloadRefused(storable_text(path), reason)


def _sound(parts: Iterator[_Part]) -> Iterator[_Part]:
    """The parts up to the first that cannot even be looked at: properties and mappings of users may raise anything."""
    try:
        yield from parts
    except Exception:
        return


def _why(convert: Callable[[Any, Any], object], value: Any, type_: Any) -> str | None:
    try:
        convert(value, type_)
    except ForbiddenExtraKeysError as error:
        unknown = storable_text(", ".join(sorted(error.extra_fields))[:_NAMES_CHARACTERS_MAX])
        return f"has fields that {error.cl.__name__} does not know: {unknown}"
    except KeyError as error:
        return f"lacks the field {legible(error)}"
    except RecursionError:
        return "nested too deep"
    except Exception as error:
        return legible(error)
    return None


def _value_parts(value: Any, type_: Any) -> Iterator[_Part]:
    if is_union(type_):
        yield from (("", value, member) for member in _members(type_) if runtime_class(member) is type(value))
    elif is_class(type_) and type(value) is (get_origin(type_) or type_):
        yield from ((f".{name}", getattr(value, name), t) for name, t in fields_of(type_).items())
    elif is_dictionary(type_):
        yield from _named_parts(value, type_)
    else:
        yield from _container_parts(value, type_)


def _plain_parts(value: Any, type_: Any) -> Iterator[_Part]:
    if is_union(type_):
        yield from _tagged_parts(value, type_)
    elif is_class(type_) or is_dictionary(type_):
        yield from _named_parts(value, type_)
    else:
        yield from _container_parts(value, type_)


def _named_parts(value: Any, type_: Any) -> Iterator[_Part]:
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        yield from ((f".{name}", fields[name], t) for name, t in fields_of(type_).items() if name in fields)


def _tagged_parts(value: Any, type_: Any) -> Iterator[_Part]:
    members = _members(type_)
    if len(members) == 1:
        yield "", value, members[0]
    elif isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        rest = {name: part for name, part in fields.items() if name != TAG}
        for member in members:
            if runtime_class(member).__name__ == fields.get(TAG):
                if is_class(member):
                    yield "", rest, member
                elif VALUE in rest and len(rest) == 1:
                    yield "", rest[VALUE], member


def _container_parts(value: Any, type_: Any) -> Iterator[_Part]:
    origin: Any = value.__class__ if is_json(type_) else get_origin(type_) or type_
    arguments = get_args(type_)
    if origin in MAPPINGS and is_a(value, Mapping):
        of = arguments[1] if arguments else Any
        yield from ((f".{key.value if is_a(key, Enum) else key}", item, of) for key, item in value.items())
    elif isinstance(value, list | tuple | set | frozenset) and origin in LISTS + TUPLES + SETS:
        items = list(cast("list[Any]", value))
        same = len(arguments) < 2 or arguments[1] is ...
        types = [arguments[0] if arguments else Any] * len(items) if same else arguments
        yield from ((f"[{n}]", item, t) for n, (item, t) in enumerate(zip(items, types, strict=False)))


def _members(type_: Any) -> list[Any]:
    return [member for member in members_of(type_) if member not in (None, NoneType)]
