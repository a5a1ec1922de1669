"""When a supervisor restarts a worker, after how long, and when it gives up: the whole table."""

from __future__ import annotations

import pytest

from milepost.cli.restarts import (
    Decision,
    GiveUp,
    Leave,
    Past,
    Restart,
    RestartPolicy,
    WorkerEnd,
    decide,
    delay_seconds,
)

POLICY = RestartPolicy(first_seconds=1, factor=2, longest_seconds=10, settled_seconds=60, first_tries=3)
STARTING = Past()
RUNNING = Past(was_anyone_ready=True)


@pytest.mark.parametrize(
    ("end", "past", "expected"),
    [
        pytest.param(WorkerEnd(-9, 5), RUNNING, Restart(1, 1), id="killed"),
        pytest.param(WorkerEnd(1, 5), RUNNING, Restart(1, 1), id="crashed"),
        pytest.param(WorkerEnd(0, 5), RUNNING, Restart(1, 1), id="left by itself"),
        pytest.param(WorkerEnd(2, 5), RUNNING, Restart(1, 1), id="a mistake that came later"),
        pytest.param(WorkerEnd(5, 5), RUNNING, Restart(1, 1), id="a store that went away"),
        pytest.param(WorkerEnd(1, 5), Past(1, True), Restart(2, 2), id="crashed again"),
        pytest.param(WorkerEnd(1, 5), Past(3, True), Restart(8, 4), id="crashed a fourth time"),
        pytest.param(WorkerEnd(1, 5), Past(1_000_000, True), Restart(10, 1_000_001), id="crashing for weeks"),
        pytest.param(WorkerEnd(1, 59.9), Past(3, True), Restart(8, 4), id="almost long enough up"),
        pytest.param(WorkerEnd(1, 60), Past(3, True), Restart(1, 1), id="long enough up"),
        pytest.param(WorkerEnd(2, 1), STARTING, GiveUp(2), id="a mistake at the start"),
        pytest.param(WorkerEnd(5, 1), STARTING, GiveUp(5), id="no store at the start"),
        pytest.param(WorkerEnd(1, 1), STARTING, Restart(1, 1), id="a crash at the start"),
        pytest.param(WorkerEnd(-9, 1), Past(1), Restart(2, 2), id="a kill at the second start"),
        pytest.param(WorkerEnd(-9, 1), Past(2), GiveUp(1), id="a kill at the third start"),
        pytest.param(WorkerEnd(2, 1), Past(2, True, True), Leave(was_clean=False), id="a mistake while stopping"),
        pytest.param(WorkerEnd(0, 1), Past(2, True, True), Leave(was_clean=True), id="a drained worker"),
        pytest.param(WorkerEnd(-9, 1), Past(0, False, True), Leave(was_clean=False), id="killed while stopping"),
    ],
)
def test_what_follows_from_the_end_of_a_worker(end: WorkerEnd, past: Past, expected: Decision) -> None:
    assert decide(end, past, POLICY, chance=1) == expected


@pytest.mark.parametrize(("chance", "seconds"), [(0.0, 2.0), (0.5, 3.0), (1.0, 4.0)])
def test_chance_takes_up_to_half_of_a_delay_away(chance: float, seconds: float) -> None:
    assert delay_seconds(3, POLICY, chance=chance) == seconds


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "ended with exit code 0"),
        (7, "ended with exit code 7"),
        (-9, "was killed by SIGKILL"),
        (-200, "was killed by signal 200"),
    ],
)
def test_an_end_is_told_in_words(code: int, words: str) -> None:
    assert WorkerEnd(code, 0).told == words
