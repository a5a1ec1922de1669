"""What a program may call things: names, keys, priorities and ids, checked where they are given."""

from __future__ import annotations

import re
from types import UnionType
from typing import TypeVar
from uuid import UUID

from milepost.codec.scalars import shown
from milepost.errors import ConfigurationError, TaskDefinitionError
from milepost.lifecycle.record import TaskId

_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,200}")
_KEY_CHARACTERS_MAX = 200

T = TypeVar("T")


def checked_name(name: str, what: str) -> str:
    """`name` itself; raises `TaskDefinitionError` unless it is 1 to 200 letters, digits, `_`, `.`, `:` or `-`."""
    if type(name) is not str or not _NAME.fullmatch(name):
        raise TaskDefinitionError(
            f"the {what} {shown(name)} is not a name: use 1 to 200 letters, digits, '_', '.', ':' or '-'"
        )
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
    if type(text) is not str or not 1 <= len(text) <= _KEY_CHARACTERS_MAX or "\0" in text or not _encodable(text):
        raise TaskDefinitionError(f"a {what} is 1 to {_KEY_CHARACTERS_MAX} characters of text, got {shown(text)}")
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


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
