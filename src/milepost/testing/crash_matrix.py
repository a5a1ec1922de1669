"""Cut a task everywhere, resume it, and see whether it always ends as if nothing had happened."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from enum import Enum
from typing import Any, Final, TypeVar, final

import attrs
import trio
from attrs import define, frozen

from milepost.crash import Crash
from milepost.errors import ConfigurationError, TaskDefinitionError
from milepost.kinds import is_a
from milepost.results import Outcome
from milepost.tasks import Task, TaskRequest
from milepost.testing.crash_life import Life
from milepost.testing.crash_report import CrashReport, Cut, Difference
from milepost.testing.effects import DatabaseConnection

W = TypeVar("W")
M = TypeVar("M")


class Cuts(Enum):
    """Where `crash_matrix` cuts."""

    EVERY_COMMIT = "every commit"
    EVERY_CHECKPOINT = "every checkpoint"


EVERY_COMMIT: Final = Cuts.EVERY_COMMIT
"""Around every commit, every effect of a commit, and every result."""

EVERY_CHECKPOINT: Final = Cuts.EVERY_CHECKPOINT
"""There, and wherever a task of trio that runs the task's code lets others run."""


class _Start(Enum):
    OF_REQUEST = "as in a request that brings none"


async def crash_matrix(
    task_for_world: Callable[[W], Task[M, Any, Any, Any]],
    metadata: M,
    *,
    world: Callable[[], W],
    observe: Callable[[W], object],
    cuts: Cuts = EVERY_COMMIT,
    execution_metadata: object = _Start.OF_REQUEST,
    connection: Callable[[W], DatabaseConnection] | None = None,
) -> CrashReport:
    """Run a task uncut, then once for each place at which it can be cut; compare how each ended with the uncut run.

    The process dies right before and right after each commit, around each effect of `commit_after` and `commit_with`
    and around each result that is stored; with `EVERY_CHECKPOINT` also wherever it lets others run. Dead is dead: no
    `finally` runs. It is resumed from what was committed, by a task that `task_for_world` builds anew over the same
    world, and run to its end: retries, suspensions, follow-ups and children at once, in virtual time. What is suspended
    until somebody proceeds it is proceeded. The request starts from `execution_metadata`, if that is given.

    A difference is an outcome, an observation, a statement or the end of a follow-up that is not as uncut. `world`
    makes a fresh world for every run, kept in memory; `observe` gives what must be equal, as a value that compares.
    Effects on the store's database are recorded, and compared as statements; with `connection`, the world's own
    connection to a database (sqlite3 with `check_same_thread=False`, psycopg), they are run there.

    Raises `TaskDefinitionError` for what is no task or cannot be stored, `ConfigurationError` for other wrong
    arguments, and what `task_for_world`, `world` and `observe` raise.
    """
    _check(task_for_world, world, observe, cuts)
    matrix = _Matrix(task_for_world, metadata, execution_metadata, world, observe, cuts, connection)
    # The processes that are cut have event loops of their own, which cannot be in the thread of this one.
    return await trio.to_thread.run_sync(matrix.report)


def _check(task_for_world: object, world: object, observe: object, cuts: object) -> None:
    if is_a(task_for_world, Task):
        raise ConfigurationError(
            "crash_matrix takes a function that builds the task over a world, as lambda world: task, "
            f"got {task_for_world!r}"
        )
    if not is_a(cuts, Cuts):
        raise ConfigurationError(f"cuts= of crash_matrix is EVERY_COMMIT or EVERY_CHECKPOINT, got {cuts!r}")
    for name, value in {"task_for_world": task_for_world, "world": world, "observe": observe}.items():
        if not callable(value):
            raise ConfigurationError(f"{name}= of crash_matrix is a function, got {value!r}")


def _checked_connection(connection: DatabaseConnection) -> DatabaseConnection:
    if not all(callable(getattr(connection, name, None)) for name in ("cursor", "commit", "rollback")):
        raise ConfigurationError(
            "connection= of crash_matrix gives a connection with cursor, commit and rollback, as those of sqlite3 and "
            f"psycopg, got a {type(connection).__qualname__}"
        )
    return connection


@final
@frozen
class _Ended:
    """What is compared."""

    name: str
    outcome: Outcome[Any, Any]
    observation: object
    statements: list[Any]
    follow_ups: list[str]
    places: list[Cut]
    cut: Cut | None


@final
@define(eq=False)
class _Matrix:
    task_for_world: Callable[[Any], Task[Any, Any, Any, Any]]
    metadata: object
    execution_metadata: object
    world: Callable[[], Any]
    observe: Callable[[Any], object]
    cuts: Cuts
    connection: Callable[[Any], DatabaseConnection] | None

    def report(self) -> CrashReport:
        uncut = self._lived(None)[0]
        useless = list(self._useless(uncut))
        if useless:
            return CrashReport.of(uncut.name, (), useless, uncut.outcome, uncut.observation)
        cuts: list[Cut] = []
        differences: list[Difference] = []
        for target in range(len(uncut.places)):
            trio.from_thread.check_cancelled()
            after, found = self._lived(target, uncut)
            if after.cut is not None:  # else this run came to its end by another way, before that place
                cuts.append(after.cut)
                differences += found
        return CrashReport.of(uncut.name, cuts, differences, uncut.outcome, uncut.observation)

    def _useless(self, uncut: _Ended) -> Iterator[Difference]:
        if isinstance(uncut.outcome, Crash):
            told = uncut.outcome.traceback or uncut.outcome.message
            yield Difference(None, "the uncut run crashes", uncut.outcome, told)
        for each in self._lived(None, uncut)[1]:
            told = f"{each.what} {each.uncut!r}, and then {each.after_cut!r}: take chance and time out of the world"
            yield attrs.evolve(each, what="two uncut runs differ", after_cut=told)

    def _lived(self, target: int | None, uncut: _Ended | None = None) -> tuple[_Ended, list[Difference]]:
        """How one life ended, and in what it differs from `uncut`: looked at before its dead are let go."""
        world = self.world()
        connection = None if self.connection is None else _checked_connection(self.connection(world))
        life = Life(lambda: self._request(world), connection, target, every_checkpoint=self.cuts is EVERY_CHECKPOINT)
        try:
            life.live()
            recorded = [] if connection is not None else life.statements
            observation = _snapshot(self.observe(world))
            ended = _Ended(life.name, life.outcome, observation, recorded, life.follow_ups(), life.places, life.cut)
            return ended, [] if uncut is None else list(_differences(uncut, ended))
        finally:
            life.bury()

    def _request(self, world: Any) -> TaskRequest[Any, Any, Any, Any]:
        task = self.task_for_world(world)
        if not is_a(task, Task):
            raise TaskDefinitionError(f"crash_matrix takes a function of a world that builds a task, it built {task!r}")
        request: TaskRequest[Any, Any, Any, Any] = task.with_metadata(self.metadata)
        if isinstance(self.execution_metadata, _Start):
            return request
        return request.with_execution_metadata(self.execution_metadata)


def _differences(uncut: _Ended, after: _Ended) -> Iterator[Difference]:
    pairs = {
        "outcome": (_comparable(uncut.outcome), _comparable(after.outcome)),
        "observation": (uncut.observation, after.observation),
        "statements": (uncut.statements, after.statements),
        "follow-ups": (uncut.follow_ups, after.follow_ups),
    }
    for what, (ours, theirs) in pairs.items():
        if ours != theirs:
            yield Difference(after.cut, what, ours, theirs)


def _snapshot(observation: object) -> object:
    """What the dead still do to their world, once they are let go, must not change what was seen of it."""
    try:
        return deepcopy(observation)
    except Exception:  # what cannot be copied is compared all the same
        return observation


def _comparable(outcome: Outcome[Any, Any]) -> Outcome[Any, Any]:
    # The lines of a traceback are not what matters of it.
    return attrs.evolve(outcome, traceback="") if isinstance(outcome, Crash) else outcome
