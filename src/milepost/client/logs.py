"""`logs`: the lines that the runs of a task have logged."""

from __future__ import annotations

from functools import partial
from typing import Final

from milepost.client.steps import Read, Steps
from milepost.codec.scalars import shown
from milepost.errors import ConfigurationError
from milepost.kinds import is_a
from milepost.lifecycle.record import TaskId
from milepost.stores.protocol import Session
from milepost.stores.tables import LogLine

_PAGE: Final = 1_000


def logs(id: TaskId, *, after: LogLine | None, limit: int | None) -> Steps[list[LogLine]]:
    """Lines in order, from behind `after` on, up to `limit` of them; read page by page."""
    if limit is not None and (type(limit) is not int or limit < 0):
        raise ConfigurationError(f"limit is how many lines, from 0, or None for all of them, got {shown(limit)}")
    if after is not None and not is_a(after, LogLine):
        raise ConfigurationError(f"after is the last line that logs() gave, or None to begin, got {shown(after)}")
    lines: list[LogLine] = []
    while limit is None or len(lines) < limit:
        wanted = _PAGE if limit is None else min(_PAGE, limit - len(lines))
        last = lines[-1] if lines else after
        page: list[LogLine] = yield Read(partial(_page, id=id, last=last, limit=wanted))
        lines += page
        if len(page) < wanted:
            break
    return lines


def _page(session: Session, *, id: TaskId, last: LogLine | None, limit: int) -> list[LogLine]:
    return session.logs.of(id, limit=limit, after=(-1, -1) if last is None else (last.fence, last.ordinal))
