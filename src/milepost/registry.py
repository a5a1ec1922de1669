"""Name -> task, explicit: an executor runs what it is given and nothing else."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import final

from attrs import frozen

from milepost.errors import TaskDefinitionError
from milepost.tasks import AnyTask, Task


@final
@frozen
class Registry:
    """The tasks of one executor or program, by name."""

    tasks: Mapping[str, AnyTask]

    @classmethod
    def of(cls, tasks: Iterable[AnyTask]) -> Registry:
        """The tasks and their parts.

        Raises `TaskDefinitionError` when two share a name, when something is not a task, or for no list.
        """
        if not hasattr(tasks, "__iter__"):
            raise TaskDefinitionError(f"the tasks are given as a list, as [task], got {tasks!r}")
        found: dict[str, AnyTask] = {}
        waiting = deque(tasks)
        while waiting:
            task = waiting.popleft()
            if not isinstance(task, Task):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise TaskDefinitionError(f"{task!r} is not a task: decorate the function with @task")
            if found.setdefault(task.name, task) is not task:
                raise TaskDefinitionError(
                    f"two tasks have the name {task.name!r}, and a stored row would not know which one is meant: "
                    "give one of them another name=..."
                )
            waiting.extend(part for part in task.parts if found.get(part.name) is not part)
        return cls(found)

    @property
    def versions(self) -> dict[str, int]:
        """Each name with the highest version that can be run."""
        return {name: task.version for name, task in self.tasks.items()}
