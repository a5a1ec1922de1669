"""The table of docs/reference/states.md is what `transition` decides, cell by cell."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import attrs

from milepost.crash import Crash, CrashKind
from milepost.lifecycle import events
from milepost.lifecycle.change import Transition
from milepost.lifecycle.children import ChildCount
from milepost.lifecycle.events import Event
from milepost.lifecycle.record import TaskRecord
from milepost.lifecycle.states import FINAL_STATES, WAITING_STATES, LimitKind, TaskState
from milepost.lifecycle.ties import Join
from milepost.lifecycle.transition import transition
from milepost.payload import JsonText
from milepost.testing.conformance.kit import HOUR, NOW, sample

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "states.md"
_START, _END = "<!-- table -->", "<!-- end of table -->"
_X = JsonText('{"page":2}')
_ERROR = JsonText('"no"')
_CRASH = Crash(CrashKind.EXCEPTION, "broken", "ValueError")

_EVENTS: dict[str, Event] = {
    "claimed by an executor": events.Claimed("ada", "token"),
    "committed progress": events.Committed(_X),
    "`Success`": events.Succeeded(_X),
    "`Suspended()`": events.Suspended(_X),
    "`Suspended().after(...)`, `.until(...)`": events.Suspended(_X, HOUR),
    "`Suspended().at_once()`": events.Suspended(_X, at_once=True),
    "`Suspended().then_enqueue(...).until_finished()`": events.Suspended(_X, join=Join.ALL_FINISHED, enqueues=True),
    "`Suspended().until_event(...)`": events.Suspended(_X, event="paid", key="7"),
    "`Failure`, the policy retries": events.Failed(_ERROR, retryable=True),
    "`Failure`, otherwise": events.Failed(_ERROR),
    "`Cancellation`": events.GaveUp(_ERROR),
    "exception or time-out, the policy retries": events.Crashed(_CRASH),
    "exception or time-out, otherwise": events.Crashed(_CRASH, retryable=False),
    "deadline missed": events.DeadlineMissed(),
    "start deadline missed": events.StartMissed(),
    "the executor stops": events.Interrupted(),
    "cannot be decoded": events.Undecodable("why"),
    "suspected of killing its process, while another one runs": events.Deferred(HOUR),
    "a limit makes it wait": events.Limited(LimitKind.RATE, NOW + HOUR),
    "a limit turns it away": events.OverLimit(LimitKind.RATE, "why"),
    "a limit is newer than it": events.Keyed("", None),
    "a share of a concurrency limit is free": events.LetIn(),
    "claimed too often without progress": events.Stalled(),
    "its last child ends": events.ChildrenEnded(ChildCount(completed=1)),
    "a child fails, with `fail_fast`": events.ChildFailed(),
    "its event is sent": events.Received(_X),
    "somebody waits for its end": events.Awaited(),
    "`cancel`": events.CancelRequested("enough"),
    "the run obeyed a cancel": events.CancelObeyed(),
    "`proceed`": events.Proceeded(),
    "`proceed` with `at=` in the future": events.Proceeded(at=NOW + HOUR),
    "`proceed` with `modify=`": events.Proceeded(_X),
    "`requeue`": events.Requeued(),
}


def _situations() -> dict[str, list[TaskRecord]]:
    base = sample(1, fence=1, token="t", stalls=1)
    running = attrs.evolve(base, state=TaskState.RUNNING, executor="bob", due_at=None)
    parked = attrs.evolve(base, state=TaskState.SUSPENDED, due_at=None)
    return {
        "waiting": [attrs.evolve(base, state=state) for state in sorted(WAITING_STATES, key=lambda each: each.value)],
        "waiting for a share": [attrs.evolve(base, due_at=NOW + HOUR, limited_by=LimitKind.CONCURRENCY)],
        "running": [running],
        "running, cancel requested": [attrs.evolve(running, cancel_requested_at=NOW, cancel_reason="enough")],
        "suspended for a time": [attrs.evolve(base, state=TaskState.SUSPENDED, due_at=NOW + timedelta(hours=1))],
        "suspended": [parked],
        "suspended for children": [attrs.evolve(parked, join=Join.ALL_FINISHED_FAIL_FAST)],
        "suspended for an event": [attrs.evolve(parked, awaited_event="paid", awaited_key="7")],
        "final": [
            attrs.evolve(base, state=state, due_at=None, finished_at=NOW)
            for state in sorted(FINAL_STATES, key=lambda each: each.value)
        ],
        "quarantined": [attrs.evolve(base, state=TaskState.QUARANTINED, due_at=None)],
    }


def rendered() -> str:
    """The table, as the page must have it."""
    situations = _situations()
    lines = ["| event | " + " | ".join(situations) + " |", "|" + "---|" * (len(situations) + 1)]
    for name, event in _EVENTS.items():
        cells = [_outcome(records, event) for records in situations.values()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _outcome(records: list[TaskRecord], event: Event) -> str:
    decisions = [transition(record, event, now=NOW) for record in records]
    outcomes = {each.after.state.value if isinstance(each, Transition) else "-" for each in decisions}
    if all(isinstance(each, Transition) and each.after.early_proceed_at is not None for each in decisions):
        return "kept"
    if len(outcomes) > 1 and outcomes == {record.state.value for record in records}:
        return "as it is"
    (outcome,) = outcomes
    return outcome


def test_the_table_of_the_page_is_what_the_transition_decides() -> None:
    _, _, rest = PAGE.read_text("utf-8").partition(_START)
    table, found, _ = rest.partition(_END)
    assert found, f"{PAGE.name} has no table between {_START} and {_END}"
    assert table.strip() == rendered(), "put this between the marks:\n\n" + rendered()


def test_the_table_has_every_event_and_every_state() -> None:
    assert {type(event) for event in _EVENTS.values()} == set(Event.__args__)
    assert {record.state for records in _situations().values() for record in records} == set(TaskState)
