"""Nonsense for every column of every table, dealt so that each row of a victim has one damaged field."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, Final, Protocol, final

import apsw
import psycopg
from attrs import frozen

from tests.hostile.world import Lived

TEXTS: Final = (
    "",
    "dreaming",
    "../../etc/passwd",
    "'; drop table milepost_task; --",
    "\x1b[31m\u202e<script>{0.__class__}%s",
    "9" * 5_000,
)
JSON: Final = (
    "null",
    "[]",
    "{}",
    '"text"',
    "9" * 5_000,
    "1e400",
    "[" * 2_000 + "]" * 2_000,
    '{"kind": "meteor", "type": "os.system"}',
    '{"a": 1, "a": 2}',
)
TORN: Final = (r'"\u0000\ud800"', '{"torn', "", "\x00", "NaN", "\ufeff{}")
"""What only a column of text holds in the place of JSON."""

SMALL: Final = (0, -1, 2**31 - 1, -(2**31))
LARGE: Final = (*SMALL, 2**63 - 1, -(2**63))
REAL: Final = (0.0, -1.0, 1e308, float("inf"), float("-inf"))
MOMENTS: Final = ("infinity", "-infinity", "4713-01-01 00:00:00+00 BC", "294276-01-01 00:00:00+00", "0001-01-01")
COUNTED_ON: Final = (("milepost_task", "revision"), ("milepost_task", "failures"))
"""What every change of a task adds one to, and so must leave room for it."""

NEVER_DUE: Final = ("milepost_task", "due_at")
"""A time here makes any row due, an ended one too, whose claim the conditions of its table then refuse."""

VICTIMS: Final = {
    "milepost_task": "id = any_of",
    "milepost_history": "task = any_of",
    "milepost_log": "task = any_of",
    "milepost_child": "parent = any_of",
    "milepost_lease": "executor like 'victim%'",
    "milepost_queue": "name like 'victim%'",
    "milepost_rate": "true",
    "milepost_schedule": "key like 'victim%'",
    "milepost_event": "key like 'victim%'",
}
"""Which rows of each table are damaged. What has one row for all, the clock and the schema, has tests of its own."""


@final
@frozen
class Column:
    """A column, and what it is overwritten with."""

    table: str
    name: str
    nonsense: tuple[object, ...]


@final
@frozen
class Damage:
    """One field to overwrite."""

    column: Column
    value: object

    def __str__(self) -> str:
        return f"{self.column.table}.{self.column.name} = {self.value!r:.60}"


class Rows(Protocol):
    """A database of milepost's, seen from below."""

    def columns(self) -> list[Column]:
        """Every column of every table in `VICTIMS`."""
        ...

    def keys(self, table: str, lived: Lived) -> list[Any]:
        """What names the rows of the victims."""
        ...

    def overwrite(self, damage: Damage, key: Any) -> bool:
        """Do it; False where the database refuses it."""
        ...


def dealt(columns: Sequence[Column], rows: dict[str, int], seed: int) -> list[list[tuple[int, Damage]]]:
    """Cases, each with damage for rows by number: every value of every column comes once."""
    cases: list[list[tuple[int, Damage]]] = []
    order = random.Random(seed)
    for table, many in rows.items():
        whole = [Damage(column, value) for column in columns if column.table == table for value in column.nonsense]
        order.shuffle(whole)
        for place, damage in enumerate(whole):
            case, row = divmod(place, many)
            if case == len(cases):
                cases.append([])
            cases[case].append((row, damage))
    return cases


@final
@frozen
class SqliteRows:
    """A SQLite file."""

    database: Any

    @classmethod
    def at(cls, path: str) -> SqliteRows:
        """The file, which may be written."""
        return cls(apsw.Connection(path))

    def columns(self) -> list[Column]:
        """Every column of every table in `VICTIMS`."""
        return [
            Column(table, str(name), (*_nonsense(table, str(name), str(kind)), *(() if needed else (None,))))
            for table in VICTIMS
            for _, name, kind, needed, *_ in self.database.execute(f"pragma table_info({table})")
        ]

    def keys(self, table: str, lived: Lived) -> list[Any]:
        """The primary keys of the rows of the victims."""
        which = VICTIMS[table].replace("= any_of", f"in ({', '.join('?' for _ in lived.victims)})")
        wanted = lived.victims if "?" in which else ()
        keys: list[Any] = self.database.execute(
            f"select {', '.join(self._key(table))} from {table} where {which}", wanted
        ).fetchall()
        return keys

    def overwrite(self, damage: Damage, key: Any) -> bool:
        """Do it; False where the database refuses it."""
        table, name = damage.column.table, damage.column.name
        which = " and ".join(f"{part} = ?" for part in self._key(table))
        try:
            self.database.execute(f"update {table} set {name} = ? where {which}", (damage.value, *key))
        except (apsw.ConstraintError, apsw.MismatchError):
            return False
        return True

    def _key(self, table: str) -> list[str]:
        return [str(row[1]) for row in self.database.execute(f"pragma table_info({table})") if row[5]]


@final
@frozen
class PostgresRows:
    """A PostgreSQL database, over a connection that commits each statement."""

    database: psycopg.Connection[Any]

    def columns(self) -> list[Column]:
        """Every column of every table in `VICTIMS`."""
        found = self.database.execute(
            "select table_name, column_name, data_type, is_nullable, is_identity from information_schema.columns"
            " where table_schema = 'milepost' order by table_name, ordinal_position"
        )
        return [
            Column(table, name, (*_nonsense(table, name, kind), *((None,) if nullable == "YES" else ())))
            for table, name, kind, nullable, identity in found
            if table in VICTIMS and identity == "NO"
        ]

    def keys(self, table: str, lived: Lived) -> list[Any]:
        """Where the rows of the victims are."""
        numbers = "select number from milepost.milepost_task where id = any(%s)"
        wanted = numbers if table in ("milepost_history", "milepost_log") else "select unnest(%s::text[])"
        which = VICTIMS[table].replace("= any_of", f"in ({wanted})")
        many = (list(lived.victims),) if "%s" in which else None
        statement = f"select ctid from milepost.{table} where {which}"
        return self.database.execute(statement.encode(), many).fetchall()

    def overwrite(self, damage: Damage, key: Any) -> bool:
        """Do it; False where the database refuses it."""
        table, name = damage.column.table, damage.column.name
        try:
            self.database.execute(
                f"update milepost.{table} set {name} = %s where ctid = %s::tid".encode(), (damage.value, *key)
            )
        except (psycopg.IntegrityError, psycopg.DataError):
            return False
        return True


def _nonsense(table: str, name: str, kind: str) -> tuple[object, ...]:
    if (table, name) == NEVER_DUE:
        return ()
    match kind.lower():
        case "text" if name == "crash" or name.endswith("_json"):
            return (*JSON, *TORN)
        case "json":
            return JSON
        case "text":
            return (*TEXTS, "\x00")
        case "integer" | "bigint" if (table, name) in COUNTED_ON:
            return LARGE[:2]
        case "integer" | "bigint":
            return LARGE
        case "real" | "double precision":
            return REAL
        case "timestamp with time zone":
            return MOMENTS
        case "array":
            return ([], [None], ["", "x\ny"])
        case _:
            raise AssertionError(f"no nonsense for {name} {kind}")
