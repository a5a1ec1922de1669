"""Random situations: executors, what was said of queues, rates in use, and tasks in every state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any, Final, cast, final

import attrs
from attrs import frozen
from hypothesis import strategies as st

from milepost import TaskId, TaskRecord, TaskState
from milepost.crash import Crash, CrashKind
from milepost.executor.appetite import Appetite
from milepost.executor.config import ExecutorConfig
from milepost.executor.turn import TurnPlan, take_turn
from milepost.lifecycle.limits import ConcurrencyLimit, LimitKey, RateLimit
from milepost.lifecycle.queues import QueueSettings, WhenFull
from milepost.lifecycle.states import LimitKind
from milepost.lifecycle.terms import Terms
from milepost.lifecycle.ties import Join
from milepost.lifecycle.transition import SUSPECT_STALLS, Policy
from milepost.payload import JsonText
from milepost.stores.protocol import Lease, Session
from milepost.testing.conformance.kit import HOUR, NOW, sample

NAMES: Final = ("send", "bill")
QUEUES: Final = ("default", "bulk")
EXECUTORS: Final = ("ada", "bob", "cid")
STATES: Final = (*[TaskState.PENDING] * 4, *[TaskState.RUNNING] * 4, *TaskState)
SLOTS: Final = 100
"""More than any situation has tasks."""


@final
@frozen
class Worker:
    """An executor: its settings, the versions and policies that it knows, and for how long its lease holds."""

    id: str
    config: ExecutorConfig
    tasks: Mapping[str, int]
    policies: Mapping[str, Policy]
    lease: timedelta

    @property
    def is_alive(self) -> bool:
        """Whether the others believe in it."""
        return self.lease > timedelta(0)

    def announce(self, now: datetime) -> Lease:
        """What it tells with its lease."""
        queues = self.config.queues
        known = {name: self.policies[name] for name in self.tasks}
        terms = Terms.of(known, stalls_max=self.config.stalls_max, queue_slots=queues or {})
        until = now + self.lease
        served = None if queues is None else tuple(queues)
        return Lease(self.id, "host", 1, now - HOUR, now, until, self.config.concurrency, 0, self.tasks, served, terms)

    def take_turn(self, session: Session) -> list[TaskId]:
        """What it starts in one turn, with the demand that its appetite makes of what it runs."""
        owned = session.get([held.id for held in session.held(self.id)])
        busy = Counter(record.queue for record in owned)
        workload = cast("Any", SimpleNamespace(active=len(owned), busy=busy))
        plan = TurnPlan(
            executor=self.id,
            names=self.tasks,
            policies=self.policies,
            demand=Appetite(self.config, workload).demand(),
            lease_seconds=3_600,
        )
        return [record.id for record in take_turn(session, plan).claimed]

    def with_room(self) -> Worker:
        """The same without limits of any kind."""
        queues = None if self.config.queues is None else dict.fromkeys(self.config.queues, SLOTS)
        config = attrs.evolve(self.config, concurrency=SLOTS, queues=queues)
        policies = {
            name: attrs.evolve(policy, rate_limit=None, concurrency_limit=None)
            for name, policy in self.policies.items()
        }
        return attrs.evolve(self, config=config, policies=policies)


@final
@frozen
class Situation:
    """Executors, what was said of queues, until when rates are used up, and tasks; moments are as if now were `NOW`."""

    workers: list[Worker]
    queues: list[QueueSettings]
    used: Mapping[LimitKey, datetime]
    tasks: list[TaskRecord]

    def build(self, session: Session) -> None:
        """Let it be so now."""
        now = session.now()
        shift = now - NOW
        session.insert(_moved(task, shift) for task in self.tasks)
        for queue in self.queues:
            session.settings.put(queue)
        session.limits.put_rates({key: until + shift for key, until in self.used.items()})
        for worker in self.workers:
            session.open_lease(worker.announce(now))

    def around(self, task: TaskRecord) -> Situation:
        """This task, and of the others those that stay as they are, whoever takes a turn."""
        others = [each for each in self.tasks if each is not task and self._stays(each)]
        return attrs.evolve(self, tasks=[*others, task])

    def with_room(self) -> Situation:
        """The same, with room for all."""
        queues = [attrs.evolve(each, concurrency=None) for each in self.queues]
        # Suspects of killing their process run one at a time, whatever the room.
        tasks = [attrs.evolve(task, stalls=min(task.stalls, SUSPECT_STALLS - 1)) for task in self.tasks]
        return attrs.evolve(self, workers=[each.with_room() for each in self.workers], queues=queues, tasks=tasks)

    def _stays(self, task: TaskRecord) -> bool:
        if task.state is TaskState.RUNNING:
            return any(worker.id == task.executor and worker.is_alive for worker in self.workers)
        return task.due_at is None or task.due_at > NOW


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    """Any situation; every other one is narrow: all tasks are of one name, queue and key, and everybody knows them, so
    that they get in each other's way."""
    narrow = draw(st.booleans())
    policies = draw(_policies())
    ids = draw(st.sampled_from([EXECUTORS[:1], EXECUTORS[:1], EXECUTORS[:2], EXECUTORS[:2], EXECUTORS, ()]))
    keys = [LimitKey(name, key) for name in NAMES for key in ("k", "l")]
    return Situation(
        workers=[draw(_workers(id, policies, narrow)) for id in ids],
        queues=[draw(_queue_settings(name)) for name in QUEUES],
        used=draw(st.dictionaries(st.sampled_from(keys), st.integers(-1, 9).map(lambda n: NOW + n * HOUR))),
        tasks=[draw(_narrowed(n) if narrow else _tasks(n)) for n in range(draw(st.sampled_from([2, 4, 6])))],
    )


@st.composite
def _policies(draw: st.DrawFn) -> dict[str, Policy]:
    # The same for all executors: else it would be a matter of who comes first.
    stalls_max = draw(st.integers(1, 5))
    waits = st.sampled_from([WhenFull.WAIT, WhenFull.WAIT, WhenFull.REJECT])
    rates = st.builds(RateLimit, st.integers(1, 2), st.just(2 * HOUR), horizon=st.just(3 * HOUR), when_full=waits)
    limits = st.builds(ConcurrencyLimit, st.integers(1, 2), when_full=waits)
    policies = st.builds(
        Policy,
        stalls_max=st.just(stalls_max),
        rate_limit=st.none() | st.none() | rates,
        concurrency_limit=st.none() | st.none() | limits,
    )
    return {name: draw(policies) for name in NAMES}


@st.composite
def _workers(draw: st.DrawFn, id: str, policies: Mapping[str, Policy], narrow: bool) -> Worker:
    served = st.just(QUEUES) if narrow else st.sampled_from([QUEUES, QUEUES[:1], QUEUES[1:], QUEUES[1:]])
    queues = st.builds(_slots, served, st.integers(1, 2))
    config = ExecutorConfig(
        concurrency=draw(st.sampled_from([1, 3, 5] if narrow else [1, 1, 2])),
        queues=draw(st.none() | queues),
        stalls_max=policies[NAMES[0]].stalls_max,
    )
    both = st.tuples(st.integers(1, 3), st.integers(1, 3)).map(_known)
    tasks = draw(both if narrow else both | both | st.dictionaries(_one_of(NAMES), st.integers(1, 3), min_size=1))
    return Worker(id, config, tasks, policies, draw(st.sampled_from([HOUR, HOUR, HOUR, -HOUR])))


def _queue_settings(name: str) -> st.SearchStrategy[QueueSettings]:
    return st.builds(
        QueueSettings,
        name=st.just(name),
        paused_at=st.sampled_from([None, None, None, None, NOW]),
        concurrency=st.sampled_from([None, None, 1, 2]),
    )


def _narrowed(n: int) -> st.SearchStrategy[TaskRecord]:
    same: dict[str, Any] = {"name": NAMES[0], "version": 1, "queue": QUEUES[0], "rate_key": "k", "concurrency_key": "k"}
    plain: dict[str, Any] = {"deadline_at": None, "start_by": None, "stalls": 0, "cancel_requested_at": None}
    return _tasks(n, (TaskState.PENDING, TaskState.RUNNING)).map(lambda task: attrs.evolve(task, **same, **plain))


@st.composite
def _tasks(draw: st.DrawFn, n: int, states: Sequence[TaskState] = STATES) -> TaskRecord:
    state = draw(st.sampled_from(states))
    plain = sample(
        n + 1,
        name=draw(_one_of(NAMES)),
        version=draw(st.sampled_from([1, 1, 2, 3])),
        queue=draw(_one_of([*QUEUES, QUEUES[0]])),
        priority=draw(st.integers(-1, 1)),
        state=state,
        due_at=NOW + draw(_hours()),
        stalls=draw(st.sampled_from([0, 0, 0, 1, 2, 4, 5])),
        deadline_at=draw(_seldom()),
        start_by=draw(_seldom()),
        rate_key=draw(st.sampled_from(["k", "l"])),
        concurrency_key=draw(st.sampled_from(["k", "k", "l"])),
    )
    return attrs.evolve(plain, **draw(_of_state(state)))


def _slots(served: Sequence[str], each: int) -> dict[str, int]:
    return dict.fromkeys(served, each)


def _known(versions: tuple[int, int]) -> dict[str, int]:
    return dict(zip(NAMES, versions, strict=True))


def _one_of(texts: Sequence[str]) -> st.SearchStrategy[str]:
    return st.sampled_from(texts)


def _hours() -> st.SearchStrategy[timedelta]:
    # Whole hours: the time that a test takes changes nothing.
    return st.sampled_from([-2, -1, -1, 1]).map(lambda n: n * HOUR)


def _seldom() -> st.SearchStrategy[datetime | None]:
    some = _hours().map(lambda delay: NOW + delay)
    return st.one_of(st.none(), st.none(), st.none(), st.none(), some)


def _of_state(state: TaskState) -> st.SearchStrategy[dict[str, Any]]:
    """What a record of the state must have, or may."""
    match state:
        case TaskState.RUNNING:
            return st.builds(
                _running, st.sampled_from(["ada", "ada", *EXECUTORS, "gone"]), st.sampled_from([None, None, NOW - HOUR])
            )
        case TaskState.PENDING:
            return st.just(_plain()) | st.just(_plain()) | st.just(_PARKED) | _hours().map(_slotted)
        case TaskState.SUSPENDED:
            return st.sampled_from([_plain(), {"due_at": None}, _JOINING, _LISTENING, {**_LISTENING, "due_at": None}])
        case TaskState.COMPLETED:
            return st.just({"due_at": None, "finished_at": NOW - HOUR, "result_json": JsonText("1")})
        case TaskState.FAILED | TaskState.CANCELLED:
            return st.just({"due_at": None, "finished_at": NOW - HOUR, "error_json": JsonText("1")})
        case TaskState.QUARANTINED:
            return st.just({"due_at": None, "crash": Crash(CrashKind.STALLED, "why")})
        case _:
            return st.just(_plain())


_JOINING: Final[dict[str, Any]] = {"due_at": None, "join": Join.ALL_FINISHED}
_LISTENING: Final[dict[str, Any]] = {"awaited_event": "paid", "awaited_key": "k"}
_PARKED: Final[dict[str, Any]] = {"limited_by": LimitKind.CONCURRENCY}


def _plain() -> dict[str, Any]:
    return {}


def _slotted(delay: timedelta) -> dict[str, Any]:
    return {"due_at": NOW + delay, "slot_at": NOW + delay, "limited_by": LimitKind.RATE}


def _running(executor: str, asked_at: datetime | None) -> dict[str, Any]:
    return {
        "state": TaskState.RUNNING,
        "due_at": None,
        "executor": executor,
        "token": "token",
        "fence": 1,
        "started_at": NOW - HOUR,
        "cancel_requested_at": asked_at,
        "cancel_reason": None if asked_at is None else "enough",
    }


def _moved(task: TaskRecord, shift: timedelta) -> TaskRecord:
    """The task with every moment of it moved by `shift`."""
    moments: dict[str, Any] = {name: value + shift for name, value in vars(task).items() if isinstance(value, datetime)}
    return attrs.evolve(task, **moments)


def _planted(tasks: list[TaskRecord], policy: Policy, *, queues: Mapping[str, int] | None = None) -> Situation:
    """One executor with room, which knows the tasks."""
    policies: dict[str, Policy] = {name: policy for name in NAMES}  # noqa: C420 (its keys would not be `str`)
    ada = Worker("ada", ExecutorConfig(concurrency=5, queues=queues), _known((1, 1)), policies, HOUR)
    return Situation([ada], [], {LimitKey(NAMES[0], "k"): NOW + 4 * HOUR}, tasks)


_DUE: Final = sample(1, rate_key="k", concurrency_key="k")
_TWO: Final = ConcurrencyLimit(2)
PLANTED: Final = {
    "the last attempt failed": _planted([sample(1, state=TaskState.RETRYING, due_at=NOW + HOUR)], Policy()),
    "it waits for somebody": _planted([sample(1, state=TaskState.SUSPENDED, due_at=None)], Policy()),
    "it waits for its children": _planted([sample(1, state=TaskState.SUSPENDED, **_JOINING)], Policy()),
    "it waits for an event": _planted([sample(1, state=TaskState.SUSPENDED, due_at=None, **_LISTENING)], Policy()),
    "it was claimed too often": _planted(
        [sample(1, state=TaskState.QUARANTINED, due_at=None, crash=Crash(CrashKind.STALLED, "no progress"))], Policy()
    ),
    "nobody serves its queue": _planted([attrs.evolve(_DUE, queue="slow")], Policy(), queues={"default": 1}),
    "the slots of the queue are taken": _planted(
        [_DUE, sample(2, **_running("ada", None))], Policy(), queues={"default": 1}
    ),
    "the share that is free is promised to another one": _planted(
        [_DUE, sample(2, due_at=NOW + HOUR, concurrency_key="k", limited_by=LimitKind.CONCURRENCY)],
        Policy(concurrency_limit=_TWO),
    ),
    "a share is free": _planted(
        [_DUE, sample(2, concurrency_key="k", **_running("ada", None))], Policy(concurrency_limit=_TWO)
    ),
    "the rate is used up": _planted([_DUE], Policy(rate_limit=RateLimit(2, 2 * HOUR))),
    "the rate of another key is used up": _planted(
        [attrs.evolve(_DUE, rate_key="l")], Policy(rate_limit=RateLimit(2, 2 * HOUR))
    ),
}
"""Situations that are too rare by chance."""
