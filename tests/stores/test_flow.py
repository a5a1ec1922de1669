"""What follows of ends: parents that go on, groups, trees, and what results enqueue. Nothing runs here: what a run
would have answered is said outright, on every store."""

from __future__ import annotations

from collections.abc import Generator
from datetime import timedelta
from pathlib import Path

import pytest

from milepost.errors import FollowUpRefused
from milepost.lifecycle import events
from milepost.lifecycle.draft import OnConflict
from milepost.lifecycle.joining import GROUP_NAME
from milepost.lifecycle.refusals import CancelAccepted, KeyTaken, WrongState
from milepost.lifecycle.states import TaskState
from milepost.lifecycle.ties import Join, Tie
from milepost.payload import JsonText
from milepost.stores import flow
from milepost.stores.open import connect_store
from milepost.stores.protocol import Session
from milepost.testing.conformance.kit import decided, task_id
from tests.database import store_url
from tests.stores.relations import CRASHED, DONE, FAILED, Family, ask, head

REPLACE = OnConflict.REPLACE
FAIL_FAST = Join.ALL_FINISHED_FAIL_FAST


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def family(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[Family]:
    """An empty store of each kind."""
    store = connect_store(store_url(request.param, request, tmp_path))
    try:
        yield Family(store)
    finally:
        store.close()


# Follow-ups.


def test_what_a_result_carries_is_there_with_it_and_names_its_parent_and_its_place(family: Family) -> None:
    family.enqueue(ask(1)._replace(correlation="order-7"))
    family.run(1, DONE, ask(2), ask(3)._replace(correlation="own"))
    assert family.states(1, 2, 3) == "completed pending pending"
    children = [family.record(2), family.record(3)]
    assert [(child.parent, child.parent_position) for child in children] == [
        (task_id(1), "1.1.0"),
        (task_id(1), "1.1.1"),
    ]
    assert [child.correlation for child in children] == ["order-7", "own"]


def test_follow_ups_of_every_commit_and_of_the_end_and_of_each_epoch_have_places_of_their_own(family: Family) -> None:
    family.enqueue(ask(1))
    family.run(1, events.Suspended(None, at_once=True, enqueues=True), ask(2))
    family.run(1, DONE, ask(3))
    family.requeue(1)
    family.run(1, DONE, ask(4))
    assert [family.record(n).parent_position for n in (2, 3, 4)] == ["1.1.0", "1.2.0", "2.2.0"]


def test_nothing_is_enqueued_by_an_answer_that_comes_too_late(family: Family) -> None:
    family.enqueue(ask(1))
    known = family.run(1)
    family.change(1, events.Interrupted())
    assert family.hand_in(known, DONE, ask(2)) is False
    assert (family.states(1), family.there(2)) == ("interrupted", False)


def test_a_follow_up_joins_the_live_task_that_holds_its_key(family: Family) -> None:
    family.enqueue(ask(1), ask(2, key="nightly"))
    family.run(1, DONE, ask(3, key="nightly"))
    assert not family.there(3)


def test_a_follow_up_replaces_a_waiting_holder_of_its_key_and_is_refused_by_a_running_one(family: Family) -> None:
    family.enqueue(ask(1), ask(2, key="nightly"))
    family.run(1, DONE, ask(3, key="nightly", on_conflict=REPLACE))
    assert family.states(1, 2, 3) == "completed cancelled pending"
    family.enqueue(ask(4))
    family.run(3)
    with pytest.raises(FollowUpRefused) as refused:
        family.run(4, DONE, ask(5, key="nightly", on_conflict=REPLACE))
    assert refused.value.task == task_id(4)
    assert family.states(3, 4) == "running pending"


def test_a_task_may_enqueue_its_own_successor_under_the_key_that_it_gives_up(family: Family) -> None:
    family.enqueue(ask(1, key="nightly"))
    family.run(1, DONE, ask(2, key="nightly"))
    assert family.states(1, 2) == "completed pending"


def test_a_task_that_would_wait_for_itself_is_refused(family: Family) -> None:
    family.enqueue(ask(1, key="nightly"))
    with pytest.raises(FollowUpRefused, match="wait for itself"):
        family.join(1, ask(2, key="nightly"))


# Joins.


def test_a_parent_goes_on_with_the_last_end_whatever_that_is(family: Family) -> None:
    family.join(1, ask(2), ask(3), ask(4))
    family.run(2, DONE)
    family.run(3, FAILED)
    assert (family.states(1), family.ends(1)) == ("suspended", ["completed", "failed", "-"])
    family.cancel(4)
    assert (family.states(1), family.ends(1)) == ("pending", ["completed", "failed", "cancelled"])
    assert family.history(1)[-1] == "woken: 1 of 3 completed, 1 failed, 1 was cancelled"
    assert family.record(1).due_at is not None


def test_a_parent_waits_for_children_that_are_put_aside_for_a_person(family: Family) -> None:
    family.join(1, ask(2))
    family.run(2, events.Stalled())
    assert family.states(1, 2) == "suspended quarantined"
    family.requeue(2)
    family.run(2, DONE)
    assert family.states(1) == "pending"


def test_who_waits_for_nobody_goes_on_at_once_and_that_spends_its_stalls(family: Family) -> None:
    assert family.join(1).state is TaskState.PENDING
    assert (family.record(1).stalls, family.record(1).join) == (1, None)


def test_an_end_that_is_handed_in_twice_is_kept_once(family: Family) -> None:
    family.join(1, ask(2), ask(3))
    family.run(2, DONE)
    family.requeue(2)
    assert family.ends(1) == ["-", "-"]
    family.run(2, FAILED)
    assert family.ends(1) == ["failed", "-"]


def test_what_was_kept_stays_once_the_parent_has_gone_on(family: Family) -> None:
    family.join(1, ask(2))
    family.run(2, FAILED)
    family.requeue(2)
    family.run(2, DONE)
    assert (family.states(1), family.ends(1)) == ("pending", ["failed"])


def test_a_joined_task_that_was_there_before_is_waited_for_as_well(family: Family) -> None:
    family.enqueue(ask(5, key="shared"))
    family.join(1, ask(2, key="shared"), ask(3))
    assert [child.task for child in family.children(1)] == [task_id(5), task_id(3)]
    family.run(3, DONE)
    family.run(5, DONE)
    assert family.states(1) == "pending"


def test_two_parents_wait_for_one_task(family: Family) -> None:
    family.enqueue(ask(9, key="shared"))
    family.join(1, ask(2, key="shared"))
    family.join(3, ask(4, key="shared"))
    family.run(9, FAILED)
    assert family.states(1, 3) == "pending pending"


def test_joins_are_nested_and_the_last_end_goes_up_as_far_as_it_goes(family: Family) -> None:
    family.join(1, ask(2))
    family.join(2, ask(3), ask(4))
    family.run(3, DONE)
    family.run(4, DONE)
    assert family.states(1, 2) == "suspended pending"
    family.run(2, DONE)
    assert family.states(1) == "pending"


def test_a_proceed_is_refused_while_children_run_and_one_that_came_before_is_kept(family: Family) -> None:
    family.enqueue(ask(1))
    family.run(1)
    family.change(1, events.Proceeded())
    family.join(1, ask(2))
    assert family.refusal(1, events.Proceeded()) == WrongState(TaskState.SUSPENDED)
    family.run(2, DONE)
    assert family.record(1).early_proceed_at is not None
    family.run(1, events.Suspended(None))
    assert family.states(1) == "pending"


def test_a_cancelled_parent_is_not_woken_and_waits_again_if_it_is_requeued(family: Family) -> None:
    family.join(1, ask(2), ask(3))
    family.cancel(1)
    family.run(2, DONE)
    assert (family.states(1), family.ends(1)) == ("cancelled", ["completed", "-"])
    family.requeue(1)
    assert family.states(1) == "suspended"
    family.run(3, DONE)
    assert family.states(1) == "pending"


def test_a_requeue_from_the_start_does_not_wait_again(family: Family) -> None:
    family.join(1, ask(2))
    family.cancel(1)
    family.requeue(1, from_start=True)
    assert (family.states(1), family.record(1).join) == ("pending", None)


def test_a_cancelled_parent_whose_children_have_ended_meanwhile_goes_on_when_it_is_requeued(family: Family) -> None:
    family.join(1, ask(2))
    family.cancel(1)
    family.run(2, DONE)
    family.requeue(1)
    assert (family.states(1), family.ends(1)) == ("pending", ["completed"])


# The first failure cancels the rest.


def test_the_first_failure_cancels_the_others_and_the_parent_goes_on_when_all_have_ended(family: Family) -> None:
    family.join(1, ask(2), ask(3), ask(4), join=FAIL_FAST)
    family.run(3)
    family.run(2, FAILED)
    assert family.states(1, 2, 3, 4) == "suspended failed running cancelled"
    assert family.record(3).cancel_requested_at is not None
    family.run(3, events.CancelObeyed())
    assert (family.states(1), family.ends(1)) == ("pending", ["failed", "cancelled", "cancelled"])
    assert Tie.FAILED_FAST in family.record(1).ties
    family.run(1, events.Suspended(None))
    assert Tie.FAILED_FAST not in family.record(1).ties


def test_if_none_runs_the_first_failure_ends_all_in_its_own_transaction(family: Family) -> None:
    family.join(1, ask(2), ask(3), join=FAIL_FAST)
    family.run(2, CRASHED)
    assert family.states(1, 2, 3) == "pending failed cancelled"


def test_a_success_cancels_nobody(family: Family) -> None:
    family.join(1, ask(2), ask(3), join=FAIL_FAST)
    family.run(2, DONE)
    assert family.states(1, 3) == "suspended pending"


def test_what_a_failure_cancels_is_cancelled_with_all_that_descends_from_it(family: Family) -> None:
    family.join(1, ask(2), ask(3), join=FAIL_FAST)
    family.join(3, ask(4))
    family.run(2, FAILED)
    assert family.states(1, 3, 4) == "pending cancelled cancelled"


def test_of_two_that_fail_at_once_one_may_descend_from_the_other(family: Family) -> None:
    family.join(1, ask(2), ask(3), join=FAIL_FAST)
    family.join(2, ask(4), ask(5), join=FAIL_FAST)
    runs = [family.run(3), family.run(4)]

    def both(session: Session) -> list[bool]:
        now = session.now()
        return flow.write(session, [decided(run, FAILED, now=now) for run in runs], now=now)

    assert family.store.transact_blocking(both) == [True, True]
    assert family.states(1, 2, 3, 4, 5) == "pending cancelled failed failed cancelled"


def test_a_task_that_was_only_joined_is_not_cancelled_for_the_failure_of_another(family: Family) -> None:
    family.enqueue(ask(5, key="shared"))
    family.join(1, ask(2), ask(3, key="shared"), join=FAIL_FAST)
    family.run(2, FAILED)
    assert family.states(1, 5) == "suspended pending"
    family.run(5, DONE)
    assert family.states(1) == "pending"


# Groups.


def test_a_group_ends_with_its_last_member(family: Family) -> None:
    family.enqueue(ask(2, parent=9), ask(3, parent=9), head(9, of=[2, 3]))
    assert family.states(9) == "suspended"
    family.run(2, DONE)
    family.run(3, DONE)
    assert (family.states(9), family.record(9).result) == ("completed", {"cancelled": 0, "completed": 2, "failed": 0})


def test_a_group_that_needs_all_to_succeed_fails_when_one_does_not(family: Family) -> None:
    family.enqueue(ask(2), ask(3), head(9, of=[2, 3]))
    family.run(2, FAILED)
    family.run(3, DONE)
    assert (family.states(9), family.record(9).error) == ("failed", {"cancelled": 0, "completed": 1, "failed": 1})


def test_a_group_that_needs_all_to_finish_completes_with_their_count(family: Family) -> None:
    family.enqueue(ask(2), head(9, of=[2], join=Join.ALL_FINISHED))
    family.run(2, FAILED)
    assert (family.states(9), family.record(9).result) == ("completed", {"cancelled": 0, "completed": 0, "failed": 1})


def test_a_continuation_runs_after_its_members_and_sees_their_ends(family: Family) -> None:
    family.enqueue(ask(2), ask(3), ask(9, of=[2, 3]))
    family.run(2, DONE)
    assert family.states(9) == "suspended"
    family.run(3, DONE)
    assert (family.states(9), family.ends(9)) == ("pending", ["completed", "completed"])


def test_a_continuation_that_needs_successes_is_cancelled_by_one_that_fails(family: Family) -> None:
    family.enqueue(ask(2), ask(3), ask(9, of=[2, 3]))
    family.run(2, DONE)
    family.run(3, FAILED)
    crash = family.record(9).crash
    assert crash is not None
    assert (family.states(9), crash.kind.value) == ("cancelled", "cancelled")
    assert crash.message == "not all that it waits for has succeeded: 1 of 2 completed, 1 failed"


def test_an_empty_group_goes_on_at_once(family: Family) -> None:
    family.enqueue(ask(8, of=[]), head(9, of=[]))
    assert family.states(8, 9) == "pending completed"


def test_groups_are_nested_and_an_empty_one_within_holds_up_nobody(family: Family) -> None:
    family.enqueue(head(2, of=[]), ask(3), head(4, of=[3]), ask(9, of=[2, 4]))
    assert family.states(2, 9) == "completed suspended"
    family.run(3, DONE)
    assert family.states(4, 9) == "completed pending"


def test_a_member_that_was_there_before_is_waited_for_in_its_place(family: Family) -> None:
    family.enqueue(ask(1, key="shared"))
    family.enqueue(ask(2, key="shared"), ask(3, key="shared"), head(9, of=[2, 3]))
    assert [child.task for child in family.children(9)] == [task_id(1)]
    family.run(1, DONE)
    assert family.states(9) == "completed"


def test_a_group_whose_continuation_is_there_already_is_there_already(family: Family) -> None:
    family.enqueue(ask(2, parent=9), ask(9, of=[2], key="report"))
    family.enqueue(ask(3, parent=19), ask(19, of=[3], key="report"))
    assert not family.there(3)


def test_a_group_in_a_result_is_one_child_and_wakes_its_parent_with_its_last_member(family: Family) -> None:
    family.join(1, ask(2, parent=9), ask(3, parent=9), head(9, of=[2, 3]), ask(4))
    assert [child.task for child in family.children(1)] == [task_id(9), task_id(4)]
    assert [family.record(n).parent for n in (2, 9, 4)] == [task_id(9), task_id(1), task_id(1)]
    family.run(4, DONE)
    family.run(2, DONE)
    family.run(3, FAILED)
    assert (family.states(1, 9), family.ends(1)) == ("pending failed", ["failed", "completed"])


def test_a_parent_that_waits_for_an_empty_group_goes_on_at_once(family: Family) -> None:
    family.join(1, head(9, of=[]))
    assert (family.states(1, 9), family.ends(1)) == ("pending completed", ["completed"])


def test_a_group_that_fails_fast_cancels_the_others(family: Family) -> None:
    family.enqueue(ask(2, parent=9), ask(3, parent=9), head(9, of=[2, 3], join=Join.ALL_SUCCEEDED_FAIL_FAST))
    family.run(2, FAILED)
    assert family.states(3, 9) == "cancelled failed"


def test_the_deadlines_of_a_continuation_count_from_when_it_may_begin(family: Family) -> None:
    family.enqueue(ask(2), ask(9, of=[2], deadline_seconds=60.0)._replace(start_within_seconds=10.0))
    assert family.record(9).deadline_at is None
    family.run(2, DONE)
    record = family.record(9)
    assert record.due_at is not None
    assert record.deadline_at == record.due_at + timedelta(minutes=1)
    assert record.start_by == record.due_at + timedelta(seconds=10)


# Trees.


def test_a_tree_is_cancelled_whole_and_nothing_in_it_wakes(family: Family) -> None:
    family.join(1, ask(2), ask(3))
    family.join(2, ask(4), ask(5))
    family.run(4, DONE, ask(6))
    family.run(5)
    assert family.cancel(1, descendants=True) == CancelAccepted(task_id(1), TaskState.CANCELLED, descendants=4)
    assert family.states(1, 2, 3, 4, 5, 6) == "cancelled cancelled cancelled completed running cancelled"
    assert family.record(5).cancel_requested_at is not None
    assert "woken" not in " ".join(family.history(1) + family.history(2))


def test_what_a_run_of_a_cancelled_tree_still_enqueues_is_cancelled_as_well(family: Family) -> None:
    family.join(1, ask(2))
    family.run(2)
    family.cancel(1, descendants=True)
    family.run(2, DONE, ask(3), ask(4, parent=9), head(9, of=[4]))
    assert family.states(2, 3, 4, 9) == "completed cancelled cancelled cancelled"


def test_a_cancel_with_descendants_of_a_task_that_has_ended_ends_what_it_has_enqueued(family: Family) -> None:
    family.enqueue(ask(1))
    family.run(1, DONE, ask(2))
    assert family.cancel(1, descendants=True) == CancelAccepted(task_id(1), TaskState.COMPLETED, descendants=1)
    assert family.cancel(1, descendants=True) is None


def test_a_second_cancel_of_a_running_task_may_ask_for_its_tree(family: Family) -> None:
    family.join(1, ask(2))
    family.run(2)
    family.cancel(2)
    family.cancel(1, descendants=True)
    assert Tie.TREE_CANCELLED in family.record(2).ties
    family.run(2, events.CancelObeyed())
    family.requeue(2)
    assert Tie.TREE_CANCELLED not in family.record(2).ties


def test_a_requeued_tree_runs_what_has_not_succeeded_and_waits_for_it_again(family: Family) -> None:
    family.join(1, ask(2), ask(3), ask(4))
    family.join(2, ask(5), ask(6))
    family.run(4, DONE)
    family.run(5, DONE)
    family.cancel(1, descendants=True)
    assert family.requeue(1, descendants=True) is None
    assert family.states(1, 2, 3, 4, 5, 6) == "suspended suspended pending completed completed pending"
    assert (family.ends(1), family.ends(2)) == (["-", "-", "completed"], ["completed", "-"])
    family.run(6, DONE)
    family.run(2, DONE)
    family.run(3, DONE)
    assert (family.states(1), family.ends(1)) == ("pending", ["completed"] * 3)


def test_a_parent_that_failed_over_a_failed_child_waits_for_it_again_when_the_tree_is_requeued(family: Family) -> None:
    family.join(1, ask(2), ask(3))
    family.run(2, DONE)
    family.run(3, FAILED)
    family.run(1, FAILED)
    family.requeue(1, descendants=True)
    assert (family.states(1, 2, 3), family.ends(1)) == ("suspended completed pending", ["completed", "-"])


def test_a_requeued_group_fails_fast_again_or_goes_on(family: Family) -> None:
    family.enqueue(ask(2, parent=9), ask(3, parent=9), ask(9, of=[2, 3], join=Join.ALL_SUCCEEDED_FAIL_FAST))
    for end in (FAILED, FAILED):
        family.run(2, end)
        assert family.states(2, 3, 9) == "failed cancelled cancelled"
        family.requeue(9, descendants=True)
        assert family.states(2, 3, 9) == "pending pending suspended"
    family.run(2, DONE)
    family.run(3, DONE)
    assert family.states(9) == "pending"


def test_a_group_without_a_continuation_that_is_requeued_counts_anew_and_never_waits_for_an_executor(
    family: Family,
) -> None:
    family.enqueue(ask(2, parent=9), head(9, of=[2]))
    family.run(2, FAILED)
    family.requeue(9)
    assert family.states(9) == "failed"
    family.requeue(9, descendants=True)
    family.run(2, DONE)
    assert (family.states(9), family.record(9).name) == ("completed", GROUP_NAME)


def test_a_tree_is_not_requeued_while_its_root_lives_or_another_holds_a_key_of_it(family: Family) -> None:
    family.join(1, ask(2, key="k"))
    assert family.requeue(1, descendants=True) == WrongState(TaskState.SUSPENDED)
    family.cancel(1, descendants=True)
    family.enqueue(ask(3, key="k"))
    assert family.requeue(1, descendants=True) == KeyTaken("send", "k", task_id(3))
    assert family.states(1, 2) == "cancelled cancelled"


def test_of_descendants_that_had_one_key_after_the_other_the_last_one_is_requeued(family: Family) -> None:
    family.join(1, ask(2, key="k"))
    family.run(2, FAILED)
    family.join(1, ask(3, key="k"))
    family.run(3, FAILED)
    family.run(1, FAILED)
    assert family.requeue(1, descendants=True) is None
    assert family.states(1, 2, 3) == "suspended failed pending"


# What follows of an end besides.


def test_the_end_of_a_task_with_an_on_outcome_leaves_a_companion_however_it_comes(family: Family) -> None:
    ends: dict[int, events.Event] = {1: DONE, 2: FAILED, 3: CRASHED, 4: events.DeadlineMissed()}
    family.enqueue(*(ask(n, ties=Tie.HOOKED) for n in range(1, 6)))
    for n, end in ends.items():
        family.run(n, end)
    family.cancel(5)
    companions = family.named("send:on-outcome")
    assert [each.parent for each in companions] == [task_id(n) for n in range(1, 6)]
    assert {each.state for each in companions} == {TaskState.PENDING}


def test_a_companion_waits_for_the_children_that_its_task_did_not_wait_for_to_the_end(family: Family) -> None:
    family.enqueue(ask(1, ties=Tie.HOOKED))
    family.join(1, ask(2), ask(3))
    family.run(2, DONE)
    family.cancel(1)
    (companion,) = family.named("send:on-outcome")
    assert companion.state is TaskState.SUSPENDED
    family.run(3, FAILED)
    (companion,) = family.named("send:on-outcome")
    assert companion.state is TaskState.PENDING


@pytest.mark.parametrize("takes", [False, True])
def test_children_stay_with_their_task_unless_its_on_outcome_takes_them(family: Family, takes: bool) -> None:
    ties = Tie.HOOKED | Tie.HANDS_OVER if takes else Tie.HOOKED
    family.enqueue(ask(1, ties=ties))
    family.join(1, ask(2))
    family.run(2, DONE)
    family.run(1, FAILED)
    (companion,) = family.named("send:on-outcome")
    family.requeue(1)
    assert (family.states(1), family.ends(1)) == ("pending", [] if takes else ["completed"])
    children = family.store.read_blocking(lambda session: session.joins.children([companion.id]))
    assert [child.task for child in children[companion.id]] == [task_id(2)]


def test_what_makes_good_a_cancelled_task_is_not_cancelled_with_its_tree(family: Family) -> None:
    family.enqueue(ask(1))
    family.join(1, ask(2, ties=Tie.HOOKED), ask(3, ties=Tie.HOOKED))
    family.run(2, FAILED)
    family.cancel(1, descendants=True)
    assert [each.state for each in family.named("send:on-outcome")] == [TaskState.PENDING] * 2


def test_an_awaited_task_that_has_not_ended_cannot_be_deleted(family: Family) -> None:
    family.join(1, ask(2))
    assert family.delete(2) == WrongState(TaskState.PENDING)
    family.run(2, DONE)
    assert family.delete(2) is None
    assert (family.states(1), family.ends(1)) == ("pending", ["completed"])


def test_a_continuation_is_given_its_first_execution_metadata_when_it_goes_on(family: Family) -> None:
    family.enqueue(ask(2), ask(9, of=[2])._replace(execution_metadata_json=JsonText('{"page":1}')))
    family.run(2, DONE)
    assert family.record(9).execution_metadata == {"page": 1}
