"""`on_outcome`: called once for every way in which a task can end, on every store."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
import trio
from attrs import field, frozen

from milepost import (
    Cancellation,
    Children,
    Client,
    Crash,
    CrashKind,
    Empty,
    Execution,
    Failure,
    Outcome,
    Retry,
    Store,
    Success,
    Suspended,
    TaskRecord,
    TaskRequest,
    TaskResult,
    TaskState,
    group,
    open_executor,
    secret,
    task,
)
from milepost.lifecycle import events
from milepost.stores.filter import TaskFilter
from milepost.testing import drain
from tests.executor.kit import AnyTask, change, enqueue, quick, record_of, until_state

pytestmark = pytest.mark.anyio


@frozen
class Told:
    metadata: int
    progress: int
    how: str


@task
def tell(metadata: Told, progress: Empty) -> TaskResult[Told, str]:
    return Success.with_result(metadata)


def told(outcome: Outcome[int, str]) -> str:
    match outcome:
        case Success(result=value):
            return f"success {value}"
        case Failure(error=value):
            return f"failure {value}"
        case Cancellation(error=value):
            return f"gave up {value}"
        case Crash(kind=kind):
            return f"crash {kind.value}"


def hook(metadata: int, progress: int, outcome: Outcome[int, str]) -> Sequence[TaskRequest]:
    return [tell.with_metadata(Told(metadata, progress, told(outcome)))]


_RETRY = Retry.fixed(2, timedelta(0)).when(lambda error: True)


@task(on_outcome=hook, retry=_RETRY)
async def work(metadata: int, progress: int, execution: Execution[int]) -> TaskResult[int, str, int]:
    """Ends as its metadata says, after a commit."""
    await execution.commit(10)
    match metadata:
        case 1:
            return Success.with_result(1)
        case 2:
            return Failure.with_error("no")
        case 3:
            return Cancellation.with_error("stop")
        case 4:
            raise ValueError("broken")
        case 5:
            return Suspended()
        case _:
            await trio.sleep_forever()
    raise AssertionError


async def what_was_told(store: Store, *tasks: AnyTask) -> list[Told]:
    """What the hook has enqueued, once nothing is due any more."""
    await drain(store, [*tasks, tell])
    records = await store.read(lambda session: session.search(TaskFilter(names=("tell",)), limit=100))
    return [tell.read(record)[0] for record in records]


@pytest.mark.parametrize(
    ("metadata", "how"), [(1, "success 1"), (2, "failure no"), (3, "gave up stop"), (4, "crash exception")]
)
async def test_it_is_called_once_when_the_task_answers_or_has_used_up_its_retries(
    store: Store, metadata: int, how: str
) -> None:
    await enqueue(store, work.with_metadata(metadata))
    assert await what_was_told(store, work) == [Told(metadata, 10, how)]


async def test_it_is_called_when_a_waiting_task_is_cancelled(store: Store) -> None:
    (id,) = await enqueue(store, work.with_metadata(1).after(timedelta(days=1)))
    (await Client(store).cancel(id)).unwrap()
    assert await what_was_told(store, work) == [Told(1, 0, "crash cancelled")]


async def test_it_is_called_when_a_suspended_task_is_cancelled(store: Store) -> None:
    (id,) = await enqueue(store, work.with_metadata(5))
    assert await what_was_told(store, work) == []
    (await Client(store).cancel(id)).unwrap()
    assert await what_was_told(store, work) == [Told(5, 10, "crash cancelled")]


async def test_it_is_called_when_a_running_task_is_cancelled(store: Store) -> None:
    (id,) = await enqueue(store, work.with_metadata(6))
    async with open_executor(store, [work], config=quick()):
        await until_state(store, id, TaskState.RUNNING)
        (await Client(store).cancel(id)).unwrap()
        await until_state(store, id, TaskState.CANCELLED)
    assert await what_was_told(store, work) == [Told(6, 10, "crash cancelled")]


async def test_it_is_called_when_a_deadline_is_missed(store: Store) -> None:
    @task(on_outcome=hook, deadline_seconds=0.05)
    async def slow(metadata: int, progress: int) -> TaskResult[int, str]:
        await trio.sleep_forever()
        raise AssertionError

    await enqueue(store, slow.with_metadata(1))
    assert await what_was_told(store, slow) == [Told(1, 0, "crash deadline")]


async def test_it_is_called_when_a_start_deadline_is_missed(store: Store) -> None:
    @task(on_outcome=hook)
    def late(metadata: int, progress: int) -> TaskResult[int, str]:
        raise AssertionError

    (id,) = await enqueue(store, late.with_metadata(1).start_within(timedelta(microseconds=1)))
    record = await record_of(store, id)
    assert record.start_by is not None
    assert await what_was_told(store, late) == [Told(1, 0, "crash deadline")]


async def test_it_is_not_called_for_a_quarantined_task_before_that_is_ended(store: Store) -> None:
    (id,) = await enqueue(store, work.with_metadata(1))
    await change(store, id, events.Claimed("gone", "token"))
    await change(store, id, events.Stalled())
    assert (await record_of(store, id)).state is TaskState.QUARANTINED
    assert await what_was_told(store, work) == []
    (await Client(store).cancel(id)).unwrap()
    assert await what_was_told(store, work) == [Told(1, 0, "crash cancelled")]


async def test_it_is_called_again_for_each_epoch(store: Store) -> None:
    (id,) = await enqueue(store, work.with_metadata(2))
    assert len(await what_was_told(store, work)) == 1
    (await Client(store).requeue(id)).unwrap()
    assert len(await what_was_told(store, work)) == 2


async def test_it_runs_as_a_task_in_the_place_of_the_one_that_ended(store: Store) -> None:
    (id,) = await enqueue(store, work.with_metadata(1).in_queue("bulk").with_priority(3).with_correlation("order-42"))
    await drain(store, [work, tell])
    companion = await only(store, "work:on-outcome")
    assert (companion.queue, companion.priority, companion.correlation) == ("bulk", 3, "order-42")
    assert (companion.parent, companion.state) == (id, TaskState.COMPLETED)
    (child,) = await store.read(lambda session: session.search(TaskFilter(parents=(companion.id,)), limit=10))
    assert (child.name, child.correlation) == ("tell", "order-42")


async def only(store: Store, name: str) -> TaskRecord:
    (found,) = await store.read(lambda session: session.search(TaskFilter(names=(name,)), limit=10))
    return found


async def test_one_that_raises_is_tried_again_and_then_a_failed_task_that_people_see(store: Store) -> None:
    def broken(metadata: int, progress: int, outcome: Outcome[int, str]) -> Sequence[TaskRequest]:
        raise ValueError("no such account")

    def nonsense(metadata: int, progress: int, outcome: Outcome[int, str]) -> Any:
        return "refund"

    for function, text in ((broken, "no such account"), (nonsense, "returns a list of requests")):

        @task(on_outcome=function, name=f"pay-{function.__name__}")
        def pay(metadata: int, progress: int) -> TaskResult[int, str]:
            return Success.with_result(1)

        (id,) = await enqueue(store, pay.with_metadata(1))
        await drain(store, [pay])
        assert (await record_of(store, id)).state is TaskState.COMPLETED
        companion = await only(store, f"{pay.name}:on-outcome")
        assert companion.state is TaskState.RETRYING
        assert companion.crash is not None
        assert text in companion.crash.message


async def test_it_sees_the_children_of_a_task_that_waited_and_waits_for_those_that_have_not_ended(
    store: Store,
) -> None:
    seen: list[list[Outcome[int, str]]] = []

    @task
    def step(metadata: int, progress: Empty) -> TaskResult[int, str]:
        return Success.with_result(metadata)

    def undo(metadata: int, progress: int, outcome: Outcome[int, str], children: Children) -> Sequence[TaskRequest]:
        assert isinstance(outcome, Crash)
        seen.append(children.of(step))
        return []

    @task(on_outcome=undo)
    def book(metadata: int, progress: int) -> TaskResult[int, str, int]:
        slow = step.with_metadata(2).in_queue("later")
        return Suspended(1).then_enqueue(step.with_metadata(1), slow).until_finished()

    (id,) = await enqueue(store, book.with_metadata(1))
    await drain(store, [book, step], config=quick(queues={"default": 10}))
    (await Client(store).cancel(id)).unwrap()
    await drain(store, [book, step], config=quick(queues={"default": 10}))
    assert seen == []
    assert (await only(store, "book:on-outcome")).state is TaskState.SUSPENDED
    await drain(store, [book, step])
    assert seen == [[Success(1), Success(2)]]


async def test_it_may_return_groups(store: Store) -> None:
    def fan(metadata: int, progress: int, outcome: Outcome[int, str]) -> list[Any]:
        return [group([tell.with_metadata(Told(n, 0, "member")) for n in range(2)])]

    @task(on_outcome=fan)
    def work_on(metadata: int, progress: int) -> TaskResult[int, str]:
        return Success.with_result(1)

    await enqueue(store, work_on.with_metadata(1))
    assert len(await what_was_told(store, work_on)) == 2
    assert (await only(store, "milepost.group")).state is TaskState.COMPLETED


async def test_what_is_kept_of_the_end_shows_no_secrets_and_the_hook_gets_them(store: Store) -> None:
    passwords: list[str] = []

    @frozen
    class Login:
        user: str
        password: str = field(repr=secret)

    def leave(metadata: Login, progress: Empty, outcome: Outcome[Login, str]) -> list[TaskRequest]:
        passwords.append(metadata.password)
        return []

    @task(on_outcome=leave)
    def login(metadata: Login, progress: Empty) -> TaskResult[Login, str]:
        return Success.with_result(metadata)

    await enqueue(store, login.with_metadata(Login("ada", "hunter2")))
    await drain(store, [login])
    companion = await only(store, "login:on-outcome")
    (part,) = login.parts
    assert "hunter2" not in str(part.shown(companion))
    assert "hunter2" not in part.shown(companion).metadata_json
    assert part.has_secrets
    assert passwords == ["hunter2"]


async def test_an_end_of_an_older_version_is_upgraded_for_the_hook(store: Store) -> None:
    seen: list[object] = []

    def old_hook(metadata: int, progress: int, outcome: Outcome[int, str]) -> list[TaskRequest]:
        raise AssertionError

    @task(on_outcome=old_hook, name="grow")
    def old(metadata: int, progress: int) -> TaskResult[int, str]:
        return Success.with_result(metadata)

    def new_hook(metadata: str, progress: int, outcome: Outcome[int, str]) -> list[TaskRequest]:
        seen.append((metadata, outcome))
        return []

    @task(on_outcome=new_hook, name="grow", version=2, upgrades={1: lambda m, x: (f"v{m}", x)})
    def new(metadata: str, progress: int) -> TaskResult[int, str]:
        raise AssertionError

    (id,) = await enqueue(store, old.with_metadata(7))
    (await Client(store).cancel(id, reason="enough")).unwrap()
    await drain(store, [new])
    assert seen == [("v7", Crash(CrashKind.CANCELLED, "enough"))]


async def test_a_task_without_it_leaves_nothing_behind(store: Store) -> None:
    await enqueue(store, tell.with_metadata(Told(1, 1, "")))
    await drain(store, [tell])
    assert await store.read(lambda session: session.count(TaskFilter())) == 1
