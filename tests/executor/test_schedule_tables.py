"""The policies of schedules as tables, on every store: what is missed, and what meets a live previous task."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial

import pytest

from milepost import Misfire, Overlap, Schedule, Store, TaskRecord, TaskState, cron
from milepost.crash import Crash, CrashKind
from milepost.lifecycle import events
from milepost.lifecycle.events import Event
from milepost.payload import JsonText
from milepost.stores.flow_tables import ScheduleRow
from milepost.stores.protocol import Session
from tests.executor.scheduled import REQUEST, AnySchedule, happens, look, put, row_of, tasks_of

pytestmark = pytest.mark.anyio

HOURLY = cron("0 * * * *")


def clock(text: str) -> datetime:
    """A moment of the day of these tests."""
    return datetime.fromisoformat(f"2030-01-01T{text}+00:00")


# An hourly schedule, begun at 08:30. When an executor looks at it, which instants get a task, by the misfire policy:
# the task of each, and in brackets how many were skipped.
MISFIRES = """
              ONE          SKIP         ALL
08:59:59      -            -            -               nothing is due yet
09:00:00      09           09           09              one is due now
09:01:00      09           09           09              one is on time, just
09:01:01      09           - (1)        09              one was missed
11:30:00      11 (2)       - (3)        09 10 11        three were missed
12:00:30      12 (3)       12 (3)       09 10 11 12     three were missed, one is on time
08:00:00      -            -            -               the clock has gone back
"""


async def test_the_table_of_misfires_holds(store: Store) -> None:
    lines = MISFIRES.strip("\n").splitlines()
    for number, line in enumerate(lines[1:]):
        moment, *cells = [cell.strip() for cell in line.split("   ") if cell.strip()]
        policies = [Misfire[name] for name in lines[0].split()]
        assert policies == list(Misfire)
        keys = {f"{number} {policy.name}": policy for policy in policies}
        await put(
            store,
            clock("08:30:00"),
            *(Schedule(key, REQUEST, HOURLY, misfire=policy, overlap=Overlap.ALLOW) for key, policy in keys.items()),
        )
        await look(store, clock(moment))
        seen = [await fired_and_skipped(store, key) for key in keys]
        assert [*seen, cells[3]] == cells, line
        await store.transact(partial(_forget, keys=list(keys)))


def _forget(session: Session, keys: list[str]) -> None:
    session.schedules.delete(keys)


async def fired_and_skipped(store: Store, key: str) -> str:
    """The hours for which there is a task, and how many instants were skipped."""
    hours = " ".join(f"{record.schedule_at:%H}" for record in await tasks_of(store, key)) or "-"
    skipped = (await row_of(store, key)).state.skipped
    return f"{hours} ({skipped})" if skipped else hours


# An hourly schedule has enqueued a task at 09:00, which is as the first column says at 10:00. What becomes of 10:00?
#   F: its task is enqueued               S: it is skipped
#   C: the task of 9 is cancelled, and its own one enqueued
#   Q: it is queued, and its task is enqueued once the one of 9 has ended
#   W: so it is, and the task of 9 is asked to stop
OVERLAPS = """
              SKIP    QUEUE   ALLOW   CANCEL_PREVIOUS
completed     F       F       F       F
failed        F       F       F       F
cancelled     F       F       F       F
quarantined   F       F       F       F
deleted       F       F       F       F
running       S       Q       F       W
pending       S       Q       F       C
retrying      S       Q       F       C
interrupted   S       Q       F       C
suspended     S       Q       F       C
"""
CLAIM = events.Claimed("somebody", "token")
CRASH = Crash(CrashKind.EXCEPTION, "no", "ValueError", "")
HAPPENED: dict[str, list[Event]] = {
    "completed": [CLAIM, events.Succeeded(JsonText("{}"))],
    "failed": [CLAIM, events.Crashed(CRASH, retryable=False)],
    "cancelled": [events.CancelRequested("no")],
    "quarantined": [CLAIM, events.Stalled()],
    "deleted": [],
    "running": [CLAIM],
    "pending": [],
    "retrying": [CLAIM, events.Crashed(CRASH)],
    "interrupted": [CLAIM, events.Interrupted()],
    "suspended": [CLAIM, events.Suspended(None)],
}


async def test_the_table_of_overlaps_holds(store: Store) -> None:
    """All at once: of so many schedules, each has its own previous task."""
    header, *lines = OVERLAPS.strip("\n").splitlines()
    policies = [Overlap[name] for name in header.split()]
    assert policies == list(Overlap)
    expected = {
        f"{line.split()[0]} {policy.name}": letter
        for line in lines
        for policy, letter in zip(policies, line.split()[1:], strict=True)
    }
    assert {key.split()[0] for key in expected} == {*(state.value for state in TaskState), "deleted"}
    await put(store, clock("08:30:00"), *(_overlapping(key) for key in expected))
    await look(store, clock("09:00:00"))
    firsts = {key: (await tasks_of(store, key))[0] for key in expected}
    for key, first in firsts.items():
        await happens(store, clock("09:30:00"), first, *HAPPENED[key.split()[0]])
    gone = [first.id for key, first in firsts.items() if key.startswith("deleted")]
    await store.transact(lambda session: session.delete(gone))
    await look(store, clock("10:00:00"))
    seen = {key: _letter(first, await row_of(store, key), await tasks_of(store, key)) for key, first in firsts.items()}
    assert seen == expected

    # What is queued fires when the previous task ends, whatever its end.
    ends: dict[str, list[Event]] = {"Q": [events.CancelRequested("no")], "W": [events.CancelObeyed()]}
    queued = [key for key, letter in expected.items() if letter in ends]
    for key in queued:
        running = expected[key] == "W" or key.startswith("running")
        await happens(store, clock("10:20:00"), firsts[key], *ends["W" if running else "Q"])
    await look(store, clock("10:20:00"))
    assert {key: await fired_and_skipped(store, key) for key in queued} == dict.fromkeys(queued, "09 10")


def _overlapping(key: str) -> AnySchedule:
    return Schedule(key, REQUEST, HOURLY, overlap=Overlap[key.split()[1]])


def _letter(first: TaskRecord, row: ScheduleRow, tasks: list[TaskRecord]) -> str:
    """What the store says has become of the second instant."""
    previous = next((record for record in tasks if record.id == first.id), None)
    was_cancelled = previous is not None and "the next instant of its schedule" in _reason(previous)
    if len(tasks) > (previous is not None):
        return "C" if was_cancelled else "F"
    if row.state.queued_at is not None:
        return "W" if was_cancelled else "Q"
    assert row.state.skipped == 1
    return "S"


def _reason(record: TaskRecord) -> str:
    """Why it was cancelled, or asked to stop."""
    return record.cancel_reason or (record.crash.message if record.crash is not None else "")


async def test_a_queue_keeps_the_oldest_of_several_instants_and_a_cancel_the_newest(store: Store) -> None:
    """The task of 9 runs until half past twelve."""
    await put(store, clock("08:30:00"), *(_overlapping(f"x {name}") for name in ("QUEUE", "CANCEL_PREVIOUS")))
    await look(store, clock("09:00:00"))
    for name in ("QUEUE", "CANCEL_PREVIOUS"):
        (first,) = await tasks_of(store, f"x {name}")
        await happens(store, clock("09:00:01"), first, CLAIM)
    for hour in ("10", "11", "12"):
        await look(store, clock(f"{hour}:00:00"))
    for name in ("QUEUE", "CANCEL_PREVIOUS"):
        (first,) = await tasks_of(store, f"x {name}")
        await happens(store, clock("12:30:00"), first, events.Succeeded(JsonText("{}")))
    await look(store, clock("12:30:00"))
    assert await fired_and_skipped(store, "x QUEUE") == "09 10 (2)"
    assert await fired_and_skipped(store, "x CANCEL_PREVIOUS") == "09 12 (2)"


async def test_a_queued_instant_whose_previous_task_is_deleted_fires_within_a_minute(store: Store) -> None:
    await put(store, clock("08:30:00"), _overlapping("x QUEUE"))
    await look(store, clock("09:00:00"))
    (first,) = await tasks_of(store, "x QUEUE")
    await look(store, clock("10:00:00"))
    await store.transact(lambda session: session.delete([first.id]))
    assert await look(store, clock("10:00:59")) == []
    await look(store, clock("10:01:00"))
    assert await fired_and_skipped(store, "x QUEUE") == "10"


async def test_the_last_instant_of_a_schedule_waits_for_the_previous_task_too(store: Store) -> None:
    last = Schedule("x", REQUEST, HOURLY, overlap=Overlap.QUEUE, run_limit=2)
    await put(store, clock("08:30:00"), last)
    await look(store, clock("09:00:00"))
    (first,) = await tasks_of(store, "x")
    await look(store, clock("10:00:00"))
    assert not (await row_of(store, "x")).state.has_ended
    await happens(store, clock("10:00:10"), first, events.CancelRequested("no"))
    await look(store, clock("10:00:10"))
    assert await fired_and_skipped(store, "x") == "09 10"
    assert (await row_of(store, "x")).state.has_ended
    assert (await row_of(store, "x")).due_at is None


async def test_what_ended_hours_ago_is_not_looked_at_for_ever(store: Store) -> None:
    """A schedule that is due is looked at once, whatever it decides."""
    await put(store, clock("08:30:00"), _overlapping("x SKIP"))
    for moment in ("09:00:00", "10:00:00"):
        await look(store, clock(moment))
        assert await look(store, clock(moment)) == []
        assert (await row_of(store, "x SKIP")).due_at == clock(moment) + timedelta(hours=1)
