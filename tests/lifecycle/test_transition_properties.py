"""What holds of every transition, whatever the record, the event, the policy and the time."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from milepost.lifecycle import events
from milepost.lifecycle.change import Transition, enqueued_history, is_audited
from milepost.lifecycle.events import Event
from milepost.lifecycle.invariants import violations
from milepost.lifecycle.record import Audit, HistoryKind, TaskRecord
from milepost.lifecycle.refusals import WrongState
from milepost.lifecycle.states import FINAL_STATES, TaskState
from milepost.lifecycle.transition import Policy, admission, transition
from milepost.payload import JsonText
from tests.strategies import any_events, changes, moments, policies, records

pytestmark = pytest.mark.slow

_RELEASED = (TaskState.QUARANTINED, TaskState.PENDING)


def _claimable() -> st.SearchStrategy[TaskRecord]:
    return st.one_of([records(state=state) for state in (TaskState.RUNNING, TaskState.PENDING, TaskState.RETRYING)])


@given(records())
def test_the_records_that_these_tests_start_from_are_sound(record: TaskRecord) -> None:
    assert violations(record) == ()


@given(records(), any_events(), moments(), policies())
def test_a_transition_answers_and_leaves_a_sound_record(
    record: TaskRecord, event: Event, now: datetime, policy: Policy
) -> None:
    decision = transition(record, event, now=now, policy=policy)
    match decision:
        case Transition():
            assert decision.before is record
            assert violations(decision.after) == ()
        case WrongState():
            assert decision == WrongState(record.state)


@given(changes())
def test_counters_move_only_as_they_may(change: Transition) -> None:
    before, after = change.before, change.after
    assume(after is not before)
    requeued = after.epoch != before.epoch
    assert after.revision == before.revision + 1
    assert after.fence - before.fence in (0, 1)
    assert after.sequence - before.sequence in (0, 1)
    assert after.epoch - before.epoch in (0, 1)
    assert requeued is (before.state in FINAL_STATES or (before.state, after.state) == _RELEASED)
    assert after.failures == 0 if requeued else after.failures - before.failures in (0, 1)
    assert after.execution_metadata_json == before.execution_metadata_json or after.sequence == before.sequence + 1


_OF_A_COMMIT = {"execution_metadata_json", "sequence", "stalls", "revision"}


def _changed_fields(change: Transition) -> set[str]:
    before, after = vars(change.before), vars(change.after)
    return {name for name in before if before[name] != after[name]}


@given(records(state=TaskState.RUNNING), moments())
def test_a_commit_is_one_and_changes_only_what_a_store_writes_of_one(record: TaskRecord, now: datetime) -> None:
    change = transition(record, events.Committed(JsonText("1")), now=now)
    assert isinstance(change, Transition)
    assert change.is_commit
    assert _changed_fields(change) <= _OF_A_COMMIT


@given(changes())
def test_whatever_else_looks_like_a_commit_changes_no_more_than_one(change: Transition) -> None:
    assert not change.is_commit or _changed_fields(change) <= _OF_A_COMMIT


@given(changes())
def test_what_identifies_a_task_never_changes(change: Transition) -> None:
    before, after = change.before, change.after
    for field in ("id", "name", "queue", "priority", "key", "correlation", "audit", "created_at", "deadline_seconds"):
        assert getattr(after, field) == getattr(before, field)


@given(changes())
def test_a_request_is_rewritten_by_nothing_but_the_edit_of_a_requeue(change: Transition) -> None:
    before, after = change.before, change.after
    same = [
        getattr(after, field) == getattr(before, field)
        for field in ("version", "metadata_json", "initial_execution_metadata_json")
    ]
    assert change.rewrites_request is (not all(same))
    if change.rewrites_request:
        assert after.epoch == before.epoch + 1
        assert after.idempotency_key != before.idempotency_key
        assert after.initial_execution_metadata_json == after.execution_metadata_json


@given(st.data(), st.sampled_from(sorted(FINAL_STATES, key=lambda state: state.value)), any_events(), moments())
def test_an_ended_task_changes_only_by_a_requeue(
    data: st.DataObject, state: TaskState, event: Event, now: datetime
) -> None:
    record = data.draw(records(state=state))
    decision = transition(record, event, now=now)
    assert isinstance(decision, Transition) is isinstance(event, events.Requeued)


@given(changes())
def test_a_change_has_a_line_of_history_if_it_is_audited_and_one_for_a_kept_proceed_that_it_ends(
    change: Transition,
) -> None:
    before, after = change.before, change.after
    assume(after.changed({"ties": before.ties, "revision": before.revision}) != before)  # who is tied to whom is silent
    lines = 1 + (before.early_proceed_at is not None and after.early_proceed_at is None)
    assert len(change.history) <= lines
    assert (before.audit is Audit.FULL) <= (len(change.history) == lines)
    assert (before.audit is Audit.NONE) <= (change.history == ())
    for line in change.history:
        assert is_audited(line.kind, before.audit)
        assert (line.state, line.attempt) == (after.state, before.attempt)
        assert line.executor == (after.executor or before.executor)


@given(_claimable(), moments(), policies())
def test_what_admission_says_is_accepted_and_ends_the_run(record: TaskRecord, now: datetime, policy: Policy) -> None:
    claimed = transition(record, events.Claimed("ada", "token"), now=now)
    assert isinstance(claimed, Transition)
    verdict = admission(claimed.after, now=now, policy=policy)
    assume(verdict is not None)
    assert verdict is not None
    decision = transition(claimed.after, verdict, now=now, policy=policy)
    assert isinstance(decision, Transition)
    assert decision.after.state in FINAL_STATES | {TaskState.QUARANTINED}


@given(records())
def test_the_first_line_of_history_is_told_from_the_row(record: TaskRecord) -> None:
    lines = enqueued_history(record)
    assert [line.kind for line in lines] == [HistoryKind.ENQUEUED] * is_audited(HistoryKind.ENQUEUED, record.audit)
