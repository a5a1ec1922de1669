"""Whom tasks wait for, in SQLite. Who may write is alone, so there is nothing to lock."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Final, final

from milepost.crash import Crash
from milepost.lifecycle.children import Child, ChildCount
from milepost.lifecycle.record import TaskId, TaskRecord
from milepost.lifecycle.states import TaskState
from milepost.payload import JsonText
from milepost.stores.descent import nearest_first
from milepost.stores.sqlite.driver import Connection
from milepost.stores.sqlite.statements import statement

_CHILDREN: Final = statement("children")
_COUNT: Final = statement("count_children")
_DELETE: Final = statement("delete_children")
_DESCENDANTS: Final = statement("descendants")
_END: Final = statement("end_child")
_HAND_OVER: Final = statement("hand_over_children")
_PUT: Final = statement("put_children")
_REOPEN: Final = statement("reopen_children")
_RESTORE: Final = statement("restore_child")
_UNFINISHED: Final = statement("unfinished")
_UNFINISHED_OF: Final = statement("unfinished_of")


@final
class SqliteJoins:
    """The `JoinTable` of one transaction. `changed` tells its session that something was written."""

    def __init__(self, database: Callable[[], Connection], changed: Callable[[], None]) -> None:
        self._database = database
        self._changed = changed

    def put(self, parent: TaskId, children: Sequence[TaskId]) -> None:
        self.forget([parent])
        self._database().execute(_PUT, {"parent": parent, "children": json.dumps(children)})
        self._changed()

    def restore(self, families: Iterable[tuple[TaskId, Sequence[Child]]]) -> None:
        """Add children with their ends as they were kept, as a copy does."""
        rows = (
            (parent, ordinal, child.task, child.name, child.version, *_end_of(child))
            for parent, children in families
            for ordinal, child in enumerate(children)
        )
        self._database().many(_RESTORE, rows)

    def end(self, ended: Sequence[TaskRecord]) -> list[TaskId]:
        database = self._database()
        told = {parent for record in ended for (parent,) in database.execute(_END, (*_end_of(record), record.id))}
        self._changed()
        return sorted(told)

    def reopen(self, tasks: Sequence[TaskId]) -> None:
        self._database().execute(_REOPEN, (json.dumps(tasks),))
        self._changed()

    def unfinished(self, parents: Sequence[TaskId]) -> set[TaskId]:
        return {TaskId(id) for (id,) in self._database().execute(_UNFINISHED, (json.dumps(parents),))}

    def unfinished_of(self, parent: TaskId) -> list[TaskId]:
        return [TaskId(id) for (id,) in self._database().execute(_UNFINISHED_OF, (parent,))]

    def counts(self, parents: Sequence[TaskId]) -> dict[TaskId, ChildCount]:
        rows = self._database().execute(_COUNT, (json.dumps(parents),))
        return {TaskId(parent): ChildCount(*counts) for parent, *counts in rows}

    def children(self, parents: Sequence[TaskId]) -> dict[TaskId, list[Child]]:
        children: defaultdict[TaskId, list[Child]] = defaultdict(list)
        for parent, *child in self._database().execute(_CHILDREN, (json.dumps(parents),)):
            children[parent].append(_child_of(*child))
        return dict(children)

    def hand_over(self, parent: TaskId, heir: TaskId) -> bool:
        self._database().execute(_HAND_OVER, {"parent": parent, "heir": heir})
        self._changed()
        return bool(self.unfinished([heir]))

    def descendants(self, roots: Sequence[TaskId]) -> list[TaskId]:
        children: defaultdict[TaskId, list[TaskId]] = defaultdict(list)
        for parent, id in self._database().execute(_DESCENDANTS, (json.dumps(roots),)):
            children[parent].append(id)
        return nearest_first(roots, lambda id: children.get(id, ()))

    def forget(self, parents: Sequence[TaskId]) -> None:
        """Remove the children of tasks that are removed."""
        self._database().execute(_DELETE, (json.dumps(parents),))


def _child_of(
    task: str,
    name: str,
    version: int,
    state: str | None,
    result_json: JsonText | None,
    error_json: JsonText | None,
    crash: str | None,
) -> Child:
    end = None if state is None else TaskState(state)
    why = None if crash is None else Crash.from_json_text(crash)
    return Child(TaskId(task), name, version, end, result_json, error_json, why)


def _end_of(ended: Child | TaskRecord) -> tuple[object, ...]:
    state = None if ended.state is None else ended.state.value
    crash = None if ended.crash is None else ended.crash.to_json_text()
    return state, ended.result_json, ended.error_json, crash
