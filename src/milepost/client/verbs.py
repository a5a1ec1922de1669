"""What both clients do alike, as functions of a session: asked in trio, in a thread, or in the caller's transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Set
from functools import partial
from typing import Any, TypeAlias, TypeVar

from returns.result import Failure, Result, Success

from milepost.client.query import TaskPage, TaskQuery, checked_query
from milepost.codec.scalars import shown
from milepost.errors import TaskDefinitionError
from milepost.lifecycle.draft import Draft
from milepost.lifecycle.record import Audit, TaskId, TaskRecord
from milepost.lifecycle.refusals import EnqueueRefusal, EnqueueRefused, IdTaken, KeyTaken, TaskNotFound
from milepost.payload import PayloadRefused
from milepost.stores import operations
from milepost.stores.enqueueing import Enqueued
from milepost.stores.intake import NoRoom, RoomAwaited
from milepost.stores.protocol import Session
from milepost.tasks import TaskRequest

T = TypeVar("T")
RequestT = TypeVar("RequestT")

AnyRequest: TypeAlias = TaskRequest[Any, Any, Any, Any]
Verb: TypeAlias = Callable[[Session], T]
EnqueueAnswer: TypeAlias = Result[tuple[Enqueued, ...], KeyTaken | IdTaken | NoRoom]


def several(requests: Iterable[RequestT]) -> list[RequestT]:
    """The requests as a list; raises `TaskDefinitionError` for one alone."""
    if not hasattr(requests, "__iter__"):
        raise TaskDefinitionError(
            f"enqueue_all() takes a list of requests, and enqueue() takes one alone, got {shown(requests)}"
        )
    return list(requests)


def drafts_of(requests: Iterable[AnyRequest], audit: Audit) -> Result[list[Draft], PayloadRefused]:
    """Every request encoded, or the first refusal, with the request's place among them."""
    drafts: list[Draft] = []
    for index, request in enumerate(requests):
        if type(request) is not TaskRequest:
            raise TaskDefinitionError(
                f"request {index} is what task.with_metadata(...) gives, got a {type(request).__name__}"
            )
        draft = request.draft(audit)
        if isinstance(draft, PayloadRefused):
            return Failure(PayloadRefused(f"request {index} ({request.task.name}): {draft.path}", draft.reason))
        drafts.append(draft)
    return Success(drafts)


def enqueue(drafts: Sequence[Draft]) -> Verb[EnqueueAnswer]:
    """Insert drafts, all or none."""
    return partial(operations.enqueue, drafts=drafts)


def enqueue_again(drafts: Sequence[Draft]) -> Verb[EnqueueAnswer]:
    """`enqueue` after one whose reply was lost: what that one has inserted stays as it is, for ids are the drafts'.

    Of an id that was given to a draft nobody knows any more whether it was there before: it is told as not created.
    """

    def verb(session: Session) -> EnqueueAnswer:
        there = {record.id for record in session.get([draft.id for draft in drafts if not draft.replays])}
        for draft in reversed(drafts):  # a head comes after its members, who were stored with it or joined
            if draft.parent in there:
                there.add(draft.id)
        rest = operations.enqueue(session, [draft for draft in drafts if draft.id not in there])
        return rest.map(lambda answers: _in_order(drafts, there, answers))

    return verb


def _in_order(drafts: Sequence[Draft], there: Set[TaskId], rest: Iterable[Enqueued]) -> tuple[Enqueued, ...]:
    answers = iter(rest)
    return tuple(Enqueued(draft.id, created=True) if draft.id in there else next(answers) for draft in drafts)


def insert(
    session: Session, requests: Sequence[AnyRequest], audit: Audit
) -> Result[tuple[Enqueued, ...], EnqueueRefusal]:
    """Encode and insert, all or none, in a transaction that is already open."""
    drafts = drafts_of(requests, audit)
    return inserted(session, drafts.unwrap()) if isinstance(drafts, Success) else Failure(drafts.failure())


def inserted(session: Session, drafts: Sequence[Draft]) -> Result[tuple[Enqueued, ...], EnqueueRefusal]:
    """`enqueue`, in a transaction that is already open."""
    # Who holds a transaction open must not wait for others in it.
    return enqueue(drafts)(session).alt(lambda no: no.full if isinstance(no, RoomAwaited) else no)


def or_raise(answer: Result[T, EnqueueRefusal]) -> T:
    """The value, or `EnqueueRefused` with the refusal as its reason."""
    if isinstance(answer, Success):
        value: T = answer.unwrap()
        return value
    raise EnqueueRefused(answer.failure())


def get(id: TaskId) -> Verb[Result[TaskRecord, TaskNotFound]]:
    """One task by its id."""

    def verb(session: Session) -> Result[TaskRecord, TaskNotFound]:
        found = session.get([id])
        return Success(found[0]) if found else Failure(TaskNotFound(id))

    return verb


def search(query: TaskQuery[Any]) -> Verb[TaskPage]:
    """One page; one more is read than shown, to know whether there is a next one."""
    checked_query(query, "search()")
    return lambda session: query.page(session.search(query.filter, limit=query.page_size + 1))


def count(query: TaskQuery[Any]) -> Verb[int]:
    """How many match."""
    checked_query(query, "count()")
    return lambda session: session.count(query.filter)
