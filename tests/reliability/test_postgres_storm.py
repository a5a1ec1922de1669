"""Four processes drain a queue on PostgreSQL while they are killed and frozen; then the database is audited."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Final, final

import psycopg
import pytest
import trio
from attrs import define, field

from milepost import Client, HistoryKind, open_store
from milepost.testing.servers import PostgresServer
from tests.executor.kit import until
from tests.reliability import ledger
from tests.reliability.fleet import Setting, Worker, Workers, workers_in

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

IS_SOAK: Final = "MILEPOST_SOAK" in os.environ
SEED: Final = int(os.environ.get("MILEPOST_SEED", "20261121"))
TASKS, KILLS, FREEZES = (20_000, 100, 100) if IS_SOAK else (1_500, 8, 6)
SECONDS_MAX: Final = 900 if IS_SOAK else 60
PROCESSES: Final = 4
LEASE_SECONDS: Final = 1.0
FREEZE_SECONDS: Final = (1.3, 2.2)
FROZEN_MAX: Final = 2


@final
@define
class Storm:
    """Strikes processes at work, each strike when the drain has come far enough for it, so that none comes too late."""

    workers: Workers
    url: str
    watcher: psycopg.Connection[tuple[int]]
    chance: random.Random
    living: list[Worker] = field(init=False)
    frozen: list[Worker] = field(init=False)
    kills: int = 0
    freezes: int = 0

    def __attrs_post_init__(self) -> None:
        self.living, self.frozen = [], []

    def hire(self) -> None:
        """One more process."""
        self.living.append(self.workers.start(Setting(url=self.url, lease_seconds=LEASE_SECONDS)))

    async def rage(self) -> None:
        """Kill and freeze, in an order that the seed gives; returns when everybody who was frozen goes on."""
        strikes = ["kill"] * KILLS + ["freeze"] * FREEZES
        self.chance.shuffle(strikes)
        async with trio.open_nursery() as nursery:
            for number, strike in enumerate(strikes):
                await self._until_drained(0.9 * number / len(strikes))
                victim = await self._victim(frozen_max=FROZEN_MAX - (strike == "freeze"))
                if strike == "kill":
                    self._kill(victim)
                else:
                    nursery.start_soon(self._freeze, victim)

    async def _until_drained(self, share: float) -> None:
        lines = share * sum(map(ledger.two_steps, range(TASKS)))
        with trio.fail_after(SECONDS_MAX):
            while self._ask("select last_value from ledger_line_seq") < lines:  # noqa: ASYNC110 (others write it)
                await trio.sleep(0.02)

    async def until_done(self) -> None:
        """Return when no task waits and none runs."""
        unfinished = (
            "select count(*) from (select from milepost.milepost_task where due_at is not null "
            "union all select from milepost.milepost_task where executor is not null limit 1) unfinished"
        )
        with trio.fail_after(SECONDS_MAX):
            while self._ask(unfinished):  # noqa: ASYNC110 (others change it)
                await trio.sleep(0.05)

    def _ask(self, query: str) -> int:
        found = self.watcher.execute(query.encode()).fetchone()
        assert found is not None
        return found[0]

    async def _victim(self, *, frozen_max: int) -> Worker:
        """A process that is up and not frozen, at a moment that the seed gives."""

        def candidates() -> list[Worker]:
            if len(self.frozen) > frozen_max:
                return []
            return [each for each in self.living if each not in self.frozen and each.is_up]

        await until(candidates, "a process to strike", seconds=60)
        victim = self.chance.choice(candidates())
        await trio.sleep(self.chance.uniform(0, 0.03))  # a strike has to come at some moment, and any will do
        return victim

    def _kill(self, victim: Worker) -> None:
        victim.signal(signal.SIGKILL)
        assert victim.process.wait() == -signal.SIGKILL, "it had ended by itself"
        self.living.remove(victim)
        self.kills += 1
        self.hire()

    async def _freeze(self, victim: Worker) -> None:
        victim.signal(signal.SIGSTOP)
        self.frozen.append(victim)
        await trio.sleep(self.chance.uniform(*FREEZE_SECONDS) * LEASE_SECONDS)
        victim.signal(signal.SIGCONT)
        self.frozen.remove(victim)
        self.freezes += 1


async def test_a_storm_of_kills_and_freezes_loses_nothing_and_repeats_no_effect(
    postgres_server: PostgresServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    direct = ledger.fresh_ledger(postgres_server)
    async with open_store(direct) as store:
        for start in range(0, TASKS, 1_000):
            numbers = range(start, min(start + 1_000, TASKS))
            await Client(store).enqueue_all([ledger.book.with_metadata(n) for n in numbers])
    began = time.monotonic()
    with workers_in(tmp_path) as workers, psycopg.connect(direct, autocommit=True) as watcher:
        storm = Storm(workers, direct, watcher, random.Random(SEED))
        for _ in range(PROCESSES):
            storm.hire()
        await storm.rage()
        await storm.until_done()
        seconds = time.monotonic() - began
        for worker in storm.living:
            worker.signal(signal.SIGTERM)
        for worker in storm.living:
            assert await trio.to_thread.run_sync(worker.process.wait) == 0
        told = workers.told
    seen = ledger.assert_booked_once(direct, range(TASKS), ledger.two_steps)
    report(capsys, storm, told, seen, seconds)
    assert (storm.kills, storm.freezes) == (KILLS, FREEZES)
    assert told["refused"] > 0, "no stale write was refused: this storm proved nothing"
    assert seen.kinds[HistoryKind.RECLAIMED.value] > KILLS + FREEZES, "too few tasks were taken over to mean anything"


def report(
    capsys: pytest.CaptureFixture[str], storm: Storm, told: Counter[str], seen: ledger.Audit, seconds: float
) -> None:
    """Print what happened, by a long run also where pytest would keep it to itself."""
    rows = {
        "seed": SEED,
        "tasks, each final once": seen.states.total(),
        "effects, each there once": seen.booked.total(),
        "processes": f"{PROCESSES}, and {len(storm.workers.all) - PROCESSES} successors",
        "SIGKILL": storm.kills,
        "SIGSTOP and SIGCONT": storm.freezes,
        "tasks taken over": seen.kinds[HistoryKind.RECLAIMED.value],
        "stale writes refused": told["refused"],
        "runs discarded": told["RunDiscarded"],
        "leases lost": told["LeaseLost"],
        "seconds": f"{seconds:.1f}",
    }
    text = "\n".join(f"  {name:26} {value}" for name, value in rows.items())
    if IS_SOAK:
        with capsys.disabled():
            print(f"\n{text}")
    else:
        print(text)
