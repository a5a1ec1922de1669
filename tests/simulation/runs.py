"""One seed of the house, on either store."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from milepost.clock import Clock
from milepost.stores.open import connect_store
from milepost.stores.protocol import Store
from milepost.testing.simulation import ALL_FAULTS, Fault, SimulationReport, simulate
from tests.simulation.guest import scenario_of
from tests.simulation.house import CONFIG, HOUSE_RULES, House, tasks_of


def run_house(
    seed: int, *, scale: int = 1, faults: Collection[Fault] = ALL_FAULTS, violations_max: int = 20
) -> SimulationReport[int]:
    """One seed with the memory store; the guest does `scale` times as much."""
    house = House()
    tasks = tasks_of(house)
    return simulate(
        seed,
        tasks,
        scenario_of(house, tasks, scale=scale),
        config=CONFIG,
        faults=faults,
        invariants=HOUSE_RULES,
        violations_max=violations_max,
    )


def run_house_on_sqlite(seed: int, path: Path) -> SimulationReport[int]:
    """One seed with a new SQLite file, which also gets what tasks write with their commits; gives how much that was."""

    def make_store(clock: Clock) -> Store:
        store = connect_store(f"sqlite:///{path}", clock=clock)
        store.transact_blocking(lambda session: session.transaction.execute("create table effect (id text, key text)"))
        return store

    house = House(has_sql=True)
    tasks = tasks_of(house)
    scenario = scenario_of(house, tasks)
    return simulate(seed, tasks, scenario, config=CONFIG, invariants=HOUSE_RULES, make_store=make_store)
