"""Every state against every event, exhaustively, against tables that a reader can check."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import attrs
import pytest

from milepost.crash import Crash, CrashKind
from milepost.lifecycle import events
from milepost.lifecycle.change import Transition
from milepost.lifecycle.children import ChildCount
from milepost.lifecycle.events import Event
from milepost.lifecycle.invariants import violations
from milepost.lifecycle.joining import GROUP_NAME
from milepost.lifecycle.record import TaskRecord
from milepost.lifecycle.refusals import WrongState
from milepost.lifecycle.states import LimitKind, TaskState
from milepost.lifecycle.ties import Join, Tie
from milepost.lifecycle.transition import transition
from milepost.payload import JsonText
from milepost.testing.conformance.kit import HOUR, NOW, decided, sample

_OLD = JsonText('{"page":1}')
_NEW = JsonText('{"page":2}')
_ERROR = JsonText('"no"')
_CRASH = Crash(CrashKind.EXCEPTION, "broken", "ValueError")

# "cancelling" runs and was asked to end; "limited" waits for a share of a limit; "sleeping" is suspended with a
# wake-up, "parked" without one; "-" is refused, "same" stays.
STATES = """
                           | running     cancelling  | waiting*  limited   sleeping  parked    | final*  quarantined
claimed                    | running     running     | running   running   running   -         | -       -
committed                  | running     running     | -         -         -         -         | -       -
succeeded                  | completed   completed   | -         -         -         -         | -       -
suspended                  | suspended   cancelled   | -         -         -         -         | -       -
suspended without change   | suspended   cancelled   | -         -         -         -         | -       -
suspended for an hour      | suspended   cancelled   | -         -         -         -         | -       -
suspended until later      | suspended   cancelled   | -         -         -         -         | -       -
suspended until now        | pending     cancelled   | -         -         -         -         | -       -
suspended at once          | pending     cancelled   | -         -         -         -         | -       -
spinning                   | pending     cancelled   | -         -         -         -         | -       -
suspended for children     | suspended   cancelled   | -         -         -         -         | -       -
suspended for no child     | pending     cancelled   | -         -         -         -         | -       -
suspended for an event     | suspended   cancelled   | -         -         -         -         | -       -
suspended with others      | suspended   cancelled   | -         -         -         -         | -       -
others enqueued at once    | pending     cancelled   | -         -         -         -         | -       -
failed                     | failed      failed      | -         -         -         -         | -       -
failed, retryable          | retrying    cancelled   | -         -         -         -         | -       -
failed, retry after        | retrying    cancelled   | -         -         -         -         | -       -
failed, final              | failed      failed      | -         -         -         -         | -       -
gave up                    | cancelled   cancelled   | -         -         -         -         | -       -
crashed                    | retrying    cancelled   | -         -         -         -         | -       -
crashed for good           | failed      failed      | -         -         -         -         | -       -
deadline missed            | failed      failed      | -         -         -         -         | -       -
start missed               | failed      failed      | -         -         -         -         | -       -
interrupted                | interrupted cancelled   | -         -         -         -         | -       -
undecodable                | pending     pending     | -         -         -         -         | -       -
deferred                   | pending     pending     | -         -         -         -         | -       -
limited by rate            | pending     cancelled   | -         -         -         -         | -       -
limited by concurrency     | pending     cancelled   | -         -         -         -         | -       -
over its limit             | failed      cancelled   | -         -         -         -         | -       -
keyed                      | pending     cancelled   | -         -         -         -         | -       -
let in                     | -           -           | -         pending   -         -         | -       -
stalled                    | quarantined quarantined | -         -         -         -         | -       -
cancel requested           | running     running     | cancelled cancelled cancelled cancelled | -       cancelled
cancel of a tree requested | running     running     | cancelled cancelled cancelled cancelled | -       cancelled
cancel obeyed              | cancelled   cancelled   | -         -         -         -         | -       -
proceeded                  | running     running     | same      same      pending   pending   | -       -
proceeded for later        | running     running     | same      same      suspended suspended | -       -
proceeded with progress    | -           -           | -         -         pending   pending   | -       -
requeued                   | -           -           | -         -         -         -         | pending pending
requeued from the start    | -           -           | -         -         -         -         | pending pending
requeued with an edit      | -           -           | -         -         -         -         | pending pending
children ended             | -           -           | -         -         -         -         | -       -
child failed               | -           -           | -         -         -         -         | -       -
awaited                    | running     running     | same      same      suspended suspended | -       quarantined
received                   | -           -           | -         -         -         -         | -       -
requeued to wait again     | -           -           | -         -         -         -         | pending pending
"""

# "joining" is suspended until its children have ended, "listening" until an event comes; what is not here is refused.
WAITS = """
                           | joining   listening
cancel requested           | cancelled cancelled
cancel of a tree requested | cancelled cancelled
proceeded                  | -         pending
proceeded for later        | -         suspended
proceeded with progress    | -         pending
children ended             | pending   -
child failed               | suspended -
awaited                    | suspended suspended
received                   | -         pending
"""

COUNTERS = """
claimed                    | fence+1 stalls+1
committed                  | sequence+1 stalls=0
succeeded                  | stalls=0
suspended                  | sequence+1 stalls=0
suspended without change   | stalls=0
suspended for an hour      | sequence+1 stalls=0
suspended until later      | stalls=0
suspended until now        | sequence+1 stalls=0
suspended at once          | sequence+1 stalls=0
spinning                   | sequence+1
suspended for children     | sequence+1 stalls=0
suspended for no child     |
suspended for an event     | sequence+1 stalls=0
suspended with others      | sequence+1 stalls=0
others enqueued at once    | sequence+1 stalls=0
failed                     | stalls=0
failed, retryable          | failures+1 stalls=0
failed, retry after        | failures+1 stalls=0
failed, final              | stalls=0
gave up                    | stalls=0
crashed                    | failures+1 stalls=0
crashed for good           | stalls=0
deadline missed            | stalls=0
start missed               | stalls=0
interrupted                | stalls-1 interruptions+1
undecodable                |
deferred                   | stalls-1
limited by rate            | stalls-1
limited by concurrency     | stalls-1
over its limit             | stalls=0
keyed                      | stalls-1
let in                     |
stalled                    |
cancel requested           |
cancel of a tree requested |
cancel obeyed              | stalls=0
proceeded                  |
proceeded for later        |
proceeded with progress    | sequence+1
requeued                   | epoch+1 failures=0 stalls=0 interruptions=0
requeued from the start    | epoch+1 failures=0 stalls=0 interruptions=0 sequence+1
requeued with an edit      | epoch+1 failures=0 stalls=0 interruptions=0 sequence+1
children ended             | stalls=0
child failed               |
awaited                    |
received                   |
requeued to wait again     | epoch+1 failures=0 stalls=0 interruptions=0
"""


def _events() -> dict[str, Event]:
    return {
        "claimed": events.Claimed("bob", "fresh"),
        "committed": events.Committed(_NEW),
        "succeeded": events.Succeeded(_NEW),
        "suspended": events.Suspended(_NEW),
        "suspended without change": events.Suspended(None),
        "suspended for an hour": events.Suspended(_NEW, HOUR),
        "suspended until later": events.Suspended(None, NOW + HOUR),
        "suspended until now": events.Suspended(_NEW, NOW),
        "suspended at once": events.Suspended(_NEW, at_once=True),
        "spinning": events.Suspended(_OLD, timedelta(0)),
        "suspended for children": events.Suspended(None, join=Join.ALL_FINISHED, enqueues=True),
        "suspended for no child": events.Suspended(None, join=Join.ALL_FINISHED),
        "suspended for an event": events.Suspended(None, HOUR, event="paid", key="7"),
        "suspended with others": events.Suspended(None, enqueues=True),
        "others enqueued at once": events.Suspended(None, at_once=True, enqueues=True),
        "failed": events.Failed(_ERROR),
        "failed, retryable": events.Failed(_ERROR, retryable=True),
        "failed, retry after": events.Failed(_ERROR, retry_after=HOUR),
        "failed, final": events.Failed(_ERROR, retryable=True, final=True, retry_after=HOUR),
        "gave up": events.GaveUp(_ERROR),
        "crashed": events.Crashed(_CRASH),
        "crashed for good": events.Crashed(_CRASH, retryable=False),
        "deadline missed": events.DeadlineMissed(),
        "start missed": events.StartMissed(),
        "interrupted": events.Interrupted(),
        "undecodable": events.Undecodable("no such version"),
        "deferred": events.Deferred(HOUR),
        "limited by rate": events.Limited(LimitKind.RATE, NOW + HOUR, NOW + HOUR),
        "limited by concurrency": events.Limited(LimitKind.CONCURRENCY, NOW + HOUR),
        "over its limit": events.OverLimit(LimitKind.RATE, "no start within the horizon"),
        "keyed": events.Keyed("ada", None),
        "let in": events.LetIn(),
        "stalled": events.Stalled(),
        "cancel requested": events.CancelRequested("enough"),
        "cancel of a tree requested": events.CancelRequested("enough", tree=True),
        "cancel obeyed": events.CancelObeyed(),
        "proceeded": events.Proceeded(),
        "proceeded for later": events.Proceeded(at=NOW + HOUR),
        "proceeded with progress": events.Proceeded(_NEW),
        "children ended": events.ChildrenEnded(ChildCount(completed=2)),
        "child failed": events.ChildFailed(),
        "awaited": events.Awaited(),
        "received": events.Received(_NEW),
        "requeued": events.Requeued(),
        "requeued to wait again": events.Requeued(rejoins=True),
        "requeued from the start": events.Requeued(from_start=True),
        "requeued with an edit": events.Requeued(edited=events.Edited(_NEW, _NEW, version=2)),
    }


def _records() -> dict[str, tuple[TaskRecord, ...]]:
    first = JsonText('{"page":0}')
    base = sample(
        1,
        execution_metadata_json=_OLD,
        initial_execution_metadata_json=first,
        fence=3,
        token="old",
        revision=9,
        sequence=2,
        epoch=2,
        failures=1,
        stalls=2,
        interruptions=1,
    )
    running = attrs.evolve(base, state=TaskState.RUNNING, executor="ada", due_at=None)
    parked = attrs.evolve(base, state=TaskState.SUSPENDED, due_at=None)
    ended = attrs.evolve(base, due_at=None, finished_at=NOW)
    return {
        "running": (running,),
        "cancelling": (attrs.evolve(running, cancel_requested_at=NOW, cancel_reason="enough"),),
        "waiting*": tuple(
            attrs.evolve(base, state=state) for state in (TaskState.PENDING, TaskState.RETRYING, TaskState.INTERRUPTED)
        ),
        "limited": (attrs.evolve(base, due_at=NOW + HOUR, limited_by=LimitKind.CONCURRENCY),),
        "sleeping": (attrs.evolve(base, state=TaskState.SUSPENDED, due_at=NOW + HOUR),),
        "parked": (parked,),
        "joining": (attrs.evolve(parked, join=Join.ALL_FINISHED_FAIL_FAST),),
        "listening": (attrs.evolve(parked, awaited_event="paid", awaited_key="7"),),
        "final*": (
            attrs.evolve(ended, state=TaskState.COMPLETED, result_json=_NEW),
            attrs.evolve(ended, state=TaskState.FAILED, error_json=_ERROR),
            attrs.evolve(ended, state=TaskState.CANCELLED, crash=_CRASH),
        ),
        "quarantined": (attrs.evolve(base, state=TaskState.QUARANTINED, due_at=None, crash=_CRASH),),
    }


def _cells() -> Iterator[tuple[str, str, str]]:
    yield from _rows(STATES)
    told = [*_rows(WAITS)]
    yield from told
    names, columns = (
        [*dict.fromkeys(cell[place] for cell in cells)] for place, cells in ((0, _rows(STATES)), (1, told))
    )
    yield from ((name, column, "-") for name in names if name not in {cell[0] for cell in told} for column in columns)


def _rows(table: str) -> Iterator[tuple[str, str, str]]:
    head, *rows = [line.split("|", 1) for line in table.strip("\n").splitlines()]
    columns = head[1].replace("|", " ").split()
    for name, outcomes in rows:
        for column, outcome in zip(columns, outcomes.replace("|", " ").split(), strict=True):
            yield name.strip(), column, outcome


def _changes() -> dict[str, list[str]]:
    rows = [line.split("|") for line in COUNTERS.strip("\n").splitlines()]
    return {name.strip(): [str(change) for change in changes.split()] for name, changes in rows}


@pytest.mark.parametrize(("event", "column", "outcome"), tuple(_cells()))
def test_every_event_in_every_state_is_decided_as_the_table_says(event: str, column: str, outcome: str) -> None:
    for record in _records()[column]:
        decision = transition(record, _events()[event], now=NOW)
        if outcome == "-":
            assert decision == WrongState(record.state)
        else:
            assert isinstance(decision, Transition)
            assert decision.after.state.value == (record.state.value if outcome == "same" else outcome)
            assert violations(decision.after) == ()


def test_the_tables_are_complete() -> None:
    cells = list(_cells())
    assert {type(_events()[name]) for name, _, _ in cells} == set(Event.__args__)
    assert {record.state for _, column, _ in cells for record in _records()[column]} == set(TaskState)
    assert {name for name, _, _ in cells} == set(_changes()) == set(_events())
    assert all(violations(record) == () for group in _records().values() for record in group)


@pytest.mark.parametrize(("event", "changes"), tuple(_changes().items()))
def test_an_event_moves_exactly_the_counters_of_the_table(event: str, changes: list[str]) -> None:
    special = {"proceeded with progress": "parked", "let in": "limited", "received": "listening"}
    special |= dict.fromkeys(("children ended", "child failed"), "joining")
    column = special.get(event, "quarantined" if "requeued" in event else "running")
    (before,) = _records()[column]
    expected = {
        name: getattr(before, name) for name in ("fence", "sequence", "failures", "stalls", "interruptions", "epoch")
    }
    for change in changes:
        name, sign, number = change[:-2], change[-2], int(change[-1])
        expected[name] = {"+": expected[name] + number, "-": expected[name] - number, "=": number}[sign]
    after = decided(before, _events()[event]).after
    assert {name: getattr(after, name) for name in expected} == expected
    assert after.revision == before.revision + 1


def test_a_group_and_a_continuation_end_where_others_go_on() -> None:
    (joining,) = _records()["joining"]
    group = attrs.evolve(joining, name=GROUP_NAME)
    table = {
        # whose last child ended   | its join             | all succeeded       | one did not
        (joining, Join.ALL_FINISHED): (TaskState.PENDING, TaskState.PENDING),
        (joining, Join.ALL_SUCCEEDED): (TaskState.PENDING, TaskState.CANCELLED),
        (group, Join.ALL_FINISHED): (TaskState.COMPLETED, TaskState.COMPLETED),
        (group, Join.ALL_SUCCEEDED): (TaskState.COMPLETED, TaskState.FAILED),
    }
    for (record, join), outcomes in table.items():
        for fails_fast in (False, True):
            waits = attrs.evolve(record, join=join.failing_fast if fails_fast else join)
            counts = (ChildCount(completed=2), ChildCount(completed=1, cancelled=1))
            decisions = [decided(waits, events.ChildrenEnded(count)) for count in counts]
            assert tuple(each.after.state for each in decisions) == outcomes
            assert [violations(each.after) for each in decisions] == [(), ()]


def test_that_a_child_failed_is_noted_once_and_only_by_who_fails_fast() -> None:
    (joining,) = _records()["joining"]
    noted = decided(joining, events.ChildFailed()).after
    assert (noted.ties, decided(noted, events.ChildFailed()).after) == (Tie.FAILED_FAST, noted)
    patient = attrs.evolve(joining, join=Join.ALL_FINISHED)
    assert transition(patient, events.ChildFailed(), now=NOW) == WrongState(TaskState.SUSPENDED)


def test_who_waits_for_a_task_is_noted_once() -> None:
    (running,) = _records()["running"]
    noted = decided(running, events.Awaited())
    assert (noted.after.ties, noted.after.revision, noted.history) == (Tie.AWAITED, running.revision + 1, ())
    assert decided(noted.after, events.Awaited()) == Transition(noted.after, noted.after, ())


def test_a_cancel_of_the_tree_is_noted_after_one_of_the_task_whose_reason_stands() -> None:
    (asked,) = _records()["cancelling"]
    after = decided(asked, events.CancelRequested("later", tree=True)).after
    assert (after.ties, after.cancel_reason) == (Tie.TREE_CANCELLED, "enough")
    assert decided(after, events.CancelRequested("again", tree=True)).after is after


def test_a_proceed_that_was_kept_outlasts_a_wait_for_children() -> None:
    (running,) = _records()["running"]
    kept = decided(running, events.Proceeded()).after
    joining = decided(kept, events.Suspended(None, join=Join.ALL_FINISHED, enqueues=True)).after
    assert (joining.state, joining.early_proceed_at) == (TaskState.SUSPENDED, NOW)
    assert violations(joining) == ()


def test_what_a_task_has_waited_for_stays_with_it_until_its_next_suspension_or_a_start_over() -> None:
    (quarantined,) = _records()["quarantined"]
    joined = attrs.evolve(quarantined, join=Join.ALL_FINISHED, awaited_event="paid", awaited_key="7")
    assert decided(joined, events.Requeued()).after.join is Join.ALL_FINISHED
    again = decided(joined, events.Requeued(rejoins=True)).after
    assert (again.state, again.join, again.due_at) == (TaskState.SUSPENDED, Join.ALL_FINISHED, None)
    edited = events.Edited(_NEW, _NEW, version=2)
    for event in (events.Requeued(from_start=True), events.Requeued(edited=edited)):
        after = decided(joined, event).after
        assert (after.join, after.awaited_event, after.awaited_key) == (None, None, None)
    (running,) = _records()["running"]
    assert decided(attrs.evolve(running, join=Join.ALL_FINISHED), events.Suspended(None)).after.join is None


def test_a_continuation_has_its_whole_deadline_once_it_goes_on() -> None:
    (joining,) = _records()["joining"]
    waits = attrs.evolve(joining, deadline_seconds=60.0)
    assert decided(waits, events.ChildrenEnded(ChildCount(completed=1))).after.deadline_at == NOW + timedelta(minutes=1)


def test_cancelling_a_waiting_task_fences_off_whoever_read_it_before() -> None:
    for column in ("waiting*", "sleeping", "parked", "joining", "listening", "quarantined"):
        for record in _records()[column]:
            assert decided(record, events.CancelRequested("enough")).after.fence == record.fence + 1


def test_asking_for_a_cancel_twice_changes_nothing_the_second_time() -> None:
    (asked,) = _records()["cancelling"]
    assert decided(asked, events.CancelRequested("again")) == Transition(asked, asked, ())


def test_a_success_under_a_cancel_request_stands() -> None:
    (asked,) = _records()["cancelling"]
    after = decided(asked, events.Succeeded(_NEW)).after
    assert (after.state, after.result_json, after.crash) == (TaskState.COMPLETED, _NEW, None)


def test_a_suspension_under_a_cancel_request_keeps_its_progress() -> None:
    (asked,) = _records()["cancelling"]
    after = decided(asked, events.Suspended(_NEW)).after
    assert (after.state, after.execution_metadata_json, after.sequence) == (TaskState.CANCELLED, _NEW, 3)
    assert after.crash == Crash(CrashKind.CANCELLED, "enough")


def test_a_suspension_under_a_cancel_request_drops_its_progress_with_what_it_carries() -> None:
    (asked,) = _records()["cancelling"]
    for event in (
        events.Suspended(_NEW, enqueues=True),
        events.Suspended(_NEW, join=Join.ALL_FINISHED, enqueues=True),
        events.Suspended(_NEW, has_effects=True),
    ):
        after = decided(asked, event).after
        assert (after.state, after.sequence) == (TaskState.CANCELLED, asked.sequence)
        assert after.execution_metadata_json == asked.execution_metadata_json


def test_a_failed_attempt_keeps_the_last_commit() -> None:
    (running,) = _records()["running"]
    for event in (events.Failed(_ERROR, retryable=True), events.Crashed(_CRASH), events.Interrupted()):
        after = decided(running, event).after
        assert (after.execution_metadata_json, after.sequence) == (_OLD, 2)


def test_a_requeue_from_the_start_is_a_commit_of_the_first_execution_metadata() -> None:
    (record,) = _records()["quarantined"]
    after = decided(record, events.Requeued(from_start=True)).after
    assert after.execution_metadata_json == record.initial_execution_metadata_json
    assert after.idempotency_key != record.idempotency_key


def test_a_requeue_with_an_edit_starts_from_it_and_so_does_every_later_start() -> None:
    (record,) = _records()["quarantined"]
    edited = events.Edited(_NEW, JsonText("3"), version=2)
    for from_start in (False, True):
        after = decided(record, events.Requeued(from_start, edited=edited)).after
        assert (after.metadata_json, after.version) == (_NEW, 2)
        assert after.execution_metadata_json == after.initial_execution_metadata_json == "3"
        assert after.idempotency_key != record.idempotency_key


def test_history_says_who_asked_and_why() -> None:
    (running,), (quarantined,) = _records()["running"], _records()["quarantined"]
    for record in (running, quarantined):
        (line,) = decided(record, events.CancelRequested("enough", by="ada")).history
        assert (line.reason, line.by) == ("enough", "ada")
    edited = events.Edited(_NEW, _NEW, version=2)
    (line,) = decided(quarantined, events.Requeued(True, "try again", "ada", edited)).history
    assert (line.reason, line.by) == ("from the start; edited; try again", "ada")


def test_an_unreadable_row_backs_off_and_is_then_quarantined_with_its_bytes() -> None:
    (running,) = _records()["running"]
    waits: list[timedelta] = []
    for stalls in range(1, 5):
        after = decided(attrs.evolve(running, stalls=stalls), events.Undecodable("why")).after
        assert after.due_at is not None
        waits.append(after.due_at - NOW)
    assert waits == [timedelta(seconds=seconds) for seconds in (10, 20, 40, 80)]
    last = decided(attrs.evolve(running, stalls=5), events.Undecodable("why")).after
    assert (last.state, last.crash) == (TaskState.QUARANTINED, Crash(CrashKind.UNDECODABLE, "why"))
    assert (last.metadata_json, last.execution_metadata_json) == (running.metadata_json, _OLD)
