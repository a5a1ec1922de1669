"""Two machines on one PostgreSQL: one is cut off and comes back, and the hosts' clocks do not matter.

A machine is a process with a network of its own. Where the kernel allows it that is a network namespace, whose link is
taken down; in any case a proxy of its own, which holds everything back. Neither closes a connection.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Protocol, final

import psycopg
import pytest
import trio
from attrs import frozen

from milepost import Client, HistoryKind, Store, open_store
from milepost.testing.servers import PostgresServer
from tests.executor.kit import AnyTask, until
from tests.reliability import ledger
from tests.reliability.fleet import Setting, Worker, Workers, workers_in
from tests.reliability.proxy import Proxy, proxied

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

TIMES: Final = int(os.environ.get("MILEPOST_SOAK", "1"))
LEASE_SECONDS: Final = 1.5
MARCHING, SITTING = 8, 4
TASKS: Final = MARCHING + SITTING
PATIENCE_SECONDS: Final = 40.0
HOUR: Final = 3600.0


class Network(Protocol):
    """How a machine reaches the server, and how it is cut off."""

    @property
    def prefix(self) -> Sequence[str]:
        """What a command runs under to be on that machine."""
        ...

    def url(self, direct: str) -> str:
        """The server's URL as seen from there."""
        ...

    def cut(self) -> None:
        """From now on nothing comes through, and nobody is told."""
        ...

    def mend(self) -> None:
        """What is sent again comes through again."""
        ...


@final
@frozen
class ProxyNetwork:
    """A process that reaches the server through a proxy of its own."""

    _proxy: Proxy
    prefix: Sequence[str] = ()

    def url(self, direct: str) -> str:
        return self._proxy.url(direct)

    def cut(self) -> None:
        self._proxy.hold()

    def mend(self) -> None:
        self._proxy.flow()


@final
@frozen
class NamespaceNetwork:
    """A network namespace with one link to this one, where a proxy leads on to the server."""

    _proxy: Proxy
    _name: str
    _link: str

    @property
    def prefix(self) -> Sequence[str]:
        return ("ip", "netns", "exec", self._name)

    def url(self, direct: str) -> str:
        return self._proxy.url(direct)

    def cut(self) -> None:
        _ip("link", "set", self._link, "down")

    def mend(self) -> None:
        _ip("link", "set", self._link, "up")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def namespaces_are_possible() -> bool:
    """Whether this process may make network namespaces."""
    name = f"milepost-try-{os.getpid()}"
    try:
        _ip("netns", "add", name)
        _ip("netns", "delete", name)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


@contextmanager
def proxy_network(port: int) -> Generator[Network]:
    with proxied("127.0.0.1", port) as proxy:
        yield ProxyNetwork(proxy)


@contextmanager
def namespace_network(port: int) -> Generator[Network]:
    # Link-local addresses, which no network outside uses, and names that are this process's own.
    name, link, far_link = f"milepost-{os.getpid()}", f"mp{os.getpid()}a", f"mp{os.getpid()}b"
    here, there = "169.254.213.1", "169.254.213.2"
    _ip("netns", "add", name)
    try:
        _ip("link", "add", link, "type", "veth", "peer", "name", far_link, "netns", name)
        _ip("address", "add", f"{here}/30", "dev", link)
        _ip("link", "set", link, "up")
        _ip("-netns", name, "address", "add", f"{there}/30", "dev", far_link)
        _ip("-netns", name, "link", "set", far_link, "up")
        with proxied("127.0.0.1", port, at=here) as proxy:
            yield NamespaceNetwork(proxy, name, link)
    finally:
        _ip("netns", "delete", name)


@pytest.fixture(params=["proxy", "namespace"])
def network(request: pytest.FixtureRequest, postgres_server: PostgresServer) -> Iterator[Network]:
    """The network of the machine that is cut off."""
    if request.param == "namespace":
        if not namespaces_are_possible():
            pytest.skip("this process may not make network namespaces; the same is proven with a proxy")
        with namespace_network(postgres_server.port) as network:
            yield network
    else:
        with proxy_network(postgres_server.port) as network:
            yield network


@pytest.fixture
def direct(postgres_server: PostgresServer) -> str:
    return ledger.fresh_ledger(postgres_server)


@pytest.fixture
async def store(direct: str) -> AsyncGenerator[Store]:
    async with open_store(direct) as store:
        yield store


@final
@frozen
class Watcher:
    """Looks at the database by SQL of its own."""

    _connection: psycopg.Connection[tuple[Any, ...]]

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return self._connection.execute(query.encode()).fetchall()

    def owners(self) -> Counter[int]:
        """How many tasks each process runs, by its pid."""
        return Counter(
            pid
            for (pid,) in self.rows(
                "select l.pid from milepost.milepost_task t join milepost.milepost_lease l using (executor)"
            )
        )

    def lines(self) -> list[tuple[int, int]]:
        """The ledger in order: the line's number, and who wrote it."""
        return self.rows("select line, pid from ledger order by line")


@pytest.fixture
def watcher(direct: str) -> Generator[Watcher]:
    with psycopg.connect(direct, autocommit=True) as connection:
        yield Watcher(connection)


@pytest.fixture
def workers(tmp_path: Path) -> Generator[Workers]:
    with workers_in(tmp_path) as workers:
        yield workers


def there(url: str, *, prefix: Sequence[str] = (), ahead_seconds: float = 0) -> Setting:
    """How a machine's process works. What it had locked when it was lost is let go of within a few seconds."""
    return Setting(
        url=f"{url}?options=-c%20idle_in_transaction_session_timeout%3D1s",
        lease_seconds=LEASE_SECONDS,
        effect_seconds=0.5,
        ahead_seconds=ahead_seconds,
        prefix=prefix,
    )


async def up(worker: Worker) -> Worker:
    await until(lambda: worker.is_up, "a machine to come up", seconds=PATIENCE_SECONDS)
    return worker


async def stopped(worker: Worker) -> None:
    worker.signal(signal.SIGTERM)
    assert await trio.to_thread.run_sync(worker.process.wait) == 0, worker.told


async def until_done(watcher: Watcher) -> None:
    unfinished = "select count(*) from milepost.milepost_task where finished_at is null"
    await until(lambda: watcher.rows(unfinished) == [(0,)], "every task to end", seconds=PATIENCE_SECONDS)


async def enqueue(store: Store, task: AnyTask, numbers: range) -> None:
    await Client(store).enqueue_all([task.with_metadata(n) for n in numbers])


async def test_a_machine_that_was_cut_off_comes_back_and_writes_nothing_of_what_was_taken_over(
    network: Network, direct: str, store: Store, watcher: Watcher, workers: Workers
) -> None:
    lone = await up(workers.start(there(network.url(direct), prefix=network.prefix)))

    def another() -> Worker:
        return workers.start(there(direct))

    for number in range(TIMES):
        start = number * TASKS
        await enqueue(store, ledger.march, range(start, start + MARCHING))
        await enqueue(store, ledger.sit, range(start + MARCHING, start + TASKS))
        heir = await cut_off_and_take_over(network, watcher, lone, another)
        await stopped(heir)
    assert lone.told["LeaseLost"] >= TIMES
    await enqueue(store, ledger.march, range(TIMES * TASKS, TIMES * TASKS + 1))
    await until_done(watcher)
    assert watcher.lines()[-1][1] == lone.process.pid, "it goes on"
    await stopped(lone)
    seen = ledger.assert_booked_once(direct, range(TIMES * TASKS + 1), lines_of)
    assert seen.kinds[HistoryKind.RECLAIMED.value] == TIMES * TASKS


def lines_of(number: int) -> int:
    """How many lines the task with this number writes."""
    return ledger.MARCH_STEPS if number % TASKS < MARCHING else 1


async def cut_off_and_take_over(
    network: Network, watcher: Watcher, lone: Worker, start: Callable[[], Worker]
) -> Worker:
    """`lone` begins everything and is cut off; a machine that is started then does it all, whatever `lone` sends."""
    told_before, lines_before = lone.told, len(watcher.lines())
    await until(lambda: watcher.owners() == {lone.process.pid: TASKS}, "one machine to run everything")
    await until(lambda: len(watcher.lines()) > lines_before + TASKS, "the tasks to be under way")
    network.cut()
    lone.signal(signal.SIGUSR1)  # what ends now is offered to the store once it is there again
    heir = await up(start())
    untouched = "select id from milepost.milepost_task where fence < 2 and finished_at is null"
    await until(lambda: not watcher.rows(untouched), "the other one to take over", seconds=PATIENCE_SECONDS)
    relieved_at = watcher.lines()[-1][0]
    assert lone.process.pid not in watcher.owners()
    told = lone.told - told_before
    assert told["RunDiscarded"] == MARCHING, "it had stopped its runs before they were taken over"
    assert told["stopped: claim lost"] > 0
    network.mend()
    await until(lambda: lone.told["LeaseLost"] > told_before["LeaseLost"], "it to go on", seconds=PATIENCE_SECONDS)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(nudge, heir)
        await until_done(watcher)
        await until(lambda: (lone.told - told_before)["RunDiscarded"] == TASKS, "it to be refused")
        nursery.cancel_scope.cancel()
    assert (lone.told - told_before)["refused"] >= SITTING
    assert not [line for line, pid in watcher.lines() if line > relieved_at and pid == lone.process.pid]
    return heir


async def nudge(worker: Worker) -> None:
    """Let whatever sits there end, until cancelled."""
    while True:
        worker.signal(signal.SIGUSR1)
        await trio.sleep(0.1)


async def test_clocks_of_hosts_that_are_an_hour_off_have_no_effect(
    direct: str, store: Store, watcher: Watcher, workers: Workers
) -> None:
    machines = [await up(workers.start(there(direct, ahead_seconds=ahead))) for ahead in (-HOUR, HOUR)]
    await enqueue(store, ledger.nap, range(100))
    await until_done(watcher)
    # As long as it takes for a lease to be renewed several times, by whom ever.
    renewed = "select count(*) from milepost.milepost_lease where renewed_at > started_at + interval '1 second'"
    await until(lambda: watcher.rows(renewed) == [(2,)], "both leases to be renewed", seconds=PATIENCE_SECONDS)
    off = (
        "select count(*) from milepost.milepost_lease where lease_until not between clock_timestamp() "
        "and clock_timestamp() + interval '2 seconds'"
    )
    assert watcher.rows(off) == [(0,)], "leases are on the server's clock"
    early = (
        "select count(*) from milepost.milepost_history s join milepost.milepost_history c using (task) "
        "where s.kind = 'suspended' and c.kind = 'claimed' and c.revision > s.revision "
        "and c.at - s.at not between interval '0.3 seconds' and interval '5 seconds'"
    )
    assert watcher.rows(early) == [(0,)], "due times are on the server's clock"
    for machine in machines:
        await stopped(machine)
        assert machine.told["LeaseLost"] == machine.told["RunDiscarded"] == 0
    assert {pid for _, pid in watcher.lines()} == {machine.process.pid for machine in machines}, "both took part"
    seen = ledger.assert_booked_once(direct, range(100), lambda number: 1)
    assert seen.kinds[HistoryKind.RECLAIMED.value] == 0
    behind, ahead = (moment_at_start(machine) for machine in machines)
    assert ahead - behind > timedelta(hours=1.9), "the clocks were really set"


def moment_at_start(machine: Worker) -> datetime:
    """What time it was on that machine."""
    (line,) = (line for line in machine.told if line.startswith("it is "))
    return datetime.fromisoformat(line.split()[2])
