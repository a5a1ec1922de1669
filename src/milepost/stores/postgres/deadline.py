"""A limit of time on what a function does with a connection: its SQL is cut on the server."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import final

import psycopg

from milepost.errors import EffectTimeout
from milepost.stores.postgres.migrations import Connection

_CANCEL_SECONDS_MAX = 5.0


@contextmanager
def bounded(connection: Connection, seconds: float) -> Generator[None]:
    """Cut the SQL of what takes longer, and refuse it in the end if it was not SQL that took so long."""
    end = time.monotonic() + seconds
    cut = _Cut(connection, seconds)
    try:
        yield
    except Exception as error:
        cut.disarm()
        if cut.was_made or time.monotonic() > end:
            raise _late(seconds) from error
        raise
    finally:
        cut.disarm()
    if time.monotonic() > end:
        raise _late(seconds)


@final
class _Cut:
    """A request to cancel, sent when the time has run out, and never when the function is over."""

    def __init__(self, connection: Connection, seconds: float) -> None:
        self.was_made = False
        self._connection = connection
        self._lock = threading.Lock()
        self._is_over = False
        self._timer = threading.Timer(seconds, self._make)
        self._timer.daemon = True
        self._timer.start()

    def disarm(self) -> None:
        """From now on nothing is cut; a request that is under way is waited for, lest it cut the next job."""
        self._timer.cancel()
        with self._lock:
            self._is_over = True

    def _make(self) -> None:
        with self._lock:
            if self._is_over:
                return
            self.was_made = True
            try:
                self._connection.cancel_safe(timeout=_CANCEL_SECONDS_MAX)
            except psycopg.Error:
                return  # the server cannot be reached: the statement's own timeout, or the network's, ends it


def _late(seconds: float) -> EffectTimeout:
    return EffectTimeout(f"the transaction took longer than {seconds:g} seconds and was rolled back; do less in it")
