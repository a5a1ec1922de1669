"""What a named event makes of a task that waits for it, and what else ends or outlives the wait."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from milepost.lifecycle import events
from milepost.lifecycle.change import Transition
from milepost.lifecycle.events import Event
from milepost.lifecycle.record import HistoryKind, TaskRecord
from milepost.lifecycle.refusals import WrongState
from milepost.lifecycle.states import TaskState
from milepost.lifecycle.transition import transition
from milepost.payload import JsonText
from milepost.testing.conformance.kit import HOUR, NOW, SECOND, decided, sample

X = JsonText("1")
PAID = JsonText('{"cents":700}')
WAIT = events.Suspended(None, event="paid", key="7")
LATER = NOW + SECOND


def running(**changes: Any) -> TaskRecord:
    return decided(sample(1, **changes), events.Claimed("ada", "token")).after


def waiting(within: timedelta | None = None) -> TaskRecord:
    return decided(running(), events.Suspended(X, within, event="paid", key="7")).after


def after(record: TaskRecord, *happens: Event) -> TaskRecord:
    for event in happens:
        record = decided(record, event, now=LATER).after
    return record


def received(record: TaskRecord) -> tuple[str | None, str | None, str | None]:
    return record.awaited_event, record.awaited_key, record.received_json


def test_a_task_that_waits_is_suspended_and_due_at_the_end_of_its_wait() -> None:
    assert (waiting().state, waiting().due_at) == (TaskState.SUSPENDED, None)
    assert (waiting(HOUR).state, waiting(HOUR).due_at) == (TaskState.SUSPENDED, NOW + HOUR)
    assert received(waiting()) == ("paid", "7", None)


def test_to_begin_to_wait_is_a_commit_even_without_other_progress() -> None:
    task = running()
    assert after(task, WAIT).sequence == task.sequence + 1
    assert after(task, events.Suspended(X, event="paid", key="7")).sequence == task.sequence + 1


@pytest.mark.parametrize("within", [None, HOUR])
def test_the_event_lets_the_task_go_on_at_once_with_what_came(within: timedelta | None) -> None:
    change = decided(waiting(within), events.Received(PAID), now=LATER)
    woken = change.after
    assert (woken.state, woken.due_at, received(woken)) == (TaskState.PENDING, LATER, ("paid", "7", PAID))
    assert woken.revision == waiting().revision + 1
    (line,) = change.history
    assert (line.kind, line.state, line.reason) == (HistoryKind.WOKEN, TaskState.PENDING, "received the event paid")


def test_an_event_comes_once() -> None:
    woken = after(waiting(), events.Received(PAID))
    assert transition(woken, events.Received(PAID), now=LATER) == WrongState(TaskState.PENDING)


@pytest.mark.parametrize(
    "task",
    [sample(1), running(), after(running(), events.Suspended(X)), after(running(), events.Succeeded(X))],
    ids=["pending", "running", "suspended without an event", "completed"],
)
def test_who_does_not_wait_receives_nothing(task: TaskRecord) -> None:
    assert transition(task, events.Received(PAID), now=LATER) == WrongState(task.state)


def test_what_came_stays_until_the_next_suspension() -> None:
    claim = events.Claimed("bob", "other")
    failed = after(waiting(), events.Received(PAID), claim, events.Committed(X), events.Failed(X, retry_after=SECOND))
    assert received(failed) == ("paid", "7", PAID)
    assert received(after(failed, claim, WAIT)) == ("paid", "7", None)
    assert received(after(failed, claim, events.Suspended(X))) == (None, None, None)


def test_a_wait_that_is_over_in_vain_leaves_nothing_received() -> None:
    claimed = decided(waiting(HOUR), events.Claimed("bob", "other"), now=NOW + HOUR).after
    assert received(claimed) == ("paid", "7", None)
    assert claimed.state is TaskState.RUNNING


def test_a_proceed_ends_the_wait_with_nothing_received() -> None:
    proceeded = after(waiting(), events.Proceeded())
    assert (proceeded.state, received(proceeded)) == (TaskState.PENDING, ("paid", "7", None))
    postponed = after(waiting(), events.Proceeded(at=NOW + HOUR))
    assert postponed.waits_for_event
    assert received(after(postponed, events.Received(PAID))) == ("paid", "7", PAID)


def test_a_proceed_that_came_early_ends_the_wait_that_it_meets() -> None:
    met = after(running(), events.Proceeded(), WAIT)
    assert (met.state, received(met)) == (TaskState.PENDING, ("paid", "7", None))


def test_a_task_that_is_to_be_cancelled_does_not_begin_to_wait() -> None:
    cancelled = after(running(), events.CancelRequested("enough"), WAIT)
    assert (cancelled.state, received(cancelled)) == (TaskState.CANCELLED, (None, None, None))


def test_a_requeue_keeps_what_came_and_one_from_the_start_forgets_it() -> None:
    ended = after(waiting(), events.Received(PAID), events.Claimed("bob", "other"), events.Failed(X))
    assert received(after(ended, events.Requeued())) == ("paid", "7", PAID)
    assert received(after(ended, events.Requeued(from_start=True))) == (None, None, None)


def test_who_was_cancelled_while_it_waited_does_not_wait_any_more() -> None:
    cancelled = after(waiting(), events.CancelRequested("enough"))
    assert not cancelled.waits_for_event
    assert isinstance(transition(cancelled, events.Requeued(), now=LATER), Transition)
    assert not after(cancelled, events.Requeued()).waits_for_event
