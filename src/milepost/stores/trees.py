"""A task and all that descends from it, read for those who end it whole, or open it again."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from milepost.lifecycle.hooks import is_companion
from milepost.lifecycle.record import TaskId, TaskRecord
from milepost.stores.protocol import Session


def locked_tree(session: Session, roots: Sequence[TaskId]) -> list[TaskRecord]:
    """Those of `roots` that there are and all that descend from them, each before its descendants.

    Once all of them are locked nothing is added any more.
    """
    found: dict[TaskId, TaskRecord] = {}
    asked: set[TaskId] = set()
    order = [*roots]
    while True:
        new = [id for id in dict.fromkeys(order) if id not in asked]
        if not new:
            return [found[id] for id in dict.fromkeys(order) if id in found]
        asked.update(new)
        found |= {record.id: record for record in session.get(new)}
        # Asked anew: whoever ran may have enqueued more until it was locked.
        order = [*roots, *session.joins.descendants(roots)]


def without_companions(tree: Sequence[TaskRecord], roots: Collection[TaskId]) -> list[TaskRecord]:
    """The same without what follows of ends, for an `on_outcome` makes good what a cancel breaks off; roots stay."""
    spared: set[TaskId] = set()
    for record in tree:
        if record.id not in roots and (is_companion(record) or record.parent in spared):
            spared.add(record.id)
    return [record for record in tree if record.id not in spared]
