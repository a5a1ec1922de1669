"""The PostgreSQL store: a server that many machines share."""

from milepost.stores.postgres.store import PostgresStore

__all__ = ["PostgresStore"]
