"""What a requeue makes of an ended or quarantined task: a new epoch, of the same request or of an edited one."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from milepost.lifecycle.change import Decision, by_deadline, change_to, dropping_proceed
from milepost.lifecycle.events import Requeued
from milepost.lifecycle.joining import GROUP_NAME
from milepost.lifecycle.record import HistoryKind, TaskRecord, deadline_from
from milepost.lifecycle.refusals import WrongState
from milepost.lifecycle.states import TaskState
from milepost.lifecycle.ties import Tie
from milepost.payload import JsonText

_OF_ONE_EPOCH: Final = Tie.TREE_CANCELLED | Tie.FAILED_FAST


def requeue(record: TaskRecord, event: Requeued, now: datetime) -> Decision:
    """Open a new epoch; from the start, or of an edited request, under a new idempotency key as well.

    It waits again where children that it waits for are opened with it, and so does a group, which does nothing else.
    """
    if not may_be_requeued(record):
        return WrongState(record.state)
    rejoins = record.join is not None and (event.rejoins or record.name == GROUP_NAME)
    # Who has not begun cannot, before those that it waits for have ended.
    deadline = None if rejoins and record.started_at is None else deadline_from(now, record.deadline_seconds)
    fresh: dict[str, Any] = {
        "due_at": by_deadline(record.changed({"deadline_at": deadline}), None) if rejoins else now,
        "epoch": record.epoch + 1,
        "failures": 0,
        "stalls": 0,
        "interruptions": 0,
        "result_json": None,
        "error_json": None,
        "crash": None,
        "cancel_requested_at": None,
        "cancel_reason": None,
        "progress": None,
        "progress_note": "",
        "started_at": None,
        "finished_at": None,
        "deadline_at": deadline,
        "start_by": None,
        **_request(record, event),
    }
    if record.ties & _OF_ONE_EPOCH:
        fresh["ties"] = record.ties & ~_OF_ONE_EPOCH
    if rejoins:
        fresh["join"] = record.join
    state = TaskState.SUSPENDED if rejoins else TaskState.PENDING
    return dropping_proceed(change_to(record, state, HistoryKind.REQUEUED, now, fresh, _reason(event), event.by), now)


def may_be_requeued(record: TaskRecord) -> bool:
    """Whether the task has ended, or waits for a person."""
    return record.state.is_final or record.state is TaskState.QUARANTINED


def start_of(record: TaskRecord, event: Requeued) -> JsonText:
    """The execution metadata that the new epoch goes on from, unless it is edited."""
    return record.initial_execution_metadata_json if event.from_start else record.execution_metadata_json


def _request(record: TaskRecord, event: Requeued) -> dict[str, Any]:
    if not event.from_start and event.edited is None:
        return {}
    # A commit of what it starts from, so that the idempotency key is a new one too.
    changes: dict[str, Any] = {
        "execution_metadata_json": start_of(record, event),
        "sequence": record.sequence + 1,
        "early_proceed_at": None,  # it was meant for what the task has done since
    }
    if record.join is not None:
        changes["join"] = None
    if record.awaited_event is not None:
        changes |= {"awaited_event": None, "awaited_key": None, "received_json": None}
    if event.edited is not None:
        changes["version"] = event.edited.version
        changes["metadata_json"] = event.edited.metadata
        changes["execution_metadata_json"] = event.edited.execution_metadata
        changes["initial_execution_metadata_json"] = event.edited.execution_metadata
        changes["rate_key"] = event.edited.rate_key
        changes["concurrency_key"] = event.edited.concurrency_key
    return changes


def _reason(event: Requeued) -> str:
    edited = "edited" if event.edited is not None else ""
    return "; ".join(filter(None, ("from the start" if event.from_start else "", edited, event.reason)))
