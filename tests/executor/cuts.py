"""An executor in one thread that can be cut off right before or right after any of its commits, as a kill does."""

from __future__ import annotations

import inspect
from collections.abc import Coroutine, Iterable, Sequence
from enum import Enum
from typing import Any

from attrs import frozen

from milepost import Store, TaskId, TaskRecord
from milepost.executor.claiming import Demand
from milepost.executor.settle import Raised, Returned, settle
from milepost.executor.turn import Delivery, TurnPlan, TurnReceipt, take_turn
from milepost.registry import Registry
from milepost.stores.filter import TaskFilter
from milepost.stores.protocol import Session
from milepost.tasks.children import Children
from milepost.testing import RecordedExecution
from tests.executor.kit import AnyTask, announce

_TURNS_MAX = 1_000


class Side(Enum):
    """Of a commit: nothing of it is there, or all of it, and nobody was told."""

    BEFORE = "before"
    AFTER = "after"


class _Killed(Exception):
    pass


@frozen
class Cut:
    """The number of a commit, from 0, and the side of it."""

    commit: int
    side: Side


def run_cut(store: Store, tasks: Iterable[AnyTask], cut: Cut | None, *, slots: int = 2) -> int:
    """Run everything that is due, by a process that is killed at `cut` and then by another; gives how many commits."""
    registry = Registry.of(tasks)
    commits = 0
    executor = "first"
    store.transact_blocking(lambda session: announce(session, executor))
    deliveries: list[Delivery] = []
    while commits < _TURNS_MAX:
        plan = TurnPlan(
            executor=executor,
            names=registry.versions,
            policies={name: task.policy for name, task in registry.tasks.items()},
            has_limits=False,
            deliveries=deliveries,
            demand=Demand(slots, None),
            lease_seconds=3600,
        )
        killed = cut is not None and cut.commit == commits
        receipt = _turn(store, plan, killed and cut is not None and cut.side is Side.BEFORE)
        commits += 1
        if killed:
            store.transact_blocking(lambda session: session.close_lease("first"))
            executor, deliveries = "second", []
            store.transact_blocking(lambda session: announce(session, "second"))
            continue
        assert receipt is not None
        if not receipt.claimed and not deliveries:
            return commits
        deliveries = [_answered(registry, record, receipt) for record in receipt.claimed]
    raise AssertionError(f"more than {_TURNS_MAX} turns")


def _turn(store: Store, plan: TurnPlan, rolls_back: bool) -> TurnReceipt | None:
    def carry(session: Session) -> TurnReceipt:
        receipt = take_turn(session, plan)
        if rolls_back:
            raise _Killed
        return receipt

    try:
        return store.transact_blocking(carry)
    except _Killed:
        return None


def _answered(registry: Registry, record: TaskRecord, receipt: TurnReceipt) -> Delivery:
    task = registry.tasks[record.name]
    children = Children(receipt.children.get(record.id, ()), registry.tasks)
    settled = settle(task, _called(task, record, children), record)
    assert settled is not None
    return Delivery(record, settled.event, task.policy, settled.effects, settled.follow_ups)


def _called(task: AnyTask, record: TaskRecord, children: Children) -> Returned | Raised:
    metadata, start = task.read(record)
    execution = RecordedExecution(start, record.id, record.attempt, record.key, children=children)
    arguments: tuple[Any, ...] = (metadata, start, execution) if task.takes_execution else (metadata, start)

    try:
        answer = task.function(*arguments)
        return Returned(_finished(answer) if inspect.iscoroutine(answer) else answer)
    except Exception as error:  # what a task raises is its end
        return Raised(error)


def _finished(coroutine: Coroutine[Any, Any, object]) -> object:
    """What an `async def` returns that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("the task waits for something")


def family(store: Store) -> list[tuple[str, ...]]:
    """Every task by its place in the tree, with what became of it: ids differ from run to run, this does not."""
    records: Sequence[TaskRecord] = store.read_blocking(lambda session: session.search(TaskFilter(), limit=10_000))
    by_id: dict[TaskId, TaskRecord] = {record.id: record for record in records}

    def place(record: TaskRecord) -> str:
        parent = None if record.parent is None else by_id.get(record.parent)
        return record.metadata_json if parent is None else f"{place(parent)}/{record.parent_position}"

    return sorted(
        (place(each), each.name, each.state.value, str(each.result), str(each.error), str(each.epoch))
        for each in records
    )
