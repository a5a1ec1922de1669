"""Fields of payloads in words that an index on an expression can answer.

Containment is decided by a function of milepost's own, for which SQLite has no index. What a part says of plain fields
is therefore said beforehand in SQL: a condition that lets through all that contain the part, and few others. Whoever
searches much has an index on the same expression (docs/how-to/steer-tasks.md), which must be written as it is here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, TypeAlias

from returns.result import Success

from milepost.payload import Json, JsonText, from_json_text

Condition: TypeAlias = tuple[str, tuple[object, ...]]

_FIELDS_MAX: Final = 8
_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_EXACT_INTEGER_MAX: Final = 2**53  # beyond, what SQLite reads and what Python reads may differ


def field_of(column: str, path: str) -> str:
    """The value at `path`, such as `order.id`, in the JSON of `column`; null where there is none, or no JSON."""
    return f"iif(json_valid({column}), json_extract({column}, '$.{path}'), null)"


def field_conditions(column: str, part: JsonText) -> Iterator[Condition]:
    """What must hold of the plain fields of whatever contains `part`."""
    match from_json_text(part):
        case Success(dict() as fields):
            for _, (path, value) in zip(range(_FIELDS_MAX), _leaves(fields, ""), strict=False):
                yield f"{field_of(column, path)} = ?", (value,)
        case _:
            return


def _leaves(fields: dict[str, Json], above: str) -> Iterator[tuple[str, str | int]]:
    for name, value in fields.items():
        path = f"{above}{name}"
        if not _PLAIN.fullmatch(name):
            continue
        match value:
            case dict():
                yield from _leaves(value, f"{path}.")
            case str():
                yield path, value
            case int() if abs(value) <= _EXACT_INTEGER_MAX:
                yield path, int(value)  # SQLite reads true as 1
            case _:
                pass
