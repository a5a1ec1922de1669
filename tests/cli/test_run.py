"""`milepost run` as a user meets it: real processes that are killed, drained, interrupted and abandoned."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Generator
from pathlib import Path

import pytest

from milepost import BlockingClient, Success, TaskRequest, TaskResult, TaskState, task
from tests.cli.kit import SECONDS, alive, eventually, is_process, run_arguments, running

pytestmark = pytest.mark.slow


@task
def double(metadata: int, progress: int) -> TaskResult[int, str]:
    raise AssertionError("it runs in the worker's own app")


@task(blocking=True)
def nap(metadata: str, progress: int) -> TaskResult[int, str]:
    raise AssertionError("it runs in the worker's own app")


def napping(folder: Path, name: str) -> TaskRequest[str, int, int, str]:
    return nap.with_metadata(str(folder / name)).with_execution_metadata(0)


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store that is not there yet, in a file unless the test asks for each kind."""
    kind = getattr(request, "param", "sqlite")
    return str(request.getfixturevalue("postgres_url")) if kind == "postgres" else f"sqlite:///{tmp_path / 'tasks.db'}"


EACH_STORE = pytest.mark.parametrize("url", ["sqlite", "postgres"], indirect=True)


@pytest.fixture
def client(url: str) -> Generator[BlockingClient]:
    with BlockingClient.connect(url) as connected:
        yield connected


def pids(client: BlockingClient) -> set[int]:
    return {executor.pid for executor in alive(client)}


@EACH_STORE
def test_readiness_is_told_once_every_worker_holds_its_lease(tmp_path: Path, url: str, client: BlockingClient) -> None:
    with running(tmp_path, *run_arguments(url, 3, "--concurrency", "7", "--queue", "default=2")) as program:
        line = program.until_said("ready:")
        told = alive(client)
        assert "3 worker(s), 7 slots each, 2 task(s)" in line
        assert client.store.url in line
        assert {(each.slots, each.queues, each.host) for each in told} == {(7, ("default",), socket.gethostname())}
        assert len({each.pid for each in told}) == 3
        assert program.process.pid not in {each.pid for each in told}


def test_tasks_run_in_the_workers_and_what_they_print_is_seen(tmp_path: Path, url: str, client: BlockingClient) -> None:
    with running(tmp_path, *run_arguments(url, 2)) as program:
        handle = client.enqueue(double.with_metadata(21).with_execution_metadata(0))
        assert handle.wait(SECONDS) == Success.with_result(42)
        program.until_said("doubling 21")


@EACH_STORE
def test_a_killed_worker_is_replaced_and_its_task_goes_on_elsewhere(
    tmp_path: Path, url: str, client: BlockingClient
) -> None:
    with running(tmp_path, *run_arguments(url, 2)) as program:
        program.until_said("ready:")
        handle = client.enqueue(napping(tmp_path, "a"))
        eventually((tmp_path / "a.began").exists, "a task that runs")
        owner = client.get(handle.id).unwrap().executor
        victim = next(each.pid for each in client.executors() if each.id == owner)
        os.kill(victim, signal.SIGKILL)
        assert "was killed by SIGKILL; another starts" in program.until_said(f"pid {victim}")
        (tmp_path / "a.may-end").touch()
        outcome = handle.wait(SECONDS)
        assert isinstance(outcome, Success)
        assert outcome.result != victim
        eventually(lambda: len(pids(client) - {victim}) == 2, "two living workers")


@EACH_STORE
@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_one_signal_drains_every_worker_and_the_end_is_clean(
    tmp_path: Path, url: str, client: BlockingClient, stop: signal.Signals
) -> None:
    with running(tmp_path, *run_arguments(url, 2, "--concurrency", "1")) as program:
        program.until_said("ready:")
        handle = client.enqueue(napping(tmp_path, "a"))
        eventually((tmp_path / "a.began").exists, "a task that runs")
        program.signal(stop)
        program.until_said("draining")
        eventually(lambda: len(client.executors()) == 1, "the idle worker to leave")
        later = client.enqueue(double.with_metadata(1).with_execution_metadata(0))
        (tmp_path / "a.may-end").touch()
        assert program.end() == 0, program.said
        assert isinstance(handle.wait(1), Success)
        assert client.get(later.id).unwrap().state is TaskState.PENDING
        assert client.executors() == []


def test_a_second_signal_interrupts_what_runs(tmp_path: Path, url: str, client: BlockingClient) -> None:
    with running(tmp_path, *run_arguments(url, 1, "--cleanup-seconds", "0.1")) as program:
        program.until_said("ready:")
        handle = client.enqueue(napping(tmp_path, "a"))
        eventually((tmp_path / "a.began").exists, "a task that runs")
        program.signal(signal.SIGTERM)
        program.until_said("draining")
        program.signal(signal.SIGTERM)
        program.until_said("interrupting")
        eventually(lambda: client.get(handle.id).unwrap().state is TaskState.INTERRUPTED, "an interrupted task")
        (tmp_path / "a.may-end").touch()  # a thread cannot be cut
        assert program.end() == 130, program.said


def test_a_third_signal_kills(tmp_path: Path, url: str, client: BlockingClient) -> None:
    with running(tmp_path, *run_arguments(url, 1, "--cleanup-seconds", "1000")) as program:
        program.until_said("ready:")
        client.enqueue(napping(tmp_path, "a"))
        eventually((tmp_path / "a.began").exists, "a task that runs")
        (worker,) = pids(client)
        for said in ("draining", "interrupting"):
            program.signal(signal.SIGTERM)
            program.until_said(said)
        program.signal(signal.SIGTERM)
        assert program.end() == 130, program.said
        assert not is_process(worker)


@EACH_STORE
def test_workers_end_after_their_supervisor_was_killed(tmp_path: Path, url: str, client: BlockingClient) -> None:
    with running(tmp_path, *run_arguments(url, 2)) as program:
        program.until_said("ready:")
        handle = client.enqueue(napping(tmp_path, "a"))
        eventually((tmp_path / "a.began").exists, "a task that runs")
        workers = pids(client)
        program.signal(signal.SIGKILL)
        program.process.wait(SECONDS)
        (tmp_path / "a.may-end").touch()
        eventually(lambda: not any(map(is_process, workers)), "no worker")
        assert isinstance(handle.wait(1), Success), "they drained"
        assert client.executors() == []


def test_a_worker_that_is_asked_to_stop_alone_is_replaced(tmp_path: Path, url: str, client: BlockingClient) -> None:
    with running(tmp_path, *run_arguments(url, 1)) as program:
        program.until_said("ready:")
        (worker,) = pids(client)
        os.kill(worker, signal.SIGTERM)
        program.until_said("ended with exit code 0; another starts")
        eventually(lambda: bool(pids(client) - {worker}), "another worker")


def test_an_app_that_breaks_later_does_not_stop_those_that_run(
    tmp_path: Path, url: str, client: BlockingClient
) -> None:
    with running(tmp_path, *run_arguments(url, 2)) as program:
        program.until_said("ready:")
        victim, *_ = before = pids(client)
        (tmp_path / "jobs.py").write_text("raise RuntimeError('half a deployment')")
        os.kill(victim, signal.SIGKILL)
        program.until_said("half a deployment")
        program.until_said("ended with exit code 2; another starts")
        assert all(map(is_process, set(before) - {victim}))
        assert program.process.poll() is None


@pytest.mark.parametrize(
    ("app", "said"),
    [
        ("nowhere:tasks", "there is no module 'nowhere'"),
        ("jobs:nothing", "the module jobs has no 'nothing'; its lists are tasks"),
    ],
)
def test_a_mistake_in_the_app_ends_the_program_at_once_and_is_told_once(
    tmp_path: Path, url: str, app: str, said: str
) -> None:
    with running(tmp_path, *run_arguments(url, 3, app=app)) as program:
        assert program.end() == 2
        assert len(program.said) == 1
        assert program.said[0].startswith("milepost: ")
        assert said in program.said[0]


def test_workers_that_end_before_they_read_anything_do_not_break_their_supervisor(tmp_path: Path, url: str) -> None:
    # What Python imports by itself at the start of an interpreter; the supervisor itself is let through.
    early = "import os, sys\nif sys.orig_argv[1:3] == ['-m', 'milepost.cli.worker']: os._exit(9)\n"
    (tmp_path / "sitecustomize.py").write_text(early)
    with running(tmp_path, *run_arguments(url, 1), path=tmp_path) as program:
        assert program.end() == 1
        assert "ended with exit code 9; giving up" in program.said[-1]


def test_a_store_that_cannot_be_opened_ends_the_program_with_5(tmp_path: Path) -> None:
    with running(tmp_path, *run_arguments(f"sqlite:///{tmp_path}/nowhere/tasks.db", 3)) as program:
        assert program.end() == 5
        assert len(program.said) == 1
        assert "there is no folder" in program.said[0]


def test_an_app_that_kills_its_process_is_not_tried_for_ever(tmp_path: Path, url: str) -> None:
    (tmp_path / "deadly.py").write_text("import os\nos._exit(7)")
    with running(tmp_path, *run_arguments(url, 2, app="deadly:tasks")) as program:
        assert program.end() == 1
        assert sum("another starts" in line for line in program.said) == 3
        assert "giving up" in program.said[-1]


def test_a_worker_that_hangs_before_it_is_ready_is_killed(tmp_path: Path, url: str) -> None:
    (tmp_path / "stuck.py").write_text("import time\nwhile True: time.sleep(1)")
    with running(tmp_path, *run_arguments(url, 1, "--start-seconds", "0.5", app="stuck:tasks")) as program:
        program.until_said("was not ready after 0.5 seconds; killing it")
        program.until_said("was killed by SIGKILL; another starts")


def test_the_url_is_not_among_the_arguments_of_a_worker(tmp_path: Path, url: str, client: BlockingClient) -> None:
    with running(tmp_path, *run_arguments(url, 1)) as program:
        program.until_said("ready:")
        (worker,) = pids(client)
        assert b"sqlite" not in Path(f"/proc/{worker}/cmdline").read_bytes()
