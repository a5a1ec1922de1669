"""What ends a freshly claimed task before any of its own code runs."""

from __future__ import annotations

from typing import Any

import pytest

from milepost.lifecycle import events
from milepost.lifecycle.record import TaskRecord
from milepost.lifecycle.states import TaskState
from milepost.lifecycle.transition import STALLS_MAX, Policy, admission
from milepost.testing.conformance.kit import NOW, SECOND, decided, sample


def _claimed(**changes: Any) -> TaskRecord:
    return decided(sample(1, **changes), events.Claimed("ada", "token")).after


def test_an_ordinary_task_runs() -> None:
    assert admission(_claimed(), now=NOW) is None


def test_a_task_whose_end_was_asked_for_does_not_start() -> None:
    asked = _claimed(cancel_requested_at=NOW, cancel_reason="enough")
    assert admission(asked, now=NOW) == events.CancelObeyed()


@pytest.mark.parametrize(("seconds", "missed"), [(-1, True), (0, True), (1, False)])
def test_a_task_past_its_deadline_does_not_start(seconds: int, missed: bool) -> None:
    verdict = admission(_claimed(deadline_at=NOW + seconds * SECOND), now=NOW)
    assert verdict == (events.DeadlineMissed() if missed else None)


@pytest.mark.parametrize(("seconds", "missed"), [(-1, True), (0, False), (1, False)])
def test_a_task_past_its_start_deadline_does_not_start(seconds: int, missed: bool) -> None:
    verdict = admission(_claimed(start_by=NOW + seconds * SECOND), now=NOW)
    assert verdict == (events.StartMissed() if missed else None)


def test_a_task_that_has_started_before_may_go_on_after_its_start_deadline() -> None:
    assert admission(_claimed(start_by=NOW - SECOND, started_at=NOW - SECOND), now=NOW) is None


def test_a_task_may_be_claimed_without_progress_as_often_as_the_policy_says() -> None:
    assert admission(_claimed(stalls=STALLS_MAX - 1), now=NOW) is None
    assert admission(_claimed(stalls=STALLS_MAX), now=NOW) == events.Stalled()
    assert admission(_claimed(stalls=1), now=NOW, policy=Policy(stalls_max=1)) == events.Stalled()


def test_a_cancel_comes_before_a_deadline_and_a_deadline_before_stalls() -> None:
    missed = {"deadline_at": NOW, "stalls": STALLS_MAX}
    assert admission(_claimed(cancel_requested_at=NOW, **missed), now=NOW) == events.CancelObeyed()
    assert admission(_claimed(**missed), now=NOW) == events.DeadlineMissed()


def test_a_stalled_task_is_quarantined_and_says_how_often_it_was_tried() -> None:
    claimed = _claimed(stalls=STALLS_MAX)
    quarantined = decided(claimed, events.Stalled()).after
    assert quarantined.state is TaskState.QUARANTINED
    assert quarantined.crash is not None
    assert quarantined.crash.message == "claimed 5 times without progress"


def test_the_third_claim_without_progress_makes_a_suspect_which_waits_while_another_one_runs() -> None:
    assert admission(_claimed(stalls=1), now=NOW, may_be_suspect=False) is None
    assert admission(_claimed(stalls=2), now=NOW) is None
    assert isinstance(admission(_claimed(stalls=2), now=NOW, may_be_suspect=False), events.Deferred)


def test_a_suspect_that_waits_spends_no_claim() -> None:
    claimed = _claimed(stalls=2)
    deferred = decided(claimed, events.Deferred(SECOND)).after
    assert (deferred.state, deferred.stalls, deferred.due_at) == (TaskState.PENDING, 2, NOW + SECOND)
