"""Whom tasks wait for, in memory. One transaction at a time has the tables, so locks are none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import final

import attrs

from milepost.lifecycle.children import Child, ChildCount
from milepost.lifecycle.record import TaskId, TaskRecord
from milepost.lifecycle.states import TaskState
from milepost.stores.descent import nearest_first
from milepost.stores.memory.tables import Tables


@final
class MemoryJoins:
    """The `JoinTable` of one transaction; `change` notes how to undo what is about to be done."""

    def __init__(self, tables: Tables, change: Callable[[Callable[[], object]], None]) -> None:
        self._tables = tables
        self._family = tables.family
        self._change = change

    def put(self, parent: TaskId, children: Sequence[TaskId]) -> None:
        rows = self._tables.rows
        self.restore(parent, [_child_of(rows[id].record) for id in children if id in rows])

    def restore(self, parent: TaskId, children: Sequence[Child]) -> None:
        """`put` with ends as they were kept, as a copy does."""
        before = self._family.children(parent)
        if before or children:
            self._change(partial(self._family.put_children, parent, before))
            self._family.put_children(parent, children)

    def end(self, ended: Sequence[TaskRecord]) -> list[TaskId]:
        told: set[TaskId] = set()
        for record in ended:
            for parent, ordinal in self._family.waiting_for(record.id).items():
                if self._family.end_of(parent, ordinal) is None:
                    self._put_end(parent, ordinal, _with_end(self._family.awaited[parent][ordinal], record))
                    told.add(parent)
        return sorted(told)

    def reopen(self, tasks: Sequence[TaskId]) -> None:
        for task in tasks:
            for parent, ordinal in self._family.waiting_for(task).items():
                if self._still_waits(parent) and self._family.end_of(parent, ordinal) is not None:
                    self._put_end(parent, ordinal, None)

    def unfinished(self, parents: Sequence[TaskId]) -> set[TaskId]:
        return {parent for parent in parents if parent in self._family.unfinished}

    def unfinished_of(self, parent: TaskId) -> list[TaskId]:
        children = self._family.awaited.get(parent, ())
        return [children[ordinal].task for ordinal in sorted(self._family.unfinished.get(parent, ()))]

    def counts(self, parents: Sequence[TaskId]) -> dict[TaskId, ChildCount]:
        return {parent: _count_of(children) for parent, children in self.children(parents).items()}

    def children(self, parents: Sequence[TaskId]) -> dict[TaskId, list[Child]]:
        return {parent: self._family.children(parent) for parent in parents if parent in self._family.awaited}

    def hand_over(self, parent: TaskId, heir: TaskId) -> bool:
        self.restore(heir, self._family.children(parent))
        return heir in self._family.unfinished

    def descendants(self, roots: Sequence[TaskId]) -> list[TaskId]:
        return nearest_first(roots, self._family.children_of)

    def _still_waits(self, parent: TaskId) -> bool:
        row = self._tables.rows.get(parent)
        return row is not None and row.record.state is TaskState.SUSPENDED and row.record.join is not None

    def _put_end(self, parent: TaskId, ordinal: int, end: Child | None) -> None:
        before = self._family.end_of(parent, ordinal)
        self._change(partial(self._family.put_end, parent, ordinal, before))
        self._family.put_end(parent, ordinal, end)


def _child_of(record: TaskRecord) -> Child:
    child = Child(record.id, record.name, record.version)
    return _with_end(child, record) if record.state.is_final else child


def _with_end(child: Child, record: TaskRecord) -> Child:
    return attrs.evolve(
        child,
        state=record.state,
        result_json=record.result_json,
        error_json=record.error_json,
        crash=record.crash,
    )


def _count_of(children: Sequence[Child]) -> ChildCount:
    states = Counter(child.state for child in children)
    return ChildCount(states[None], states[TaskState.COMPLETED], states[TaskState.FAILED], states[TaskState.CANCELLED])
