"""The SQLite store: one file, no server, shared by as many processes of one machine as like."""

from milepost.stores.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
