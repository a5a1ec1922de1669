"""What a turn costs SQLite, counted in its own terms and not in time."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import apsw
import pytest

from milepost import Client, TaskResult, open_store, task
from milepost.executor.claiming import Demand
from milepost.executor.turn import Delivery, TurnPlan, TurnReceipt, take_turn
from milepost.lifecycle import events
from milepost.lifecycle.record import TaskRecord
from milepost.lifecycle.transition import Policy
from milepost.payload import JsonText
from milepost.results import Success
from milepost.stores.protocol import Session

pytestmark = pytest.mark.anyio

_SLOTS = 100


@task
def no_op(metadata: int, progress: int) -> TaskResult[int, str]:
    return Success.with_result(metadata)


def misses(session: Session) -> int:
    connection: apsw.Connection = session.transaction.connection
    return int(connection.cache_stats()["misses"])


def turn(session: Session, finished: list[TaskRecord]) -> TurnReceipt:
    """Hand in what is `finished`, and fill every slot again."""
    policy = Policy()
    plan = TurnPlan(
        executor="me",
        names={"no_op": 1},
        policies={"no_op": policy},
        deliveries=[Delivery(record, events.Succeeded(JsonText("1")), policy) for record in finished],
        demand=Demand(_SLOTS, None, known=("default",)),
        lease_seconds=30,
        renew_from=datetime.max.replace(tzinfo=UTC),
    )
    return take_turn(session, plan)


async def test_once_a_turn_was_taken_the_next_ones_prepare_no_statement_anew(tmp_path: Path) -> None:
    async with open_store(f"sqlite:///{tmp_path}/tasks.db") as store:
        await Client(store).enqueue_all([no_op.with_metadata(n) for n in range(5 * _SLOTS)])
        finished: list[TaskRecord] = []
        seen: list[int] = []

        def measured(session: Session) -> TurnReceipt:
            receipt = turn(session, finished)
            seen.append(misses(session))
            return receipt

        for _ in range(4):
            receipt = await store.transact(measured)
            assert len(receipt.claimed) == _SLOTS
            finished = list(receipt.claimed)
        # The first turn has nothing to write, the second prepares that.
        assert seen[1] == seen[2] == seen[3], seen
