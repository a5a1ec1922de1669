"""What the memory store's tables know of ties: whose results enqueued whom, and whom a task has waited for last."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import final

from milepost.lifecycle.children import Child
from milepost.lifecycle.record import TaskId, TaskRecord


@final
class Family:
    """An index over tasks with a parent or a schedule, in step with the rows, and the children that tasks wait for."""

    def __init__(self) -> None:
        self.awaited: dict[TaskId, tuple[Child, ...]] = {}
        self.unfinished: dict[TaskId, set[int]] = {}
        self._ends: dict[TaskId, dict[int, Child]] = {}
        self._waiting: dict[TaskId, dict[TaskId, int]] = {}
        self._children: dict[TaskId, set[TaskId]] = {}
        self._places: dict[tuple[TaskId, str], TaskId] = {}
        self._instants: dict[tuple[str, datetime], TaskId] = {}

    def children_of(self, parent: TaskId) -> Collection[TaskId]:
        """What the results of `parent` have enqueued."""
        return self._children.get(parent, ())

    def holder(self, record: TaskRecord) -> TaskId | None:
        """Another task in the place of its parent, or for the instant of its schedule, that `record` wants to have."""
        place, instant = _place(record), _instant(record)
        holder = None if place is None else self._places.get(place)
        if holder is None and instant is not None:
            holder = self._instants.get(instant)
        return None if holder == record.id else holder

    def enter(self, record: TaskRecord) -> None:
        """A row comes in."""
        if record.parent is not None:
            self._children.setdefault(record.parent, set()).add(record.id)
        if place := _place(record):
            self._places[place] = record.id
        if instant := _instant(record):
            self._instants[instant] = record.id

    def leave(self, record: TaskRecord) -> None:
        """A row goes, as it came in."""
        if record.parent is not None:
            children = self._children[record.parent]
            children.remove(record.id)
            if not children:
                del self._children[record.parent]
        if place := _place(record):
            del self._places[place]
        if instant := _instant(record):
            del self._instants[instant]

    def waiting_for(self, task: TaskId) -> dict[TaskId, int]:
        """Who waits for `task`, or has waited for it last, and as the how manieth of its children."""
        return self._waiting.get(task, {})

    def children(self, parent: TaskId) -> list[Child]:
        """Whom `parent` waits for, or waited for last, in order and with the ends that are kept."""
        ends = self._ends.get(parent, {})
        return [ends.get(ordinal, child) for ordinal, child in enumerate(self.awaited.get(parent, ()))]

    def end_of(self, parent: TaskId, ordinal: int) -> Child | None:
        """The end that is kept of one child."""
        return self._ends.get(parent, {}).get(ordinal)

    def put_children(self, parent: TaskId, children: Sequence[Child]) -> None:
        """`parent` waits for these, and for none of those before; some have ended already."""
        for child in self.awaited.pop(parent, ()):
            waiting = self._waiting[child.task]
            del waiting[parent]
            if not waiting:
                del self._waiting[child.task]
        self._ends.pop(parent, None)
        self.unfinished.pop(parent, None)
        if not children:
            return
        self.awaited[parent] = tuple(Child(each.task, each.name, each.version) for each in children)
        for ordinal, child in enumerate(children):
            self._waiting.setdefault(child.task, {})[parent] = ordinal
            self.put_end(parent, ordinal, None if child.state is None else child)

    def put_end(self, parent: TaskId, ordinal: int, end: Child | None) -> None:
        """Keep the end of one child, or forget it."""
        ends = self._ends.setdefault(parent, {})
        unfinished = self.unfinished.setdefault(parent, set())
        if end is None:
            ends.pop(ordinal, None)
            unfinished.add(ordinal)
        else:
            ends[ordinal] = end
            unfinished.discard(ordinal)
        if not unfinished:
            del self.unfinished[parent]


def _place(record: TaskRecord) -> tuple[TaskId, str] | None:
    if record.parent is None or record.parent_position is None:
        return None
    return record.parent, record.parent_position


def _instant(record: TaskRecord) -> tuple[str, datetime] | None:
    if record.schedule is None or record.schedule_at is None:
        return None
    return record.schedule, record.schedule_at
