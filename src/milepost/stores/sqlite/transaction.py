"""What user code sees of a SQLite transaction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

from milepost.effects import Parameters
from milepost.stores.sqlite.driver import Connection


@final
class SqliteTransaction:
    """The driver's connection, and the driver's own exceptions; only while the session lasts that gives it."""

    def __init__(self, database: Callable[[], Connection]) -> None:
        self._database = database

    @property
    def connection(self) -> Any:
        """The driver's connection."""
        return self._database().raw

    def execute(self, sql: str, parameters: Parameters = ()) -> list[tuple[Any, ...]]:
        """Run one statement and return all its rows."""
        return self._database().execute_foreign(sql, parameters)
