"""`milepost run`: checks what can be checked before a process is started, then supervises."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Sequence
from typing import Annotated, Final

import trio
from cyclopts import Parameter

from milepost.cli.ends import UsageError
from milepost.cli.options import App, Store
from milepost.cli.order import WorkOrder
from milepost.cli.settings import Settings
from milepost.cli.supervisor import Plan, Supervisor
from milepost.cli.target import check_form
from milepost.executor import ExecutorConfig
from milepost.stores.open import is_memory, is_postgres, postgres_place, sqlite_place

_QUEUE: Final = re.compile(r"(?P<name>.+?)(=(?P<limit>[^=]*))?", re.DOTALL)
_PROCESSES_MAX: Final = 1_000
_DEFAULT: Final = ExecutorConfig()


def run(
    *,
    app: App = None,
    store: Store = None,
    processes: Annotated[int, Parameter(help="How many worker processes to run, each with an executor.")] = 1,
    concurrency: Annotated[int, Parameter(help="Tasks that run at once in each.")] = _DEFAULT.concurrency,
    queue: Annotated[
        tuple[str, ...],
        Parameter(negative=(), help="A queue to serve, NAME or NAME=LIMIT; give it several times. Default: all."),
    ] = (),
    lease_seconds: Annotated[
        float, Parameter(help="How long a worker that went silent is believed in.")
    ] = _DEFAULT.lease_seconds,
    poll_seconds: Annotated[float, Parameter(help="How often an idle worker looks for work.")] = _DEFAULT.poll_seconds,
    drain_seconds: Annotated[
        float, Parameter(help="How long a stop lets running tasks finish.")
    ] = _DEFAULT.drain_seconds,
    cleanup_seconds: Annotated[
        float, Parameter(help="How long an interrupted task may clean up.")
    ] = _DEFAULT.cleanup_seconds,
    start_seconds: Annotated[float, Parameter(help="When a worker that is not ready counts as hung.")] = 120,
) -> int:
    """Run tasks in worker processes until a signal; replaces workers that end.

    The first SIGTERM or SIGINT drains all of them, a second one interrupts, a third one kills.
    """
    settings = Settings.here()
    target, url = settings.app(app), settings.store(store)
    check_form(target)
    _check_store(url)
    if not 1 <= processes <= _PROCESSES_MAX:
        raise UsageError(f"--processes must be from 1 to {_PROCESSES_MAX}, got {processes}")
    if not 0 < start_seconds < math.inf:
        raise UsageError(f"--start-seconds must be above 0, got {start_seconds:g}")
    config = ExecutorConfig(
        concurrency=concurrency,
        queues=_queues(queue, concurrency),
        lease_seconds=lease_seconds,
        poll_seconds=poll_seconds,
        drain_seconds=drain_seconds,
        cleanup_seconds=cleanup_seconds,
    )
    plan = Plan(order=WorkOrder(target, url, config), processes=processes, start_seconds=start_seconds)
    return trio.run(Supervisor(plan, told=_tell, ready=_say).run)


def _check_store(url: str) -> None:
    """Whether the URL is well formed; it is the workers that open it."""
    if is_memory(url):
        raise UsageError(
            "--store memory: would be a store of its own for each process; name a SQLite file or a PostgreSQL database"
        )
    if is_postgres(url):
        postgres_place(url, migrate=False)
    else:
        sqlite_place(url, migrate=False)


def _queues(given: Sequence[str], concurrency: int) -> dict[str, int] | None:
    queues: dict[str, int] = {}
    for each in given:
        found = _QUEUE.fullmatch(each)
        if found is None or not re.fullmatch("[0-9]+", found["limit"] or "1"):
            raise UsageError(f"--queue {each!r} is neither NAME nor NAME=LIMIT with a whole number, such as bulk=10")
        if found["name"] in queues:
            raise UsageError(f"--queue {found['name']} is given twice; give each queue once")
        queues[found["name"]] = int(found["limit"]) if found["limit"] is not None else concurrency
    return queues or None


def _tell(line: str) -> None:
    print(f"milepost: {line}", file=sys.stderr, flush=True)


def _say(line: str) -> None:
    print(f"milepost: {line}", flush=True)
