"""The transaction of effects where there is no store's database: recorded, or on a connection of the test's own."""

from __future__ import annotations

from typing import Any, Protocol, final

from milepost.effects import Parameters, Statement


class DatabaseCursor(Protocol):
    """What is needed of a cursor of Python's database interface."""

    @property
    def description(self) -> Any:
        """None for a statement that gives no rows."""
        ...

    def execute(self, sql: Any, parameters: Any = ..., /) -> Any:
        """Run a statement."""
        ...

    def fetchall(self) -> Any:
        """The rows that are left."""
        ...


class DatabaseConnection(Protocol):
    """What is needed of a connection of Python's database interface, as sqlite3 and psycopg have them."""

    def cursor(self) -> Any:
        """A fresh `DatabaseCursor`."""
        ...

    def commit(self) -> Any:
        """Keep what was done."""
        ...

    def rollback(self) -> Any:
        """Undo what was done."""
        ...


@final
class EffectsTransaction:
    """Statements count, and are done on the connection if there is one, only once they are committed."""

    def __init__(self, connection: DatabaseConnection | None) -> None:
        self.committed: list[Statement] = []
        self._connection = connection
        self._open: list[Statement] = []

    @property
    def connection(self) -> Any:
        """The test's own connection, or None."""
        return self._connection

    def execute(self, sql: str, parameters: Parameters = ()) -> list[tuple[Any, ...]]:
        """Run the statement; without a connection there are no rows."""
        self._open.append(Statement(sql, parameters))
        if self._connection is None:
            return []
        cursor: DatabaseCursor = self._connection.cursor()
        cursor.execute(sql, parameters)
        return [] if cursor.description is None else [tuple(row) for row in cursor.fetchall()]

    def commit(self) -> None:
        """Keep it."""
        if self._connection is not None:
            self._connection.commit()
        self.committed, self._open = self._open, []

    def roll_back(self) -> None:
        """Undo what is not committed."""
        if self._open and self._connection is not None:
            self._connection.rollback()
        self._open = []
