"""`milepost executor`: who works on a store."""

from __future__ import annotations

import attrs
from cyclopts import App

from milepost.cli.ends import ExitCode
from milepost.cli.options import AsJson, Store
from milepost.cli.output import ago, json_text
from milepost.cli.settings import Settings
from milepost.client import BlockingClient, ExecutorInfo
from milepost.text import table

executor = App(name="executor", help="Look at who works on a store.")

_HEADINGS = ("id", "host", "pid", "up", "seen", "state", "running", "tasks", "queues")


@executor.command(name="list")
def list_executors(*, store: Store = None, as_json: AsJson = False) -> int:
    """List the executors of a store, the longest running first: where, since when, how busy, for which tasks."""
    with BlockingClient.connect(Settings.here().store(store), migrate=False) as client:
        executors = client.executors()
        now = client.store.read_blocking(lambda session: session.now())
    if as_json:
        print(json_text([{**attrs.asdict(each), "tasks": dict(each.tasks)} for each in executors]))
    elif executors:
        rows = [_row(each, ago(each.started_at, now), ago(each.renewed_at, now)) for each in executors]
        print(table(_HEADINGS, rows))
    else:
        print("no executors")
    return ExitCode.DONE


def _row(executor: ExecutorInfo, up: str, seen: str) -> tuple[object, ...]:
    state = "alive" if executor.is_alive else "expired"
    running = f"{executor.running}/{executor.slots}"
    tasks = ",".join(f"{name}@{version}" for name, version in executor.tasks.items())
    queues = "all" if executor.queues is None else ",".join(executor.queues)
    return (executor.id, executor.host, executor.pid, up, f"{seen} ago", state, running, tasks or "-", queues)
