"""The types of a task that is made out of others: unions of theirs, and whether one task takes what another gives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Never, Union, get_args, get_origin

from milepost.codec.usable import is_json, is_union, members_of, runtime_class, unwrapped
from milepost.flows.progress import SagaFailed
from milepost.tasks import AnyTask


def either(types: Iterable[Any]) -> Any:
    """The union of `types`; what several sagas fail with is one `SagaFailed`, which codecs could not tell apart else.

    >>> either([int, str | None, Never, int])
    typing.Union[int, str, NoneType]
    """
    members = dict.fromkeys(member for type_ in types for member in _members(type_))
    failed = [member for member in members if get_origin(member) is SagaFailed]
    plain = [member for member in members if member not in failed]
    if failed:
        saga_failed: Any = SagaFailed
        plain.append(saga_failed[either(get_args(each)[0] for each in failed)])
    return Union[tuple(plain)] if plain else Never  # noqa: UP007 (the members are known at run time only)


def misfit(giving: AnyTask, taking: AnyTask) -> str | None:
    """Why `taking` cannot have a result of `giving` as its metadata; None where it can, as far as the types tell."""
    given, taken = _members(giving.types.result), _members(taking.types.metadata)
    if any(is_json(each) for each in taken):
        return None
    classes = {runtime_class(each) for each in taken}
    unfit = [each for each in given if is_json(each) or not _fits(runtime_class(each), classes)]
    if not unfit:
        return None
    return (
        f"{taking.name!r} takes {_told(taking.types.metadata)}, and {giving.name!r} gives {_told(giving.types.result)}"
    )


def _fits(given: type[Any], classes: set[type[Any]]) -> bool:
    # Codecs take an int where a float is declared, and nothing else in the place of another class.
    return given in classes or (given is int and float in classes)


def _members(type_: Any) -> list[Any]:
    return list(_each(type_))


def _each(type_: Any) -> Iterator[Any]:
    plain = unwrapped(type_)
    if is_union(plain):
        yield from map(unwrapped, members_of(plain))
    elif plain is not Never:
        yield plain


def _told(type_: Any) -> str:
    return type_.__qualname__ if isinstance(type_, type) and not get_args(type_) else str(type_)
