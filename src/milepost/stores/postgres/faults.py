"""PostgreSQL's error codes as milepost's exceptions, each with what happened and what to do.

What user code runs in a transaction keeps psycopg's own exceptions; only statements of milepost's own end here.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Final

import psycopg

from milepost.errors import (
    CommitUnknown,
    SchemaOld,
    StoreBusy,
    StoreDamaged,
    StoreError,
    StoreFull,
    StoreReadOnly,
    StoreUnreachable,
)

_SERIALIZATION_FAILURE, _DEADLOCK, _UNIQUE_VIOLATION = "40001", "40P01", "23505"

_MISFIT: Final = "a value cannot be stored: {}; integers have 64 bits, text has no NUL and no lone surrogates"
_LOST: Final = "the connection to PostgreSQL was lost; nothing of the call was written"

# The longest prefix of the code that is listed here decides.
_MEANINGS: Final[Mapping[str, tuple[type[StoreError], str]]] = MappingProxyType(
    {
        "08": (StoreUnreachable, _LOST),
        "22": (StoreError, "a value cannot be stored"),
        "23": (StoreError, "PostgreSQL refused a row"),
        "25006": (StoreReadOnly, "PostgreSQL can only be read: a standby, or default_transaction_read_only is on"),
        "25P03": (StoreUnreachable, "the transaction was idle for longer than idle_in_transaction_session_timeout"),
        "28": (StoreUnreachable, "PostgreSQL refused the login; check user, password and pg_hba.conf"),
        "3D": (StoreUnreachable, "there is no such database; create it first"),
        "3F": (SchemaOld, "milepost's schema is missing; open the store once with migrate=True"),
        "40": (StoreBusy, "the transaction met others on the same rows and was undone; try again"),
        "42501": (StoreUnreachable, "the database's user lacks a right; let its owner GRANT it"),
        "42P01": (SchemaOld, "a table of milepost's is missing; open the store once with migrate=True"),
        "42703": (SchemaOld, "a column of milepost's is missing; open the store once with migrate=True"),
        "53": (StoreUnreachable, "PostgreSQL has run out of something; see its log"),
        "53100": (StoreFull, "PostgreSQL's disk is full; make room, what was acknowledged is safe"),
        "53300": (StoreUnreachable, "PostgreSQL has no connection left; raise max_connections or lower milepost's"),
        "55P03": (StoreBusy, "a lock was not to be had within lock_timeout; end what holds it"),
        "57014": (StoreBusy, "a statement took longer than statement_timeout, or somebody cancelled it; try again"),
        "57P": (StoreUnreachable, _LOST),
        "58": (StoreUnreachable, "PostgreSQL could not use its disk; see its log"),
        "XX001": (StoreDamaged, "the database is damaged; restore it from a backup"),
        "XX002": (StoreDamaged, "an index is damaged; REINDEX it"),
    }
)


def fault_of(error: psycopg.Error) -> StoreError:
    """The exception for an error of a statement of milepost's own."""
    code = error.sqlstate
    if code is None:
        if isinstance(error, psycopg.DataError):
            return StoreError(_MISFIT.format(error))
        kind: type[StoreError] = StoreUnreachable if isinstance(error, psycopg.OperationalError) else StoreError
        return kind(f"{_LOST if kind is StoreUnreachable else 'PostgreSQL could not be asked'} ({_line(error)})")
    known = next((_MEANINGS[code[:n]] for n in (5, 3, 2) if code[:n] in _MEANINGS), None)
    if known is None:
        return StoreError(f"PostgreSQL: {_line(error)} ({code})")
    kind, meaning = known
    return kind(f"{meaning} (PostgreSQL: {_line(error)})")


@contextmanager
def translated() -> Generator[None]:
    """Around statements of milepost's own: what psycopg raises comes out as a `StoreError`."""
    try:
        yield
    except psycopg.Error as error:
        raise fault_of(error) from error
    except (OverflowError, UnicodeError) as error:
        raise StoreError(_MISFIT.format(error)) from error


def is_conflict(error: BaseException) -> bool:
    """Whether it is only that others were on the same rows, so that the same function may succeed when run again.

    A key that was free when it was looked for and is taken when it is inserted counts too; in a statement of the user's
    it does not, for that may be the effect's very point.
    """
    code = None if isinstance(error, CommitUnknown) else _sqlstate(error)
    return code in (_SERIALIZATION_FAILURE, _DEADLOCK) or (code == _UNIQUE_VIOLATION and isinstance(error, StoreError))


def _sqlstate(error: BaseException | None) -> str | None:
    while error is not None and not isinstance(error, psycopg.Error):
        error = error.__cause__
    return error.sqlstate if error is not None else None


def _line(error: Exception) -> str:
    """The message without the lines after it, which tell of rows and statements."""
    return str(error).strip().partition("\n")[0]
