"""Connections ready for use: opened, checked, migrated, and set up for what they are for."""

from __future__ import annotations

import os
from typing import final

from attrs import frozen

from milepost.errors import StoreReadOnly, StoreUnreachable
from milepost.stores.sqlite.driver import Connection, Driver, Place
from milepost.stores.sqlite.filters import define_functions
from milepost.stores.sqlite.libraries import driver_of
from milepost.stores.sqlite.migrations import is_current, migrate, schema_old, schema_version
from milepost.stores.sqlite.patience import BUSY_SECONDS, Patience

_CACHE_KIB = 4 * 1_024
_WAL_BYTES_KEPT = 64 << 20


@final
@frozen
class Opening:
    """How the threads of one store get their connections."""

    place: Place
    driver: Driver
    busy_seconds: float

    def patience(self) -> Patience:
        """A fresh one, for one thread."""
        return Patience(self.busy_seconds)

    def writer(self, patience: Patience) -> Connection:
        """A connection that writes durably; the schema is brought up to date first."""
        return patience.insist(self._writer)

    def reader(self, patience: Patience) -> Connection:
        """A connection that cannot write."""
        return patience.insist(lambda: self._reader(self.busy_seconds))

    def watcher(self) -> Connection:
        """A connection that only looks, and does not wait even for a moment: it is used on trio's own thread."""
        return self._reader(busy_seconds=0)

    def _writer(self) -> Connection:
        if not self.place.migrate and not self.place.read_only and not os.path.exists(self.place.path):
            raise schema_old(self.place, 0)
        connection = self.driver.connect(self.place)
        try:
            current = is_current(connection, self.place)
            if not self.place.read_only:
                _set_up_writing(connection, self.place.path)
            if not current:
                migrate(connection, self.place)
            define_functions(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _reader(self, busy_seconds: float) -> Connection:
        connection = self.driver.connect(self.place)
        try:
            connection.execute(f"pragma busy_timeout = {round(busy_seconds * 1_000)}")
            connection.execute("pragma query_only = on")
            define_functions(connection)
        except BaseException:
            connection.close()
            raise
        return connection


def schema_version_at(place: Place) -> int:
    """The version of the file's schema, 0 without a file; nothing is changed."""
    if not os.path.exists(place.path):
        return 0
    connection = driver_of(place.library).connect(place)
    try:
        connection.execute(f"pragma busy_timeout = {round(BUSY_SECONDS * 1_000)}")
        return schema_version(connection)
    finally:
        connection.close()


def _set_up_writing(connection: Connection, path: str) -> None:
    if connection.execute("pragma journal_mode") != [("wal",)]:
        try:
            ((mode,),) = connection.execute("pragma journal_mode = wal")
        except StoreReadOnly:
            return  # a file that cannot be written can still be read
        if mode != "wal":
            raise StoreUnreachable(f"{path} cannot have a write-ahead log (its journal mode stays {mode}); move it")
    connection.execute("pragma synchronous = full")
    connection.execute("pragma foreign_keys = on")  # for the tables of users, in their effects
    connection.execute("pragma temp_store = memory")
    connection.execute(f"pragma cache_size = -{_CACHE_KIB}")
    connection.execute(f"pragma journal_size_limit = {_WAL_BYTES_KEPT}")
