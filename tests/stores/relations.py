"""Tasks that enqueue each other and wait for each other, over any store and without an executor: what a run would have
answered is said outright."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

from milepost.crash import Crash, CrashKind
from milepost.lifecycle import events
from milepost.lifecycle.children import Child
from milepost.lifecycle.draft import Draft, OnConflict
from milepost.lifecycle.events import Event
from milepost.lifecycle.joining import GROUP_NAME
from milepost.lifecycle.record import Audit, TaskRecord
from milepost.lifecycle.refusals import WrongState
from milepost.lifecycle.states import TaskState
from milepost.lifecycle.ties import Join
from milepost.lifecycle.transition import transition
from milepost.payload import JsonText
from milepost.stores import flow, operations
from milepost.stores.filter import TaskFilter
from milepost.stores.flow import Carried
from milepost.stores.protocol import Session, Store
from milepost.testing.conformance.kit import NOW, decided, sample, task_id

DONE = events.Succeeded(JsonText('"done"'))
FAILED = events.Failed(JsonText('"no"'))
CRASHED = events.Crashed(Crash(CrashKind.EXCEPTION, "broken"), retryable=False)
NOTHING = JsonText("{}")


def ask(
    n: int,
    *,
    name: str = "send",
    key: str | None = None,
    on_conflict: OnConflict = OnConflict.KEEP,
    parent: int | None = None,
    of: Sequence[int] | None = None,
    join: Join | None = None,
    **changes: Any,
) -> Draft:
    """A request; with `of` one of a continuation that waits for those, which are in the same call before it."""
    waits_for = None if of is None else tuple(map(task_id, of))
    if waits_for is not None and join is None:
        join = Join.ALL_SUCCEEDED
    return Draft(
        sample(0, name=name, **changes),
        task_id(n),
        NOTHING,
        NOTHING,
        "default",
        0,
        Audit.TRANSITIONS,
        key=key,
        on_conflict=on_conflict,
        parent=None if parent is None else task_id(parent),
        parent_position=None if parent is None else f"1.0.{n}",
        waits_for=waits_for,
        join=join,
    )


def head(n: int, of: Sequence[int], join: Join = Join.ALL_SUCCEEDED) -> Draft:
    """A group without a continuation."""
    return ask(n, name=GROUP_NAME, of=of, join=join)


@final
class Family:
    """The tasks of one store, by the numbers that they were made with."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def enqueue(self, *drafts: Draft) -> None:
        """Ask for these in one call, as a client does."""
        self.store.transact_blocking(lambda session: operations.enqueue(session, drafts)).unwrap()

    def run(self, n: int, event: Event | None = None, *follow_ups: Draft) -> TaskRecord:
        """Claim the task, and if there is an `event` hand that in, as one transaction of an executor does."""

        def turn(session: Session) -> TaskRecord:
            (record,) = session.get([task_id(n)])
            if record.state is not TaskState.RUNNING:
                record = _written(session, record, events.Claimed("ada", f"token{record.fence}"))
            if event is None:
                return record
            decision = decided(record, event, now=session.now())
            assert flow.carry(session, [Carried(decision, follow_ups)], now=session.now()) == [True]
            return decision.after

        return self.store.transact_blocking(turn)

    def hand_in(self, known: TaskRecord, event: Event, *follow_ups: Draft) -> bool:
        """What a run that began with `known` has answered; gives whether it was written."""

        def turn(session: Session) -> list[bool]:
            decision = decided(known, event, now=session.now())
            return flow.carry(session, [Carried(decision, follow_ups)], now=session.now())

        return self.store.transact_blocking(turn) == [True]

    def join(self, n: int, *follow_ups: Draft, join: Join = Join.ALL_FINISHED) -> TaskRecord:
        """The task, which may be new, waits for these."""
        if not self.there(n):
            self.enqueue(ask(n))
        return self.run(n, events.Suspended(None, join=join, enqueues=bool(follow_ups)), *follow_ups)

    def change(self, n: int, event: Event) -> TaskRecord:
        """What a client does to it."""

        def changed(session: Session) -> TaskRecord:
            (record,) = session.get([task_id(n)])
            return _written(session, record, event)

        return self.store.transact_blocking(changed)

    def refusal(self, n: int, event: Event) -> WrongState | None:
        """Why a client cannot do this to it."""
        decision = transition(self.record(n), event, now=NOW)
        return decision if isinstance(decision, WrongState) else None

    def delete(self, n: int) -> object:
        """The client's verb: the refusal, or None."""
        answer = self.store.transact_blocking(lambda session: operations.delete(session, task_id(n)))
        return answer.swap().value_or(None)

    def cancel(self, n: int, *, descendants: bool = False, reason: str = "enough") -> object:
        """The client's verb."""
        return self.store.transact_blocking(
            lambda session: operations.cancel(session, task_id(n), reason, descendants=descendants)
        ).value_or(None)

    def requeue(self, n: int, *, descendants: bool = False, from_start: bool = False) -> object:
        """The client's verb: the refusal, or None."""
        answer = self.store.transact_blocking(
            lambda session: operations.requeue(session, task_id(n), from_start=from_start, descendants=descendants)
        )
        return answer.swap().value_or(None)

    def there(self, n: int) -> bool:
        """Whether there is such a task."""
        return bool(self.store.read_blocking(lambda session: session.get([task_id(n)])))

    def record(self, n: int) -> TaskRecord:
        """The task as it is."""
        (record,) = self.store.read_blocking(lambda session: session.get([task_id(n)]))
        return record

    def states(self, *numbers: int) -> str:
        """Where these stand, in a few words."""
        return " ".join(self.record(n).state.value for n in numbers)

    def children(self, n: int) -> list[Child]:
        """Whom the task waits for, or has waited for last."""
        id = task_id(n)
        return self.store.read_blocking(lambda session: session.joins.children([id])).get(id, [])

    def ends(self, n: int) -> list[str]:
        """What the task knows of the ends of those."""
        return ["-" if child.state is None else child.state.value for child in self.children(n)]

    def named(self, name: str) -> list[TaskRecord]:
        """All tasks of this name."""
        return self.store.read_blocking(lambda session: session.search(TaskFilter(names=(name,)), limit=1_000))

    def history(self, n: int) -> list[str]:
        """What is told of it."""
        events = self.store.read_blocking(lambda session: session.history(task_id(n)))
        return [f"{each.kind.value}: {each.reason}" if each.reason else each.kind.value for each in events]


def _written(session: Session, record: TaskRecord, event: Event) -> TaskRecord:
    decision = decided(record, event, now=session.now())
    assert flow.write(session, [decision], now=session.now()) == [True]
    return decision.after
