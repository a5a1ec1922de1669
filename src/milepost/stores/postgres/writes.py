"""Transitions as what the writing statements want: sorted into calls, each a set of arrays.

Nearly all that is written ends runs in one way: the claim is given up and an outcome stored, at one time, by one
executor. That needs a third of the columns and has a statement of its own, `settle.sql`; all else is `write.sql`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any, Final, TypeAlias

from milepost.lifecycle.change import Transition
from milepost.lifecycle.record import HistoryEvent, TaskRecord
from milepost.lifecycle.states import FINAL_STATES, TaskState
from milepost.stores.postgres.arrays import Literal, moments, numbers, texts
from milepost.stores.postgres.rows import text_of

Numbered: TypeAlias = tuple[int, Transition]
"""A transition and its place among the answers."""
HistoryLine: TypeAlias = tuple[str, int, int, datetime, str, str, int, str | None, str, str | None]

_kept: Final[Callable[[dict[str, Any]], tuple[Any, ...]]] = itemgetter(
    "fence",
    "token",
    "sequence",
    "epoch",
    "failures",
    "interruptions",
    "cancel_reason",
    "execution_metadata_json",
    "started_at",
    "deadline_at",
    "cancel_requested_at",
    "progress",
    "progress_note",
    "early_proceed_at",
    "start_by",
    "limited_by",
    "slot_at",
)
_changed: Final = itemgetter(
    "fence",
    "token",
    "executor",
    "revision",
    "sequence",
    "epoch",
    "failures",
    "stalls",
    "interruptions",
    "cancel_reason",
)
_ended: Final = itemgetter("due_at", "executor", "stalls")
_CHARACTERS_MAX: Final = 1 << 26
_NOTHING_LEFT: Final = (None, None, 0)
_NO_LINE: Final = (None, None, None, None, None, None)


def waves(transitions: Sequence[Transition]) -> Iterator[list[Numbered]]:
    """Calls to make one after the other. Each has a task once, and is in the order of ids, as all locks are taken."""
    left: list[Numbered] = sorted(enumerate(transitions), key=_id)
    while left:
        wave: list[Numbered] = []
        later: list[Numbered] = []
        last = None
        for numbered in left:
            id = numbered[1].before.id
            (later if id == last else wave).append(numbered)
            last = id
        yield from _portions(wave)
        left = later


def _portions(wave: list[Numbered]) -> Iterator[list[Numbered]]:
    """The same, cut where the largest payload might else make a parameter longer than PostgreSQL takes."""
    size = max(1, _CHARACTERS_MAX // max(_largest(decided.after) for _, decided in wave))
    return (wave[start : start + size] for start in range(0, len(wave), size))


def _largest(record: TaskRecord) -> int:
    return max(len(record.execution_metadata_json), len(record.result_json or ""), len(record.error_json or ""))


def ends(wave: Sequence[Numbered]) -> bool:
    """Whether `settle.sql` can write all of it."""
    first = wave[0][1]
    executor, at = first.before.executor, first.after.finished_at
    return all(_is_end(decided, executor, at) for _, decided in wave)


def settle_arrays(wave: Sequence[Numbered]) -> list[object]:
    """What `settle.sql` wants."""
    befores = [decided.before for _, decided in wave]
    afters = [decided.after for _, decided in wave]
    events = [decided.history[0] if decided.history else None for _, decided in wave]
    return [
        texts([before.id for before in befores]),
        numbers([before.fence for before in befores]),
        texts([before.token for before in befores]),
        numbers([before.sequence for before in befores]),
        numbers([before.revision for before in befores]),
        texts([text_of(after.state) for after in afters]),
        texts([after.result_json for after in afters]),
        texts([after.error_json for after in afters]),
        texts([None if after.crash is None else after.crash.to_json_text() for after in afters]),
        texts([None if event is None else text_of(event.kind) for event in events]),
        texts([None if event is None else event.reason for event in events]),
        afters[0].finished_at,
        befores[0].executor,
    ]


def write_arrays(wave: Sequence[Numbered]) -> list[object]:
    """What `write.sql` wants."""
    columns = zip(*(_write_values(decided) for _, decided in wave), strict=True)
    return [literal(column) for literal, column in zip(_LITERALS, columns, strict=True)]


def request_arrays(edited: Sequence[TaskRecord]) -> list[object]:
    """What `write_request.sql` wants."""
    return [
        texts([after.id for after in edited]),
        numbers([after.version for after in edited]),
        texts([after.metadata_json for after in edited]),
        texts([after.initial_execution_metadata_json for after in edited]),
        texts([after.rate_key for after in edited]),
        texts([after.concurrency_key for after in edited]),
    ]


def ties_arrays(tied: Sequence[TaskRecord]) -> list[object]:
    """What `write_ties.sql` wants."""
    return [
        texts([after.id for after in tied]),
        numbers([after.ties.value for after in tied]),
        texts([None if after.join is None else text_of(after.join) for after in tied]),
        texts([after.awaited_event for after in tied]),
        texts([after.awaited_key for after in tied]),
        texts([after.received_json for after in tied]),
    ]


def further_lines(written: Iterable[Transition]) -> list[HistoryLine]:
    """Lines of history beyond the first, which is written along with the row."""
    long = [decided for decided in written if len(decided.history) > 1]
    return [line for decided in long for line in history_lines(decided.after, decided.history) if line[2]]


def history_lines(after: TaskRecord, events: Sequence[HistoryEvent]) -> Iterator[HistoryLine]:
    """A line of history for each event that led to `after`."""
    for ordinal, event in enumerate(events):
        kind, state = text_of(event.kind), text_of(event.state)
        who = event.by or None
        yield after.id, after.revision, ordinal, event.at, kind, state, event.attempt, event.executor, event.reason, who


def history_arrays(lines: Iterable[HistoryLine]) -> list[object]:
    """What `write_history.sql` wants."""
    literals: tuple[Literal, ...] = (texts, numbers, numbers, moments, texts, texts, numbers, texts, texts, texts)
    return [literal(column) for literal, column in zip(literals, zip(*lines, strict=True), strict=True)]


def _is_end(decided: Transition, executor: str | None, at: object) -> bool:
    before, after = decided.before.__dict__, decided.after.__dict__
    return (
        before["state"] is TaskState.RUNNING
        and after["state"] in FINAL_STATES
        and before["executor"] == executor
        and after["finished_at"] == at
        and before["token"] is not None
        and after["revision"] == before["revision"] + 1
        and _ended(after) == _NOTHING_LEFT
        and _kept(after) == _kept(before)
        and len(decided.history) <= 1
        and all(_is_end_line(event, decided) for event in decided.history)
    )


def _is_end_line(event: HistoryEvent, decided: Transition) -> bool:
    before, after = decided.before, decided.after
    return (
        event.at == after.finished_at
        and event.executor == before.executor
        and event.attempt == before.attempt
        and not event.by
    )


def _write_values(decided: Transition) -> tuple[Any, ...]:
    before, after = decided.before, decided.after
    moved = after.execution_metadata_json != before.execution_metadata_json
    return (
        before.id,
        before.fence,
        before.token,
        before.sequence,
        before.revision,
        text_of(before.state),
        *_changed(after.__dict__),
        after.execution_metadata_json if moved else None,
        after.result_json,
        after.error_json,
        text_of(after.state),
        after.due_at,
        after.started_at,
        after.finished_at,
        after.deadline_at,
        after.cancel_requested_at,
        None if after.crash is None else after.crash.to_json_text(),
        decided.resets_progress,
        after.progress,
        after.progress_note,
        after.early_proceed_at,
        after.start_by,
        None if after.limited_by is None else text_of(after.limited_by),
        after.slot_at,
        *(_line(decided.history[0]) if decided.history else _NO_LINE),
    )


def _line(event: HistoryEvent) -> tuple[Any, ...]:
    return event.at, text_of(event.kind), event.attempt, event.executor, event.reason, event.by or None


def _id(numbered: Numbered) -> str:
    return numbered[1].before.id


_LITERALS: Final[tuple[Literal, ...]] = (
    texts,  # id
    numbers,
    texts,  # the token before
    numbers,
    numbers,
    texts,  # the state before
    numbers,
    texts,  # the token
    texts,  # the executor
    *(numbers,) * 6,
    *(texts,) * 5,
    *(moments,) * 5,
    texts,  # the crash
    numbers,
    numbers,
    texts,  # the progress note
    moments,
    moments,
    texts,  # the limit
    moments,
    moments,
    texts,  # the kind of the line of history
    numbers,
    texts,
    texts,
    texts,
)
