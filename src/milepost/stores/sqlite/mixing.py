"""Which SQLite library uses which file in this process.

Closing any descriptor of a file drops all POSIX locks that the process holds on it. Each copy of SQLite works around
that for its own connections only, so two copies on one file in one process would break each other's locks.
"""

from __future__ import annotations

import os
import threading
from typing import Final

from milepost.errors import MixedSqliteLibraries

# The locks that are at stake belong to the process, so this has to be known to the whole process as well.
_USES: Final[list[tuple[str, str]]] = []
_LOCK: Final = threading.Lock()


def enter(path: str, library: str) -> None:
    """Note that `library` is about to open the file; refuse if the other one has it open."""
    with _LOCK:
        for other_path, other_library in _USES:
            if other_library != library and is_same_file(path, other_path):
                raise mixed(path, library, other_library)
        _USES.append((path, library))


def leave(path: str, library: str) -> None:
    """Note that one of those who entered has closed the file."""
    with _LOCK:
        _USES.remove((path, library))


def mixed(path: str, library: str, other: str) -> MixedSqliteLibraries:
    """The refusal."""
    return MixedSqliteLibraries(
        f"{path} is in use by {other} in this process and cannot be used by {library} too: two SQLite libraries in one "
        f"process break each other's file locks; use {other} for both (a store chooses with `?driver={other}`)"
    )


def is_same_file(path: str, other: str) -> bool:
    """Whether two paths lead to one file, which may not exist yet."""
    if os.path.realpath(path) == os.path.realpath(other):
        return True
    try:
        return os.path.samefile(path, other)
    except OSError:
        return False
