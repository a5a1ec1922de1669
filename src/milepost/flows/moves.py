"""What a saga does next, decided from its plan, its state and the outcomes of the tasks that it waited for. Pure.

Steps forward until one does not succeed, then back over everything that did, one step at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import attrs

from milepost.crash import Crash, CrashKind
from milepost.flows.plan import Plan, Step, Undo
from milepost.flows.progress import SagaFailed, SagaPart, SagaState, SagaTask
from milepost.lifecycle.record import TaskId
from milepost.results import Cancellation, Failure, Outcome, Success, Suspended, TaskResult

Ended: TypeAlias = Mapping[TaskId, Outcome[Any, Any]]
"""The outcomes of the tasks that were waited for, in the order of their requests."""


def forward(plan: Plan, metadata: Any, state: SagaState, start: int = 0) -> TaskResult[Any, Any, SagaState]:
    """Enqueue the first step from `start` on that asks for anything; the end of the saga where none does."""
    for step in plan.steps[start:]:
        if requests := plan.requests(step, metadata, state):
            ahead = attrs.evolve(state, step=step.name)
            return Suspended(ahead).then_enqueue(*requests).until_finished(fail_fast=True)
    return Success(plan.result(metadata, plan.results(state)))


def backward(plan: Plan, metadata: Any, state: SagaState) -> Suspended[Any, Any, SagaState] | None:
    """Enqueue the undos of the first step, from `state.step` back, that has something to undo; None where none has."""
    for step, undo in _left(plan, state):
        requests = plan.undo_requests(step, undo, metadata, state)
        return Suspended(attrs.evolve(state, step=step.name)).then_enqueue(*requests).until_finished()
    return None


def stepped(plan: Plan, state: SagaState, ended: Ended) -> SagaState:
    """The state, with what the tasks of its step have given; `failed` if one of them did not succeed."""
    step = plan.steps[plan.index(state)]
    parts = [SagaPart(id, outcome.result) for id, outcome in ended.items() if isinstance(outcome, Success)]
    known = attrs.evolve(state, done={**state.done, step.name: parts})
    causes = _causes(ended)
    return attrs.evolve(known, failed=_failed(step, causes[0], ended)) if causes else known


def undone(plan: Plan, state: SagaState, failed: SagaFailed, ended: Ended) -> SagaState:
    """The state, with what became of the undos of its step, and the step before as the next one to undo."""
    index = plan.index(state)
    step = plan.steps[index]
    tasks = [SagaTask(step.task.name, part.id) for part in state.done.get(step.name, ())]
    done = [isinstance(outcome, Success) for outcome in ended.values()]
    told = attrs.evolve(
        failed,
        undone=failed.undone + tuple(task for task, is_undone in zip(tasks, done, strict=True) if is_undone),
        not_undone=failed.not_undone
        + tuple(task for task, is_undone in zip(tasks, done, strict=True) if not is_undone),
    )
    return attrs.evolve(state, step=plan.steps[index - 1].name if index else "", failed=told)


def cut_off(plan: Plan, state: SagaState, crash: Crash, ended: Ended) -> SagaState | None:
    """From where a saga is to be undone that has ended by `crash`, which it did not choose; None for nothing to do."""
    if not ended:
        return None  # before its first step, or it has ended before and was undone then
    if state.failed is not None:
        return _left_undone(plan, state, state.failed, ended)
    known = stepped(plan, state, ended)
    failed = known.failed or SagaFailed(state.step, crash)
    return attrs.evolve(known, failed=failed) if failed.not_undone or list(_left(plan, known)) else None


def _left_undone(plan: Plan, state: SagaState, failed: SagaFailed, ended: Ended) -> SagaState:
    """`undone` for undos that may have been cancelled along with their saga: these are to be done once more."""
    parts = list(zip(state.done.get(state.step, ()), ended.items(), strict=True))
    again = [part for part, (_, outcome) in parts if _is_cancelled(outcome)]
    rest = [(part, told) for part, told in parts if not _is_cancelled(told[1])]
    settled = attrs.evolve(state, done={**state.done, state.step: [part for part, _ in rest]})
    known = undone(plan, settled, failed, dict(told for _, told in rest))
    return attrs.evolve(known, step=state.step, done={**state.done, state.step: again}) if again else known


def _is_cancelled(outcome: Outcome[Any, Any]) -> bool:
    return isinstance(outcome, Crash) and outcome.kind is CrashKind.CANCELLED


def _left(plan: Plan, state: SagaState) -> Iterator[tuple[Step, Undo]]:
    """The steps from `state.step` back that have something to undo."""
    known = plan.steps[: plan.index(state) + 1] if state.step else ()
    return ((step, step.undo) for step in reversed(known) if step.undo is not None and state.done.get(step.name))


def _causes(ended: Ended) -> list[Any]:
    """Why a step did not succeed; cancels only where there is nothing else, for they may have followed from it."""
    failures = [_error(outcome) for outcome in ended.values() if not isinstance(outcome, Success)]
    causes = [each for each in failures if not _is_cancelled(each)]
    return causes or failures


def _error(outcome: Failure[Any, Any] | Cancellation[Any, Any] | Crash) -> Any:
    return outcome if isinstance(outcome, Crash) else outcome.error


def _failed(step: Step, cause: Any, ended: Ended) -> SagaFailed:
    # A result that cannot be read may stand for something that was done.
    unreadable = tuple(
        SagaTask(step.task.name, id)
        for id, outcome in ended.items()
        if isinstance(outcome, Crash) and outcome.kind is CrashKind.UNDECODABLE
    )
    return SagaFailed(step.name, cause, not_undone=() if step.undo is None else unreadable)
