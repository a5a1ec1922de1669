"""SQLite through the standard library's sqlite3: the same store where apsw cannot be had."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, cast, final
from urllib.parse import quote

from milepost.effects import Parameters
from milepost.stores.sqlite.driver import Connection, Function, Place, Row
from milepost.stores.sqlite.faults import MISFIT, STEPS_BETWEEN_LOOKS, fault_of, misfit


@final
class StdlibDriver:
    """Opens connections of sqlite3."""

    library = "sqlite3"

    @property
    def sqlite_version(self) -> tuple[int, ...]:
        """The version of SQLite that Python was linked with."""
        return sqlite3.sqlite_version_info

    def connect(self, place: Place) -> Connection:
        """Open the file; without `migrate` it must be there already."""
        mode = "ro" if place.read_only else "rwc" if place.migrate else "rw"
        try:
            raw = sqlite3.connect(
                f"file:{quote(place.path)}?mode={mode}",
                uri=True,
                timeout=0,
                isolation_level=None,
                check_same_thread=False,
            )
        except sqlite3.Error as error:
            raise fault_of(error, _code(error), place.path) from error
        return StdlibConnection(raw, place.path)

    def adopt(self, raw: Any) -> Connection | None:
        """A caller's `sqlite3.Connection`."""
        return StdlibConnection(raw, "the caller's database") if isinstance(raw, sqlite3.Connection) else None


@final
class StdlibConnection:
    """A `sqlite3.Connection` behind the seam."""

    def __init__(self, raw: sqlite3.Connection, path: str) -> None:
        self.raw = raw
        # A cursor of our own: a caller's connection may have a row factory, and ours must not see it.
        self._cursor = raw.cursor()
        self._cursor.row_factory = None
        self._path = path

    @property
    def in_transaction(self) -> bool:
        return self.raw.in_transaction

    @property
    def begins_by_itself(self) -> bool:
        return self.raw.isolation_level is not None

    @property
    def changes(self) -> int:
        return self.raw.total_changes

    def execute(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        try:
            return self._cursor.execute(sql, cast("Any", parameters)).fetchall()
        except sqlite3.Error as error:
            raise fault_of(error, _code(error), self._path) from error
        except MISFIT as error:
            raise misfit(error) from error

    def many(self, sql: str, rows: Iterable[Parameters]) -> None:
        try:
            self._cursor.executemany(sql, cast("Any", rows))
        except sqlite3.Error as error:
            raise fault_of(error, _code(error), self._path) from error
        except MISFIT as error:
            raise misfit(error) from error

    def each_changed(self, statements: Iterable[tuple[str, Parameters]]) -> list[bool]:
        execute = self._cursor.execute
        try:
            return [execute(sql, cast("Any", values)).rowcount > 0 for sql, values in statements]
        except sqlite3.Error as error:
            raise fault_of(error, _code(error), self._path) from error
        except MISFIT as error:
            raise misfit(error) from error

    def execute_foreign(self, sql: str, parameters: Parameters) -> list[Row]:
        cursor = self.raw.cursor()
        return cursor.execute(sql, cast("Any", parameters)).fetchall()

    def define(self, name: str, arguments: int, function: Function) -> None:
        self.raw.create_function(name, arguments, cast("Any", function), deterministic=True)

    def interrupt_when(self, overdue: Callable[[], bool] | None) -> None:
        self.raw.set_progress_handler(overdue, STEPS_BETWEEN_LOOKS)

    def close(self) -> None:
        with suppress(sqlite3.ProgrammingError):  # closed already
            self._cursor.close()  # the file stays open for as long as a cursor holds a statement
        self.raw.close()


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) or 0
