"""Named events over any session: whoever waits for one gets it, and what nobody waits for yet is kept.

Sending and beginning to wait lock the event, so that of two at once the second sees the first: an event comes to
whoever waits when it is sent, or to the first who begins to wait afterwards, and once to each.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import final

from attrs import frozen

from milepost.errors import StoreError
from milepost.lifecycle import events
from milepost.lifecycle.change import Transition
from milepost.lifecycle.record import TaskId, TaskRecord
from milepost.lifecycle.transition import transition
from milepost.stores.flow_tables import SentEvent
from milepost.stores.protocol import Session


@final
@frozen
class SentTo:
    """What became of an event that was sent: the tasks that it woke, in the order of their ids.

    With none, it is kept for the first that comes to wait for it. `repeated`: it had been sent before, under the same
    id, so that nothing happened.
    """

    delivered: tuple[TaskId, ...] = ()
    repeated: bool = False


def send(session: Session, event: SentEvent, *, is_named: bool) -> SentTo:
    """Deliver `event` to every task that waits for it, or else keep it; sent again under an id that it `is_named` by,
    it does nothing."""
    session.events.lock([(event.name, event.key)])
    if is_named and session.events.is_known(event):
        return SentTo(repeated=True)
    woken = _wake(session, [(task, event) for task in session.events.waiting(event.name, event.key)], event.sent_at)
    if event.keep_until > event.sent_at and (is_named or not woken):
        session.events.keep(event, delivered_at=event.sent_at if woken else None)
    return SentTo(tuple(task.id for task in woken))


def awaited_by(transitions: Sequence[Transition]) -> list[tuple[str, str]]:
    """The events that tasks begin to wait for by these: to be locked before any task is."""
    return [_awaited(decided.after) for decided in transitions if _begins(decided)]


def take_early(session: Session, written: Sequence[Transition], *, now: datetime) -> list[TaskRecord]:
    """Let those go on whose event was sent before they began to wait; gives them as they are now."""
    begun = [decided.after for decided in written if _begins(decided)]
    early = [(task, session.events.take(*_awaited(task), now=now)) for task in begun]
    return _wake(session, [(task, event) for task, event in early if event is not None], now)


def _begins(decided: Transition) -> bool:
    after = decided.after
    return after.awaited_event is not None and after.waits_for_event and not decided.before.waits_for_event


def _awaited(task: TaskRecord) -> tuple[str, str]:
    return task.awaited_event or "", task.awaited_key or ""


def _wake(session: Session, found: Sequence[tuple[TaskRecord, SentEvent]], now: datetime) -> list[TaskRecord]:
    if not found:
        return []
    decided = [transition(task, events.Received(event.payload_json), now=now) for task, event in found]
    changes = [each for each in decided if isinstance(each, Transition)]
    if len(changes) < len(found) or not all(session.write(changes)):
        # Who reads tasks that wait has locked them, or is alone.
        raise StoreError("a task has changed while an event was delivered to it; send the event again")
    return [each.after for each in changes]
