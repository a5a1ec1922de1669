"""Which types can make the journey to JSON and back unchanged, decided from the types alone.

Comes into play when a task is defined; what goes out is a sentence naming the problem, or None.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import (
    Annotated,
    Any,
    ForwardRef,
    Literal,
    Never,
    NotRequired,
    Required,
    TypeVar,
    Union,
    Unpack,
    cast,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)
from uuid import UUID

import attrs

from milepost.payload import Json
from milepost.text import shown

NoneType = type(None)
PRIMITIVES: tuple[Any, ...] = (bool, int, float, str)
SCALARS: tuple[Any, ...] = (bytes, datetime, date, time, timedelta, UUID, Decimal)
ANYTHING: tuple[Any, ...] = (Any, object)
LISTS: tuple[Any, ...] = (list, Sequence)
TUPLES: tuple[Any, ...] = (tuple,)
SETS: tuple[Any, ...] = (set, frozenset, Set)
MAPPINGS: tuple[Any, ...] = (dict, Mapping)
_JSON: tuple[Any, ...] = ("Json", Json)
_INSTEAD = "a scalar, a list, a tuple or a mapping"
_KEYS: tuple[Any, ...] = (str, int, UUID)


def problem_with(type_: Any, path: str = "") -> str | None:
    """Why values of `type_` could not be stored and read back unchanged, or None when they can.

    >>> problem_with(dict[str, list[datetime]])
    >>> problem_with(complex)
    'complex cannot be stored as JSON: use an attrs class, a scalar, a list, a tuple or a mapping'
    """
    return next(_problems(type_, path, frozenset()), None)


def is_union(type_: Any) -> bool:
    """Whether this is `A | B` in either spelling."""
    return get_origin(type_) in (Union, types.UnionType)


def is_class(type_: Any) -> bool:
    """Whether this is an attrs class or a dataclass, parametrised or not."""
    origin = get_origin(type_) or type_
    return isinstance(origin, type) and (attrs.has(origin) or dataclasses.is_dataclass(origin))


def is_enum(type_: Any) -> bool:
    """Whether this is an enumeration."""
    return isinstance(type_, type) and issubclass(type_, Enum)


def is_json(type_: Any) -> bool:
    """Whether this stands for any JSON value (as text or a forward reference it is the recursive alias `Json`)."""
    named = type_.__forward_arg__ if isinstance(type_, ForwardRef) else type_
    return named in ANYTHING or (isinstance(named, str) and named in _JSON)


def is_dictionary(type_: Any) -> bool:
    """Whether this is a TypedDict, parametrised or not."""
    return is_typeddict(get_origin(type_) or type_)


def is_alias(type_: Any) -> bool:
    """Whether this is a named alias, of `type X = ...` or of `TypeAliasType`."""
    return type(type_).__name__ == "TypeAliasType"


def unwrapped(type_: Any) -> Any:
    """Without NewType, Annotated and named aliases."""
    while True:
        if get_origin(type_) is Annotated:
            type_ = get_args(type_)[0]
        elif hasattr(type_, "__supertype__"):
            type_ = type_.__supertype__
        elif is_alias(type_):
            type_ = type_.__value__
        else:
            return type_


def members_of(union: Any) -> Iterator[Any]:
    """The members of a union, those of unions inside of it too; a Literal of several classes is one member for each."""
    for member in get_args(union):
        plain = unwrapped(member)
        if is_union(plain):
            yield from members_of(plain)
        elif get_origin(plain) is Literal:
            for cls in dict.fromkeys(map(type, get_args(plain))):
                yield Literal[tuple(value for value in get_args(plain) if type(value) is cls)]
        else:
            yield member


@lru_cache(maxsize=1_024)  # reading annotations that are text runs them, which must not wait for data to be wrong
def fields_of(type_: Any) -> Mapping[str, Any]:
    """The stored fields of a class or TypedDict with their types; NameError where one cannot be resolved."""
    origin = get_origin(type_) or type_
    if attrs.has(origin):
        if any(isinstance(f.type, str) for f in attrs.fields(origin)):
            attrs.resolve_types(origin)
        found = {f.name: f.type for f in attrs.fields(origin) if f.init}
    elif is_typeddict(origin):
        found = get_type_hints(origin)
    else:
        hints = get_type_hints(origin, include_extras=True)
        found = {f.name: hints[f.name] for f in dataclasses.fields(origin) if f.init}
    given = _type_arguments(type_)
    return {name: _filled(t, given) for name, t in found.items()} if given else found


def required_fields(type_: Any) -> list[str]:
    """The fields of a class or TypedDict that must be stored, in order."""
    origin = get_origin(type_) or type_
    if attrs.has(origin):
        return [f.name for f in attrs.fields(origin) if f.init and f.default is attrs.NOTHING]
    if is_typeddict(origin):
        marked = {key: get_origin(hint) for key, hint in get_type_hints(origin, include_extras=True).items()}
        # `__required_keys__` knows nothing of what is written in annotations that are text.
        required = (key for key, mark in marked.items() if mark is Required or key in origin.__required_keys__)
        return [key for key in required if marked[key] is not NotRequired]
    missing = dataclasses.MISSING
    fields = dataclasses.fields(origin)
    return [f.name for f in fields if f.init and f.default is missing and f.default_factory is missing]


def _type_arguments(type_: Any) -> dict[Any, Any]:
    """What each type variable of a generic class and of its bases stands for."""
    origin = get_origin(type_) or type_
    given: dict[Any, Any] = dict(zip(getattr(origin, "__parameters__", ()), get_args(type_), strict=False))
    for base in getattr(origin, "__orig_bases__", ()):
        for variable, argument in _type_arguments(base).items():
            given.setdefault(variable, _filled(argument, given))
    return given


def _filled(type_: Any, given: Mapping[Any, Any]) -> Any:
    if isinstance(type_, TypeVar):
        return given.get(type_, type_)
    variables = getattr(type_, "__parameters__", ())
    if not variables or isinstance(type_, type):
        return type_
    return type_[tuple(given.get(variable, variable) for variable in variables)]


def resolve_classes(type_: Any, names: Mapping[str, Any]) -> None:
    """Resolve the text annotations of every attrs class in `type_` with the help of `names`, where they need it."""
    for part in parts_of(type_):
        if attrs.has(part) and any(isinstance(f.type, str) for f in attrs.fields(part)):
            with suppress(NameError):  # told with its place by `problem_with`
                attrs.resolve_types(part, localns=dict(names))


def parts_of(type_: Any) -> Iterator[Any]:
    """The types that are used in `type_`, without parameters; a class comes before the types of its fields."""
    pending, seen = [type_], set[Any]()
    while pending:
        each = pending.pop()
        if is_alias(each):  # it may be in itself
            if each in seen:
                continue
            seen.add(each)
        plain = unwrapped(each)
        origin = get_origin(plain) or plain
        pending.extend(() if origin is Literal else get_args(plain))
        if is_enum(origin):
            yield origin
        elif (is_class(origin) or is_dictionary(origin)) and origin not in seen:
            seen.add(origin)
            yield origin
            with suppress(NameError):
                pending.extend(fields_of(origin).values())


def runtime_class(type_: Any) -> type[Any]:
    """The class that values of a union's member have."""
    type_ = unwrapped(type_)
    if get_origin(type_) is Literal:
        return cast("type[Any]", get_args(type_)[0].__class__)
    if is_dictionary(type_):
        return dict
    origin = get_origin(type_) or type_
    if origin is Set:
        return frozenset
    if origin in LISTS:
        return list
    if origin in MAPPINGS:
        return dict
    return NoneType if origin is None else cast("type[Any]", origin)


def _problems(type_: Any, path: str, seen: frozenset[Any]) -> Iterator[str]:
    if is_alias(type_):
        if type_ in seen:
            return
        seen |= {type_}
    type_ = unwrapped(type_)
    origin, arguments = get_origin(type_), get_args(type_)
    bare = origin or type_
    if type_ in (None, NoneType, Never) or is_json(type_) or type_ in PRIMITIVES or type_ in SCALARS or type_ in seen:
        return
    if is_union(type_):
        yield from _union_problems(type_, path, seen)
    elif is_enum(type_):
        if not all(type(member.value) in (str, int) for member in type_):
            yield _say(path, f"the enum {type_.__name__} has values that are neither text nor integers")
    elif origin is Literal:
        if not all(type(value) in (str, int, bool) for value in arguments):
            yield _say(path, f"{type_} holds values that are neither text, integers nor booleans")
    elif is_class(type_) or is_dictionary(type_):
        yield from _field_problems(type_, path, seen | {type_})
    elif bare in MAPPINGS:
        yield from _mapping_problems(arguments, path, seen)
    elif bare in LISTS or bare in TUPLES or bare in SETS:
        for argument in arguments:
            if getattr(argument, "__unpacked__", False) or get_origin(argument) is Unpack:
                yield _say(path, f"{type_} has both a fixed and an open part: use a list for the open one")
            elif argument is not ...:
                yield from _problems(argument, f"{path}[]", seen)
    elif isinstance(type_, TypeVar):
        yield _say(path, f"the type variable {type_} stands for no type yet: write a concrete one")
    else:
        name = getattr(type_, "__qualname__", None) or shown(type_)
        yield _say(
            path,
            f"{name} cannot be stored as JSON: use an attrs class, {_INSTEAD}",
        )


def _union_problems(union: Any, path: str, seen: frozenset[Any]) -> Iterator[str]:
    names: dict[str, Any] = {}
    members = [member for member in members_of(union) if unwrapped(member) not in (None, NoneType)]
    for member in members:
        if len(members) > 1 and is_json(unwrapped(member)):
            yield _say(path, f"{union} holds anything at all, so its members cannot be told apart: use Any alone")
            return
        yield from _problems(member, path, seen)
        name = runtime_class(member).__name__
        if name in names:
            yield _say(path, f"the members {names[name]} and {member} of a union cannot be told apart: both are {name}")
        names[name] = member


def _field_problems(type_: Any, path: str, seen: frozenset[Any]) -> Iterator[str]:
    name = getattr(get_origin(type_) or type_, "__qualname__", str(type_))
    try:
        fields = fields_of(type_)
    except NameError as error:
        yield _say(
            path, f"a field of {name} has an annotation that cannot be resolved ({error}): import the name it uses"
        )
        return
    for field_name, field_type in fields.items():
        where = f"{path}.{field_name}" if path else f"{name}.{field_name}"
        if field_type is None and attrs.has(get_origin(type_) or type_):
            yield _say(where, "has no annotation: write its type")
        else:
            yield from _problems(field_type, where, seen)


def _has_integers(enum: Any) -> bool:
    return any(type(member.value) is int for member in enum)


def _mapping_problems(arguments: tuple[Any, ...], path: str, seen: frozenset[Any]) -> Iterator[str]:
    if not arguments:
        return
    key = unwrapped(arguments[0])
    if key not in _KEYS and not is_enum(key) and not is_json(key):
        yield _say(path, f"{key} cannot be the key of a stored mapping: use str, int, UUID or an enum")
    elif is_enum(key) and any(type(member.value) is str for member in key) and _has_integers(key):
        yield _say(path, f"the enum {key.__name__} has both text and integers, which are the same as a key: use one")
    yield from _problems(arguments[1], f"{path}[]", seen)


def _say(path: str, problem: str) -> str:
    return f"{path}: {problem}" if path else problem
