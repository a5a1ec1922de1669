"""Describe a task: a function and its annotations become a typed `Task`, a task and its metadata a `TaskRequest`."""

from milepost.tasks.decorator import task
from milepost.tasks.definition import AnyTask, Task, TaskCodec, TaskRequest, TaskShape, TaskTypes
from milepost.tasks.execution import BlockingExecution, Execution, StopKind, Stopping

__all__ = [
    "AnyTask",
    "BlockingExecution",
    "Execution",
    "StopKind",
    "Stopping",
    "Task",
    "TaskCodec",
    "TaskRequest",
    "TaskShape",
    "TaskTypes",
    "task",
]
