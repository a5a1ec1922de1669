"""What an executor asks for: of known queues first, of others at least every other time."""

from __future__ import annotations

from datetime import UTC, datetime

import attrs
import pytest

from milepost import Client, ExecutorConfig, Store, Success, TaskResult, task
from milepost.executor.appetite import Appetite
from milepost.executor.claiming import Catch, Demand
from milepost.executor.outbox import Outbox
from milepost.executor.turn import TurnPlan, take_turn
from milepost.executor.workload import Workload
from milepost.lifecycle.transition import Policy
from milepost.registry import Registry
from milepost.stores.protocol import Session

pytestmark = pytest.mark.anyio

NOW = datetime(2030, 1, 1, tzinfo=UTC)
NOTHING = Catch(claimed=[], queues=[], searched=False, settings=None, passes={}, next_due=None)


@task
def no_op(metadata: int, progress: int) -> TaskResult[int, str]:
    return Success.with_result(metadata)


def asking(demand: Demand, session: Session) -> Catch:
    plan = TurnPlan(
        executor="me",
        names={"no_op": 1},
        policies={"no_op": Policy()},
        demand=demand,
        lease_seconds=30,
        renew_from=datetime.max.replace(tzinfo=UTC),
    )
    catch = take_turn(session, plan).catch
    assert catch is not None
    return catch


@pytest.mark.parametrize(("searches", "taken", "searched"), [(True, ["known", "new"], True), (False, ["known"], False)])
async def test_a_turn_starts_what_is_in_a_known_queue_and_need_not_search_for_others(
    store: Store, searches: bool, taken: list[str], searched: bool
) -> None:
    await Client(store).enqueue_all([no_op.with_metadata(1).in_queue(queue) for queue in ("known", "new")])
    demand = Demand(10, None, known=("known",), searches=searches)
    catch = await store.transact(lambda session: asking(demand, session))
    assert ([record.queue for record in catch.claimed], catch.searched) == (taken, searched)


async def test_a_turn_that_finds_nothing_in_known_queues_searches_whatever_it_was_told(store: Store) -> None:
    await Client(store).enqueue(no_op.with_metadata(1).in_queue("new"))
    demand = Demand(10, None, known=("known",), searches=False)
    catch = await store.transact(lambda session: asking(demand, session))
    assert ([record.queue for record in catch.claimed], catch.searched) == (["new"], True)
    assert catch.queues == ["new"]


async def test_of_two_turns_in_a_row_one_searches_so_that_a_busy_queue_hides_no_other() -> None:
    registry = Registry.of([no_op])
    workload = Workload(registry, Outbox(lambda: None), threads=1, tell=lambda _: None, observed=False)
    appetite = Appetite(ExecutorConfig(concurrency=5), workload)
    told: list[bool] = []
    for _ in range(4):
        appetite.look_again()
        demand = appetite.demand()
        assert demand is not None
        told.append(demand.searches)
        appetite.ask()
        appetite.learn(attrs.evolve(NOTHING, queues=["busy"], searched=demand.searches), NOW)
    assert told == [True, False, True, False]


async def test_what_is_heard_of_while_a_turn_is_under_way_is_asked_for_by_another_one() -> None:
    workload = Workload(Registry.of([no_op]), Outbox(lambda: None), threads=1, tell=lambda _: None, observed=False)
    appetite = Appetite(ExecutorConfig(concurrency=5), workload)
    appetite.ask()
    appetite.learn(NOTHING, NOW)
    assert appetite.demand() is None
    appetite.ask()
    appetite.look_again()
    appetite.learn(NOTHING, NOW)
    assert appetite.demand() is not None
