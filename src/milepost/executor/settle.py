"""Stop 7 of the journey: how a run ended becomes an event, encoded. Pure, and total over the four results.

Wrong results, unfinished builders and values that cannot be stored become crashes of the attempt.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, TypeAlias, assert_never, final

from attrs import frozen
from typing_extensions import TypeIs

from milepost.codec import TypeCodec
from milepost.codec.scalars import shown as in_short
from milepost.codec.secrets import without
from milepost.crash import Crash, CrashKind
from milepost.effects import Statement
from milepost.errors import InvalidResult, TaskDefinitionError
from milepost.executor.follow_ups import follow_up_drafts
from milepost.lifecycle import events
from milepost.lifecycle.draft import Draft
from milepost.lifecycle.events import Event
from milepost.lifecycle.record import TaskRecord
from milepost.lifecycle.ties import Join
from milepost.payload import JsonText, PayloadRefused
from milepost.results import Cancellation, Failure, Final, Success, Suspended, TaskResult, Unchanged, UntilEvent, Wake
from milepost.tasks import AnyTask, StopKind, Stopping


@final
@frozen
class Returned:
    """The function returned, whatever it returned."""

    value: object


@final
@frozen
class Raised:
    """The function raised."""

    error: BaseException


@final
@frozen
class Stopped:
    """The run was asked to stop, and did."""

    stopping: Stopping


@final
@frozen
class Broken:
    """What stops the whole program, such as Ctrl-C, came while the function ran; it is not the task's own."""

    error: BaseException


Ending: TypeAlias = Returned | Raised | Stopped | Broken
AnyResult: TypeAlias = TaskResult[Any, Any, Any]

_RESULTS = (Success, Failure, Suspended, Cancellation)


@final
@frozen
class Settlement:
    """What a run's end means: the event, and what is to happen in the transaction that stores it, if that takes the
    result as it is."""

    event: Event
    effects: tuple[Statement, ...] = ()
    follow_ups: tuple[Draft, ...] = ()


def settle(task: AnyTask, ending: Ending, record: TaskRecord, *, hide: Callable[[str], str] = str) -> Settlement | None:
    """Decide what `ending` means for the task; None when the run lost its claim and nothing may be written.

    Follow-ups that ask for no audit level of their own get that of `record`. `hide` takes the secrets that the run was
    given out of what its code has raised.
    """
    match ending:
        case Returned(value):
            return _returned(task, value, record)
        case Raised(error):
            return Settlement(_crashed(task, error, hide))
        case Stopped(stopping):
            event = _stopped(task, stopping)
            return None if event is None else Settlement(event)
        case Broken():
            return Settlement(events.Interrupted())
        case _:
            assert_never(ending)


def _returned(task: AnyTask, value: object, record: TaskRecord) -> Settlement:
    if not _is_result(value):
        return Settlement(_crashed(task, _not_a_result(task, value)))
    event = _event(task, value)
    if isinstance(event, events.Crashed):
        return Settlement(event)
    if not value.follow_ups:
        return Settlement(event, value.effects)
    try:
        return Settlement(event, value.effects, follow_up_drafts(task, value.follow_ups, record))
    except (InvalidResult, TaskDefinitionError) as error:
        return Settlement(_crashed(task, error))


def _is_result(value: object) -> TypeIs[AnyResult]:
    return isinstance(value, _RESULTS)


def _event(task: AnyTask, value: AnyResult) -> Event:
    match value:
        case Success(result=result):
            return _encoded(task, "result", task.codec.result, result, events.Succeeded)
        case Failure(error=error):
            return _encoded(task, "error", task.codec.error, error, lambda text: _failed(task, value, text))
        case Cancellation(error=error):
            codec = task.codec.error
            return _encoded(task, "error", codec, error, lambda text: events.GaveUp(text, codec.masked(text)))
        case Suspended(execution_metadata=Unchanged()):
            return _suspended(value, None)
        case Suspended(execution_metadata=x):
            codec = task.codec.execution_metadata
            return _encoded(task, "execution metadata", codec, x, lambda text: _suspended(value, text))
        case _:
            assert_never(value)


def _encoded(
    task: AnyTask, part: str, codec: TypeCodec[Any], value: object, event: Callable[[JsonText], Event]
) -> Event:
    written = codec.write(value)
    if isinstance(written, PayloadRefused):
        return _crashed(task, InvalidResult(f"the {part} that {task.name!r} returned cannot be stored: {written}"))
    return event(written)


def _failed(task: AnyTask, value: Failure[Any, Any], text: JsonText) -> Event:
    hint, shown = value.retry, task.codec.error.masked(text)
    if isinstance(hint, Final):
        return events.Failed(text, final=True, shown=shown)
    if hint is not None:
        return events.Failed(text, retry_after=hint, shown=shown)
    try:
        retryable = task.retry.covers_error(value.error)
    except Exception as error:  # the predicate is user code; a policy that cannot decide is a crash of the attempt
        secrets = task.codec.error.secrets_in(text)
        return _crashed(task, error, lambda told: without(told, secrets))
    return events.Failed(text, retryable=retryable, shown=shown)


def _suspended(value: Suspended[Any, Any, Any], text: JsonText | None) -> Event:
    enqueues, effects = bool(value.follow_ups), bool(value.effects)
    match value.wake:
        case datetime() | timedelta() | None as until:
            return events.Suspended(text, until, enqueues=enqueues, has_effects=effects)
        case Wake.UNTIL_FINISHED | Wake.UNTIL_FINISHED_FAIL_FAST as wake if enqueues:
            join = Join.ALL_FINISHED if wake is Wake.UNTIL_FINISHED else Join.ALL_FINISHED_FAIL_FAST
            return events.Suspended(text, join=join, enqueues=True, has_effects=effects)
        case UntilEvent(event=event, key=key, within=within):
            return events.Suspended(text, within, event=event, key=key, enqueues=enqueues, has_effects=effects)
        case Wake():  # without follow-ups there is nobody to wait for
            return events.Suspended(text, at_once=True, enqueues=enqueues, has_effects=effects)


def _stopped(task: AnyTask, stopping: Stopping) -> Event | None:
    match stopping.kind:
        case StopKind.CANCELLED:
            return events.CancelObeyed()
        case StopKind.SHUTDOWN:
            return events.Interrupted()
        case StopKind.TIMEOUT:
            error = TimeoutError(f"the attempt took longer than {task.timeout_seconds} seconds")
            crash = Crash(CrashKind.TIMEOUT, str(error))
            return events.Crashed(crash, retryable=task.retry.covers_exception(error))
        case StopKind.DEADLINE:
            return events.DeadlineMissed()
        case StopKind.CLAIM_LOST:
            return None
        case _:
            assert_never(stopping.kind)


def _crashed(task: AnyTask, error: BaseException, hide: Callable[[str], str] = str) -> Event:
    return events.Crashed(Crash.of(error, hide=hide), retryable=task.retry.covers_exception(error))


def _not_a_result(task: AnyTask, value: object) -> InvalidResult:
    kind = type(value).__name__
    if kind.endswith(("For", "With")) and type(value).__module__ == Success.__module__:
        return InvalidResult(f"{task.name!r} returned an unfinished {kind}: finish it with .for_error or .with_error")
    told = f"a {kind}" if task.has_secrets else in_short(value)
    return InvalidResult(f"{task.name!r} returned {told}, which is none of Success, Suspended, Failure, Cancellation")
