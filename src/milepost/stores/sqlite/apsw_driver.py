"""SQLite through apsw, which brings its own current SQLite: the default driver."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, final

import apsw

from milepost.effects import Parameters
from milepost.stores.sqlite.driver import Connection, Function, Place, Row
from milepost.stores.sqlite.faults import MISFIT, STEPS_BETWEEN_LOOKS, fault_of, misfit

# apsw keeps prepared statements in a ring, in which every execution, also of the same statement, moves on by one place
# and drops what was there. A turn executes a few statements once for each task, and must not lose the others by that.
_STATEMENTS_KEPT = 512


@final
class ApswDriver:
    """Opens connections of apsw."""

    library = "apsw"

    @property
    def sqlite_version(self) -> tuple[int, ...]:
        """The version of SQLite that apsw was built with."""
        return tuple(int(part) for part in apsw.sqlite_lib_version().split("."))

    def connect(self, place: Place) -> Connection:
        """Open the file; without `migrate` it must be there already."""
        flags = apsw.SQLITE_OPEN_READONLY if place.read_only else apsw.SQLITE_OPEN_READWRITE
        if place.migrate and not place.read_only:
            flags |= apsw.SQLITE_OPEN_CREATE
        try:
            raw = apsw.Connection(place.path, flags=flags, statementcachesize=_STATEMENTS_KEPT)
        except apsw.Error as error:
            raise fault_of(error, _code(error), place.path) from error
        # Plans shall not depend on parameters: this build would prepare most statements anew at each execution.
        raw.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
        return ApswConnection(raw)

    def adopt(self, raw: Any) -> Connection | None:
        """A caller's `apsw.Connection`."""
        return ApswConnection(raw) if isinstance(raw, apsw.Connection) else None


@final
class ApswConnection:
    """An `apsw.Connection` behind the seam."""

    def __init__(self, raw: apsw.Connection) -> None:
        # Untyped: apsw's own types for what SQL takes and returns name classes that it does not define.
        self.raw: Any = raw
        # A cursor of our own: a caller's connection may have a row trace, and a cursor whose trace is None has none.
        self._cursor: Any = raw.cursor()
        self._cursor.row_trace = None
        self._path: str = raw.filename

    @property
    def in_transaction(self) -> bool:
        return bool(self.raw.in_transaction)

    @property
    def begins_by_itself(self) -> bool:
        return False

    @property
    def changes(self) -> int:
        return int(self.raw.total_changes())

    def execute(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        try:
            rows: list[Row] = self._cursor.execute(sql, parameters).fetchall()
        except apsw.Error as error:
            raise fault_of(error, _code(error), self._path) from error
        except MISFIT as error:
            raise misfit(error) from error
        return rows

    def many(self, sql: str, rows: Iterable[Parameters]) -> None:
        try:
            self._cursor.executemany(sql, rows)
        except apsw.Error as error:
            raise fault_of(error, _code(error), self._path) from error
        except MISFIT as error:
            raise misfit(error) from error

    def each_changed(self, statements: Iterable[tuple[str, Parameters]]) -> list[bool]:
        execute, changes = self._cursor.execute, self.raw.changes
        answers: list[bool] = []
        try:
            for sql, values in statements:
                execute(sql, values)
                answers.append(changes() > 0)
        except apsw.Error as error:
            raise fault_of(error, _code(error), self._path) from error
        except MISFIT as error:
            raise misfit(error) from error
        return answers

    def execute_foreign(self, sql: str, parameters: Parameters) -> list[Row]:
        rows: list[Row] = self.raw.cursor().execute(sql, parameters).fetchall()
        return rows

    def define(self, name: str, arguments: int, function: Function) -> None:
        self.raw.create_scalar_function(name, function, arguments, deterministic=True)

    def interrupt_when(self, overdue: Callable[[], bool] | None) -> None:
        self.raw.set_progress_handler(overdue, STEPS_BETWEEN_LOOKS)

    def close(self) -> None:
        self.raw.close(True)


def _code(error: apsw.Error) -> int:
    return getattr(error, "extendedresult", 0) or getattr(error, "result", 0) or 0
