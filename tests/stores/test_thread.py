"""Owned threads answer every job once, with what really happened, and outlive whatever a job does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import trio
import trio.testing

from milepost.errors import StoreClosed, StoreError
from milepost.stores.thread import Job, OwnedThreads

pytestmark = pytest.mark.anyio


class Echo:
    """A worker that calls each job with itself and keeps a diary; `gate` holds it up."""

    def __init__(self, diary: list[Any], gate: threading.Event) -> None:
        self.diary = diary
        self.gate = gate

    def run(self, jobs: Sequence[Job[Echo]]) -> None:
        self.diary.append(len(jobs))
        for job in jobs:
            try:
                job.succeed(job.function(self))
            except Exception as error:
                job.fail(error)

    def rest(self) -> None:
        self.diary.append("rest")

    def close(self) -> None:
        self.diary.append("closed")


class Fixture:
    def __init__(self, **limits: int) -> None:
        self.diary: list[Any] = []
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.threads = OwnedThreads[Echo]("test-echo", lambda: Echo(self.diary, self.gate), **limits)

    def hold(self, worker: Echo) -> str:
        """A job that lasts until the gate opens."""
        self.entered.set()
        worker.gate.wait()
        return "held"

    def batches(self) -> list[int]:
        return [entry for entry in self.diary if isinstance(entry, int)]


def alive() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("test-echo")]


def doing(what: Any) -> Job[Echo]:
    return Job[Echo](lambda _: what)


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(5):
        while not condition():  # noqa: ASYNC110 (what is waited for is in another thread)
            await trio.lowlevel.checkpoint()


async def test_values_and_exceptions_come_back_to_trio_and_to_plain_threads() -> None:
    fixture = Fixture()
    assert alive() == []

    def fail(_: Echo) -> None:
        raise ValueError("mine")

    assert await fixture.threads.call(doing(1)) == 1
    assert fixture.threads.call_blocking(doing(2)) == 2
    with pytest.raises(ValueError, match="mine"):
        await fixture.threads.call(Job[Echo](fail))
    with pytest.raises(ValueError, match="mine"):
        fixture.threads.call_blocking(Job[Echo](fail))
    assert alive() == ["test-echo"]
    await fixture.threads.aclose()
    assert alive() == []
    assert fixture.diary[-1] == "closed"


async def test_what_gathers_meanwhile_goes_together_and_what_is_alone_goes_alone() -> None:
    fixture = Fixture(batch_jobs_max=3)
    ran: list[str] = []

    def noting(name: str, **how: Any) -> Job[Echo]:
        return Job[Echo](lambda _: ran.append(name), **how)

    plain = [noting(name) for name in "abcd"]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fixture.threads.call, Job[Echo](fixture.hold))
        await until(fixture.entered.is_set)
        for job in (*plain, noting("alone", alone=True), noting("timed", within_seconds=1), noting("last")):
            nursery.start_soon(fixture.threads.call, job)
            await trio.testing.wait_all_tasks_blocked()
        fixture.gate.set()
    assert fixture.batches() == [1, 3, 1, 1, 1, 1]
    assert ran == ["a", "b", "c", "d", "alone", "timed", "last"]
    fixture.threads.close()


async def test_a_call_that_waits_can_be_cancelled_and_never_runs() -> None:
    fixture = Fixture()
    ran: list[str] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fixture.threads.call, Job[Echo](fixture.hold))
        await until(fixture.entered.is_set)
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as waiting:
                waiting.start_soon(fixture.threads.call, Job[Echo](lambda _: ran.append("cancelled")))
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        assert scope.cancelled_caught
        fixture.gate.set()
    assert await fixture.threads.call(doing("after")) == "after"
    assert ran == []
    fixture.threads.close()


async def test_a_call_that_has_started_answers_with_what_happened_although_it_is_cancelled() -> None:
    fixture = Fixture()
    answers: list[str] = []

    async def call() -> None:
        answers.append(await fixture.threads.call(Job[Echo](fixture.hold)))

    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            await until(fixture.entered.is_set)
            scope.cancel()
            with trio.CancelScope(shield=True):
                await trio.testing.wait_all_tasks_blocked()
            assert answers == []
            fixture.gate.set()
    assert answers == ["held"]
    fixture.threads.close()


async def test_a_call_in_a_cancelled_scope_is_not_even_queued() -> None:
    fixture = Fixture()
    with trio.CancelScope() as scope:
        scope.cancel()
        await fixture.threads.call(doing(1))
    assert scope.cancelled_caught
    assert alive() == []


async def test_an_exit_raised_by_a_job_reaches_its_caller_and_not_the_thread() -> None:
    fixture = Fixture()

    def leave(_: Echo) -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        fixture.threads.call_blocking(Job[Echo](leave))
    assert fixture.threads.call_blocking(doing("still here")) == "still here"
    fixture.threads.close()


def test_a_trio_that_ended_does_not_end_the_thread() -> None:
    fixture = Fixture()

    async def abandon() -> None:
        async def call() -> None:
            await fixture.threads.call(Job[Echo](fixture.hold))

        # A task that trio itself gives up on, as after a crash of its loop.
        trio.lowlevel.spawn_system_task(call)
        await until(fixture.entered.is_set)
        trio.lowlevel.current_trio_token().run_sync_soon(fixture.gate.set)

    trio.run(abandon)
    assert fixture.threads.call_blocking(doing(1)) == 1
    fixture.threads.close()


def test_closing_answers_what_was_asked_and_refuses_what_comes_later() -> None:
    fixture = Fixture()
    answers: list[Any] = []
    callers = [
        threading.Thread(target=lambda: answers.append(fixture.threads.call_blocking(Job[Echo](fixture.hold)))),
        threading.Thread(target=lambda: answers.append(fixture.threads.call_blocking(doing("queued")))),
    ]
    callers[0].start()
    assert fixture.entered.wait(5)
    callers[1].start()
    closer = threading.Thread(target=fixture.threads.close)
    while fixture.threads.pending() < 2:
        pass
    closer.start()
    fixture.gate.set()
    for thread in (*callers, closer):
        thread.join(5)
    assert sorted(answers) == ["held", "queued"]
    assert alive() == []
    fixture.threads.close()
    with pytest.raises(StoreClosed, match="inside its `open_store` block"):
        fixture.threads.call_blocking(doing(1))


async def test_closing_from_trio_waits_although_everything_is_cancelled() -> None:
    fixture = Fixture()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fixture.threads.call, Job[Echo](fixture.hold))
        await until(fixture.entered.is_set)
        nursery.cancel_scope.cancel()
        trio.lowlevel.current_trio_token().run_sync_soon(fixture.gate.set)
        await fixture.threads.aclose()
    assert alive() == []
    with pytest.raises(StoreClosed):
        await fixture.threads.call(doing(1))
    await fixture.threads.aclose()


async def test_closing_from_inside_is_refused_instead_of_waiting_for_itself() -> None:
    fixture = Fixture()
    with pytest.raises(StoreError, match="cannot be closed from inside"):
        await fixture.threads.call(Job[Echo](lambda _: fixture.threads.close()))
    fixture.threads.close()


async def test_a_second_thread_starts_only_when_the_first_is_busy() -> None:
    fixture = Fixture(threads_max=2, batch_jobs_max=1)
    await fixture.threads.call(doing(1))
    await fixture.threads.call(doing(2))
    assert alive() == ["test-echo-1"]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fixture.threads.call, Job[Echo](fixture.hold))
        await until(fixture.entered.is_set)
        assert await fixture.threads.call(doing("beside")) == "beside"
        assert alive() == ["test-echo-1", "test-echo-2"]
        fixture.gate.set()
    fixture.threads.close()
    assert alive() == []
    assert fixture.diary.count("closed") == 2
