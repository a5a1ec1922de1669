"""From a URL to an open store: the one place that knows which kinds there are."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, unquote

from milepost.clock import Clock, system_clock
from milepost.errors import StoreUrlError
from milepost.stores.protocol import Store

if TYPE_CHECKING:
    from milepost.stores.sqlite import SqliteStore

_UNDERSTOOD: Final = "understood are sqlite:///FILE (sqlite:////FILE for an absolute path) and memory:"
_MEMORY: Final = ("memory:", "memory://")
_DRIVERS: Final = ("apsw", "sqlite3")
_MODES: Final = ("ro", "rw")


@asynccontextmanager
async def open_store(url: str, *, migrate: bool = True, clock: Clock = system_clock) -> AsyncGenerator[Store]:
    """Open the store at `url` for the block, and release all that belongs to it afterwards.

    The schema is brought up to date first, unless `migrate` is False or `MILEPOST_MIGRATE=0` is in the environment;
    then an old schema raises `SchemaOld`.
    """
    if url in _MEMORY:
        memory = _memory_store(clock)
        try:
            yield memory
        finally:
            memory.close()
        return
    store = _sqlite_store(url, migrate, clock)
    try:
        await store.open()
        yield store
    finally:
        await store.aclose()


def connect_store(url: str, *, migrate: bool = True, clock: Clock = system_clock) -> Store:
    """`open_store` for programs without trio; the caller closes the store."""
    if url in _MEMORY:
        return _memory_store(clock)
    store = _sqlite_store(url, migrate, clock)
    try:
        store.open_blocking()
    except BaseException:
        store.close()
        raise
    return store


def _memory_store(clock: Clock) -> Store:
    from milepost.stores.memory import MemoryStore

    return MemoryStore(clock=clock)


def _sqlite_store(url: str, migrate: bool, clock: Clock) -> SqliteStore:
    """The store, not opened yet. The driver's package is imported only for URLs that want it."""
    path, options = _sqlite_parts(url)
    from milepost.stores.sqlite import SqliteStore
    from milepost.stores.sqlite.driver import Place

    place = Place(
        path,
        library=options.get("driver", _DRIVERS[0]),
        read_only=options.get("mode") == "ro",
        migrate=migrate and os.environ.get("MILEPOST_MIGRATE") != "0",
    )
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
    return repr(re.sub(r"//[^/]*@", "//***@", url.partition("?")[0]))
