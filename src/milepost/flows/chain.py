"""`chain`: tasks one after the other, each with the result of the one before as its metadata.

The chain is a task of its own. It suspends until the task that it has enqueued is final, and its next run hands over.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, TypeVar, Unpack, final, overload

from attrs import frozen

from milepost.crash import Crash
from milepost.errors import InvalidResult, TaskDefinitionError
from milepost.flows.fitting import either, misfit
from milepost.kinds import is_a
from milepost.lifecycle.record import TaskId
from milepost.names import is_name
from milepost.results import Cancellation, Failure, Outcome, Success, Suspended, TaskResult
from milepost.tasks import AnyTask, Execution, Task, TaskTypes
from milepost.tasks.checks import checked_name
from milepost.tasks.definition import CommittingTask
from milepost.tasks.made import Driver, made_task
from milepost.tasks.options import TaskOptions
from milepost.text import shown

M = TypeVar("M")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
F = TypeVar("F")
R = TypeVar("R")
E1 = TypeVar("E1")
E2 = TypeVar("E2")
E3 = TypeVar("E3")
E4 = TypeVar("E4")
E5 = TypeVar("E5")
E6 = TypeVar("E6")

_THEN = "-then-"


@final
@frozen
class ChainState:
    """How far a chain is: `step` of its tasks have been enqueued, and the last of them is under way."""

    step: int = 0


@final
@frozen
class ChainBroken:
    """The error of a chain in which `task`, with this id, has ended without an answer of its own."""

    task: str
    id: TaskId
    crash: Crash


@overload
def chain(
    first: Task[M, Any, A, E1],
    second: Task[A, Any, R, E2],
    /,
    *,
    name: str | None = ...,
    **options: Unpack[TaskOptions],
) -> CommittingTask[M, ChainState, R, E1 | E2 | ChainBroken, ChainState]: ...
@overload
def chain(
    first: Task[M, Any, A, E1],
    second: Task[A, Any, B, E2],
    third: Task[B, Any, R, E3],
    /,
    *,
    name: str | None = ...,
    **options: Unpack[TaskOptions],
) -> CommittingTask[M, ChainState, R, E1 | E2 | E3 | ChainBroken, ChainState]: ...
@overload
def chain(
    first: Task[M, Any, A, E1],
    second: Task[A, Any, B, E2],
    third: Task[B, Any, C, E3],
    fourth: Task[C, Any, R, E4],
    /,
    *,
    name: str | None = ...,
    **options: Unpack[TaskOptions],
) -> CommittingTask[M, ChainState, R, E1 | E2 | E3 | E4 | ChainBroken, ChainState]: ...
@overload
def chain(
    first: Task[M, Any, A, E1],
    second: Task[A, Any, B, E2],
    third: Task[B, Any, C, E3],
    fourth: Task[C, Any, D, E4],
    fifth: Task[D, Any, R, E5],
    /,
    *,
    name: str | None = ...,
    **options: Unpack[TaskOptions],
) -> CommittingTask[M, ChainState, R, E1 | E2 | E3 | E4 | E5 | ChainBroken, ChainState]: ...
@overload
def chain(
    first: Task[M, Any, A, E1],
    second: Task[A, Any, B, E2],
    third: Task[B, Any, C, E3],
    fourth: Task[C, Any, D, E4],
    fifth: Task[D, Any, F, E5],
    sixth: Task[F, Any, R, E6],
    /,
    *,
    name: str | None = ...,
    **options: Unpack[TaskOptions],
) -> CommittingTask[M, ChainState, R, E1 | E2 | E3 | E4 | E5 | E6 | ChainBroken, ChainState]: ...
@overload
def chain(
    *tasks: Task[R, Any, R, E1], name: str | None = ..., **options: Unpack[TaskOptions]
) -> CommittingTask[R, ChainState, R, E1 | ChainBroken, ChainState]: ...
def chain(*tasks: AnyTask, name: str | None = None, **options: Unpack[TaskOptions]) -> Any:
    """A task that runs `tasks` one after the other, each with the result of the one before as its metadata.

    Its request brings the metadata of the first, its result is that of the last. The first that answers with a Failure
    or a Cancellation ends the chain with that answer, one that crashes with the error `ChainBroken`; the rest is never
    enqueued. `name` is stored in rows (default: the names with `-then-` in between), `options` are those of `@task`;
    whoever registers a chain registers its tasks. Chains can be tasks of chains. Raises `TaskDefinitionError` for less
    than two tasks, and where one does not take what the one before gives.
    """
    for number, each in enumerate(tasks, 1):
        if not is_a(each, Task):
            raise TaskDefinitionError(f"number {number} of a chain is {shown(each)}, which is no task: use @task on it")
    if len(tasks) < 2:
        raise TaskDefinitionError(f"a chain is of two tasks or more, got {len(tasks)}")
    called = _joined(tasks) if name is None else checked_name(name, "name of a chain")
    if wrong := [why for giving, taking in pairwise(tasks) if (why := misfit(giving, taking))]:
        raise TaskDefinitionError(
            f"the chain {called!r} does not hold: {wrong[0]}; put a task in between that makes one"
        )
    types = TaskTypes(
        tasks[0].types.metadata,
        ChainState,
        tasks[-1].types.result,
        either([*(each.types.error for each in tasks), ChainBroken]),
    )
    return made_task(_driver(called, tasks), types, name=called, **options).with_parts(*tasks)


def _joined(tasks: tuple[AnyTask, ...]) -> str:
    joined = _THEN.join(each.name for each in tasks)
    if not is_name(joined):
        raise TaskDefinitionError(
            f"the names of {len(tasks)} tasks together are longer than a name may be: give name=... to their chain"
        )
    return joined


def _driver(name: str, tasks: tuple[AnyTask, ...]) -> Driver:
    async def run(metadata: Any, state: ChainState, execution: Execution[ChainState]) -> TaskResult[Any, Any, Any]:
        if state.step == 0:
            return _entered(tasks, 0, metadata)
        known = tasks[state.step - 1 : state.step]
        outcomes = [outcome for task in known for outcome in execution.children.of(task)]
        if len(outcomes) != 1:
            raise InvalidResult(
                f"the chain {name!r} does not know what it waits for: another task was in place {state.step} when it "
                "was enqueued; give a chain whose tasks have changed another name"
            )
        return _handed_over(tasks, state.step, next(iter(execution.children)), outcomes[0])

    return run


def _handed_over(
    tasks: tuple[AnyTask, ...], step: int, id: TaskId, outcome: Outcome[Any, Any]
) -> TaskResult[Any, Any, ChainState]:
    match outcome:
        case Success(result=result):
            return Success(result) if step == len(tasks) else _entered(tasks, step, result)
        case Failure(error=error):
            return Failure(error).final()  # a second attempt would find the same
        case Cancellation(error=error):
            return Cancellation(error)
        case crash:
            return Failure(ChainBroken(tasks[step - 1].name, id, crash)).final()


def _entered(tasks: tuple[AnyTask, ...], step: int, metadata: Any) -> Suspended[Any, Any, ChainState]:
    request = tasks[step].with_metadata(metadata)
    return Suspended(ChainState(step + 1)).then_enqueue(request).until_finished()
