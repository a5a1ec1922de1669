"""Whom tasks wait for, in PostgreSQL.

**Locks.** Those of children come after those of tasks that have ended and before those of their parents. Whoever hands
children over, and whoever keeps an end of one, locks them first and changes them in a second statement, which sees what
was committed while the first one waited: so none of both misses what the other one does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, final

from milepost.crash import Crash
from milepost.lifecycle.children import Child, ChildCount
from milepost.lifecycle.record import TaskId, TaskRecord
from milepost.lifecycle.states import TaskState
from milepost.stores.descent import nearest_first
from milepost.stores.postgres.arrays import Literal, numbers, texts


@final
class PostgresJoins:
    """The `JoinTable` of one transaction. `query` runs a statement by its name."""

    def __init__(self, query: Callable[..., list[tuple[Any, ...]]]) -> None:
        self._query = query

    def put(self, parent: TaskId, children: Sequence[TaskId]) -> None:
        self._query("delete_children", parent)
        if children:
            self._query("put_children", parent, texts(children))

    def restore(self, families: Sequence[tuple[TaskId, Sequence[Child]]]) -> None:
        """Add children with their ends as they were kept, as a copy does."""
        rows = [
            _values(parent, ordinal, child) for parent, children in families for ordinal, child in enumerate(children)
        ]
        if rows:
            columns = zip(*rows, strict=True)
            self._query("restore_children", *(write(column) for write, column in zip(_LITERALS, columns, strict=True)))

    def end(self, ended: Sequence[TaskRecord]) -> list[TaskId]:
        if not ended:
            return []
        ids = texts([record.id for record in ended])
        self._query("lock_children", ids)
        return sorted({parent for (parent,) in self._query("end_children", ids)})

    def reopen(self, tasks: Sequence[TaskId]) -> None:
        # Whoever wakes one of these at the same time has it locked, and it waits no more by then; or sees what is open.
        waiting = [parent for (parent,) in self._query("lock_waiting", texts(tasks))] if tasks else []
        if waiting:
            self._query("reopen_children", texts(tasks), texts(waiting))

    def unfinished(self, parents: Sequence[TaskId]) -> set[TaskId]:
        return {parent for (parent,) in self._query("unfinished", texts(parents))} if parents else set()

    def unfinished_of(self, parent: TaskId) -> list[TaskId]:
        return [task for (task,) in self._query("unfinished_of", parent)]

    def counts(self, parents: Sequence[TaskId]) -> dict[TaskId, ChildCount]:
        rows = self._query("count_children", texts(parents)) if parents else ()
        return {parent: ChildCount(*counts) for parent, *counts in rows}

    def children(self, parents: Sequence[TaskId]) -> dict[TaskId, list[Child]]:
        children: defaultdict[TaskId, list[Child]] = defaultdict(list)
        for parent, *child in self._query("children", texts(parents)) if parents else ():
            children[parent].append(_child_of(*child))
        return dict(children)

    def hand_over(self, parent: TaskId, heir: TaskId) -> bool:
        self._query("lock_unfinished", parent)
        ((has_unfinished,),) = self._query("hand_over_children", parent, heir)
        return bool(has_unfinished)

    def descendants(self, roots: Sequence[TaskId]) -> list[TaskId]:
        children: defaultdict[TaskId, list[TaskId]] = defaultdict(list)
        for parent, id in self._query("descendants", texts(roots)) if roots else ():
            children[parent].append(id)
        return nearest_first(roots, lambda id: children.get(id, ()))


def _child_of(
    task: str,
    name: str,
    version: int,
    state: str | None,
    result_json: Any,
    error_json: Any,
    crash: str | None,
) -> Child:
    end = None if state is None else TaskState(state)
    why = None if crash is None else Crash.from_json_text(crash)
    return Child(TaskId(task), name, version, end, result_json, error_json, why)


def _values(parent: TaskId, ordinal: int, child: Child) -> tuple[Any, ...]:
    state = None if child.state is None else child.state.value
    crash = None if child.crash is None else child.crash.to_json_text()
    end = (state, child.result_json, child.error_json, crash)
    return (parent, ordinal, child.task, child.name, child.version, *end)


_LITERALS: tuple[Literal, ...] = (texts, numbers, texts, texts, numbers, texts, texts, texts, texts)
