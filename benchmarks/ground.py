"""What is measured on: where each run gets a fresh store, what its floor is, and what the database's processes cost."""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Final, Protocol, final

import apsw
import psycopg

from benchmarks import floors, floors_postgres
from benchmarks.floors import Floor
from milepost.testing.servers import PostgresServer, find_postgres, private_postgres

DEFAULTS: Final[Mapping[str, str]] = MappingProxyType(
    {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "max_wal_size": "1GB"}
)
"""PostgreSQL's own defaults, which the private server of the tests does not keep: here durability is what is paid."""


class Ground(Protocol):
    """One kind of store, ready to be measured."""

    @property
    def title(self) -> str:
        """The database, its version and the settings that decide what a commit costs."""
        ...

    def fresh(self) -> str:
        """The URL of a store that does not exist yet."""
        ...

    async def floor(self, total: int, slots: int) -> Floor:
        """What this machine does with `total` tasks without a task library, right now."""
        ...

    def one_row_commits(self, total: int) -> float:
        """Commits of one row, per second."""
        ...

    def server_cpu_seconds(self) -> float:
        """What the database's own processes have used so far; 0 where it has none."""
        ...


@final
class SqliteGround:
    """Files in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = count(1)

    @property
    def title(self) -> str:
        """The library's version and mode."""
        return f"SQLite {apsw.sqlite_lib_version()}, WAL, FULL"

    def fresh(self) -> str:
        """The URL of a file that is not there yet."""
        return f"sqlite:///{self._path()}"

    async def floor(self, total: int, slots: int) -> Floor:
        """Trio, cattrs and a writer thread around three statements."""
        return await floors.measure(self._path(), total, slots)

    def one_row_commits(self, total: int) -> float:
        """On one connection without threads."""
        return floors.one_row_commits(self._path(), total)

    def server_cpu_seconds(self) -> float:
        """SQLite has no process of its own."""
        return 0.0

    def _path(self) -> Path:
        return self._folder / f"{next(self._numbers)}.db"


@final
class PostgresGround:
    """Databases on one private server."""

    def __init__(self, server: PostgresServer) -> None:
        self.server: Final = server

    @property
    def title(self) -> str:
        """The server's version, and its settings as the server itself tells them."""
        with psycopg.connect(self.server.url()) as connection:
            names = ["server_version", *DEFAULTS]
            said = connection.execute("select current_setting(name) from unnest(%s::text[]) as name", [names])
            version, *settings = (row[0] for row in said)
        return f"PostgreSQL {version}, " + ", ".join(f"{n} {s}" for n, s in zip(DEFAULTS, settings, strict=True))

    def fresh(self) -> str:
        """The URL of an empty database."""
        return self.server.create_database()

    async def floor(self, total: int, slots: int) -> Floor:
        """Claim and complete `slots` at a time over one connection."""
        return floors_postgres.measure(self.fresh(), total, slots)

    def one_row_commits(self, total: int) -> float:
        """Each with a notification, on one connection."""
        return floors_postgres.one_row_commits(self.fresh(), total)

    def server_cpu_seconds(self) -> float:
        """Of the server and of all that it has started, whether they still run or not. Linux only; elsewhere 0."""
        return _cpu_seconds_of_tree(self.server.pid)


@contextmanager
def postgres_ground(version: int | None) -> Generator[PostgresGround]:
    """A private server with PostgreSQL's own durability, of the newest version on this machine or of `version`."""
    binaries = [each for each in find_postgres() if version in (None, each.version)]
    if version is not None and not binaries:
        raise SystemExit(f"there is no PostgreSQL {version} here; there are {[b.version for b in find_postgres()]}")
    with private_postgres(binaries[-1] if binaries else None, settings=DEFAULTS) as server:
        yield PostgresGround(server)


def _cpu_seconds_of_tree(root: int) -> float:
    """Of a process with the children that it has waited for, and of those that still run."""
    seconds = 0.0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name before it may hold spaces; so count from its closing bracket.
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        pid, parent = int(stat.parent.name), int(fields[1])
        used = fields[11:15] if pid == root else fields[11:13]
        if root in (pid, parent):
            seconds += sum(map(int, used)) / os.sysconf("SC_CLK_TCK")
    return seconds
