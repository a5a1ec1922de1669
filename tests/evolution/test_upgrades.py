"""Rows that older versions of a task have stored, committed as files: newer code reads, runs and finishes each."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, Final

import pytest
import trio
from attrs import frozen
from returns.result import Result
from returns.result import Success as Done

from milepost import (
    Client,
    Execution,
    HistoryKind,
    Json,
    Retry,
    Store,
    Success,
    Suspended,
    Task,
    TaskQuery,
    TaskRecord,
    TaskResult,
    TaskState,
    Transaction,
    check_compatibility,
    open_executor,
    open_store,
    task,
)
from milepost.clock import EPOCH
from milepost.payload import JsonText, to_json_text
from milepost.testing.conformance.kit import insert, sample
from tests.database import store_url
from tests.executor.kit import Recorder, abandoned_executor, kinds_of, quick, record_of, until, until_state

pytestmark = pytest.mark.anyio

ROWS: Final = {path.stem: json.loads(path.read_text("utf-8")) for path in (Path(__file__).parent / "rows").glob("*")}
EACH_ROW: Final = pytest.mark.parametrize("name", sorted(ROWS))
ROWS_IN_A_FILE: Final = 3


@frozen
class Files:
    files: list[str]
    encoding: str


@frozen
class Place:
    file: int = 0
    row: int = 0


@frozen
class Progress:
    next: Place = Place()


@frozen
class Imported:
    rows: int


def several_files(metadata: Json, execution_metadata: Json) -> tuple[Json, Json]:
    assert isinstance(metadata, dict)
    assert isinstance(execution_metadata, dict)
    return {"files": [metadata["csv"]]}, {"file": 0, "row": execution_metadata["row"]}


def with_encoding(metadata: Json, execution_metadata: Json) -> tuple[Json, Json]:
    assert isinstance(metadata, dict)
    return {**metadata, "encoding": "utf-8"}, {"next": execution_metadata}


UPGRADES: Final = {1: several_files, 2: with_encoding}


class Steps:
    """What runs of the newest version have done; the first may be stopped after so many rows."""

    def __init__(self, stop_after: int = 1_000) -> None:
        self.places: list[Place] = []
        self.stop_after = stop_after
        self.stopped = trio.Event()

    async def take(self, place: Place) -> None:
        self.places.append(place)
        if len(self.places) == self.stop_after:
            self.stopped.set()
            await trio.sleep_forever()


def newest(steps: Steps) -> Task:
    @task(name="import-users", version=3, upgrades=UPGRADES)
    async def import_users(
        metadata: Files, progress: Progress, execution: Execution[Progress]
    ) -> TaskResult[Imported, str]:
        place = progress.next
        while place.file < len(metadata.files):
            await steps.take(place)
            later = place.row + 1 < ROWS_IN_A_FILE
            place = Place(place.file, place.row + 1) if later else Place(place.file + 1)
            await execution.commit(Progress(place))
        return Success(Imported(len(metadata.files) * ROWS_IN_A_FILE))

    return import_users


@frozen
class OldFile:
    csv: str


@frozen
class OldProgress:
    row: int = 0


@task(name="import-users")
def oldest(metadata: OldFile, progress: OldProgress) -> TaskResult[Imported, str]:
    return Success(Imported(ROWS_IN_A_FILE))


def text(value: Json) -> JsonText:
    written: JsonText = to_json_text(value).unwrap()
    return written


def row_of(name: str, n: int = 1, **changes: Any) -> TaskRecord:
    """The row in a file, due for long."""
    row = ROWS[name]
    payloads = ("metadata", "execution_metadata", "initial_execution_metadata")
    texts = {f"{payload}_json": text(row[payload]) for payload in payloads}
    of_row = {"name": row["name"], "version": row["version"], "due_at": EPOCH, "created_at": EPOCH, **texts}
    return sample(n, **{**of_row, **changes})


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Store]:
    async with open_store(store_url(request.param, request, tmp_path)) as opened:
        yield opened


def test_there_are_rows_of_every_version() -> None:
    assert {row["version"] for row in ROWS.values()} == {*UPGRADES, 3}


@EACH_ROW
def test_a_stored_row_reads_as_its_file_says(name: str) -> None:
    current, row = newest(Steps()), ROWS[name]
    metadata, progress = current.decode(row["version"], text(row["metadata"]), text(row["execution_metadata"])).unwrap()
    assert current.codec.metadata.encode(metadata).unwrap() == text(row["reads_as"]["metadata"])
    assert current.codec.execution_metadata.encode(progress).unwrap() == text(row["reads_as"]["execution_metadata"])


@EACH_ROW
async def test_a_stored_row_runs_from_where_it_was_to_its_outcome(store: Store, name: str) -> None:
    steps = Steps()
    await insert(store, row_of(name))
    assert (await check_compatibility(store, [newest(steps)])).is_clean
    async with open_executor(store, [newest(steps)], config=quick()):
        ended = await until_state(store, row_of(name).id, TaskState.COMPLETED)
    assert ended.result == ROWS[name]["outcome"]
    start = ROWS[name]["reads_as"]["execution_metadata"]["next"]
    assert steps.places[0] == Place(**start)


@EACH_ROW
async def test_what_newer_code_has_committed_goes_on_after_an_interruption(store: Store, name: str) -> None:
    """The row must have moved with the commit: else the upgrades would run over what is upgraded already."""
    steps = Steps(stop_after=2) if name != "import-users-1-halfway" else Steps(stop_after=1)
    wanted = row_of(name)
    await insert(store, wanted)
    async with abandoned_executor(store, [newest(steps)], config=quick()):
        await steps.stopped.wait()
    released = await until_state(store, wanted.id, TaskState.INTERRUPTED)
    has_committed = released.sequence > 0
    assert released.version == (3 if has_committed else wanted.version)
    again = Steps()
    async with open_executor(store, [newest(again)], config=quick()):
        ended = await until_state(store, wanted.id, TaskState.COMPLETED)
    assert ended.result == ROWS[name]["outcome"]
    assert again.places[0] == steps.places[-1]
    assert HistoryKind.RELEASED not in await kinds_of(store, wanted.id)


@EACH_ROW
async def test_a_finished_old_row_can_be_requeued_from_its_start(store: Store, name: str) -> None:
    steps, id = Steps(), row_of(name).id
    await insert(store, row_of(name))
    async with open_executor(store, [newest(steps)], config=quick()):
        await until_state(store, id, TaskState.COMPLETED)
        steps.places.clear()
        (await Client(store).requeue(id, from_start=True)).unwrap()
        ended = await until_state(store, id, TaskState.COMPLETED)
    assert (ended.result, steps.places[0]) == (ROWS[name]["outcome"], Place())


async def test_a_row_that_was_only_read_stays_of_its_version(store: Store) -> None:
    @task(name="import-users", version=3, upgrades=UPGRADES, retry=Retry.never())
    def suspends(metadata: Files, progress: Progress) -> TaskResult[Imported, str]:
        return Suspended()

    await insert(store, row_of("import-users-1-halfway"))
    async with open_executor(store, [suspends], config=quick()):
        kept = await until_state(store, row_of("import-users-1-halfway").id, TaskState.SUSPENDED)
    assert (kept.version, kept.metadata) == (1, {"csv": "users.csv"})


async def test_a_suspension_and_a_proceed_of_newer_code_move_the_row(store: Store) -> None:
    def at(row: int) -> Progress:
        return Progress(Place(0, row))

    @task(name="import-users", version=3, upgrades=UPGRADES)
    def parks(metadata: Files, progress: Progress) -> TaskResult[Imported, str, Progress]:
        return Suspended(at(3)) if progress.next.row < 3 else Success(Imported(progress.next.row))

    first = row_of("import-users-1-halfway", 1)
    second = row_of("import-users-1-new", 2, state=TaskState.SUSPENDED, due_at=None)
    await insert(store, first, second)
    query = TaskQuery.for_task(parks).with_id(second.id)
    proceeded = (await Client(store).proceed(query, modify=lambda progress: at(4))).unwrap()
    assert (proceeded.version, proceeded.metadata) == (3, ROWS["import-users-1-new"]["reads_as"]["metadata"])
    async with open_executor(store, [parks], config=quick()):
        assert (await until_state(store, second.id, TaskState.COMPLETED)).result == {"rows": 4}
        parked = await until_state(store, first.id, TaskState.SUSPENDED)
        assert (parked.version, parked.execution_metadata) == (3, {"next": {"file": 0, "row": 3}})
        (await Client(store).proceed(first.id)).unwrap()
        assert (await until_state(store, first.id, TaskState.COMPLETED)).result == {"rows": 3}


async def test_an_effect_with_its_commit_moves_the_row(tmp_path: Path) -> None:
    @task(name="import-users", version=3, upgrades=UPGRADES)
    async def books(
        metadata: Files, progress: Progress, execution: Execution[Progress]
    ) -> TaskResult[Imported, str, Progress]:
        def effect(transaction: Transaction) -> Result[None, str]:
            return Done(None)

        await execution.commit_with(effect, Progress(Place(0, 7)))
        return Suspended()

    async with open_store(f"sqlite:///{tmp_path / 'tasks.db'}") as store:
        await insert(store, row_of("import-users-1-halfway"))
        async with open_executor(store, [books], config=quick()):
            kept = await until_state(store, row_of("import-users-1-halfway").id, TaskState.SUSPENDED)
    assert (kept.version, kept.execution_metadata) == (3, {"next": {"file": 0, "row": 7}})


async def test_an_old_executor_leaves_newer_rows_alone_and_takes_its_own(store: Store) -> None:
    seen = Recorder()
    newer = [row_of("import-users-2-halfway", 1), row_of("import-users-3-halfway", 2)]
    await insert(store, *newer, row_of("import-users-1-new", 3))
    async with open_executor(store, [oldest], config=quick(), observer=seen) as executor:
        await until_state(store, row_of("import-users-1-new", 3).id, TaskState.COMPLETED)
        turns = executor.statistics().turns
        await until(lambda: executor.statistics().turns > turns + 3)
    assert [await record_of(store, row.id) for row in newer] == newer


async def test_an_upgrade_that_fails_on_what_a_task_started_with_is_told_before_it_runs(store: Store) -> None:
    bad = row_of("import-users-1-halfway", initial_execution_metadata_json=JsonText("[]"))
    await insert(store, bad)
    (found,) = (await check_compatibility(store, [newest(Steps())])).incompatible
    assert found.problem == "the upgrade from version 1 failed: AssertionError"
    seen = Recorder()
    async with open_executor(store, [newest(Steps())], config=quick(), observer=seen):
        await until(lambda: seen.ended(bad.id))
    assert (await record_of(store, bad.id)).metadata_json == bad.metadata_json
