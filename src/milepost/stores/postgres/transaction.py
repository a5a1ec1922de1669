"""What user code sees of a PostgreSQL transaction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, cast, final

import psycopg
from psycopg.rows import tuple_row

from milepost.effects import Parameters

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"


@final
class PostgresTransaction:
    """psycopg's connection, and psycopg's own exceptions; only while the session lasts that gives it."""

    def __init__(self, connection: Callable[[], Connection]) -> None:
        self._connection = connection

    @property
    def connection(self) -> Connection:
        """The psycopg connection."""
        return self._connection()

    def execute(self, sql: str, parameters: Parameters = ()) -> list[tuple[Any, ...]]:
        """Run one statement with psycopg's placeholders and return all its rows."""
        with psycopg.Cursor(self._connection(), row_factory=tuple_row) as cursor:
            cursor.execute(sql.encode(), cast("Any", parameters) or None)
            return cursor.fetchall() if cursor.description is not None else []
