"""From a URL to an open store: the one place that knows which kinds there are."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, TypeAlias
from urllib.parse import parse_qsl, unquote

import attrs

from milepost.clock import Clock, system_clock
from milepost.errors import ConfigurationError, StoreUrlError
from milepost.kinds import is_a
from milepost.stores.protocol import Store

if TYPE_CHECKING:
    from milepost.stores.postgres import PostgresStore
    from milepost.stores.postgres.place import Place as PostgresPlace
    from milepost.stores.sqlite import SqliteStore
    from milepost.stores.sqlite.driver import Place as SqlitePlace

    _Opened: TypeAlias = SqliteStore | PostgresStore

_UNDERSTOOD: Final = (
    "understood are sqlite:///FILE (sqlite:////FILE for an absolute path), postgresql://USER@HOST/DATABASE and memory:"
)
_POSTGRES: Final = ("postgresql", "postgres")
_MEMORY: Final = ("memory:", "memory://")
_DRIVERS: Final = ("apsw", "sqlite3")
_MODES: Final = ("ro", "rw")


@asynccontextmanager
async def open_store(url: str, *, migrate: bool = True, clock: Clock = system_clock) -> AsyncGenerator[Store]:
    """Open the store at `url` for the block, and release all that belongs to it afterwards.

    The schema is brought up to date first, unless `migrate` is False or `MILEPOST_MIGRATE=0` is in the environment;
    then an old schema raises `SchemaOld`. On PostgreSQL the server's clock counts, and `clock` does not.
    """
    if is_memory(_checked(url)):
        memory = _memory_store(clock)
        try:
            yield memory
        finally:
            memory.close()
        return
    store = _store(url, _may_migrate(migrate), clock)
    try:
        await store.open()
        yield store
    finally:
        await store.aclose()


def connect_store(url: str, *, migrate: bool = True, clock: Clock = system_clock) -> Store:
    """`open_store` for programs without trio; the caller closes the store."""
    if is_memory(_checked(url)):
        return _memory_store(clock)
    return _opened(_store(url, _may_migrate(migrate), clock))


def connect_to_migrate(url: str) -> Store:
    """`connect_store` for a program whose purpose is to migrate: it does, whatever the environment says."""
    return _opened(_store(url, True, system_clock))


def connect_to_read(url: str) -> Store:
    """`connect_store` for a program that only reads, and needs no more rights than that."""
    if is_memory(_checked(url)):
        return _memory_store(system_clock)
    if is_postgres(url):
        return _opened(_postgres_store(postgres_place(url, migrate=False)))
    return _opened(_sqlite_store(attrs.evolve(sqlite_place(url, migrate=False), read_only=True), url, system_clock))


def is_memory(url: str) -> bool:
    """Whether `url` names a store in memory."""
    return url in _MEMORY


def is_postgres(url: str) -> bool:
    """Whether `url` names a PostgreSQL database, well written or not."""
    return url.partition("://")[0].lower() in _POSTGRES


def sqlite_place(url: str, *, migrate: bool) -> SqlitePlace:
    """The file that `url` names. Raises `StoreUrlError`."""
    path, options = _sqlite_parts(url)
    from milepost.stores.sqlite.driver import Place

    library, read_only = options.get("driver", _DRIVERS[0]), options.get("mode") == "ro"
    return Place(path, library=library, read_only=read_only, migrate=migrate)


def postgres_place(url: str, *, migrate: bool) -> PostgresPlace:
    """The database that `url` names. Raises `StoreUrlError`, and `ConfigurationError` without psycopg."""
    try:
        from milepost.stores.postgres.place import place_of
    except ImportError as error:
        raise ConfigurationError(
            f"{_shown(url)} needs psycopg, which is not installed or not whole ({error}): "
            "pip install 'milepost[postgres]'"
        ) from error
    return place_of(url, migrate=migrate)


def _checked(url: str) -> str:
    if not is_a(url, str):  # which may hold a password, as bytes do too
        raise StoreUrlError(f"a store's URL is text, got a {type(url).__name__}: {_UNDERSTOOD}")
    return url


def _opened(store: _Opened) -> Store:
    try:
        store.open_blocking()
    except BaseException:
        store.close()
        raise
    return store


def _may_migrate(asked: bool) -> bool:
    return asked and os.environ.get("MILEPOST_MIGRATE") != "0"


def _memory_store(clock: Clock) -> Store:
    from milepost.stores.memory import MemoryStore

    return MemoryStore(clock=clock)


def _store(url: str, migrate: bool, clock: Clock) -> _Opened:
    """The store, not opened yet. The driver's package is imported only for URLs that want it."""
    if is_postgres(url):
        return _postgres_store(postgres_place(url, migrate=migrate))
    return _sqlite_store(sqlite_place(url, migrate=migrate), url, clock)


def _postgres_store(place: PostgresPlace) -> PostgresStore:
    from milepost.stores.postgres import PostgresStore

    return PostgresStore(place)


def _sqlite_store(place: SqlitePlace, url: str, clock: Clock) -> SqliteStore:
    from milepost.stores.sqlite import SqliteStore

    return SqliteStore(place, url, clock=clock)


def _sqlite_parts(url: str) -> tuple[str, dict[str, str]]:
    scheme, colon, rest = url.partition(":")
    if not colon or scheme.lower() != "sqlite":
        raise StoreUrlError(f"{_shown(url)} is not the URL of a store: {_UNDERSTOOD}")
    location, _, query = rest.partition("?")
    if not location.startswith("///"):
        raise StoreUrlError(f"{_shown(url)} needs three slashes before the file's name: {_UNDERSTOOD}")
    path = unquote(location.removeprefix("///"))
    if not path or path.endswith("/") or "\0" in path:
        raise StoreUrlError(f"{_shown(url)} names no file: {_UNDERSTOOD}")
    if path == ":memory:":
        raise StoreUrlError(f"{_shown(url)} would be a new database for each thread; use memory: for a store in memory")
    return path, _options(url, query)


def _options(url: str, query: str) -> dict[str, str]:
    options: dict[str, str] = {}
    understood = {"driver": _DRIVERS, "mode": _MODES}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in understood:
            raise StoreUrlError(f"{_shown(url)} has an option {name!r}; only driver and mode are understood")
        if name in options:
            raise StoreUrlError(f"{_shown(url)} has the option {name} twice; give it once")
        if value not in understood[name]:
            raise StoreUrlError(f"{_shown(url)} has an option {name} that is neither {' nor '.join(understood[name])}")
        options[name] = value
    return options


def _shown(url: str) -> str:
    """The URL without what may be secret: its user, its password and its options."""
    return repr(re.sub(r"//.*@", "//***@", url.partition("?")[0]))
