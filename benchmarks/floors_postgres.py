"""The floors of PostgreSQL: what its statements, commits and round trips cost without a task library around them.

One connection, one plain table, no Python task: claim N, complete N by `unnest`, each statement a commit of its own.
Nothing is fenced, kept as history or told to anybody. What milepost does is quoted as a share of these.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import psycopg

from benchmarks.floors import Answer, Floor, Metadata, Progress, converter, forget_the_setting_up
from milepost.ids import new_id

SCHEMA = """
create table task (
  number bigint generated always as identity primary key, id text not null, name text not null,
  state smallint not null default 0, priority int not null default 0, due_at timestamptz not null default now(),
  owner text, attempt int not null default 0, metadata json not null, execution_metadata json not null, result json
);
create index task_due on task (priority, due_at, number) where state = 0;
"""
CLAIM = """update task set state = 1, owner = %s, attempt = attempt + 1 where number = any (array(
  select number from task where state = 0 and due_at <= now() order by priority, due_at, number limit %s
  for update skip locked
)) returning number, metadata::text, execution_metadata::text"""
COMPLETE = """update task set state = 2, result = done.result, owner = null
from unnest(%s::bigint[], %s::json[]) as done (number, result)
where task.number = done.number and task.owner = %s"""
COPY = "copy task (id, name, metadata, execution_metadata) from stdin"
UNNEST = """insert into task (id, name, metadata, execution_metadata)
select * from unnest(%s::text[], %s::text[], %s::json[], %s::json[])"""
INSERT = "insert into task (id, name, metadata, execution_metadata) values (%s, 't', %s, %s)"

_Row = tuple[str, str, str, str]


def measure(url: str, total: int, batch: int) -> Floor:
    """Enqueue `total` tasks in one transaction, twice, and drain as many by `batch`."""
    with _connected(url) as connection:
        rows = _encoded(total)
        ready = min(_seconds_of_copy(connection, rows), _seconds_of_unnest(connection, rows))
        connection.execute("truncate task")
        _seconds_of_copy(connection, rows)
        forget_the_setting_up()
        begin = time.perf_counter()
        _drain(connection, batch)
        drained = total / (time.perf_counter() - begin)
        begin = time.perf_counter()
        _seconds_of_copy(connection, _encoded(total))
        encoded = total / (time.perf_counter() - begin)
    return Floor(total / ready, encoded, drained)


def one_row_commits(url: str, total: int) -> float:
    """Inserts of one row with a notification, each a commit of its own, per second."""
    with _connected(url) as connection:
        rows = _encoded(total)
        begin = time.perf_counter()
        for id, _, metadata, progress in rows:
            connection.execute(f"with row as ({INSERT}) select pg_notify('task', '')", (id, metadata, progress))
        return total / (time.perf_counter() - begin)


def claim_seconds(url: str, total: int, *, rest_seconds: float) -> list[float]:
    """From before an insert with a notification until another connection, which listens, has claimed the row."""
    taken = threading.Event()
    listening = threading.Event()
    ends: list[float] = []

    def listen() -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("listen task")
            listening.set()
            while len(ends) < total and list(connection.notifies(timeout=30, stop_after=1)):
                if connection.execute(CLAIM, ("me", 1)).fetchall():
                    ends.append(time.perf_counter())
                    taken.set()

    with _connected(url) as connection:
        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        listening.wait(30)
        begins: list[float] = []
        for id, _, metadata, progress in _encoded(total):
            begins.append(time.perf_counter())
            connection.execute(f"with row as ({INSERT}) select pg_notify('task', '')", (id, metadata, progress))
            if not taken.wait(30):
                raise AssertionError("a notification was lost")
            taken.clear()
            time.sleep(rest_seconds)
        listener.join()
    return [end - begin for begin, end in zip(begins, ends, strict=True)]


def _connected(url: str) -> psycopg.Connection[Any]:
    connection = psycopg.connect(url, autocommit=True)
    connection.execute(SCHEMA)
    return connection


def _encoded(total: int) -> list[_Row]:
    return [(new_id(), "t", converter.dumps(Metadata(n)), converter.dumps(Progress())) for n in range(total)]


def _seconds_of_copy(connection: psycopg.Connection[Any], rows: list[_Row]) -> float:
    begin = time.perf_counter()
    with connection.cursor().copy(COPY) as copy:
        for row in rows:
            copy.write_row(row)
    return time.perf_counter() - begin


def _seconds_of_unnest(connection: psycopg.Connection[Any], rows: list[_Row]) -> float:
    begin = time.perf_counter()
    connection.execute(UNNEST, [list(column) for column in zip(*rows, strict=True)])
    return time.perf_counter() - begin


def _drain(connection: psycopg.Connection[Any], batch: int) -> None:
    result = converter.dumps(Answer(1))
    while claimed := connection.execute(CLAIM, ("me", batch), binary=True).fetchall():
        numbers = [row[0] for row in claimed]
        connection.execute(COMPLETE, (numbers, [result] * len(numbers), "me"), binary=True)
