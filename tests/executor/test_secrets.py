"""A canary in every payload and in what validators raise: nobody finds it in what is kept or told for people."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import pytest
from attrs import field, frozen

from milepost import (
    Audit,
    Client,
    Empty,
    EnqueueRefused,
    Execution,
    Failure,
    Json,
    Retry,
    Statement,
    Store,
    Success,
    Suspended,
    Task,
    TaskQuery,
    TaskRecord,
    TaskResult,
    TaskState,
    open_executor,
    secret,
    task,
)
from milepost.clock import EPOCH
from milepost.results import Cancellation
from milepost.stores.protocol import Session as StoreSession
from milepost.testing.conformance.kit import insert, sample
from tests.executor.kit import Recorder, quick, record_of, until, until_state

pytestmark = pytest.mark.anyio

CANARY = "hunter2-canary"
STORED = ("metadata_json", "execution_metadata_json", "initial_execution_metadata_json", "result_json", "error_json")


def refuses_letters(_: object, field: object, value: str) -> None:
    if "letters" in value:
        raise ValueError(f"{value} has letters")


@frozen
class Login:
    how: str
    password: str = field(repr=secret, validator=refuses_letters)


@frozen
class Session:
    token: str = field(default="", repr=secret, validator=refuses_letters)


LOGIN = Login("ada", CANARY)


@task(name="log-in", retry=Retry.never(), audit=None)
async def log_in(metadata: Login, session: Session, execution: Execution[Session]) -> TaskResult[Login, Login, Session]:
    """End in the way that the metadata asks for."""
    execution.log.info("going to %r", metadata)
    match metadata.how:
        case "succeed":
            await execution.commit(Session(CANARY))
            return Success(metadata)
        case "fail":
            return Failure(metadata)
        case "fail for now":
            return Failure(metadata).retry_after(timedelta(days=1))
        case "give up":
            return Cancellation(metadata)
        case "suspend":
            return Suspended(Session(CANARY))
        case "raise":
            raise ValueError(f"the server refuses {metadata.password!r}") from KeyError(metadata.password)
        case "validate":
            Session(f"{metadata.password} letters")
        case "commit nonsense":
            await execution.commit(Session([metadata.password]))  # type: ignore[arg-type]
        case "return nonsense":
            return {"password": metadata.password}  # type: ignore[return-value]
        case "return an unstorable result":
            return Success(Login(metadata.password, f"{metadata.password}\0"))
        case _:
            return Failure(Login(metadata.how, [metadata.password]))  # type: ignore[arg-type]
    raise AssertionError("unreachable")


HOWS = {
    "succeed": TaskState.COMPLETED,
    "fail": TaskState.FAILED,
    "fail for now": TaskState.RETRYING,
    "give up": TaskState.CANCELLED,
    "suspend": TaskState.SUSPENDED,
    "raise": TaskState.FAILED,
    "validate": TaskState.FAILED,
    "commit nonsense": TaskState.FAILED,
    "return nonsense": TaskState.FAILED,
    "return an unstorable result": TaskState.FAILED,
    "return an unstorable error": TaskState.FAILED,
}


async def everything_told(store: Store) -> str:
    """All that the store keeps of its tasks, but for the payloads: as it is, and as milepost's own values show it."""
    client = Client(store)
    page = await client.search(TaskQuery().with_page_size(1_000))
    told: list[object] = [page, page.records]
    for record in page.records:
        told += [value for name, value in vars(record).items() if name not in STORED]
        told += [await client.history(record.id), await client.explain(record.id)]
        told += [log_in.shown(record), vars(log_in.shown(record))]
    if store.url != "memory:":
        told += await store.read(every_column)
    return "\n".join(map(repr, told))


def row(n: int, metadata: str, **changes: Any) -> TaskRecord:
    """A row that has been due for long."""
    return sample(n, **{"name": "log-in", "metadata_json": metadata, "due_at": EPOCH, "created_at": EPOCH, **changes})


def every_column(session: StoreSession) -> list[object]:
    """Whatever is in the tables of milepost, but for the payloads."""
    execute = session.transaction.execute
    is_sqlite = "sqlite" in type(session).__module__
    tables = "select name from sqlite_master where type = 'table' and name like 'milepost%'"
    if not is_sqlite:
        tables = "select 'milepost.' || tablename from pg_tables where schemaname = 'milepost'"
    found: list[object] = []
    for (table,) in execute(tables):
        bare = table.removeprefix("milepost.")
        columns = f"select name from pragma_table_info('{bare}')"
        if not is_sqlite:
            columns = f"select column_name from information_schema.columns where table_name = '{bare}'"
        wanted = [name for (name,) in execute(columns) if name not in STORED]
        assert wanted
        found += execute(f"select {', '.join(wanted)} from {table}")
    return found


async def test_a_canary_in_every_payload_is_found_in_the_payloads_alone(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    observed = Recorder()
    requests = [log_in.with_metadata(Login(how, CANARY)).with_audit(Audit.FULL) for how in HOWS]
    async with open_executor(store, [log_in], config=quick(), observer=observed):
        handles = await Client(store).enqueue_all(requests)
        for handle, state in zip(handles, HOWS.values(), strict=True):
            await until_state(store, handle.id, state)
        outcomes = [handle.outcome(await record_of(store, handle.id)) for handle in handles]
    records = [await record_of(store, handle.id) for handle in handles]
    # It is there, where it belongs.
    assert all(CANARY in record.metadata_json for record in records)
    assert CANARY in records[0].execution_metadata_json
    assert CANARY in (records[0].result_json or "")
    assert CANARY in (records[1].error_json or "")
    # And what it is hidden in was told.
    told = await everything_told(store)
    assert "the server refuses '***'" in told
    assert "*** letters has letters" in told
    assert '"password":"***"' in told
    assert "going to Login(how='succeed', password=***)" in caplog.text
    for text in (told, repr(requests), repr(handles), repr(outcomes), repr(observed.seen), caplog.text):
        assert CANARY not in text


@pytest.mark.parametrize(
    ("metadata", "told"),
    [
        (f'{{"how":"succeed","password":"{CANARY} letters"}}', "Login does not take it: ValueError"),
        (f'{{"how":"succeed","password":["{CANARY}"]}}', "$.password: a secret field does not take it"),
        (f'{{"how":["{CANARY}"],"password":"x"}}', "$.how: expected str, got list"),
        (f'{{"how":"succeed","passwort":"{CANARY}"}}', "lacks the field 'password', and has fields"),
        (f'"{CANARY}"', "expected object with the fields of Login, got str"),
    ],
)
async def test_a_row_that_cannot_be_read_is_given_back_and_quarantined_without_its_secret(
    store: Store, caplog: pytest.LogCaptureFixture, metadata: str, told: str
) -> None:
    caplog.set_level(logging.DEBUG)
    observed = Recorder()
    await insert(store, row(1, metadata), row(2, metadata, stalls=50))
    async with open_executor(store, [log_in], config=quick(), observer=observed):
        await until_state(store, sample(2).id, TaskState.QUARANTINED)
        await until(lambda: observed.ended(sample(1).id))
    kept = await everything_told(store)
    assert told in kept
    assert CANARY not in kept + repr(observed.seen) + caplog.text


async def test_a_failing_upgrade_tells_no_secret(store: Store) -> None:
    def failing(metadata: Json, execution_metadata: Json) -> tuple[Json, Json]:
        raise ValueError(f"cannot read {metadata}")

    make: Any = task
    newer: Task = make(name="log-in", version=2, upgrades={1: failing})(log_in.function)
    observed = Recorder()
    await insert(store, row(1, f'{{"password":"{CANARY}"}}'))
    async with open_executor(store, [newer], config=quick(), observer=observed):
        await until(lambda: observed.ended(sample(1).id))
    kept = await everything_told(store)
    assert "the upgrade from version 1 failed: ValueError" in kept
    assert CANARY not in kept


async def test_an_effect_that_fails_tells_no_secret_of_the_task(sql_store: Store) -> None:
    @task(name="log-in", retry=Retry.never())
    def leaks(metadata: Login, session: Session) -> TaskResult[Empty, Empty]:
        return Success(Empty()).with_effects(Statement(f"select no_such_function('{metadata.password}')"))

    handle = await Client(sql_store).enqueue(leaks.with_metadata(LOGIN))
    async with open_executor(sql_store, [leaks], config=quick()):
        await until_state(sql_store, handle.id, TaskState.FAILED)
    kept = await everything_told(sql_store)
    assert "no_such_function" in kept
    assert CANARY not in kept


async def test_a_policy_that_raises_tells_no_secret_of_the_error(store: Store) -> None:
    def undecided(error: Login) -> bool:
        raise ValueError(f"what about {error.password}?")

    @task(name="log-in", retry=Retry.fixed(1, timedelta(days=1)).when(undecided))
    def fails(metadata: Login, session: Session) -> TaskResult[Empty, Login]:
        return Failure(Login("late", f"{CANARY}-of-the-error"))

    handle = await Client(store).enqueue(fails.with_metadata(Login("", "another one")))
    async with open_executor(store, [fails], config=quick()):
        await until_state(store, handle.id, TaskState.RETRYING, TaskState.FAILED)
    kept = await everything_told(store)
    assert "what about ***?" in kept
    assert CANARY not in kept


async def test_a_refused_request_and_a_query_tell_no_secret(store: Store) -> None:
    bad = log_in.with_metadata(Login("ada", [CANARY]))  # type: ignore[arg-type]
    with pytest.raises(EnqueueRefused) as refused:
        await Client(store).enqueue(bad)
    assert "metadata $.password: a secret field does not take it" in str(refused.value)
    query = TaskQuery.for_task(log_in).with_metadata(LOGIN)
    assert CANARY not in str(refused.value) + repr(refused.value.reason) + repr(query) + repr(bad)


async def test_stored_log_lines_go_without_the_secrets_of_their_run(store: Store) -> None:
    @task(name="log-in")
    async def logs(metadata: Login, session: Session, execution: Execution[Session]) -> TaskResult[Empty, Empty]:
        execution.log.warning("trying %s for %s", metadata.password, metadata.how)
        await execution.commit(Session(f"{CANARY}-of-the-session"))
        try:
            raise ValueError(metadata.password)
        except ValueError:
            execution.log.exception("no luck with %s", f"{CANARY}-of-the-session")
        return Success(Empty())

    handle = await Client(store).enqueue(logs.with_metadata(LOGIN))
    async with open_executor(store, [logs], config=quick(log_level=logging.INFO)):
        await until_state(store, handle.id, TaskState.COMPLETED)
    lines = await Client(store).logs(handle.id)
    kept = await everything_told(store) + repr(lines)
    assert "trying *** for ada" in kept
    assert "no luck with ***" in kept
    assert "ValueError: ***" in kept
    assert CANARY not in kept
