"""Whether new code can read what old code has stored: each planted change is named, and nothing else is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeAlias, TypeVar

import pytest
import trio
from attrs import field, frozen

from milepost import (
    Client,
    CompatibilityReport,
    Empty,
    Json,
    NewerVersion,
    Store,
    Success,
    Task,
    TaskDefinitionError,
    TaskResult,
    TaskState,
    UnknownTask,
    check_compatibility,
    check_compatibility_blocking,
    secret,
    task,
)
from milepost.lifecycle.record import TaskRecord
from milepost.payload import JsonText
from milepost.stores.protocol import Session
from milepost.testing.conformance.kit import NOW, insert, sample, task_id
from tests.executor.kit import PassingStore

pytestmark = pytest.mark.anyio

T = TypeVar("T")
Check: TypeAlias = Callable[..., Awaitable[CompatibilityReport]]


async def in_a_thread(store: Store, tasks: Sequence[Task], **options: Any) -> CompatibilityReport:
    return await trio.to_thread.run_sync(partial(check_compatibility_blocking, store, tasks, **options))


@pytest.fixture(params=["trio", "blocking"])
def check(request: pytest.FixtureRequest) -> Check:
    return check_compatibility if request.param == "trio" else in_a_thread


@frozen
class Card:
    number: str


@frozen
class Transfer:
    iban: str


@frozen
class Line:
    price: int


@frozen
class Pay:
    amount: int
    method: Card | Transfer
    lines: list[Line] = field(factory=list[Line])


@frozen
class Progress:
    page: int = 0


@task(name="pay")
def pay(metadata: Pay, progress: Progress) -> TaskResult[Empty, Empty]:
    return Success(Empty())


def version_of(metadata: Any, progress: Any = Progress, **options: Any) -> Task:
    """The task as other code would have it."""

    def changed(metadata: Any, progress: Any) -> TaskResult[Empty, Empty]:
        return Success(Empty())

    changed.__annotations__ |= {"metadata": metadata, "progress": progress}
    make: Any = task
    made: Task = make(name="pay", **options)(changed)
    return made


CARD = '{"amount":5,"lines":[],"method":{"$type":"Card","number":"47"}}'


def row(n: int, metadata: str = CARD, execution_metadata: str = "{}", **changes: Any) -> TaskRecord:
    """A row of the task, as it was stored."""
    initial = changes.pop("initial", execution_metadata)
    texts = {"metadata_json": metadata, "execution_metadata_json": execution_metadata}
    return sample(n, **{"name": "pay", **texts, "initial_execution_metadata_json": initial, **changes})


async def test_a_change_that_reads_everything_is_clean(store: Store, check: Check) -> None:
    @frozen
    class PayWithNote:
        amount: int
        method: Card | Transfer
        lines: list[Line]
        note: str = ""

    await Client(store).enqueue_all([pay.with_metadata(Pay(n, Card("47"))) for n in range(3)])
    report = await check(store, [version_of(PayWithNote)])
    assert (report.checked, report.is_clean, report.incompatible) == (3, True, ())
    assert str(report) == "3 tasks looked at: all that this program has tasks for can be read"


@frozen
class Renamed:
    cents: int
    method: Card | Transfer
    lines: list[Line]


@frozen
class Narrowed:
    amount: bool
    method: Card | Transfer
    lines: list[Line]


@frozen
class Wire:
    swift: str


@frozen
class MemberRemoved:
    amount: int
    method: Transfer | Wire
    lines: list[Line]


@frozen
class Required:
    amount: int
    method: Card | Transfer
    lines: list[Line]
    currency: str


@frozen
class PricedLine:
    price: int
    tax: int


@frozen
class RequiredInside:
    amount: int
    method: Card | Transfer
    lines: list[PricedLine]


@pytest.mark.parametrize(
    ("changed", "field", "problem"),
    [
        (Renamed, "$", "lacks the field 'cents', and has fields that Renamed does not know: amount"),
        (Narrowed, "$.amount", "expected bool, got int"),
        (MemberRemoved, "$.method", "the type 'Card' is none of ['Transfer', 'Wire']"),
        (Required, "$", "lacks the field 'currency'"),
        (RequiredInside, "$.lines[]", "lacks the field 'tax'"),
    ],
)
async def test_a_planted_change_is_named_with_its_path_and_count(
    store: Store, check: Check, changed: type, field: str, problem: str
) -> None:
    await Client(store).enqueue_all([pay.with_metadata(Pay(n, Card("47"), [Line(1)] * n)) for n in range(1, 5)])
    report = await check(store, [version_of(changed)])
    (found,) = report.incompatible
    assert (found.task, found.version, found.part, found.field) == ("pay", 1, "metadata", field)
    assert (found.problem, found.count, len(found.example_ids)) == (problem, 4, 3)
    assert found.example.startswith("metadata $")
    assert not report.is_clean
    assert all(each in str(report) for each in ("pay", field, problem, "4", found.example_ids[0]))


async def test_rows_that_differ_in_their_values_are_one_finding(store: Store, check: Check) -> None:
    await insert(store, *(row(n, CARD.replace("5", f'"text {n}"')) for n in range(9)))
    (found,) = (await check(store, [pay])).incompatible
    assert (found.problem, found.count) == ("expected int, got str", 9)
    assert "text 0" in found.example


async def test_each_payload_of_a_row_is_looked_at(store: Store, check: Check) -> None:
    await insert(
        store,
        row(1, "{}"),
        row(2, execution_metadata='{"page":"7"}'),
        row(3, execution_metadata='{"page":7}', initial='{"row":1}'),
    )
    found = [(each.part, each.field) for each in (await check(store, [pay])).incompatible]
    assert found == [("execution metadata", "$.page"), ("initial execution metadata", "$"), ("metadata", "$")]


async def test_every_live_state_is_looked_at_and_ended_ones_only_on_request(store: Store, check: Check) -> None:
    for n, state in enumerate(TaskState):
        final = state.is_final
        changes: dict[str, Any] = {"state": state, "due_at": NOW if state is TaskState.PENDING else None}
        changes |= {"executor": "ada", "token": "t"} if state is TaskState.RUNNING else {}
        changes |= {"finished_at": NOW, "result_json": JsonText("[]")} if final else {}
        await insert(store, row(n, "{}", **changes))
    live = await check(store, [pay])
    assert (live.checked, live.incompatible[0].count) == (6, 6)
    everything = await check(store, [pay], final=True)
    assert everything.checked == 9
    assert {(each.part, each.count) for each in everything.incompatible} == {("metadata", 9), ("result", 3)}


async def test_upgrades_are_part_of_what_is_checked(store: Store, check: Check) -> None:
    def renamed(metadata: Json, execution_metadata: Json) -> tuple[Json, Json]:
        assert isinstance(metadata, dict)
        return {**{k: v for k, v in metadata.items() if k != "amount"}, "cents": metadata["amount"]}, execution_metadata

    await insert(store, row(1), row(2, CARD.replace("amount", "total")))
    report = await check(store, [version_of(Renamed, version=2, upgrades={1: renamed})])
    (found,) = report.incompatible
    assert (found.part, found.field, found.count, found.example_ids) == ("", "$", 1, (task_id(2),))
    assert found.problem == "the upgrade from version 1 failed: KeyError"
    assert found.example == "$: the upgrade from version 1 failed: KeyError: 'amount'"


async def test_a_version_without_an_upgrade_is_told(store: Store, check: Check) -> None:
    await insert(store, row(1))
    (found,) = (await check(store, [version_of(Pay, version=3)])).incompatible
    assert (found.version, found.problem) == (1, "stored as version 1 and 'pay' has no upgrade from 1")


async def test_rows_of_newer_versions_and_of_other_tasks_are_told_apart(store: Store, check: Check) -> None:
    await insert(store, row(1), row(2, version=2), row(3, version=2), row(4, name="gone", metadata="[]"))
    report = await check(store, [pay])
    assert report.newer == (NewerVersion("pay", 2, 1, 2, (task_id(2), task_id(3))),)
    assert report.unknown == (UnknownTask("gone", 1, (task_id(4),)),)
    assert report.is_compatible
    assert not report.is_clean
    assert "rows of newer versions" in str(report)
    assert "gone" in str(report)


async def test_rows_of_newer_versions_alone_are_clean(store: Store, check: Check) -> None:
    await insert(store, row(1, version=2))
    assert (await check(store, [pay])).is_clean


async def test_no_value_of_a_type_with_secrets_is_told(store: Store, check: Check) -> None:
    @frozen
    class Login:
        user: int
        password: str = field(repr=secret)

    await insert(store, row(1, '{"password":"hunter2","user":"hunter2"}'), row(2, '{"password":["hunter2"],"user":1}'))
    report = await check(store, [version_of(Login)])
    assert [each.field for each in report.incompatible] == ["$.password", "$.user"]
    assert "hunter2" not in repr(report) + str(report)


class Pages(PassingStore):
    """Counts the reads, and refuses whatever writes."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.largest = self.reads = 0

    async def read(self, function: Callable[[Session], T]) -> T:
        return self._noted(await super().read(function))

    def read_blocking(self, function: Callable[[Session], T]) -> T:
        return self._noted(super().read_blocking(function))

    async def transact(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("a check only reads")

    def transact_blocking(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("a check only reads")

    def _noted(self, page: T) -> T:
        self.reads += 1
        rows: Any = page
        self.largest = max(self.largest, len(rows))
        return page


async def test_any_number_of_rows_is_read_in_small_pages_by_reading_transactions(store: Store, check: Check) -> None:
    await insert(store, *(row(n) for n in range(450)))
    pages = Pages(store)
    report = await check(pages, [pay])
    assert (report.checked, report.is_clean) == (450, True)
    assert (pages.reads, pages.largest) == (5, 100)


async def test_damage_without_end_is_counted_and_not_kept(store: Store, check: Check) -> None:
    await insert(store, *(row(n, f'{{"unknown{n}":1}}') for n in range(1_100)))
    report = await check(store, [pay])
    assert len(report.incompatible) == 1_000
    assert report.untold == 100
    assert "and 100 problems of further kinds" in str(report)


async def test_nothing_is_changed(store: Store, check: Check) -> None:
    await insert(store, row(1), row(2, "{}"))
    before = [(await Client(store).get(task_id(n))).unwrap() for n in (1, 2)]
    await check(store, [pay], final=True)
    assert [(await Client(store).get(task_id(n))).unwrap() for n in (1, 2)] == before


async def test_two_tasks_of_one_name_are_refused(store: Store, check: Check) -> None:
    with pytest.raises(TaskDefinitionError, match="two tasks have the name 'pay'"):
        await check(store, [pay, version_of(Pay)])
