"""A PostgreSQL database that one test after the other has for itself."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import final

import psycopg
import pytest
from attrs import frozen

from milepost.testing.servers import PostgresBinaries, PostgresServer, private_postgres

# Whoever is still connected would keep a lock.
_EMPTY = """
do $$
declare schema name;
begin
    perform pg_terminate_backend(pid, 5000) from pg_stat_activity
    where datname = current_database() and pid <> pg_backend_pid();
    for schema in select nspname from pg_namespace where nspname !~ '^pg_' and nspname <> 'information_schema' loop
        execute format('drop schema %I cascade', schema);
    end loop;
    create schema public;
end $$
"""


@final
@frozen
class Database:
    """A database that is emptied after each test, which is cheaper than a new one by a factor of ten."""

    server: PostgresServer
    url: str

    @contextmanager
    def emptied(self) -> Generator[str]:
        """The URL, for as long as the block; then nothing is left of what was made in it."""
        try:
            yield self.url
        finally:
            with psycopg.connect(self.url, autocommit=True) as connection:
                connection.execute(_EMPTY)


def store_url(kind: str, request: pytest.FixtureRequest, folder: Path) -> str:
    """Where an empty store of the kind is: memory, sqlite or postgres."""
    match kind:
        case "memory":
            return "memory:"
        case "sqlite":
            return f"sqlite:///{folder / 'tasks.db'}"
        case _:
            return str(request.getfixturevalue("postgres_url"))


@contextmanager
def running_database(binaries: PostgresBinaries, settings: Mapping[str, str]) -> Generator[Database]:
    """A database on a server of its own.

    Where the server can, it sorts text as people do and not by code point, as most servers in use do, so that a
    statement which leaves the order to the database is seen.
    """
    with private_postgres(binaries, settings=settings) as server:
        sorting = ""
        if server.run_sql("select true from pg_collation where collprovider = 'i' and collname = 'en-x-icu'"):
            sorting = "template template0 locale_provider icu icu_locale 'en-US'"
        server.run_sql(f"create database tests {sorting}")
        yield Database(server, server.url("tests"))
