"""A task run to its end in a test, without store, executor or waiting: run by run, decided by the same pure functions.

Time passes only in the records: a run that waits until tomorrow goes on at once, tomorrow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import Enum
from typing import Any, Final, Generic, TypeVar, cast, final

from attrs import define, field, frozen

from milepost.clock import system_clock
from milepost.errors import TaskDefinitionError
from milepost.executor.settle import Raised, Returned, settle
from milepost.kinds import is_a
from milepost.lifecycle import events
from milepost.lifecycle.change import Transition
from milepost.lifecycle.children import Child, ChildCount
from milepost.lifecycle.draft import Draft
from milepost.lifecycle.events import Event
from milepost.lifecycle.hooks import companion
from milepost.lifecycle.joining import waiting
from milepost.lifecycle.record import TaskId, TaskRecord
from milepost.lifecycle.states import TaskState
from milepost.lifecycle.ties import Join
from milepost.lifecycle.transition import admission, transition
from milepost.payload import JsonText, PayloadRefused
from milepost.results import FollowUp, Outcome
from milepost.tasks import AnyTask, Task, TaskRequest
from milepost.tasks.children import Children
from milepost.tasks.group import AnyRequest, TaskGroup
from milepost.tasks.named_event import NamedEvent, named
from milepost.tasks.outcomes import outcome_of
from milepost.testing.recorded import RecordedExecution
from milepost.testing.runs import Run, call_once, travelled

M = TypeVar("M")
X = TypeVar("X")
R = TypeVar("R")
E = TypeVar("E")

RUNS_MAX: Final = 1_000


class _Start(Enum):
    OF_REQUEST = "as in a request that brings none"


@final
@frozen
class RunToEnd(Generic[R, E, X]):
    """What became of a task: its `outcome`, and what each of its `runs` that returned a result has done.

    `follow_ups` are the requests that would be enqueued: those of results that were taken as such and of `on_outcome`,
    without those that the task has waited for, but with what those would enqueue.
    """

    outcome: Outcome[R, E]
    runs: tuple[Run[R, E, X], ...]
    commits: tuple[X, ...]
    follow_ups: tuple[FollowUp, ...]


async def run_to_end(
    task: Task[M, X, R, E],
    metadata: M,
    execution_metadata: X | _Start = _Start.OF_REQUEST,
    *,
    proceed: Iterable[Callable[[X], X]] = (),
    received: Iterable[tuple[NamedEvent[Any] | str, Any]] = (),
) -> RunToEnd[R, E, X]:
    """Call a task again and again, as an executor would, until it has ended: retries and suspensions at once.

    Whom it waits for with `until_finished` is run to its end too, one after the other. Each suspension that only a
    proceed ends takes the next of `proceed`, a function of the execution metadata; each wait for an event takes the
    first of `received`, events with what comes with them, that is of this event. What the function raises is a crash,
    as in an executor. Raises `TaskDefinitionError` as `run_once`, for a task that waits for somebody who is not there,
    and for one that has not ended after a thousand runs.
    """
    request: TaskRequest[Any, Any, Any, Any] = task.with_metadata(metadata)
    if not isinstance(execution_metadata, _Start):
        request = request.with_execution_metadata(execution_metadata)
    draft = request.draft()
    if isinstance(draft, PayloadRefused):
        raise TaskDefinitionError(f"{task.name!r} cannot store its request: {draft}")
    sent = [(event.name, event.write(payload)) for event, payload in ((named(e), p) for e, p in received)]
    course = _Course(task, draft.record(system_clock()), iter(proceed), sent)
    await course.run()
    outcome = outcome_of(course.record, task)
    return RunToEnd(
        cast("Outcome[R, E]", outcome),
        tuple(course.runs),
        tuple(course.commits),
        (*course.follow_ups, *await _hooked(course)),
    )


async def _hooked(course: _Course) -> tuple[FollowUp, ...]:
    """What the `on_outcome` of an ended task enqueues."""
    name = companion(course.record, course.now).name
    for part in course.task.parts:
        if part.name == name and course.task.on_outcome is not None:
            hook = _Course(part, companion(course.record, course.now), children=course.children)
            await hook.run()
            return tuple(hook.follow_ups)
    return ()


@final
@define(eq=False)
class _Course:
    """One task on its way; `record` is where it stands."""

    task: AnyTask
    record: TaskRecord
    proceed: Iterator[Callable[[Any], Any]] = field(factory=lambda: iter(()))
    sent: list[tuple[str, JsonText]] = field(factory=list[tuple[str, JsonText]])
    children: Children = field(factory=Children)
    runs: list[Run[Any, Any, Any]] = field(factory=list[Any])
    commits: list[Any] = field(factory=list[Any])
    follow_ups: list[FollowUp] = field(factory=list[Any])
    now: datetime = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.now = self.record.created_at

    async def run(self) -> None:
        """Go on until the task is final, or quarantined."""
        for _ in range(RUNS_MAX):
            if self.record.state.is_final or self.record.state is TaskState.QUARANTINED:
                return
            self._end_waiting()
            self.now = max(self.now, self.record.due_at or self.now)
            self._take(events.Claimed("run_to_end", "token"))
            unfit = admission(self.record, now=self.now, policy=self.task.policy)
            if unfit is not None:
                self._take(unfit)
            else:
                await self._run_once()
        raise TaskDefinitionError(f"{self.task.name!r} has not ended after {RUNS_MAX} runs")

    async def _run_once(self) -> None:
        task, record = self.task, self.record
        metadata, start = task.read(record)
        came = None if record.received_json is None else (record.awaited_event or "", record.received_json)
        execution = RecordedExecution(
            start, record.id, record.attempt, record.key, children=self.children, received=came
        )
        try:
            run = await call_once(task, metadata, execution)
        except TaskDefinitionError:
            raise
        except Exception as error:  # user code: a crash of the attempt, as in an executor
            self._commit(execution)
            settled = settle(task, Raised(error), record)
            follow_ups: tuple[FollowUp, ...] = ()
        else:
            self._commit(execution)
            self.runs.append(run)
            settled = settle(task, Returned(run.result), record)
            follow_ups = run.follow_ups
        assert settled is not None, "only a run that has lost its claim settles to nothing"
        self._take(settled.event)
        if isinstance(settled.event, events.Failed) and self.record.state is not TaskState.FAILED:
            return
        if self.record.state is TaskState.SUSPENDED and self.record.join is not None:
            await self._join(settled.follow_ups, tasks_in(follow_ups), self.record.join)
        else:
            self.follow_ups += follow_ups

    def _commit(self, execution: RecordedExecution[Any]) -> None:
        for value in execution.commits:
            self.commits.append(travelled(self.task, "execution_metadata", value))
            text = self.task.codec.execution_metadata.write(value)
            assert not isinstance(text, PayloadRefused), "it has made the journey"
            self._take(events.Committed(text))

    def _end_waiting(self) -> None:
        """What comes from outside while the task is suspended."""
        record = self.record
        if record.waits_for_event:
            for each in [sent for sent in self.sent if sent[0] == record.awaited_event][:1]:
                self.sent.remove(each)
                self._take(events.Received(each[1]))
        if self.record.due_at is None:
            self._proceed()

    def _proceed(self) -> None:
        modify = next(self.proceed, None)
        if modify is None and self.record.waits_for_event:
            raise TaskDefinitionError(
                f"{self.task.name!r} waits for the event {self.record.awaited_event!r}: give run_to_end(..., "
                "received=[...]) that event with what comes"
            )
        if modify is None:
            raise TaskDefinitionError(
                f"{self.task.name!r} is suspended until somebody proceeds it: give run_to_end(..., proceed=[...]) a "
                "function of its execution metadata for each time"
            )
        changed = modify(self.task.read(self.record)[1])
        text = self.task.codec.execution_metadata.write(travelled(self.task, "execution_metadata", changed))
        assert not isinstance(text, PayloadRefused), "it has made the journey"
        self._take(events.Proceeded(text))

    async def _join(self, drafts: Sequence[Draft], tasks: Mapping[str, AnyTask], join: Join) -> None:
        ended: dict[TaskId, Child] = {}
        for draft in drafts:
            siblings = [ended[each.id] for each in drafts if each.parent == draft.parent and each.id in ended]
            ended[draft.id] = await self._child(draft, tasks, ended, _waiter_fails_fast(draft, drafts, join), siblings)
        own = [ended[draft.id] for draft in drafts if draft.parent is None]
        self.children = Children(own, tasks)
        self._take(events.ChildrenEnded(_count(own)))

    async def _child(
        self,
        draft: Draft,
        tasks: Mapping[str, AnyTask],
        ended: Mapping[TaskId, Child],
        fails_fast: bool,
        siblings: Sequence[Child],
    ) -> Child:
        record = draft.record(self.now)
        task = tasks.get(draft.name)
        if fails_fast and not _count(siblings).all_completed:
            return _child_of(_decided(record, events.CancelRequested("another one has not succeeded"), self.now, task))
        members: list[Child] = []
        if draft.waits_for is not None and draft.join is not None:
            members = [ended[id] for id in draft.waits_for]
            record = waiting(record, draft.join)
            record = _decided(record, events.ChildrenEnded(_count(members)), self.now, task)
        if task is None or record.state.is_final:
            return _child_of(record)
        course = _Course(task, record, children=Children(members, tasks))
        await course.run()
        self.follow_ups += (*course.follow_ups, *await _hooked(course))
        self.now = max(self.now, course.now)
        return _child_of(course.record)

    def _take(self, event: Event) -> None:
        self.record = _decided(self.record, event, self.now, self.task)


def tasks_in(follow_ups: Iterable[FollowUp]) -> dict[str, AnyTask]:
    """The tasks of requests and of groups of them, by name."""
    found: dict[str, AnyTask] = {}
    for each in follow_ups:
        if isinstance(each, TaskGroup):
            found |= tasks_in((*each.members, *filter(None, [each.then])))
        elif is_a(each, TaskRequest):
            request = cast("AnyRequest", each)
            found[request.task.name] = request.task
    return found


def _waiter_fails_fast(draft: Draft, drafts: Sequence[Draft], join: Join) -> bool:
    heads = [each.join for each in drafts if each.id == draft.parent]
    waiter = heads[0] if heads else join
    return waiter is not None and waiter.fails_fast


def _decided(record: TaskRecord, event: Event, now: datetime, task: AnyTask | None) -> TaskRecord:
    decision = (
        transition(record, event, now=now) if task is None else transition(record, event, now=now, policy=task.policy)
    )
    if isinstance(decision, Transition):
        return decision.after
    raise AssertionError(f"the task {record.name!r} is {decision.state.value} and cannot take {event!r}")


def _child_of(record: TaskRecord) -> Child:
    return Child(
        record.id, record.name, record.version, record.state, record.result_json, record.error_json, record.crash
    )


def _count(children: Iterable[Child]) -> ChildCount:
    states = [child.state for child in children]
    completed, failed, cancelled = (
        states.count(state) for state in (TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELLED)
    )
    return ChildCount(len(states) - completed - failed - cancelled, completed, failed, cancelled)
