"""The tasks of a saga: its own, and the one that undoes it when it was cut off."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from milepost.crash import Crash, CrashKind
from milepost.flows.moves import backward, cut_off, forward, stepped, undone
from milepost.flows.plan import Plan
from milepost.flows.progress import SagaFailed, SagaState, SagaUndone
from milepost.payload import PAYLOAD_BYTES_LIMIT
from milepost.results import Failure, Outcome, Success, TaskResult
from milepost.tasks import AnyTask, Execution, TaskTypes
from milepost.tasks.checks import takes_children
from milepost.tasks.children import Children
from milepost.tasks.definition import CommittingTask
from milepost.tasks.group import GroupMember
from milepost.tasks.hooks import checked_on_outcome
from milepost.tasks.made import Driver, made_task
from milepost.tasks.options import TaskOptions

_SHARED_OPTIONS = ("version", "upgrades", "queue", "priority", "audit")
"""What holds for the undo task of a saga as well; the rest limits how long and how often a saga is tried."""


def saga_task(plan: Plan, options: TaskOptions) -> CommittingTask[Any, Any, Any, Any, Any]:
    """The task of a saga, with all that belongs to it as its parts."""
    undo_task = _undo_task(plan, options)
    # What its steps have given is kept in its state, which may be much for a large fan-out.
    given: TaskOptions = {"payload_bytes_max": PAYLOAD_BYTES_LIMIT, **options}
    given["on_outcome"] = _when_ended(plan, undo_task, checked_on_outcome(options.get("on_outcome")))
    return made_task(_driver(plan), plan.types, name=plan.name, **given).with_parts(*plan.tasks, undo_task)


def _driver(plan: Plan) -> Driver:
    async def run(metadata: Any, state: SagaState, execution: Execution[SagaState]) -> TaskResult[Any, Any, Any]:
        ended = execution.children
        if not state.step:
            return forward(plan, metadata, state)
        if not ended:
            return _ended_before(plan, state)
        if state.failed is not None:
            known = undone(plan, state, state.failed, ended)
        elif (known := stepped(plan, state, ended)).failed is None:
            return forward(plan, metadata, known, plan.index(known) + 1)
        return backward(plan, metadata, known) or Failure(known.failed).final()

    return run


def _ended_before(plan: Plan, state: SagaState) -> TaskResult[Any, Any, Any]:
    """A saga that has ended has no children any more: they are its companion's, which has seen to what they did."""
    message = (
        f"the saga {plan.name!r} has ended before, in its step {state.step!r}, and what was to be undone is undone, so "
        "it cannot go on from there: requeue it with from_start=True"
    )
    return Failure(SagaFailed(state.step, Crash(CrashKind.EXCEPTION, message))).final()


def _undo_task(plan: Plan, options: TaskOptions) -> AnyTask:
    types = TaskTypes(plan.types.metadata, plan.types.execution_metadata, SagaUndone, SagaUndone)

    async def run(metadata: Any, state: SagaState, execution: Execution[SagaState]) -> TaskResult[Any, Any, Any]:
        failed = cast("SagaFailed", state.failed)
        known = undone(plan, state, failed, execution.children) if execution.children else state
        if (suspended := backward(plan, metadata, known)) is not None:
            return suspended
        told = SagaUndone(cast("SagaFailed", known.failed).undone, cast("SagaFailed", known.failed).not_undone)
        return Failure(told).final() if told.not_undone else Success(told)

    shared = cast("TaskOptions", {name: value for name, value in options.items() if name in _SHARED_OPTIONS})
    shared["payload_bytes_max"] = PAYLOAD_BYTES_LIMIT
    return made_task(run, types, name=f"{plan.name}:undo", **shared)


def _when_ended(plan: Plan, undo_task: AnyTask, own: Callable[..., Any] | None) -> Callable[..., Any]:
    """The `on_outcome` of a saga: what undoes it, where its own run could not, and what `own` wants."""
    wants_children = own is not None and takes_children(own)

    def call(metadata: Any, state: SagaState, outcome: Outcome[Any, Any], children: Children) -> Sequence[GroupMember]:
        left = cut_off(plan, state, outcome, children) if isinstance(outcome, Crash) else None
        undo = [] if left is None else [undo_task.with_metadata(metadata).with_execution_metadata(left)]
        if own is None:
            return undo
        given = (metadata, state, outcome, children) if wants_children else (metadata, state, outcome)
        return [*undo, *own(*given)]

    return call
