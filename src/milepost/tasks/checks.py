"""What a program may call things, names, keys, priorities and ids, and what it may give; checked where it is given."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import UnionType
from typing import Any, Final, TypeVar
from uuid import UUID

from milepost.codec.scalars import shown
from milepost.errors import ConfigurationError, TaskDefinitionError
from milepost.lifecycle.record import TaskId
from milepost.names import KEY_RULE, NAME_RULE, is_key, is_name

T = TypeVar("T")

_POSITIONAL: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def checked_name(name: str, what: str) -> str:
    """`name` itself; raises `TaskDefinitionError` unless it is 1 to 200 letters, digits, `_`, `.`, `:` or `-`."""
    if not is_name(name):
        raise TaskDefinitionError(f"the {what} {shown(name)} is not a name: use {NAME_RULE}")
    return name


def checked_setting_name(name: str, what: str) -> str:
    """`checked_name` for settings, which raise `ConfigurationError`."""
    try:
        return checked_name(name, what)
    except TaskDefinitionError as error:
        raise ConfigurationError(str(error)) from None


def checked_priority(priority: int) -> int:
    """`priority` itself; raises `TaskDefinitionError` unless it is an integer of 32 bits."""
    if type(priority) is not int or not -(2**31) <= priority < 2**31:
        raise TaskDefinitionError(f"a priority is an integer from -2147483648 to 2147483647, got {shown(priority)}")
    return priority


def checked_text(text: str, what: str) -> str:
    """`text` itself; raises `TaskDefinitionError` unless it is 1 to 200 characters that every database holds."""
    if not is_key(text):
        raise TaskDefinitionError(f"a {what} is {KEY_RULE}, got {shown(text)}")
    return text


def checked_kind(value: T, kind: type | UnionType, wanted: str) -> T:
    """`value` itself; raises `TaskDefinitionError`, which says what is wanted, unless it is of this kind."""
    if not isinstance(value, kind):
        raise TaskDefinitionError(f"{wanted}, got {shown(value)}")
    return value


def checked_id(id: str | UUID) -> TaskId:
    """`id` as milepost writes it; raises `TaskDefinitionError` unless it is a UUID, as text in lower case."""
    try:
        text = str(id if isinstance(id, UUID) else UUID(id))
    except (ValueError, TypeError, AttributeError):  # what UUID raises for text of another form, and for no text
        text = None
    if text is None or text != str(id):
        raise TaskDefinitionError(
            f"a task's id is a UUID in lower case with hyphens, as str(uuid.uuid4()) makes it, got {shown(id)}"
        )
    return TaskId(text)


def takes_children(function: Callable[..., Any]) -> bool:
    """Whether it asks for the children. Raises `TaskDefinitionError` for other parameters."""
    found = [
        each
        for each in inspect.signature(function).parameters.values()
        if each.kind is inspect.Parameter.VAR_POSITIONAL or each.default is each.empty
    ]
    if any(each.kind not in _POSITIONAL for each in found) or len(found) not in (3, 4):
        raise TaskDefinitionError(
            f"on_outcome takes (metadata, execution_metadata, outcome), and children as a fourth if it wants them, "
            f"but {shown(function)} takes {len(found)} parameters"
        )
    return len(found) == 4
