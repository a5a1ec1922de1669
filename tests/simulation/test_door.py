"""`simulate` as users meet it: their own tasks, their own rules, virtual time, and faults that find their mistakes."""

from __future__ import annotations

from datetime import timedelta

import pytest
import trio
from attrs import frozen

from milepost import (
    BlockingExecution,
    Empty,
    Execution,
    ExecutorConfig,
    Failure,
    Outcome,
    Retry,
    Success,
    TaskDefinitionError,
    TaskResult,
    task,
)
from milepost.testing import simulate
from milepost.testing.simulation import Change, Fault, Simulation, Stuck


@frozen
class Orders:
    """How many to ship."""

    count: int


@frozen
class Shipped:
    """How many are shipped."""

    count: int = 0


@task(name="ship")
async def ship(orders: Orders, shipped: Shipped, execution: Execution[Shipped]) -> TaskResult[int, Empty]:
    for number in range(shipped.count, orders.count):
        await trio.sleep(1)
        await execution.commit(Shipped(number + 1))
    return Success.with_result(orders.count).for_empty_error()


def result_of(outcome: Outcome[int, Empty]) -> int:
    """What it has come to; a task that has not completed has come to nothing."""
    return outcome.result if isinstance(outcome, Success) else 0


async def ships(simulation: Simulation) -> int:
    handle = await simulation.client.enqueue(ship.with_metadata(Orders(3)))
    return result_of(await handle.wait())


def test_virtual_time_passes_and_the_answer_of_the_scenario_is_in_the_report() -> None:
    report = simulate(1, [ship], ships, faults=())
    assert report.violations == (), report
    assert report.answer == 3
    assert report.seconds > 3
    assert dict(report.faults) == {}
    assert "every promise was kept" in str(report)


@pytest.mark.slow
def test_a_task_of_a_user_survives_every_fault() -> None:
    struck = 0
    for seed in range(8):
        report = simulate(seed, [ship], ships, config=ExecutorConfig(lease_seconds=5, stalls_max=50))
        assert report.violations == (), report
        assert report.answer == 3
        struck += sum(report.faults.values())
    assert struck > 20


def test_it_is_called_from_inside_trio_as_well() -> None:
    async def main() -> int | None:
        await trio.lowlevel.checkpoint()
        answer = simulate(1, [ship], ships, faults=()).answer
        await trio.lowlevel.checkpoint()  # and trio goes on as before
        return answer

    assert trio.run(main) == 3


def test_a_killed_process_costs_what_was_not_committed_and_no_more() -> None:
    starts: list[int] = []

    @task(name="fragile")
    async def fragile(orders: Orders, shipped: Shipped, execution: Execution[Shipped]) -> TaskResult[int, Empty]:
        starts.append(shipped.count)
        await execution.commit(Shipped(shipped.count + 1))
        if shipped.count < 2:
            simulations[0].kill_this_process()
            await trio.sleep_forever()
        return Success.with_result(shipped.count).for_empty_error()

    simulations: list[Simulation] = []

    async def scenario(simulation: Simulation) -> None:
        simulations.append(simulation)
        await (await simulation.client.enqueue(fragile.with_metadata(Orders(1)))).wait()

    report = simulate(3, [fragile], scenario, faults=())
    assert report.violations == (), report
    assert starts == [0, 1, 2]
    assert report.sights["reclaimed"] == 2


def test_a_blocking_task_runs_on_a_thread_that_waits_for_its_turn() -> None:
    @task(name="on-a-thread", blocking=True)
    def on_a_thread(orders: Orders, shipped: Shipped, execution: BlockingExecution[Shipped]) -> TaskResult[int, Empty]:
        for number in range(shipped.count, orders.count):
            execution.commit(Shipped(number + 1))
        return Success.with_result(orders.count).for_empty_error()

    async def scenario(simulation: Simulation) -> int:
        handles = await simulation.client.enqueue_all([on_a_thread.with_metadata(Orders(2)) for _ in range(5)])
        return sum([result_of(await handle.wait()) for handle in handles])

    assert simulate(1, [on_a_thread], scenario, faults=()).answer == 10


def test_ones_own_rule_is_checked_at_each_change_and_what_breaks_it_is_told_with_the_trace() -> None:
    @task(name="impatient", retry=Retry.fixed(2, every=timedelta(seconds=1)))
    def impatient(orders: Orders, state: Empty) -> TaskResult[int, Empty]:
        return Failure.for_result(int).with_empty_error()

    def never_fails(change: Change) -> str | None:
        return "it failed" if change.after is not None and change.after.failures > 0 else None

    async def scenario(simulation: Simulation) -> None:
        await (await simulation.client.enqueue(impatient.with_metadata(Orders(1)))).wait()
        simulation.expect(False, "a word of my own")

    report = simulate(1, [impatient], scenario, faults=(), invariants={"never-fails": never_fails})
    told = {violation.invariant: violation.what for violation in report.violations}
    assert told == {"expected": "a word of my own", "never-fails": "it failed"}
    assert "the end of the trace" in str(report)


def test_a_fault_can_be_asked_for_at_a_moment_of_ones_own() -> None:
    async def scenario(simulation: Simulation) -> int:
        handle = await simulation.client.enqueue(ship.with_metadata(Orders(2)))
        await trio.sleep(1.5)
        simulation.strike(Fault.KILLED)
        return result_of(await handle.wait())

    report = simulate(2, [ship], scenario, executors=1, faults={Fault.KILLED})
    assert report.answer == 2
    assert report.faults[Fault.KILLED] >= 1
    assert report.sights["reclaimed"] >= 1


def test_what_a_scenario_raises_is_raised() -> None:
    async def scenario(simulation: Simulation) -> None:
        raise LookupError("of my own")

    with pytest.raises(LookupError, match="of my own"):
        simulate(1, [ship], scenario)


def test_two_tasks_of_one_name_are_refused() -> None:
    @task(name="ship")
    def other(orders: Orders, shipped: Shipped) -> TaskResult[int, Empty]:
        return Success.with_result(0).for_empty_error()

    with pytest.raises(TaskDefinitionError):
        simulate(1, [ship, other], ships)


def test_a_scenario_that_nothing_can_wake_is_told_so() -> None:
    async def scenario(simulation: Simulation) -> None:
        await trio.sleep_forever()

    with pytest.raises(Stuck):
        simulate(1, [ship], scenario, executors=0)
