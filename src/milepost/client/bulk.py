"""Verbs of many tasks: what matched when the call began is changed batch by batch, and counted.

What nobody may wait for, such as code of the user's, runs between two transactions: a batch is read, decided on, and
written where it still is as it was read.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeAlias, final

import attrs
from attrs import frozen
from returns.result import Failure, Result, Success

from milepost.client.checks import checked_function, checked_reason, who
from milepost.client.editing import Edit, edited
from milepost.client.proceeding import Order as ProceedOrder
from milepost.client.query import TaskQuery, checked_query
from milepost.client.steps import Read, Steps, Write
from milepost.client.targets import Target, id_of
from milepost.errors import ConfigurationError
from milepost.lifecycle import events
from milepost.lifecycle.events import Event
from milepost.lifecycle.record import TaskId, TaskRecord
from milepost.lifecycle.refusals import (
    DeleteRefused,
    KeyTaken,
    ModificationFailed,
    RequeueRefused,
    SeveralTasksFound,
    TaskNotFound,
    WrongState,
)
from milepost.lifecycle.requeueing import may_be_requeued
from milepost.stores import bulk, operations
from milepost.stores.bulk import Order
from milepost.stores.filter import TaskFilter
from milepost.stores.protocol import Session
from milepost.tasks import AnyTask

_BATCH: Final = 100
_TRIES_MAX: Final = 20
_REASONS_MAX: Final = 20
_GONE: Final = "deleted meanwhile"
NO_MATCH: Final = "does not match any more"
_RESTLESS: Final = "changed again and again"
_KEY_TAKEN: Final = "another live task holds the key"
_OTHERS: Final = "for other reasons"

_log = logging.getLogger("milepost.client")

Refusal: TypeAlias = TaskNotFound | SeveralTasksFound | WrongState | KeyTaken | ModificationFailed
Decide: TypeAlias = Callable[[TaskRecord], Event | Refusal | None]
"""What shall happen to a task, None for its removal, or why nothing shall."""
Answer: TypeAlias = bulk.Answer | Refusal | str


@final
@frozen
class BulkSummary:
    """What became of the tasks that matched when a verb of many tasks began.

    `changed` of the `matched` ones were changed, the others are counted in `refused` by the reason why they were not.
    """

    matched: int
    changed: int
    refused: Mapping[str, int]


def cancel_all(query: TaskQuery[Any], *, reason: str, by: str, everything: bool) -> Steps[BulkSummary]:
    """End all that match."""
    event = events.CancelRequested(checked_reason(reason), who(by))
    return _all(query, everything, lambda _: event)


def requeue_all(
    query: TaskQuery[Any], *, from_start: bool, edit: Edit | None, reason: str, by: str, everything: bool
) -> Steps[BulkSummary]:
    """Run all that match again."""
    wanted = _meant(query, everything)
    return _summed(wanted, requeueing(query.task, from_start, edit, reason, by))


def proceed_all(query: TaskQuery[Any], order: ProceedOrder, *, everything: bool) -> Steps[BulkSummary]:
    """Let all that match go on, each as `order` says of one."""

    def decide(record: TaskRecord) -> Event | Refusal:
        decided = order.event_for(record)
        if isinstance(decided, Success):
            event: Event = decided.unwrap()
            return event
        refusal: Refusal = decided.failure()
        return refusal

    return _all(query, everything, decide)


def delete_all(query: TaskQuery[Any], *, reason: str, by: str, everything: bool) -> Steps[BulkSummary]:
    """Remove all that match and do not run."""
    reason, by = checked_reason(reason), who(by)
    summary = yield from _all(query, everything, lambda _: None)
    tell_of_deletion(summary.changed, reason, by)
    return summary


def requeue(
    target: Target, *, from_start: bool, edit: Edit | None, reason: str, by: str, descendants: bool
) -> Steps[Result[TaskRecord, RequeueRefused]]:
    """Run one task again, perhaps of an edited request, or with what descends from it."""
    id = id_of(target)
    if descendants and (from_start or edit is not None):
        raise ConfigurationError(
            "`descendants` runs again what a task has enqueued, and `from_start` and `edit` let the task enqueue it "
            "anew: ask for one of them"
        )
    if edit is None:
        plain = partial(operations.requeue, from_start=from_start, reason=checked_reason(reason), by=who(by))
        answered: Result[TaskRecord, RequeueRefused] = yield Write(partial(plain, id=id, descendants=descendants))
        return answered
    decide = requeueing(None if isinstance(target, str) else target.task, from_start, edit, reason, by)
    answer = (yield from _change([id], TaskFilter(), decide))[id]
    match answer:
        case TaskRecord():
            return Success(answer)
        case TaskNotFound() | WrongState() | KeyTaken() | ModificationFailed():
            return Failure(answer)
        case None | SeveralTasksFound():
            return Failure(ModificationFailed(f"the task {_RESTLESS}"))
        case str():
            return Failure(TaskNotFound(id))


def delete(id: TaskId, *, reason: str, by: str) -> Steps[Result[TaskRecord, DeleteRefused]]:
    """Remove one task, if it does not run."""
    reason, by = checked_reason(reason), who(by)
    answer: Result[TaskRecord, DeleteRefused] = yield Write(partial(operations.delete, id=id))
    if (reason or by) and isinstance(answer, Success):
        tell_of_deletion(1, reason, by)
    return answer


def requeueing(task: AnyTask | None, from_start: bool, edit: Edit | None, reason: str, by: str) -> Decide:
    """What a requeue decides on a record; runs the edit."""
    event = events.Requeued(from_start, checked_reason(reason), who(by))
    edit = checked_function(edit, "edit")

    def decide(record: TaskRecord) -> Event | Refusal:
        if edit is None:
            return event
        if not may_be_requeued(record):
            return WrongState(record.state)
        made = edited(record, event, task, edit)
        return made if isinstance(made, ModificationFailed) else attrs.evolve(event, edited=made)

    return decide


def tell_of_deletion(deleted: int, reason: str, by: str) -> None:
    """A deleted task has no history to tell it, so the log does."""
    if deleted:
        _log.info("deleted %d tasks, asked by %s, because: %s", deleted, by or "nobody known", reason or "-")


def _all(query: TaskQuery[Any], everything: bool, decide: Decide) -> Steps[BulkSummary]:
    wanted = _meant(query, everything)
    return _summed(wanted, decide)


def _meant(query: TaskQuery[Any], everything: bool) -> TaskFilter:
    plain = TaskFilter()
    wanted = attrs.evolve(checked_query(query, "a verb of many tasks").filter, order=plain.order, cursor=plain.cursor)
    if wanted == plain and everything is not True:
        raise ConfigurationError(
            "this query has no condition, so it means every task in the store; add a condition to it, or say so with "
            "everything=True"
        )
    return wanted


def _summed(wanted: TaskFilter, decide: Decide) -> Steps[BulkSummary]:
    matched: list[TaskId] = yield Read(lambda session: session.ids(wanted))
    changed = 0
    refused: Counter[str] = Counter()
    for start in range(0, len(matched), _BATCH):
        answers = yield from _change(matched[start : start + _BATCH], wanted, decide)
        for answer in answers.values():
            if isinstance(answer, TaskRecord):
                changed += 1
            else:
                why = _told(answer)
                refused[why if why in refused or len(refused) < _REASONS_MAX else _OTHERS] += 1
    return BulkSummary(len(matched), changed, dict(refused))


def _change(
    ids: Sequence[TaskId], wanted: TaskFilter, decide: Decide
) -> Generator[Read | Write, Any, dict[TaskId, Answer]]:
    """Change one batch: what became of each of `ids`."""
    answers: dict[TaskId, Answer] = {}
    left = ids
    for _ in range(_TRIES_MAX):
        answers.update(dict.fromkeys(left, NO_MATCH))
        found: list[TaskRecord] = yield Read(partial(_matching, ids=left, wanted=wanted))
        orders: list[Order] = []
        for record in found:
            decided = decide(record)
            if isinstance(decided, Refusal):
                answers[record.id] = decided
            else:
                orders.append(Order(record, decided))
        if orders:
            written: list[bulk.Answer] = yield Write(partial(bulk.change, orders=orders))
            answers.update({order.known.id: answer for order, answer in zip(orders, written, strict=True)})
        left = [id for id in left if answers[id] is None]
        if not left:
            break
    return answers


def _matching(session: Session, *, ids: Sequence[TaskId], wanted: TaskFilter) -> list[TaskRecord]:
    return session.search(attrs.evolve(wanted, ids=tuple(ids)), limit=len(ids))


def _told(answer: Answer) -> str:
    match answer:
        case None:
            return _RESTLESS
        case TaskNotFound():
            return _GONE
        case KeyTaken():
            return _KEY_TAKEN
        case _:
            return str(answer)
