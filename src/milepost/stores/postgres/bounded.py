"""Rows with an instant that is none of Python's, such as infinity: nothing of milepost's wrote it, nothing may stop."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, final

import psycopg
from psycopg.adapt import Buffer, Loader, Transformer
from psycopg.pq import Format
from psycopg.rows import tuple_row
from psycopg.types.datetime import TimestamptzBinaryLoader
from psycopg.types.string import TextBinaryLoader

from milepost.clock import FIRST_MOMENT, LAST_MOMENT

_SIGN: Final = 0x80


@final
class _BoundedLoader(Loader):
    """Reads an instant, at least the first and at most the last that there is."""

    format = Format.BINARY

    def load(self, data: Buffer) -> datetime:
        try:
            return TimestamptzBinaryLoader(0, None).load(data)
        except psycopg.DataError:
            return FIRST_MOMENT if bytes(data)[0] & _SIGN else LAST_MOMENT


def bounded_rows(cursor: psycopg.RawCursor[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """All rows of a result that was asked for as binary. Takes longer than psycopg's own way, so it comes second."""
    found = cursor.pgresult
    if found is None:
        return []
    context = psycopg.RawCursor(cursor.connection, row_factory=tuple_row)
    context.adapters.register_loader("timestamptz", _BoundedLoader)
    context.adapters.register_loader("json", TextBinaryLoader)
    reader = Transformer.from_context(context)
    reader.set_pgresult(found, format=Format.BINARY)
    return reader.load_rows(0, found.ntuples, tuple)
