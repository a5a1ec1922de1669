"""SQLite's result codes as milepost's exceptions, each with what happened, where, and what to do."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from milepost.errors import (
    StoreBusy,
    StoreDamaged,
    StoreError,
    StoreFull,
    StoreReadOnly,
    StoreUnreachable,
)

MISFIT: Final = (OverflowError, UnicodeError)
"""What both drivers raise for a value that SQLite cannot hold."""

STEPS_BETWEEN_LOOKS: Final = 1_000
"""Virtual machine steps between two looks at the deadline of a bounded transaction: a fraction of a millisecond."""

_PERM, _BUSY, _LOCKED, _READONLY, _IOERR, _CORRUPT, _FULL, _CANTOPEN, _PROTOCOL, _CONSTRAINT, _AUTH, _NOTADB = (
    *(3, 5, 6, 8, 10, 11),
    *(13, 14, 15, 19, 23, 26),
)

_MEANINGS: Final[Mapping[int, tuple[type[StoreError], str]]] = MappingProxyType(
    {
        _PERM: (StoreUnreachable, "may not be opened; check its permissions"),
        _BUSY: (StoreBusy, "is locked by another program; try again, or end what keeps it locked"),
        _LOCKED: (StoreBusy, "is locked by another connection; try again"),
        _PROTOCOL: (StoreBusy, "is locked by too many others at once; try again"),
        _READONLY: (StoreReadOnly, "can only be read; check its permissions, its folder's, and `mode=ro`"),
        _IOERR: (StoreUnreachable, "could not be read or written; check the disk"),
        _CORRUPT: (StoreDamaged, "is damaged; restore it from a backup or recover it with `sqlite3 FILE .recover`"),
        _NOTADB: (StoreDamaged, "is not a SQLite database; name another file"),
        _FULL: (StoreFull, "cannot grow: the disk or its size limit is full; make room, what was acknowledged is safe"),
        _CANTOPEN: (StoreUnreachable, "cannot be opened"),
        _CONSTRAINT: (StoreError, "refused a row"),
        _AUTH: (StoreUnreachable, "may not be used"),
    }
)


def fault_of(error: Exception, code: int, path: str) -> StoreError:
    """The exception for SQLite's result `code` (extended or not), on a statement of milepost's own."""
    known = _MEANINGS.get(code & 0xFF)
    if known is None:
        return StoreError(f"{path}: {error}")
    kind, meaning = known
    if code & 0xFF == _CANTOPEN:
        meaning = _why_not_opened(path)
    return kind(f"{path} {meaning} (SQLite: {error})")


def misfit(error: Exception) -> StoreError:
    """The exception for a value that SQLite cannot hold."""
    return StoreError(f"a value cannot be stored: {error}; integers have 64 bits, text has no lone surrogates")


def _why_not_opened(path: str) -> str:
    folder = os.path.dirname(path)
    if os.path.isdir(path):
        return "is a folder; name a file in it"
    if not os.path.isdir(folder):
        return f"cannot be opened: there is no folder {folder}; make it first"
    if not os.path.exists(path):
        return "cannot be opened: there is no such file, or its folder cannot be written"
    return "cannot be opened; check its permissions and its folder's, and the limit of open files"
