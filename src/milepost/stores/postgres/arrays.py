"""Columns of values as PostgreSQL's array literals.

psycopg writes an array element by element, in Python; what a turn writes is dozens of columns of hundreds of values.
An array of nulls alone is empty here: `unnest` fills up whatever is shorter than the longest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeAlias, cast

from milepost.errors import StoreError

_EMPTY = "{}"

Literal: TypeAlias = Callable[[Sequence[Any]], str]
"""Writes a column of values."""


def texts(values: Sequence[str | None]) -> str:
    r"""An array of texts. Raises `StoreError` for what no PostgreSQL can store.

    >>> print(texts(["a", 'say "x"', None]))
    {"a","say \"x\"",NULL}
    >>> texts([None, None])
    '{}'
    """
    nulls = values.count(None)
    if nulls == len(values):
        return _EMPTY
    if nulls:
        return f"{{{','.join('NULL' if value is None else texts([value])[1:-1] for value in values)}}}"
    # All at once: what stands between two texts here, NUL, is in none of them, or they could not be stored.
    joined = "\0".join(cast("Sequence[str]", values))
    if joined.count("\0") != len(values) - 1:
        raise StoreError("a value cannot be stored: text has no NUL in PostgreSQL; take it out")
    quoted = joined.replace("\\", "\\\\").replace('"', '\\"').replace("\0", '","')
    return f'{{"{quoted}"}}'


def numbers(values: Sequence[float | None]) -> str:
    """An array of integers or floats, exact.

    >>> numbers([1, -2]), numbers([0.1, None]), numbers([])
    ('{1,-2}', '{0.1,NULL}', '{}')
    """
    if None not in values:
        return f"{{{','.join(map(repr, values))}}}"
    return _EMPTY if values.count(None) == len(values) else _with_nulls(values)


def moments(values: Sequence[datetime | None]) -> str:
    """An array of instants, each with its zone.

    >>> moments([None])
    '{}'
    """
    if values.count(None) == len(values):
        return _EMPTY
    first = values[0]
    if first is not None and values.count(first) == len(values):
        return f"{{{','.join([_quoted(first)] * len(values))}}}"
    return f"{{{','.join('NULL' if moment is None else _quoted(moment) for moment in values)}}}"


def _with_nulls(values: Sequence[Any]) -> str:
    return f"{{{','.join('NULL' if value is None else repr(value) for value in values)}}}"


def _quoted(moment: datetime) -> str:
    return f'"{moment.isoformat()}"'
