"""`prune`: everything that a retention does not keep, at once, batch by batch."""

from __future__ import annotations

from datetime import datetime
from functools import partial

from milepost.client.steps import Read, Steps, Write
from milepost.errors import ConfigurationError
from milepost.lifecycle.record import TaskId
from milepost.lifecycle.retention import PruneSummary, Retention
from milepost.stores import prune as pruning
from milepost.stores.tables import EndedPage
from milepost.text import shown


def prune(retention: Retention) -> Steps[PruneSummary]:
    """Remove what is old enough now, each batch in a transaction of its own."""
    if type(retention) is not Retention:
        raise ConfigurationError(
            f"prune() needs a Retention, as Retention(completed=timedelta(days=7)), got {shown(retention)}"
        )
    now: datetime = yield Read(lambda session: session.now())
    total = yield from _tasks(retention, now)
    if retention.logs is not None:
        total += yield from _lines(retention, now)
    return total


def _tasks(retention: Retention, now: datetime) -> Steps[PruneSummary]:
    total = PruneSummary()
    cursor: TaskId | None = None
    while True:
        page: EndedPage = yield Read(partial(pruning.look, retention=retention, after=cursor, now=now))
        if page.tasks:
            removed: PruneSummary = yield Write(partial(pruning.remove, tasks=page.tasks))
            total += removed
        if page.cursor is None:
            return total
        cursor = page.cursor


def _lines(retention: Retention, now: datetime) -> Steps[PruneSummary]:
    total = PruneSummary()
    while True:
        removed: PruneSummary = yield Write(partial(pruning.remove_lines, retention=retention, now=now))
        total += removed
        if removed.logs < retention.batch:
            return total
