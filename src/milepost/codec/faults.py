"""Where in a value the fault is. Runs only after a codec has failed, so it may take its time.

Walks value and type together and goes down to the first part that fails by itself. Of a type with secrets nothing is
quoted, and nothing inside a secret is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Any, TypeAlias, cast, final, get_args, get_origin

from attrs import frozen
from cattrs import Converter
from cattrs.errors import ForbiddenExtraKeysError

from milepost.codec.converters import TAG, VALUE
from milepost.codec.scalars import WrongValue
from milepost.codec.secrets import has_secrets, secret_fields
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
    required_fields,
    runtime_class,
    unwrapped,
)
from milepost.kinds import is_a
from milepost.payload import PAYLOAD_DEPTH_MAX, PayloadRefused, legible, storable_text

_Step: TypeAlias = tuple[str, str]
"""From a value to a part of it: in this value, as `[3]`, and in all values of the type, as `[]`."""
_Part: TypeAlias = tuple[_Step, Any, Any]
_HERE = ("", "")
_NAMES_CHARACTERS_MAX = 200
_SECRET = "a secret field does not take it"


@final
@frozen
class Fault:
    """What is wrong with a value and where.

    `field` and `problem` are `path` and `reason` without anything that is this value's own: the same for many values.
    """

    path: str
    field: str
    reason: str
    problem: str

    @property
    def refusal(self) -> PayloadRefused:
        """As it is told."""
        return PayloadRefused(self.path, self.reason)


@final
@frozen
class _Why:
    reason: str
    problem: str


def locate_encoding(converter: Converter, value: object, type_: Any) -> Fault:
    """The deepest part of `value` that cannot be encoded as its declared type, and why."""
    return _locate(lambda part, of: converter.unstructure(part, of), _value_parts, value, type_)


def locate_decoding(converter: Converter, plain: object, type_: Any) -> Fault:
    """The deepest part of the JSON value `plain` that cannot be decoded as its declared type, and why."""
    return _locate(lambda part, of: converter.structure(part, of), _plain_parts, plain, type_)


def _locate(
    convert: Callable[[Any, Any], object], parts: Callable[[Any, Any], Iterator[_Part]], value: Any, type_: Any
) -> Fault:
    path, field, depth = "$", "$", 0
    why = _Why("is not a value of its type", "is not a value of its type")
    discreet = has_secrets(type_)
    searching = True
    while searching:
        if depth > PAYLOAD_DEPTH_MAX:  # it may go on for ever, or for longer than anybody wants to wait
            too_deep = f"nested deeper than {PAYLOAD_DEPTH_MAX} levels"
            why = _Why(too_deep, too_deep)
            break
        why = _why(convert, value, type_) or why
        searching = False
        whole = unwrapped(type_)
        for (step, kind), part, part_type in _sound(parts(value, whole)):
            if _why(convert, part, part_type) is not None:
                path, field = path + step, field + kind
                value, type_, searching = part, part_type, True
                depth += bool(step)
                if step.removeprefix(".") in secret_fields(whole):
                    why, searching = _Why(_SECRET, _SECRET), False
                break
    return Fault(storable_text(path), storable_text(field), why.problem if discreet else why.reason, why.problem)


def _sound(parts: Iterator[_Part]) -> Iterator[_Part]:
    """The parts up to the first that cannot even be looked at: properties and mappings of users may raise anything."""
    try:
        yield from parts
    except Exception:
        return


def _why(convert: Callable[[Any, Any], object], value: Any, type_: Any) -> _Why | None:
    try:
        convert(value, type_)
    except (ForbiddenExtraKeysError, KeyError) as error:
        told = _misfit(error, value, unwrapped(type_))
        # A validator may raise a KeyError too, with a value in it.
        return (
            _Why(f"lacks the field {legible(error)}", _refused_by(type_, error)) if told is None else _Why(told, told)
        )
    except RecursionError:
        return _Why("nested too deep", "nested too deep")
    except WrongValue as error:
        return _Why(legible(error), storable_text(error.bare))
    except Exception as error:
        return _Why(legible(error), _refused_by(type_, error))
    return None


def _misfit(error: ForbiddenExtraKeysError | KeyError, value: Any, type_: Any) -> str | None:
    """What of the fields of an object is missing or unknown: a renamed field is both. None where that is not why."""
    if not (is_class(type_) or is_dictionary(type_)) or not is_a(value, dict):
        return None
    known, there = fields_of(type_), cast("dict[str, Any]", value)
    if isinstance(error, KeyError) and error.args[:1] not in [(name,) for name in known]:
        return None
    missing = [name for name in required_fields(type_) if name not in there]
    unknown = storable_text(", ".join(sorted(there.keys() - known.keys()))[:_NAMES_CHARACTERS_MAX])
    name = (get_origin(type_) or type_).__name__
    lacks = [f"lacks the field {missing[0]!r}"] if missing else []
    has = [f"has fields that {name} does not know: {unknown}"] if unknown else []
    return ", and ".join(lacks + has) or None


def _refused_by(type_: Any, error: Exception) -> str:
    name = getattr(unwrapped(type_), "__qualname__", None) or str(unwrapped(type_))
    return f"{name} does not take it: {type(error).__name__}"


def _value_parts(value: Any, type_: Any) -> Iterator[_Part]:
    if is_union(type_):
        yield from ((_HERE, value, member) for member in _members(type_) if runtime_class(member) is type(value))
    elif is_class(type_) and type(value) is (get_origin(type_) or type_):
        yield from ((_named(name), getattr(value, name), t) for name, t in fields_of(type_).items())
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
        yield from ((_named(name), fields[name], t) for name, t in fields_of(type_).items() if name in fields)


def _named(field: str) -> _Step:
    return f".{field}", f".{field}"


def _tagged_parts(value: Any, type_: Any) -> Iterator[_Part]:
    members = _members(type_)
    if len(members) == 1:
        yield _HERE, value, members[0]
    elif isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        rest = {name: part for name, part in fields.items() if name != TAG}
        for member in members:
            if runtime_class(member).__name__ == fields.get(TAG):
                if is_class(member):
                    yield _HERE, rest, member
                elif VALUE in rest and len(rest) == 1:
                    yield _HERE, rest[VALUE], member


def _container_parts(value: Any, type_: Any) -> Iterator[_Part]:
    origin: Any = value.__class__ if is_json(type_) else get_origin(type_) or type_
    arguments = get_args(type_)
    if origin in MAPPINGS and is_a(value, Mapping):
        of = arguments[1] if arguments else Any
        yield from (((f".{key.value if is_a(key, Enum) else key}", ".*"), item, of) for key, item in value.items())
    elif isinstance(value, list | tuple | set | frozenset) and origin in LISTS + TUPLES + SETS:
        items = list(cast("list[Any]", value))
        same = len(arguments) < 2 or arguments[1] is ...
        types = [arguments[0] if arguments else Any] * len(items) if same else arguments
        yield from (((f"[{n}]", "[]"), item, t) for n, (item, t) in enumerate(zip(items, types, strict=False)))


def _members(type_: Any) -> list[Any]:
    return [member for member in members_of(type_) if member not in (None, NoneType)]
