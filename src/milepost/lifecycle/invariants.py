"""What must hold of every record, checked before it is written and after it is read in tests."""

from __future__ import annotations

from collections.abc import Iterator

from milepost.lifecycle.change import by_deadline
from milepost.lifecycle.record import TaskRecord
from milepost.lifecycle.states import WAITING_STATES, TaskState


def violations(record: TaskRecord) -> tuple[str, ...]:
    """The promises that `record` breaks, as sentences; empty for a sound one."""
    return tuple(_violations(record))


def _violations(record: TaskRecord) -> Iterator[str]:
    state = record.state
    running = state is TaskState.RUNNING
    if running != (record.executor is not None):
        yield f"a {state.value} task has executor {record.executor!r}: exactly running tasks are owned"
    if running and record.token is None:
        yield "a running task has no token"
    if running and record.fence < 1:
        yield "a running task was never fenced"
    if state in WAITING_STATES and record.due_at is None:
        yield f"a {state.value} task has no due time, so nothing would ever claim it"
    if (running or state.is_final or state is TaskState.QUARANTINED) and record.due_at is not None:
        yield f"a {state.value} task has a due time, so it could be claimed"
    if state.is_final != (record.finished_at is not None):
        yield f"a {state.value} task has finished_at {record.finished_at}"
    if (state is TaskState.COMPLETED) != (record.result_json is not None):
        yield f"a {state.value} task has result {record.result_json!r}"
    if state in (TaskState.FAILED, TaskState.CANCELLED) and (record.error_json is None) is (record.crash is None):
        yield f"a {state.value} task has both a typed error and a crash, or neither"
    parked = state is TaskState.SUSPENDED and record.join is None
    if record.early_proceed_at is not None and (state.is_final or parked):
        yield f"a {state.value} task keeps a proceed, which its suspension or its end should have used up"
    if record.waits_for_children and record.due_at != by_deadline(record, None):
        yield "a task that waits for its children could be claimed before they have ended, and not by its deadline"
    if state is TaskState.QUARANTINED and record.crash is None:
        yield "a quarantined task does not say why"
    if min(record.fence, record.sequence, record.revision, record.failures, record.stalls, record.epoch - 1) < 0:
        yield "a counter is negative"
