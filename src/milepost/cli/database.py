"""`milepost db`: the schema behind a URL, what is in it, and a whole store into another one."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import App, Parameter

from milepost.cli.ends import ExitCode, UsageError
from milepost.cli.options import AsJson, Store
from milepost.cli.output import json_text
from milepost.cli.settings import Settings
from milepost.client import BlockingClient
from milepost.lifecycle.states import TaskState
from milepost.stores.copy import copy_store
from milepost.stores.filter import TaskFilter
from milepost.stores.open import connect_store, is_memory
from milepost.stores.protocol import Session
from milepost.stores.schema import SchemaStatus, migrate_schema, schema_status

database = App(name="db", help="Look after a store: its schema, what is in it, a copy of all of it.")


@database.command
def migrate(
    *,
    store: Store = None,
    as_script: Annotated[
        bool, Parameter(name="--print", negative=(), help="Print the SQL that is missing, and change nothing.")
    ] = False,
) -> int:
    """Bring a store's schema up to date, whatever MILEPOST_MIGRATE says; makes it where there is none."""
    url = Settings.here().store(store)
    before = schema_status(url)
    if as_script:
        print(before.script, end="")
        return ExitCode.DONE
    migrate_schema(url)
    if before.is_current:
        print(f"{before.url}: schema version {before.version} is current")
    else:
        print(f"{before.url}: schema version {before.version} -> {before.newest}")
    return ExitCode.DONE


@database.command
def status(*, store: Store = None, as_json: AsJson = False) -> int:
    """Tell a store's schema version, its tasks by state and its living executors; exit code 5 for another schema."""
    url = Settings.here().store(store)
    schema = schema_status(url)
    tasks, alive = _contents(url) if schema.is_current else ({}, 0)
    if as_json:
        parts = {"url": schema.url, "version": schema.version, "newest": schema.newest}
        print(json_text({**parts, "tasks": tasks, "executors": alive}))
    else:
        print(f"store      {schema.url}\nschema     {_verdict(schema)}")
        if schema.is_current:
            counts = ", ".join(f"{count:,} {state}" for state, count in tasks.items() if count)
            print(f"tasks      {counts or 'none'}\nexecutors  {alive} alive")
    return ExitCode.DONE if schema.is_current else ExitCode.STORE


@database.command
def copy(
    source: Annotated[str, Parameter(name="FROM", help="The URL of the store to copy; it is not changed.")],
    target: Annotated[str, Parameter(name="TO", help="The URL of an empty store; made where there is none.")],
    /,
) -> int:
    """Copy all tasks with their history into an empty store of any kind, and verify the copy before it counts.

    Refused, with exit code 4, while executors are alive on either side. A copy that fails leaves no task behind.
    """
    if is_memory(source) or is_memory(target):
        raise UsageError("a store in memory ends with this program; name SQLite files or PostgreSQL databases")
    reading = connect_store(source, migrate=False)
    try:
        writing = connect_store(target)
        try:
            sums = copy_store(reading, writing, told=_progress)
        finally:
            writing.close()
    finally:
        reading.close()
    print(
        f"copied {sums.tasks.rows:,} tasks, {sums.history.rows:,} lines of history and {sums.logs.rows:,} log lines "
        f"from {reading.url} to {writing.url}, and read them back\ntasks    sha256:{sums.tasks.sha256}\n"
        f"history  sha256:{sums.history.sha256}\nlogs     sha256:{sums.logs.sha256}"
    )
    return ExitCode.DONE


def _contents(url: str) -> tuple[dict[str, int], int]:
    with BlockingClient.connect(url, migrate=False) as client:
        counts = client.store.read_blocking(_counts)
        return counts, sum(executor.is_alive for executor in client.executors())


def _counts(session: Session) -> dict[str, int]:
    return {state.value: session.count(TaskFilter(states=(state,))) for state in TaskState}


def _verdict(schema: SchemaStatus) -> str:
    if schema.is_current:
        return f"version {schema.version}, current"
    if schema.version > schema.newest:
        return f"version {schema.version}, made by a newer milepost (this one knows {schema.newest}): upgrade milepost"
    have = f"version {schema.version}" if schema.version else "none"
    return f"{have}, version {schema.newest} is needed: run `milepost db migrate`"


def _progress(tasks: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{tasks:,} tasks", end="", file=sys.stderr, flush=True)
