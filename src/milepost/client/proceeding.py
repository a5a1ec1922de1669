"""`proceed` as clients ask for it: a pure function of the user's runs between the finding of a task and its writing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any, Final, TypeAlias, cast, final

import attrs
from attrs import frozen
from returns.result import Failure, Result, Success

from milepost.client.changing import other_task, raised, text_of
from milepost.client.checks import checked_function, checked_reason, who
from milepost.client.query import TaskQuery, aware
from milepost.client.steps import Read, Steps, Write, take_within
from milepost.client.targets import Target, id_of
from milepost.lifecycle import events
from milepost.lifecycle.record import TaskRecord
from milepost.lifecycle.refusals import ModificationFailed, ProceedRefused, WrongState
from milepost.lifecycle.states import TaskState
from milepost.payload import PayloadRefused, from_json_text
from milepost.stores import proceed
from milepost.stores.proceed import Wanted
from milepost.stores.protocol import Session
from milepost.tasks import AnyTask
from milepost.tasks.stored import RowFault, moved

Modify: TypeAlias = Callable[[Any], object]
Answer: TypeAlias = Result[TaskRecord, ProceedRefused]

_TRIES_MAX: Final = 20
"""How often a task that changes between its finding and its writing is looked for again."""


@final
@frozen
class Order:
    """Which task goes on, when, and what becomes of its execution metadata: None leaves it as it is.

    `reason` and `by` are for its history.
    """

    wanted: Wanted
    task: AnyTask | None
    modify: Modify | None
    at: datetime | None
    reason: str = ""
    by: str = ""

    @classmethod
    def of(
        cls,
        target: Target | TaskQuery[Any],
        modify: Modify | None,
        at: datetime | None,
        *,
        reason: str = "",
        by: str = "",
    ) -> Order:
        """What a call of `proceed` asks for; raises `ConfigurationError` for what it cannot be."""
        at, reason, by, modify = aware(at), checked_reason(reason), who(by), checked_function(modify, "modify")
        if isinstance(target, TaskQuery):
            return cls(target.filter, target.task, modify, at, reason, by)
        id = id_of(target)
        task = None if isinstance(target, str) else target.task
        return cls(id, task, modify, at, reason, by)

    def steps(self) -> Steps[Answer]:
        """All of it. One transaction where the task is named and no code of the user's comes in between."""
        if self.modify is None and isinstance(self.wanted, str):
            answer: Answer = yield Write(self.within)
            return answer
        return (yield from self._find_and_write())

    def within(self, session: Session) -> Answer:
        """All of it, in a transaction that is open already."""
        return take_within(session, self._find_and_write())

    def _find_and_write(self) -> Steps[Answer]:
        found: Answer = yield Read(self._find)
        for _ in range(_TRIES_MAX):
            if not isinstance(found, Success):
                return found
            known = found.unwrap()
            event = self.event_for(known)
            if not isinstance(event, Success):
                return Failure(event.failure())
            answer: Answer | None = yield Write(partial(_write, known=known, event=event.unwrap()))
            if answer is not None:
                return answer
            found = yield Read(self._find)
        return Failure(WrongState(found.unwrap().state)) if isinstance(found, Success) else found

    def _find(self, session: Session) -> Answer:
        found = proceed.find(session, self.wanted)
        return Success(found.unwrap()) if isinstance(found, Success) else Failure(found.failure())

    def event_for(self, found: TaskRecord) -> Result[events.Proceeded, ProceedRefused]:
        """What happens to the task that was found; runs the code of the user's."""
        asked = events.Proceeded(at=self.at, reason=self.reason, by=self.by)
        if self.modify is None:
            return Success(asked)
        if found.state is not TaskState.SUSPENDED:
            return Failure(WrongState(found.state))
        return _modified(found, self.task, self.modify, asked)


def _write(session: Session, *, known: TaskRecord, event: events.Proceeded) -> Answer | None:
    answer = proceed.write(session, known, event)
    if answer is None or isinstance(answer, Success):
        return cast("Answer | None", answer)
    return Failure(answer.failure())


def _modified(
    found: TaskRecord, task: AnyTask | None, modify: Modify, asked: events.Proceeded
) -> Result[events.Proceeded, ProceedRefused]:
    row = found if task is None else _row(task, found)
    value = row if isinstance(row, ModificationFailed) else _value(task, row)
    if isinstance(row, ModificationFailed) or isinstance(value, ModificationFailed):
        return Failure(cast("ModificationFailed", value))
    try:
        text = text_of(None if task is None else task.codec.execution_metadata, modify(value))
    except Exception as error:  # user code may raise anything; nothing has been written yet
        return Failure(raised(error, found, task))
    if isinstance(text, PayloadRefused):
        return Failure(ModificationFailed(f"what it made cannot be stored: {text}"))
    return Success(attrs.evolve(asked, execution_metadata=text, moved=None if row is found else _moved(row)))


def _row(task: AnyTask, found: TaskRecord) -> TaskRecord | ModificationFailed:
    """The record as the task's version has it."""
    other = other_task(found, task)
    if other is not None:
        return other
    row = moved(task, found)
    return ModificationFailed(str(row.refusal)) if isinstance(row, RowFault) else row


def _value(task: AnyTask | None, row: TaskRecord) -> object:
    text = row.execution_metadata_json
    decoded: Result[Any, PayloadRefused] = (
        from_json_text(text) if task is None else task.codec.execution_metadata.decode(text)
    )
    if isinstance(decoded, Success):
        return decoded.unwrap()
    return ModificationFailed(f"the execution metadata cannot be decoded: {decoded.failure()}")


def _moved(row: TaskRecord) -> events.Moved:
    return events.Moved(row.version, row.metadata_json, row.initial_execution_metadata_json)
