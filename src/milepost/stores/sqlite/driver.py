"""The seam over the two SQLite drivers: what the store needs of a library and of a connection.

A connection here speaks lists of tuples and milepost's own exceptions; what user code runs keeps the driver's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeAlias, final

from attrs import field, frozen

from milepost.effects import Parameters

Row: TypeAlias = tuple[Any, ...]
Function: TypeAlias = Callable[..., object]


def _absolute(path: str) -> str:
    return os.path.abspath(path)


@final
@frozen
class Place:
    """A database file and how to use it: the library, whether only to read, whether it may be made or migrated."""

    path: str = field(converter=_absolute)
    library: str = "apsw"
    read_only: bool = False
    migrate: bool = True


class Connection(Protocol):
    """One connection in autocommit mode. Only one thread at a time may use it."""

    @property
    def raw(self) -> Any:
        """The driver's own connection."""
        ...

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open; SQLite rolls back by itself when the disk is full or a statement is cut."""
        ...

    @property
    def begins_by_itself(self) -> bool:
        """Whether the driver begins a transaction before a statement that writes, as sqlite3 does by default."""
        ...

    @property
    def changes(self) -> int:
        """Rows inserted, changed or deleted since the connection was opened."""
        ...

    def execute(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        """Run one statement of milepost's own and return all its rows; faults come as `StoreError`s."""
        ...

    def many(self, sql: str, rows: Iterable[Parameters]) -> None:
        """Run one statement of milepost's own, which returns no rows, for each of `rows`."""
        ...

    def each_changed(self, statements: Iterable[tuple[str, Parameters]]) -> list[bool]:
        """Run statements of milepost's own, and say of each whether it changed anything."""
        ...

    def execute_foreign(self, sql: str, parameters: Parameters) -> list[Row]:
        """Run one statement of the user's; faults are the driver's own exceptions."""
        ...

    def define(self, name: str, arguments: int, function: Function) -> None:
        """Make a deterministic function known to SQL."""
        ...

    def interrupt_when(self, overdue: Callable[[], bool] | None) -> None:
        """Cut statements once `overdue` says so; None: never."""
        ...

    def close(self) -> None:
        """Release the file. May be called twice."""
        ...


class Driver(Protocol):
    """One SQLite library."""

    @property
    def library(self) -> str:
        """Its name, as in `?driver=`."""
        ...

    @property
    def sqlite_version(self) -> tuple[int, ...]:
        """The version of SQLite inside."""
        ...

    def connect(self, place: Place) -> Connection:
        """Open the file; SQLite touches it only with the first statement."""
        ...

    def adopt(self, raw: Any) -> Connection | None:
        """The caller's own connection as one of ours; None if it is not of this library."""
        ...
