"""The pytest plugin, in runs of pytest of its own: with plain functions, with AnyIO's plugin and with pytest-trio."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

TASKS = """
    from datetime import timedelta

    import pytest
    import trio

    from milepost import Client, Empty, Failure, Store, Success, Suspended, TaskResult, TaskState, task
    from milepost.testing import OpenExecutor, VirtualClock, assert_enqueued


    @task
    def wait_a_month(number: int, waited: int) -> TaskResult[int, str, int]:
        return Success.with_result(number) if waited else Suspended(1).after(timedelta(days=30))


    @task
    def answer(number: int, _: Empty) -> TaskResult[int, str]:
        return Success.with_result(number)
"""

MONTH = """
async def month(clock: VirtualClock, client: Client, open_executor: OpenExecutor) -> None:
    began = clock.now()
    async with open_executor(wait_a_month):
        handle = await client.enqueue(wait_a_month.with_metadata(3).with_execution_metadata(0))
        assert await handle.wait() == Success.with_result(3)
    assert timedelta(days=30) <= clock.now() - began < timedelta(days=31)
"""


def passes(pytester: pytest.Pytester, test: str, *options: str, passed: int = 1) -> None:
    pytester.makepyfile(TASKS + MONTH.replace("\n", "\n    ") + test)
    # pytest-trio changes trio for all of its process.
    run = pytester.runpytest_inprocess if "no:trio" in options else pytester.runpytest_subprocess
    run("-q", "-W", "error", *options).assert_outcomes(passed=passed)


def test_a_plain_function_runs_by_the_clock_what_is_async(pytester: pytest.Pytester) -> None:
    passes(
        pytester,
        """
    def test_it(
        milepost_clock: VirtualClock, milepost_client: Client, milepost_executor: OpenExecutor
    ) -> None:
        milepost_clock.run(month, milepost_clock, milepost_client, milepost_executor)
    """,
        *("-p", "no:anyio", "-p", "no:trio"),
    )


def test_anyios_plugin_runs_a_test_by_the_clock_that_it_asks_for(pytester: pytest.Pytester) -> None:
    passes(
        pytester,
        """
    pytestmark = pytest.mark.anyio


    @pytest.fixture(params=["trio", ("trio", {"restrict_keyboard_interrupt_to_checkpoints": True})])
    def anyio_backend(request: pytest.FixtureRequest) -> object:
        return request.param


    async def test_it(
        milepost_clock: VirtualClock, milepost_client: Client, milepost_executor: OpenExecutor
    ) -> None:
        await month(milepost_clock, milepost_client, milepost_executor)


    async def test_without_a_clock_time_is_real(milepost_client: Client, milepost_executor: OpenExecutor) -> None:
        async with milepost_executor(answer):
            assert await (await milepost_client.enqueue(answer.with_metadata(3))).wait() == Success.with_result(3)
        assert type(trio.lowlevel.current_clock()).__module__.startswith("trio.")
    """,
        *("-p", "no:trio"),
        passed=4,
    )


@pytest.mark.slow
def test_pytest_trio_runs_a_test_by_the_clock_that_it_asks_for(pytester: pytest.Pytester) -> None:
    passes(
        pytester,
        """
    @pytest.mark.trio
    async def test_it(
        milepost_clock: VirtualClock, milepost_client: Client, milepost_executor: OpenExecutor
    ) -> None:
        await month(milepost_clock, milepost_client, milepost_executor)


    @pytest.mark.trio
    async def test_without_a_clock_time_is_real(
        milepost_store: Store, milepost_client: Client, milepost_executor: OpenExecutor
    ) -> None:
        handle = await milepost_client.enqueue(answer.with_metadata(3))
        assert_enqueued(milepost_store, answer.with_metadata(3))
        async with milepost_executor(answer):
            assert await handle.wait() == Success.with_result(3)
    """,
        *("-p", "no:anyio"),
        passed=2,
    )


def test_an_assertion_on_results_tells_what_differs_and_what_a_crash_was(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        TASKS
        + """
    from attrs import frozen
    from milepost import Crash, CrashKind


    @frozen
    class BadRow:
        row: int
        reason: str


    def test_error() -> None:
        assert Failure.with_error(BadRow(3, "no e-mail")) == Failure.with_error(BadRow(4, "no e-mail"))


    def test_kind() -> None:
        crash = Crash(CrashKind.EXCEPTION, "no such row", "LookupError", "Traceback...\\n  line 7\\nLookupError")
        assert crash == Success.with_result(3)


    def test_other() -> None:
        assert [1, 2] == [1, 3]
    """
    )
    result = pytester.runpytest_inprocess("-q", "-p", "no:trio", "-p", "no:anyio")
    result.assert_outcomes(failed=3)
    result.stdout.fnmatch_lines(
        [
            "E*assert Failure(error=BadRow(row=3, reason='no e-mail')) is not Failure(error=BadRow(row=4, *",
            "E*.error.row: 3 is not 4",
            "E*assert Crash(exception, LookupError: no such row) is not Success(result=3)",
            "E*the left one crashed:",
            "E*line 7",
            "E*At index 1 diff: 2 != 3",
        ]
    )


def test_the_report_of_a_crash_matrix_is_shown_whole(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        TASKS
        + """
    from milepost.testing import crash_matrix


    def sending(sent: list[int]) -> object:
        @task(name="send")
        def send(count: int, _: Empty) -> TaskResult[int, str]:
            sent.extend(range(count))
            return Success.with_result(count)

        return send


    async def matrix() -> None:
        report = await crash_matrix(sending, 40, world=list, observe=list)
        assert report.differences == (), report


    def test_it() -> None:
        trio.run(matrix)
    """
    )
    result = pytester.runpytest_inprocess("-q", "-p", "no:trio", "-p", "no:anyio")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "E*'send' does not survive: cut at 1 place, it ended otherwise after 1 of them.",
            "E*result*before DIFFERS",
            "E*More than uncut: it was done before the commit, and again after the cut.*",
        ]
    )


def test_the_page_for_users_shows_tests_that_pass(pytester: pytest.Pytester) -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "test-your-tasks.md").read_text("utf-8")
    (shown,) = re.findall(r"^```py\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    pytester.makepyfile(shown)
    pytester.runpytest_inprocess("-q", "-W", "error", "-p", "no:trio").assert_outcomes(passed=2)


def test_its_fixtures_can_be_asked_for_here_too(milepost_store: object, milepost_client: object) -> None:
    assert (type(milepost_store).__name__, type(milepost_client).__name__) == ("MemoryStore", "Client")
