"""What an enqueue will do, decided before it does anything: which requests become tasks, and which are there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import NamedTuple, TypeAlias, final

from attrs import frozen
from returns.result import Failure, Result, Success

from milepost.lifecycle import events
from milepost.lifecycle.change import Transition
from milepost.lifecycle.draft import Draft, OnConflict
from milepost.lifecycle.record import TaskId, TaskRecord
from milepost.lifecycle.refusals import IdTaken, KeyTaken
from milepost.lifecycle.states import TaskState
from milepost.lifecycle.transition import transition
from milepost.stores.protocol import Session

Key: TypeAlias = tuple[str, str]

Step: TypeAlias = Draft | Transition
"""A task to insert, or a transition to write."""


@final
class Enqueued(NamedTuple):
    """What became of a request: a new task, or the live one that holds its key. A tuple: there are very many."""

    id: TaskId
    created: bool


@final
@frozen
class EnqueuePlan:
    """What an enqueue will do, in order."""

    steps: tuple[Step, ...]
    answers: tuple[Enqueued, ...]


@final
@frozen
class Found:
    """What the store has that requests may meet: the live tasks that hold their keys, and those with ids that requests
    were given."""

    holders: Mapping[Key, TaskRecord] = MappingProxyType({})
    known: Mapping[TaskId, TaskRecord] = MappingProxyType({})


@final
@frozen
class Refused:
    """The request that cannot be enqueued, which is why none is."""

    draft: Draft
    reason: KeyTaken | IdTaken


def look_up(session: Session, drafts: Sequence[Draft], *, then_lock: Callable[[], object] = lambda: None) -> Found:
    """Read, and lock until the transaction ends, what `drafts` may meet: keys first, what else is to be locked before
    rows are, then rows."""
    keys = [(draft.name, draft.key) for draft in drafts if draft.key is not None]
    given = [draft.id for draft in drafts if draft.replays]
    # An id that is free has no row to lock. Held like a key, of a name that no task has, two calls take it in turn.
    keys += [("", id) for id in given]
    holders = session.holders(keys) if keys else {}
    then_lock()
    return Found(holders, {record.id: record for record in session.get(given)} if given else {})


def plan_enqueue(drafts: Sequence[Draft], found: Found, *, now: datetime) -> Result[EnqueuePlan, Refused]:
    """Decide what `drafts` become, all or none.

    Of a group whose head is there already nothing is inserted: all of it is.
    """
    held = dict(found.holders)
    firsts = {id: (record.name, record.metadata_json) for id, record in found.known.items()}
    answered = {id: id for id in found.known}
    absorbed = _absorbed(drafts, held, answered)
    joined: dict[TaskId, TaskId] = {}
    steps: list[Step] = []
    answers: list[Enqueued] = []
    for draft in drafts:
        if draft.id in absorbed:
            answers.append(Enqueued(draft.id, created=False))
            continue
        if draft.id in answered:
            if firsts[draft.id] != (draft.name, draft.metadata_json):
                return Failure(Refused(draft, IdTaken(draft.id, firsts[draft.id][0])))
            joined[draft.id] = answered[draft.id]
            answers.append(Enqueued(answered[draft.id], created=False))
            continue
        if draft.replays:
            firsts[draft.id] = draft.name, draft.metadata_json
            answered[draft.id] = draft.id
        if draft.key is not None:
            holder = held.get((draft.name, draft.key))
            if holder is not None and draft.on_conflict is OnConflict.KEEP:
                answered[draft.id] = joined[draft.id] = holder.id  # if it comes once more
                answers.append(Enqueued(holder.id, created=False))
                continue
            if holder is not None:
                cancel = transition(holder, events.CancelRequested(f"replaced by {draft.id}"), now=now)
                running = holder.state is TaskState.RUNNING
                if draft.on_conflict is OnConflict.REJECT or running or not isinstance(cancel, Transition):
                    return Failure(Refused(draft, KeyTaken(holder.name, holder.key or "", holder.id)))
                steps.append(cancel)
            held[draft.name, draft.key] = draft.record(now)
        steps.append(_waiting_for(draft, joined))
        answers.append(Enqueued(draft.id, created=True))
    return Success(EnqueuePlan(tuple(steps), tuple(answers)))


def _absorbed(drafts: Sequence[Draft], held: Mapping[Key, TaskRecord], known: Collection[TaskId]) -> set[TaskId]:
    """The members of those groups whose head is there already. A head comes after its members."""
    absorbed: set[TaskId] = set()
    there: set[TaskId] = set()
    for draft in reversed(drafts):
        if draft.parent in there:
            absorbed.add(draft.id)
            there.add(draft.id)
        elif draft.waits_for is not None and _is_there(draft, held, known):
            there.add(draft.id)
    return absorbed


def _is_there(head: Draft, held: Mapping[Key, TaskRecord], known: Collection[TaskId]) -> bool:
    kept = head.key is not None and head.on_conflict is OnConflict.KEEP
    return head.id in known or (kept and (head.name, head.key or "") in held)


def _waiting_for(draft: Draft, joined: Mapping[TaskId, TaskId]) -> Draft:
    """The same, waiting for those that were joined in place of its members; each is waited for once."""
    if not draft.waits_for or not joined:
        return draft
    return draft._replace(waits_for=unique(joined.get(id, id) for id in draft.waits_for))


def unique(ids: Iterable[TaskId]) -> tuple[TaskId, ...]:
    """Each of `ids` once, where it comes first."""
    return tuple(dict.fromkeys(ids))
