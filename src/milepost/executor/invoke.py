"""Stop 6 of the journey: the only place where user code runs, and where its exceptions end."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import trio

from milepost.errors import ConfigurationError
from milepost.executor.run import BlockingRunExecution, Committer, Run, RunExecution
from milepost.executor.settle import Broken, Ending, Raised, Returned, Stopped
from milepost.tasks import TaskShape


def invoke_pure(run: Run, metadata: Any, execution_metadata: Any) -> Ending:
    """Call a plain `def` in place."""
    try:
        return Returned(run.task.function(metadata, execution_metadata))
    except BaseException as error:  # noqa: ASYNC103 (SystemExit in a task is the task's end, not the executor's)
        return Broken(error) if _is_interrupt(error) else Raised(error)  # noqa: ASYNC104


async def invoke(
    run: Run, metadata: Any, execution_metadata: Any, *, committer: Committer, limiter: trio.CapacityLimiter
) -> Ending:
    """Call the task's function inside the run's scope; raises only when what is around the run is cancelled."""
    try:
        with run.scope:
            if run.task.shape is TaskShape.ASYNC and not run.task.takes_execution:
                return Returned(await run.task.function(metadata, execution_metadata))
            return Returned(await _call(run, metadata, execution_metadata, committer, limiter))
    except BaseException as error:  # noqa: ASYNC103 (the run's own cancel ends at its scope; any other is a crash)
        if _is_cancel_from_outside(error):
            raise
        if _is_interrupt(error):
            return Broken(error)  # noqa: ASYNC104
        return Raised(error) if run.stopping is None else Stopped(run.stopping)  # noqa: ASYNC104
    if run.stopping is None:  # pragma: no cover (the scope is private, only Run.stop cancels it)
        return Raised(RuntimeError("the run's scope was cancelled by nobody"))
    return Stopped(run.stopping)


def _is_interrupt(error: BaseException) -> bool:
    """Whether it is, or has in it, a Ctrl-C, which Python raises in whatever function happens to run."""
    match error:
        case KeyboardInterrupt():
            return True
        case BaseExceptionGroup(exceptions=parts):
            return any(map(_is_interrupt, parts))
        case _:
            return False


def _is_cancel_from_outside(error: BaseException) -> bool:
    # One that nobody asked for, such as one that the task has kept from a scope of its own, is a crash.
    match error:
        case trio.Cancelled():
            return trio.current_effective_deadline() == -math.inf
        case BaseExceptionGroup(exceptions=parts):
            return any(map(_is_cancel_from_outside, parts))
        case _:
            return False


async def _call(run: Run, m: Any, x: Any, committer: Committer, limiter: trio.CapacityLimiter) -> object:
    task = run.task
    match task.shape:
        case TaskShape.ASYNC:
            return await task.function(m, x, RunExecution(run, committer))
        case TaskShape.BLOCKING:
            arguments: tuple[Any, ...] = (m, x)
            if task.takes_execution:
                arguments = (m, x, BlockingRunExecution(RunExecution(run, committer)))
            return await trio.to_thread.run_sync(task.function, *arguments, limiter=limiter)
        case TaskShape.CPU_BOUND:
            return await _in_process(task.function, m, x)
        case TaskShape.PURE:
            return task.function(m, x)


async def _in_process(function: Callable[..., Any], m: Any, x: Any) -> object:
    try:
        from anyio import to_process
    except ImportError as error:  # pragma: no cover (the extra is installed wherever tests run)
        raise ConfigurationError("a cpu_bound task needs the extra: install milepost[cpu]") from error
    call = functools.partial(call_by_name, function.__module__, function.__qualname__, m, x)
    return await to_process.run_sync(call, cancellable=True)


def call_by_name(module: str, name: str, m: Any, x: Any) -> object:
    """Find the task in the worker process, where its function's name stands for the task, and call the function."""
    import importlib

    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found.function(m, x)
