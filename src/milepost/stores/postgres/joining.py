"""The caller's own connection: which kinds are understood, and whether it leads to the store's database."""

from __future__ import annotations

from typing import Any, Final, TypeAlias, cast

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from milepost.errors import StoreError
from milepost.stores.postgres.faults import translated
from milepost.stores.postgres.migrations import SCHEMA_VERSION, Connection, schema_version
from milepost.stores.postgres.place import Place

Identity: TypeAlias = tuple[Any, ...]

# Which database it is, and when the schema in it was made: no two are alike in both, and anybody may ask.
_IDENTITY: Final = """
select current_database(), oid, extract(epoch from (select min(applied_at) from {}.milepost_schema))
from pg_catalog.pg_database where datname = current_database()
"""


def identity_of(connection: psycopg.Connection[Any], schema: str) -> Identity:
    """What tells one database with milepost's tables from all others."""
    query = sql.SQL(_IDENTITY).format(sql.Identifier(schema))
    with translated(), psycopg.Cursor(connection, row_factory=tuple_row) as cursor:
        return cursor.execute(query).fetchone() or ()


def joined(connection: object, place: Place) -> Connection:
    """The psycopg connection behind what the caller gave, in a transaction that it began or will begin."""
    inner = _driver_connection(connection)
    if isinstance(inner, psycopg.AsyncConnection):
        raise TypeError(
            "a psycopg.AsyncConnection cannot be joined, for milepost's verbs do not await: use a psycopg.Connection, "
            "in a thread of yours if need be"
        )
    if not isinstance(inner, psycopg.Connection):
        kind = f"{type(connection).__module__}.{type(connection).__qualname__}"
        raise TypeError(f"pass an open psycopg.Connection, or SQLAlchemy's over one, to {place.url}, not a {kind}")
    found = cast("Connection", inner)
    _check_transaction(found)
    return found


def check_home(connection: Connection, place: Place, home: Identity) -> None:
    """Refuse a connection to another database, or to one without milepost's tables."""
    version = schema_version(connection, place.schema)
    if not version or identity_of(connection, place.schema) != home:
        raise ValueError(
            f"the connection is to {connection.info.dbname!r} at {connection.info.host}, another database "
            f"than the store's: {place.url}"
        )
    if version != SCHEMA_VERSION:
        raise StoreError(f"the schema {place.schema} has version {version}, not {SCHEMA_VERSION}; open the store anew")


def _driver_connection(connection: object) -> object:
    """What SQLAlchemy's Connection wraps; its name for it is part of its public interface."""
    if isinstance(connection, psycopg.Connection | psycopg.AsyncConnection):
        return cast("object", connection)
    return getattr(getattr(connection, "connection", None), "driver_connection", connection)


def _check_transaction(connection: Connection) -> None:
    match connection.info.transaction_status:
        case TransactionStatus.INTRANS:
            return
        case TransactionStatus.IDLE if not connection.autocommit:
            return  # psycopg begins with the first statement
        case TransactionStatus.IDLE:
            raise ValueError(
                "the connection has no open transaction; begin one first, with `connection.transaction()`, so that it "
                "is all or nothing"
            )
        case TransactionStatus.INERROR:
            raise ValueError("a statement failed in the connection's transaction; roll it back first")
        case TransactionStatus.ACTIVE:
            raise ValueError("the connection is busy with another statement; use it from one thread at a time")
        case _:
            raise ValueError("the connection is closed or lost; open a new one")
