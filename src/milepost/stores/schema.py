"""The schema behind a URL: how far it is, what would bring it forward, and bringing it forward. Nothing else opens."""

from __future__ import annotations

from typing import final

from attrs import frozen

from milepost.errors import ConfigurationError
from milepost.stores.open import connect_to_migrate, is_memory, is_postgres, postgres_place, sqlite_place


@final
@frozen
class SchemaStatus:
    """A store's schema. `version` is 0 where there are no tables of milepost; this program needs `newest`.

    `script` is the SQL that brings it from one to the other, for its owner to run by hand; empty when it is current.
    """

    url: str
    version: int
    newest: int
    script: str

    @property
    def is_current(self) -> bool:
        """Whether this program can use it as it is."""
        return self.version == self.newest


def schema_status(url: str) -> SchemaStatus:
    """Look at the schema at `url`, and change nothing. Raises `StoreError`."""
    if is_memory(url):
        raise ConfigurationError("a store in memory has no schema: name a SQLite file or a PostgreSQL database")
    return _postgres_status(url) if is_postgres(url) else _sqlite_status(url)


def migrate_schema(url: str) -> None:
    """Bring the schema at `url` up to date, whatever `MILEPOST_MIGRATE` says. Raises `StoreError`."""
    if is_memory(url):
        raise ConfigurationError("a store in memory has no schema: name a SQLite file or a PostgreSQL database")
    connect_to_migrate(url).close()


def _sqlite_status(url: str) -> SchemaStatus:
    place = sqlite_place(url, migrate=False)
    from milepost.stores.sqlite.migrations import SCHEMA_VERSION, migration_sql
    from milepost.stores.sqlite.opening import schema_version_at

    version = schema_version_at(place)
    return SchemaStatus(url, version, SCHEMA_VERSION, migration_sql(above=version))


def _postgres_status(url: str) -> SchemaStatus:
    place = postgres_place(url, migrate=False)
    from milepost.stores.postgres.migrations import SCHEMA_VERSION, migration_sql
    from milepost.stores.postgres.opening import schema_version_at

    version = schema_version_at(place)
    return SchemaStatus(place.url, version, SCHEMA_VERSION, migration_sql(place.schema, above=version))
