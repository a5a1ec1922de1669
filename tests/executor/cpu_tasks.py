"""Tasks that a worker process must be able to import by name."""

from __future__ import annotations

import os

from milepost import Failure, Success, TaskResult, task


@task(cpu_bound=True)
def double_in_a_process(metadata: int, progress: int) -> TaskResult[int, str]:
    return Success.with_result(metadata * 2)


@task(cpu_bound=True)
def process_of(metadata: int, progress: int) -> TaskResult[int, str]:
    return Success.with_result(os.getpid())


@task(cpu_bound=True)
def fail_in_a_process(metadata: int, progress: int) -> TaskResult[int, str]:
    return Failure.with_error("too hard")


@task(cpu_bound=True)
def raise_in_a_process(metadata: int, progress: int) -> TaskResult[int, str]:
    raise LookupError("nothing there")
