"""Groups of requests as values, and what becomes of them when they are encoded."""

from __future__ import annotations

from typing import Any

import pytest

from milepost import (
    ALL_FINISHED,
    ALL_SUCCEEDED,
    REJECT,
    Audit,
    Crash,
    Empty,
    Failure,
    Join,
    Outcome,
    PayloadRefused,
    Success,
    Task,
    TaskDefinitionError,
    TaskGroup,
    TaskResult,
    group,
    task,
)
from milepost.lifecycle.draft import Draft
from milepost.testing import recorded_execution

build_group: Any = group


@task
def double(metadata: int, progress: Empty) -> TaskResult[int, str]:
    return Success.with_result(2 * metadata)


@task
def add(metadata: Empty, progress: Empty) -> TaskResult[int, str]:
    return Success.with_result(1)


def drafts(grouped: TaskGroup) -> list[Draft]:
    found = grouped.drafts(Audit.FULL)
    assert not isinstance(found, PayloadRefused)
    return found


def test_members_come_first_and_the_head_that_waits_for_them_last() -> None:
    first, second, head = drafts(
        group([double.with_metadata(1), double.with_metadata(2)], then=add.with_metadata(Empty()))
    )
    assert head.name == "add"
    assert (head.parent, head.waits_for, head.join) == (None, (first.id, second.id), Join.ALL_SUCCEEDED)
    assert [(each.parent, each.parent_position) for each in (first, second)] == [(head.id, "1.0.0"), (head.id, "1.0.1")]
    assert {each.audit for each in (first, second, head)} == {Audit.FULL}


def test_a_group_in_a_group_is_one_member() -> None:
    inner_member, inner_head, second, head = drafts(
        group([group([double.with_metadata(1)], on=ALL_FINISHED), double.with_metadata(2)], fail_fast=True)
    )
    assert (inner_head.name, inner_head.waits_for, inner_head.join) == (
        "milepost.group",
        (inner_member.id,),
        Join.ALL_FINISHED,
    )
    assert (inner_head.parent, inner_head.parent_position) == (head.id, "1.0.0")
    assert (head.waits_for, head.join) == ((inner_head.id, second.id), Join.ALL_SUCCEEDED_FAIL_FAST)


def test_an_empty_group_waits_for_nobody() -> None:
    (head,) = drafts(group([]))
    assert head.waits_for == ()


def test_a_refusal_says_which_member_it_was() -> None:
    wrong: Any = "two"
    nested = group([double.with_metadata(1), group([double.with_metadata(wrong)])])
    assert str(nested.drafts()).startswith("member 1 (milepost.group): member 0 (double): metadata $: ")
    continued = group([], then=double.with_metadata(wrong))
    assert str(continued.drafts()).startswith("then (double): metadata $: ")


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: build_group(double.with_metadata(1)), "a group takes a list of requests, got TaskRequest"),
        (lambda: build_group([double]), r"member 0 of a group is what task.with_metadata\(...\) or group\(...\) gives"),
        (lambda: build_group([], then=group([])), "then= of a group is one request"),
        (lambda: build_group([], on="all"), "on= of a group is ALL_SUCCEEDED or ALL_FINISHED, got 'all'"),
        (lambda: build_group([], on=Join.ALL_FINISHED_FAIL_FAST), "on= of a group is ALL_SUCCEEDED or ALL_FINISHED"),
    ],
)
def test_what_is_no_group_is_refused_by_name(build: Any, text: str) -> None:
    with pytest.raises(TaskDefinitionError, match=text):
        build()


def test_a_group_with_a_request_that_rejects_conflicts_is_no_follow_up() -> None:
    rejecting = group([group([double.with_metadata(1).with_key("a", REJECT)])])
    assert rejecting.rejects_conflict
    assert not group([double.with_metadata(1)], then=add.with_metadata(Empty())).rejects_conflict
    with pytest.raises(ValueError, match="a follow-up cannot use REJECT"):
        Success.with_result(1).then_enqueue(rejecting)


def test_the_two_ways_to_end_have_a_name_at_the_door() -> None:
    assert (ALL_SUCCEEDED, ALL_FINISHED) == (Join.ALL_SUCCEEDED, Join.ALL_FINISHED)


def test_recorded_children_are_what_they_would_be_after_a_journey_through_the_store() -> None:
    ended: list[tuple[Task, Outcome[int, str]]] = [
        (double, Success(2)),
        (add, Failure("no")),
        (double, Crash.of(ValueError("x"))),
    ]
    children = recorded_execution(0, children=ended).children
    assert list(children.values()) == [outcome for _, outcome in ended]
    assert children.of(double) == [ended[0][1], ended[2][1]]
    assert repr(children) == "<Children double: completed, add: failed, double: failed>"
    assert repr(recorded_execution(0).children) == "<Children, none>"
    with pytest.raises(TaskDefinitionError, match="'double' cannot have ended with this result"):
        recorded_execution(0, children=[(double, Success("two"))])
