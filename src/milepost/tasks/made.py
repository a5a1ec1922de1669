"""Makes a task out of a function and types that are known as values, for tasks that are built and not written."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias, Unpack

from milepost.results import TaskResult
from milepost.tasks.decorator import task
from milepost.tasks.definition import CommittingTask, TaskTypes
from milepost.tasks.execution import Execution
from milepost.tasks.options import TaskOptions

Driver: TypeAlias = Callable[[Any, Any, Execution[Any]], Coroutine[Any, Any, TaskResult[Any, Any, Any]]]
"""The function of a built task."""


def made_task(
    run: Driver, types: TaskTypes, *, name: str, **options: Unpack[TaskOptions]
) -> CommittingTask[Any, Any, Any, Any, Any]:
    """The task of `run`, which is given its name and `types` as annotations; so all checks are those of `@task`."""
    execution: Any = Execution
    answer: Any = TaskResult
    run.__name__ = run.__qualname__ = name
    run.__annotations__ = {
        "metadata": types.metadata,
        "state": types.execution_metadata,
        "execution": execution[types.execution_metadata],
        "return": answer[types.result, types.error, types.execution_metadata],
    }
    decorator: Any = task  # its types are for functions that are written
    made: CommittingTask[Any, Any, Any, Any, Any] = decorator(name=name, **options)(run)
    return made
