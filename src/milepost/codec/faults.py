"""Where in a value the fault is. Runs only after a codec has failed, so it may take its time.

Walks value and type together and goes down to the first part that fails by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias, cast, get_args, get_origin

from cattrs import Converter
from cattrs.errors import ForbiddenExtraKeysError

from milepost.codec.converters import TAG, VALUE
from milepost.codec.scalars import is_a
from milepost.codec.usable import LISTS, MAPPINGS, SETS, TUPLES, fields_of, is_class, is_union, runtime_class, unwrapped
from milepost.payload import PayloadRefused

_Part: TypeAlias = tuple[str, Any, Any]


def locate_encoding(converter: Converter, value: object, type_: Any) -> PayloadRefused:
    """The deepest part of `value` that cannot be encoded as its declared type, and why."""
    return _locate(lambda part, of: converter.unstructure(part, of), _value_parts, value, type_)


def locate_decoding(converter: Converter, plain: object, type_: Any) -> PayloadRefused:
    """The deepest part of the JSON value `plain` that cannot be decoded as its declared type, and why."""
    return _locate(lambda part, of: converter.structure(part, of), _plain_parts, plain, type_)


def _locate(
    convert: Callable[[Any, Any], object], parts: Callable[[Any, Any], Iterator[_Part]], value: Any, type_: Any
) -> PayloadRefused:
    path, reason = "$", "is not a value of its type"
    searching = True
    while searching:
        reason = _why(convert, value, type_) or reason
        searching = False
        for step, part, part_type in parts(value, unwrapped(type_)):
            if _why(convert, part, part_type) is not None:
                path, value, type_, searching = path + step, part, part_type, True
                break
    return PayloadRefused(path, reason)


def _why(convert: Callable[[Any, Any], object], value: Any, type_: Any) -> str | None:
    try:
        convert(value, type_)
    except ForbiddenExtraKeysError as error:
        return f"has fields that {error.cl.__name__} does not know: {', '.join(sorted(error.extra_fields))}"
    except KeyError as error:
        return f"lacks the field {error.args[0]!r}"
    except RecursionError:
        return "nested too deep"
    except Exception as error:
        return f"{error}" or type(error).__name__
    return None


def _value_parts(value: Any, type_: Any) -> Iterator[_Part]:
    if is_union(type_):
        yield from (("", value, member) for member in _members(type_) if runtime_class(member) is type(value))
    elif is_class(type_) and type(value) is (get_origin(type_) or type_):
        yield from ((f".{name}", getattr(value, name), t) for name, t in fields_of(type_).items())
    else:
        yield from _container_parts(value, type_)


def _plain_parts(value: Any, type_: Any) -> Iterator[_Part]:
    if is_union(type_):
        yield from _tagged_parts(value, type_)
    elif is_class(type_) and isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        yield from ((f".{name}", fields[name], t) for name, t in fields_of(type_).items() if name in fields)
    else:
        yield from _container_parts(value, type_)


def _tagged_parts(value: Any, type_: Any) -> Iterator[_Part]:
    members = _members(type_)
    if len(members) == 1:
        yield "", value, members[0]
    elif isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        rest = {name: part for name, part in fields.items() if name != TAG}
        for member in members:
            if runtime_class(member).__name__ == fields.get(TAG):
                yield "", rest if is_class(member) else rest.get(VALUE), member


def _container_parts(value: Any, type_: Any) -> Iterator[_Part]:
    origin, arguments = get_origin(type_) or type_, get_args(type_)
    if origin in MAPPINGS and is_a(value, Mapping):
        of = arguments[1] if arguments else Any
        yield from ((f".{key}", item, of) for key, item in value.items())
    elif isinstance(value, list | tuple | set | frozenset) and origin in LISTS + TUPLES + SETS:
        items = list(cast("list[Any]", value))
        same = len(arguments) < 2 or arguments[1] is ...
        types = [arguments[0] if arguments else Any] * len(items) if same else arguments
        yield from ((f"[{n}]", item, t) for n, (item, t) in enumerate(zip(items, types, strict=False)))


def _members(type_: Any) -> list[Any]:
    return [member for member in get_args(type_) if member not in (None, type(None))]
