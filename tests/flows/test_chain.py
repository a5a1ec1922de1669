"""A chain as a task that is called: what it enqueues, what it hands over, and how it ends."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import field, frozen

from milepost import (
    Cancellation,
    ChainBroken,
    ChainState,
    Crash,
    CrashKind,
    Empty,
    Failure,
    InvalidResult,
    Outcome,
    Retry,
    Success,
    Suspended,
    TaskDefinitionError,
    TaskResult,
    chain,
    secret,
    task,
)
from milepost.registry import Registry
from milepost.testing import recorded_execution
from milepost.testing.to_end import run_to_end
from tests.flows.trips import book_trip

pytestmark = pytest.mark.anyio


@frozen
class Page:
    text: str


@frozen
class NoPage:
    url: str


@task(name="fetch")
def fetch(url: str, _: Empty) -> TaskResult[Page, NoPage]:
    return Success.with_result(Page(f"words of {url}")) if url else Failure.with_error(NoPage(url))


@task(name="words")
def words(page: Page, _: Empty) -> TaskResult[list[str], str]:
    return Success.with_result(page.text.split())


@task(name="count")
def count(found: list[str], _: Empty) -> TaskResult[int, str]:
    return Success.with_result(len(found))


@task(name="double")
def double(number: int, _: Empty) -> TaskResult[int, Empty]:
    return Success.with_result(2 * number)


counted = chain(fetch, words, count)
CRASH = Crash(CrashKind.TIMEOUT, "too slow")


async def called(state: ChainState, *ended: tuple[Any, Outcome[Any, Any]]) -> object:
    return await counted("a.org", state, recorded_execution(state, children=ended))


async def test_a_chain_waits_for_its_first_task() -> None:
    waiting = await called(ChainState())

    assert waiting == Suspended(ChainState(1)).then_enqueue(fetch.with_metadata("a.org")).until_finished()


async def test_a_chain_hands_each_result_to_the_next_task() -> None:
    second = await called(ChainState(1), (fetch, Success.with_result(Page("b"))))
    third = await called(ChainState(2), (words, Success.with_result(["b"])))

    assert second == Suspended(ChainState(2)).then_enqueue(words.with_metadata(Page("b"))).until_finished()
    assert third == Suspended(ChainState(3)).then_enqueue(count.with_metadata(["b"])).until_finished()


async def test_the_result_of_a_chain_is_that_of_its_last_task() -> None:
    assert await called(ChainState(3), (count, Success.with_result(1))) == Success.with_result(1)


@pytest.mark.parametrize(
    ("outcome", "answer"),
    [
        (Failure.with_error("no words"), Failure.with_error("no words").final()),
        (Cancellation.with_error("not today"), Cancellation.with_error("not today")),
    ],
)
async def test_the_first_answer_that_is_no_success_ends_a_chain(outcome: Outcome[Any, str], answer: object) -> None:
    assert await called(ChainState(2), (words, outcome)) == answer


async def test_a_task_that_crashes_breaks_a_chain_with_a_typed_error() -> None:
    execution = recorded_execution(ChainState(2), children=[(words, CRASH)])
    (broken,) = execution.children

    answer = await counted("a.org", ChainState(2), execution)

    assert answer == Failure.with_error(ChainBroken("words", broken, CRASH)).final()


async def test_a_chain_whose_tasks_have_changed_says_so_and_hands_nothing_over() -> None:
    with pytest.raises(InvalidResult, match=r"the chain 'fetch-then-words-then-count' does not know what it waits for"):
        await called(ChainState(2), (fetch, Success.with_result(Page("b"))))
    with pytest.raises(InvalidResult, match="give a chain whose tasks have changed another name"):
        await called(ChainState(4), (count, Success.with_result(3)))


async def test_a_chain_runs_to_its_end_and_no_further_than_it_can() -> None:
    found = await run_to_end(counted, "a.org")
    assert found.outcome == Success.with_result(3)
    assert [run.result.follow_ups for run in found.runs][-1] == ()

    missed = await run_to_end(counted, "")
    assert missed.outcome == Failure.with_error(NoPage(""))
    assert len(missed.runs) == 2


async def test_chains_are_tasks_of_chains_and_a_task_may_come_twice() -> None:
    twice = chain(counted, double, double, name="twice")

    assert (await run_to_end(twice, "a.org")).outcome == Success.with_result(12)
    assert set(Registry.of([twice]).tasks) == {"twice", counted.name, "double", "fetch", "words", "count"}


async def test_a_chain_may_have_any_number_of_tasks_of_one_kind() -> None:
    long = chain(*[double] * 50, name="long")

    assert (await run_to_end(long, 1)).outcome == Success.with_result(2**50)


def test_a_chain_has_the_errors_of_its_tasks_and_one_of_its_own() -> None:
    assert counted.types.error == NoPage | str | ChainBroken
    assert chain(counted, double).types.error == NoPage | str | ChainBroken | Empty


def test_a_chain_takes_the_options_of_a_task() -> None:
    kept = chain(words, count, name="kept", retry=Retry.never(), queue="bulk", deadline_seconds=5)

    assert (kept.name, kept.retry, kept.queue, kept.deadline_seconds) == ("kept", Retry.never(), "bulk", 5)


def test_what_is_handed_over_keeps_its_secrets() -> None:
    @frozen
    class Login:
        password: str = field(repr=secret)

    @task
    def ask(_: Empty, __: Empty) -> TaskResult[Login, Empty]:
        return Success.with_result(Login("hunter2"))

    @task
    def use(login: Login, __: Empty) -> TaskResult[Login, Empty]:
        return Success.with_result(login)

    made = chain(ask, use)
    assert made.has_secrets
    assert made.codec.result.shown('{"password":"hunter2"}') == {"password": "***"}


@pytest.mark.parametrize(
    ("tasks", "problem"),
    [
        ((), "a chain is of two tasks or more, got 0"),
        ((fetch,), "a chain is of two tasks or more, got 1"),
        ((fetch, len), "number 2 of a chain is <built-in function len>, which is no task: use @task on it"),
        (
            (fetch, count),
            r"'fetch-then-count' does not hold: 'count' takes list\[str\], and 'fetch' gives Page; put a task in",
        ),
        ((words, count, fetch), "'fetch' takes str, and 'count' gives int"),
        ((book_trip, counted), "'fetch-then-words-then-count' takes str, and 'book-trip' gives Itinerary"),
    ],
)
def test_a_chain_that_cannot_hold_is_refused_where_it_is_made(tasks: Any, problem: str) -> None:
    with pytest.raises(TaskDefinitionError, match=problem):
        chain(*tasks)


@pytest.mark.parametrize("name", [7, "", "a chain"])
def test_a_chain_takes_no_name_that_is_none(name: Any) -> None:
    with pytest.raises(TaskDefinitionError, match=r"the name of a chain .* is not a name: use 1 to 200 letters"):
        chain(words, count, name=name)


def test_a_chain_whose_default_name_is_too_long_asks_for_another() -> None:
    with pytest.raises(TaskDefinitionError, match="longer than a name may be: give name="):
        chain(*[double] * 50)
