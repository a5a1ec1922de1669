"""What became of the tasks that a task has waited for, as its next run sees them: `execution.children`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast, final

from milepost.lifecycle.children import Child
from milepost.lifecycle.record import TaskId
from milepost.results import Outcome
from milepost.tasks.outcomes import outcome_of

if TYPE_CHECKING:
    from milepost.tasks.definition import AnyTask, Task

R = TypeVar("R")
E = TypeVar("E")

_NO_TASKS: Final[Mapping[str, AnyTask]] = MappingProxyType({})


@final
class Children(Mapping[TaskId, Outcome[Any, Any]]):
    """The outcomes of the tasks that this one has waited for last, by id, in the order in which it enqueued them.

    A snapshot: what becomes of a child later, by a requeue or a deletion, changes nothing of it. A child that has not
    ended is not in it. Results and errors of tasks that this executor does not register are plain JSON values.
    """

    __slots__ = ("_ended", "_tasks")

    def __init__(self, children: Iterable[Child] = (), tasks: Mapping[str, AnyTask] = _NO_TASKS) -> None:
        self._ended = {child.task: child for child in children if child.state is not None}
        self._tasks = tasks

    def of(self, task: Task[Any, Any, R, E]) -> list[Outcome[R, E]]:
        """The outcomes of those children that are of `task`, in the order in which they were enqueued, typed."""
        # The types are the caller's own: by name and codec the outcome is one of this task.
        return [_known(child, task) for child in self._ended.values() if child.name == task.name]

    def __getitem__(self, id: TaskId, /) -> Outcome[Any, Any]:
        child = self._ended[id]
        return _known(child, self._tasks.get(child.name))

    def __iter__(self) -> Iterator[TaskId]:
        return iter(self._ended)

    def __len__(self) -> int:
        return len(self._ended)

    def __repr__(self) -> str:
        told = ", ".join(f"{child.name}: {_told(child)}" for child in self._ended.values())
        return f"<Children {told}>" if told else "<Children, none>"


NO_CHILDREN: Final = Children()


def _known(child: Child, task: AnyTask | None) -> Outcome[Any, Any]:
    return cast("Outcome[Any, Any]", outcome_of(child, task))


def _told(child: Child) -> str:
    return "" if child.state is None else child.state.value
