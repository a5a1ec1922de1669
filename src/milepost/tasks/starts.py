"""What a request starts from that brings no execution metadata: the defaults of its type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from milepost.codec.usable import is_union, unwrapped
from milepost.errors import TaskDefinitionError
from milepost.payload import legible

if TYPE_CHECKING:
    from milepost.tasks.definition import AnyTask

_CONSTANTS = frozenset({type(None), bool, int, float, str})


def defaults_of(task: AnyTask) -> object:
    """The execution metadata of a request that brings none."""
    kind = task.types.execution_metadata
    if kind in (None, type(None)):
        return None
    try:
        return kind()
    except Exception as error:  # a class of the user's, which may refuse its own defaults in its own way
        told = type(error).__name__ if task.has_secrets else legible(error)
        raise TaskDefinitionError(
            f"{task.name!r} cannot start without execution metadata, {_told_kind(kind, told)}: "
            "add .with_execution_metadata(...) to the request"
        ) from None


def _told_kind(kind: Any, told: str) -> str:
    # What Python says of the call of a union helps nobody.
    if is_union(unwrapped(kind)):
        return f"{kind} is a union and has no default"
    return f"{kind} has no defaults for all of it ({told})"


def has_constant_defaults(kind: Any) -> bool:
    """Whether a call without arguments gives the same value each time: an attrs class in which nothing computes."""
    return (
        isinstance(kind, type)
        and "__attrs_attrs__" in vars(kind)
        and not any(hasattr(kind, hook) for hook in ("__attrs_init__", "__attrs_pre_init__", "__attrs_post_init__"))
        and all(
            type(each.default) in _CONSTANTS and each.converter is None and each.validator is None
            for each in attrs.fields(kind)
        )
    )
